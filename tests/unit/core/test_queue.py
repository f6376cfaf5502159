from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.job import Turn
from dmoa.core.names import JobId, QueryId
from dmoa.core.policy import ORDERS, Order
from dmoa.core.queue import Entry, Queue

from .room import make_job


def entry(id: str, *, own: bool = False, text: str = "hi", entered: float = 0.0) -> Entry:
    job = make_job(id, turns=(Turn("user", text),))
    return Entry(job, own=own, entered=entered, expires=100.0)


def drain(queue: Queue) -> list[str]:
    started = []
    while (one := queue.start(0.0)) is not None:
        started.append(one.job.id)
    queue.check()
    return started


def test_jobs_are_started_in_the_order_in_which_they_came() -> None:
    queue = Queue(slots=2, jobs=5, size=10_000)
    for number in range(4):
        assert queue.enter(entry(f"b/1/{number}/1.1", entered=number))
    assert drain(queue) == ["b/1/0/1.1", "b/1/1/1.1"]
    assert (queue.waiting, queue.serving, len(queue)) == (2, 2, 4)
    queue.finish(JobId("b/1/1/1.1"))
    assert drain(queue) == ["b/1/2/1.1"]


def test_a_full_queue_takes_no_more_peers() -> None:
    queue = Queue(slots=1, jobs=2, size=10_000)
    assert queue.enter(entry("b/1/1/1.1"))
    assert queue.enter(entry("b/1/2/1.1"))
    assert not queue.enter(entry("b/1/3/1.1"))
    drain(queue)
    assert not queue.enter(entry("b/1/3/1.1")), "a job in service keeps its place"
    queue.finish(JobId("b/1/1/1.1"))
    assert queue.enter(entry("b/1/3/1.1"))


def test_bytes_are_bounded_like_jobs() -> None:
    size = entry("b/1/1/1.1", text="x" * 400).job.size
    queue = Queue(slots=1, jobs=100, size=2 * size)
    assert queue.enter(entry("b/1/1/1.1", text="x" * 400))
    assert queue.enter(entry("b/1/2/1.1", text="x" * 400))
    assert not queue.enter(entry("b/1/3/1.1", text=""))
    queue.withdraw(JobId("b/1/2/1.1"))
    assert not queue.enter(entry("b/1/3/1.1", text="x" * 401))
    assert queue.enter(entry("b/1/3/1.1", text=""))


def test_an_own_query_keeps_its_place_while_it_has_no_job_here() -> None:
    queue = Queue(slots=1, jobs=2, size=10_000)
    assert queue.reserve(QueryId("a/1/1"), 100)
    assert queue.enter(entry("b/1/1/1.1"))
    assert not queue.enter(entry("b/1/2/1.1"))
    assert not queue.reserve(QueryId("a/1/2"), 100)
    assert queue.enter(entry("a/1/1/1.0", own=True))
    assert drain(queue) == ["b/1/1/1.1"]
    queue.release(QueryId("a/1/1"))
    assert queue.withdraw(JobId("a/1/1/1.0")) is not None
    assert queue.reserve(QueryId("a/1/2"), 100)
    queue.check()


def test_an_own_query_that_is_too_large_gets_no_place() -> None:
    queue = Queue(slots=1, jobs=2, size=1000)
    assert not queue.reserve(QueryId("a/1/1"), 1001)
    assert queue.reserve(QueryId("a/1/1"), 1000)
    queue.release(QueryId("a/1/1"))
    assert queue.reserve(QueryId("a/1/2"), 1000)


def test_an_own_job_without_a_place_is_a_programmers_fault() -> None:
    with pytest.raises(AssertionError):
        Queue(slots=1, jobs=2, size=1000).enter(entry("a/1/1/1.0", own=True))


def test_who_is_in_service_cannot_be_withdrawn_and_who_waits_cannot_be_finished() -> None:
    queue = Queue(slots=1, jobs=5, size=10_000)
    for number in (1, 2):
        queue.enter(entry(f"b/1/{number}/1.1"))
    first, second = JobId("b/1/1/1.1"), JobId("b/1/2/1.1")
    drain(queue)
    assert queue.withdraw(first) is None
    assert queue.finish(second) is None
    assert queue.in_service(second) is None
    assert queue.in_service(first) is not None
    assert first in queue
    assert second in queue
    assert "b/1/3/1.1" not in queue


@pytest.mark.parametrize("shape", [{"slots": 0, "jobs": 1}, {"slots": 1, "jobs": 0}])
def test_a_queue_without_room_is_none(shape: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        Queue(size=1, **shape)


def aged(id: str, age: float, entered: float) -> Entry:
    job = replace(make_job(id), age=age)
    return Entry(job, own=False, entered=entered, expires=100.0)


def test_the_oldest_prompt_goes_first_where_the_policy_has_it() -> None:
    queue = Queue(slots=9, jobs=9, size=10_000, order="oldest")
    for name, age, entered in (
        ("b/1/1/1.1", 1.0, 3.0),
        ("b/1/2/1.1", 5.0, 4.0),
        ("b/1/3/1.1", 0, 1),
    ):
        assert queue.enter(aged(name, age, entered))
    assert drain(queue) == ["b/1/2/1.1", "b/1/3/1.1", "b/1/1/1.1"]


def test_the_later_layer_goes_first_where_the_policy_has_it() -> None:
    queue = Queue(slots=9, jobs=9, size=10_000, order="later")
    for number, name in enumerate(("b/1/1/1.1", "b/1/2/2.1", "b/1/3/3.0", "b/1/4/2.1")):
        assert queue.enter(aged(name, 0.0, float(number)))
    assert drain(queue) == ["b/1/3/3.0", "b/1/2/2.1", "b/1/4/2.1", "b/1/1/1.1"]


def test_a_job_that_comes_back_takes_a_new_place() -> None:
    queue = Queue(slots=1, jobs=9, size=10_000)
    for name in ("b/1/1/1.1", "b/1/2/1.1"):
        queue.enter(entry(name))
    queue.withdraw(JobId("b/1/1/1.1"))
    queue.enter(entry("b/1/1/1.1"))
    assert drain(queue) == ["b/1/2/1.1"]


def test_what_was_withdrawn_is_swept_out() -> None:
    queue = Queue(slots=1, jobs=9, size=10_000)
    queue.enter(entry("b/1/served/1.1"))
    assert drain(queue) == ["b/1/served/1.1"]
    queue.enter(entry("b/1/0/1.1"))
    for number in range(1, 1000):
        queue.enter(entry(f"b/1/{number}/1.1"))
        queue.withdraw(JobId(f"b/1/{number}/1.1"))
        queue.check()
    assert len(queue._heap) < 100
    queue.finish(JobId("b/1/served/1.1"))
    assert drain(queue) == ["b/1/0/1.1"]


@pytest.mark.parametrize("order", ORDERS)
def test_a_position_is_how_many_would_be_started_before(order: Order) -> None:
    queue = Queue(slots=1, jobs=9, size=10_000, order=order)
    assert queue.position(None) == queue.position(JobId("b/1/1/1.1")) == 0
    for number, (age, layer) in enumerate(((1.0, 1), (7.0, 2), (3.0, 1), (7.0, 3), (0.0, 2))):
        queue.enter(aged(f"b/1/{number}/{layer}.1", age, float(number)))
    queue.withdraw(JobId("b/1/2/1.1"))
    names = [f"b/1/{number}/{layer}.1" for number, layer in ((0, 1), (1, 2), (3, 3), (4, 2))]
    positions = {name: queue.position(JobId(name)) for name in names}
    queue.slots = 9
    assert sorted(names, key=positions.__getitem__) == drain(queue)
    assert sorted(positions.values()) == [1, 2, 3, 4]
    assert {queue.position(JobId(name)) for name in names} == {0}, "they wait no more"
    assert queue.position(JobId("b/1/2/1.1")) == 0


def test_it_is_known_when_the_jobs_in_service_began() -> None:
    queue = Queue(slots=2, jobs=9, size=10_000)
    assert queue.began() == []
    for number in range(3):
        queue.enter(entry(f"b/1/{number}/1.1"))
        queue.start(5.0 + number)
    assert queue.began() == [5.0, 6.0]
    queue.finish(JobId("b/1/0/1.1"))
    assert queue.began() == [6.0]


def test_whether_a_start_took_the_last_slot_is_known() -> None:
    queue = Queue(slots=2, jobs=9, size=10_000)
    for number in range(3):
        queue.enter(entry(f"b/1/{number}/1.1"))
    first, second = queue.start(0.0), queue.start(0.0)
    queue.finish(JobId("b/1/0/1.1"))
    third = queue.start(0.0)
    assert [one.full for one in (first, second, third) if one is not None] == [False, True, True]
