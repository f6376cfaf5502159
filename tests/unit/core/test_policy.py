from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.policy import (
    CALM,
    LIVE,
    ORDERS,
    PAPER,
    POLICIES,
    REACH,
    STALE,
    STEADY,
    Policy,
    burden,
    declines,
    ladder,
    needed,
    own_bound,
    rank,
    rung,
    spares,
)
from dmoa.errors import UsageError

MIXTURES = st.builds(Mixture, st.integers(0, 8), st.integers(0, 32))
CROWDS = st.floats(0.0, 1e6)


def test_the_paper_has_no_policy() -> None:
    assert Policy() == PAPER == POLICIES["paper"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"choice": "best"},
        {"order": "own"},
        {"spare": -1},
        {"missing": -1},
        {"retries": -1},
        {"peer_jobs": 0},
        {"own_queries": 0},
        {"probe": -0.1},
        {"probe": float("nan")},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError) as caught:
        Policy(**wrong)
    assert "\n" not in caught.value.message


def test_a_burden_is_the_time_until_a_job_sent_now_would_be_done() -> None:
    assert burden(0, 5.0, 2.0, 1, 2.0, 0.0) == 2.0
    assert burden(3, 5.0, 2.0, 1, 2.0, 0.0) == 8.0
    assert burden(3, 5.0, 2.0, 4, 0.5, 0.0) == 2.0, "the fourth slot is free"
    assert burden(4, 5.0, 2.0, 4, 0.5, 0.0) == 2.5, "one must end before"
    assert burden(7, 5.0, 2.0, 4, 0.9, 0.0) == pytest.approx(4 * 0.9 + 2.0)


def test_an_old_queue_fades_into_the_mean() -> None:
    assert burden(0, 4.0, 2.0, 1, 2.0, STALE) == pytest.approx(6.0)
    assert burden(0, 4.0, 2.0, 1, 2.0, STALE * 2.0) == burden(9, 4.0, 2.0, 1, 2.0, 1e9) == 10.0


def test_an_unmeasured_service_time_weighs_nothing() -> None:
    assert burden(3, 5.0, 0.0, 1, 0.0, 1e9) == 0.0


@given(
    length=st.integers(0, 50),
    mean=st.floats(0.0, 50.0),
    time=st.floats(0.01, 100.0),
    slots=st.integers(1, 8),
    age=st.floats(0.0, 1e4),
)
def test_a_longer_queue_or_a_slower_peer_is_never_a_lighter_burden(
    length: int, mean: float, time: float, slots: int, age: float
) -> None:
    def load(length: int, time: float, slots: int, age: float) -> float:
        return burden(length, mean, time, slots, time / slots, age)

    here = load(length, time, slots, age)
    assert load(length + 1, time, slots, age) >= here >= time
    assert load(length, time, slots + 1, age) <= here
    assert load(length, 2.0 * time, slots, 0.0) > load(length, time, slots, 0.0)


def test_a_rank_is_by_order() -> None:
    fcfs, oldest, later = range(3)
    assert ORDERS == ("fcfs", "oldest", "later")
    assert rank(fcfs, 1.0, 2) == rank(fcfs, 0.0, 3)
    assert rank(oldest, 1.0, 2) < rank(oldest, 2.0, 3)
    assert rank(later, 2.0, 3) < rank(later, 1.0, 2)


def test_proposers_are_spared_only_while_it_is_calm() -> None:
    assert spares(2, CALM - 0.01) == 2
    assert spares(2, CALM) == 0
    assert spares(0, 0.0) == 0


def test_a_layer_waits_for_one_proposal_at_least() -> None:
    assert needed(4, 0, 0) == 4
    assert needed(5, 1, 0) == 4
    assert needed(5, 1, 1) == 3
    assert needed(2, 0, 9) == 1


def test_the_ladder_of_the_papers_largest_mixture() -> None:
    assert [each.name for each in ladder(Mixture(2, 3))] == [
        "m2k3", "m2k2", "m1k3", "m1k2", "m1k1", "m0k0",
    ]  # fmt: skip


@given(mixture=MIXTURES)
def test_a_ladder_falls_from_what_was_asked_to_the_own_model(mixture: Mixture) -> None:
    steps = ladder(mixture)
    assert steps[0] == mixture
    assert steps[-1] == (ALONE if mixture.visits > 1 else mixture)
    costs = [each.visits for each in steps]
    assert costs == sorted(set(costs), reverse=True)
    assert all(each.layers <= mixture.layers and each.fanout <= mixture.fanout for each in steps)


@given(mixture=MIXTURES, crowd=CROWDS, more=CROWDS)
def test_the_busier_the_network_the_less_a_query_costs(
    mixture: Mixture, crowd: float, more: float
) -> None:
    costs = [each.visits for each in ladder(mixture)]
    index = rung(costs, crowd)
    assert rung(costs, crowd + more) >= index
    assert costs[index] * max(crowd, CALM) <= costs[0] * CALM * (1 + 1e-12) or costs[index] == 1


def test_a_calm_network_carries_what_was_asked() -> None:
    assert rung([9, 7, 5, 4, 3, 1], CALM) == 0
    assert rung([9, 7, 5, 4, 3, 1], 2 * CALM) == 3
    assert rung([9, 7, 5, 4, 3, 1], 1e9) == 5


def test_a_bound_of_minus_one_is_none() -> None:
    assert not declines(10**9, -1)
    assert declines(5, 5)
    assert not declines(4, 5)


# -- what only agents can follow ---------------------------------------------------------


def test_what_depends_on_what_agents_measure_only_lives() -> None:
    assert LIVE.lives
    assert [name for name, policy in POLICIES.items() if policy.lives] == ["live"]
    for only in ({"probe": 0.0}, {"timely": True}, {"learning": True}):
        assert Policy(**only).lives


def test_nodes_are_steady_by_what_they_measure() -> None:
    plain = replace(LIVE, spare=0, own_queries=10, probe=None, timely=False, learning=False)
    assert replace(plain, eager="off") == STEADY


# -- how many of the user's --------------------------------------------------------------


def test_own_queries_fill_less_than_the_share_of_the_deadline() -> None:
    assert REACH == 0.5
    assert own_bound(20.0, 1.0, 1) == 4, "five would be the share itself"
    assert own_bound(20.1, 1.0, 1) == 5
    assert own_bound(19.9, 1.0, 1) == 4
    assert own_bound(20.0, 1.0, 0) == 9
    assert own_bound(20.0, 1.0, 4) == 1


def test_one_own_query_is_always_taken() -> None:
    for deadline in (0.1, 1e-9, 0.0, -1.0):
        assert own_bound(deadline, 1.0, 1) == 1


def test_what_is_not_measured_or_not_bounded_bounds_nothing() -> None:
    assert own_bound(20.0, 0.0, 1) == -1
    assert own_bound(inf, 1.0, 1) == -1


@given(deadline=st.floats(0.01, 1e5), pace=st.floats(1e-3, 1e3), layers=st.integers(0, 8))
def test_the_bound_is_the_largest_within_the_share(
    deadline: float, pace: float, layers: int
) -> None:
    bound = own_bound(deadline, pace, layers)
    each = pace * (layers + 1)
    slack = 1e-9 * deadline
    assert bound == 1 or bound * each < REACH * deadline + slack
    assert (bound + 1) * each >= REACH * deadline - slack
    assert own_bound(2.0 * deadline, pace, layers) >= bound
    assert own_bound(deadline, 2.0 * pace, layers) <= bound


# -- a burden with slots -----------------------------------------------------------------


@given(
    length=st.integers(0, 50),
    slots=st.integers(1, 16),
    time=st.floats(0.01, 100.0),
    crowding=st.floats(1.0, 16.0),
)
def test_a_job_waits_only_for_those_that_find_no_slot(
    length: int, slots: int, time: float, crowding: float
) -> None:
    assume(crowding <= slots)
    pace = crowding * time / slots
    seconds = burden(length, 0.0, time, slots, pace, 0.0)
    if length < slots:
        assert seconds == time
    else:
        assert seconds == pytest.approx((length + 1 - slots) * pace + time)
