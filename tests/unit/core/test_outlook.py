from __future__ import annotations

from dataclasses import dataclass, field
from math import exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.bench import Bench
from dmoa.core.digest import Digest
from dmoa.core.gauge import Gauge
from dmoa.core.job import Profile
from dmoa.core.limits import Limits
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.names import NodeId
from dmoa.core.outlook import (
    ENOUGH,
    FIRST,
    NEAR,
    SLACK,
    SPREAD,
    SURE,
    Outlook,
    Plan,
    Ratios,
)
from dmoa.core.policy import LIVE, PAPER, STEADY, Policy
from dmoa.core.queue import Entry, Queue
from dmoa.core.view import View
from dmoa.core.wants import Wants

from .room import make_job

M2K3 = Mixture(2, 3)


@dataclass
class Spot:
    """One home with its queue and its peers, at time 0."""

    policy: Policy = LIVE
    slots: int = 1
    view: View = field(default_factory=lambda: View(size=9, silence=5.0))

    def __post_init__(self) -> None:
        queue = Queue(slots=self.slots, jobs=64, size=100_000)
        gauge = Gauge(0.0, slots=self.slots)
        self.bench = Bench(Profile("toy"), Limits(), queue, gauge, Wants(), self.policy)
        self.outlook = Outlook(self.view, self.bench, self.policy)

    def hold(self, jobs: int) -> Spot:
        """Let jobs be here, of which as many are in service as there are slots."""
        for number in range(jobs):
            job = make_job(f"b/1/{number}/1.1")
            self.bench.queue.enter(Entry(job, own=False, entered=0.0, expires=9.0))
        while self.bench.queue.start(0.0) is not None:
            pass
        return self

    def measured(self, proposer: float, aggregator: float) -> Spot:
        """Let the own model have served one job of either role, in so many seconds."""
        self.bench.gauge.served("proposer", proposer)
        self.bench.gauge.served("aggregator", aggregator)
        return self

    def peer(self, name: str, length: int, seconds: float, **words: float) -> Spot:
        """Let a peer tell how it stands."""
        digest = Digest(NodeId(name), 1, 1, "toy", 1, length=length, service_time=seconds)
        self.view.hear(
            Digest(digest.node, 1, 1, "toy", 1, length=length, service_time=seconds, **words),
            0.0,
        )
        return self


# -- what was, to what was expected ------------------------------------------------------


def test_nothing_remembered_is_a_ratio_of_one() -> None:
    assert (len(Ratios(9)), Ratios(9).quantile(0.9), Ratios(9).typical()) == (0, 1.0, 1.0)


def test_a_quantile_is_a_ratio_that_was() -> None:
    ratios = Ratios(100)
    for number in range(100, 0, -1):
        ratios.add(float(number))
    assert [ratios.quantile(share) for share in (0.0, 0.5, 0.98, 1.0)] == [1, 51, 99, 100]


def test_what_is_not_above_nothing_is_not_remembered() -> None:
    ratios = Ratios(9)
    for ratio in (0.0, -1.0):
        ratios.add(ratio)
    assert len(ratios) == 0


def test_the_oldest_are_forgotten() -> None:
    ratios = Ratios(3)
    for ratio in (9.0, 1.0, 2.0, 3.0):
        ratios.add(ratio)
    assert (len(ratios), ratios.quantile(1.0)) == (3, 3.0)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60))
def test_what_is_typical_lies_among_them(values: list[float]) -> None:
    ratios = Ratios(50)
    for value in values:
        ratios.add(value)
    kept = values[-50:]
    assert min(kept) * (1 - 1e-9) <= ratios.typical() <= max(kept) * (1 + 1e-9)


def test_what_is_typical_is_the_middle_of_the_bulk() -> None:
    ratios = Ratios(100)
    for number in range(100):
        ratios.add(exp(number / 100))
    assert log(ratios.typical()) == pytest.approx(0.5, abs=0.02)
    ratios.add(1e9)
    assert log(ratios.typical()) == pytest.approx(0.5, abs=0.03), "one far off is no matter"


# -- how deep ----------------------------------------------------------------------------


def test_the_paper_plans_nothing() -> None:
    spot = Spot(PAPER).hold(60).measured(9.0, 9.0)
    assert spot.outlook.plan(M2K3, 1, 0.1, 0.0) == Plan(M2K3)


def test_who_only_spares_wants_to_know_the_crowd() -> None:
    spot = Spot(Policy(spare=1), slots=2).hold(8)
    assert spot.outlook.plan(M2K3, 1, 0.1, 0.0) == Plan(M2K3, 4.0)


def test_a_crowd_carries_less() -> None:
    spot = Spot(STEADY).hold(6)  # 6 per slot, as the peer has: 9 visits * 3 / 6
    spot.peer("b", 6, 1.0)
    plan = spot.outlook.plan(M2K3, 1, inf, 0.0)
    assert plan == Plan(Mixture(1, 2), 6.0, "the network holds 6.0 jobs per slot")


def test_what_is_planned_can_be_answered_in_time() -> None:
    spot = Spot(LIVE).measured(1.0, 1.0).peer("b", 0, 1.0)
    outlook, layer = spot.outlook, SPREAD + 1.0
    assert outlook.seconds(2, 0.0) == pytest.approx(2 * SPREAD + 1.0)
    assert outlook.plan(M2K3, 1, SURE * (2 * SPREAD + 1.0) + 1e-6, 0.0) == Plan(M2K3)
    short = outlook.plan(M2K3, 1, SURE * (2 * SPREAD + 1.0) - 1e-6, 0.0)
    assert short.mixture == Mixture(1, 3)
    assert short.why == "6.3 s are left"
    assert outlook.plan(M2K3, 1, SURE * layer - 1e-6, 0.0).mixture == ALONE
    assert outlook.plan(M2K3, 1, 0.0, 0.0).mixture == ALONE, "the own model is always asked"


def test_in_a_later_layer_less_is_to_come() -> None:
    outlook = Spot(LIVE).measured(1.0, 1.0).peer("b", 0, 1.0).outlook
    left = SURE * (SPREAD + 1.0) + 1e-6
    assert outlook.plan(M2K3, 1, left, 0.0).mixture == Mixture(1, 3)
    assert outlook.plan(M2K3, 2, left, 0.0).mixture == M2K3


def test_a_step_of_fewer_layers_than_are_behind_takes_its_aggregation() -> None:
    outlook = Spot(LIVE).measured(1.0, 1.0).peer("b", 0, 1.0).outlook
    for _ in range(FIRST):
        outlook.answered(1, 1.0, 99.0)
        outlook.answered(0, 1.0, 10.0)  # aggregations take ten times as long as they should
    plan = outlook.plan(Mixture(3, 1), 3, SURE * 9.0, 0.0)
    assert plan.mixture == ALONE, "at layer 3 a mixture of one layer needs 10 s as well"


def test_before_anything_was_measured_all_is_in_time() -> None:
    assert Spot(LIVE).outlook.plan(M2K3, 1, 0.1, 0.0) == Plan(M2K3)


def test_a_policy_without_deadlines_plans_by_the_crowd_alone() -> None:
    spot = Spot(STEADY).measured(1.0, 1.0)
    assert spot.outlook.plan(M2K3, 1, 0.1, 0.0).mixture == M2K3


# -- how many of the user's --------------------------------------------------------------


def test_a_mixture_is_smaller_before_an_own_query_is_refused() -> None:
    outlook = Spot(LIVE).measured(1.0, 1.0).outlook
    left = 60.0
    bounds = {layers: outlook.bound(left, layers) for layers in (0, 1, 2)}
    assert bounds == {0: 29, 1: 14, 2: 9}

    def layers(others: int) -> int:
        return outlook.plan(M2K3, 1, left, 0.0, others=others).mixture.layers

    assert [layers(others) for others in (8, 9, 13, 14, 28, 99)] == [2, 1, 1, 0, 0, 0]
    plan = outlook.plan(M2K3, 1, left, 0.0, others=9)
    assert plan.why == "9 other queries of this node are under way"


def test_own_queries_are_bounded_by_the_smaller_of_policy_and_deadline() -> None:
    timely = Policy(own_queries=10, timely=True)
    for policy, measured, expected in (
        (PAPER, True, -1),
        (STEADY, True, 10),
        (LIVE, False, -1),
        (LIVE, True, 4),  # 5 * 1 s * 2 jobs would be the half of 20 s
        (timely, True, 4),
        (timely, False, 10),
        (Policy(own_queries=3, timely=True), True, 3),
    ):
        spot = Spot(policy)
        if measured:
            spot.measured(1.0, 1.0)
        assert spot.outlook.bound(20.0, 1) == expected, policy


# -- how long ----------------------------------------------------------------------------


def test_nothing_measured_is_nothing_expected() -> None:
    outlook = Spot().outlook
    assert outlook.seconds(2, 0.0) == outlook.naive(0, 0.0) == outlook.own(0.0) == 0.0


def test_the_own_model_alone_takes_the_wait_and_its_service() -> None:
    spot = Spot().measured(1.0, 3.0).hold(3)
    wait = 2.0 + 2 * 2.0  # one in service, two that wait, each of 2 s
    assert spot.outlook.naive(0, 0.0) == pytest.approx(wait + 3.0)
    assert spot.outlook.own(0.0) == pytest.approx(wait + 1.0)


def test_each_layer_waits_in_the_queues_of_the_network() -> None:
    spot = Spot().measured(1.0, 1.0).hold(3).peer("b", 5, 2.0)
    wait, backlog = 3.0, (3.0 + 10.0) / 2
    ahead = NEAR * wait + (1.0 - NEAR) * backlog
    for layers in (1, 2, 3):
        expected = layers * (ahead + SPREAD * 2.0) + ahead + 1.0
        assert spot.outlook.naive(layers, 0.0) == pytest.approx(expected)


def test_what_the_queues_usually_are_is_learned_slowly() -> None:
    spot = Spot().measured(1.0, 1.0).peer("b", 0, 1.0)
    before = spot.outlook.naive(1, 0.0)
    spot.outlook.look(0.0)
    spot.hold(9)
    full = Spot().measured(1.0, 1.0).peer("b", 0, 1.0).hold(9).outlook.naive(1, 0.0)
    assert spot.outlook.naive(1, 0.0) == pytest.approx(full), "0 is not known to be usual"
    for _ in range(500):
        spot.outlook.look(0.0)
    assert spot.outlook.naive(1, 0.0) == pytest.approx(full)
    spot.bench.queue._waiting.clear()
    spot.bench.queue._serving.clear()
    assert before < spot.outlook.naive(1, 0.0) < full, "a lull does not last"


def test_what_was_wrong_is_made_up_for() -> None:
    spot = Spot().measured(1.0, 1.0).peer("b", 0, 1.0)
    naive = spot.outlook.naive(1, 0.0)
    for _ in range(FIRST - 1):
        spot.outlook.answered(1, 2.0, 5.0)
    assert spot.outlook.lean(1) == 1.0, "so little teaches nothing"
    spot.outlook.answered(1, 0.0, 5.0)
    assert spot.outlook.lean(1) == 1.0, "where nothing was expected nothing was wrong"
    spot.outlook.answered(1, 2.0, 5.0)
    assert spot.outlook.lean(1) == pytest.approx(2.5)
    assert spot.outlook.seconds(1, 0.0) == pytest.approx(2.5 * naive)
    assert spot.outlook.lean(2) == 1.0, "of other mixtures nothing is known"


@pytest.mark.parametrize(
    "words",
    [
        {"capacity": 5e-324},
        {"seconds": 1.7e308},
        {"seconds": 1.7e308, "proposer_time": 1.7e308},
        {"length": 2**53, "seconds": 1e308},
    ],
)
def test_whatever_a_peer_says_what_is_expected_stays_a_number(words: dict[str, float]) -> None:
    spot = Spot().measured(1.0, 1.0).peer("c", 0, 1.0)
    spot.peer("b", int(words.pop("length", 0)), words.pop("seconds", 1.0), **words)
    for _ in range(3):
        spot.outlook.look(0.0)
        assert 0.0 < spot.outlook.naive(2, 0.0) < inf
    spot.view.leave(NodeId("b"))
    spot.outlook.look(0.0)
    assert 0.0 < spot.outlook.naive(2, 0.0) < inf, "and it is none when that peer is gone"
    chosen = spot.view.lightest([NodeId("b"), NodeId("c")], 2, 0.0)
    assert all(0.0 < seconds < inf for _, seconds in chosen)


# -- how long to wait --------------------------------------------------------------------


def test_patience_is_a_share_until_enough_is_measured() -> None:
    outlook = Spot().outlook
    for _ in range(ENOUGH - 1):
        outlook.proposed(1.0)
    assert outlook.patience(60.0, [1.0, 2.0]) == 60.0
    outlook.proposed(1.0)
    assert outlook.patience(60.0, [1.0, 2.0]) == SLACK * 2.0


def test_patience_is_never_more_than_its_share() -> None:
    outlook = Spot().outlook
    for _ in range(ENOUGH):
        outlook.proposed(9.0)
    assert outlook.patience(5.0, [1.0]) == 5.0
    assert outlook.patience(50.0, [1.0]) == SLACK * 9.0


def test_patience_is_for_almost_all_but_not_for_the_rarest() -> None:
    outlook = Spot().outlook
    for number in range(100):
        outlook.proposed(1000.0 if number == 50 else 1.0)
    assert outlook.patience(60.0, [2.0]) == SLACK * 2.0
    for _ in range(3):
        outlook.proposed(10.0)
    assert outlook.patience(60.0, [2.0]) == SLACK * 10.0 * 2.0


def test_where_one_is_not_known_at_all_patience_is_the_share() -> None:
    outlook = Spot().outlook
    for _ in range(ENOUGH):
        outlook.proposed(1.0)
    assert outlook.patience(60.0, [1.0, 0.0]) == 60.0


def test_without_learning_patience_is_the_share() -> None:
    outlook = Spot(STEADY).outlook
    for _ in range(ENOUGH):
        outlook.proposed(1.0)
    assert outlook.patience(60.0, [1.0]) == 60.0
