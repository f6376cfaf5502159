"""The prompts that the own backend reads ahead: fed as they grow, one step at a time.

A prompt is fed in steps of a few words, so that a job that comes waits for one step at most.
Only the newest text counts: what came meanwhile goes with the next step, and where the text
changed, as a proposer was lost, the backend finds the part that still holds by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dmoa.core.effects import Read, Visit
from dmoa.core.job import Job, Profile, Prompt
from dmoa.core.limits import Limits
from dmoa.core.names import JobId
from dmoa.core.prompts import render_ahead
from dmoa.errors import BackendError
from dmoa.runtime.ports import Backend, Reads

BYTES_PER_TOKEN = 4.0
"""Of ordinary text, so that a step has about as many tokens as it is to have."""
STEP_LEAST, STEP_MOST = 16, 64
"""Tokens of one step: fewer are not worth a call, and more would keep a job waiting."""

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
    stepping: bool = False
    task: asyncio.Task[None] | None = None


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
        self._texts: dict[JobId, str] = {}
        self._readings: dict[JobId, _Reading] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.profile: Profile | None = None
        """Of the node, once it is open; nothing is kept before, or where it does not read."""

    # -- what is told ------------------------------------------------------------------

    def draft(self, job: Job, text: str) -> None:
        """Take some more text of a proposal for an own query, and show it to who follows it."""
        self._draft(job, text)
        if self.profile is None or not self.profile.reads:
            return
        known = self._texts.get(job.id, "")
        if len(known) < self._limits.proposal_bytes:
            self._texts[job.id] = known + text
            for reading in self._readings.values():
                if job.id in reading.wish.follow:
                    reading.news.set()

    def saw(self, visit: Visit) -> None:
        """See how a job stands: of one that ended nothing more is written."""
        if visit.outcome != "pending":
            self._texts.pop(visit.job, None)

    def read(self, wish: Read) -> None:
        """Read a prompt, as far as it is known, until it is told to rest or its job comes."""
        if self._backend is None:
            return
        reading = self._readings.get(wish.job.id)
        if reading is None:
            reading = self._readings[wish.job.id] = _Reading(wish)
            task = reading.task = asyncio.create_task(self._feed(self._backend, reading))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        reading.wish = wish
        reading.news.set()

    def rest(self, job: JobId) -> None:
        """Read no further for a job; a step under way is stopped."""
        reading = self._readings.pop(job, None)
        if reading is not None and reading.task is not None:
            reading.task.cancel()

    async def settle(self, job: JobId) -> int:
        """End the reading for a job that is served now; tells how many tokens were read.

        A step under way is waited for: it is short, and what it reads is needed.
        """
        reading = self._readings.pop(job, None)
        if reading is None or reading.task is None:
            return 0
        if not reading.stepping:
            reading.task.cancel()
        await asyncio.wait({reading.task})
        return reading.tokens

    def cancel(self) -> list[asyncio.Task[None]]:
        """Stop all of them; they are done when these tasks are."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        self._readings.clear()
        self._texts.clear()
        return tasks

    # -- how it is fed -----------------------------------------------------------------

    async def _feed(self, backend: Reads, reading: _Reading) -> None:
        """Feed a prompt step by step, as long as it is wanted."""
        while True:
            step = self._step(reading)
            if step is None:
                reading.news.clear()
                await reading.news.wait()
                continue
            prompt, text = step
            reading.stepping = True
            try:
                reading.tokens = await backend.read(prompt)
            except BackendError as error:
                _log.debug("%s was not read ahead: %s", prompt.job, error.message)
                return
            except Exception:  # noqa: BLE001  (anybody's code)
                _log.exception("the backend raised what no backend may raise as it read ahead")
                return
            finally:
                reading.stepping = False
            reading.done = text
            if self._readings.get(reading.wish.job.id) is not reading:
                return

    def _step(self, reading: _Reading) -> tuple[Prompt, str] | None:
        """Tell the next step: the prompt up to there, and its text; None where it is too soon."""
        wish = reading.wish
        writing = max((self._texts.get(job, "") for job in wish.follow), key=len, default="")
        assert self.profile is not None
        prompt = render_ahead(wish.job, self.profile, self._limits, writing)
        if prompt is None or prompt.open is None:
            return None
        whole = prompt.turns[prompt.open].content
        known = _common(reading.done, whole)
        left = len(whole) - known
        grows = bool(writing)
        if left == 0 or (grows and left < STEP_LEAST * BYTES_PER_TOKEN):
            return None
        text = _cut(whole, known + int(STEP_MOST * BYTES_PER_TOKEN))
        turns = list(prompt.turns)
        turns[prompt.open] = replace(turns[prompt.open], content=text)
        return replace(prompt, turns=tuple(turns)), text


def _common(one: str, other: str) -> int:
    """Count the characters with which both begin."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)


def _cut(text: str, size: int) -> str:
    """Take about so many characters of a text, up to the end of a word."""
    if len(text) <= size:
        return text
    space = max(text.rfind(" ", size // 2, size), text.rfind("\n", size // 2, size))
    return text[:space] if space > 0 else text[:size]
