from __future__ import annotations

import pytest

from dmoa.core.choice import Choice
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.core.outlook import Plan
from dmoa.core.policy import LIVE, PAPER, Policy
from dmoa.core.query import Query

from .room import Room


def asked(room: Room, layers: int = 1, fanout: int = 2) -> tuple[Choice, Query]:
    """A query of `a` in its first layer, and the choice of whom to ask for it."""
    name = room.ask("a", layers, fanout, deadline=100.0)
    home = room.agents["a"]._home
    query = home.queries[name]
    query.degraded.clear()
    return home.choice, query


def known(room: Room, **lengths: int) -> None:
    """Let everybody have told `a` the length of its queue, and that a service takes 1 s."""
    for peer, length in lengths.items():
        room.told("a", peer, length=length, service_time=1.0)


def names(text: str) -> list[NodeId]:
    return [NodeId(name) for name in text]


# -- who is drawn ------------------------------------------------------------------------


def test_the_paper_draws_as_many_as_it_asks() -> None:
    choice, query = asked(Room("abcdefg"))
    assert len(choice.draw(query, 0.0)) == 2


def test_to_choose_by_load_twice_as_many_are_drawn() -> None:
    choice, query = asked(Room("abcdefg", policy=Policy(choice="loaded")))
    assert len(choice.draw(query, 0.0)) == 4
    choice, query = asked(Room("abcdefgh", policy=Policy(choice="loaded", spare=1)))
    assert len(choice.draw(query, 0.0)) == 6


def test_nobody_is_drawn_for_a_layer_of_home_alone() -> None:
    choice, query = asked(Room("abc"), 1, 0)
    assert choice.draw(query, 0.0) == []
    assert query.layer == 1
    assert query.degraded == []


def test_without_peers_home_goes_on_to_its_aggregation() -> None:
    choice, query = asked(Room("abc"), 2, 2)
    for peer in "bc":
        choice.view.leave(NodeId(peer))
    assert choice.draw(query, 0.0) == []
    assert query.aggregating
    assert query.degraded == ["few: 0 of 2 peers were known in layer 1; home went on alone"]


def test_layers_that_cannot_be_carried_are_left_out_with_the_reason() -> None:
    room = Room("abc", policy=Policy(adaptive=True))
    choice, query = asked(room, 2, 2)
    known(room, b=90, c=90)
    query.layer = 2
    assert choice.draw(query, 0.0) == []
    assert query.aggregating
    [reason] = query.degraded
    assert reason.startswith("shallow: the network holds 60.")
    assert reason.endswith("jobs per slot; home aggregates in place of layer 2")


# -- who is asked how it stands ----------------------------------------------------------


def test_whose_word_is_older_than_a_service_time_is_asked_how_it_stands() -> None:
    room = Room("abcd", policy=LIVE)
    choice, _ = asked(room)
    known(room, b=0, c=0)
    room.now = 0.5
    known(room, d=0)
    assert choice.unsure(names("bcd"), 1.0) == []
    assert choice.unsure(names("bcd"), 1.25) == ["b", "c"]


@pytest.mark.parametrize(
    "policy",
    [PAPER, Policy(choice="loaded"), Policy(probe=1.0)],
    ids=["paper", "never asks", "does not choose"],
)
def test_who_does_not_choose_by_load_or_never_asks_asks_nobody(policy: Policy) -> None:
    room = Room("abcd", policy=policy)
    choice, _ = asked(room)
    known(room, b=0, c=0, d=0)
    assert choice.unsure(names("bcd"), 4.0) == []


# -- who is asked for a proposal ---------------------------------------------------------


def test_the_least_loaded_are_chosen_with_what_is_expected_of_them() -> None:
    room = Room("abcde", policy=Policy(choice="loaded"))
    choice, query = asked(room)
    known(room, b=3, c=0, d=1, e=2)
    assert choice.choose(query, names("bcde"), 0.0) == [("c", 1.0), ("d", 2.0)]
    assert query.needed == 3
    assert query.degraded == []


def test_the_paper_asks_all_that_were_drawn_and_expects_nothing() -> None:
    choice, query = asked(Room("abcde"))
    assert choice.choose(query, names("ec"), 0.0) == [("e", 0.0), ("c", 0.0)]
    assert query.needed == 3


def test_a_spare_one_is_not_waited_for() -> None:
    room = Room("abcde", policy=Policy(choice="loaded", spare=1))
    choice, query = asked(room)
    assert len(choice.choose(query, names("bcde"), 0.0)) == 3
    assert query.needed == 3
    assert len(choice.choose(query, names("bc"), 0.0)) == 2
    assert query.needed == 3, "where there is no spare one, all are"
    query.plan = Plan(query.asked.mixture, crowd=3.0)
    assert len(choice.choose(query, names("bcde"), 0.0)) == 2, "in a crowd none is spared"


def test_a_quorum_waits_for_one_less() -> None:
    choice, query = asked(Room("abcd", policy=Policy(choice="loaded", missing=1)))
    choice.choose(query, names("bcd"), 0.0)
    assert query.needed == 2


def test_fewer_than_were_asked_for_is_a_reason() -> None:
    choice, query = asked(Room("abc", policy=Policy(choice="loaded")))
    choice.choose(query, names("b"), 0.0)
    assert query.degraded == ["few: 1 of 2 peers were known in layer 1"]
    assert query.needed == 2


def test_a_narrowed_layer_is_a_reason_once_somebody_is_asked() -> None:
    choice, query = asked(Room("abcd", policy=Policy(choice="loaded", adaptive=True)))
    query.plan = Plan(Mixture(1, 1), 9.0, "it is full")
    assert len(choice.choose(query, names("bcd"), 0.0)) == 1
    assert query.degraded == ["narrow: it is full; layer 1 asks 1 of 2 peers"]


# -- who is asked in its place -----------------------------------------------------------


def test_another_peer_is_one_that_has_no_seat_in_this_layer() -> None:
    for policy in (Policy(retries=1), Policy(choice="loaded", retries=1)):
        room = Room("abcd", policy=policy)
        choice, query = asked(room)
        known(room, b=1, c=1, d=1)
        seated = set(query.seated)
        [(node, seconds)] = choice.other(query, 0.0)
        assert {*seated, node} == set("abcd")
        assert seconds == (2.0 if policy.choice == "loaded" else 0.0)
        choice.view.leave(node)
        assert choice.other(query, 0.0) == []


def test_another_peer_is_the_lighter_of_two() -> None:
    room = Room("abcde", policy=Policy(choice="loaded", retries=1))
    known(room, b=0, c=0, d=7, e=2)
    choice, query = asked(room)
    assert sorted(query.seated) == ["a", "b", "c"]
    assert choice.other(query, 0.0) == [("e", 3.0)]


def test_the_seat_of_the_layer_before_is_none_of_this_one() -> None:
    choice, query = asked(Room("ab"), 2, 1)
    assert query.seated == ["a", "b"]
    query.turn_over()
    assert query.seated == []
    assert choice.other(query, 0.0) == [("b", 0.0)]
    assert query.asked.query == QueryId("a/1/1")
