"""Laws of chance: how long jobs take. Times in seconds.

A law is a shape with a mean. All draws go through one function of uniform numbers,
`unit_time`, which the fast kernel compiles as it stands: no engine has laws of its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, cos, erf, exp, fsum, inf, isfinite, log, pi, sqrt
from random import Random
from typing import Protocol

from dmoa.errors import LawError

FIXED, EXPONENTIAL, LOG_NORMAL, PARETO, TOKENS, MEASURED = range(6)
"""The codes of `unit_time`."""
TOKENS_MAX = 8192
"""No proposal is longer (tokens)."""
CV_MAX = 1000.0
"""A law that varies more has no mean that anyone could measure."""
_TAIL = 1e-12
"""A tail lighter than this is nothing, and so is a relative error."""
_ROUNDING = 1e-6
"""Tokens: more than rounding makes of a whole number of them, and less than one."""


class Law(Protocol):
    """A positive random duration.

    `code`, `numbers` (always three) and `table` are what `unit_time` needs. `common` is the
    share of the log-variance that all jobs of a query have in common: long questions are
    long everywhere.
    """

    @property
    def mean(self) -> float:
        """The expected duration (seconds)."""
        ...

    @property
    def cv(self) -> float:
        """The coefficient of variation: standard deviation over mean."""
        ...

    @property
    def code(self) -> int:
        """Which law it is."""
        ...

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Its parameters, for the mean of 1."""
        ...

    @property
    def table(self) -> Sequence[float]:
        """Its values, for the mean of 1, where it is empirical."""
        ...

    def draw(self, rng: Random, common: float = 0.0) -> float:
        """Draw a duration; `common` is the standard normal of the query."""
        ...

    def cdf(self, seconds: float) -> float:
        """Tell the probability of at most `seconds`."""
        ...


def unit_time(  # noqa: PLR0913, PLR0917  (numbers only, so that it can be compiled)
    code: int,
    a: float,
    b: float,
    c: float,
    table: Sequence[float],
    u: float,
    v: float,
    common: float,
) -> float:
    """Make a duration of mean 1 from `u`, `v` in [0, 1) and the query's standard normal.

    Log-normal: exp(a + b Z), the share `c` of the variance of Z being the query's. Tokens:
    a share `c` for the prompt, the rest in proportion to whole tokens. Pareto: a (1-u)^(-1/b).
    """
    if code == FIXED:
        return 1.0
    if code == EXPONENTIAL:
        return -log(1.0 - u)
    if code == PARETO:
        return a * exp(-log(1.0 - u) / b)
    if code == MEASURED:
        return table[int(u * len(table))]
    own = sqrt(-2.0 * log(1.0 - u)) * cos(2.0 * pi * v)
    if code == LOG_NORMAL:
        return exp(a + b * (sqrt(c) * common + sqrt(1.0 - c) * own))
    # Without the last term exp(log(3)) would be a little more than 3, and so 4 tokens.
    tokens = min(float(ceil(exp(a + b * own - _TAIL))), TOKENS_MAX)
    return c + (1.0 - c) * tokens / table[0]


@dataclass(frozen=True, slots=True)
class _Shape:
    """What all laws have in common; `mean` in seconds."""

    mean: float = 1.0

    code = FIXED
    common = 0.0

    def __post_init__(self) -> None:
        """Refuse a mean that is none."""
        if not (isfinite(self.mean) and self.mean >= 0.0):
            raise LawError(
                f"a mean service time of {self.mean:g} s cannot be",
                hint="give seconds per job, finite and 0 or more",
            )

    @property
    def numbers(self) -> tuple[float, float, float]:
        """The parameters of the unit law."""
        return (0.0, 0.0, 0.0)

    @property
    def table(self) -> Sequence[float]:
        """The values of an empirical law; never empty, so that its type is known."""
        return (1.0,)

    def draw(self, rng: Random, common: float = 0.0) -> float:
        """Draw a duration (seconds)."""
        u, v = rng.random(), rng.random()
        return self.mean * unit_time(self.code, *self.numbers, self.table, u, v, common)

    def cdf(self, seconds: float) -> float:
        """Tell the probability of at most `seconds`."""
        if self.mean == 0.0:
            return 1.0 if seconds >= 0.0 else 0.0
        return self._below(seconds / self.mean)

    def _below(self, unit: float) -> float:
        """Tell the same for a mean of 1: here, of a law that is always 1."""
        return 1.0 if unit >= 1.0 else 0.0


@dataclass(frozen=True, slots=True)
class Fixed(_Shape):
    """Always the same."""

    @property
    def cv(self) -> float:
        """No variation."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Exponential(_Shape):
    """Without memory, as in the paper's Markov chain."""

    code = EXPONENTIAL

    @property
    def cv(self) -> float:
        """As much as the mean."""
        return 1.0

    def _below(self, unit: float) -> float:
        """1 - exp(-t)."""
        return 1.0 - exp(-unit) if unit > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class LogNormal(_Shape):
    """Most jobs short, a few long, as answers of language models are."""

    cv: float = 0.8
    common: float = 0.0

    code = LOG_NORMAL

    def __post_init__(self) -> None:
        """Refuse a spread without end, and shares that are none."""
        _Shape.__post_init__(self)
        if not (0.0 <= self.cv <= CV_MAX and 0.0 <= self.common <= 1.0):
            raise LawError(
                f"a log-normal law with cv {self.cv:g} and a common share of {self.common:g} "
                "cannot be",
                hint=f"the cv is from 0 to {CV_MAX:g}, the share from 0 to 1",
            )

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Mean and deviation of the logarithm, and the query's share of the variance."""
        variance = log(1.0 + self.cv**2)
        return (-variance / 2.0, sqrt(variance), self.common)

    def _below(self, unit: float) -> float:
        """That of the normal law at the logarithm."""
        mu, sigma, _ = self.numbers
        return _log_normal_cdf(unit, mu, sigma)


@dataclass(frozen=True, slots=True)
class Pareto(_Shape):
    """A heavy tail: P(S > t) falls like t^-shape. Without a mean up to a shape of 1."""

    shape: float = 2.5

    code = PARETO

    def __post_init__(self) -> None:
        """Refuse a law without a mean."""
        _Shape.__post_init__(self)
        if not (isfinite(self.shape) and self.shape > 1.0):
            raise LawError(
                f"a Pareto law of shape {self.shape:g} has no mean: no queue is stable under it",
                hint="give a finite shape above 1; above 2 its variance is finite as well",
            )

    @property
    def cv(self) -> float:
        """Infinite up to a shape of 2."""
        shape = self.shape
        return inf if shape <= 2.0 else sqrt(1.0 / (shape * (shape - 2.0)))  # noqa: PLR2004

    @property
    def numbers(self) -> tuple[float, float, float]:
        """The least value, and the shape."""
        return ((self.shape - 1.0) / self.shape, self.shape, 0.0)

    def _below(self, unit: float) -> float:
        """1 - (least / t)^shape."""
        least = self.numbers[0]
        return 1.0 - (least / unit) ** self.shape if unit > least else 0.0


@dataclass(frozen=True, slots=True)
class Tokens(_Shape):
    """Service token by token: a fixed part for the prompt, then one step for each token.

    `tokens` is the mean of the log-normal count before it is rounded up, `spread` its cv,
    `prompt` the share of the mean service time that the prompt takes.
    """

    tokens: float = 200.0
    spread: float = 0.6
    prompt: float = 0.1
    count: float = field(init=False, default=0.0)
    cv: float = field(init=False, default=0.0)

    code = TOKENS

    def __post_init__(self) -> None:
        """Work out the mean count: the sum of P(N > n) up to the largest."""
        _Shape.__post_init__(self)
        well = 1.0 <= self.tokens <= TOKENS_MAX and 0.0 <= self.spread <= CV_MAX
        if not (well and 0.0 <= self.prompt < 1.0):
            raise LawError(
                f"a law of {self.tokens:g} tokens, cv {self.spread:g} and a prompt's share of "
                f"{self.prompt:g} cannot be",
                hint=f"tokens are 1 to {TOKENS_MAX}, the cv 0 to {CV_MAX:g}, the share below 1",
            )
        mu, sigma, _ = self.numbers
        above = [1.0 - _log_normal_cdf(float(n), mu, sigma) for n in range(TOKENS_MAX)]
        mean = fsum(above)
        square = fsum((2 * n + 1) * each for n, each in enumerate(above))
        object.__setattr__(self, "count", mean)
        deviation = sqrt(max(0.0, square - mean**2))
        object.__setattr__(self, "cv", (1.0 - self.prompt) * deviation / mean)

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Mean and deviation of the logarithm of the count, and the prompt's share."""
        variance = log(1.0 + self.spread**2)
        return (log(self.tokens) - variance / 2.0, sqrt(variance), self.prompt)

    @property
    def table(self) -> Sequence[float]:
        """The mean count."""
        return (self.count,)

    def _below(self, unit: float) -> float:
        """That of the count, in steps."""
        share = (unit - self.prompt) / (1.0 - self.prompt)
        tokens = int(max(0.0, min(share * self.count + _ROUNDING, TOKENS_MAX)))
        if tokens >= TOKENS_MAX:
            return 1.0
        mu, sigma, _ = self.numbers
        return _log_normal_cdf(float(tokens), mu, sigma) if tokens >= 1 else 0.0


@dataclass(frozen=True, slots=True)
class Measured(_Shape):
    """One of the durations that were measured, each as likely."""

    samples: tuple[float, ...] = (1.0,)
    cv: float = field(init=False, default=0.0)

    code = MEASURED

    def __post_init__(self) -> None:
        """Sort the samples, for a mean of 1."""
        _Shape.__post_init__(self)
        wrong = [each for each in self.samples if not (isfinite(each) and each >= 0.0)]
        total = fsum(self.samples) if not wrong else 0.0
        if wrong or total <= 0.0:
            why = f"{wrong[0]:g} s is among them" if wrong else "their mean is not above 0 s"
            raise LawError(
                f"measured service times make no law: {why}",
                hint="give durations in seconds, finite and not all 0",
            )
        mean = total / len(self.samples)
        unit = tuple(sorted(each / mean for each in self.samples))
        object.__setattr__(self, "samples", unit)
        square = fsum(each**2 for each in unit) / len(unit)
        object.__setattr__(self, "cv", sqrt(max(0.0, square - 1.0)))

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Measured:
        """Take the law of these very durations, with their mean."""
        shape = cls(samples=tuple(seconds))
        return cls(fsum(seconds) / len(seconds), shape.samples)

    @property
    def table(self) -> Sequence[float]:
        """The samples, for a mean of 1."""
        return self.samples

    def _below(self, unit: float) -> float:
        """The share of the samples that are no longer."""
        return bisect_right(self.samples, unit * (1.0 + _TAIL)) / len(self.samples)


def _log_normal_cdf(value: float, mu: float, sigma: float) -> float:
    if value <= 0.0:
        return 0.0
    if sigma == 0.0:
        return 1.0 if log(value) >= mu - _TAIL else 0.0
    return 0.5 * (1.0 + erf((log(value) - mu) / (sigma * sqrt(2.0))))


# -- by name --------------------------------------------------------------------------

FORMS = "fixed, exp, lognormal[:CV[:COMMON]], pareto[:SHAPE], tokens[:COUNT[:CV[:PROMPT]]]"
"""How a law is written."""


def parse_law(text: str, mean: float = 1.0) -> Law:
    """Read a law such as `lognormal:0.8:0.5`, with its mean in seconds; LawError if none."""
    name, *rest = text.strip().split(":")
    try:
        numbers = [float(each) for each in rest]
    except ValueError:
        raise LawError(f"{text!r} is no law of service", hint=f"the laws are {FORMS}") from None
    kinds = {
        "fixed": (Fixed, 0),
        "exp": (Exponential, 0),
        "lognormal": (LogNormal, 2),
        "pareto": (Pareto, 1),
        "tokens": (Tokens, 3),
    }
    kind, most = kinds.get(name, (None, 0))
    if kind is None or len(numbers) > most:
        raise LawError(f"{text!r} is no law of service", hint=f"the laws are {FORMS}")
    return kind(mean, *numbers)
