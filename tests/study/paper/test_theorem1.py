"""Theorem 1: flat below rho 1, growing above, and a wrong theorem is found out."""

from __future__ import annotations

from math import inf

import pytest

from dmoa.core.mixture import Mixture
from dmoa.study.paper import growth, theorem1
from dmoa.study.paper.claim import Claim
from dmoa.study.paper.theorem1 import ABOVE, BELOW, CASES, Case, Measured, findings, measure
from dmoa.study.statistics import Estimate
from dmoa.theory.laws import Exponential


def quiet(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total
    assert what or done == total


ALONE = Case(4, Mixture(0, 0), Exponential(), "exp")
MIXED = CASES[3]


def little(
    monkeypatch: pytest.MonkeyPatch, *cases: Case, drawn: bool = False, seed: int = 1
) -> Claim:
    """Measure so far from rho 1 that little time is enough; it is not worth a compiler."""
    monkeypatch.setattr(growth, "WORTH", inf)
    monkeypatch.setattr(theorem1, "CASES", cases)
    monkeypatch.setattr(theorem1, "DRAWN", cases[:1] if drawn else ())
    monkeypatch.setattr(theorem1, "IN_TIME", cases[0])
    monkeypatch.setattr(theorem1, "BELOW", (0.4, 0.6))
    monkeypatch.setattr(theorem1, "ABOVE", (1.5, 2.0))
    monkeypatch.setattr(theorem1, "CLOSE", 0.3)
    monkeypatch.setattr(theorem1, "EXACT", 0.1)
    return measure(effort=0.001, seed=seed, progress=quiet)


def measured(at: tuple[float, float, float, float], busy: float = 0.98) -> Measured:
    """Make up measurements, of which the growth and the busy share at 0.98 are these."""
    case, every = CASES[6], (*BELOW, *ABOVE)
    growth = {rho: Estimate(each, 0.0005, 8) for rho, each in zip(every, at, strict=True)}
    return Measured(case, growth, dict(zip(every, (0.9, busy, 1.0, 1.0), strict=True)))


TOLD = (CASES[6].told(ABOVE[0]), CASES[6].told(ABOVE[1]))


def test_ten_networks_cover_what_the_theorem_speaks_of() -> None:
    assert len(CASES) == 10
    assert {each.mixture.layers for each in CASES} == {0, 1, 2, 3, 4}
    assert {each.mixture.fanout for each in CASES} == {0, 1, 2, 3, 4}
    assert {each.name for each in CASES} == {"fixed", "exp", "lognormal"}
    assert min(each.nodes for each in CASES) == 4
    assert max(each.nodes for each in CASES) == 50


def test_a_little_measurement_holds_far_from_the_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = little(monkeypatch, ALONE, MIXED, drawn=True)
    assert claim.holds, [each.text for each in claim.findings if not each.holds]
    assert all(len(row) == len(claim.columns) for row in claim.rows)
    keys = [column.key for column in claim.columns]
    rows = [dict(zip(keys, row, strict=True)) for row in claim.rows]
    assert len(rows) == 2 * 4
    assert [row["paper"] for row in rows] == [row["ours"] for row in rows]
    assert [row["told"] for row in rows[:4]] == pytest.approx([0.0, 0.0, 0.5, 1.0])  # M/M/1
    for row in rows:
        rho = row["rho"]
        assert isinstance(rho, float)
        assert row["busy"] == pytest.approx(min(rho, 1.0), abs=0.25)
    assert [len(panel.series) for panel in claim.panels] == [4, 2]


def test_it_comes_again_with_its_seed_and_not_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = little(monkeypatch, ALONE, seed=2).rows
    assert rows == little(monkeypatch, ALONE, seed=2).rows
    assert rows != little(monkeypatch, ALONE, seed=3).rows


def test_a_theorem_that_forgets_half_of_the_jobs_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgetful(mixture: Mixture, *, service_time: float) -> float:
        return 2.0 / (service_time * mixture.visits)

    monkeypatch.setattr(theorem1, "arrival_rate_max", forgetful)
    failed = [each.text for each in little(monkeypatch, MIXED).findings if not each.holds]
    assert any("always busy from rho 1 on" in each for each in failed), failed


def test_what_should_be_found_is_found() -> None:
    assert all(each.holds for each in findings([measured((0.0, 0.0, *TOLD))]))


@pytest.mark.parametrize(
    ("at", "busy", "which"),
    [
        ((TOLD[0], 0.0, *TOLD), 0.98, 0),
        ((0.0, TOLD[0] / 4.0, *TOLD), 0.98, 1),  # as large as counts, and the interval reaches on
        ((0.0, 0.0, TOLD[0] / 4.0, TOLD[1]), 0.98, 2),
        ((0.0, 0.0, TOLD[0], 0.0), 0.98, 3),
        ((0.0, 0.0, TOLD[0], 1.2 * TOLD[1]), 0.98, 4),
        ((0.0, 0.0, *TOLD), 0.95, 5),
    ],
)
def test_each_finding_can_fail(
    at: tuple[float, float, float, float], busy: float, which: int
) -> None:
    found = findings([measured((0.0, 0.0, *TOLD)), measured(at, busy)])
    assert not found[which].holds
