from __future__ import annotations

import pytest

from dmoa.core.bench import Bench
from dmoa.core.effects import Cancel, Effect, Serve
from dmoa.core.gauge import Gauge
from dmoa.core.job import Fault, Profile
from dmoa.core.limits import Limits
from dmoa.core.names import JobId
from dmoa.core.queue import Entry, Queue
from dmoa.core.wants import Wants

from .room import make_job

ONE, TWO = JobId("b/1/1/1.1"), JobId("b/1/2/1.1")


def make_bench(jobs: int = 2) -> Bench:
    queue = Queue(slots=1, jobs=jobs, size=10_000)
    return Bench(Profile("toy"), Limits(), queue, Gauge(0.0, slots=1), Wants())


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
