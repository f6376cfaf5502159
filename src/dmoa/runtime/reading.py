"""The prompts that the own backend reads ahead: fed as they grow, one step at a time.

A prompt is fed in steps of a few words, so that a job that comes waits for one step at most;
how many words depends on how quick the machine was so far. Only the newest text counts: what
came meanwhile goes with the next step, and where the text changed, as a proposer was lost, the
backend finds the part that still holds by itself. A prompt whose reading was broken off goes on
where it was: to begin anew with less would be to throw away what the backend may still hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dmoa.core.effects import Read, Visit
from dmoa.core.job import Job, Profile, Prompt
from dmoa.core.limits import Limits
from dmoa.core.names import JobId
from dmoa.core.prompts import render_ahead
from dmoa.errors import BackendError, BackendUnavailableError
from dmoa.runtime.alike import common_length
from dmoa.runtime.ports import Backend, Reads

LETTERS_PER_TOKEN = 4.0
"""Of ordinary text, at most; where the backend counts more tokens, fewer are taken."""
STEP_LEAST, STEP_MOST = 16, 64
"""Tokens of one step: fewer are not worth a call, and more would keep a job waiting."""
STEP_SECONDS = 0.25
"""What a step should take, as far as its bounds allow: as long as a job may wait for it."""
STEP_PATIENCE = 3.0
"""Seconds that a job waits at most for a step of its own prompt; then it goes on without."""
FAILURES_MOST = 3
"""How often a prompt is tried again, with newer text, where the backend had no room."""
RESTED_MOST = 8
"""Prompts of which is remembered how far they were read as their reading was broken off."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Reading:
    """One prompt that is read: what is wanted of it, and how far it is read."""

    wish: Read
    news: asyncio.Event = field(default_factory=asyncio.Event)
    done: str = ""
    """The text that is read."""
    tokens: int = 0
    """As many tokens as the backend says it has read of the prompt."""
    leader: JobId | None = None
    """Whose text is read, of those of which any one may come next."""
    looked: tuple[Read, JobId | None, int] | None = None
    """What was there when nothing was worth a step: the wish, the leader, and its letters."""
    failures: int = 0
    stepping: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def letters_per_token(self) -> float:
        """Tell how long a token is here."""
        return min(LETTERS_PER_TOKEN, len(self.done) / self.tokens if self.tokens else 9.0)


@dataclass(slots=True)
class Pace:
    """How quick the backend reads here, in seconds per token; 0 before it was seen."""

    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """Choose the tokens of the next step."""
        if not self.seconds:
            return STEP_LEAST
        return max(STEP_LEAST, min(STEP_MOST, int(STEP_SECONDS / self.seconds)))

    def learn(self, tokens: int, seconds: float) -> None:
        """See how long a step took; too short a one says nothing."""
        if tokens >= STEP_LEAST // 2:
            now = seconds / tokens
            self.seconds = (self.seconds + now) / 2 if self.seconds else now


class Readings:
    """What is read ahead at one node; nothing where its backend cannot.

    What proposals hold so far is kept for those jobs that are under way, and no longer:
    it is bounded by what a proposal may hold (`Limits.proposal_bytes`).
    """

    def __init__(
        self, backend: Backend, limits: Limits, *, draft: Callable[[Job, str], None]
    ) -> None:
        self._backend = backend if isinstance(backend, Reads) else None
        self._limits = limits
        self._draft = draft
        self._pace = Pace()
        self._texts: dict[JobId, str] = {}
        self._readings: dict[JobId, _Reading] = {}
        self._rested: OrderedDict[JobId, _Reading] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self.profile: Profile | None = None
        """Of the node, once it is open; nothing is kept before, or where it does not read."""

    # -- what is told ------------------------------------------------------------------

    def draft(self, job: Job, text: str) -> None:
        """Take some more text of a proposal for an own query, and show it to who follows it."""
        self._draft(job, text)
        known = self._texts.get(job.id)
        if known is not None and len(known) < self._limits.proposal_bytes:
            self._texts[job.id] = known + text
            for reading in self._readings.values():
                if job.id in reading.wish.follow:
                    reading.news.set()

    def saw(self, visit: Visit) -> None:
        """See how a job stands: what is written is kept from its start to its end."""
        if visit.outcome != "pending":
            self._texts.pop(visit.job, None)
        elif visit.role == "proposer" and self.profile is not None and self.profile.reads:
            self._texts.setdefault(visit.job, "")

    def read(self, wish: Read) -> None:
        """Read a prompt, as far as it is known, until it is told to rest or its job comes."""
        if self._backend is None or self.profile is None:
            return
        reading = self._readings.get(wish.job.id)
        if reading is None:
            old = self._rested.pop(wish.job.id, None)
            reading = self._readings[wish.job.id] = _Reading(wish)
            if old is not None:
                reading.done, reading.tokens = old.done, old.tokens
            task = reading.task = asyncio.create_task(self._feed(self._backend, reading))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        reading.wish = wish
        reading.news.set()

    def rest(self, job: JobId) -> None:
        """Read no further for a job; a step under way is stopped."""
        reading = self._readings.pop(job, None)
        if reading is not None:
            self._stop(reading)
            self._rested[job] = reading
            while len(self._rested) > RESTED_MOST:
                self._rested.popitem(last=False)

    async def settle(self, job: JobId) -> int:
        """End the reading for a job that is served now; tells how many tokens were read.

        A step under way is waited for: it is short, and what it reads is needed. One that takes
        too long is stopped.
        """
        rested = self._rested.pop(job, None)
        reading = self._readings.pop(job, rested)
        if reading is None or reading.task is None:
            return 0
        try:
            if reading.stepping and reading is not rested:
                await asyncio.wait({reading.task}, timeout=STEP_PATIENCE)
        finally:
            self._stop(reading)
        return reading.tokens

    def cancel(self) -> list[asyncio.Task[None]]:
        """Stop all of them; they are done when these tasks are."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self._readings.clear()
        self._rested.clear()
        self._texts.clear()
        return tasks

    def _stop(self, reading: _Reading) -> None:
        task = reading.task
        if task is not None and not task.done():
            task.cancel()
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    # -- how it is fed -----------------------------------------------------------------

    async def _feed(self, backend: Reads, reading: _Reading) -> None:
        """Feed a prompt step by step, as long as it is wanted, and the backend can."""
        try:
            while self._readings.get(reading.wish.job.id) is reading:
                if self._stopping:  # a step that was stopped holds its slot until it has ended
                    await asyncio.wait(set(self._stopping))
                    continue
                reading.news.clear()
                step = self._step(reading)
                if step is None or not await self._take(backend, reading, *step):
                    await reading.news.wait()
        except BackendError as error:
            _log.debug("%s is not read ahead: %s", reading.wish.job.id, error.message)
        except Exception:  # noqa: BLE001  (anybody's code)
            _log.exception("the backend raised what no backend may raise as it read ahead")

    async def _take(self, backend: Reads, reading: _Reading, prompt: Prompt, text: str) -> bool:
        """Take one step; False where the backend had no room, and is to be left alone a while."""
        clock = asyncio.get_running_loop().time
        began, before = clock(), reading.tokens
        reading.stepping = True
        try:
            tokens = int(await backend.read(prompt))
        except BackendUnavailableError:
            reading.failures += 1
            if reading.failures > FAILURES_MOST:
                raise
            return False
        finally:
            reading.stepping = False
        reading.done, reading.tokens = text, tokens
        self._pace.learn(tokens - before, clock() - began)
        return True

    def _step(self, reading: _Reading) -> tuple[Prompt, str] | None:
        """Tell the next step: the prompt up to there, and its text; None where it is too soon."""
        wish = reading.wish
        writing = self._writing(reading)
        letters = reading.letters_per_token
        if reading.looked is not None:
            seen, leader, size = reading.looked
            soon = len(writing) - size < STEP_LEAST * letters
            if seen is wish and leader == reading.leader and soon:
                return None
        assert self.profile is not None
        prompt = render_ahead(wish.job, self.profile, self._limits, writing)
        if prompt is None or prompt.open is None:
            return None
        whole = prompt.turns[prompt.open].content
        known = common_length(reading.done, whole)
        left = len(whole) - known
        if left == 0 or (writing and left < STEP_LEAST * letters):
            reading.looked = wish, reading.leader, len(writing) - left
            return None
        reading.looked = None
        text = _cut(whole, known, known + max(1, int(self._pace.tokens * letters)))
        turns = list(prompt.turns)
        turns[prompt.open] = replace(turns[prompt.open], content=text)
        return replace(prompt, turns=tuple(turns)), text

    def _writing(self, reading: _Reading) -> str:
        """Choose whose text is read: the longest, but nobody overtakes by a few words."""
        texts = {job: self._texts.get(job, "") for job in reading.wish.follow}
        if not texts:
            reading.leader = None
            return ""
        longest = max(texts, key=lambda job: len(texts[job]))
        leader = reading.leader
        if leader is None or leader not in texts:
            leader = longest
        if len(texts[longest]) > len(texts[leader]) + STEP_MOST * LETTERS_PER_TOKEN:
            leader = longest
        reading.leader = leader
        return texts[leader]


def _cut(text: str, known: int, size: int) -> str:
    """Take about `size` characters of a text, up to the end of a word; always beyond `known`."""
    if len(text) <= size:
        return text
    least = max(known + 1, size // 2)
    space = max(text.rfind(" ", least, size), text.rfind("\n", least, size))
    return text[:space] if space > 0 else text[:size]
