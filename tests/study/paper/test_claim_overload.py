"""Beyond rho 1: goodput and growth beside the law, and findings that can fail."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.policy import Order
from dmoa.study.paper import growth, overload
from dmoa.study.paper.growth import Course
from dmoa.study.paper.overload import CASES, ORDERS, Measured, findings, measure, told_at
from dmoa.study.statistics import Estimate

TIMES = tuple(float(each) for each in range(1, 13))


def quiet(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total
    assert what or done == total


def as_told(mixture: Mixture, rho: float) -> Measured:
    """Make measurements that are just what the law tells."""
    told = told_at(mixture, rho)
    share = Estimate(told.share, 0.005, 5)
    kept: dict[Order, Estimate] = {order: Estimate(0.99, 0.005, 5) for order in ORDERS}
    jobs = Course(TIMES, tuple(told.growth * each for each in TIMES))
    return Measured(mixture, rho, told, share, share, kept, Estimate(told.growth, 0.01, 5), jobs)


def test_a_little_measurement_is_near_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "WORTH", inf)
    monkeypatch.setattr(overload, "SECONDS", 400.0)
    monkeypatch.setattr(overload, "ORDERED_SECONDS", 80.0)
    monkeypatch.setattr(overload, "REPLICATIONS", 2)
    monkeypatch.setattr(overload, "_OVER", (0.5, 2.0))
    monkeypatch.setattr(overload, "_PARTS", 5)
    monkeypatch.setattr(overload, "CASES", (CASES[0], CASES[3], CASES[4]))
    claim = measure(effort=1.0, seed=1, progress=quiet)
    keys = [column.key for column in claim.columns]
    assert all(len(row) == len(claim.columns) for row in claim.rows)
    rows = [dict(zip(keys, row, strict=True)) for row in claim.rows]
    assert [row["told"] for row in rows] == pytest.approx([100.0, 53.4, 24.3], abs=0.1)
    for row in rows:
        assert row["goodput"] == pytest.approx(row["told"], abs=10.0)
        assert row["growth"] == pytest.approx(row["told_growth"], rel=0.35)
        for order in ORDERS:  # which take some of so short a run to begin
            kept = row[order]
            assert isinstance(kept, float)
            assert 65.0 < kept < 115.0
    assert len(claim.findings) == 8
    assert [len(panel.series) for panel in claim.panels] == [4, 3]


def test_a_law_that_loses_nothing_is_found_out() -> None:
    right = [as_told(*case) for case in CASES]
    assert all(each.holds for each in findings(right))
    wrong = [replace(each, told=replace(each.told, goodput=each.told.capacity)) for each in right]
    assert not findings(wrong)[0].holds


def bent(each: Measured) -> Measured:
    return replace(each, jobs=Course(TIMES, tuple(2.0**time for time in TIMES)))


def lossy(each: Measured) -> Measured:
    return replace(each, ordered={**each.ordered, "later": Estimate(0.9, 0.0, 5)})


def slow(each: Measured) -> Measured:
    return replace(each, growth=Estimate(0.8 * each.told.growth, 0.0, 5))


def restless(each: Measured) -> Measured:
    return replace(each, earlier=Estimate(each.goodput.mean + 0.1, 0.0, 5))


def thrifty(each: Measured) -> Measured:
    return replace(each, goodput=Estimate(1.0, 0.0, 5))


@pytest.mark.parametrize(
    ("change", "which"),
    [(thrifty, 0), (thrifty, 1), (lossy, 4), (bent, 5), (slow, 6), (restless, 7)],
)
def test_each_finding_can_fail(change: object, which: int) -> None:
    assert callable(change)
    measured = [as_told(*case) for case in CASES]
    measured[3] = change(measured[3])
    assert not findings(measured)[which].holds
    assert [each.holds for each in findings(measured)][2:4] == [True, True]
