"""How well a simulated figure is known: means over replications, and their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, fsum, inf, lgamma, log, log1p, nan, sqrt

LEVEL = 0.95
"""The confidence of an interval, where no other is asked for."""
_TINY = 1e-300
_CLOSE = 1e-15
_STEPS = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and the half width of its interval: inf where one value alone tells nothing."""

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Where the interval begins."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.mean + self.half


def mean_of(values: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Estimate the mean of what independent replications measured, by Student's t.

    The interval holds the true mean with probability `level`, if the values are independent
    and not far from normal, as means over many queries are. One nan makes all of it nan.
    """
    count = len(values)
    if count == 0:
        return Estimate(nan, inf, 0)
    mean = fsum(values) / count
    if count == 1:
        return Estimate(mean, inf, 1)
    variance = fsum((each - mean) ** 2 for each in values) / (count - 1)
    return Estimate(mean, student(count - 1, level) * sqrt(variance / count), count)


def change_of(before: Sequence[float], after: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Estimate the relative change of a mean, pair by pair: -0.5 is half as much as before.

    Replications that share their dice differ less from each other than each does from the
    truth. The change is that of the means, mean(after) / mean(before) - 1, and its interval
    that of the ratio estimator: of the residues after_i - ratio before_i.
    """
    if len(before) != len(after):
        raise AssertionError("pairs of replications are as many before as after")
    base, other = mean_of(before), mean_of(after)
    if not base.mean:
        return Estimate(nan, inf, len(before))
    ratio = other.mean / base.mean
    pairs = zip(before, after, strict=True)
    rest = mean_of([late - ratio * early for early, late in pairs], level=level)
    return Estimate(ratio - 1.0, rest.half / abs(base.mean), len(before))


# -- Student's t ----------------------------------------------------------------------


@lru_cache(maxsize=1024)
def student(freedom: int, level: float = LEVEL) -> float:
    """Find the t that a t-distributed value stays within, on both sides, with `level`.

    `freedom` counts the degrees of freedom. Bisection of the exact distribution, so that it
    is right to all digits that matter.
    """
    if freedom < 1 or not 0.0 < level < 1.0:
        raise AssertionError("Student's t has a degree of freedom at least, and a level within 1")
    low, high = 0.0, 1.0
    while _within(high, freedom) < level:
        low, high = high, 2.0 * high
    while high - low > _CLOSE * high:
        middle = 0.5 * (low + high)
        if middle in (low, high):
            break
        if _within(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _within(t: float, freedom: int) -> float:
    """Tell the probability that |T| <= t: 1 - I_x(freedom/2, 1/2) with x = f / (f + t^2)."""
    square = t * t
    return 1.0 - _beta(freedom / (freedom + square), square / (freedom + square), freedom / 2.0)


def _beta(x: float, rest: float, a: float, b: float = 0.5) -> float:
    """Compute the regularised incomplete beta function I_x(a, b); `rest` is 1 - x.

    By its continued fraction (Abramowitz and Stegun 26.5.8), from the end where it converges.
    """
    if rest <= 0.0:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * _log(x, rest) + b * log(rest))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(x, a, b) / a
    return 1.0 - front * _fraction(rest, b, a) / b


def _log(x: float, rest: float) -> float:
    return log1p(-rest) if rest < x else log(x)


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction, after Lentz: numerator and denominator in step."""
    above, below = 1.0, 1.0 / _away(1.0 - (a + b) * x / (a + 1.0))
    value = below
    for step in range(1, _STEPS):
        twice = a + 2 * step
        even = step * (b - step) * x / ((twice - 1.0) * twice)
        odd = -(a + step) * (a + b + step) * x / (twice * (twice + 1.0))
        for part in (even, odd):
            below = 1.0 / _away(1.0 + part * below)
            above = _away(1.0 + part / above)
            value *= below * above
        if abs(below * above - 1.0) < _CLOSE:
            break
    return value


def _away(value: float) -> float:
    """Keep a value away from 0."""
    return value if abs(value) > _TINY else _TINY
