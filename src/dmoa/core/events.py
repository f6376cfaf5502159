"""What happens to an agent; past tense, in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dmoa.core.job import Completion, Fault, Sampling, Turn
from dmoa.core.messages import Message
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.recipe import PAPER_RECIPE, Recipe

_USUAL = Sampling()


@dataclass(frozen=True, slots=True)
class Asked:
    """The node's user asked; `deadline` is in seconds from now.

    `notes` are reasons, known before, why the answer is less than what was asked for
    (tools go to the own model alone); they open its list of degradations. `trace` names its span
    for those who record traces (W3C's `traceparent`), and means nothing here.
    """

    query: QueryId
    turns: tuple[Turn, ...]
    mixture: Mixture
    sampling: Sampling = _USUAL
    deadline: float | None = None
    options: str = ""
    notes: tuple[str, ...] = ()
    recipe: Recipe = PAPER_RECIPE
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """A message came in."""

    sender: NodeId
    message: Message


@dataclass(frozen=True, slots=True)
class Lost:
    """The way to a peer broke while it had this job of ours."""

    peer: NodeId
    job: JobId
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Served:
    """The own backend completed a job."""

    job: JobId
    completion: Completion


@dataclass(frozen=True, slots=True)
class Faltered:
    """The own backend ended a job without a completion, or stopped as it was told."""

    job: JobId
    fault: Fault


@dataclass(frozen=True, slots=True)
class Woke:
    """The time named by `Agent.deadline` has come."""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The user no longer waits for the answer."""

    query: QueryId


Offence = Literal["malformed", "oversized", "flood", "replayed", "rubbish", "injection"]
"""What a peer can be blamed for, on evidence that nobody else can have made up."""


@dataclass(frozen=True, slots=True)
class Offended:
    """A peer misbehaved."""

    peer: NodeId
    offence: Offence


Event = Asked | Received | Lost | Served | Faltered | Woke | Abandoned | Offended
