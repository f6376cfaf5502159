"""What is summed up of a test: the same queries and moments that a simulation would count."""

from __future__ import annotations

from math import isnan

import pytest
from load_room import crew_of, job, node_sample, query

from dmoa.sim.setting import Recorded
from dmoa.study.load.measured import counted, durations_of, measure
from dmoa.study.load.records import Log, QueryRecord, Sample


def test_a_test_counts_what_a_simulation_counts() -> None:
    arrivals = Recorded(tuple(float(each) for each in range(10)), (0,) * 10)
    what = counted(arrivals, 0.2)
    assert (what.queries, what.first, what.begin, what.end) == (10, 2, 2.0, 9.0)


def log_of(*queries: QueryRecord) -> Log:
    log = Log()
    log.meet(crew_of("n1", "n2"))
    for each in queries:
        log.query(each)
    return log


TEN = Recorded(tuple(float(each) for each in range(10)), (0, 1) * 5)


def test_ends_are_counted_after_the_warmup() -> None:
    statuses = ["answered", "refused", "answered", "refused", "expired", "failed", "dropped"]
    log = log_of(*(query(at, due=float(at), status=each) for at, each in enumerate(statuses)))
    found = measure(log, TEN, warmup=0.2)
    assert (found.sent, found.asked) == (10, 8)
    expected = {"answered": 1, "refused": 1, "expired": 1, "failed": 1, "dropped": 1}
    assert found.counts == expected
    assert found.unanswered == 3
    assert found.offered == pytest.approx(8 / 7)


def test_times_are_of_the_answers() -> None:
    log = log_of(
        *(query(at, due=float(at), latency=float(at)) for at in range(1, 10)),
        query(0, due=0.0, latency=100.0, status="failed"),
    )
    found = measure(log, TEN, warmup=0.0, deadline=4.0)
    assert (found.mean, found.p50, found.p99, found.longest) == (5.0, 5.0, 9.0, 9.0)
    assert found.latencies == tuple(float(each) for each in range(1, 10))
    assert found.in_time == 0.4


def test_goodput_counts_answers_that_came_while_questions_did() -> None:
    late = query(9, due=9.0, latency=0.5)
    warm = query(0, due=0.0, latency=5.0)
    found = measure(log_of(warm, query(5, due=5.0, latency=1.0), late), TEN, warmup=0.2)
    assert found.goodput == pytest.approx(2 / 7)


def test_a_test_without_answers_has_no_times() -> None:
    found = measure(log_of(query(5, due=5.0, status="refused")), TEN)
    assert isnan(found.mean)
    assert isnan(found.p95)
    assert isnan(found.proposals)
    assert (found.in_time, found.goodput, found.told) == (0.0, 0.0, 0)


def test_proposals_are_those_that_came() -> None:
    jobs = (
        job("n1"),
        job("n2"),
        job("n2", outcome="lost"),
        job("n1", layer=2, role="aggregator"),
    )
    found = measure(log_of(query(5, due=5.0, jobs=jobs)), TEN)
    assert (found.proposals, found.visits, found.spared) == (2.0, 3.0, 0.0)


def test_jobs_that_were_spared_are_told() -> None:
    jobs = (job("n1"), job("n2", outcome="spared", seconds=0.0), job("n1"), job("n2"))
    assert measure(log_of(query(5, due=5.0, jobs=jobs)), TEN).spared == 0.25


# -- nodes --------------------------------------------------------------------------------


def stood(log: Log, at: float, leg: int, counted: tuple[float, float, float]) -> None:
    """One look: seconds, and serving and waiting job seconds, of the first node alone."""
    seconds, busy, waiting = counted
    first = node_sample(
        seconds=seconds, serving_job_seconds=busy, waiting_job_seconds=waiting, waiting=int(at)
    )
    log.sample(Sample(at, leg, (first, None)))


def test_utilisation_is_work_over_time_and_slots() -> None:
    log = log_of(query(5, due=5.0))
    log.crew = crew_of("n1", "n2", slots=(2, 1))
    stood(log, 0.0, 0, (100.0, 0.0, 0.0))  # before the warmup ended
    stood(log, 2.0, 0, (102.0, 10.0, 1.0))
    stood(log, 9.0, 0, (109.0, 17.0, 15.0))
    stood(log, 12.0, 0, (112.0, 99.0, 99.0))  # after the last question
    one, other = measure(log, TEN, warmup=0.2).nodes
    assert one.utilisation == pytest.approx(7.0 / 7.0 / 2)
    assert one.waiting == pytest.approx(2.0)
    assert (one.peak, one.bound) == (13, 64)
    assert isnan(other.utilisation)
    assert (other.peak, other.bound) == (0, None)


def test_nodes_that_were_started_anew_do_not_spoil_it() -> None:
    log = log_of(query(5, due=5.0))
    stood(log, 2.0, 0, (100.0, 50.0, 0.0))
    stood(log, 4.0, 0, (102.0, 51.0, 0.0))
    stood(log, 4.5, 1, (500.0, 400.0, 0.0))  # the test was gone on with, on other nodes
    stood(log, 6.5, 1, (502.0, 401.0, 0.0))
    stood(log, 7.0, 1, (1.0, 0.0, 0.0))  # this one crashed
    stood(log, 9.0, 1, (3.0, 1.0, 0.0))
    assert measure(log, TEN, warmup=0.2).nodes[0].utilisation == pytest.approx(0.5)


def test_nodes_tell_who_was_asked_refused_and_worked() -> None:
    log = log_of(
        query(4, due=4.0, jobs=(job("n2", seconds=0.25), job("n2", seconds=0.75))),
        query(5, due=5.0, node=1, status="refused"),
        query(0, due=0.0, node=1, status="refused"),
    )
    one, other = measure(log, TEN, warmup=0.2).nodes
    assert (one.asked, one.refused, one.jobs) == (4, 0, 0)
    assert isnan(one.service_time)
    assert (other.asked, other.refused, other.jobs, other.service_time) == (4, 1, 2, 0.5)


def test_service_times_are_of_completed_jobs_on_known_nodes() -> None:
    jobs = (job("n1", seconds=1.0), job("n1", seconds=9.0, outcome="spared"), job("n9"))
    log = log_of(query(5, due=5.0, jobs=jobs, status="expired"))
    assert durations_of(log, crew_of("n1", "n2")) == [[1.0], []]


# -- what was told, and the generator -------------------------------------------------------


def test_what_was_told_is_right_within_a_factor() -> None:
    near = [
        query(at, due=float(at), latency=each, expected_seconds=3.0)
        for at, each in enumerate((1.9, 2.1, 4.4, 4.6), 4)
    ]
    log = log_of(*near, query(9, due=9.0, latency=3.0))
    log.sample(Sample(0.0, 0, (node_sample(rho=0.9), node_sample(rho=0.5))))
    found = measure(log, TEN)
    assert (found.told, found.told_near) == (4, 0.5)


def test_what_was_told_beyond_the_bound_is_not_judged() -> None:
    log = log_of(
        query(3, due=3.0, latency=3.0, expected_seconds=3.0),
        query(6, due=6.0, latency=90.0, expected_seconds=3.0),
    )
    log.sample(Sample(1.0, 0, (node_sample(rho=0.9), None)))
    log.sample(Sample(5.0, 0, (node_sample(rho=1.1), node_sample(rho=1.0))))
    found = measure(log, TEN)
    assert (found.told, found.told_near) == (1, 1.0)


def test_the_generators_own_lag_is_told_and_taken_off_what_was_told() -> None:
    late = query(5, due=5.0, latency=4.6, expected_seconds=3.0, lag=0.4)
    dropped = query(6, due=6.0, status="dropped", lag=99.0)  # never sent: its lag says nothing
    log = log_of(late, dropped)
    log.sample(Sample(0.0, 0, (node_sample(), None)))
    found = measure(log, TEN)
    assert (found.lag_max, found.lag_p99, found.lag_mean) == (0.4, 0.4, 0.4)
    assert (found.told, found.told_near) == (1, 1.0)
