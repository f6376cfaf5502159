"""The event kernel: it keeps its books, and does what the policies say."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import ORDERS, POLICIES, Policy
from dmoa.errors import UsageError
from dmoa.sim import kernel, lindley
from dmoa.sim.arrivals import chunks, window
from dmoa.sim.kernel_replay import Trace, replay
from dmoa.sim.kernel_rules import rules_of
from dmoa.sim.kernel_state import (
    AT_WORK,
    DONE,
    ENDED,
    HERE,
    OUT,
    OWN,
    PRESENT,
    RECORD,
    REFUSED,
    ROOM,
    SERVING,
    State,
    grown,
    start,
)
from dmoa.sim.setting import Setting
from dmoa.theory.laws import Fixed, LogNormal


def followed(setting: Setting, *, room: int = 64) -> tuple[State, dict[int, tuple[float, int]]]:
    """Run the kernel in plain Python to the last answer: sojourns and proposals by number."""
    rules = rules_of(setting, window(setting), arrays=False)
    state, answers = start(rules, room=room, answers=100, arrays=False), {}
    for times, homes in [*((a.tolist(), b.tolist()) for a, b in chunks(setting)), ([], [])]:
        state.counts[DONE], why = 0, kernel.CROWDED
        while why != kernel.MORE:
            why = kernel.advance(rules, state, times, homes, 0.0 if times else inf)
            for place in range(state.counts[OUT]):
                took = state.out_ended[place] - state.out_asked[place]
                answers[state.out_number[place]] = (took, state.out_proposals[place])
            state.counts[OUT] = 0
            if why == kernel.CROWDED:
                state = grown(state)
    return state, answers


def assert_nothing_is_left(state: State, *, lazy: bool) -> None:
    counts = state.counts
    assert counts[PRESENT] == counts[AT_WORK] == 0
    for node in range(0, len(state.nodes), RECORD):
        assert state.nodes[node + HERE] == state.nodes[node + SERVING] == 0
        assert state.nodes[node + OWN] == 0
    if not lazy:  # what was withdrawn from a heap of waiting jobs is found when its turn comes
        assert counts[ROOM] == len(state.times)


policies = st.builds(
    Policy,
    choice=st.sampled_from(["uniform", "loaded"]),
    order=st.sampled_from(ORDERS),
    spare=st.integers(0, 2),
    missing=st.integers(0, 2),
    retries=st.integers(0, 2),
    peer_jobs=st.none() | st.integers(1, 6),
    own_queries=st.none() | st.integers(1, 6),
    adaptive=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    policy=policies,
    layers=st.integers(0, 3),
    fanout=st.integers(0, 3),
    slots=st.integers(1, 3),
    rho=st.sampled_from([0.5, 0.9, 1.6]),
    gossip=st.sampled_from([0.0, 0.7]),
    fixed=st.booleans(),
    ring=st.booleans(),
    seed=st.integers(0, 2**70),
)
def test_every_query_ends_and_nothing_is_left(  # noqa: PLR0913, PLR0917
    policy: Policy,
    layers: int,
    fanout: int,
    slots: int,
    rho: float,
    gossip: float,
    fixed: bool,  # noqa: FBT001
    ring: bool,  # noqa: FBT001
    seed: int,
) -> None:
    mixture, graph = Mixture(layers, fanout), None
    if ring:
        graph = tuple(tuple((node + far) % 7 for far in (1, 2, 5, 6)) for node in range(7))
    rate = rho * slots / mixture.visits
    network = Network.alike(7, arrival_rate=rate, slots=slots, graph=graph)
    law = Fixed() if fixed else LogNormal(cv=1.0, common=0.5)
    setting = Setting(network, mixture, law, policy, queries=60, warmup=0.0, gossip=gossip)
    setting = replace(setting, seed=seed)
    state, answers = followed(setting)
    assert len(answers) + state.counts[REFUSED] == 60
    assert all(took >= 0.0 for took, _ in answers.values())
    most = mixture.visits - 1 + policy.spare * layers
    assert all(proposals <= most for _, proposals in answers.values())
    assert_nothing_is_left(state, lazy=policy.order != "fcfs")


@pytest.mark.parametrize(("layers", "fanout"), [(0, 0), (1, 3), (2, 2), (3, 0)])
@pytest.mark.parametrize("slots", [1, 3])
def test_the_shortcut_gives_the_same_times_to_the_last_bit(
    layers: int, fanout: int, slots: int
) -> None:
    mixture = Mixture(layers, fanout)
    network = Network.alike(5, arrival_rate=0.9 * slots / mixture.visits, slots=slots)
    setting = Setting(network, mixture, LogNormal(cv=0.8, common=0.5), queries=400)
    _, answers = followed(setting)
    rules = rules_of(setting, window(setting), arrays=False)
    line = lindley.start(rules, room=1000, answers=1000, arrays=False)
    ((times, homes),) = chunks(setting)
    assert lindley.advance(rules, line, times.tolist(), homes.tolist(), inf) == lindley.MORE
    assert answers == {
        line.out_number[place]: (line.out_ended[place] - line.out_asked[place], mixture.visits - 1)
        for place in range(400)
    }


def test_every_policy_by_name_is_simulated() -> None:
    network = Network.alike(6, arrival_rate=0.9 / 9)
    for policy in [each for each in POLICIES.values() if not each.lives]:
        setting = Setting(network, Mixture(2, 3), policy=policy, queries=200, warmup=0.0)
        state, answers = followed(setting)
        assert len(answers) + state.counts[REFUSED] == 200
        assert state.counts[ENDED] > 0


# -- replays, of which every time is known ---------------------------------------------

NETWORK = Network.alike(4, arrival_rate=1.0)


def one_query(seconds: list[list[float]], choices: list[list[int]], **others: object) -> Trace:
    return Trace([1.0], [0], [choices], [seconds], **others)  # type: ignore[arg-type]


def test_a_layer_ends_with_its_slowest_proposal() -> None:
    trace = one_query([[1.0, 2.0, 5.0], [0.5]], [[0, 2, 3]])
    done = replay(NETWORK, Mixture(1, 2), trace, log=True)
    assert done.sojourns == (5.5,)
    assert [(job.node, job.entered, job.started, job.ended) for job in done.jobs] == [
        (0, 1.0, 1.0, 2.0),
        (2, 1.0, 1.0, 3.0),
        (3, 1.0, 1.0, 6.0),
        (0, 6.0, 6.0, 6.5),
    ]


def test_a_missing_proposal_is_withdrawn_from_its_slot() -> None:
    trace = one_query([[1.0, 2.0, 5.0], [0.5]], [[0, 2, 3]])
    done = replay(NETWORK, Mixture(1, 2), trace, policy=Policy(missing=1), log=True)
    assert done.sojourns == (2.5,)
    assert [job.ended for job in done.jobs] == [2.0, 3.0, 3.0, 3.5]


def test_home_itself_can_be_the_one_that_is_spared() -> None:
    trace = one_query([[9.0, 2.0, 3.0], [0.5]], [[0, 2, 3]])
    done = replay(NETWORK, Mixture(1, 2), trace, policy=Policy(missing=1))
    assert done.sojourns == (3.5,)


def test_a_busy_peer_declines_and_another_is_asked() -> None:
    # node 1 is busy with its own query, and takes no other
    trace = Trace(
        [0.0, 1.0],
        [1, 0],
        [[[1, 3]], [[0, 1, 2]]],
        [[[10.0, 1.0], [1.0]], [[1.0, 1.0, 3.0], [1.0]]],
        seats=[[2], [2]],
    )
    policy = Policy(peer_jobs=1, retries=1)
    assert replay(NETWORK, Mixture(1, 1), trace, policy=policy).sojourns == (11.0, 4.0)
    without = Policy(peer_jobs=1)
    short = replace(trace, choices=[[[1, 3]], [[0, 1]]], seconds=[[[10, 1], [1]], [[1, 1], [1]]])
    assert replay(NETWORK, Mixture(1, 1), short, policy=without).sojourns == (11.0, 2.0)


@pytest.mark.parametrize(("order", "sojourns"), [("fcfs", (10, 13, 15)), ("later", (10, 13, 15))])
def test_who_waits_is_served_in_the_order_of_the_policy(
    order: str, sojourns: tuple[float, ...]
) -> None:
    trace = Trace([0.0, 1.0, 2.0], [0, 0, 0], [[]] * 3, [[[10.0]], [[4.0]], [[3.0]]])
    done = replay(NETWORK, Mixture(0, 0), trace, policy=Policy(order=order))  # type: ignore[arg-type]
    assert done.sojourns == sojourns


def test_later_layers_go_first_where_the_policy_says_so() -> None:
    # two queries at node 0, in turn: the first one's aggregation passes the second's proposal
    trace = Trace([0.0, 0.5], [0, 0], [[[0]], [[0]]], [[[1.0], [2.0]], [[5.0], [1.0]]])
    mixture = Mixture(1, 0)
    assert replay(NETWORK, mixture, trace).sojourns == (8.0, 8.5)
    later = Policy(order="later")
    assert replay(NETWORK, mixture, trace, policy=later).sojourns == (3.0, 8.5)
    oldest = Policy(order="oldest")
    assert replay(NETWORK, mixture, trace, policy=oldest).sojourns == (3.0, 8.5)


def test_a_home_refuses_more_than_its_own_bound() -> None:
    trace = Trace([0.0, 1.0, 6.0], [0, 0, 0], [[]] * 3, [[[5.0]], [[5.0]], [[5.0]]])
    done = replay(NETWORK, Mixture(0, 0), trace, policy=Policy(own_queries=1))
    assert done.sojourns[0] == done.sojourns[2] == 5.0
    assert done.sojourns[1] != done.sojourns[1]


def test_a_heap_of_waiting_jobs_gives_the_least_first() -> None:
    rng = Random(5)
    waits = [rng.random() for _ in range(200)]
    # one long job, then 200 that are asked at random moments of it, each in its order
    times = sorted(waits)
    trace = Trace([0.0, *times], [0] * 201, [[]] * 201, [[[2.0]], *[[[0.01]]] * 200])
    done = replay(NETWORK, Mixture(0, 0), trace, policy=Policy(order="oldest"), log=True)
    started = [job.started for job in done.jobs]
    assert started == sorted(started)


def test_an_adaptive_replay_must_be_told_how_many_seats_there_were() -> None:
    trace = one_query([[1.0, 2.0, 4.0], [8.0]], [[0, 2, 3]])
    policy = Policy(adaptive=True)
    with pytest.raises(UsageError):
        replay(NETWORK, Mixture(1, 2), trace, policy=policy)
    for seats, sojourn in [(3, 12.0), (2, 10.0), (1, 9.0), (0, 8.0)]:
        told = replace(trace, seats=[[seats]])
        assert replay(NETWORK, Mixture(1, 2), told, policy=policy).sojourns == (sojourn,)
