"""What agents say to each other.

A proposer's tokens (`Piece`) travel beside these, from body to body: the mind hears
only the whole `Proposal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, Job
from dmoa.core.names import JobId


@dataclass(frozen=True, slots=True)
class Propose:
    """Home asks a peer to serve a job."""

    job: Job
    kind: Literal["propose"] = "propose"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some more text of a proposal that is being written; outside the protocol proper."""

    job: JobId
    text: str
    kind: Literal["piece"] = "piece"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A peer's completed job; the seconds it waited there and was in service."""

    job: JobId
    completion: Completion
    queued_seconds: float
    service_seconds: float
    kind: Literal["proposal"] = "proposal"


@dataclass(frozen=True, slots=True)
class Decline:
    """A peer does not take the job; `length` is that of its queue, in jobs."""

    job: JobId
    length: int
    kind: Literal["decline"] = "decline"


@dataclass(frozen=True, slots=True)
class Failure:
    """A peer took the job, and its backend failed."""

    job: JobId
    detail: str
    kind: Literal["failure"] = "failure"


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Home no longer wants the job."""

    job: JobId
    kind: Literal["withdraw"] = "withdraw"


@dataclass(frozen=True, slots=True)
class Gossip:
    """How the sender stands."""

    digest: Digest
    kind: Literal["gossip"] = "gossip"


@dataclass(frozen=True, slots=True)
class Probe:
    """Home asks how a peer stands; the peer's `Gossip` is the reply."""

    kind: Literal["probe"] = "probe"


@dataclass(frozen=True, slots=True)
class Farewell:
    """The sender left, or seems to have; its next digest brings it back."""

    kind: Literal["farewell"] = "farewell"


Reply = Proposal | Decline | Failure
"""What may end a job at a peer; exactly one does, unless the peer is lost."""

Message = Propose | Reply | Withdraw | Probe | Gossip | Farewell
