"""A model that only takes its time: for tests, benchmarks and networks without a model.

It sleeps on the running loop's clock alone, so that it also lives on a virtual one. Its
law needs the standard library alone, so that a node with a fake model stays small.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise
from math import isfinite, log, log1p, sqrt
from random import Random
from typing import Final

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
_BYTES_PER_TOKEN: Final = 4


class FakeBackend:
    """Takes its time for a completion, and then echoes.

    That time is log-normal, with a mean of `seconds` and a coefficient of variation `cv`,
    from dice of its own: the same times in the same order for the same `seed`, and others
    in every process without one. `law`, where it is given, draws the seconds instead.
    With n jobs in service at once a job takes (1 + `crowding` (n - 1)) times as long, as
    batching on shared hardware does. That factor is taken when the job starts, itself
    counted, and stays: who comes or goes later changes nothing for it.

    The text is `<name> heard: <the last user turn>`, in `tokens` pieces spread evenly
    over the time. `fail` ends every generation badly (see `FAILURES`) once `after`
    pieces are out; it may be set and unset at any time. The counters say how many
    generations were started, are active, finished well, failed, or were cancelled;
    `prompts` keeps the latest.
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
    ) -> None:
        if (
            tokens < 1
            or not (isfinite(seconds) and seconds >= 0)
            or (fail and fail not in FAILURES)
        ):
            raise UsageError("a fake backend needs tokens >= 1, seconds >= 0 and a known failure")
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
        self.started = self.active = self.finished = self.failed = self.cancelled = 0
        self._profile = profile or Profile(model=name)

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

    async def _generate(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        self.started += 1
        self.active += 1
        self.prompts.append(prompt)
        ended = False
        loop = asyncio.get_running_loop()
        start, seconds = loop.time(), self.law() * self._crowd()
        pieces = self._cut(prompt)
        try:
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
        except Exception:
            ended = True
            self.failed += 1
            raise
        finally:
            self.active -= 1
            self.cancelled += not ended
        self.finished += 1
        yield self._completion(prompt)

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

    def _completion(self, prompt: Prompt) -> Completion:
        pieces = self._cut(prompt)
        return Completion(
            text="".join(pieces),
            model=self.name,
            prompt_tokens=self._prompt_tokens(prompt),
            completion_tokens=len(pieces),
            finish="stop" if len(pieces) == self.tokens else "length",
        )

    def _prompt_tokens(self, prompt: Prompt) -> int:
        return sum(len(turn.content.encode()) for turn in prompt.turns) // _BYTES_PER_TOKEN + 1

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
