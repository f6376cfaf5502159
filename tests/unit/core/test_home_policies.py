"""A home that follows a policy; what each does is off in the paper's."""

from __future__ import annotations

from dataclasses import replace

from dmoa.core.effects import Deliver, Fail, Trace
from dmoa.core.events import Faltered, Received
from dmoa.core.job import Fault
from dmoa.core.messages import Decline, Gossip, Withdraw
from dmoa.core.names import JobId
from dmoa.core.policy import PAPER, Policy

from .room import Room


def crowded(room: Room, name: str, length: int) -> None:
    """Let everybody else tell `name` that their queues hold `length` jobs."""
    for peer, agent in room.agents.items():
        if peer != name:
            before = room.agents[name].view._peers[agent.node].digest.sequence
            digest = replace(agent.digest(room.now), sequence=before + 1, length=length)
            room.tell(name, Received(agent.node, Gossip(digest)))


def traced(room: Room, name: str) -> Trace:
    [end] = room.ends(name)
    assert isinstance(end, Deliver)
    return end.answer.trace


def finish(room: Room) -> None:
    """Serve whatever is in service, until nothing is."""
    while busy := [name for name in room.agents if room.serving(name)]:
        for name in busy:
            room.serve(name)
        room.deliver()


def test_a_spare_proposer_is_asked_and_the_slowest_is_withdrawn() -> None:
    room = Room("abcd", policy=Policy(spare=1))
    query = room.ask("a", 1, 1)
    assert len(room.invited("a")) == 2
    room.deliver()
    fast, slow = [name for name in "bcd" if room.serving(name)]
    room.serve("a")
    room.serve(fast)
    room.deliver()
    assert room.cancelled(slow), "nobody needs it any more"
    room.serve("a", "the answer")
    trace = traced(room, "a")
    assert sorted(visit.outcome for visit in trace.jobs) == ["ok", "ok", "ok", "spared"]
    assert trace.degraded == (), "it was asked for no more than that"
    room.stop(slow)
    assert len(room.agents[slow].queue) == 0
    assert query


def test_home_itself_can_be_the_slowest() -> None:
    room = Room("abcd", policy=Policy(spare=1))
    room.ask("a", 1, 1)
    room.deliver()
    for name in [name for name in "bcd" if room.serving(name)]:
        room.serve(name)
    room.deliver()
    assert len(room.cancelled("a")) == 1
    assert room.serving("a") == [], "its slot is busy until the model stopped"
    room.tell("a", Faltered(room.cancelled("a")[0], Fault("stopped")))
    finish(room)
    assert [visit.outcome for visit in traced(room, "a").jobs] == ["spared", "ok", "ok", "ok"]


def test_in_a_crowd_nobody_is_spared() -> None:
    room = Room("abcd", policy=Policy(spare=1))
    crowded(room, "a", 9)
    room.ask("a", 1, 1)
    assert len(room.invited("a")) == 1


def test_a_quorum_ends_a_layer() -> None:
    room = Room("abc", policy=Policy(missing=1))
    room.ask("a", 1, 2)
    room.deliver()
    room.serve("b")
    room.serve("c")
    room.deliver()
    assert room.cancelled("a")
    room.stop("a")
    finish(room)
    trace = traced(room, "a")
    assert [visit.outcome for visit in trace.jobs] == ["spared", "ok", "ok", "ok"]
    assert trace.degraded == ()


def test_one_other_peer_is_asked_where_one_declines() -> None:
    room = Room("abcd", policy=Policy(retries=1))
    query = room.ask("a", 1, 1)
    [first] = room.invited("a")
    room.lose()
    room.hear("a", first, Decline(JobId(f"{query}/1.1"), 7))
    [(second, job)] = room.invited("a").items()
    assert second != first
    assert job.id == f"{query}/1.2"
    room.deliver()
    finish(room)
    trace = traced(room, "a")
    assert [visit.outcome for visit in trace.jobs] == ["ok", "declined", "ok", "ok"]
    assert trace.degraded == (), "the layer was as wide as it was asked for"


def test_who_declines_as_well_is_missed() -> None:
    room = Room("abcd", policy=Policy(retries=1))
    query = room.ask("a", 1, 1)
    for seat in (1, 2):
        [peer] = room.invited("a")
        room.lose()
        room.hear("a", peer, Decline(JobId(f"{query}/1.{seat}"), 7))
    assert room.invited("a") == {}
    finish(room)
    assert [reason.split(":")[0] for reason in traced(room, "a").degraded] == ["declined"]


def test_a_peer_declines_from_its_bound_on() -> None:
    room = Room("ab", policy=Policy(peer_jobs=1))
    room.ask("b")
    room.ask("a", 1, 1)
    room.deliver()
    finish(room)
    assert [reason.split(":")[0] for reason in traced(room, "a").degraded] == ["declined"]
    room = Room("ab", policy=Policy(peer_jobs=2))
    room.ask("b")
    room.ask("a", 1, 1)
    room.deliver()
    finish(room)
    assert traced(room, "a").degraded == ()


def test_a_home_refuses_from_its_bound_on() -> None:
    room = Room("a", policy=Policy(own_queries=2))
    for _ in range(3):
        room.ask("a")
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert (end.refusal.code, end.refusal.trace.jobs) == ("overloaded", ())
    assert "2 of its user's queries wait" in end.refusal.detail
    assert end.refusal.retry_after is not None
    finish(room)
    assert len(room.ends("a")) == 3


def test_a_crowded_network_is_asked_for_less() -> None:
    room = Room("abcde", policy=Policy(adaptive=True))
    crowded(room, "a", 6)  # 24 jobs at 5 nodes: 4.8 per slot, costs of up to 9 * 3 / 4.8
    room.ask("a", 2, 3)
    assert len(room.invited("a")) == 3
    room.deliver()
    finish(room)
    trace = traced(room, "a")
    assert {visit.layer for visit in trace.jobs} == {1, 3}
    assert [reason.split(":")[0] for reason in trace.degraded] == ["shallow"]


def test_a_layer_is_narrowed_and_says_so() -> None:
    room = Room("abcde", policy=Policy(adaptive=True))
    crowded(room, "a", 9)  # 7.2 per slot: up to 3.75 of 9 visits, one layer with one peer
    room.ask("a", 2, 3)
    assert len(room.invited("a")) == 1
    room.deliver()
    crowded(room, "a", 0)
    finish(room)
    trace = traced(room, "a")
    assert [visit.layer for visit in trace.jobs] == [1, 1, *[2] * 4, 3], "it recovers in between"
    assert [reason.split(":")[0] for reason in trace.degraded] == ["narrow"]


def test_in_a_great_crowd_home_answers_alone() -> None:
    room = Room("abcde", policy=Policy(adaptive=True))
    crowded(room, "a", 50)
    room.ask("a", 2, 3)
    finish(room)
    trace = traced(room, "a")
    assert [(visit.role, visit.layer) for visit in trace.jobs] == [("aggregator", 3)]
    assert trace.degraded[0].startswith("shallow: the network holds 40.0 jobs per slot")


def test_the_paper_asks_for_all_whatever_the_crowd() -> None:
    room = Room("abcde", policy=PAPER)
    crowded(room, "a", 50)
    room.ask("a", 2, 3)
    assert len(room.invited("a")) == 3


def test_the_lightest_peers_are_asked() -> None:
    room = Room("abcde", policy=Policy(choice="loaded"))
    for peer, length in zip("bcde", (0, 5, 5, 0), strict=True):
        digest = replace(room.agents[peer].digest(0.0), sequence=9, length=length, service_time=1.0)
        room.tell("a", Received(room.agents[peer].node, Gossip(digest)))
    room.ask("a", 1, 2)
    assert sorted(room.invited("a")) == ["b", "e"]


def test_nobody_who_was_spared_works_on() -> None:
    room = Room("abcd", policy=Policy(spare=2))
    room.ask("a", 1, 1)
    room.deliver()
    room.serve("a")
    room.serve("b")
    room.deliver()
    withdrawn = [to for sender, to, message in room.post if isinstance(message, Withdraw)]
    assert withdrawn == []
    assert room.serving("c") == room.serving("d") == []
