"""A model that only takes its time: for tests, benchmarks and networks without a model.

It sleeps on the running loop's clock alone, so that it also lives on a virtual one. Its
law needs the standard library alone, so that a node with a fake model stays small.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from itertools import pairwise
from math import isfinite, log, log1p, sqrt
from random import Random
from typing import Final

from dmoa.backends.prefixes import BYTES_PER_TOKEN, Prefixes, Slot, Text, begin, size, text_of
from dmoa.backends.uri import FAILURES, RATIO_MAX, BackendUri
from dmoa.core.job import Completion, Profile, Prompt
from dmoa.errors import (
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ContextLengthError,
    UsageError,
)
from dmoa.runtime.ports import Tokens

_TOKENS: Final = 16
_PROMPTS: Final = 256
_ROUNDING: Final = 1e-9
"""Of a token: what was read as a clock's last digit was lost has been read."""


class FakeBackend:
    """Takes its time for a completion, and then echoes.

    That time is log-normal, with a mean of `seconds` and a coefficient of variation `cv`,
    from dice of its own: the same times in the same order for the same `seed`, and others
    in every process without one. `law`, where it is given, draws the seconds instead.
    With n jobs in service at once a job takes (1 + `crowding` (n - 1)) times as long, as
    batching on shared hardware does. That factor is taken when the job starts, itself
    counted, and stays: who comes or goes later changes nothing for it.

    `prefill` is the seconds it takes to read one token of a prompt, before it writes. Each of
    the profile's slots keeps the prompt that it read last, and what it wrote; of one that begins
    alike only the rest is read. Then it can also `read` ahead, unless `ahead` is False; that
    crowds nobody.

    The text is `<name> heard: <the last user turn>`, in `tokens` pieces spread evenly
    over the time. `fail` ends every generation badly (see `FAILURES`) once `after`
    pieces are out; it may be set and unset at any time. The counters say how many
    generations were started, are active, finished well, failed, or were cancelled, and how
    many tokens were read ahead (`early`); `prompts` keeps the latest.
    """

    def __init__(  # noqa: PLR0913 - each stands alone, and most are never given
        self,
        name: str = "fake",
        *,
        seconds: float = 0.0,
        cv: float = 0.0,
        seed: int | None = None,
        crowding: float = 0.0,
        law: Callable[[], float] | None = None,
        tokens: int = _TOKENS,
        fail: str = "",
        after: int = 0,
        profile: Profile | None = None,
        prefill: float = 0.0,
        ahead: bool = True,
    ) -> None:
        if (
            tokens < 1
            or not all(isfinite(each) and each >= 0 for each in (seconds, prefill))
            or (fail and fail not in FAILURES)
        ):
            raise UsageError("a fake backend needs tokens >= 1, times >= 0 and a known failure")
        if not (0 <= cv <= RATIO_MAX and 0 <= crowding <= RATIO_MAX):
            raise UsageError(f"a fake backend needs a cv and a crowding from 0 to {RATIO_MAX}")
        if law is not None and (seconds or cv):
            raise UsageError("a fake backend takes its time from a law, or from seconds and cv")
        self.name = name
        self.law = law or _log_normal(seconds, cv, Random(seed))
        self.crowding = crowding
        self.tokens = tokens
        self.fail = fail
        self.after = after
        self.prompts: deque[Prompt] = deque(maxlen=_PROMPTS)
        self.prefill = prefill
        self.started = self.active = self.finished = self.failed = self.cancelled = 0
        self.early = 0
        self._profile = replace(profile or Profile(model=name), reads=ahead and prefill > 0)
        self._prefixes = Prefixes(self._profile.slots)

    @classmethod
    def from_uri(cls, uri: BackendUri) -> FakeBackend:
        """Make the one that a URI describes."""
        name = uri.name or "fake"
        usual = Profile(model=name)
        return cls(
            name,
            seconds=uri.seconds,
            cv=uri.cv,
            seed=uri.seed,
            crowding=uri.crowding,
            tokens=uri.tokens or _TOKENS,
            fail=uri.fail,
            after=uri.after,
            prefill=uri.prefill,
            ahead=uri.ahead != "off",
            profile=Profile(
                model=name,
                context_tokens=uri.context or usual.context_tokens,
                slots=uri.slots or usual.slots,
                proposal_tokens=uri.proposal or usual.proposal_tokens,
                answer_tokens=uri.answer or usual.answer_tokens,
                layout=uri.layout or usual.layout,
            ),
        )

    @property
    def profile(self) -> Profile:
        """What the node must know of the model."""
        return self._profile

    async def open(self) -> None:
        """Be there."""

    async def close(self) -> None:
        """Be gone."""

    def generate(self, prompt: Prompt) -> Tokens:
        """Echo the last user turn, in time."""
        return self._generate(prompt)

    async def read(self, prompt: Prompt) -> int:
        """Read a prompt up to the end of its open turn; what a cancelled one has read counts.

        BackendUnavailableError where every slot is at work; fails as generations do where that
        is wanted before their first piece.
        """
        last = len(prompt.turns) if prompt.open is None else prompt.open + 1
        text = text_of(prompt.turns[:last])
        slot = self._prefixes.take(text, prompt.job)
        if slot is None:
            raise BackendUnavailableError(f"{self.name} has no free slot to read in")
        try:
            if self.fail and not self.after:
                await self._fault()
            tokens = size(text) // BYTES_PER_TOKEN
            self.early += tokens - await self._read(slot, text, tokens, self.prefill)
        finally:
            self._prefixes.leave(slot, prompt.job)
        return tokens

    async def _read(self, slot: Slot, text: Text, tokens: int, pace: float) -> int:
        """Read so many tokens of a text into a slot; tells how many were in it before."""
        loop = asyncio.get_running_loop()
        start, known = loop.time(), slot.known(text)
        read = begin(text, known * BYTES_PER_TOKEN)
        try:
            if tokens > known and pace > 0:
                await asyncio.sleep((tokens - known) * pace)
            read = text
        except asyncio.CancelledError:
            done = known + int((loop.time() - start) / pace + _ROUNDING)
            read = begin(text, done * BYTES_PER_TOKEN)
            raise
        finally:
            slot.text = read
        return known

    async def _generate(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        self.started += 1
        self.active += 1
        self.prompts.append(prompt)
        ended = False
        loop = asyncio.get_running_loop()
        crowd = self._crowd()
        seconds = self.law() * crowd
        pieces = self._cut(prompt)
        cached: int | None = None
        slot, text = self._slot(prompt)
        try:
            if slot is not None:
                count = self._prompt_tokens(prompt)
                cached = await self._read(slot, text, count, self.prefill * crowd)
            start = loop.time()
            for index, piece in enumerate(pieces):
                if self.fail and index >= self.after:
                    await self._fault()
                # An empty piece is worth no timer, unless it is the last or a fault is due.
                if piece or index + 1 in (len(pieces), self.after):
                    # Toward fixed points in time, so that errors do not add up.
                    due = start + seconds * (index + 1) / self.tokens
                    await asyncio.sleep(max(0.0, due - loop.time()))
                if piece:
                    yield piece
            if self.fail:
                await self._fault()
            ended = True
            if slot is not None:
                slot.text = (*text, ("assistant", "".join(pieces).encode()))
        except Exception:
            ended = True
            self.failed += 1
            raise
        finally:
            self.active -= 1
            self.cancelled += not ended
            if slot is not None:
                self._prefixes.leave(slot)
        self.finished += 1
        yield self._completion(prompt, cached)

    def _slot(self, prompt: Prompt) -> tuple[Slot | None, Text]:
        """Take the slot to read a prompt in, where that takes time; one beyond all, if needed."""
        if not self.prefill:
            return None, ()
        text = text_of(prompt.turns)
        return self._prefixes.take(text, prompt.job) or Slot(), text

    def _crowd(self) -> float:
        """Tell how many times as long a job takes that starts now, and is counted already."""
        return 1.0 + self.crowding * (self.active - 1)

    def _text(self, prompt: Prompt) -> str:
        asked = [turn.content for turn in prompt.turns if turn.role == "user"]
        return f"{self.name} heard: {asked[-1] if asked else ''}"

    def _cut(self, prompt: Prompt) -> list[str]:
        """Cut the text into `tokens` pieces, of which as many go out as are allowed."""
        text = self._text(prompt)
        bounds = [len(text) * index // self.tokens for index in range(self.tokens + 1)]
        pieces = [text[low:high] for low, high in pairwise(bounds)]
        return pieces[: prompt.sampling.max_tokens]

    def _completion(self, prompt: Prompt, cached: int | None) -> Completion:
        pieces = self._cut(prompt)
        return Completion(
            text="".join(pieces),
            model=self.name,
            prompt_tokens=self._prompt_tokens(prompt),
            completion_tokens=len(pieces),
            finish="stop" if len(pieces) == self.tokens else "length",
            cached_tokens=cached,
        )

    def _prompt_tokens(self, prompt: Prompt) -> int:
        return size(text_of(prompt.turns)) // BYTES_PER_TOKEN + 1

    async def _fault(self) -> None:
        match self.fail:
            case "unavailable":
                raise BackendUnavailableError(f"{self.name} is told to be unavailable")
            case "refused":
                raise BackendRefusedError(f"{self.name} is told to refuse")
            case "rubbish":
                raise BackendRubbishError(f"{self.name} is told to send rubbish")
            case "timeout":
                raise BackendTimeoutError(f"{self.name} is told to stall")
            case "too_long":
                context = self._profile.context_tokens
                raise ContextLengthError(
                    f"{self.name} is told to find every prompt too long",
                    prompt_tokens=context + 1,
                    context_tokens=context,
                )
            case _:
                await asyncio.get_running_loop().create_future()


def _log_normal(seconds: float, cv: float, dice: Random) -> Callable[[], float]:
    """Make a law with that mean (seconds) and that coefficient of variation."""
    if seconds == 0.0 or cv == 0.0:
        return lambda: seconds  # exactly, and the logarithm of 0 is none
    # `lognormvariate` wants mean and deviation of the logarithm, not of the time. With the
    # variance v there, the time has the mean exp(mu + v / 2) and cv^2 = exp(v) - 1.
    variance = log1p(cv * cv)
    mu, sigma = log(seconds) - variance / 2.0, sqrt(variance)
    return lambda: dice.lognormvariate(mu, sigma)
