"""A home that asks how peers stand, right before it sends a layer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.effects import Deliver, Send, Trace
from dmoa.core.events import Abandoned
from dmoa.core.limits import Timing
from dmoa.core.messages import Farewell, Gossip, Probe
from dmoa.core.names import NodeId, QueryId
from dmoa.core.policy import LIVE, Policy
from dmoa.core.query import Query

from .room import Room
from .test_home import is_empty

PROBING = Policy(choice="loaded", probe=1.0)
"""What is tested here, and nothing else."""
PATIENCE = Timing().probe


def make_room(names: str = "abcde", policy: Policy = PROBING) -> Room:
    """Everybody knows that a service takes 1 s, and heard of all the others 2 s ago."""
    room = Room(names, policy=policy)
    room.warm(1.0)
    room.pass_time(2.0)
    room.post.clear()
    return room


def query_of(room: Room, name: QueryId) -> Query:
    return room.agents["a"]._home.queries[name]


def tells(room: Room, peer: str, length: int = 0) -> None:
    room.told("a", peer, length=length)


def traced(room: Room) -> Trace:
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    return end.answer.trace


def finish(room: Room) -> None:
    """Carry the post and serve whatever is in service, until nothing is left."""
    room.deliver()
    while busy := [name for name in room.agents if room.serving(name)]:
        for name in busy:
            room.serve(name)
        room.deliver()


# -- being asked -------------------------------------------------------------------------


def test_who_is_asked_how_it_stands_says_so_at_once() -> None:
    room = Room("ab")
    before = room.agents["b"].digest(0.0).sequence
    room.hear("b", "a", Probe())
    room.hear("b", "a", Probe())
    digests = [message.digest for _, to, message in room.post if isinstance(message, Gossip)]
    assert {to for _, to, _ in room.post} == {"a"}
    assert [digest.sequence for digest in digests] == [before + 1, before + 2]
    for digest in digests:
        room.hear("a", "b", Gossip(digest))
    assert room.agents["a"].view.known(0.0) == [(digests[1], 0.0)], "each is newer than the last"


def test_the_next_digest_to_all_is_newer_than_what_one_was_told() -> None:
    room = Room("ab")
    room.hear("b", "a", Probe())
    room.deliver()
    known = room.agents["a"].view._peers[NodeId("b")].digest
    room.pass_time(1.0)
    assert room.agents["b"].digest(room.now).supersedes(known)


def test_what_is_told_is_how_it_stands_right_then() -> None:
    room = Room("ab")
    room.ask("b")
    room.ask("b")
    room.hear("b", "a", Probe())
    room.deliver()
    assert room.agents["a"].view._peers[NodeId("b")].length == 2


# -- asking ------------------------------------------------------------------------------


def test_a_layer_waits_for_those_of_whom_too_little_is_known() -> None:
    room = make_room()
    query = room.ask("a", 1, 2)
    assert sorted(room.probed("a")) == list("bcde")
    assert room.invited("a") == {}
    for peer in "bcd":
        tells(room, peer, length=2)
        assert room.invited("a") == {}
    tells(room, "e", length=0)
    assert len(room.invited("a")) == 2
    assert "e" in room.invited("a")
    assert query_of(room, query).probing == set()


def test_the_lightest_by_their_latest_word_are_chosen() -> None:
    room = make_room()
    room.ask("a", 1, 2)
    for peer, length in zip("bcde", (3, 0, 1, 2), strict=True):
        tells(room, peer, length)
    assert sorted(room.invited("a")) == ["c", "d"]


def test_who_was_heard_of_lately_is_not_asked() -> None:
    room = make_room()
    for peer in "bcd":
        tells(room, peer)
    room.ask("a", 1, 2)
    assert room.probed("a") == ["e"]
    room.lose()
    room.ask("a", 1, 1)
    assert room.probed("a") in (["e"], [])


def test_where_all_was_heard_lately_the_layer_is_sent_at_once() -> None:
    room = make_room()
    for peer in "bcde":
        tells(room, peer)
    query = room.ask("a", 1, 2)
    assert room.probed("a") == []
    assert len(room.invited("a")) == 2
    assert query_of(room, query).probing == set()


def test_the_own_model_begins_at_once() -> None:
    room = make_room()
    query = room.ask("a", 1, 2)
    assert room.serving("a") == [f"{query}/1.0"]
    assert query_of(room, query).position == 0


def test_a_layer_never_ends_while_it_asks() -> None:
    for policy in (PROBING, replace(PROBING, missing=2), replace(PROBING, spare=2)):
        room = make_room(policy=policy)
        query = room.ask("a", 1, 2)
        room.serve("a")
        assert query_of(room, query).layer == 1, "its own proposal is there, others are to come"
        assert not query_of(room, query).settled
        finish(room)
        proposers = [visit for visit in traced(room).jobs if visit.role == "proposer"]
        assert len(proposers) == 3 + policy.spare


def test_a_quorum_that_is_there_already_ends_the_layer_as_it_is_sent() -> None:
    room = make_room("ab", replace(PROBING, missing=1))
    query = room.ask("a", 1, 1)
    room.serve("a", "mine")
    room.deliver()
    assert query_of(room, query).aggregating
    assert room.served("a")[-1].job.proposals == ("mine",)
    finish(room)
    assert [visit.outcome for visit in traced(room).jobs] == ["ok", "spared", "ok"]


def test_an_own_model_that_fails_while_the_home_asks_ends_nothing() -> None:
    room = make_room()
    query = room.ask("a", 1, 2)
    room.falter("a")
    assert query_of(room, query).pending == {}
    finish(room)
    assert [visit.outcome for visit in traced(room).jobs] == ["failed", "ok", "ok", "ok"]


# -- those who do not answer -------------------------------------------------------------


def test_who_does_not_answer_in_time_is_left_out() -> None:
    room = make_room()
    room.ask("a", 1, 2)
    for peer in "bc":
        tells(room, peer, length=9)
    room.lose()
    room.pass_time(PATIENCE - 0.01)
    assert room.invited("a") == {}
    room.pass_time(0.02)
    assert sorted(room.invited("a")) == ["b", "c"], "however much those who answered hold"
    finish(room)
    assert traced(room).degraded == ()


def test_where_too_few_answered_the_silent_are_asked_as_well() -> None:
    room = make_room()
    room.ask("a", 1, 3)
    tells(room, "b")
    room.lose()
    room.pass_time(PATIENCE)
    invited = list(room.invited("a"))
    assert len(invited) == 3
    assert "b" in invited
    finish(room)
    assert traced(room).degraded == ()


def test_where_enough_answered_the_silent_are_left_alone() -> None:
    room = make_room()
    room.ask("a", 1, 2)
    asked = [to for _, to, message in room.post if isinstance(message, Probe)]
    assert len(asked) == 4
    for peer in asked[-2:]:
        tells(room, peer)
    room.lose()
    room.pass_time(PATIENCE)
    assert set(room.invited("a")) == set(asked[-2:])


def test_where_nobody_answered_they_are_asked_all_the_same() -> None:
    room = make_room()
    room.ask("a", 1, 2)
    room.lose()
    room.pass_time(PATIENCE)
    assert len(room.invited("a")) == 2
    finish(room)
    assert traced(room).degraded == ()


def test_a_late_word_sends_no_second_layer() -> None:
    room = make_room()
    query = room.ask("a", 1, 2)
    room.lose()
    room.pass_time(PATIENCE)
    invited = room.invited("a")
    for peer in "bcde":
        tells(room, peer)
    assert room.invited("a") == invited
    assert len(query_of(room, query).pending) == 3
    finish(room)
    assert len(traced(room).jobs) == 4


def test_who_left_is_not_waited_for() -> None:
    room = make_room()
    room.ask("a", 1, 2)
    for peer in "bc":
        tells(room, peer)
    room.hear("a", "d", Farewell())
    assert room.invited("a") == {}
    room.hear("a", "e", Farewell())
    assert sorted(room.invited("a")) == ["b", "c"]


def test_where_all_left_home_goes_on_with_its_own() -> None:
    room = make_room("abc")
    query = room.ask("a", 2, 2)
    for peer in "bc":
        room.hear("a", peer, Farewell())
    room.lose()
    assert list(query_of(room, query).pending) == [f"{query}/1.0"]
    finish(room)
    assert [visit.layer for visit in traced(room).jobs] == [1, 3]
    assert [reason.split(":")[0] for reason in traced(room).degraded] == ["few", "few"]


def test_where_all_left_and_the_own_was_there_the_layer_ends() -> None:
    room = make_room("ab")
    query = room.ask("a", 1, 1)
    room.serve("a")
    room.hear("a", "b", Farewell())
    assert query_of(room, query).aggregating


def test_who_fell_silent_while_it_was_asked_is_not_asked_for_more() -> None:
    room = Room("ab", policy=PROBING)
    room.warm(1.0)
    room.pass_time(room.timing.silence - PATIENCE / 2)
    room.post.clear()
    room.ask("a", 1, 1)
    assert room.probed("a") == ["b"]
    room.lose()
    room.pass_time(2 * PATIENCE)
    assert room.invited("a") == {}
    finish(room)
    assert [reason.split(":")[0] for reason in traced(room).degraded] == ["few"]


def test_a_word_of_one_peer_helps_every_query_that_waits_for_it() -> None:
    room = make_room("ab")
    queries = [room.ask("a", 1, 1) for _ in range(3)]
    assert room.probed("a") == ["b"] * 3
    tells(room, "b")
    assert all(query_of(room, query).pending.keys() >= {f"{query}/1.1"} for query in queries)


def test_a_word_that_is_no_news_is_an_answer_too() -> None:
    room = make_room("ab")
    known = room.agents["a"].view._peers[NodeId("b")].digest
    room.ask("a", 1, 1)
    room.hear("a", "b", Gossip(known))
    assert list(room.invited("a")) == ["b"], "the answer to the probe was overtaken by gossip"


# -- how it ends meanwhile ---------------------------------------------------------------


@pytest.mark.parametrize("policy", [PROBING, LIVE])
def test_what_is_abandoned_while_it_asks_leaves_nothing_behind(policy: Policy) -> None:
    room = Room("abc", policy=policy, timing=Timing(probe=50.0, silence=500.0))
    room.warm(1.0)
    room.pass_time(2.0)
    query = room.ask("a", 1, 2, deadline=5.0)
    assert query_of(room, query).probing
    room.tell("a", Abandoned(query))
    room.stop("a")
    assert is_empty(room, "a")
    for peer in "bc":
        tells(room, peer)
    assert room.invited("a") == {}, "late words send nothing"
    assert room.ends("a") == []


@pytest.mark.parametrize("policy", [PROBING, LIVE])
def test_the_silent_cost_a_short_query_half_of_its_layer_at_most(policy: Policy) -> None:
    room = Room("abc", policy=policy, timing=Timing(probe=50.0, silence=500.0))
    room.warm(0.01)
    room.pass_time(2.0)
    query = room.ask("a", 1, 2, deadline=4.0)
    room.pass_time(0.9)
    assert query_of(room, query).probing, "half of the layer's two seconds"
    room.pass_time(0.2)
    assert sorted(room.invited("a")) == ["b", "c"]


def test_a_deadline_that_passes_while_it_asks_delivers_the_own_proposal() -> None:
    room = Room("ab", policy=PROBING, timing=Timing(probe=50.0, silence=500.0))
    room.warm(1.0)
    room.pass_time(2.0)
    room.ask("a", 1, 1, deadline=5.0)
    room.serve("a", "mine")
    room.pass_time(5.0)
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert (end.answer.source, end.answer.text) == ("proposal", "mine")
    assert is_empty(room, "a")


def test_every_layer_asks_anew() -> None:
    room = make_room("abc")
    room.ask("a", 2, 1)
    assert sorted(room.probed("a")) == ["b", "c"]
    room.deliver()
    room.effects["a"].clear()
    room.pass_time(1.5)
    finish(room)
    probes = [e.to for e in room.effects["a"] if isinstance(e, Send) and e.message == Probe()]
    assert sorted(probes) == ["b", "c"], "1.5 s later too little is known again"
    assert [visit.layer for visit in traced(room).jobs] == [1, 1, 2, 2, 3]
