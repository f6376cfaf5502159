"""Table II: four nodes with a model each, all on one machine that has room for one of them.

The authors' program times a call with the load of its model, where another was loaded
before. So the table tells of disks as much as of queues.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmoa.core.mixture import Mixture
from dmoa.study.paper import tables
from dmoa.study.paper.burst import Burst, Floats, loading
from dmoa.study.paper.claim import Claim, Column, Finding, Progress
from dmoa.study.paper.tables import Measured, Reported, Services

PAPER = (
    Reported(Mixture(0, 0), 409.58, 1.71),
    Reported(Mixture(1, 1), 806.88, 2.36),
    Reported(Mixture(1, 2), 1112.33, 2.72),
    Reported(Mixture(2, 1), 1357.74, 1.83),
    Reported(Mixture(2, 2), 1971.50, 3.07),
    Reported(Mixture(1, 3), 1292.73, 2.92),
    Reported(Mixture(2, 3), 2274.59, 4.21),
)
"""As it is printed (arXiv 2412.21200v1)."""
SERVICE_TIME = 46.0
"""Seconds per job of the dense models: what Table I finds for the first of them."""
HEAVY = (False, False, True, True)
"""Nodes with a mixture-of-experts model, twice as large: Mixtral 8x22B and DBRX."""
WITHIN, ON_AVERAGE = 0.20, 0.10
"""Relative errors: of each latency, and of all on average."""

COLUMNS = (
    *tables.COLUMNS,
    Column("latency_error_reloading", "reload error", "%", "+.1f"),
    Column("latency_error_unloaded", "no load error", "%", "+.1f"),
)


def _slowness(burst: Burst, heavy: float) -> Floats:
    factors = np.where(np.array(HEAVY), heavy, 1.0)
    return burst.lengths * factors[burst.nodes]  # -1, no seat, is the last node's: never read


def once(burst: Burst, parameters: Floats) -> Floats:
    """Tell service times where each model is read once: of (load, slowness of the heavy)."""
    load, heavy = parameters
    calls = loading(burst.nodes, kept=True)
    return SERVICE_TIME * _slowness(burst, heavy) + load * calls


def reloading(burst: Burst, parameters: Floats) -> Floats:
    """Tell the same where every load takes as long."""
    load, heavy = parameters
    calls = loading(burst.nodes, kept=False)
    return SERVICE_TIME * _slowness(burst, heavy) + load * calls


def unloaded(burst: Burst, parameters: Floats) -> Floats:
    """Tell the same without any load: of (service time, slowness of the heavy)."""
    service_time, heavy = parameters
    return service_time * _slowness(burst, heavy)


MODELS: tuple[tuple[Services, Sequence[float]], ...] = (
    (once, (300.0, 2.0)),
    (reloading, (250.0, 2.0)),
    (unloaded, (100.0, 1.0)),
)
"""What is fitted, two parameters each, and where the fits begin; the first is the answer."""


def measure(*, effort: float, seed: int, progress: Progress) -> Claim:
    """Fit each of `MODELS` to the seven latencies, and compare all figures of the first."""
    runs, few = tables.runs_of(effort)
    total = sum(tables.steps_of_fit(len(begin)) for _, begin in MODELS)
    total += tables.steps_of(PAPER, runs) + (len(MODELS) - 1) * tables.steps_of(PAPER, few)
    steps = tables.Steps(progress, total)
    less = tables.drawn(PAPER, few, seed)
    fits = [
        tables.fit(PAPER, less, services, begin, lambda: steps.done("fitting"))
        for services, begin in MODELS
    ]
    found, again, bare = (
        tables.measured(
            PAPER,
            tables.drawn(PAPER, runs, seed + 1) if services is once else less,
            services,
            fitted,
            lambda: steps.done("measuring"),
        )
        for (services, _), fitted in zip(MODELS, fits, strict=True)
    )
    rows = [
        [*tables.row_of(each), 100.0 * second.latency_error, 100.0 * third.latency_error]
        for each, second, third in zip(found, again, bare, strict=True)
    ]
    findings = tables.latency_findings(found, each=WITHIN, mean=ON_AVERAGE)
    return Claim(
        "table2",
        "Table II",
        COLUMNS,
        rows,
        [*findings, _needs_loads(found, bare), _queues(found, bare)],
        _assumed(fits, again, runs),
        tables.panels(found),
        bars=True,
    )


def _needs_loads(found: Sequence[Measured], bare: Sequence[Measured]) -> Finding:
    worst = max(bare, key=lambda each: abs(each.latency_error))
    shape = worst.reported.mixture
    return Finding(
        "loading is part of the timed call: without it, and with as many parameters fitted, "
        f"M={shape.layers}, k={shape.fanout} is off by {worst.latency_error:+.0%}",
        abs(worst.latency_error) > WITHIN and _mean(found) < _mean(bare),
    )


def _queues(found: Sequence[Measured], bare: Sequence[Measured]) -> Finding:
    """Judge by the queues, to which nothing was fitted."""
    ours = tables.mean_error([each.queue_error for each in found])
    average = tables.mean_error([each.waiting_error for each in found])
    without = tables.mean_error([each.queue_error for each in bare])
    return Finding(
        "queues, to which nothing is fitted, met better with loads than without: a mean error of "
        f"{ours:.0%} instead of {without:.0%} (over time {average:.0%})",
        ours < without,
    )


def _mean(found: Sequence[Measured]) -> float:
    return tables.mean_error([each.latency_error for each in found])


def _assumed(fits: Sequence[Floats], again: Sequence[Measured], runs: int) -> list[str]:
    load, heavy = fits[0]
    reload, heavy_then = fits[1]
    service_time, heavy_bare = fits[2]
    within = sum(abs(each.latency_error) <= WITHIN for each in again)
    return [
        (
            f"fitted: a load takes {load:.0f} s, and the two mixtures of experts {heavy:.2f} times "
            "as long per job as the dense models (least squared relative errors of the latencies)"
        ),
        f"taken: {SERVICE_TIME:g} s per job of the dense models, from Table I",
        (
            "taken: the first call of a model carries its load, in the order of the authors' "
            "program (by layer, by node, by query); node 1's is loaded before. Once read, a model "
            "loads from memory, which takes no time here"
        ),
        (
            f"reload: the same where every load takes as long, {reload:.0f} s, and "
            f"{heavy_then:.2f} times: {within} of {len(again)} within {WITHIN:.0%}"
        ),
        f"no load: {service_time:.0f} s per job and no loads, {heavy_bare:.2f} times",
        *tables.shared_assumptions(runs),
    ]
