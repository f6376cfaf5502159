"""The world's own parts: who knows whom, whose slots, whose pace, and dice that stay apart."""

from __future__ import annotations

from math import inf, log
from random import Random
from statistics import fmean

import pytest

from dmoa.core.agent import Agent
from dmoa.core.effects import Answer
from dmoa.core.events import Received
from dmoa.core.job import Job, Sampling
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Gossip, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, Role
from dmoa.core.network import Costs, Network
from dmoa.core.policy import Policy
from dmoa.sim.faults import CALM, Faults
from dmoa.sim.links import Links, Partition
from dmoa.sim.services import Alike, Numbered, PerNode, seat_of
from dmoa.sim.world import End, World
from dmoa.theory.laws import Exponential, Fixed, LogNormal

QUIET = Timing(gossip=inf, silence=inf, deadline_max=inf)
RING = ((1, 3), (0, 2), (1, 3), (0, 2))


def nodes_of(*numbers: int) -> list[NodeId]:
    return [NodeId(f"n{number}") for number in numbers]


def job_of(name: str, *, role: Role = "proposer", layer: int = 1) -> Job:
    query = QueryId(name.rpartition("/")[0])
    return Job(JobId(name), query, NodeId("n1"), role, layer, (), (), Sampling(), 1.0)


# -- who knows whom -------------------------------------------------------------------


def test_everybody_knows_everybody_without_a_graph() -> None:
    world = World(4, Fixed(1.0), seed=1)
    world.run(3.0)
    assert world.agents[NodeId("n2")].view.living(3.0) == nodes_of(1, 3, 4)


def test_digests_go_only_along_the_edges_of_the_graph() -> None:
    world = World(4, Fixed(1.0), seed=1, graph=RING, record=True)
    world.run(3.0)
    known = [agent.view.living(3.0) for agent in world.agents.values()]
    assert known == [nodes_of(2, 4), nodes_of(1, 3), nodes_of(2, 4), nodes_of(1, 3)]
    for life, records in world.histories.items():
        heard = {record.event.sender for record in records if isinstance(record.event, Received)}
        assert len(heard) == 2, f"{life} heard {heard}"


def test_a_directed_edge_leads_one_way() -> None:
    world = World(3, Fixed(1.0), seed=1, graph=((1,), (2,), (0,)))
    query = world.ask(NodeId("n1"), Mixture(1, 1))
    world.run(10.0)
    result = world.queries[query].result
    assert isinstance(result, Answer)
    assert [visit.node for visit in result.trace.jobs] == nodes_of(1, 2, 1)
    assert world.agents[NodeId("n2")].view.living(10.0) == nodes_of(3)


def test_who_is_born_again_is_known_to_the_same_peers() -> None:
    world = World(4, Fixed(1.0), seed=1, graph=RING)
    world.run(2.5)
    world.crash(NodeId("n1"))
    world.run(3.5)
    assert world.agents[NodeId("n2")].view.living(3.5) == nodes_of(3)
    world.birth(NodeId("n1"))
    world.run(6.0)
    assert world.agents[NodeId("n2")].view.living(6.0) == nodes_of(1, 3)
    assert world.agents[NodeId("n1")].view.living(6.0) == nodes_of(2, 4)
    assert world.agents[NodeId("n3")].view.living(6.0) == nodes_of(2, 4)


# -- cut ways -------------------------------------------------------------------------


def test_parted_nodes_go_silent_and_come_back() -> None:
    cut = Links(partitions=(Partition(2.5, 20.5, ((0, 1),)),))
    world = World(4, Fixed(0.1), seed=1, links=cut)
    seen = {}
    for at in (2.0, 15.0, 25.0):
        world.run(at)
        seen[at] = world.agents[NodeId("n1")].view.living(at)
    assert seen == {2.0: nodes_of(2, 3, 4), 15.0: nodes_of(2), 25.0: nodes_of(2, 3, 4)}


def test_a_layer_across_a_cut_ends_by_its_patience() -> None:
    cut = Links(partitions=(Partition(0.5, inf, ((0,), (1,))),))
    world = World(2, Fixed(0.1), seed=1, links=cut)
    world.run(1.0)
    query = world.ask(NodeId("n1"), Mixture(1, 1), deadline=8.0)
    world.run(20.0)
    result = world.queries[query].result
    assert isinstance(result, Answer)
    assert [visit.outcome for visit in result.trace.jobs] == ["ok", "late", "ok"]
    assert world.queries[query].ended == pytest.approx(1.0 + 4.0 + 0.1)


def test_a_slow_link_is_waited_for() -> None:
    world = World(2, Fixed(1.0), seed=1, links=Links(Fixed(0.25)), timing=QUIET)
    query = world.ask(NodeId("n1"), Mixture(1, 1))
    world.run(10.0)
    assert world.queries[query].ended == pytest.approx(0.25 + 1.0 + 0.25 + 1.0)


# -- slots, policies, minds -----------------------------------------------------------


def test_each_node_has_its_own_slots() -> None:
    world = World(3, Fixed(1.0), seed=1, slots=(1, 2, 3), timing=QUIET)
    for node in world.agents:
        for _ in range(6):
            world.ask(node, Mixture(0, 0))
    world.run(10.0)
    last = {name.split("/")[0]: end.ended for name, end in world.queries.items()}
    assert last == {"n1": 6.0, "n2": 3.0, "n3": 2.0}


def test_agents_and_their_twins_have_the_policy() -> None:
    policy = Policy(order="oldest", spare=1)
    world = World(2, Fixed(1.0), seed=1, policy=policy)
    assert {agent.policy for agent in world.agents.values()} == {policy}
    assert world.twin("n1/1").policy == policy


def test_another_mind_can_be_dreamt() -> None:
    class Doubter(Agent):
        pass

    world = World(2, Fixed(1.0), seed=1, mind=Doubter)
    assert all(isinstance(agent, Doubter) for agent in world.agents.values())


# -- ends -----------------------------------------------------------------------------


def test_ended_queries_are_told_and_not_kept() -> None:
    told: list[tuple[QueryId, End]] = []
    world = World(2, Fixed(1.0), seed=1, heed=lambda *end: told.append(end))
    query = world.ask(NodeId("n1"), Mixture(0, 0))
    assert list(world.queries) == [query]
    world.run(2.0)
    world.abandon(query)
    (told_query, end), *more = told
    assert (told_query, end.asked, end.ended, end.ends, more) == (query, 0.0, 1.0, 1, [])
    assert world.queries == {}


def test_endless_patience_leaves_no_timers_behind() -> None:
    world = World(3, Exponential(1.0), seed=1, timing=QUIET)
    homes = list(world.agents)
    for number in range(60):
        world.run(float(number))
        world.ask(homes[number % 3], Mixture(1, 2), deadline=inf)
    world.run(1e6)
    assert world.at_work == 0
    assert all(end.ends == 1 for end in world.queries.values())
    assert len(world._heap) == 0


def test_wakings_do_not_pile_up_behind_far_deadlines() -> None:
    world = World(1, Fixed(1e-3), seed=1, timing=Timing(gossip=1e9, silence=1e9))
    for number in range(200):
        world.run(number / 100)
        world.ask(NodeId("n1"), Mixture(0, 0), deadline=1e6 - number)
    assert len(world._heap) < 210, "one service and one waking per query at most"
    early = World(1, Fixed(1e-3), seed=1, timing=Timing(gossip=1e9, silence=1e9))
    for number in range(200):
        early.run(number / 100)
        early.ask(NodeId("n1"), Mixture(0, 0), deadline=1e5 + number)
    assert len(early._heap) < 5


# -- dice -----------------------------------------------------------------------------


def test_faults_do_not_reshuffle_the_services() -> None:
    def draws(faults: Faults, links: Links) -> list[float]:
        world = World(3, Exponential(1.0), seed=1, faults=faults, links=links)
        world.ask(NodeId("n1"), Mixture(0, 0))
        return [world._models.times.seconds(0, job_of("n1/1/1/1.0")) for _ in range(5)]

    calm = draws(CALM, Links())
    assert draws(Faults(loss=0.5, delay=1.0, doubling=0.5), Links()) == calm
    assert draws(Faults(broken=1.0, deaf=1.0, rumours=0.5), Links()) == calm
    assert draws(CALM, Links(Fixed(1.0), loss=0.5)) == calm


def test_broken_models_do_not_reshuffle_the_links() -> None:
    def arrivals(faults: Faults) -> list[float]:
        links = Links(LogNormal(0.5), loss=0.3)
        world = World(2, Fixed(1.0), seed=4, faults=faults, links=links, record=True)
        world.run(8.0)
        return [
            record.now
            for record in world.histories["n1/1"]
            if isinstance(record.event, Received) and isinstance(record.event.message, Gossip)
        ]

    assert arrivals(CALM) == arrivals(Faults(broken=1.0, deaf=1.0))


def test_the_same_seed_dreams_the_same() -> None:
    def dreamt() -> str:
        links = Links(LogNormal(0.2), loss=0.1, partitions=(Partition(2.0, 4.0, ((0,),)),))
        policy = Policy(choice="loaded", spare=1, peer_jobs=2, retries=1)
        world = World(
            4, LogNormal(1.0), 7, links=links, graph=RING, policy=policy, slots=(1, 2, 1, 2),
            record=True,
        )  # fmt: skip
        for number in range(20):
            world.run(number / 4)
            world.ask(NodeId(f"n{1 + number % 4}"), Mixture(2, 1))
        world.run(60.0)
        return world.fingerprint()

    assert dreamt() == dreamt()


# -- services -------------------------------------------------------------------------


def test_a_job_bears_its_layer_and_its_seat() -> None:
    assert seat_of(JobId("n3/1a/17/2.11")) == (2, 11)


def test_one_law_is_drawn_in_the_order_of_service() -> None:
    services = Alike(Exponential(2.0), Random(5))
    drawn = [services.seconds(node, job_of("n1/1/1/1.0")) for node in (3, 0)]
    rng = Random(5)
    assert drawn == [Exponential(2.0).draw(rng), Exponential(2.0).draw(rng)]


def test_nodes_and_roles_have_their_own_pace() -> None:
    network = Network((1.0, 1.0), (1.0, 4.0), costs=Costs(1.0, 1.5, 2.0))
    services = PerNode(network, Fixed(), 1)
    jobs = [
        job_of("n1/1/1/1.0"),
        job_of("n1/1/1/2.1", layer=2),
        job_of("n1/1/1/3.0", role="aggregator", layer=3),
        job_of("n1/1/2/1.0", role="aggregator"),
    ]
    assert [services.seconds(0, job) for job in jobs] == [1.0, 1.5, 2.0, 1.0]
    assert [services.seconds(1, job) for job in jobs] == [4.0, 6.0, 8.0, 4.0]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_long_questions_are_long_everywhere(share: float) -> None:
    """The correlation of log service times within a query is the common share."""
    network = Network.alike(2, arrival_rate=1.0)
    services = PerNode(network, LogNormal(cv=0.8, common=share), "seed")
    pairs = [
        [services.seconds(0, job_of(f"n1/1/{number}/1.{seat}")) for seat in (0, 1)]
        for number in range(1500)
    ]
    every = [each for pair in pairs for each in pair]
    mean = fmean(every)
    assert mean == pytest.approx(1.0, rel=0.08)
    logs = [[log(each) for each in pair] for pair in pairs]
    middle = fmean(value for pair in logs for value in pair)
    spread = fmean((value - middle) ** 2 for pair in logs for value in pair)
    shared = fmean((one - middle) * (other - middle) for one, other in logs)
    assert shared / spread == pytest.approx(share, abs=0.08)


def test_what_is_common_to_a_query_is_its_own() -> None:
    network = Network.alike(2, arrival_rate=1.0)
    law = LogNormal(cv=0.8, common=1.0)
    alone = PerNode(network, law, 3).seconds(0, job_of("n1/1/2/1.0"))
    services = PerNode(network, law, 3)
    services.seconds(0, job_of("n1/1/1/1.0"))
    assert services.seconds(1, job_of("n1/1/2/1.1")) == pytest.approx(alone)


def test_dice_of_numbers_are_asked_by_numbers() -> None:
    asked = []

    def dice(query: int, layer: int, seat: int, node: int) -> float:
        asked.append((query, layer, seat, node))
        return 0.5

    services = Numbered(dice, {QueryId("n1/1/9"): 42}.__getitem__)
    assert services.seconds(7, job_of("n1/1/9/2.3", layer=2)) == 0.5
    assert asked == [(42, 2, 3, 7)]


def test_a_world_serves_by_the_services_it_is_given() -> None:
    network = Network((1.0, 1.0), (1.0, 3.0))
    world = World(2, Fixed(9.0), seed=1, timing=QUIET, services=PerNode(network, Fixed(), 1))
    query = world.ask(NodeId("n1"), Mixture(1, 1))
    world.run(20.0)
    assert world.queries[query].ended == 4.0


def test_peers_are_proposed_only_to_whom_they_are_known() -> None:
    world = World(
        6, Exponential(0.2), seed=3, graph=tuple(((i - 1) % 6, (i + 1) % 6) for i in range(6)),
        limits=Limits(queue_jobs=1000), record=True,
    )  # fmt: skip
    for number in range(30):
        world.run(number / 5)
        world.ask(NodeId(f"n{1 + number % 6}"), Mixture(1, 2))
    world.run(60.0)
    for life, records in world.histories.items():
        node = int(life[1])
        for record in records:
            event = record.event
            if isinstance(event, Received) and isinstance(event.message, Propose):
                assert int(event.sender[1:]) in {(node - 2) % 6 + 1, node % 6 + 1}
