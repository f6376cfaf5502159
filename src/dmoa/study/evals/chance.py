"""What chance may have done: intervals by bootstrap over the items, and how many would do.

Items are drawn again, with repetition, as if others of their kind had been asked. A plain
bootstrap is sure of itself where all values are alike: twenty wrong answers of twenty would be
0 % for certain. So a few imagined items at both ends take part in the draws, as many as make the
intervals of proportions hold (Agresti and Coull 1998; of pairs, Agresti and Min 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, nan, sqrt

import numpy as np
import numpy.typing as npt

from dmoa.study.statistics import student

Floats = npt.NDArray[np.float64]

TAIL = 0.025
"""Chance that the truth lies below an interval, and that it lies above it."""
DRAWS = 2000
"""Resamples of a bootstrap."""
_AT_ONCE = 2_000_000
"""Counts of resamples side by side, which bounds the memory they take."""
SEED = 20241221
"""Of the resamples, so that the same run has the same intervals."""
MOST_ITEMS = 100_000
"""More would be needed: not told exactly, as nobody will ask that many."""
IMAGINED = 2.0
"""Items at each end of the scale, beside those of a mean."""
IMAGINED_PAIRS = 0.5
"""Pairs at each end of the scale, beside those of a difference, and twice as many in its middle."""
_SURE = 1.959964
"""Of a normal deviate, two-sided 5 %."""
_POWER = 0.841621
"""The same, one-sided 20 %: a true difference is found in 80 % of the studies."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, its standard error, and where the true mean lies with 95 % confidence."""

    mean: float
    error: float
    low: float
    high: float
    count: int


def mean_of(
    values: Sequence[float] | Floats, *, most: float = 100.0, draws: int = DRAWS, seed: int = SEED
) -> Interval:
    """Estimate a mean over items, whose values lie from 0 to `most`; nan where there are none."""
    imagined = ((0.0, IMAGINED), (most, IMAGINED))
    found = _estimate(values, imagined, draws=draws, seed=seed)
    return replace(found, low=max(found.low, 0.0), high=min(found.high, most))


def difference_of(  # noqa: PLR0913  (what an interval depends on)
    values: Sequence[float] | Floats,
    *,
    most: float = 100.0,
    below: float = TAIL,
    above: float = TAIL,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Interval:
    """Estimate the mean of differences within pairs, none of them larger than `most`.

    `below` and `above` are the chances that the truth lies below, or above, the interval.
    """
    imagined = ((-most, IMAGINED_PAIRS), (0.0, 2 * IMAGINED_PAIRS), (most, IMAGINED_PAIRS))
    return _estimate(values, imagined, below=below, above=above, draws=draws, seed=seed)


def _estimate(  # noqa: PLR0913  (the same)
    values: Sequence[float] | Floats,
    imagined: Sequence[tuple[float, float]],
    *,
    below: float = TAIL,
    above: float = TAIL,
    draws: int,
    seed: int,
) -> Interval:
    """Bootstrap a mean; `imagined` are values and how many items have them.

    The ends are told from the deviation of the resamples, by Student's t: they may be further
    out than resamples show, and resamples of few items have few values.
    """
    found = np.asarray(values, dtype=np.float64)
    mean, count = float(found.mean()) if len(found) else nan, len(found)
    if count < 2 or draws < 2:  # noqa: PLR2004
        return Interval(mean, nan, nan, nan, count)
    again = _again(found, imagined, draws, seed)
    added = sum(weight for _, weight in imagined)
    middle = (mean * count + sum(at * weight for at, weight in imagined)) / (count + added)
    error = float(again.std(ddof=1))
    low = middle - student(count - 1, 1.0 - 2.0 * below) * error
    high = middle + student(count - 1, 1.0 - 2.0 * above) * error
    return Interval(mean, error, min(low, mean), max(high, mean), count)


def _again(
    values: Floats, imagined: Sequence[tuple[float, float]], draws: int, seed: int
) -> Floats:
    """Draw items and imagined ones anew, and tell the means; shaped (draws,)."""
    count = len(values)
    # Few values differ: drawing how often each comes is the same, and much quicker.
    levels, often = np.unique(values, return_counts=True)
    levels = np.concatenate([levels, [each for each, _ in imagined]])
    shares = np.concatenate([often, [weight for _, weight in imagined]])
    dice = np.random.default_rng(seed)
    part = max(1, _AT_ONCE // len(levels))
    parts = [
        dice.multinomial(count, shares / shares.sum(), min(part, draws - first)) @ levels / count
        for first in range(0, draws, part)
    ]
    return np.concatenate(parts)


def interval_of(mean: float, again: Floats, count: int) -> Interval:
    """Sum up what resamples of `count` items gave; the interval never leaves out the mean."""
    if len(again) < 2:  # noqa: PLR2004
        return Interval(mean, nan, nan, nan, count)
    low, high = (float(each) for each in np.quantile(again, [TAIL, 1.0 - TAIL]))
    return Interval(mean, float(again.std(ddof=1)), min(low, mean), max(high, mean), count)


def resamples(count: int, draws: int, seed: int = SEED) -> Floats:
    """Draw `count` items anew: how often each comes, shaped (draws, count)."""
    dice = np.random.default_rng(seed)
    return dice.multinomial(count, np.full(count, 1.0 / count), draws).astype(np.float64)


def needed_for(difference: float, deviation: float) -> int:
    """Tell how many pairs tell such a difference from 0, in 80 % of the studies at 5 %.

    `MOST_ITEMS` + 1 stands for more than that.
    """
    if abs(difference) * sqrt(MOST_ITEMS) <= (_SURE + _POWER) * deviation:
        return MOST_ITEMS + 1
    return max(2, ceil(((_SURE + _POWER) * deviation / difference) ** 2))
