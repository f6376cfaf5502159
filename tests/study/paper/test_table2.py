"""Table II, with few runs: met with loads, not without, and only by this table."""

from __future__ import annotations

import numpy as np
import pytest

from dmoa.core.mixture import Mixture
from dmoa.study.paper import table1, table2, tables
from dmoa.study.paper.burst import draw
from dmoa.study.paper.claim import Claim


def measure(effort: float, seed: int = 1) -> Claim:
    return table2.measure(effort=effort, seed=seed, progress=lambda *_: None)


@pytest.fixture(scope="module")
def claim() -> Claim:
    return measure(0.1)


def errors(claim: Claim, key: str) -> list[float]:
    place = [each.key for each in claim.columns].index(key)
    return [abs(row[place]) for row in claim.rows if isinstance(row[place], float)]


def test_rows_fit_their_columns(claim: Claim) -> None:
    assert len({each.key for each in claim.columns}) == len(claim.columns)
    assert [len(row) for row in claim.rows] == [len(claim.columns)] * 7
    for row in claim.rows:
        for each, value in zip(claim.columns, row, strict=True):
            assert isinstance(value, int | float)
            format(value, each.form)


def test_all_findings_hold(claim: Claim) -> None:
    assert [each.holds for each in claim.findings] == [True] * 5
    assert max(errors(claim, "latency_error")) < 16.0
    assert sum(errors(claim, "latency_error")) / 7 < 8.0


def test_without_loads_the_model_alone_is_far_too_quick(claim: Claim) -> None:
    assert errors(claim, "latency_error_unloaded")[0] > 30.0
    assert errors(claim, "latency_error")[0] < 15.0
    assert errors(claim, "latency_error")[0] < errors(claim, "latency_error_reloading")[0] < 30.0


def test_services_are_as_long_as_their_node_and_load_say() -> None:
    burst = draw(Mixture(1, 3), 3, tables.LAW, 1)
    seats = burst.nodes >= 0
    bare = table2.unloaded(burst, np.array([46.0, 2.0]))
    heavy = burst.nodes >= 2
    assert bare[seats] == pytest.approx((46.0 * np.where(heavy, 2.0, 1.0) * burst.lengths)[seats])
    for services, loads in ((table2.once, 3), (table2.reloading, None)):
        more = services(burst, np.array([300.0, 2.0])) - bare
        counts = np.isclose(more, 300.0).sum(axis=(1, 2, 3))
        assert np.isclose(more[seats] * (more[seats] - 300.0), 0.0).all()
        assert (counts == loads).all() if loads else (counts > 3).all()


def test_table_one_needs_no_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table2, "PAPER", table1.PAPER)
    claim = measure(0.01)
    assert not claim.findings[3].holds
    assert not claim.findings[0].holds


def test_it_is_the_same_again_and_all_parts_are_told(claim: Claim) -> None:
    told: list[tuple[int, int]] = []
    again = table2.measure(effort=0.1, seed=1, progress=lambda n, of, _: told.append((n, of)))
    assert again == claim
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))
