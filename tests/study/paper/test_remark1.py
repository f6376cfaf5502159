"""Remark 1: who decides in unlike networks, and findings that can fail."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from dmoa.core.stability import is_stable, utilisation_of_slowest, utilisations
from dmoa.study.paper import growth, remark1
from dmoa.study.paper.remark1 import (
    NAMED,
    ONE,
    RANDOM,
    SLOW,
    SPARED,
    Case,
    Measured,
    findings,
    measure,
    random_case,
)
from dmoa.study.statistics import Estimate
from dmoa.theory.overload import fluid_overload


def quiet(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total
    assert what or done == total


def as_told(case: Case, mean: float = 8.0) -> Measured:
    """Make measurements that are just what the theory tells."""
    rho = utilisations(case.network, case.mixture)
    busy = tuple(min(each, 1.0) for each in rho)
    beyond = max(0.0, max(rho) - 1.0)
    if beyond:
        network, node = case.network, rho.index(max(rho))
        growth = beyond * network.slots[node] / network.service_times[node]
        if network.service_times == SLOW:
            rate = network.arrival_rates[-1]
            growth = fluid_overload(ONE, arrival_rate=rate, service_time=SLOW[-1]).growth
        return Measured(case, rho, busy, Estimate(growth, 0.0001, 5), 1000.0, 5.0)
    return Measured(case, rho, busy, Estimate(0.0, 0.0001, 5), mean, 4.0)


DRAWN = [as_told(random_case(number, 1)) for number in range(RANDOM)]
TOLD = [as_told(case) for case in NAMED]
COUPLED = [as_told(SPARED.at(rho)) for rho in (0.3, 0.5, 1.05)]


@pytest.mark.parametrize("seed", range(30))
def test_random_networks_are_unlike_and_stable(seed: int) -> None:
    for number in range(RANDOM):
        case = random_case(number, seed)
        assert case == random_case(number, seed)
        assert is_stable(case.network, case.mixture)
        assert max(utilisations(case.network, case.mixture)) == pytest.approx(0.9)
        assert (case.network.graph is None) is (number % 2 == 0)
        assert len(dict.fromkeys(case.network.service_times)) == case.network.nodes


def test_the_remark_is_right_of_two_networks_and_wrong_of_three() -> None:
    says = [utilisation_of_slowest(case.network, case.mixture) < 1.0 for case in NAMED]
    stable = [is_stable(case.network, case.mixture) for case in NAMED]
    assert says == [True, False, True, True, False]
    assert stable == [True, False, False, False, True]


def test_a_little_measurement_is_sane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "WORTH", inf)
    monkeypatch.setattr(remark1, "RANDOM", 2)
    monkeypatch.setattr(remark1, "REPLICATIONS", 2)
    monkeypatch.setattr(remark1, "_COUPLED", (0.3, 0.5, 0.95, 1.05))
    claim = measure(effort=0.001, seed=1, progress=quiet)
    assert all(len(row) == len(claim.columns) for row in claim.rows)
    keys = [column.key for column in claim.columns]
    rows = [dict(zip(keys, row, strict=True)) for row in claim.rows]
    assert len(rows) == 2 + len(NAMED) + 3
    for row in rows:
        exact, busy = row["exact"], row["busy"]
        assert isinstance(exact, float)
        assert busy == pytest.approx(min(exact, 1.0), abs=0.15)
        assert (row["difference"] is None) is (exact > 1.0)
    assert [row["growth"] for row in rows[:2]] == [None, None]
    assert [len(panel.series) for panel in claim.panels] == [2, 2]


def test_what_should_be_found_is_found() -> None:
    found = findings(DRAWN, TOLD, COUPLED)
    assert [each.text for each in found if not each.holds] == []
    assert len(found) == 8


def test_a_condition_that_forgets_slots_is_found_out() -> None:
    """Busy shares as of one slot each, where some nodes have more."""
    wrong = [
        replace(
            each,
            rho=tuple(rho * slots for rho, slots in zip(each.rho, slots_of(each), strict=True)),
        )
        for each in DRAWN
    ]
    stable = [each for each in wrong if max(each.rho) < 1.0] or [
        replace(DRAWN[0], busy=tuple(each + 0.03 for each in DRAWN[0].rho))
    ]
    assert not findings(stable, TOLD, COUPLED)[0].holds


def slots_of(each: Measured) -> tuple[int, ...]:
    return each.case.network.slots


def test_a_slow_node_that_does_not_grow_refutes_the_remark() -> None:
    still = replace(TOLD[1], growth=Estimate(0.0, 0.0001, 5))
    found = findings(DRAWN, [TOLD[0], still, *TOLD[2:]], COUPLED)
    assert [each.holds for each in found][1:3] == [False, False]


def test_a_growth_that_is_not_known_well_is_no_finding() -> None:
    vague = replace(TOLD[1], growth=replace(TOLD[1].growth, half=1.0))
    assert vague.grows is None
    assert not findings(DRAWN, [TOLD[0], vague, *TOLD[2:]], COUPLED)[1].holds


def test_other_nodes_that_are_always_busy_may_grow_too() -> None:
    crowded = replace(TOLD[1], busy=(1.0,) * 4)
    assert not findings(DRAWN, [TOLD[0], crowded, *TOLD[2:]], COUPLED)[2].holds


@pytest.mark.parametrize("which", [2, 3, 4])
def test_a_network_that_does_as_the_remark_says_is_no_exception(which: int) -> None:
    other = list(TOLD)
    growth = 0.0 if TOLD[which].grows else 1.0
    other[which] = replace(TOLD[which], growth=Estimate(growth, 0.0001, 5))
    assert not findings(DRAWN, other, COUPLED)[1 + which].holds


def test_users_who_do_not_wait_for_the_slow_node_refute_the_coupling() -> None:
    calm = replace(COUPLED[-1], mean=8.0)
    assert not findings(DRAWN, TOLD, [*COUPLED[:-1], calm])[6].holds
    all_wait = replace(COUPLED[-1], median=1000.0)
    assert not findings(DRAWN, TOLD, [*COUPLED[:-1], all_wait])[7].holds
