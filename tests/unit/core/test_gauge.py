from __future__ import annotations

from random import Random

import pytest

from dmoa.core.gauge import MEMORY, WINDOW, Gauge, Mean, Rate


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
