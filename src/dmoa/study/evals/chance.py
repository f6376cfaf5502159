"""What chance may have done: intervals by bootstrap over the items, and how many would do.

Items are drawn again, with repetition, as if others of their kind had been asked. A plain
bootstrap is sure of itself where all values are alike: twenty wrong answers of twenty would be
0 % for certain. So a few imagined items at both ends take part in the draws, as many as make the
intervals of proportions hold (Agresti and Coull 1998; of pairs, Agresti and Min 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, nan, sqrt

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
"""The confidence of an interval."""
DRAWS = 4000
"""Resamples of a bootstrap."""
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
    values: Sequence[float] | Floats,
    *,
    scale: tuple[float, float] = (0.0, 100.0),
    draws: int = DRAWS,
    seed: int = SEED,
) -> Interval:
    """Estimate a mean over items, whose values lie within `scale`; nan where there are none."""
    low, high = scale
    imagined = ((low, IMAGINED), (high, IMAGINED))
    return _bootstrap(np.asarray(values, dtype=np.float64), imagined, draws, seed)


def difference_of(
    values: Sequence[float] | Floats,
    *,
    most: float = 100.0,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Interval:
    """Estimate the mean of differences within pairs, none of them larger than `most`."""
    imagined = ((-most, IMAGINED_PAIRS), (0.0, 2 * IMAGINED_PAIRS), (most, IMAGINED_PAIRS))
    return _bootstrap(np.asarray(values, dtype=np.float64), imagined, draws, seed)


def _bootstrap(
    values: Floats, imagined: Sequence[tuple[float, float]], draws: int, seed: int
) -> Interval:
    count = len(values)
    if not count:
        return Interval(nan, nan, nan, nan, 0)
    # Few values differ: drawing how often each comes is the same, and much quicker.
    levels, often = np.unique(values, return_counts=True)
    levels = np.concatenate([levels, [each for each, _ in imagined]])
    shares = np.concatenate([often, [weight for _, weight in imagined]])
    dice = np.random.default_rng(seed)
    means = dice.multinomial(count, shares / shares.sum(), draws) @ levels / count
    return interval_of(float(values.mean()), means, count)


def interval_of(mean: float, again: Floats, count: int) -> Interval:
    """Sum up what resamples of `count` items gave; the interval never leaves out the mean."""
    if len(again) < 2:  # noqa: PLR2004
        return Interval(mean, nan, nan, nan, count)
    tail = 50.0 * (1.0 - LEVEL)
    low, high = (float(each) for each in np.percentile(again, [tail, 100.0 - tail]))
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
