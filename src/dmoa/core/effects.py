"""What an agent wants done; imperative, out. And the record of a query they carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, FaultCode, Job, Prompt
from dmoa.core.messages import Message
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, Role
from dmoa.core.recipe import PAPER_RECIPE, Recipe

Outcome = Literal["pending", "ok", "declined", "lost", "late", "failed", "spared"]
"""How a job stands; `spared` was not needed any more, as the policy has it."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One job of a query, as its home saw it.

    `sent` and `ended` are seconds since the query was asked; `queued_seconds` and
    `service_seconds` are what the serving node measured. `early_tokens` of its prompt were read
    before it was asked for.
    """

    job: JobId
    layer: int
    role: Role
    node: NodeId
    outcome: Outcome = "pending"
    model: str = ""
    sent: float = 0.0
    ended: float = 0.0
    queued_seconds: float = 0.0
    service_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""
    early_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened to one query: all its jobs in the order they were sent.

    `degraded` lists, in words, why the answer is less than what was asked for. `position` and
    `expected_seconds` are what was told when it was asked (`Standing`).
    """

    query: QueryId
    home: NodeId
    mixture: Mixture
    jobs: tuple[Visit, ...]
    degraded: tuple[str, ...]
    seconds: float
    position: int = 0
    expected_seconds: float = 0.0
    recipe: Recipe = PAPER_RECIPE

    @property
    def path(self) -> tuple[Visit, ...]:
        """List the jobs that the answer waited for: in each layer the last that came in."""
        last: dict[tuple[int, Role], Visit] = {}
        for visit in self.jobs:
            key = (visit.layer, visit.role)
            known = last.get(key)
            if visit.outcome == "ok" and (known is None or visit.ended > known.ended):
                last[key] = visit
        return tuple(sorted(last.values(), key=lambda visit: visit.ended))

    @property
    def queued_seconds(self) -> float:
        """Sum the seconds that the jobs of the path waited for a slot."""
        return sum(visit.queued_seconds for visit in self.path)

    @property
    def service_seconds(self) -> float:
        """Sum the seconds that the jobs of the path were in service."""
        return sum(visit.service_seconds for visit in self.path)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an own query stands while it is under way; times in seconds.

    `position` is the place of its first own job among those that wait at its home: 1 is the
    next, and 0 was begun. Where the first come is the first served it never grows. `mixture`
    is what the query will have got in the end, as things stand now. `starts_in` is expected
    until its first own job begins, `answers_in` until the answer, and `expected` from question
    to answer, as it was foreseen when its layer began (both 0 where nothing was measured yet).
    """

    query: QueryId
    position: int
    layer: int
    mixture: Mixture
    waited: float
    starts_in: float
    answers_in: float
    expected: float


@dataclass(frozen=True, slots=True)
class Census:
    """Who is at a node, its bounds, and what was counted there since its start.

    `bound` is the most own queries that are taken now, -1 where only the limits of the queue
    hold; `seconds` is the node's age, `waiting_seconds` and `serving_seconds` are sums over all
    jobs (job seconds). Prompts of `reading` jobs to come are read ahead now.
    """

    waiting: int
    serving: int
    slots: int
    bound: int
    seconds: float
    waiting_seconds: float
    serving_seconds: float
    queries: int
    refused: int
    declined: int
    served: int
    reading: int = 0


Source = Literal["aggregator", "proposal", "chosen"]
"""Who wrote an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer of a query, and who wrote it.

    `source` is `proposal` where aggregation failed, and `chosen` where the recipe wants no
    aggregation: the best of the proposals, or one that all agree with.
    """

    completion: Completion
    source: Source
    trace: Trace

    @property
    def text(self) -> str:
        """What the user reads."""
        return self.completion.text


FailureCode = Literal["overloaded", "expired", "unavailable", "refused", "too_long", "backend"]

CODES: dict[FaultCode, FailureCode] = {
    "unavailable": "unavailable",
    "refused": "refused",
    "too_long": "too_long",
    "rubbish": "backend",
    "timeout": "backend",
    "stopped": "unavailable",
}
"""What a fault of the own model is to the user, whose query it ends."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a query has no answer; `retry_after` in seconds where that helps.

    `position` is the place it would have had in the queue, where it was not taken.
    """

    code: FailureCode
    detail: str
    trace: Trace
    retry_after: float | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """Say something to one peer."""

    to: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell every peer how this node stands."""

    digest: Digest


@dataclass(frozen=True, slots=True)
class Serve:
    """Give the prompt of a job to the own backend; exactly one Served or Faltered follows."""

    job: Job
    prompt: Prompt
    patience: float


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the service of a job; it still ends with its Served or Faltered."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Read:
    """Let the own backend read ahead the prompt of a job that will come, as far as it is known.

    `job` has the proposals that are there; one of the jobs in `follow` is likely to bring the
    next, which is read as it is written. Replaces what was wanted of a job of this name before.
    Ends with a `Rest`, or as the job itself is served. Nothing follows of it.
    """

    job: Job
    follow: tuple[JobId, ...] = ()


@dataclass(frozen=True, slots=True)
class Rest:
    """Read no further for a job: its slot is needed, or it will not come."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Report:
    """Show the user how one job of the query stands."""

    query: QueryId
    visit: Visit


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the user the answer."""

    query: QueryId
    answer: Answer


@dataclass(frozen=True, slots=True)
class Fail:
    """Tell the user that there will be no answer."""

    query: QueryId
    refusal: Refusal


Effect = Send | Announce | Serve | Cancel | Read | Rest | Report | Deliver | Fail
