"""What is simulated: one network, its users, its policy; for the world and the kernel alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, isfinite

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, Policy
from dmoa.errors import LawError, NetworkShapeError, UsageError
from dmoa.theory.laws import Exponential, Law


@dataclass(frozen=True, slots=True)
class Bursts:
    """Arrival rates that change between two levels, in turn, starting with the low one.

    `low` and `high` multiply the arrival rates of the network; each lasts as long as its
    seconds say. Within a level arrivals are a Poisson process.
    """

    low: float
    high: float
    low_seconds: float
    high_seconds: float

    def __post_init__(self) -> None:
        """Refuse what is no rate or no duration."""
        wrong = [each for each in (self.low, self.high) if not (isfinite(each) and each >= 0.0)]
        lasting = (self.low_seconds, self.high_seconds)
        if wrong or not all(isfinite(each) and each > 0.0 for each in lasting):
            raise LawError(
                "bursts need two levels of 0 or more, and durations above 0 s",
                hint="write LOW/HIGH:SECONDS/SECONDS, for example 0.3/4:400/60",
            )

    @property
    def mean(self) -> float:
        """The mean level."""
        whole = self.low_seconds + self.high_seconds
        return (self.low * self.low_seconds + self.high * self.high_seconds) / whole


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded trace: at which seconds, rising, which node (from 0) was asked."""

    times: tuple[float, ...]
    homes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse times that fall, and lists of unlike length."""
        times = self.times
        if len(times) != len(self.homes):
            raise LawError(f"a trace of {len(times)} times and {len(self.homes)} nodes cannot be")
        if any(not isfinite(each) or each < 0.0 for each in times):
            raise LawError("the times of a trace must be finite and 0 s or later")
        if any(later < before for before, later in pairwise(times)):
            raise LawError("the times of a trace must not fall", hint="sort it by time")


@dataclass(frozen=True, slots=True)
class Setting:
    """One point to simulate; everything that its result depends on.

    `law` is the shape of service times, of mean 1; the network tells the means. `arrivals`
    is None for Poisson arrivals. `queries` are asked in all, of which the first share
    `warmup` is not counted. `gossip` is the seconds between two digests of a node: how old
    what others know of its queue may be; 0 is always fresh. A query counts as in time where
    it is answered within `deadline` seconds; nothing is cut off there. Of policies that live by
    what agents measure (`Policy.lives`) a gossip of 0 is what nodes do, and the deadline is
    that of each query.
    """

    network: Network
    mixture: Mixture
    law: Law = field(default_factory=Exponential)
    policy: Policy = PAPER
    arrivals: Bursts | Recorded | None = None
    queries: int = 100_000
    warmup: float = 0.1
    gossip: float = 0.0
    deadline: float = inf
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        self.network.check(self.mixture)
        if self.law.mean != 1.0:
            raise LawError(f"the shape of service times needs a mean of 1, not {self.law.mean:g}")
        if self.queries < 1 or not 0.0 <= self.warmup < 1.0:
            raise UsageError("a simulation needs a query at least, and a warmup from 0 to below 1")
        if not (isfinite(self.gossip) and self.gossip >= 0.0 and self.deadline > 0.0):
            raise UsageError("gossip and deadline are seconds: 0 or more, and more than 0")
        if self.arrivals is None and not any(self.network.arrival_rates):
            raise NetworkShapeError("nobody ever asks: all arrival rates are 0")
        if isinstance(self.arrivals, Recorded):
            if not self.arrivals.times:
                raise LawError("a trace without arrivals simulates nothing")
            beyond = [home for home in self.arrivals.homes if not 0 <= home < self.network.nodes]
            if beyond:
                raise LawError(f"the trace asks node {beyond[0] + 1}, who is not there")

    @property
    def overlaps(self) -> bool:
        """Tell whether something is read ahead, and saves time."""
        return self.policy.eager != "off" and self.network.costs.overlap > 0.0

    @property
    def lives(self) -> bool:
        """Tell whether only agents can live through it, and no fast engine."""
        return self.policy.lives or self.overlaps
