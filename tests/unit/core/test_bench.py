from __future__ import annotations

import pytest

from dmoa.core.bench import Bench
from dmoa.core.effects import Cancel, Effect, Serve
from dmoa.core.gauge import Gauge
from dmoa.core.job import Fault, Profile
from dmoa.core.limits import Limits
from dmoa.core.names import JobId, QueryId
from dmoa.core.policy import PAPER, Policy
from dmoa.core.queue import Entry, Queue
from dmoa.core.wants import Wants

from .room import make_job

ONE, TWO = JobId("b/1/1/1.1"), JobId("b/1/2/1.1")


def make_bench(jobs: int = 2, *, slots: int = 1, policy: Policy = PAPER) -> Bench:
    queue = Queue(slots=slots, jobs=jobs, size=10_000)
    gauge = Gauge(0.0, slots=slots)
    return Bench(Profile("toy", slots=slots), Limits(), queue, gauge, Wants(), policy)


def enter(bench: Bench, job: JobId, *, expires: float = 10.0) -> bool:
    return bench.enter(Entry(make_job(job), own=False, entered=0.0, expires=expires))


def wanted(bench: Bench) -> list[tuple[type[Effect], str]]:
    bench.queue.check()
    return [
        (type(effect), effect.job.id if isinstance(effect, Serve) else effect.job)
        for effect in bench.wants.taken()
        if isinstance(effect, Serve | Cancel)
    ]


def test_a_free_slot_is_given_to_the_job_that_came_first() -> None:
    bench = make_bench()
    assert enter(bench, ONE)
    assert enter(bench, TWO)
    bench.fill(1.0)
    assert wanted(bench) == [(Serve, ONE)]
    bench.fill(1.0)
    assert wanted(bench) == []


def test_a_model_is_told_how_long_it_may_take() -> None:
    bench = make_bench()
    enter(bench, ONE, expires=10.0)
    bench.fill(4.0)
    [serve] = bench.wants.taken()
    assert isinstance(serve, Serve)
    assert serve.patience == 6.0


def test_a_job_declined_counts_as_offered() -> None:
    bench = make_bench(jobs=1)
    assert enter(bench, ONE)
    assert not enter(bench, TWO)
    assert (bench.gauge.jobs.count, bench.gauge.declined) == (2, 1)


def test_who_waits_is_taken_out_and_who_is_served_is_stopped_once() -> None:
    bench = make_bench()
    enter(bench, ONE)
    enter(bench, TWO)
    bench.fill(0.0)
    wanted(bench)
    for job in (TWO, ONE, ONE, JobId("b/1/3/1.1")):
        bench.drop(job)
    assert wanted(bench) == [(Cancel, ONE)]
    assert len(bench.queue) == 1


def test_the_slot_of_a_stopped_job_is_free_only_when_its_service_ended() -> None:
    bench = make_bench()
    enter(bench, ONE)
    bench.fill(0.0)
    bench.drop(ONE)
    enter(bench, TWO)
    bench.fill(1.0)
    assert wanted(bench) == [(Serve, ONE), (Cancel, ONE)]
    assert bench.faltered(ONE, Fault("stopped"), 2.0) is not None
    bench.fill(2.0)
    assert wanted(bench) == [(Serve, TWO)]


def test_a_served_job_tells_how_long_it_waited_and_was_in_service() -> None:
    bench = make_bench()
    enter(bench, ONE)
    bench.fill(3.0)
    entry, queued, service = bench.served(ONE, 8.0)
    assert (entry.job.id, queued, service) == (ONE, 3.0, 5.0)
    assert bench.gauge.service_time("proposer") == 5.0
    assert len(bench.queue) == 0


def test_a_prompt_too_long_is_served_again_twice_but_never_where_nobody_wants_it() -> None:
    bench = make_bench()
    enter(bench, ONE)
    bench.fill(0.0)
    for _ in range(2):
        assert bench.faltered(ONE, Fault("too_long"), 1.0) is None
    assert bench.faltered(ONE, Fault("too_long"), 1.0) is not None
    assert wanted(bench) == [(Serve, ONE)] * 3
    enter(bench, TWO)
    bench.fill(1.0)
    bench.drop(TWO)
    assert bench.faltered(TWO, Fault("too_long"), 1.0) is not None
    assert wanted(bench) == [(Serve, TWO), (Cancel, TWO)]


def test_a_job_leaves_no_timer_behind() -> None:
    for end in ("served", "faltered", "drop"):
        bench = make_bench()
        enter(bench, ONE)
        bench.wants.wake(10.0, "job", ONE)
        bench.fill(0.0)
        if end == "served":
            bench.served(ONE, 1.0)
        elif end == "faltered":
            bench.faltered(ONE, Fault("refused"), 1.0)
        else:
            bench.drop(ONE)
        assert bench.wants.next is None


def test_what_is_not_in_service_cannot_end() -> None:
    bench = make_bench()
    with pytest.raises(AssertionError, match="without being in service"):
        bench.served(ONE, 1.0)
    with pytest.raises(AssertionError, match="without being in service"):
        bench.faltered(ONE, Fault("refused"), 1.0)


# -- how long a job would wait -----------------------------------------------------------


def test_who_finds_a_free_slot_does_not_wait() -> None:
    bench = make_bench(slots=2)
    bench.gauge.served("proposer", 4.0)
    enter(bench, ONE)
    bench.fill(0.0)
    assert bench.wait(9, 1.0) == 0.0


def test_a_job_waits_for_the_one_in_service_and_those_before_it() -> None:
    bench = make_bench()
    bench.gauge.served("proposer", 4.0)
    enter(bench, ONE)
    bench.fill(0.0)
    assert [bench.wait(ahead, 0.0) for ahead in range(3)] == [4.0, 8.0, 12.0]
    assert [bench.wait(ahead, 3.0) for ahead in range(3)] == [1.0, 5.0, 9.0]
    assert bench.wait(0, 99.0) == 1.0, "half of what is left of a job on average"


def test_with_some_slots_it_waits_for_the_first_to_be_free() -> None:
    bench = make_bench(slots=2)
    for full in (False, *[True] * 9):
        bench.gauge.served("proposer", 4.0, full=full)
    enter(bench, ONE)
    bench.fill(0.0)
    enter(bench, TWO)
    bench.fill(3.0)
    assert bench.wait(0, 3.0) == pytest.approx(1.0)
    assert bench.wait(3, 3.0) == pytest.approx(1.0 + 3 * 2.0), "one every 2 s"


def test_before_anything_was_measured_nobody_is_told_to_wait() -> None:
    bench = make_bench()
    enter(bench, ONE)
    bench.fill(0.0)
    assert bench.wait(5, 1.0) == 0.0


def test_what_was_served_in_a_full_node_is_measured_as_such() -> None:
    bench = make_bench(jobs=20, slots=2)
    for number in range(12):
        job = JobId(f"b/1/{number}/1.1")
        enter(bench, job)
        bench.fill(0.0)
        if number:  # so that all but the first began with both slots taken
            bench.served(job, 3.0 if number > 1 else 1.0)
    assert bench.gauge.count == 11
    assert bench.gauge.pace == pytest.approx(sum([1.0] + [3.0] * 10) / 11 / 2)


# -- whose job is taken ------------------------------------------------------------------


def test_peers_are_declined_from_so_many_jobs_per_slot_on_but_never_the_own() -> None:
    bench = make_bench(jobs=20, slots=2, policy=Policy(peer_jobs=2))
    for number in range(4):
        assert enter(bench, JobId(f"b/1/{number}/1.1"))
    assert not enter(bench, JobId("b/1/9/1.1"))
    assert bench.gauge.declined == 1
    bench.queue.reserve(QueryId("a/1/1"), 100)
    own = make_job("a/1/1/1.0")
    assert bench.enter(Entry(own, own=True, entered=0.0, expires=9.0))
