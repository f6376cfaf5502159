"""What the reproductions of Tables I and II have in common: fit, rows, panels, words.

Both tables report seven mixtures, each of them from one run of ten queries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dmoa.core.mixture import Mixture
from dmoa.study.paper.burst import (
    AT_ONCE,
    GAP,
    NODES,
    QUERIES,
    Burst,
    Floats,
    authors_queue,
    draw,
    latencies,
    play,
    waiting,
)
from dmoa.study.paper.claim import Column, Finding, Progress, Value
from dmoa.study.plots import Panel, Series
from dmoa.theory.laws import LogNormal

RUNS = 800
"""Runs that a row is measured by, at an effort of 1."""
FIT_RUNS = 80
"""Runs that parameters are fitted to, at an effort of 1; others than those."""
LEAST = 8
"""Runs at least, at any effort."""
LAW = LogNormal(cv=0.4, common=1.0)
"""How long answers are: as long from every model, as the question is what decides."""
TURNS = 3
"""Steps of a fit after its first look around."""
_PROBE = 0.05
"""How far that looks, relative to each parameter."""
_FLAT = 0.05
"""Directions in which the errors hardly change, relative to the steepest, are not gone."""
_FAR = 0.7
"""No step doubles a parameter, or halves it."""

COLUMNS = (
    Column("layers", "M", form="d"),
    Column("fanout", "k", form="d"),
    Column("latency_paper", "paper", "s", ".0f"),
    Column("latency", "ours", "s", ".0f"),
    Column("latency_deviation", "±", "s", ".0f"),
    Column("latency_error", "error", "%", "+.1f"),
    Column("queue_paper", "queue paper", form=".2f"),
    Column("queue", "queue ours", form=".2f"),
    Column("queue_deviation", "±", form=".2f"),
    Column("queue_error", "error", "%", "+.0f"),
    Column("waiting", "over time", form=".2f"),
)
"""Of both tables; `shared_assumptions` says what the headings have no room for."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A row of the paper: the mean latency (seconds), and the average queue (jobs per node)."""

    mixture: Mixture
    latency: float
    queue: float


@dataclass(frozen=True, slots=True)
class Measured:
    """The same by simulation: means over runs, and the standard deviations of single runs.

    `queue` is by the authors' metric, `waiting` the average over time.
    """

    reported: Reported
    latency: float
    latency_deviation: float
    queue: float
    queue_deviation: float
    waiting: float

    @property
    def latency_error(self) -> float:
        """Tell by how much the latency differs, relative to the paper's."""
        return self.latency / self.reported.latency - 1.0

    @property
    def queue_error(self) -> float:
        """Tell the same of the queue by the authors' metric."""
        return self.queue / self.reported.queue - 1.0

    @property
    def waiting_error(self) -> float:
        """Tell the same of the queue's average over time."""
        return self.waiting / self.reported.queue - 1.0

    @property
    def surprise(self) -> float:
        """Tell how many deviations of a single run the paper's latency lies away."""
        return abs(self.reported.latency - self.latency) / self.latency_deviation


Services = Callable[[Burst, Floats], Floats]
"""From parameters to the service times of all jobs (seconds), shaped as `Burst.nodes`."""


class Steps:
    """Counts what is done, and tells it."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def done(self, what: str) -> None:
        """Tell that one more part is done."""
        self._done = min(self._done + 1, self._total)
        self._progress(self._done, self._total, what)


def runs_of(effort: float) -> tuple[int, int]:
    """Tell how many runs are measured, and to how many parameters are fitted."""
    return max(LEAST, round(RUNS * effort)), max(LEAST, round(FIT_RUNS * effort))


def steps_of(rows: Sequence[Reported], runs: int) -> int:
    """Count the parts of measuring all rows."""
    return len(rows) * -(-runs // AT_ONCE)


def drawn(rows: Sequence[Reported], runs: int, seed: int) -> list[Burst]:
    """Draw the runs of each row."""
    return [draw(row.mixture, runs, LAW, seed) for row in rows]


# -- a fit -----------------------------------------------------------------------------


def fit(
    rows: Sequence[Reported],
    bursts: Sequence[Burst],
    services: Services,
    begin: Sequence[float],
    done: Callable[[], None] = lambda: None,
) -> Floats:
    """Fit positive parameters: the least sum of squared relative errors of the latencies.

    The same runs are served again for each guess, so that the errors are smooth in them. The
    first look around gives their derivatives by the logarithms of the parameters; each step
    is Gauss and Newton's, and corrects the derivatives by what came of it (Broyden, 1965).
    """
    wanted = np.array([row.latency for row in rows])

    def errors(guess: Floats) -> Floats:
        parameters = np.exp(guess)
        means = [latencies(each, play(each, services(each, parameters))).mean() for each in bursts]
        done()
        return np.array(means) / wanted - 1.0

    guess = np.log(np.array(begin, dtype=np.float64))
    missed = errors(guess)
    around = [errors(guess + _PROBE * each) for each in np.eye(len(guess))]
    slopes = np.stack([(each - missed) / _PROBE for each in around], axis=1)
    best, least = guess, float(missed @ missed)
    for _ in range(TURNS):
        gone = np.linalg.lstsq(slopes, missed, rcond=_FLAT)[0]
        step = np.clip(-gone, -_FAR, _FAR).astype(np.float64)
        length = float(step @ step)
        if length == 0.0:
            break
        guess, before = guess + step, missed
        missed = errors(guess)
        slopes += np.outer(missed - before - slopes @ step, step) / length
        if float(missed @ missed) < least:
            best, least = guess, float(missed @ missed)
    return np.exp(best)


def steps_of_fit(parameters: int) -> int:
    """Count the parts of a fit at most."""
    return 1 + parameters + TURNS


# -- what is shown ---------------------------------------------------------------------


def measured(
    rows: Sequence[Reported],
    bursts: Sequence[Burst],
    services: Services,
    parameters: Floats,
    done: Callable[[], None] = lambda: None,
) -> list[Measured]:
    """Measure all rows with fitted parameters."""
    found: list[Measured] = []
    for row, burst in zip(rows, bursts, strict=True):
        log = play(burst, services(burst, parameters), done)
        took, queue = latencies(burst, log), authors_queue(burst, log)
        found.append(
            Measured(
                row,
                float(took.mean()),
                float(took.std(ddof=1)),
                float(queue.mean()),
                float(queue.std(ddof=1)),
                float(waiting(log).mean()),
            )
        )
    return found


def row_of(each: Measured) -> list[Value]:
    """Write a row for `COLUMNS`."""
    row = each.reported
    return [
        row.mixture.layers,
        row.mixture.fanout,
        row.latency,
        each.latency,
        each.latency_deviation,
        100.0 * each.latency_error,
        row.queue,
        each.queue,
        each.queue_deviation,
        100.0 * each.queue_error,
        each.waiting,
    ]


def mean_error(errors: Sequence[float]) -> float:
    """Average errors without their signs."""
    return sum(abs(each) for each in errors) / len(errors)


def latency_findings(found: Sequence[Measured], *, each: float, mean: float) -> list[Finding]:
    """Judge latencies: rows within `each` (relative), a mean error below `mean`, no surprise."""
    errors = [row.latency_error for row in found]
    within = sum(abs(error) <= each for error in errors)
    average, most = mean_error(errors), max(row.surprise for row in found)
    return [
        Finding(
            f"latencies within {each:.0%} of the paper's: {within} of {len(found)}",
            within == len(found),
        ),
        Finding(f"a mean error of the latencies under {mean:.0%}: {average:.1%}", average < mean),
        Finding(
            "no latency further from the paper's than the luck of one run explains, 2 ±: "
            f"{most:.1f} ± at most",
            most <= 2.0,  # noqa: PLR2004  (as said)
        ),
    ]


def shared_assumptions(runs: int) -> list[str]:
    """Say what the columns are, and what both tables take from the authors' program."""
    return [
        (
            f"ours: means of {runs} runs of {QUERIES} queries; ±: the standard deviation of a "
            "single run, and the paper's figures are of a single run each"
        ),
        (
            "queue: jobs per node by the authors' metric. At each end of a service, weighted by "
            "its seconds: the layers that began since it did and have a job there, later layers "
            "only if the layer before them began earlier than it. Divided by the end of the "
            "aggregation that began last"
        ),
        "over time: jobs that wait, per node, averaged over time until the last answer",
        (
            f"taken: {1 / GAP:g} query per second in all, each of one of {NODES} users at random, "
            "as in the authors' program (the text has 1/4, which is the rate of each user)"
        ),
        (
            f"taken: service times are log-normal (cv {LAW.cv:g}), one draw for all jobs of a "
            "query, as the program decodes greedily (`do_sample=False`; the text has a "
            "temperature of 0.7)"
        ),
        "left out: accuracy",
    ]


def panels(found: Sequence[Measured]) -> list[Panel]:
    """Draw both columns beside the paper's; the whiskers are the deviation of a single run."""
    names = [f"{each.reported.mixture.layers}, {each.reported.mixture.fanout}" for each in found]
    places = list(range(len(found)))

    def bars(label: str, y: list[float], deviations: list[float] | None = None) -> Series:
        if deviations is None:
            return Series(label, places, y)
        pairs = list(zip(y, deviations, strict=True))
        low, high = [max(0.0, a - b) for a, b in pairs], [a + b for a, b in pairs]
        return Series(label, places, y, low, high)

    latency = [
        bars("paper", [each.reported.latency for each in found]),
        bars(
            "ours, ± of a single run",
            [each.latency for each in found],
            [each.latency_deviation for each in found],
        ),
    ]
    queue = [
        bars("paper", [each.reported.queue for each in found]),
        bars(
            "ours, ± of a single run",
            [each.queue for each in found],
            [each.queue_deviation for each in found],
        ),
        bars("ours, over time", [each.waiting for each in found]),
    ]
    return [
        Panel("Latency", "M, k", "seconds", latency, names=names),
        Panel("Queue", "M, k", "jobs per node", queue, names=names),
    ]
