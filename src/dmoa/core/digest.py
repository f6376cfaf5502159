"""What a node gossips about itself, and which of two digests is the newer."""

from __future__ import annotations

from dataclasses import dataclass

from dmoa.core.names import NodeId


@dataclass(frozen=True, slots=True)
class Digest:
    """How a node stands, in its own words, at one moment.

    `incarnation` grows with every restart and `sequence` with every digest of one life.
    `length` counts jobs waiting and in service, `mean_length` is its time average since the
    start, `mean_waiting` that of the waiting ones alone, which is the queue of the paper.
    Rates are per second, times in seconds, `utilisation` is rho of this node (dimensionless,
    stable below 1). A service time of 0 means none was measured yet. `capacity` is how many
    jobs per second it completes with all its slots busy, 0 where unknown. `layers` and `fanout`
    are the mixture that a query asked here now would get; `refused` counts own queries and
    `declined` jobs of peers that were not taken, since the start. `reads` tells that it reads
    ahead what it is shown of jobs (`Preview`).
    """

    node: NodeId
    incarnation: int
    sequence: int
    model: str
    slots: int
    length: int = 0
    mean_length: float = 0.0
    mean_waiting: float = 0.0
    arrival_rate: float = 0.0
    service_time: float = 0.0
    proposer_time: float = 0.0
    aggregator_time: float = 0.0
    utilisation: float = 0.0
    capacity: float = 0.0
    layers: int = 0
    fanout: int = 0
    refused: int = 0
    declined: int = 0
    url: str = ""
    reads: bool = False

    def supersedes(self, other: Digest) -> bool:
        """Tell whether this digest is newer than `other` of the same node."""
        return (self.incarnation, self.sequence) > (other.incarnation, other.sequence)


def newer(one: Digest, other: Digest) -> Digest:
    """Merge two digests of one node: commutative, associative, idempotent."""
    return other if other.supersedes(one) else one
