"""The golden test: the agents' world and the kernel give the same times, to the last bit.

The world dreams a setting; what chance decided there (arrivals, choices, service times) is
told to the kernel, which must come to the same sojourns, and start the same jobs at the same
moments. The agents are the truth: where the two differ, the kernel is wrong.

Where chance decides nothing that the engines do not share, no trace is needed: on a graph in
which every node has just k peers, with service times that are the query's alone, the engines
must agree by themselves. So the shortcut is held to the agents too, and the kernel's own idea
of a crowd.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.policy import ORDERS, PAPER, POLICIES, STEADY, Policy
from dmoa.sim.dream import dream
from dmoa.sim.engine import simulate
from dmoa.sim.kernel_replay import replay
from dmoa.sim.recording import Recording, record
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.theory.laws import Exponential, Fixed, Law, LogNormal, Pareto, Tokens

SHAPES = [(0, 0), (0, 2), (1, 0), (1, 1), (1, 3), (2, 2), (3, 1), (3, 3)]
NODES = 4
SKEWED = LogNormal(cv=0.8, common=0.5)


def setting_of(  # noqa: PLR0913  (each is a dimension that is tested)
    shape: tuple[int, int],
    policy: Policy = PAPER,
    *,
    law: Law = SKEWED,
    load: float = 0.8,
    slots: tuple[int, ...] = (1,) * NODES,
    seed: int = 1,
    queries: int = 35,
    **more,
) -> Setting:
    """Four nodes, one of them slow, under a load of about `load`, and unlike costs."""
    mixture = Mixture(*shape)
    nodes = len(slots)
    rate = load * sum(slots) / nodes / mixture.visits
    times = (*(1.0,) * (nodes - 1), 1.5)
    network = Network((rate,) * nodes, times, slots, Costs(1.0, 1.25, 1.5), more.pop("graph", None))
    return Setting(network, mixture, law, policy, queries=queries, seed=seed, warmup=0.0, **more)


def assert_golden(setting: Setting) -> Recording:
    """The kernel repeats what the agents did."""
    told = record(setting)
    again = replay(setting.network, setting.mixture, told.trace, policy=setting.policy, log=True)
    assert [each.hex() for each in again.sojourns] == [each.hex() for each in told.sojourns]
    starts = {
        (job.query, job.layer, job.seat): (job.node, job.started)
        for job in again.jobs
        if job.started == job.started
    }
    assert starts == told.starts
    return told


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("law", [Exponential(), Fixed(), SKEWED], ids=["exp", "fixed", "skewed"])
def test_the_papers_protocol(shape: tuple[int, int], law: Law) -> None:
    assert_golden(setting_of(shape, law=law))
    assert_golden(setting_of(shape, law=law, seed=2, load=1.3))


@pytest.mark.parametrize("slots", [(1, 1, 1, 1), (2, 2, 2, 2), (1, 2, 3, 1), (3, 3, 3, 3)])
@pytest.mark.parametrize("order", ORDERS)
def test_slots_and_orders(order: str, slots: tuple[int, ...]) -> None:
    for shape, law in product([(1, 3), (3, 1)], [Fixed(), SKEWED]):
        assert_golden(setting_of(shape, Policy(order=order), slots=slots, law=law))


@pytest.mark.parametrize("spare", [0, 1, 2])
@pytest.mark.parametrize("missing", [0, 1, 5])
def test_hedges_and_quorums(spare: int, missing: int) -> None:
    nodes, told = (1, 1, 2, 1, 1), 0
    for order, law in zip(ORDERS, [Exponential(), Fixed(), SKEWED], strict=True):
        policy = Policy(order=order, spare=spare, missing=missing)
        for shape in [(1, 2), (2, 3)]:
            recording = assert_golden(setting_of(shape, policy, law=law, slots=nodes))
            told += sum(
                len(seats) > 1 + shape[1] for row in recording.trace.choices for seats in row
            )
    assert (told > 0) == (spare > 0), "somebody was asked to spare"


@pytest.mark.parametrize("retries", [0, 1, 3])
@pytest.mark.parametrize("peer_jobs", [1, 2, 4])
def test_declining_peers_and_others_in_their_place(peer_jobs: int, retries: int) -> None:
    retried = refused = 0
    for order, own in zip(ORDERS, [2, None, 3], strict=True):
        policy = Policy(order=order, peer_jobs=peer_jobs, retries=retries, own_queries=own)
        for shape, load in [((1, 1), 1.5), ((2, 2), 2.5)]:
            recording = assert_golden(setting_of(shape, policy, load=load, slots=(1, 1, 1, 1, 1)))
            trace = recording.trace
            retried += sum(
                len(asked) - begun
                for query, counts in zip(trace.choices, trace.seats or (), strict=True)
                for asked, begun in zip(query, counts, strict=True)
            )
            refused += sum(each != each for each in recording.sojourns)  # noqa: PLR0124
    assert refused > 0
    assert (retried > 0) == (retries > 0)


KNOWN = {name: policy for name, policy in POLICIES.items() if not policy.lives}
"""Policies that the kernel knows."""


@pytest.mark.parametrize("policy", KNOWN.values(), ids=list(KNOWN))
@pytest.mark.parametrize("gossip", [0.0, 2.0])
def test_every_policy_that_has_a_name(policy: Policy, gossip: float) -> None:
    for law, load in product([Exponential(), Fixed()], [0.6, 2.0]):
        told = assert_golden(
            setting_of((2, 3), policy, law=law, load=load, gossip=gossip, slots=(1, 2, 1, 1, 1))
        )
        left_out = sum(count == 0 for row in told.trace.seats or () for count in row)
        assert policy.adaptive or not any(left_out for query in told.trace.choices for _ in query)


@pytest.mark.parametrize("slots", [(2, 2, 2, 2, 2), (1, 2, 3, 1, 2), (3, 1, 1, 2, 4)])
@pytest.mark.parametrize("name", ["bounded", "loaded", "steady"])
def test_bounds_and_loads_are_per_slot(name: str, slots: tuple[int, ...]) -> None:
    policy, declined = POLICIES[name], 0
    if policy.peer_jobs:
        policy = replace(policy, peer_jobs=2, own_queries=None)
    for gossip, load in product([0.0, 2.0], [0.9, 2.5]):
        told = assert_golden(
            setting_of((2, 2), policy, load=load, gossip=gossip, slots=slots, queries=60)
        )
        declined += sum(
            len(asked) - begun
            for query, counts in zip(told.trace.choices, told.trace.seats or (), strict=True)
            for asked, begun in zip(query, counts, strict=True)
        )
    assert (declined > 0) == (policy.retries > 0)


@pytest.mark.parametrize("order", ORDERS)
def test_ties_without_end(order: str) -> None:
    """Everything takes a second, and everybody asks on the second."""
    for seed in range(2):
        rng = Random(seed)
        times = sorted(float(rng.randint(0, 16)) for _ in range(30))
        arrivals = Recorded(tuple(times), tuple(rng.randrange(NODES) for _ in times))
        network = Network.alike(NODES, arrival_rate=0.0, slots=1 + seed % 2)
        for shape in [(0, 0), (1, 2), (2, 3)]:
            for policy in (
                Policy(order=order),
                Policy(order=order, missing=1, spare=1),
                Policy(order=order, peer_jobs=2, retries=1, own_queries=3),
            ):
                mixture = Mixture(*shape)
                assert_golden(Setting(network, mixture, Fixed(), policy, arrivals, seed=seed))


def test_queries_of_one_moment_go_first_by_their_rounded_age() -> None:
    """A queue works out when a query was asked from its age, and so does the kernel."""
    rng = Random(5)
    times = sorted(rng.randint(0, 20) / 10 for _ in range(60))
    arrivals = Recorded(tuple(times), tuple(rng.randrange(NODES) for _ in times))
    network = Network.alike(NODES, arrival_rate=0.0)
    for seed in range(2):
        mixture, policy = Mixture(2, 2), Policy(order="oldest")
        assert_golden(Setting(network, mixture, SKEWED, policy, arrivals, seed=seed))


def test_bursts_and_other_laws() -> None:
    for law in (Pareto(shape=1.5), Tokens(tokens=20.0)):
        assert_golden(
            setting_of((2, 2), STEADY, law=law, arrivals=Bursts(0.5, 3.0, 40.0, 20.0), queries=150)
        )


def test_graphs() -> None:
    ring = tuple(((i - 1) % 6, (i + 1) % 6) for i in range(6))
    star = ((1, 2, 3, 4), (0, 2), (0, 1), (0, 4), (0, 3))
    for order in ORDERS:
        for graph in (ring, star):
            policy = Policy(order=order, spare=1, peer_jobs=3, retries=2)
            assert_golden(
                setting_of((2, 2), policy, graph=graph, slots=(1,) * len(graph), load=1.1)
            )


@st.composite
def _settings(draw: st.DrawFn) -> Setting:
    nodes = draw(st.integers(2, 6))
    times = draw(st.lists(st.integers(0, 40), min_size=1, max_size=25).map(sorted))
    homes = draw(st.lists(st.integers(0, nodes - 1), min_size=len(times), max_size=len(times)))
    parts = draw(st.sampled_from([4.0, 10.0]))  # of a second: exact, and such that all rounds
    bound = st.none() | st.integers(1, 4)
    policy = Policy(
        choice=draw(st.sampled_from(["uniform", "loaded"])),
        order=draw(st.sampled_from(ORDERS)),
        spare=draw(st.integers(0, 2)),
        missing=draw(st.integers(0, 3)),
        retries=draw(st.integers(0, 3)),
        peer_jobs=draw(bound),
        own_queries=draw(bound),
        adaptive=draw(st.booleans()),
    )
    network = Network(
        (0.0,) * nodes,
        tuple(draw(st.sampled_from([0.5, 1.0, 2.0])) for _ in range(nodes)),
        tuple(draw(st.integers(1, 3)) for _ in range(nodes)),
        Costs(1.0, draw(st.sampled_from([1.0, 1.5])), draw(st.sampled_from([1.0, 2.0]))),
    )
    return Setting(
        network,
        Mixture(draw(st.integers(0, 3)), draw(st.integers(0, nodes - 1))),
        draw(st.sampled_from([Fixed(), Exponential(), SKEWED])),
        policy,
        Recorded(tuple(each / parts for each in times), tuple(homes)),
        gossip=draw(st.sampled_from([0.0, 1.0, 5.0])),
        seed=draw(st.integers(0, 1000)),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(setting=_settings())
def test_any_small_trace(setting: Setting) -> None:
    assert_golden(setting)


# -- without a trace ------------------------------------------------------------------

RING = tuple(((i - 1) % 7, (i + 1) % 7) for i in range(7))
CHAIN = tuple(((i + 1) % 7,) for i in range(7))
ONE_PACE = LogNormal(cv=0.8, common=1.0)
"""Each query has its pace, the same at every seat."""


def assert_agreed(setting: Setting, engine) -> None:
    """Measured alike: order statistics and counts to the last bit, sums up to rounding."""
    agents, arrays = dream(setting), simulate(setting, engine=engine, compiled=False)
    for name in ("asked", "answered", "refused", "p50", "p95", "p99", "longest", "in_time"):
        assert getattr(agents, name) == getattr(arrays, name), name
    for name in ("jobs", "events", "proposals", "visits", "goodput", "offered", "span"):
        assert getattr(agents, name) == getattr(arrays, name), name
    for name in ("mean", "waiting", "length", "utilisation"):
        assert getattr(agents, name) == pytest.approx(getattr(arrays, name), rel=1e-9), name
    # the last of the samples is taken at the very moment of the last question
    assert agents.growth == pytest.approx(arrays.growth, abs=2e-4)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("engine", ["lindley", "kernel"])
def test_the_engines_agree_by_themselves(engine, slots: int) -> None:
    for layers, graph in product([0, 1, 3], [RING, CHAIN]):
        setting = setting_of(
            (layers, len(graph[0])),
            law=ONE_PACE,
            graph=graph,
            slots=(slots,) * 7,
            queries=200,
            deadline=12.0,
        )
        assert_agreed(setting, engine)


@pytest.mark.parametrize("order", ORDERS)
def test_the_kernel_agrees_by_itself_under_policies(order: str) -> None:
    for policy, load in [
        (Policy(order=order, missing=1), 0.9),
        (Policy(order=order, peer_jobs=2, own_queries=3), 3.0),
    ]:
        more = {"graph": RING, "slots": (1,) * 7, "queries": 200}
        assert_agreed(setting_of((2, 2), policy, law=ONE_PACE, load=load, **more), "kernel")


@pytest.mark.parametrize("gossip", [0.0, 0.5, 8.0])
def test_a_crowd_is_the_same_for_agents_and_the_kernel(gossip: float) -> None:
    """With one peer each the ladder has no choice but of depth, which follows the crowd."""
    policy = Policy(order="oldest", adaptive=True)
    arrivals = Bursts(0.5, 4.0, 60.0, 30.0)
    more = {"graph": CHAIN, "slots": (1, 2, 1, 1, 2, 1, 1), "gossip": gossip, "queries": 300}
    setting = setting_of((3, 1), policy, law=ONE_PACE, arrivals=arrivals, **more)
    assert_agreed(setting, "kernel")
    assert 0.1 < dream(setting).proposals / 6.0 < 0.9


THREE = tuple(tuple(sorted((i + step) % 7 for step in (1, 2, 4))) for i in range(7))
"""With a fanout of 2 all three peers are candidates: whom the load is least is no chance."""


@pytest.mark.parametrize("gossip", [0.0, 1.0, 8.0])
@pytest.mark.parametrize(
    ("graph", "policy"),
    [
        (THREE, Policy(choice="loaded")),
        (THREE, Policy(choice="loaded", order="later", peer_jobs=2, retries=1)),
        (RING, STEADY),
        (THREE, Policy(choice="loaded", order="oldest", peer_jobs=2, retries=2, own_queries=4)),
    ],
    ids=["loaded", "retries", "steady", "bounded"],
)
@pytest.mark.parametrize("slots", [(1, 2, 1, 1, 1, 2, 1), (3, 1, 2, 1, 3, 2, 2)])
def test_loads_are_seen_and_weighed_alike(
    graph: tuple[tuple[int, ...], ...],
    policy: Policy,
    gossip: float,
    slots: tuple[int, ...],
) -> None:
    """Unlike nodes leave no ties between loads, so what is chosen follows from what is seen.

    Agents measure how long their jobs take, while the kernel knows it; so every node is
    first asked once, and that is not counted.
    """
    rng, times = Random(3), [15.0 * node for node in range(7)]
    for _ in range(150):
        times.append(max(times[-1], 120.0) + rng.expovariate(0.1 * sum(slots)))
    homes = [*range(7), *(rng.randrange(7) for _ in range(150))]
    network = Network((0.0,) * 7, (1.0, 1.37, 0.71, 2.23, 1.11, 0.93, 1.59), slots, graph=graph)
    setting = Setting(
        network,
        Mixture(2, 2),
        Fixed(),
        policy,
        Recorded(tuple(times), tuple(homes)),
        warmup=7.5 / 157,
        gossip=gossip,
    )
    assert_agreed(setting, "kernel")
    assert dream(setting).longest > 10.0
