"""What agents say to each other.

A proposer's tokens (`Piece`) travel beside these, from body to body: the mind hears
only the whole `Proposal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, Job
from dmoa.core.names import JobId, NodeId, preview_name


@dataclass(frozen=True, slots=True)
class Propose:
    """Home asks a peer to serve a job."""

    job: Job
    kind: Literal["propose"] = "propose"

    @property
    def name(self) -> JobId:
        """The name of the call, by which it is answered and withdrawn: that of the job."""
        return self.job.id


@dataclass(frozen=True, slots=True)
class Preview:
    """Home shows a peer a job that it is likely to be asked for, as far as it is known by now.

    Nothing is served for it: the peer may read it ahead. `number` counts the previews of one
    job from 1, and each takes the place of those before. A `Decline` of its name says that the
    peer holds it no more, or never did: the job itself came, a newer preview, or there is no room.
    """

    job: Job
    number: int
    kind: Literal["preview"] = "preview"

    @property
    def name(self) -> JobId:
        """The name of the call, by which it is answered and withdrawn; never that of a job."""
        return preview_name(self.job.id, self.number)


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

Offer = Propose | Preview
"""What opens a call to a peer, which lasts until a reply or a `Withdraw` of its name."""

Message = Propose | Preview | Reply | Withdraw | Probe | Gossip | Farewell


def is_its_own(message: Message, sender: NodeId, node: NodeId) -> bool:
    """Tell whether `sender` may say this to `node`: of itself, of its own jobs, or in reply."""
    match message:
        case Propose(job=job) | Preview(job=job):
            return job.home == sender and job.id.startswith(f"{sender}/")
        case Withdraw(job=name):
            return name.startswith(f"{sender}/")
        case Proposal(job=name) | Decline(job=name) | Failure(job=name):
            return name.startswith(f"{node}/")
        case Gossip(digest=digest):
            return digest.node == sender
        case Probe() | Farewell():
            return True
        case _:
            assert_never(message)
