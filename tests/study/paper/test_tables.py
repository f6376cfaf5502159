"""What both tables are made of: the fit, the findings, the panels."""

from __future__ import annotations

import numpy as np
import pytest

from dmoa.core.mixture import Mixture
from dmoa.study.paper import tables
from dmoa.study.paper.burst import Burst, Floats, latencies, play
from dmoa.study.paper.tables import Measured, Reported

MIXTURES = (Mixture(0, 0), Mixture(1, 1), Mixture(2, 1))


def linear(burst: Burst, parameters: Floats) -> Floats:
    return parameters[0] * burst.lengths


def lame(burst: Burst, parameters: Floats) -> Floats:
    """Serve with one node slower than the others."""
    slowness = np.where(burst.nodes == 3, parameters[1], 1.0)
    return parameters[0] * slowness * burst.lengths


def reported(services: tables.Services, parameters: list[float]) -> tuple[Reported, ...]:
    """Report what would be measured with these parameters."""
    rows = [Reported(each, 1.0, 1.0) for each in MIXTURES]
    bursts = tables.drawn(rows, 20, 5)
    found = [latencies(each, play(each, services(each, np.array(parameters)))) for each in bursts]
    return tuple(
        Reported(row.mixture, float(took.mean()), 1.0)
        for row, took in zip(rows, found, strict=True)
    )


def test_a_fit_finds_the_parameter_that_was_planted() -> None:
    rows = reported(linear, [46.0])
    fitted = tables.fit(rows, tables.drawn(rows, 20, 5), linear, (40.0,))
    assert fitted == pytest.approx([46.0], rel=1e-4)


def test_a_fit_finds_two() -> None:
    rows = reported(lame, [30.0, 3.0])
    fitted = tables.fit(rows, tables.drawn(rows, 20, 5), lame, (35.0, 2.0))
    assert fitted == pytest.approx([30.0, 3.0], rel=0.05)


def test_a_fit_leaves_alone_what_changes_nothing() -> None:
    rows = reported(linear, [46.0])
    fitted = tables.fit(rows, tables.drawn(rows, 20, 5), linear, (40.0, 7.0))
    assert fitted == pytest.approx([46.0, 7.0], rel=1e-4)


def test_a_fit_takes_the_steps_that_it_tells() -> None:
    rows = reported(lame, [30.0, 3.0])
    told: list[int] = []
    tables.fit(rows, tables.drawn(rows, 20, 5), lame, (35.0, 2.0), lambda: told.append(1))
    assert len(told) == tables.steps_of_fit(2)


def test_steps_never_go_beyond_their_number() -> None:
    told: list[tuple[int, int, str]] = []
    steps = tables.Steps(lambda *each: told.append(each), 2)
    for _ in range(3):
        steps.done("something")
    assert told == [(1, 2, "something"), (2, 2, "something"), (2, 2, "something")]


def measured(latency: float, deviation: float = 50.0) -> Measured:
    return Measured(Reported(Mixture(1, 1), 100.0, 2.0), latency, deviation, 3.0, 4.0, 1.0)


def test_errors_are_relative_to_the_paper() -> None:
    each = measured(110.0)
    assert each.latency_error == pytest.approx(0.1)
    assert (each.queue_error, each.waiting_error) == (0.5, -0.5)
    assert each.surprise == pytest.approx(0.2)
    assert tables.mean_error([0.1, -0.3]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("latencies", "deviation", "holds"),
    [
        ([101.0, 98.0], 50.0, [True, True, True]),
        ([101.0, 111.0], 50.0, [False, False, True]),
        ([94.0, 106.0], 50.0, [True, False, True]),
        ([101.0, 98.0], 0.5, [True, True, False]),
    ],
)
def test_findings_hold_or_fail(latencies: list[float], deviation: float, holds: list[bool]) -> None:
    found = [measured(each, deviation) for each in latencies]
    findings = tables.latency_findings(found, each=0.1, mean=0.05)
    assert [each.holds for each in findings] == holds


def test_whiskers_do_not_reach_below_nothing() -> None:
    latency, queue = tables.panels([measured(110.0)])
    assert queue.series[0].label == latency.series[0].label == "paper"
    assert (latency.series[1].low, latency.series[1].high) == ([60.0], [160.0])
    assert (queue.series[1].low, queue.series[1].high) == ([0.0], [7.0])
    assert queue.names == ["1, 1"]
