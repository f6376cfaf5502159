from __future__ import annotations

import pytest

from dmoa.core import standing
from dmoa.core.effects import Standing
from dmoa.core.events import Abandoned
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.policy import LIVE, PAPER, Policy

from .room import Room

WITHOUT_PROBES = Policy(choice="loaded", timely=True, learning=True, adaptive=True)


def standings(room: Room) -> tuple[Standing, ...]:
    return room.agents["a"].standings(room.now)


def test_nobody_asks_nobody_stands() -> None:
    assert standings(Room("a")) == ()


def test_before_anything_was_measured_only_the_place_is_known() -> None:
    room = Room("a")
    queries = [room.ask("a") for _ in range(3)]
    room.now = 2.0
    assert [
        (each.query, each.position, each.waited, each.starts_in, each.answers_in, each.expected)
        for each in standings(room)
    ] == [(query, place, 2.0, 0.0, 0.0, 0.0) for place, query in enumerate(queries)]


def test_places_are_counted_and_starts_foreseen() -> None:
    room = Room("a")
    room.warm(2.0)
    for _ in range(4):
        room.ask("a")
    assert [each.position for each in standings(room)] == [0, 1, 2, 3]
    assert [each.starts_in for each in standings(room)] == [0.0, 2.0, 4.0, 6.0]
    assert [each.answers_in for each in standings(room)] == [2.0, 4.0, 6.0, 8.0]
    room.pass_time(0.5)
    assert [each.starts_in for each in standings(room)] == [0.0, 1.5, 3.5, 5.5]
    assert [each.answers_in for each in standings(room)] == [1.5, 3.5, 5.5, 7.5]
    room.pass_time(1.5)
    room.serve("a")
    assert [each.position for each in standings(room)] == [0, 1, 2]
    assert [each.starts_in for each in standings(room)] == [0.0, 2.0, 4.0]
    assert [each.expected for each in standings(room)] == [4.0, 6.0, 8.0], "as it was told"


def test_what_takes_longer_than_it_was_to_is_not_expected_in_the_past() -> None:
    room = Room("a")
    room.warm(2.0)
    room.ask("a")
    room.ask("a")
    room.pass_time(9.0)
    running, waiting = standings(room)
    assert running.answers_in == room.agents["a"].gauge.rest == 1.0
    assert waiting.starts_in == 0.5, "half of what is left of a job on average"
    assert waiting.answers_in == 1.0


def test_the_peers_jobs_ahead_count() -> None:
    room = Room("ab")
    room.warm(1.0)
    room.ask("b", 1, 1)
    room.deliver()
    room.ask("a")
    [mine] = standings(room)
    assert (mine.position, mine.starts_in) == (1, 1.0)


def test_a_query_whose_first_job_is_done_waits_no_more() -> None:
    room = Room("ab")
    room.warm(1.0)
    room.ask("a", 1, 1)
    room.ask("a")
    room.deliver()
    first, second = standings(room)
    assert (first.position, first.layer, second.position) == (0, 1, 1)
    room.serve("a")
    first, second = standings(room)
    assert (first.position, second.position) == (0, 0)
    room.serve("b")
    room.deliver()
    first, second = standings(room)
    assert (first.layer, first.position) == (2, 0), "its aggregation waits, but it was begun"


def test_a_standing_says_what_the_query_will_get() -> None:
    room = Room("abcde", policy=WITHOUT_PROBES)
    room.warm(1.0)
    room.ask("a", 2, 3)
    assert standings(room)[0].mixture == Mixture(2, 3)
    for peer in "bcde":
        room.told("a", peer, length=50)
    room.ask("a", 2, 3)
    assert standings(room)[1].mixture == ALONE


def test_what_is_expected_is_learned() -> None:
    room = Room("a", policy=PAPER)
    room.warm(1.0)
    room.ask("a")
    [before] = standings(room)
    for _ in range(5):
        room.agents["a"]._home.outlook.answered(0, 1.0, 3.0)
    room.tell("a", Abandoned(before.query))
    room.stop("a")
    room.ask("a")
    [after] = standings(room)
    assert (before.expected, after.expected) == (1.0, 3.0)


def test_what_was_told_is_in_the_trace() -> None:
    room = Room("a")
    room.warm(2.0)
    for _ in range(3):
        room.ask("a")
    told = standings(room)
    for _ in range(3):
        room.pass_time(2.0)
        room.serve("a")
    ends = [end.answer.trace for end in room.ends("a")]
    assert [trace.position for trace in ends] == [0, 1, 2]
    assert [trace.expected_seconds for trace in ends] == [each.expected for each in told]
    assert [trace.seconds for trace in ends] == [2.0, 4.0, 6.0], "and it was true"


@pytest.mark.parametrize("policy", [PAPER, LIVE])
def test_what_is_given_now_is_what_is_gossiped(policy: Policy) -> None:
    room = Room("abcd", policy=policy)
    room.warm(1.0)
    query = room.ask("a", 2, 2, deadline=1000.0)
    room.tell("a", Abandoned(query))
    home = room.agents["a"]._home
    assert standing.given(home, room.now) == Mixture(2, 2)
    for peer in "bcd":
        room.told("a", peer, length=20)
    expected = ALONE if policy.adaptive else Mixture(2, 2)
    assert standing.given(home, room.now) == expected
    digest = room.agents["a"].digest(room.now)
    assert Mixture(digest.layers, digest.fanout) == expected
    # B jobs of (M+1) s each in the half of 300 s.
    assert standing.bound(home, room.now) == (149 if policy.timely else -1)
