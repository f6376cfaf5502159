"""Table I: latency and queue of four nodes with one and the same model, from one parameter."""

from __future__ import annotations

from dmoa.core.mixture import Mixture
from dmoa.core.stability import utilisation
from dmoa.study.paper import tables
from dmoa.study.paper.burst import GAP, NODES, Burst, Floats
from dmoa.study.paper.claim import Claim, Finding, Progress
from dmoa.study.paper.tables import Measured, Reported

PAPER = (
    Reported(Mixture(0, 0), 94.01, 0.60),
    Reported(Mixture(1, 1), 329.92, 2.04),
    Reported(Mixture(1, 2), 484.81, 3.28),
    Reported(Mixture(2, 1), 603.43, 2.32),
    Reported(Mixture(2, 2), 790.01, 4.80),
    Reported(Mixture(1, 3), 578.88, 3.74),
    Reported(Mixture(2, 3), 1074.28, 5.78),
)
"""As it is printed (arXiv 2412.21200v1)."""
BEGIN = (40.0,)
"""Seconds per job: where the fit begins."""
WITHIN, ON_AVERAGE, QUEUES = 0.10, 0.05, 0.25
"""Relative errors: of each latency, of all on average, of the queues on average."""


def services(burst: Burst, parameters: Floats) -> Floats:
    """Tell the service times of all jobs: one mean for all."""
    return parameters[0] * burst.lengths


def measure(*, effort: float, seed: int, progress: Progress) -> Claim:
    """Fit the mean service time to the seven latencies, and compare all figures."""
    runs, few = tables.runs_of(effort)
    total = tables.steps_of_fit(len(BEGIN)) + tables.steps_of(PAPER, runs)
    steps = tables.Steps(progress, total)
    fitted = tables.fit(
        PAPER,
        tables.drawn(PAPER, few, seed),
        services,
        BEGIN,
        lambda: steps.done("fitting the service time"),
    )
    found = tables.measured(
        PAPER,
        tables.drawn(PAPER, runs, seed + 1),
        services,
        fitted,
        lambda: steps.done("measuring"),
    )
    return Claim(
        "table1",
        "Table I",
        tables.COLUMNS,
        [tables.row_of(each) for each in found],
        [*tables.latency_findings(found, each=WITHIN, mean=ON_AVERAGE), _queues(found)],
        _assumed(float(fitted[0]), runs),
        tables.panels(found),
        bars=True,
    )


def _queues(found: list[Measured]) -> Finding:
    metric = tables.mean_error([each.queue_error for each in found])
    average = tables.mean_error([each.waiting_error for each in found])
    return Finding(
        f"a mean error of the queues under {QUEUES:.0%}: {metric:.0%} by the authors' metric, "
        f"{average:.0%} over time",
        max(metric, average) < QUEUES,
    )


def _assumed(service_time: float, runs: int) -> list[str]:
    rate = 1.0 / (GAP * NODES)
    least, most = (
        utilisation(mixture, arrival_rate=rate, service_time=service_time)
        for mixture in (Mixture(0, 0), Mixture(2, 3))
    )
    return [
        (
            f"fitted: a mean service time of {service_time:.1f} s, one for all jobs and nodes "
            "(least squared relative errors of the seven latencies)"
        ),
        *tables.shared_assumptions(runs),
        (
            f"at these arrivals rho would be {least:.1f} to {most:.0f}: this is no stable network "
            "but a burst that drains, and says nothing about Theorem 1"
        ),
    ]
