"""The ways between nodes: how long messages take, which are lost or doubled, which are cut off.

Nodes are numbered from 0, times are seconds, shares are probabilities per message. Each kind
of mishap has dice of its own, so that switching one on does not reshuffle the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, isnan
from random import Random
from typing import Protocol

from dmoa.errors import LawError


class Delay(Protocol):
    """How long a message is on its way; the laws of `theory/laws.py` will do."""

    def draw(self, rng: Random) -> float:
        """Draw the seconds of one message."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything from `low` to `high` seconds, so that messages overtake one another."""

    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no span of time."""
        if not (0.0 <= self.low <= self.high and isfinite(self.high)):
            raise LawError(
                f"a delay from {self.low:g} to {self.high:g} s cannot be",
                hint="give two durations in seconds, the shorter first",
            )

    def draw(self, rng: Random) -> float:
        """Draw the seconds of one message."""
        return rng.uniform(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Sum:
    """One delay after the other."""

    one: Delay
    other: Delay

    def draw(self, rng: Random) -> float:
        """Draw both."""
        return self.one.draw(rng) + self.other.draw(rng)


@dataclass(frozen=True, slots=True)
class Partition:
    """From `since` until `until` nodes of different groups cannot hear each other.

    Nodes that are in no group form one more. A message whose way is cut at any moment
    between its sending and its arrival is lost, and nobody is told; then the cut heals. Where it
    is `one_way`, only what the first group says is lost: it still hears the others.
    """

    since: float
    until: float
    groups: tuple[tuple[int, ...], ...]
    one_way: bool = False

    def __post_init__(self) -> None:
        """Refuse what divides nothing, or somebody in two."""
        if isnan(self.since) or not self.since < self.until:
            raise LawError(
                f"a partition from {self.since:g} to {self.until:g} s cannot be",
                hint="give two times in seconds, the earlier first",
            )
        members = [node for group in self.groups for node in group]
        twice = [node for node in members if members.count(node) > 1]
        if twice:
            raise LawError(f"node {twice[0] + 1} cannot be in two groups of one partition")

    def cuts(self, one: int, other: int, sent: float, arrives: float) -> bool:
        """Tell whether a message from one node to another is lost to this partition."""
        if arrives < self.since or sent >= self.until:
            return False
        group = self._group(one)
        return group != self._group(other) and not (self.one_way and group != 0)

    def _group(self, node: int) -> int:
        return next((at for at, group in enumerate(self.groups) if node in group), -1)


@dataclass(frozen=True, slots=True)
class Links:
    """How messages fare between any two nodes; without a `delay` they arrive at once."""

    delay: Delay | None = None
    loss: float = 0.0
    doubling: float = 0.0
    partitions: tuple[Partition, ...] = ()

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        for name in ("loss", "doubling"):
            share: float = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise LawError(
                    f"a {name} of {share:g} cannot be", hint="give a share between 0 and 1"
                )

    @property
    def healed(self) -> float:
        """When the last partition heals (seconds); 0 without any."""
        return max((each.until for each in self.partitions), default=0.0)

    @property
    def instant(self) -> bool:
        """Tell whether every message arrives, once and at once."""
        return self == INSTANT


INSTANT = Links()
"""Every message arrives, once and at once."""


def draw_partition(rng: Random, nodes: int, span: float) -> Partition:
    """Draw a partition in two that begins within `span` seconds, and some day heals."""
    members = rng.sample(range(nodes), rng.randint(0, nodes))
    since = rng.uniform(0.0, span)
    lasting = rng.choice([0.1, 3.0, 30.0, inf])
    one_way = rng.random() < 0.4  # noqa: PLR2004  (a share of them)
    return Partition(since, since + lasting, (tuple(sorted(members)),), one_way)


class Carrier:
    """Links at work."""

    def __init__(self, links: Links, seed: int | str) -> None:
        """Lay out the dice of a seed."""
        self._links = links
        self._losses = Random(f"{seed}/losses")
        self._delays = Random(f"{seed}/delays")
        self._doublings = Random(f"{seed}/doublings")

    def carry(self, sender: int, to: int, now: float) -> list[float]:
        """Tell after how many seconds each copy of a message arrives; none where it is lost."""
        links, arriving = self._links, list[float]()
        doubled = links.doubling and self._doublings.random() < links.doubling
        for _ in range(2 if doubled else 1):
            delay = links.delay.draw(self._delays) if links.delay is not None else 0.0
            lost = links.loss and self._losses.random() < links.loss
            cut = any(each.cuts(sender, to, now, now + delay) for each in links.partitions)
            if not (lost or cut):
                arriving.append(delay)
        return arriving
