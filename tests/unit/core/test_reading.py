"""What a model reads before it is asked to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dmoa.core.effects import Effect, Read, Rest, Serve
from dmoa.core.events import Woke
from dmoa.core.job import Profile
from dmoa.core.names import JobId
from dmoa.core.policy import Policy
from dmoa.core.queue import Entry, Queue
from dmoa.core.reading import Reader
from dmoa.core.wants import Wants

from .room import Room, make_job

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
    assert {job.rpartition("/")[2] for job in read.follow} == {"1.1", "1.2"}
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
    [rest, serve] = told(room.effects["a"])
    assert rest == ("Rest", "a/1/1/2.0")
    assert serve in {("Serve", "b/1/1/1.1"), ("Serve", "b/1/1/1.2")}
    [again] = reading(room.serve("a", "yours"))
    assert isinstance(again, Read)
    assert again.job.proposals == ("mine",)


# -- the reader alone -----------------------------------------------------------------


def make_reader(slots: int = 2, *, able: bool = True) -> Reader:
    return Reader(able, Queue(slots=slots, jobs=9, size=10**6), Wants())


def begin(reader: Reader, job: str) -> list[Effect]:
    """Let a job of a peer take a slot."""
    assert reader.queue.enter(Entry(make_job(job), own=False, entered=0.0, expires=9.0))
    entry = reader.queue.start(0.0)
    assert entry is not None
    reader.give_way(entry.job.id)
    reader.check()
    return reader.wants.taken()


def look(reader: Reader, *wanted: Read) -> list[Effect]:
    reader.look(wanted)
    reader.check()
    return reader.wants.taken()


def test_as_many_are_read_as_there_are_free_slots_the_first_first() -> None:
    reader = make_reader(slots=2)
    one, two, three = (Read(make_job(f"a/1/{number}/2.0")) for number in (1, 2, 3))
    assert look(reader, one, two, three) == [one, two]
    assert begin(reader, "b/1/1/1.1") == [Rest(two.job.id)]
    assert look(reader, one, two, three) == []
    assert begin(reader, "b/1/2/1.1") == [Rest(one.job.id)]
    assert look(reader, one, two, three) == []
    reader.queue.finish(JobId("b/1/1/1.1"))
    assert look(reader, one, two, three) == [one]


def test_an_older_query_takes_the_place_of_a_younger() -> None:
    reader = make_reader(slots=1)
    old, young = (Read(make_job(f"a/1/{number}/2.0")) for number in (1, 2))
    assert look(reader, young) == [young]
    assert look(reader, old, young) == [Rest(young.job.id), old]


def test_a_job_that_was_read_ahead_takes_the_place_of_its_reading() -> None:
    reader = make_reader(slots=1)
    read = Read(make_job("b/1/1/2.1"))
    assert look(reader, read) == [read]
    assert begin(reader, "b/1/1/2.1") == []
    assert look(reader) == []


def test_what_is_known_further_is_wanted_in_place_of_what_was() -> None:
    reader = make_reader(slots=1)
    reads = [Read(make_job("a/1/1/2.0", proposals=("x",) * count)) for count in (1, 2)]
    assert look(reader, reads[0]) == [reads[0]]
    assert look(reader, reads[0]) == []
    assert look(reader, reads[1]) == [reads[1]]
    assert reader.under_way == {reads[1].job.id: reads[1]}


def test_what_is_not_wanted_any_more_rests_and_may_be_wanted_again() -> None:
    reader = make_reader()
    read = Read(make_job("a/1/1/2.0"))
    for _ in range(2):
        assert look(reader, read) == [read]
        assert look(reader) == [Rest(read.job.id)]


def test_who_cannot_is_not_asked_and_nobody_is_looked_for() -> None:
    def nobody() -> Iterator[Read]:
        pytest.fail("there was no need to look")
        yield

    reader = make_reader(able=False)
    reader.look(nobody())
    busy = make_reader(slots=1)
    begin(busy, "b/1/1/1.1")
    busy.look(nobody())
    assert reader.wants.taken() == busy.wants.taken() == []


def test_with_several_slots_the_oldest_queries_are_read_for() -> None:
    room = make_room(slots=4)
    for _ in range(3):
        room.ask("a", layers=1, fanout=1)
    room.deliver()
    for _ in range(3):
        room.serve("a", "mine")
    under_way = room.agents["a"]._bench.reader.under_way
    theirs = sum(room.agents["a"].queue._serving[job].own for job in room.serving("a"))
    assert theirs == 0
    assert list(under_way) == ["a/1/1/2.0", "a/1/2/2.0", "a/1/3/2.0"]
    assert told(room.tell("a", Woke())) == []


def test_a_crowd_is_served_as_if_nothing_was_read() -> None:
    """Reading takes no slot from anybody: all jobs begin in the same order, and as soon."""
    begun = []
    for policy in (Policy(), EAGER):
        room = make_room("abcd", slots=2, policy=policy)
        for _ in range(4):
            for name in "abcd":
                room.ask(name, layers=2, fanout=2)
        for _ in range(200):
            room.deliver()
            for name in "abcd":
                if room.serving(name):
                    room.serve(name, name)
            assert all(
                not agent.queue.waiting or not agent._bench.reader.under_way
                for agent in room.agents.values()
            )
        assert all(len(room.ends(name)) == 4 for name in "abcd")
        begun.append([[each.job.id for each in room.served(name)] for name in "abcd"])
    assert begun[0] == begun[1]
