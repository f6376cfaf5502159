"""Win rates of AlpacaEval 2.0: plain, discrete, and controlled for length (arXiv 2404.04475).

The length-controlled one is what a logistic model of the preferences says of answers as long as
the reference's. Its features are the difference in length, how difficult the instruction is, and
a constant. Judgements of two baselines that only play with length are mixed in, so that length
explains what it must; they enter a logistic fit through one statistic alone.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan, sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dmoa.errors import UsageError
from dmoa.study.evals.chance import SEED, Interval, interval_of, resamples

Floats = npt.NDArray[np.float64]

GAMED = (-182.695, 412.89)
"""Of both gamed baselines: preferences times tanh of length, and times difficulty, summed.

Recovered from published weights; known to about 0.02 and 0.12.
"""
GAMED_WEIGHT = 0.1
"""Of a judgement of a gamed baseline: 0.2, shared by the two."""
REFITS = 1000
"""Resamples of the items that the length-controlled win rate is fitted to again."""
_GAMED_COLUMNS = ("gamed_concise_std_delta_len", "gamed_verbose_std_delta_len")
PENALTY = 0.2
"""On the sum of the absolute weights; keeps the fit finite where answers always win.

The package chooses one by cross-validation, for public models 0.046 or 0.359. That in between
is at most 0.05 points away from either, and does not jump from one to the other.
"""
_NEAR_0 = 1e-3
"""A weight nearer than that is pulled to 0 the less, the nearer it is."""
_TURNS = 200
_CLOSE = 1e-7
_AT_ONCE = 250
"""Refits side by side, which bounds the memory they take."""


@dataclass(frozen=True, slots=True)
class WinRate:
    """Preferences summed up (percent), as the leaderboard has them.

    `standard_error` is that of the mean; `discrete` counts a win as 1 and a draw as a half.
    """

    win_rate: float
    standard_error: float
    discrete: float
    wins: int
    losses: int
    draws: int
    count: int


@dataclass(frozen=True, slots=True)
class Gamed:
    """The judgements of the gamed baselines: features of each, and their statistic.

    `lengths` (tanh of the difference in standard deviations) and `difficulties` are shaped
    (judgements,), `statistic` (2,): both features times preference, summed.
    """

    lengths: Floats
    difficulties: Floats
    statistic: Floats


@dataclass(frozen=True, slots=True)
class Difficulties:
    """How difficult the official instructions are, by index, and the gamed baselines if known."""

    by_index: Mapping[int, float]
    gamed: Gamed | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Judged answers of one model: four sequences, with an entry per item.

    Preferences are in [0, 1], lengths in characters. `indices` are the official positions of the
    items, so that those of a part are right too; None where there is none.
    """

    preferences: Sequence[float] | Floats
    lengths: Sequence[float] | Floats
    reference_lengths: Sequence[float] | Floats
    indices: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class LengthControlled:
    """A length-controlled win rate (percent).

    `interval` is that of a bootstrap over the items, with a refit each. `package_error` is the
    standard error that the leaderboard prints: of what the model predicts, as if it were certain.
    `weights` are those of length, difficulty and constant. `regularised` tells that the gamed
    baselines were mixed in, `difficulty` that the difficulty of the instructions was known.
    """

    win_rate: float
    interval: Interval
    package_error: float
    weights: tuple[float, float, float]
    regularised: bool = False
    difficulty: bool = False


def win_rate_of(preferences: Sequence[float] | Floats) -> WinRate:
    """Sum up preferences in [0, 1], one per item; all is nan where there are none."""
    values = np.asarray(preferences, dtype=np.float64)
    count = len(values)
    if not count:
        return WinRate(nan, nan, nan, 0, 0, 0, 0)
    wins, losses = int((values > 0.5).sum()), int((values < 0.5).sum())  # noqa: PLR2004
    draws = count - wins - losses
    error = float(values.std(ddof=1)) / sqrt(count) if count > 1 else nan
    mean = 100.0 * float(values.mean())
    return WinRate(
        mean, 100.0 * error, 100.0 * (wins + draws / 2) / count, wins, losses, draws, count
    )


def length_controlled(
    judged: Judged, known: Difficulties | None = None, *, refits: int = REFITS, seed: int = SEED
) -> LengthControlled:
    """Fit the model to judged answers, and say what it tells of answers of equal length.

    Where the difficulty of an item is not known, that of none is used, and no gamed baseline.
    As in AlpacaEval, differences in length are told in standard deviations of the items at hand.
    All is nan where there are no items.
    """
    data = _prepared(judged, known or Difficulties({}))
    count = len(data.values)
    if not count:
        nothing = Interval(nan, nan, nan, nan, 0)
        return LengthControlled(nan, nothing, nan, (nan, nan, nan))
    weights = _fit(data, np.ones((1, count)))
    predicted = _predicted(data, weights)[0]
    mean = 100.0 * float(predicted.mean())
    error = 100.0 * float(predicted.std(ddof=1)) / sqrt(count) if count > 1 else nan
    again = _refitted(data, weights, resamples(count, refits, seed))
    length, hard, constant = (float(each) for each in weights[0])
    return LengthControlled(
        mean,
        interval_of(mean, again, count),
        error,
        (length, hard, constant),
        regularised=data.gamed is not None,
        difficulty=data.full,
    )


@dataclass(frozen=True, slots=True)
class _Data:
    """What a fit needs of the items: preferences, by how much references are longer, ..."""

    values: Floats
    longer: Floats
    difficulty: Floats
    full: bool
    gamed: Gamed | None


def _prepared(judged: Judged, known: Difficulties) -> _Data:
    values = np.asarray(judged.preferences, dtype=np.float64)
    references = np.asarray(judged.reference_lengths, dtype=np.float64)
    longer = references - np.asarray(judged.lengths, dtype=np.float64)
    found = [known.by_index.get(each) if each is not None else None for each in judged.indices]
    told = [each for each in found if each is not None]
    full = bool(told) and len(told) == len(values)
    difficulty = np.array(told) if full else np.zeros(len(values))
    return _Data(values, longer, difficulty, full, known.gamed if full else None)


def _predicted(data: _Data, weights: Floats) -> Floats:
    """Tell the preferences at equal length, shaped (resamples, items)."""
    return _sigmoid(weights[:, 1:2] * data.difficulty + weights[:, 2:])


def _refitted(data: _Data, begin: Floats, counts: Floats) -> Floats:
    """Control resamples of the items for length: win rates (percent), shaped (resamples,)."""
    found = [np.zeros(0)]
    for first in range(0, len(counts), _AT_ONCE):
        part = counts[first : first + _AT_ONCE]
        predicted = _predicted(data, _fit(data, part, begin))
        found.append(100.0 * (part * predicted).sum(axis=1) / len(data.values))
    return np.concatenate(found)


def _scaled(longer: Floats, counts: Floats) -> Floats:
    """Tell differences in length in deviations of each resample, and bound them.

    Shaped (resamples, items); 0 where all differences of a resample are the same.
    """
    size = counts.sum(axis=1, keepdims=True)
    mean = counts @ longer[:, None] / size
    squares = (counts * (longer - mean) ** 2).sum(axis=1, keepdims=True)
    deviation = np.sqrt(squares / np.maximum(size - 1.0, 1.0))
    flat = deviation <= 1e-9 * (1.0 + np.abs(mean))
    return np.where(flat, 0.0, np.tanh(longer / np.where(flat, 1.0, deviation)))


# -- the fit ------------------------------------------------------------------------------


def _fit(data: _Data, counts: Floats, begin: Floats | None = None) -> Floats:
    """Fit each resample by Newton's method, from weights `begin` on; shaped (resamples, 3).

    A step of length r, told in how far it moves any prediction, is shortened to ln(1 + r): a
    logistic loss can't turn upwards before that (Bach 2010), so that it falls at every step,
    whatever the data, and no search along the step is needed.
    """
    weights = np.zeros((len(counts), 3)) + (0.0 if begin is None else begin)
    lengths, gamed = _scaled(data.longer, counts), data.gamed
    hardest = float(np.abs(data.difficulty).max(initial=0.0))
    if gamed is not None:
        hardest = max(hardest, float(np.abs(gamed.difficulties).max(initial=0.0)))
    reach = np.array([1.0, hardest, 1.0])
    for _ in range(_TURNS):
        slope, bend = _around(weights, data, lengths, counts)
        if gamed is not None:
            _add_gamed(slope, bend, weights, gamed)
        # The penalty is bent like the parabola that touches it here and lies above it.
        pull = PENALTY / np.maximum(np.abs(weights), _NEAR_0)
        slope += pull * weights
        bend += pull[:, :, None] * np.eye(3)
        step = np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
        far = np.maximum(np.abs(step) @ reach, 1e-12)
        weights -= step * (np.log1p(far) / far)[:, None]
        if far.max() < _CLOSE:
            break
    return weights


def _around(weights: Floats, data: _Data, lengths: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Tell gradient (resamples, 3) and curvature (resamples, 3, 3) of the loss."""
    hard = data.difficulty
    predicted = _sigmoid(weights[:, :1] * lengths + weights[:, 1:2] * hard + weights[:, 2:])
    off = counts * (predicted - data.values)
    curve = counts * predicted * (1.0 - predicted)
    long_curve = curve * lengths
    slope = np.stack([(off * lengths).sum(axis=1), off @ hard, off.sum(axis=1)], axis=1)
    bend = np.empty((len(weights), 3, 3))
    bend[:, 0, 0] = (long_curve * lengths).sum(axis=1)
    bend[:, 0, 1] = bend[:, 1, 0] = long_curve @ hard
    bend[:, 0, 2] = bend[:, 2, 0] = long_curve.sum(axis=1)
    bend[:, 1, 1] = curve @ hard**2
    bend[:, 1, 2] = bend[:, 2, 1] = curve @ hard
    bend[:, 2, 2] = curve.sum(axis=1)
    return slope, bend


def _add_gamed(slope: Floats, bend: Floats, weights: Floats, gamed: Gamed) -> None:
    """Add the gamed baselines, which have no constant, to gradient and curvature."""
    features = np.stack([gamed.lengths, gamed.difficulties], axis=1)
    predicted = _sigmoid(weights[:, :2] @ features.T)
    slope[:, :2] += GAMED_WEIGHT * (predicted @ features - gamed.statistic)
    products = features[:, :, None] * features[:, None, :]
    curve = predicted * (1.0 - predicted)
    added = curve @ products.reshape(len(features), 4)
    bend[:, :2, :2] += GAMED_WEIGHT * added.reshape(-1, 2, 2)


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


# -- what is public -----------------------------------------------------------------------


def read_difficulties(file: Path) -> Difficulties:
    """Read how difficult instructions are, and the gamed baselines where the file has them.

    It is CSV with the columns `index` and `instruction_difficulty`: the public `df_gamed.csv`,
    which has a row per judgement of a gamed baseline, or a file with a row per instruction and,
    perhaps, the differences in length of both baselines. UsageError where it is neither.
    """
    rows = read_csv(file)
    columns = set(rows[0])
    if not {"index", "instruction_difficulty"} <= columns:
        raise UsageError(
            f"{file} has no columns `index` and `instruction_difficulty`",
            hint="name the file df_gamed.csv of AlpacaEval 2.0, or one made of it",
        )
    indices = _places(_numbers(file, rows, "index"), file)
    hard = _numbers(file, rows, "instruction_difficulty")
    by_index = dict(zip(indices, (float(each) for each in hard), strict=True))
    if not np.isfinite(list(by_index.values())).all():
        raise UsageError(f"{file} does not tell the difficulty of every instruction")
    if {"std_delta_len", "preference"} <= columns:
        lengths, preferences = (
            _numbers(file, rows, one) for one in ("std_delta_len", "preference")
        )
        known = np.isfinite(preferences)
        features = np.stack([np.tanh(lengths), hard], axis=1)[known]
        statistic = preferences[known] @ features
        return Difficulties(by_index, Gamed(features[:, 0], features[:, 1], statistic))
    if columns >= set(_GAMED_COLUMNS):
        lengths = np.concatenate([_numbers(file, rows, each) for each in _GAMED_COLUMNS])
        gamed = Gamed(np.tanh(lengths), np.tile(hard, 2), np.array(GAMED))
        return Difficulties(by_index, gamed)
    return Difficulties(by_index)


def read_published(preferences: Path, lengths: Path, reference: str) -> dict[str, Judged]:
    """Read published judgements of several models: tables with `index` and a column per model.

    Items without a preference or a length are left out, model by model. UsageError where the
    tables do not fit each other, or a preference is none.
    """
    told, long = read_csv(preferences), read_csv(lengths)
    for file, rows in ((preferences, told), (lengths, long)):
        if "index" not in rows[0]:
            raise UsageError(f"{file} has no column 'index'")
    if reference not in long[0]:
        names = ", ".join(each for each in long[0] if each != "index")
        raise UsageError(
            f"{lengths} has no column {reference!r}", hint=f"name one by --reference: {names}"
        )
    by_index = {row["index"]: row for row in long}
    pairs = [(row, by_index[row["index"]]) for row in told if row["index"] in by_index]
    if len(pairs) < len(told):
        raise UsageError(f"{lengths} lacks {len(told) - len(pairs)} items of {preferences}")
    left, right = [row for row, _ in pairs], [row for _, row in pairs]
    indices = np.array(_places(_numbers(preferences, left, "index"), preferences))
    found: dict[str, Judged] = {}
    for model in (each for each in told[0] if each not in {"index", reference}):
        if model not in long[0]:
            raise UsageError(f"{lengths} has no column {model!r}")
        values = _numbers(preferences, left, model)
        both = _numbers(lengths, right, model), _numbers(lengths, right, reference)
        if ((values < 0.0) | (values > 1.0)).any():
            raise UsageError(f"{preferences}: preferences of {model!r} are not within 0 and 1")
        known = np.isfinite(values) & np.isfinite(both[0]) & np.isfinite(both[1])
        places = [int(each) for each in indices[known]]
        found[model] = Judged(values[known], both[0][known], both[1][known], places)
    return found


def read_csv(file: Path) -> list[dict[str, str]]:
    """Read the rows of a table with a heading; UsageError where there are none."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = [dict(each) for each in csv.DictReader(opened, restval="")]
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error):
        raise UsageError(f"{file} is no table: it cannot be read as CSV") from None
    if not rows:
        raise UsageError(f"{file} has no rows")
    return rows


def _places(numbers: Floats, file: Path) -> list[int]:
    if not np.isfinite(numbers).all():
        raise UsageError(f"{file} does not tell the index of every item")
    return [int(each) for each in numbers]


def _numbers(file: Path, rows: Sequence[Mapping[str, str]], column: str) -> Floats:
    """Read a column of numbers; what is empty is nan."""
    found: list[float] = []
    for number, row in enumerate(rows, 2):
        text = row[column]
        try:
            found.append(float(text) if text else nan)
        except ValueError:
            raise UsageError(f"{file}, line {number}: {column} is no number: {text!r}") from None
    return np.array(found)
