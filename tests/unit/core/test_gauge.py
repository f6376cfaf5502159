from __future__ import annotations

from random import Random

import pytest

from dmoa.core.gauge import FEW, MEMORY, WINDOW, Gauge, Mean, Rate


def test_a_rate_is_that_of_its_events() -> None:
    rate, rng, now = Rate(0.0), Random(1), 0.0
    while now < 2000.0:
        now += rng.expovariate(3.0)
        rate.tick(now)
    assert rate.value(now) == pytest.approx(3.0, rel=0.15)
    assert rate.count == pytest.approx(6000, rel=0.05)


def test_a_rate_is_right_from_the_beginning() -> None:
    rate = Rate(100.0)
    assert rate.value(100.0) == 0.0
    for second in range(1, 11):
        rate.tick(100.0 + second)
    assert rate.value(110.0) == pytest.approx(1.0, rel=0.1)


def test_a_rate_forgets() -> None:
    rate = Rate(0.0)
    for second in range(1000):
        rate.tick(float(second))
    assert rate.value(1000.0 + 10 * WINDOW) < 0.001


def test_a_mean_is_plain_at_first_and_forgets_later() -> None:
    mean = Mean()
    assert mean.value == 0.0
    for value in (1.0, 2.0, 6.0):
        mean.add(value)
    assert mean.value == pytest.approx(3.0)
    for _ in range(20 * MEMORY):
        mean.add(10.0)
    assert mean.value == pytest.approx(10.0)


def test_service_times_are_told_apart_by_role() -> None:
    gauge = Gauge(0.0, slots=1)
    assert gauge.service_time() == gauge.service_time("proposer") == 0.0
    gauge.served("proposer", 1.0)
    gauge.served("aggregator", 3.0)
    assert (gauge.service_time("proposer"), gauge.service_time("aggregator")) == (1.0, 3.0)
    assert gauge.service_time() == 2.0


def test_lengths_are_averaged_over_time() -> None:
    gauge = Gauge(10.0, slots=2)
    assert gauge.mean_length == gauge.mean_waiting == gauge.busy == 0.0
    gauge.level(0, 1)
    gauge.advance(14.0)
    gauge.level(3, 2)
    gauge.advance(16.0)
    gauge.level(0, 0)
    gauge.advance(20.0)
    assert gauge.mean_waiting == pytest.approx(6 / 10)
    assert gauge.mean_length == pytest.approx((4 + 4 + 6) / 10)
    assert gauge.busy == pytest.approx(8 / 20)


def test_utilisation_is_offered_work_per_slot_and_may_exceed_one() -> None:
    for slots in (1, 2):
        gauge = Gauge(0.0, slots=slots)
        for second in range(1, 601):
            gauge.jobs.tick(float(second))
            gauge.advance(float(second))
        gauge.served("proposer", 3.0)
        assert gauge.utilisation == pytest.approx(3.0 / slots, rel=0.02)


def test_what_a_node_can_carry_is_measured_with_all_slots_busy() -> None:
    gauge = Gauge(0.0, slots=4)
    assert gauge.pace == gauge.capacity == 0.0
    for _ in range(10):
        gauge.served("proposer", 1.0, full=False)
    assert (gauge.pace, gauge.capacity) == (0.25, 4.0), "as far as is known"
    for _ in range(FEW - 1):
        gauge.served("proposer", 2.0)
    few = gauge.service_time()
    assert gauge.pace == few / 4, "that is too few of them"
    gauge.served("proposer", 2.0)
    assert (gauge.pace, gauge.capacity) == (0.5, 2.0), "in a batch each takes twice as long"
    assert gauge.service_time() < 2.0


def test_with_one_slot_every_job_tells() -> None:
    gauge = Gauge(0.0, slots=1)
    gauge.served("proposer", 2.0)
    assert (gauge.pace, gauge.capacity) == (2.0, 0.5)
    gauge.served("aggregator", 4.0)
    assert gauge.pace == 3.0


def test_utilisation_is_of_the_measured_capacity() -> None:
    gauge = Gauge(0.0, slots=4)
    for second in range(1, 601):
        gauge.jobs.tick(float(second))
        gauge.advance(float(second))
    for _ in range(FEW):
        gauge.served("proposer", 8.0)  # 1 s alone; batching gains nothing
    assert gauge.utilisation == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(("cv", "share"), [(0.0, 0.5), (1.0, 1.0), (2.0, 2.5)])
def test_a_job_found_in_service_takes_half_its_time_or_more(cv: float, share: float) -> None:
    gauge, rng = Gauge(0.0, slots=1), Random(3)
    assert gauge.rest == 0.0
    totals = [0.0, 0.0]
    for _ in range(100 * MEMORY):
        if cv == 1.0:
            seconds = rng.expovariate(0.5)
        elif cv == 2.0:
            seconds = rng.expovariate(0.2) if rng.random() < 0.4 else 0.0001
        else:
            seconds = 2.0
        gauge.served("proposer", seconds)
        totals[0] += gauge.rest
        totals[1] += gauge.service_time()
    assert totals[0] / totals[1] == pytest.approx(share, rel=0.15)


def test_job_seconds_are_counted_since_the_start() -> None:
    gauge = Gauge(10.0, slots=2)
    gauge.level(3, 2)
    gauge.advance(14.0)
    gauge.level(0, 1)
    gauge.advance(15.0)
    assert gauge.seconds == (5.0, 12.0, 9.0)
    later = gauge.until(17.3)
    assert gauge.seconds == (5.0, 12.0, 9.0), "to ask leaves no trace"
    gauge.advance(17.3)
    assert gauge.seconds == later
