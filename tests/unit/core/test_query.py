from __future__ import annotations

from dmoa.core.effects import Outcome, Trace, Visit
from dmoa.core.events import Asked
from dmoa.core.job import Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.query import Foreseen, Query, as_proposal

from .room import HI, completion

A, B = NodeId("a"), NodeId("b")


def make_query(layers: int = 1, fanout: int = 1, **other: object) -> Query:
    asked = Asked(QueryId("a/1/1"), **{"turns": HI, "mixture": Mixture(layers, fanout), **other})
    return Query(asked, A, began=10.0, expires=40.0, limits=Limits(proposal_bytes=20))


def test_a_query_goes_from_layer_to_layer_and_is_aggregated_last() -> None:
    query = make_query(layers=2)
    seen = []
    for _ in range(3):
        query.turn_over()
        seen.append((query.layer, query.aggregating))
    assert seen == [(1, False), (2, False), (3, True)]


def test_patience_is_shared_among_the_stages_that_are_left() -> None:
    query = make_query(layers=2)
    query.turn_over()
    assert query.patience(10.0) == 10.0
    query.turn_over()
    assert query.patience(20.0) == 10.0
    query.turn_over()
    assert query.patience(39.0) == 1.0
    assert query.patience(41.0) == 0.0


def test_a_job_knows_its_seat_its_role_and_what_to_read() -> None:
    query = make_query()
    query.turn_over()
    query.ends = 16.0
    job = query.job(1, B, 11.0)
    assert (job.id, job.role, job.layer, job.home) == ("a/1/1/1.1", "proposer", 1, A)
    assert (job.turns, job.proposals, job.patience) == (HI, (), 5.0)
    assert job.age == 1.0
    query.take(job.id, completion("draft"), 0.5, 1.0, 13.0)
    query.turn_over()
    last = query.job(0, A, 13.0)
    assert (last.id, last.role, last.proposals) == ("a/1/1/2.0", "aggregator", ("draft",))


def test_all_jobs_of_a_query_bear_its_trace() -> None:
    query = make_query(trace="of-the-user")
    query.turn_over()
    assert query.job(1, B, 11.0).trace == query.job(0, A, 11.0).trace == "of-the-user"


def test_seeds_differ_from_seat_to_seat_and_stay_the_same_each_time() -> None:
    def seeds() -> list[int | None]:
        query = make_query(layers=2, fanout=1, sampling=Sampling(seed=2**31 - 1, top_p=0.5))
        jobs = []
        for _ in range(2):
            query.turn_over()
            jobs += [query.job(seat, NodeId(f"n{seat}"), 10.0) for seat in range(2)]
        assert {job.sampling.top_p for job in jobs} == {None}
        return [job.sampling.seed for job in jobs]

    assert seeds() == seeds()
    assert len(set(seeds())) == 4
    assert all(seed is not None and 0 <= seed < 2**31 for seed in seeds())


def test_a_seat_that_ends_without_a_proposal_is_a_reason() -> None:
    query = make_query()
    query.turn_over()
    query.job(0, A, 10.0)
    job = query.job(1, B, 10.0)
    visit = query.end(job.id, "lost", 12.5, "x" * 1000)
    assert (visit.outcome, visit.ended, len(visit.detail)) == ("lost", 2.5, 200)
    assert query.degraded == [f"lost: b in layer 1 ({'x' * 200})"]
    assert list(query.pending) == [JobId("a/1/1/1.0")]


def test_a_layer_without_proposals_leaves_those_before_in_force() -> None:
    query = make_query(layers=2)
    query.turn_over()
    query.take(query.job(0, A, 10.0).id, completion("draft"), 0.0, 0.0, 10.0)
    query.turn_over()
    query.turn_over()
    assert [kept.completion.text for kept in query.kept] == ["draft"]


def test_a_proposal_is_text_up_to_its_limit() -> None:
    kept = as_proposal(completion("word " * 100, tool_calls="[{}]"), Limits(proposal_bytes=20))
    assert (kept.text, kept.tool_calls) == ("word word […]", "")


def test_only_home_sees_more_of_a_turn_than_its_words() -> None:
    turns = (Turn("user", "hi"), Turn("tool", "42", '{"tool_call_id": "x"}'))
    query = make_query(turns=turns)
    query.turn_over()
    assert query.job(0, A, 10.0).turns == turns
    assert query.job(1, B, 10.0).turns == (Turn("user", "hi"), Turn("tool", "42"))


def test_a_query_counts_what_it_may_come_to_hold() -> None:
    plain = make_query(0, 0)
    assert plain.size == plain.conversation == HI[0].size
    assert make_query(1, 2).size == plain.size + 2 * 3 * 20
    assert make_query(0, 0, options="{'\u00e9'}").size == plain.size + 6


def test_a_trace_tells_every_job_in_the_order_in_which_they_were_sent() -> None:
    query = make_query(fanout=2, notes=("noted",))
    query.degraded.extend(query.asked.notes)
    query.turn_over()
    jobs = [query.job(seat, NodeId(f"n{seat}"), 10.0).id for seat in range(3)]
    query.take(jobs[2], completion(), 0.1, 0.2, 11.0)
    query.end(jobs[0], "late", 12.0)
    trace = query.trace(14.0)
    assert [visit.outcome for visit in trace.jobs] == ["late", "pending", "ok"]
    assert (trace.seconds, trace.degraded) == (4.0, ("noted", "late: n0 in layer 1"))


# -- what an answer waited for -----------------------------------------------------------


def seen(layer: int, seat: int, outcome: Outcome, ended: float, queued: float = 0.0) -> Visit:
    return Visit(
        JobId(f"a/1/1/{layer}.{seat}"),
        layer,
        "proposer",
        NodeId(f"n{seat}"),
        outcome,
        ended=ended,
        queued_seconds=queued,
        service_seconds=1.0,
    )


def trace_of(*visits: Visit) -> Trace:
    return Trace(QueryId("a/1/1"), A, Mixture(2, 2), visits, (), 9.0)


def test_an_answer_waits_for_the_last_proposal_of_each_layer() -> None:
    trace = trace_of(
        seen(1, 0, "ok", 1.0),
        seen(1, 1, "ok", 3.0, 2.0),
        seen(1, 2, "ok", 2.0, 1.0),
        seen(2, 0, "ok", 5.5, 1.5),
        seen(2, 1, "ok", 4.0),
        seen(3, 0, "ok", 7.0, 0.5),
    )
    assert [visit.job for visit in trace.path] == ["a/1/1/1.1", "a/1/1/2.0", "a/1/1/3.0"]
    assert (trace.queued_seconds, trace.service_seconds) == (4.0, 3.0)


def test_what_did_not_come_in_is_not_on_the_path() -> None:
    trace = trace_of(
        seen(1, 0, "ok", 1.0, 0.25),
        seen(1, 1, "late", 9.0, 8.0),
        seen(1, 2, "spared", 1.0, 8.0),
        seen(2, 0, "failed", 2.0, 8.0),
        seen(3, 0, "pending", 0.0, 8.0),
    )
    assert [visit.job for visit in trace.path] == ["a/1/1/1.0"]
    assert trace.queued_seconds == 0.25


def test_of_two_at_the_same_time_the_one_sent_first_counts() -> None:
    trace = trace_of(seen(1, 0, "ok", 1.0, 0.5), seen(1, 1, "ok", 1.0, 0.75))
    assert trace.queued_seconds == 0.5


def test_where_nothing_came_nothing_was_waited_for() -> None:
    assert trace_of().path == ()
    assert trace_of().queued_seconds == trace_of().service_seconds == 0.0


def test_an_answer_is_expected_as_it_was_last_foreseen() -> None:
    query = make_query()
    assert query.expects == 10.0, "nothing is expected before anything is"
    query.foreseen += [Foreseen(1, 10.0, 5.0, 4.0), Foreseen(0, 12.0, 2.0, 2.0)]
    assert query.expects == 14.0


def test_a_layer_is_not_settled_while_somebody_is_asked_how_it_stands() -> None:
    query = make_query()
    query.turn_over()
    job = query.job(0, A, 10.0).id
    query.probing.add(B)
    query.take(job, completion(), 0.0, 1.0, 11.0)
    assert not query.settled
    query.probing.clear()
    assert query.settled
    query.probing.add(B)
    query.turn_over()
    assert query.probing == set(), "the next layer asks anew"


def test_a_trace_bears_what_was_told_when_it_was_asked() -> None:
    query = make_query()
    query.position, query.forecast = 3, 4.5
    trace = query.trace(11.0)
    assert (trace.position, trace.expected_seconds) == (3, 4.5)
