"""Does a mixture pay? Compared item by item with the best member, without favour to luck.

The member that looks best on some items was lucky there, so that a mixture compared with it on
the same items looks worse than it is. So the best member is chosen on nine tenths of the items
and compared on the last tenth, in turn (cross-fitting). As the choice is luck too, it is made
anew in every resample of the items: taken for granted, differences look surer than they are,
and one in nine equal networks would get a verdict instead of one in twenty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import fsum, hypot, inf, nan, sqrt
from typing import Literal

import numpy as np

from dmoa.study.evals.chance import IMAGINED_PAIRS, MOST_ITEMS, SEED, Floats, needed_for
from dmoa.study.statistics import student

FOLDS = 10
"""Parts of the items; the best member is chosen on the others of each."""
DRAWS = 2000
"""Resamples of the items."""
WORTH = 1.0
"""The smallest gain worth having (points), as a mixture takes several jobs instead of one."""
ENOUGH = 0.5
"""Of the items that most members have: one with fewer can't be the best member."""
_POINTS = 100.0
_LEVEL = 0.95
_AT_ONCE = 2_000_000
"""Counts of a resample side by side, which bounds the memory they take."""

Word = Literal["pays", "does not pay", "can't tell"]
Values = Mapping[str, float]
"""What answers to items are worth, by item, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a configuration is better than the best member.

    `difference` is its mean gain (points of a percentage), `low` and `high` bound it with 95 %
    confidence, over `n` items that both have. `best` is the member that did best,
    `worth` the smallest gain worth having. Where that can't be told, `needed` is how many items
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


def verdict_of(
    configuration: str,
    rivals: Rivals,
    *,
    worth: float = WORTH,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Verdict:
    """Compare a configuration with the best member, on the items that both have.

    Nothing is told where fewer than two items can be compared.
    """
    mine = rivals.values.get(configuration, {})
    members = rivals.compared(mine)
    pairs = _Pairs.of(mine, [rivals.values[each] for each in members])
    (found,), (size,) = pairs.gain(np.ones((1, pairs.count))) if members else ((nan,), (0.0,))
    n = round(float(size))
    if n < 2:  # noqa: PLR2004
        return Verdict(configuration, "", nan, -inf, inf, 0, None, "can't tell", worth)
    again = np.concatenate([pairs.gain(each)[0] for each in _resampled(pairs.count, draws, seed)])
    # As if a pair had been won and one lost by halves, lest few pairs that are alike seem sure.
    error = hypot(float(np.nanstd(again, ddof=1)), _POINTS * sqrt(2 * IMAGINED_PAIRS) / n)
    half = student(n - 1, _LEVEL) * error
    gain = float(found)
    word = word_of(gain - half, gain + half, worth)
    needed = _needed(gain, error * sqrt(n), worth) if word == "can't tell" else None
    chosen = Rivals({each: rivals.values[each] for each in members}, members, rivals.costs)
    return Verdict(
        configuration, chosen.best(), gain, gain - half, gain + half, n, needed, word, worth
    )


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Sums by item are taken with: each is shaped (items, folds x members), 0 beyond its fold.

    `mine` and `theirs` are the values (points), `known` tells which members have the item.
    """

    count: int
    folds: int
    mine: Floats
    theirs: Floats
    known: Floats

    @classmethod
    def of(cls, mine: Values, members: Sequence[Values]) -> _Pairs:
        """Arrange values by fold."""
        folds = folds_of(mine)
        rows = [(name, fold) for fold, names in enumerate(folds) for name in names]
        shape = (len(rows), len(folds), len(members))
        ours, theirs, known = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for row, (name, fold) in enumerate(rows):
            for place, values in enumerate(members):
                if name in values:
                    ours[row, fold, place] = _POINTS * mine[name]
                    theirs[row, fold, place] = _POINTS * values[name]
                    known[row, fold, place] = 1.0
        flat = (len(rows), len(folds) * len(members))
        return cls(
            len(rows), len(folds), ours.reshape(flat), theirs.reshape(flat), known.reshape(flat)
        )

    def gain(self, counts: Floats) -> tuple[Floats, Floats]:
        """Cross-fit resamples, shaped (resamples, items): the gain of each, and its pairs."""
        shape = (len(counts), self.folds, -1)
        ours, theirs, known = (
            (counts @ each).reshape(shape) for each in (self.mine, self.theirs, self.known)
        )
        others = known.sum(axis=1, keepdims=True) - known
        elsewhere = theirs.sum(axis=1, keepdims=True) - theirs
        means = np.where(others > 0.0, elsewhere / np.maximum(others, 1.0), -inf)
        best = means.argmax(axis=2)[:, :, None]
        gains, sizes = (
            np.take_along_axis(each, best, axis=2).sum(axis=(1, 2))
            for each in (ours - theirs, known)
        )
        return np.where(sizes > 0.0, gains / np.maximum(sizes, 1.0), nan), sizes


def _resampled(count: int, draws: int, seed: int) -> Iterator[Floats]:
    """Draw the items anew, in parts that fit the memory."""
    dice = np.random.default_rng(seed)
    part = max(1, _AT_ONCE // count)
    for begin in range(0, draws, part):
        size = min(part, draws - begin)
        yield dice.multinomial(count, np.full(count, 1.0 / count), size).astype(np.float64)


def word_of(low: float, high: float, worth: float) -> Word:
    """Put an interval of a gain (points) in words: one that is surely too small does not pay."""
    if high < worth or high < 0.0:
        return "does not pay"
    return "pays" if low > 0.0 else "can't tell"


def folds_of(items: Collection[str]) -> list[list[str]]:
    """Part items into `FOLDS` of equal size, by a hash of their names: the same on all machines.

    Fewer than two items have no other to choose a member on, and no fold.
    """
    if len(items) < 2:  # noqa: PLR2004
        return []
    mixed = sorted(items, key=lambda each: sha256(each.encode()).digest())
    count = min(FOLDS, len(mixed))
    return [mixed[each::count] for each in range(count)]


def _needed(difference: float, deviation: float, worth: float) -> int:
    """Count the items that would tell: that there is a gain, or that it is not worth it."""
    told = [MOST_ITEMS + 1]
    if difference > 0.0:
        told.append(needed_for(difference, deviation))
    if difference < worth:
        told.append(needed_for(worth - difference, deviation))
    return min(told)
