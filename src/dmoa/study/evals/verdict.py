"""Does a mixture pay? Compared item by item with all members, without favour to luck.

The member that looks best on some items was lucky there, so that a mixture compared with it alone
looks worse than it is: of networks in which all are equal, one in ten would hear that the mixture
does not pay. So the gain over the best member, whoever that is, is bounded by what is known of
all of them. It is at least the least of the lower bounds: a mixture pays that beats every member,
and each is asked at 2.5 %, as all must agree (Berger 1982). It is at most the least of the upper
bounds, of which any may be wrong by luck, so that they share the 2.5 % (Bonferroni).

To choose the best member on other items than it is compared on (cross-fitting) looks fairer, but
the choice adds noise that the differences don't show, most where members are alike: its intervals
miss the truth twice as often as they say, and with honest ones it finds less than this does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, inf, isfinite, nan, sqrt
from typing import Literal

from dmoa.study.evals.chance import (
    MOST_ITEMS,
    SEED,
    TAIL,
    Interval,
    difference_of,
    needed_for,
)

WORTH = 1.0
"""The smallest gain worth having (points), as a mixture takes several jobs instead of one."""
ENOUGH = 0.5
"""Of the items that most members have: one with fewer can't be the best member."""
DRAWS = 1000
"""Resamples of the items, for each member; only their deviation is looked at."""
_POINTS = 100.0

Word = Literal["pays", "does not pay", "can't tell"]
Values = Mapping[str, float]
"""What answers to items are worth, by item, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a configuration is better than the best member.

    `difference` is its mean gain (points of a percentage) over `best`, the member that did best,
    on the `n` items that both have. With 95 % confidence the gain over the member that is best
    lies within `low` and `high`; as `best` was lucky, too, it is rather more than less. `worth`
    is the smallest gain worth having. Where that can't be told, `needed` is how many items
    would do, with a power of 80 % and if the gain is as observed; `MOST_ITEMS` + 1 is more.
    """

    configuration: str
    best: str
    difference: float
    low: float
    high: float
    n: int
    needed: int | None
    word: Word
    worth: float = WORTH

    def words(self) -> str:
        """Say it in a sentence."""
        if not self.n:
            return f"{self.configuration}: {self.word}, no items have it and a member to compare."
        return (
            f"{self.configuration}: {self.word}, {self.difference:+.1f} points beside the best "
            f"member ({self.best}), 95 % interval {self.low:+.1f} to {self.high:+.1f}, "
            f"{self.n:,} items{self._what_would_do()}."
        )

    def _what_would_do(self) -> str:
        if self.word == "does not pay" and self.high >= 0.0:
            return f"; a gain of {self.worth:g} {_unit(self.worth)} or more is ruled out"
        if self.needed is None:
            return ""
        many = f"{self.needed:,}" if self.needed <= MOST_ITEMS else f"more than {MOST_ITEMS:,}"
        about = "about " if self.needed <= MOST_ITEMS else ""
        return f"; if that is its gain, {about}{many} items would tell"


@dataclass(frozen=True, slots=True)
class Rivals:
    """What a configuration is compared with: the members' values, and what they cost.

    `values` are by configuration, those of the compared one among them. Of members that are as
    good, the one with the lowest of `costs` (tokens per query) is the best, then the first name.
    """

    values: Mapping[str, Values]
    members: Sequence[str]
    costs: Mapping[str, float] = field(default_factory=dict[str, float])

    def best(self) -> str:
        """Name the best member by all it answered; empty where none did."""
        found = [
            (-fsum(known.values()) / len(known), self.costs.get(name, inf), name)
            for name in self.members
            if (known := self.values.get(name))
        ]
        return min(found)[2] if found else ""

    def compared(self, mine: Values) -> list[str]:
        """List the members that share enough items, the first of equals first."""
        shared = {
            each: len(self.values.get(each, {}).keys() & mine.keys()) for each in self.members
        }
        most = max(shared.values(), default=0)
        enough = [each for each, size in shared.items() if 0 < ENOUGH * most <= size]
        return sorted(enough, key=lambda each: (self.costs.get(each, inf), each))


def _unit(points: float) -> str:
    return "point" if points == 1.0 else "points"


def verdict_of(  # noqa: PLR0913  (what a verdict depends on)
    configuration: str,
    rivals: Rivals,
    *,
    worth: float = WORTH,
    among: int = 1,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Verdict:
    """Compare a configuration with the best member, on the items that both have.

    Where it was chosen `among` several because it did best, the lower bound allows for that luck
    (Bonferroni). Nothing is told where fewer than two items can be compared.
    """
    mine = rivals.values.get(configuration, {})
    members = rivals.compared(mine)
    gains: dict[str, Interval] = {}
    for name in members:
        theirs = rivals.values[name]
        pairs = [_POINTS * (mine[each] - theirs[each]) for each in mine if each in theirs]
        above = TAIL / len(members)
        gains[name] = difference_of(pairs, below=TAIL / among, above=above, draws=draws, seed=seed)
    best = min(gains, key=lambda each: gains[each].mean, default="")
    if not best or not isfinite(gains[best].low):
        return Verdict(configuration, "", nan, -inf, inf, 0, None, "can't tell", worth)
    found = gains[best]
    low = min(each.low for each in gains.values())
    high = min(each.high for each in gains.values())
    word = word_of(low, high, worth)
    needed = None
    if word == "can't tell":
        needed = _needed(found.mean, found.error * sqrt(found.count), worth)
    return Verdict(configuration, best, found.mean, low, high, found.count, needed, word, worth)


def word_of(low: float, high: float, worth: float) -> Word:
    """Put an interval of a gain (points) in words: one that is surely too small does not pay."""
    if high < worth or high < 0.0:
        return "does not pay"
    return "pays" if low > 0.0 else "can't tell"


def _needed(difference: float, deviation: float, worth: float) -> int:
    """Count the items that would tell: that there is a gain, or that it is not worth it."""
    told = [MOST_ITEMS + 1]
    if difference > 0.0:
        told.append(needed_for(difference, deviation))
    if difference < worth:
        told.append(needed_for(worth - difference, deviation))
    return min(told)
