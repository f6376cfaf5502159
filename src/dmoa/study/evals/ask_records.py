"""What a node answers to one turn of an item, and the sums over a configuration's answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum

import httpx2
import msgspec

from dmoa.study.evals.records import Answer, Status

_STATUSES: dict[int, Status] = {429: "refused", 504: "expired"}


class Job(msgspec.Struct, frozen=True):
    """One job of a query, as far as it is counted here."""

    outcome: str = ""


class Shape(msgspec.Struct, frozen=True):
    """The mixture that a query got."""

    layers: int = 0
    fanout: int = 0


class Trace(msgspec.Struct, frozen=True):
    """The `dmoa` object of an answer or an error; seconds as the nodes measured them."""

    mixture: Shape = Shape()
    recipe: str | None = None
    degraded: tuple[str, ...] = ()
    queued_seconds: float = 0.0
    source: str = ""
    jobs: tuple[Job, ...] = ()
    retry_after_seconds: float | None = None


class Usage(msgspec.Struct, frozen=True):
    """The tokens of all jobs of a query."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class Said(msgspec.Struct, frozen=True):
    """What came of one turn; `away` tells that no node was there to answer.

    `detail` is the code of an error, never its words: they may quote what was asked.
    """

    status: Status
    http: int = 0
    text: str = ""
    trace: Trace = Trace()
    usage: Usage = Usage()
    retry_after: float | None = None
    detail: str = ""
    away: bool = False


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message


class _Completion(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    usage: Usage = Usage()
    dmoa: Trace = Trace()


class _Problem(msgspec.Struct, frozen=True):
    code: str | int | None = None
    dmoa: Trace = Trace()


class _Refusal(msgspec.Struct, frozen=True):
    error: _Problem = _Problem()


def said_of(response: httpx2.Response) -> Said:
    """Read what a node answered; what cannot be understood is a failure."""
    code = response.status_code
    try:
        if response.is_success:
            found = msgspec.json.decode(response.content, type=_Completion)
            text = found.choices[0].message.content or ""
            return Said("answered", code, text, found.dmoa, found.usage)
        problem = msgspec.json.decode(response.content, type=_Refusal).error
    except (msgspec.DecodeError, IndexError):
        return Said("failed", code, detail="no answer of a node")
    retry_after = problem.dmoa.retry_after_seconds
    if retry_after is None:
        retry_after = _seconds(response.headers.get("retry-after"))
    return Said(
        _STATUSES.get(code, "failed"),
        code,
        trace=problem.dmoa,
        retry_after=retry_after,
        detail=str(problem.code or ""),
    )


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:  # a date, which no node sends
        return None


@dataclass(frozen=True, slots=True)
class Tally:
    """The answers of one configuration in sums; `left` items have not been asked.

    `mean_seconds` is of the answered ones, None without any; tokens and `jobs` are of all.
    """

    configuration: str
    left: int
    answered: int
    refused: int
    expired: int
    failed: int
    degraded: int
    mean_seconds: float | None
    prompt_tokens: int
    completion_tokens: int
    jobs: int

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.completion_tokens


def tally_of(configuration: str, answers: Iterable[Answer], count: int) -> Tally:
    """Sum up what came of a configuration that is asked `count` items."""
    found = list(answers)
    statuses = [each.status for each in found]
    took = [each.seconds for each in found if each.status == "answered"]
    return Tally(
        configuration=configuration,
        left=count - len(found),
        answered=len(took),
        refused=statuses.count("refused"),
        expired=statuses.count("expired"),
        failed=statuses.count("failed"),
        degraded=sum(bool(each.degraded) for each in found),
        mean_seconds=fsum(took) / len(took) if took else None,
        prompt_tokens=sum(each.prompt_tokens for each in found),
        completion_tokens=sum(each.completion_tokens for each in found),
        jobs=sum(each.jobs for each in found),
    )


def expected_tokens(tallies: Sequence[Tally], visits: Sequence[int], count: int) -> int | None:
    """Foretell the tokens of a whole run, read and written; None while nothing is known.

    By the mean of each configuration's items so far; where there are none, by the mean of all
    jobs so far, and the jobs that one of its queries has (`visits`).
    """
    jobs = sum(each.jobs for each in tallies)
    if not jobs:
        return None
    per_job = sum(each.tokens for each in tallies) / jobs
    total = 0.0
    for tally, each in zip(tallies, visits, strict=True):
        done = count - tally.left
        total += count * (tally.tokens / done if tally.jobs and done else per_job * each)
    return round(total)
