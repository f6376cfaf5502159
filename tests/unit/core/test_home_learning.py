"""A home that learns how long answers take, and whose word is worth what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.effects import Deliver, Fail
from dmoa.core.events import Abandoned, Lost
from dmoa.core.messages import Decline, Withdraw
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.outlook import ENOUGH, SLACK, Ratios
from dmoa.core.policy import LIVE, Policy
from dmoa.core.query import Query
from dmoa.core.view import LESSON

from .room import Room

LEARNING = Policy(choice="loaded", learning=True)
"""What is tested here, without probes, spares or bounds."""


def make_room(names: str = "abc", policy: Policy = LEARNING) -> Room:
    """Everybody has measured a service of 1 s, and told so."""
    room = Room(names, policy=policy)
    room.warm(1.0)
    return room


def query_of(room: Room, name: QueryId) -> Query:
    return room.agents["a"]._home.queries[name]


def tardiness(room: Room) -> Ratios:
    return room.agents["a"]._home.outlook._tardiness


def teach(room: Room, ratio: float = 1.0, count: int = ENOUGH) -> None:
    """Let so many proposals have taken `ratio` times as long as was expected."""
    for _ in range(count):
        tardiness(room).add(ratio)


def doubt(room: Room, peer: str) -> float:
    return room.agents["a"].view.doubt(NodeId(peer), room.now)


def ask_one(room: Room, *, deadline: float = 90.0, served: float = 1.0) -> QueryId:
    """Ask one peer, whose proposal comes after so many seconds; home's own is there already."""
    query = room.ask("a", 1, 1, deadline=deadline)
    room.deliver()
    room.serve("a")
    room.pass_time(served)
    return query


# -- how long a layer is waited for ------------------------------------------------------


def test_a_layer_is_first_waited_for_its_share_of_the_deadline() -> None:
    room = make_room()
    query = room.ask("a", 1, 2, deadline=90.0)
    assert query_of(room, query).ends - room.now == 45.0


def test_once_enough_was_measured_it_is_waited_for_as_long_as_that_takes() -> None:
    room = make_room()
    teach(room, 2.0)
    query = room.ask("a", 1, 2, deadline=90.0)
    assert query_of(room, query).ends - room.now == SLACK * 2.0
    room.told("a", "b", length=4)
    query = room.ask("a", 1, 2, deadline=90.0)
    assert query_of(room, query).ends - room.now == SLACK * 2.0 * 5.0, "the longest queue counts"


def test_it_is_never_waited_for_longer_than_the_share() -> None:
    room = make_room()
    teach(room, 50.0)
    query = room.ask("a", 1, 2, deadline=20.0)
    assert query_of(room, query).ends - room.now == 10.0


def test_the_jobs_of_a_layer_know_how_long_it_lasts() -> None:
    room = make_room()
    teach(room, 2.0)
    room.ask("a", 1, 2, deadline=90.0)
    assert {job.patience for job in room.invited("a").values()} == {SLACK * 2.0}


def test_a_hung_peer_costs_the_measured_patience() -> None:
    room = make_room("ab")
    teach(room)
    query = ask_one(room, served=SLACK - 0.01)
    assert room.serving("a") == []
    room.pass_time(0.02)
    assert room.serving("a") == [f"{query}/2.0"]
    assert ("a", "b", Withdraw(JobId(f"{query}/1.1"))) in room.post
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("late: b in layer 1",)


def test_an_aggregation_is_waited_for_to_the_deadline() -> None:
    room = make_room("a")
    teach(room)
    room.ask("a", deadline=90.0)
    room.pass_time(89.0)
    assert room.ends("a") == []
    room.pass_time(1.5)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "expired"


# -- what a proposal teaches -------------------------------------------------------------


def test_a_proposal_in_time_teaches_how_long_they_take() -> None:
    room = make_room("ab")
    ask_one(room, served=1.5)
    room.serve("b")
    room.deliver()
    assert sorted(tardiness(room)._latest) == [1.5], "the own took no time, which teaches nothing"
    assert doubt(room, "b") == pytest.approx(1.5**LESSON)


def test_a_faster_one_takes_doubt_away() -> None:
    room = make_room("ab")
    for _ in range(9):
        room.agents["a"].view.judge(NodeId("b"), 4.0, room.now)
    before = doubt(room, "b")
    query = room.ask("a", 1, 1)
    expected = query_of(room, query).expected[JobId(f"{query}/1.1")]
    assert expected == pytest.approx(before), "what is expected of it includes the doubt"
    room.deliver()
    room.pass_time(1.0)
    room.serve("b")
    room.deliver()
    assert 1.0 < doubt(room, "b") < before


def test_a_late_one_is_doubted_and_a_measure_while_it_is_believed() -> None:
    room = make_room("ab")
    teach(room)
    ask_one(room, served=SLACK)
    assert tardiness(room)._latest[-1] == pytest.approx(SLACK)
    assert doubt(room, "b") == pytest.approx(SLACK**LESSON)


def test_one_that_is_doubted_is_no_measure_of_patience_when_it_is_late() -> None:
    room = make_room("ab")
    for _ in range(20):
        room.agents["a"].view.judge(NodeId("b"), 9.0, room.now)
    teach(room)
    query = ask_one(room, served=0.0)
    layer = query_of(room, query).ends - room.now
    assert layer > SLACK * 9.0, "it is waited for as long as is expected of it"
    room.pass_time(layer)
    assert tardiness(room)._latest[-1] == 1.0


def test_who_is_spared_after_a_long_wait_is_doubted() -> None:
    room = make_room("abc", replace(LEARNING, spare=1))
    room.ask("a", 1, 1)
    room.deliver()
    room.pass_time(3.0)
    room.serve("a")
    room.serve("b")
    room.deliver()
    assert room.cancelled("c")
    assert doubt(room, "c") == pytest.approx(3.0**LESSON), "it took at least as long"
    assert list(tardiness(room)._latest) == [3.0, 3.0], "but nobody waited for it"


def test_who_is_spared_before_it_could_answer_is_not_doubted() -> None:
    room = make_room("abc", replace(LEARNING, spare=1))
    room.ask("a", 1, 1)
    room.deliver()
    room.pass_time(0.5)
    room.serve("a")
    room.serve("b")
    room.deliver()
    assert room.cancelled("c")
    assert doubt(room, "c") == 1.0


def test_what_the_user_did_not_wait_for_teaches_nothing() -> None:
    room = make_room("abc")
    room.agents["a"].view.judge(NodeId("b"), 9.0, room.now)
    before = doubt(room, "b")
    for _ in range(2 * ENOUGH):
        query = room.ask("a", 1, 2)
        room.now += 0.001
        room.tell("a", Abandoned(query))
        room.stop("a")
        room.lose()
    assert len(tardiness(room)) == 0, "or the next layer would be waited for an instant only"
    assert doubt(room, "b") == pytest.approx(before, rel=0.01)


def test_a_deadline_that_comes_before_what_was_expected_teaches_nothing() -> None:
    room = make_room("ab")
    room.told("a", "b", length=9)
    ask_one(room, deadline=4.0, served=4.0)
    assert len(tardiness(room)) == 0
    assert doubt(room, "b") == 1.0


def test_whoever_leaves_after_a_long_wait_teaches_that_it_was_long() -> None:
    room = make_room("ab")
    query = ask_one(room, served=8.0)
    room.tell("a", Abandoned(query))
    assert doubt(room, "b") == pytest.approx(8.0**LESSON)


@pytest.mark.parametrize("how", ["lost", "failed"])
def test_what_did_not_come_for_another_reason_teaches_nothing(how: str) -> None:
    room = make_room("ab")
    query = ask_one(room, served=9.0)
    if how == "lost":
        room.tell("a", Lost(NodeId("b"), JobId(f"{query}/1.1")))
    else:
        room.falter("b")
        room.deliver()
    assert (len(tardiness(room)), doubt(room, "b")) == (0, 1.0)


def test_peers_drawn_by_chance_are_not_judged() -> None:
    room = make_room("ab", Policy(learning=True))
    ask_one(room, served=9.0)
    room.serve("b")
    room.deliver()
    assert doubt(room, "b") == 1.0, "nothing was expected of it"


def test_who_does_not_learn_doubts_nobody() -> None:
    room = make_room("ab", replace(LEARNING, learning=False))
    ask_one(room, served=9.0)
    room.serve("b")
    room.deliver()
    assert (len(tardiness(room)), doubt(room, "b")) == (0, 1.0)


def test_who_is_slower_than_it_says_is_chosen_less() -> None:
    room = make_room("abcd")
    for _ in range(5):
        room.agents["a"].view.judge(NodeId("b"), 4.0, room.now)
    for _ in range(10):
        room.ask("a", 1, 1)
    asked = [to for _, to, _ in room.post]
    assert len(asked) == 10
    assert asked.count("b") == 0
    for peer in "cd":
        room.told("a", peer, length=9)
    room.lose()
    room.ask("a", 1, 2)
    assert "b" in room.invited("a"), "but rather than one with a long queue"


# -- who declines ------------------------------------------------------------------------


def decline(room: Room, query: QueryId, peer: str, length: int) -> None:
    job = room.invited("a")[peer]
    room.lose()
    room.hear("a", peer, Decline(job.id, length))
    assert query


def test_a_decline_tells_the_queue() -> None:
    room = make_room(policy=replace(LEARNING, peer_jobs=5, retries=1))
    query = room.ask("a", 1, 1)
    [peer] = room.invited("a")
    decline(room, query, peer, 7)
    view = room.agents["a"].view._peers[NodeId(peer)]
    assert (view.length, view.told) == (7, room.now)
    assert doubt(room, peer) == pytest.approx(8.0**LESSON), "it said that its queue is empty"
    [other] = room.invited("a")
    assert {peer, other} == {"b", "c"}


def test_a_peer_that_declines_while_it_says_it_is_empty_is_doubted_the_same() -> None:
    room = make_room(policy=replace(LEARNING, peer_jobs=5, retries=1))
    query = room.ask("a", 1, 1)
    [peer] = room.invited("a")
    decline(room, query, peer, 0)
    assert doubt(room, peer) == pytest.approx(6.0**LESSON), "it takes five"


def test_an_honest_decline_is_no_reason_for_doubt() -> None:
    room = make_room("ab", policy=replace(LEARNING, peer_jobs=5))
    room.told("a", "b", length=5)
    query = room.ask("a", 1, 1)
    decline(room, query, "b", 5)
    assert doubt(room, "b") == 1.0


def test_what_a_decline_told_counts_in_the_next_choice() -> None:
    room = make_room(policy=replace(LEARNING, peer_jobs=5, retries=1))
    query = room.ask("a", 1, 1)
    [peer] = room.invited("a")
    decline(room, query, peer, 7)
    for _ in range(5):
        room.lose()
        room.ask("a", 1, 1)
        assert peer not in room.invited("a")


def test_what_is_expected_of_who_is_asked_instead_is_known() -> None:
    room = make_room("abc", policy=replace(LEARNING, peer_jobs=5, retries=1))
    query = room.ask("a", 1, 1)
    [peer] = room.invited("a")
    [other] = {"b", "c"} - {peer}
    room.told("a", other, length=3)
    decline(room, query, peer, 7)
    assert query_of(room, query).expected[JobId(f"{query}/1.2")] == pytest.approx(4.0)


@pytest.mark.parametrize("policy", [LEARNING, replace(LIVE, learning=False)])
def test_without_a_bound_or_without_learning_a_decline_is_no_lesson(policy: Policy) -> None:
    room = make_room("ab", policy=policy)
    query = room.ask("a", 1, 1)
    decline(room, query, "b", 7)
    view = room.agents["a"].view._peers[NodeId("b")]
    assert (view.length, doubt(room, "b")) == (0, 1.0)


def test_a_decline_by_who_was_not_asked_teaches_nothing() -> None:
    room = make_room(policy=replace(LEARNING, peer_jobs=5))
    query = room.ask("a", 1, 1)
    [peer] = room.invited("a")
    [other] = {"b", "c"} - {peer}
    room.hear("a", other, Decline(JobId(f"{query}/1.1"), 7))
    assert doubt(room, other) == 1.0
    assert room.agents["a"].view._peers[NodeId(other)].length == 0
    assert JobId(f"{query}/1.1") in query_of(room, query).pending


# -- what an answer teaches --------------------------------------------------------------


def test_every_stage_of_an_answer_teaches_how_long_it_takes_from_there() -> None:
    room = make_room("ab")
    query = room.ask("a", 1, 1)
    room.deliver()
    outlook = room.agents["a"]._home.outlook
    [foreseen] = query_of(room, query).foreseen
    room.pass_time(2.0)
    room.serve("a")
    room.serve("b")
    room.deliver()
    room.pass_time(3.0)
    room.serve("a")
    leans = {layers: list(ratios._latest) for layers, ratios in outlook._leans.items()}
    assert leans.keys() == {0, 1}
    assert leans[1] == [pytest.approx(5.0 / foreseen.naive)]
    assert leans[0] == [pytest.approx(3.0 / 1.0)], "the aggregation before took 1 s"


def test_what_did_not_go_as_planned_teaches_only_what_came_after() -> None:
    room = make_room("ab", policy=replace(LEARNING, adaptive=True))
    room.ask("a", 2, 1)
    room.deliver()
    room.serve("a")
    room.told("a", "b", length=99)
    room.tell("a", Lost(NodeId("b"), JobId("a/1/2/1.1")))
    room.pass_time(1.0)
    room.serve("a")
    leans = room.agents["a"]._home.outlook._leans
    assert leans.keys() == {0}, "one of two layers was left out"
