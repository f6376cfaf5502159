"""Settings dreamt by the agents: what is measured, in calm and in bad weather."""

from __future__ import annotations

from dataclasses import replace
from math import inf, isnan

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, POLICIES, STEADY, Policy
from dmoa.errors import UsageError
from dmoa.sim.dream import Dream, dream
from dmoa.sim.engine import simulate
from dmoa.sim.faults import Faults
from dmoa.sim.links import Links, Partition
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.theory.laws import Exponential, Fixed, LogNormal

SKEWED = LogNormal(cv=0.8, common=0.5)


def setting_of(policy: Policy = PAPER, *, load: float = 0.7, nodes: int = 5, **more) -> Setting:
    mixture = more.pop("mixture", Mixture(1, 2))
    network = Network.alike(nodes, arrival_rate=load / mixture.visits)
    wanted = {"law": SKEWED, "queries": 300, **more}
    return Setting(network, mixture, policy=policy, **wanted)


# -- in calm weather ------------------------------------------------------------------


@pytest.mark.parametrize("policy", [PAPER, STEADY], ids=["paper", "steady"])
@pytest.mark.parametrize(
    "arrivals", [None, Bursts(0.5, 2.0, 50.0, 20.0)], ids=["poisson", "bursts"]
)
def test_the_same_setting_gives_the_same_outcome(policy: Policy, arrivals: Bursts | None) -> None:
    setting = setting_of(policy, arrivals=arrivals, gossip=1.0, queries=100)
    assert dream(setting) == dream(setting)
    assert dream(setting) != dream(replace(setting, seed=2))


@pytest.mark.parametrize("name", ["paper", "loaded", "hedged", "quorum", "steady"])
def test_agents_and_the_kernel_measure_about_the_same(name: str) -> None:
    """Peers are drawn by other dice, so the means agree only about; questions are the same."""
    setting = setting_of(POLICIES[name], queries=1000, nodes=4)
    agents, arrays = dream(setting), simulate(setting, compiled=False)
    for each in ("mean", "p50", "waiting", "length", "goodput", "proposals"):
        assert getattr(agents, each) == pytest.approx(getattr(arrays, each), rel=0.15), each
    assert agents.offered == arrays.offered
    assert agents.asked == arrays.asked == 900


def test_what_is_measured_hangs_together() -> None:
    setting = setting_of(mixture=Mixture(0, 0), queries=2000, law=Exponential())
    outcome = dream(setting)
    assert outcome.engine == "world"
    assert outcome.asked == outcome.answered == 1800
    assert outcome.p50 < outcome.mean < outcome.p95 < outcome.p99 <= outcome.longest
    assert outcome.length * 5 == pytest.approx(outcome.offered * outcome.mean, rel=0.03)
    busy = sum(outcome.utilisation) / 5
    assert outcome.length == pytest.approx(outcome.waiting + busy, rel=1e-6)
    assert outcome.jobs == 2000
    assert outcome.events == 4000
    assert outcome.visits == 1.0


def test_a_recorded_trace_is_followed_to_the_last_answer() -> None:
    times, homes = (0.0, 0.5, 0.5, 3.0), (0, 1, 1, 4)
    setting = setting_of(
        mixture=Mixture(0, 0), arrivals=Recorded(times, homes), law=Fixed(), warmup=0.0
    )
    outcome = dream(setting)
    assert (outcome.asked, outcome.answered) == (4, 4)
    assert (outcome.p50, outcome.longest) == (1.0, 2.0)


def test_an_overloaded_network_is_not_followed_for_ever() -> None:
    outcome = dream(setting_of(load=4.0, queries=200))
    assert outcome.answered < outcome.asked
    assert outcome.growth > 0.1
    assert outcome.goodput < outcome.offered


def test_refused_queries_are_counted_after_the_warmup() -> None:
    setting = setting_of(Policy(own_queries=1), load=3.0)
    outcome = dream(setting)
    assert outcome.answered + outcome.refused == outcome.asked == 270
    assert 20 < outcome.refused < 250


def test_who_is_in_time_is_counted_and_nobody_is_cut_off() -> None:
    endless = dream(setting_of())
    hasty = dream(setting_of(deadline=endless.p50))
    assert endless.in_time == 1.0
    assert hasty.in_time == pytest.approx(0.5, abs=0.01)
    assert replace(hasty, in_time=1.0) == endless


def test_clock_and_progress_are_told() -> None:
    ticks, seen = iter([5.0, 7.5]), []
    outcome = dream(
        setting_of(queries=50), clock=ticks.__next__, progress=lambda *how: seen.append(how)
    )
    assert outcome.cpu_seconds == 2.5
    assert seen == [(50, 50)]


def test_fresh_knowledge_beats_old_and_old_beats_none() -> None:
    loaded = setting_of(POLICIES["loaded"], load=0.9, nodes=8, queries=800)
    none, old, fresh = (
        dream(each).mean
        for each in (replace(loaded, policy=PAPER), replace(loaded, gossip=4.0), loaded)
    )
    assert fresh < old < none


@pytest.mark.parametrize(("policy", "gossip", "gossips"), [
    (PAPER, 0.0, False),
    (PAPER, 1.0, False),
    (STEADY, 0.0, False),
    (STEADY, 1.0, True),
    (Policy(spare=1), 1.0, True),
])  # fmt: skip
def test_only_who_looks_at_load_gossips(policy: Policy, gossip: float, *, gossips: bool) -> None:
    run = Dream(setting_of(policy, gossip=gossip, queries=40), record=True)
    run.live()
    agent = run.world.agents[run.nodes[0]]
    assert agent.timing.gossip == (gossip if gossips else inf)
    assert (agent.digest(0.0).sequence > 1) == gossips


def test_an_agent_that_is_shown_sees_its_peers_as_they_are() -> None:
    run = Dream(setting_of(POLICIES["loaded"], load=2.0, queries=60))
    run.live()
    agents = run.world.agents
    seer, *others = agents.values()
    assert sum(len(other.queue) for other in others) > 0
    crowd = seer.view.crowd(float(len(seer.queue)), run.world.now)
    assert crowd == sum(len(agent.queue) for agent in agents.values()) / 5
    known = seer.view.known(run.world.now)
    assert [(digest.node, digest.length, age) for digest, age in known] == [
        (other.node, len(other.queue), 0.0) for other in others
    ]


def test_unlike_slots_times_and_graphs_are_dreamt() -> None:
    network = Network(
        (0.1, 0.2, 0.05, 0.0), (1.0, 2.0, 4.0, 1.0), (1, 2, 3, 1),
        graph=((1, 3), (0, 2), (1, 3), (0, 2)),
    )  # fmt: skip
    outcome = dream(Setting(network, Mixture(1, 1), Fixed(), queries=800))
    wanted = [
        (rate * 2 + sum(network.arrival_rates[peer] for peer in peers) / 2) * time / slots
        for rate, peers, time, slots in zip(
            network.arrival_rates,
            network.graph or (),
            network.service_times,
            network.slots,
            strict=True,
        )
    ]
    assert outcome.utilisation == pytest.approx(wanted, abs=0.05)


# -- in bad weather -------------------------------------------------------------------


def test_slow_links_add_their_delay() -> None:
    setting = setting_of(load=0.02, law=Fixed(), mixture=Mixture(2, 1), queries=200)
    calm, slow = dream(setting), dream(setting, links=Links(Fixed(0.25)))
    assert calm.p50 == pytest.approx(3.0)
    assert slow.p50 == pytest.approx(3.0 + 2 * 0.5)


@pytest.mark.parametrize(
    ("faults", "links"),
    [
        (Faults(loss=0.1), Links()),
        (Faults(), Links(loss=0.1)),
        (Faults(), Links(partitions=(Partition(5.0, 9.0, ((0,),)),))),
        (Faults(crashes=1, notice=False), Links()),
    ],
    ids=["weather", "loss", "partition", "crash"],
)
def test_what_vanishes_without_a_word_needs_a_deadline(faults: Faults, links: Links) -> None:
    with pytest.raises(UsageError) as caught:
        dream(setting_of(), faults=faults, links=links)
    assert caught.value.hint == "give a deadline in seconds"
    outcome = dream(setting_of(deadline=20.0, queries=100), faults=faults, links=links)
    assert 0 < outcome.answered <= outcome.asked
    assert outcome.longest <= 20.0 + 1e-9


def test_lost_messages_cost_proposals_not_answers() -> None:
    setting = setting_of(deadline=30.0, load=0.3)
    calm, lossy = dream(setting), dream(setting, links=Links(loss=0.2))
    assert lossy.answered == lossy.asked
    assert lossy.proposals < calm.proposals == 3.0
    assert lossy.mean > calm.mean


def test_a_partition_leaves_each_side_its_own_peers() -> None:
    apart = Links(partitions=(Partition(0.0, inf, ((0, 1),)),))
    outcome = dream(setting_of(deadline=60.0, load=0.2), links=apart)
    assert outcome.answered == outcome.asked
    assert outcome.proposals == pytest.approx((2 * 2 + 3 * 3) / 5, abs=0.25)


def test_crashes_lose_the_queries_of_their_homes_only() -> None:
    setting = setting_of(load=0.5, gossip=1.0, queries=400)
    crashing = Faults(crashes=3, repair=20.0)
    outcome = dream(setting, faults=crashing)
    assert 250 < outcome.answered < outcome.asked == 360
    assert all(0.0 < busy < 1.0 for busy in outcome.utilisation)
    assert dream(setting, faults=crashing) == outcome


def test_a_network_that_never_comes_back_is_not_waited_for() -> None:
    outcome = dream(setting_of(queries=60, load=0.5), faults=Faults(crashes=60, repair=1e9))
    assert outcome.answered < outcome.asked


def test_broken_models_cost_answers() -> None:
    outcome = dream(setting_of(load=0.5), faults=Faults(broken=0.3))
    assert isinstance(outcome, Outcome)
    assert outcome.proposals < 2.9
    assert outcome.answered < outcome.asked
    assert not isnan(outcome.mean)
