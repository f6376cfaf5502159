"""What is read ahead, of which queries: recipes, layers, lost peers, quorums, ends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.effects import Effect, Read, Rest, Serve
from dmoa.core.events import Abandoned, Lost, Woke
from dmoa.core.job import Profile
from dmoa.core.messages import Decline, Farewell, Gossip
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId
from dmoa.core.outlook import Plan
from dmoa.core.policy import Policy
from dmoa.core.recipe import Recipe

from .room import Room


def make_room(names: str = "abc", *, slots: int = 2, **policy: object) -> Room:
    profile = Profile("toy", slots=slots, reads=True)
    return Room(names, profile=profile, policy=Policy(eager="own", **policy))


def told(effects: list[Effect]) -> list[str]:
    """Tell of each effect about reading what it is, and of which job."""
    lines = []
    for each in effects:
        match each:
            case Read(job=job) | Serve(job=job):
                texts = ",".join(job.proposals)
                lines.append(f"{type(each).__name__} {job.id.rpartition('/')[2]} {texts}".strip())
            case Rest(job=name):
                lines.append(f"Rest {name.rpartition('/')[2]}")
            case _:
                pass
    return lines


def asked(room: Room, layers: int = 1, fanout: int = 2, **other: object) -> Room:
    """Ask at a, and let all jobs be in service."""
    room.ask("a", layers=layers, fanout=fanout, **other)
    room.deliver()
    room.effects["a"].clear()
    return room


def comes(room: Room, peer: str, text: str) -> list[str]:
    """Let a peer's proposal come in; tell what follows at a."""
    room.serve(peer, text)
    room.effects["a"].clear()
    room.deliver()
    return told(room.effects["a"])


def seat_of(room: Room, peer: str) -> JobId:
    return room.serving(peer)[0]


# -- the order ------------------------------------------------------------------------


def test_the_own_proposal_goes_first_where_reading_has_not_begun() -> None:
    room = asked(make_room(slots=1))
    assert comes(room, "b", "theirs") == []
    assert told(room.serve("a", "mine")) == ["Read 2.0 mine,theirs"]
    assert comes(room, "c", "last") == ["Serve 2.0 mine,theirs,last"]


def test_the_order_stands_once_reading_has_begun() -> None:
    room = asked(make_room())
    assert comes(room, "b", "theirs") == ["Read 2.0 theirs"]
    assert told(room.serve("a", "mine")) == ["Read 2.0 theirs,mine"]
    assert comes(room, "c", "last") == ["Serve 2.0 theirs,mine,last"]


def test_the_order_stands_though_the_reading_had_to_rest() -> None:
    room = asked(make_room())
    assert comes(room, "b", "theirs") == ["Read 2.0 theirs"]
    room.ask("c", layers=1, fanout=2)
    room.effects["a"].clear()
    room.deliver()
    [rest, _] = told(room.effects["a"])
    assert rest == "Rest 2.0"
    assert told(room.serve("a", "mine")) == ["Read 2.0 theirs,mine"]


def test_where_nothing_is_read_ahead_proposals_stand_as_they_came() -> None:
    room = asked(Room("abc", profile=Profile("toy", reads=True)))
    assert comes(room, "b", "theirs") == []
    assert told(room.serve("a", "mine")) == []
    assert comes(room, "c", "last") == ["Serve 2.0 theirs,mine,last"]


def test_every_layer_begins_its_own_order() -> None:
    room = asked(make_room(slots=2), layers=2, fanout=1)
    [peer] = [name for name in "bc" if room.serving(name)]
    assert comes(room, peer, "theirs") == ["Read 2.0 theirs"]
    assert told(room.serve("a", "mine")) == ["Serve 2.0 theirs,mine"]
    room.deliver()
    assert told(room.serve("a", "again")) == ["Read 3.0 again"]
    [peer] = [name for name in "bc" if room.serving(name)]
    assert comes(room, peer, "more") == ["Serve 3.0 again,more"]


# -- which ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "agree", "rank", "rank+best", "rank+seed", "rank+select"])
def test_what_reads_the_proposals_as_they_come_is_read_ahead(name: str) -> None:
    room = asked(make_room(), recipe=Recipe.parse(name))
    job = "2.1" if "rank" in name else "2.0"
    assert comes(room, "b", "theirs") == [f"Read {job} theirs"]
    assert told(room.serve("a", "mine")) == [f"Read {job} theirs,mine"]
    assert comes(room, "c", "last") == [f"Serve {job} theirs,mine,last"]


@pytest.mark.parametrize("name", ["trim", "select", "best", "seed", "rank+trim", "agree+select"])
def test_what_orders_or_drops_proposals_first_is_not(name: str) -> None:
    room = asked(make_room(), recipe=Recipe.parse(name))
    assert comes(room, "b", "theirs") == []
    assert told(room.serve("a", "mine")) == []


def test_before_other_layers_a_ranking_recipe_reads_as_any_other() -> None:
    room = asked(make_room(), layers=2, recipe=Recipe.parse("rank"))
    assert comes(room, "b", "theirs") == ["Read 2.0 theirs"]
    room = asked(make_room(), layers=2, recipe=Recipe.parse("rank+select"))
    assert comes(room, "b", "theirs") == []


def test_home_alone_reads_its_own_samples() -> None:
    room = asked(make_room("a", slots=3), fanout=1, recipe=Recipe.parse("self"))
    [first] = [each for each in room.serve("a", "one") if isinstance(each, Read)]
    assert (first.job.proposals, first.follow) == (("one",), ("a/1/1/1.1",))
    assert told(room.serve("a", "two")) == ["Serve 2.0 one,two"]


def test_a_proposal_that_will_not_be_ranked_is_read_for_the_aggregation() -> None:
    room = asked(make_room(slots=1), fanout=1, recipe=Recipe.parse("rank"))
    assert told(room.serve("a", "mine")) == ["Read 2.1 mine"]
    [peer] = [name for name in "bc" if room.serving(name)]
    effects = room.tell("a", Lost(NodeId(peer), seat_of(room, peer)))
    assert told(effects) == ["Rest 2.1", "Serve 2.0 mine"]
    alone = make_room("a")
    alone.ask("a", layers=1, fanout=0, recipe=Recipe.parse("rank"))
    assert told(alone.effects["a"])[-2:] == ["Serve 1.0", "Read 2.0"]


def test_where_the_best_is_the_answer_one_alone_is_not_read() -> None:
    room = make_room("a")
    room.ask("a", layers=1, fanout=0, recipe=Recipe.parse("rank+best"))
    assert not [each for each in told(room.effects["a"]) if each.startswith("Read")]


def test_where_all_agree_what_was_read_is_given_up() -> None:
    room = asked(make_room(), recipe=Recipe.parse("agree"))
    comes(room, "b", "yes")
    room.serve("a", "yes")
    assert comes(room, "c", "yes") == ["Rest 2.0"]
    assert len(room.ends("a")) == 1


def test_layers_that_will_be_left_out_are_not_read_for() -> None:
    room = asked(make_room(), layers=3)
    [query] = room.agents["a"]._home.queries.values()
    query.plan = Plan(Mixture(1, 2))
    assert comes(room, "b", "theirs") == ["Read 4.0 theirs"]


# -- who is followed ------------------------------------------------------------------


def followed(effects: list[Effect]) -> set[str]:
    [read] = [each for each in effects if isinstance(each, Read)]
    return {job.rpartition("/")[2] for job in read.follow}


def test_only_the_last_is_followed() -> None:
    room = asked(make_room(slots=2))
    room.serve("b", "theirs")
    room.effects["a"].clear()
    room.deliver()
    assert followed(room.effects["a"]) == set()
    last = seat_of(room, "c").rpartition("/")[2]
    assert followed(room.serve("a", "mine")) == {last}


def test_whoever_may_be_the_next_is_followed_once_the_own_proposal_is_there() -> None:
    room = asked(make_room("abcd", missing=1), fanout=3)
    assert followed(room.serve("a", "mine")) == {"1.1", "1.2", "1.3"}
    room.serve("b", "theirs")
    room.effects["a"].clear()
    room.deliver()
    assert len(followed(room.effects["a"])) == 2
    room.serve("c", "last")
    room.effects["a"].clear()
    room.deliver()
    assert told(room.effects["a"]) == ["Serve 2.0 mine,theirs,last"]


def test_nobody_is_followed_while_more_are_to_be_asked() -> None:
    room = asked(make_room())
    [query] = room.agents["a"]._home.queries.values()
    for job in [job for job, node in query.pending.items() if node != "a"]:
        del query.pending[job]
        room.agents["a"]._home.seats.pop(job)
    assert query.followed == ("a/1/1/1.0",)
    query.probing = {NodeId("b")}
    assert query.followed == ()


def test_the_first_is_followed_where_it_is_the_last_as_well() -> None:
    room = make_room("a")
    room.ask("a", layers=1, fanout=0)
    [read] = [each for each in room.effects["a"] if isinstance(each, Read)]
    assert (read.job.proposals, read.follow) == ((), ("a/1/1/1.0",))
    assert told(room.serve("a", "mine")) == ["Serve 2.0 mine"]


@pytest.mark.parametrize("how", ["lost", "declined", "left"])
def test_who_fell_out_is_followed_no_more(how: str) -> None:
    room = asked(make_room())
    comes(room, "b", "theirs")
    job, last = seat_of(room, "c"), room.agents["a"]
    event = {
        "lost": lambda: room.tell("a", Lost(NodeId("c"), job)),
        "declined": lambda: room.hear("a", "c", Decline(job, 3)),
        "left": lambda: room.hear("a", "c", Farewell()),
    }[how]
    assert followed(event()) == {"1.0"}
    assert told(room.serve("a", "mine")) == ["Serve 2.0 theirs,mine"]
    assert not last._bench.reader.under_way


def test_who_is_asked_in_place_of_another_is_followed() -> None:
    room = asked(make_room("abcd", retries=1))
    first, second = [name for name in "bcd" if room.serving(name)]
    comes(room, first, "theirs")
    room.serve("a", "mine")
    effects = room.hear("a", second, Decline(seat_of(room, second), 3))
    assert followed(effects) == {"1.3"}


# -- how it ends ----------------------------------------------------------------------


def test_when_the_user_leaves_nothing_is_read_any_more() -> None:
    room = asked(make_room())
    comes(room, "b", "theirs")
    [query] = room.agents["a"]._home.queries
    assert told(room.tell("a", Abandoned(query))) == ["Rest 2.0"]
    assert not room.agents["a"]._bench.reader.under_way


def test_when_the_deadline_passes_nothing_is_read_any_more() -> None:
    room = asked(make_room(), deadline=2.0)
    comes(room, "b", "theirs")
    [query] = room.agents["a"]._home.queries.values()
    query.ends = 99.0
    room.agents["a"]._wants.unwake("layer", query.asked.query)
    room.effects["a"].clear()
    room.pass_time(2.0)
    assert told(room.effects["a"]) == ["Rest 2.0"]


def test_a_layer_whose_time_is_up_goes_on_with_what_was_read() -> None:
    room = asked(make_room(), deadline=2.0)
    comes(room, "b", "theirs")
    room.effects["a"].clear()
    room.pass_time(1.01)
    assert told(room.effects["a"]) == ["Serve 2.0 theirs"]


def test_a_prompt_that_was_too_long_is_given_anew_and_not_read_again() -> None:
    room = asked(make_room(slots=1))
    room.serve("a", "mine")
    comes(room, "b", "theirs")
    comes(room, "c", "last")
    for _ in range(2):
        assert told(room.falter("a", "too_long")) == ["Serve 2.0 mine,theirs,last"]


def test_what_changes_nothing_reads_nothing() -> None:
    room = asked(make_room())
    comes(room, "b", "theirs")
    assert told(room.tell("a", Woke())) == []
    assert told(room.hear("a", "d", Farewell())) == []
    assert told(room.tell("a", Lost(NodeId("d"), JobId("a/1/9/1.1")))) == []


def test_gossip_alone_is_not_looked_at_and_gossip_that_ends_a_layer_is() -> None:
    room = asked(make_room())
    comes(room, "b", "theirs")
    room.serve("a", "mine")
    reader = room.agents["a"]._bench.reader
    looked, look = [], reader.look
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(reader), "look", lambda _, wanted: (looked.append(1), look(wanted)))
        room.told("a", "c", length=3)
        assert not looked
        digest = room.agents["c"].digest(room.now)
        anew = room.hear("a", "c", Gossip(replace(digest, incarnation=2)))
    assert looked
    assert told(anew) == ["Serve 2.0 theirs,mine"]
