from __future__ import annotations

from dmoa.core.effects import Deliver, Fail
from dmoa.core.events import Abandoned
from dmoa.core.limits import Limits
from dmoa.core.messages import Decline, Farewell, Gossip
from dmoa.core.names import JobId

from .room import Room


def is_empty(room: Room, name: str) -> bool:
    """Tell whether a home keeps nothing of the queries it had."""
    agent = room.agents[name]
    home = agent._home
    timers = [kind for kind, _ in agent._wants._due]
    return not (home.queries or home.seats or agent.queue._places) and timers == ["gossip"]


def test_a_home_keeps_nothing_of_a_query_that_ended() -> None:
    for end in ("answer", "fault", "deadline", "abandoned", "overload", "refusal"):
        room = Room("ab", limits=Limits(queue_jobs=1, layers=1))
        query = room.ask("a", 2 if end == "refusal" else 1, 1, deadline=20.0)
        if end == "answer":
            room.serve("a")
            room.hear("a", "b", Decline(JobId(f"{query}/1.1"), 1))
            room.serve("a")
        elif end == "fault":
            room.hear("a", "b", Decline(JobId(f"{query}/1.1"), 1))
            room.falter("a")
            room.falter("a")
        elif end == "deadline":
            room.pass_time(20.0)
        elif end == "abandoned":
            room.tell("a", Abandoned(query))
        elif end == "overload":
            room.ask("a")
            room.tell("a", Abandoned(query))
        assert is_empty(room, "a"), end
        assert len(room.ends("a")) == (end != "abandoned"), end


def test_a_home_that_loses_all_its_peers_at_once_goes_on_alone() -> None:
    room = Room("abcd")
    room.ask("a", 2, 3)
    room.deliver()
    for peer in "bcd":
        room.hear("a", peer, Farewell())
    room.serve("a", "draft")  # its own, of the first layer
    assert "draft" in room.served("a")[-1].prompt.turns[0].content
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert [reason.split(":")[0] for reason in end.answer.trace.degraded] == ["lost"] * 3 + ["few"]
    assert is_empty(room, "a")


def test_a_peer_born_anew_is_lost_and_may_be_drawn_for_the_next_layer() -> None:
    room = Room("ab")
    room.ask("a", 2, 1)
    room.serve("a")
    room.lose()
    reborn = room.birth("b", incarnation=2)
    room.hear("a", "b", Gossip(reborn.digest(room.now)))
    assert room.invited("a")["b"].layer == 2
    room.deliver()
    room.serve("a")
    room.serve("b")
    room.deliver()
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("lost: b in layer 1 (it started anew)",)


def test_queries_of_one_home_are_lost_and_found_apart() -> None:
    room = Room("ab")
    first, second = room.ask("a", 1, 1), room.ask("a", 1, 1)
    room.hear("a", "b", Decline(JobId(f"{second}/1.1"), 9))
    assert set(room.agents["a"]._home.queries[first].pending) == {f"{first}/1.0", f"{first}/1.1"}
    assert set(room.agents["a"]._home.queries[second].pending) == {f"{second}/1.0"}


def test_own_queries_wait_in_the_one_queue_and_expire_there() -> None:
    room = Room("a")
    room.ask("a", deadline=100.0)
    room.ask("a", deadline=2.0)
    room.pass_time(2.0)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "expired"
    assert len(room.agents["a"].queue) == 1
    assert room.cancelled("a") == []


def test_a_deadline_in_the_last_layer_delivers_what_that_layer_brought_so_far() -> None:
    room = Room("ab")
    room.ask("a", 2, 1, deadline=30.0)
    room.deliver()
    room.serve("a", "old")
    room.serve("b", "old")
    room.deliver()
    room.serve("a", "new")
    room.pass_time(15.0)
    room.stop("b")
    room.pass_time(15.0)
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert (end.answer.source, end.answer.completion.text) == ("proposal", "new")
