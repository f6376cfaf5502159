from __future__ import annotations

from dmoa.core.door import UNKNOWN, beyond, enter
from dmoa.core.effects import Refusal
from dmoa.core.events import Asked
from dmoa.core.job import Turn
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.core.query import Foreseen, Query
from dmoa.core.queue import Entry, Queue

from .room import HI, make_job

LIMITS = Limits(proposal_bytes=20)


def make_query(number: int = 1, mixture: Mixture | None = None, **limits: int) -> Query:
    asked = Asked(QueryId(f"a/1/{number}"), HI, mixture or Mixture(1, 1))
    bounds = Limits(**{"proposal_bytes": 20, **limits})
    return Query(asked, NodeId("a"), began=0.0, expires=60.0, limits=bounds)


def expected(number: int, at: float) -> Query:
    """A query under way whose answer is expected then."""
    query = make_query(number)
    query.foreseen.append(Foreseen(1, 0.0, at, at))
    return query


def make_queue(jobs: int = 9, held: int = 0) -> Queue:
    queue = Queue(slots=1, jobs=jobs, size=10_000)
    for number in range(held):
        queue.enter(Entry(make_job(f"b/1/{number}/1.1"), own=False, entered=0.0, expires=9.0))
    queue.start(0.0)
    return queue


def refused(queue: Queue, others: list[Query], bound: int = -1, rest: float = 0.5) -> Refusal:
    refusal = enter(make_query(99), queue, others, bound, rest=rest, now=10.0)
    assert refusal is not None
    assert refusal.code == "overloaded"
    assert "a/1/99" not in queue._places, "who is refused keeps no place"
    return refusal


def test_what_a_query_exceeds_is_named() -> None:
    assert beyond(make_query(), LIMITS) is None
    for mixture, limits in ((Mixture(3, 1), {"layers": 2}), (Mixture(1, 3), {"fanout": 2})):
        found = beyond(make_query(1, mixture), Limits(**limits))
        assert found is not None
        assert found[0] == "refused"
        assert f"not {mixture.layers} and {mixture.fanout}" in found[1]
    found = beyond(make_query(), Limits(conversation_bytes=HI[0].size - 1))
    assert found == (
        "too_long",
        f"the conversation has {HI[0].size} of {HI[0].size - 1} bytes allowed",
    )
    assert beyond(make_query(), Limits(conversation_bytes=HI[0].size)) is None
    query = make_query()
    found = beyond(query, Limits(queue_bytes=query.size - 1))
    assert found == ("too_long", f"with its proposals this query could grow to {query.size} bytes")


def test_a_long_conversation_is_named_before_what_it_could_grow_to() -> None:
    long = Asked(QueryId("a/1/1"), (Turn("user", "x" * 500),), Mixture(1, 1))
    query = Query(long, NodeId("a"), began=0.0, expires=60.0, limits=LIMITS)
    found = beyond(query, Limits(conversation_bytes=100, queue_bytes=100))
    assert found is not None
    assert found[1].startswith("the conversation has")


def test_who_is_taken_keeps_a_place() -> None:
    queue, query = make_queue(), make_query()
    assert enter(query, queue, [], 1, rest=0.0, now=0.0) is None
    assert queue._places == {query.asked.query: (query.size, 1)}


def test_without_a_bound_only_the_queue_refuses() -> None:
    others = [expected(number, 20.0) for number in range(50)]
    assert enter(make_query(99), make_queue(), others, -1, rest=0.5, now=10.0) is None


def test_at_the_bound_a_place_is_free_when_the_next_answer_is_there() -> None:
    others = [expected(1, 30.0), expected(2, 14.0), expected(3, 20.0)]
    refusal = refused(make_queue(), others, bound=3)
    assert refusal.retry_after == 4.0
    assert refusal.detail == "this node is full: 3 of its user's queries wait"


def test_where_the_bound_fell_so_many_more_must_end_before() -> None:
    others = [expected(1, 30.0), expected(2, 14.0), expected(3, 20.0)]
    assert refused(make_queue(), others, bound=2).retry_after == 10.0
    assert refused(make_queue(), others, bound=1).retry_after == 20.0


def test_an_answer_that_is_overdue_takes_a_little_longer() -> None:
    assert refused(make_queue(), [expected(1, 5.0)], bound=1, rest=0.5).retry_after == 0.25


def test_a_full_queue_refuses_below_the_bound() -> None:
    queue = make_queue(jobs=2, held=2)
    refusal = refused(queue, [], bound=9, rest=0.5)
    assert refusal.detail == "this node is full: its queue holds 2 jobs"
    assert refusal.retry_after == 0.5, "the one in service ends, and its place is free"
    assert refused(queue, [expected(1, 13.0)], bound=9).retry_after == 3.0


def test_where_nothing_was_measured_it_is_tried_again_soon() -> None:
    assert refused(make_queue(), [make_query(1)], bound=1, rest=0.0).retry_after == UNKNOWN
    assert refused(make_queue(jobs=1, held=1), [], rest=0.0).retry_after == UNKNOWN


def test_who_is_refused_is_told_the_place_it_would_have_had() -> None:
    assert refused(make_queue(held=1), [expected(1, 20.0)], bound=1).position == 1
    assert refused(make_queue(held=4), [expected(1, 20.0)], bound=1).position == 4
