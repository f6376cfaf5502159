"""What a model reads before it is asked to."""

from __future__ import annotations

from dmoa.core.effects import Effect, Read, Rest, Serve
from dmoa.core.job import Profile
from dmoa.core.policy import Policy

from .room import Room

EAGER = Policy(eager="own")


def make_room(names: str = "abc", *, slots: int = 1, policy: Policy = EAGER) -> Room:
    return Room(names, profile=Profile("toy", slots=slots, reads=True), policy=policy)


def reading(effects: list[Effect]) -> list[Read | Rest | Serve]:
    return [each for each in effects if isinstance(each, Read | Rest | Serve)]


def told(effects: list[Effect]) -> list[tuple[str, str]]:
    return [(type(each).__name__, f"{_name(each)}") for each in reading(effects)]


def _name(each: Read | Rest | Serve) -> str:
    return each.job if isinstance(each, Rest) else each.job.id


def test_what_is_there_is_read_while_the_last_proposal_is_written() -> None:
    room = make_room()
    room.ask("a", layers=1, fanout=2)
    room.deliver()
    assert not [each for each in room.effects["a"] if isinstance(each, Read)]
    [read] = reading(room.serve("a", "mine"))
    assert isinstance(read, Read)
    assert (read.job.id, read.job.role, read.job.proposals) == (
        "a/1/1/2.0",
        "aggregator",
        ("mine",),
    )
    assert read.follow == ()
    room.serve("b", "theirs")
    room.effects["a"].clear()
    room.deliver()
    [read] = reading(room.effects["a"])
    assert isinstance(read, Read)
    assert read.job.proposals == ("mine", "theirs")
    assert [job.rpartition("/")[2] for job in read.follow] in (["1.1"], ["1.2"])
    room.serve("c", "last")
    room.effects["a"].clear()
    room.deliver()
    [serve] = reading(room.effects["a"])
    assert isinstance(serve, Serve)
    assert serve.job.id == read.job.id == serve.prompt.job
    assert serve.job.proposals == ("mine", "theirs", "last")


def test_nothing_is_read_unless_it_is_wanted_and_can_be() -> None:
    for profile, policy in ((Profile("toy"), EAGER), (Profile("toy", reads=True), Policy())):
        room = Room("abc", profile=profile, policy=policy)
        room.ask("a", layers=1, fanout=2)
        room.deliver()
        room.serve("a", "mine")
        room.serve("b", "theirs")
        room.deliver()
        assert not [each for each in room.effects["a"] if isinstance(each, Read)]


def test_a_job_that_comes_takes_the_slot_at_once_and_reading_goes_on_after_it() -> None:
    room = make_room()
    room.ask("a", layers=1, fanout=2)
    room.deliver()
    room.serve("a", "mine")
    room.ask("b", layers=1, fanout=2)
    room.effects["a"].clear()
    room.deliver()
    assert told(room.effects["a"]) == [("Rest", "a/1/1/2.0"), ("Serve", "b/1/1/1.1")] or told(
        room.effects["a"]
    ) == [("Rest", "a/1/1/2.0"), ("Serve", "b/1/1/1.2")]
    [again] = reading(room.serve("a", "yours"))
    assert isinstance(again, Read)
    assert again.job.proposals == ("mine",)
