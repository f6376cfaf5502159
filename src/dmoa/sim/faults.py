"""The weather of a world: loss, delay, doubling, crashes, failing models, clocks that differ.

Which faults a world has at all is drawn per seed, not only how much of each: worlds then
differ in kind. Shares are probabilities, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ulp
from random import Random

from dmoa.sim.links import Delay, Links, Sum, Uniform


@dataclass(frozen=True, slots=True)
class Faults:
    """How badly a world treats its agents.

    `loss` and `doubling` are per message; a delay is drawn uniformly from 0 to `delay`
    for each, so that messages overtake one another: all that comes on top of what the links
    do by themselves. `broken` is the share of services
    that end in a fault or in nothing, `deaf` of those that do not heed a cancel.
    `rumours` are false hints that a node left, per digest. A crash takes a node out with
    everything in it; with `notice` its peers are told at once, as by a broken link. A
    crashed node starts anew, empty, after `repair` seconds.
    """

    loss: float = 0.0
    delay: float = 0.0
    doubling: float = 0.0
    broken: float = 0.0
    deaf: float = 0.0
    rumours: float = 0.0
    crashes: int = 0
    notice: bool = True
    repair: float = 10.0

    def over(self, links: Links) -> Links:
        """Tell what becomes of links in this weather."""
        delay: Delay | None = links.delay
        if self.delay:
            more = Uniform(0.0, self.delay)
            delay = more if delay is None else Sum(delay, more)
        return replace(
            links,
            delay=delay,
            loss=1.0 - (1.0 - links.loss) * (1.0 - self.loss),
            doubling=1.0 - (1.0 - links.doubling) * (1.0 - self.doubling),
        )

    @classmethod
    def draw(cls, rng: Random) -> Faults:
        """Draw the weather of one world."""

        def maybe(value: float) -> float:
            return value if rng.random() < 0.5 else 0.0  # noqa: PLR2004  (a fair coin)

        return cls(
            loss=maybe(rng.choice([0.01, 0.1, 0.5, 1.0])),
            delay=maybe(rng.choice([0.01, 1.0, 20.0])),
            doubling=maybe(rng.choice([0.1, 1.0])),
            broken=maybe(rng.choice([0.05, 0.5, 1.0])),
            deaf=maybe(rng.choice([0.5, 1.0])),
            rumours=maybe(rng.choice([0.05, 0.5])),
            crashes=int(maybe(rng.randint(1, 4))),
            notice=rng.random() < 0.5,  # noqa: PLR2004
            repair=rng.choice([1.0, 10.0, 1000.0]),
        )


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of one node: what it shows at the beginning (seconds), and how fast it goes."""

    offset: float = 0.0
    rate: float = 1.0

    def shows(self, at: float) -> float:
        """Tell what it shows at a moment of the world."""
        return self.offset + self.rate * at

    def moment(self, shown: float) -> float:
        """Tell the first moment of the world at which it shows no less than this."""
        at = (shown - self.offset) / self.rate
        while self.shows(at) < shown:  # by a rounding
            at += ulp(max(abs(shown), abs(self.offset), abs(at), 1.0))
        return at


CALM = Faults()
"""Nothing goes wrong."""
