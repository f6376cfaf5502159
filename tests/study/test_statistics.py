"""Means and their intervals: held against the tables of Student's t, and against chance."""

from __future__ import annotations

from math import inf, isnan, nan
from random import Random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.study.statistics import change_of, mean_of, student

# Two-sided critical values of the usual printed table: degrees of freedom, 90, 95, 99 %.
TABLE = [
    (1, 6.3138, 12.7062, 63.6567),
    (2, 2.9200, 4.3027, 9.9248),
    (3, 2.3534, 3.1824, 5.8409),
    (4, 2.1318, 2.7764, 4.6041),
    (5, 2.0150, 2.5706, 4.0321),
    (9, 1.8331, 2.2622, 3.2498),
    (10, 1.8125, 2.2281, 3.1693),
    (19, 1.7291, 2.0930, 2.8609),
    (30, 1.6973, 2.0423, 2.7500),
    (60, 1.6706, 2.0003, 2.6603),
    (120, 1.6577, 1.9799, 2.6174),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"df={row[0]}")
def test_students_t_is_that_of_the_printed_table(row: tuple[int, float, float, float]) -> None:
    freedom, *values = row
    found = [student(freedom, level) for level in (0.9, 0.95, 0.99)]
    assert found == pytest.approx(values, abs=6e-5)


def test_students_t_becomes_normal() -> None:
    assert student(1_000_000, 0.95) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-5)


@given(st.integers(1, 500), st.floats(0.01, 0.995))
def test_students_t_falls_with_freedom_and_rises_with_the_level(freedom: int, level: float) -> None:
    assert student(freedom + 1, level) <= student(freedom, level) * (1 + 1e-9)
    assert student(freedom, level) < student(freedom, level + 0.004)


def test_a_mean_and_its_interval() -> None:
    found = mean_of([9.0, 10.0, 11.0])
    assert (found.mean, found.count) == (10.0, 3)
    assert found.half == pytest.approx(4.3027 / 3**0.5, abs=1e-4)
    assert (found.low, found.high) == (10.0 - found.half, 10.0 + found.half)
    assert mean_of([9.0, 10.0, 11.0], level=0.99).half > found.half
    assert mean_of([2.0, 2.0]).half == 0.0


def test_one_value_tells_nothing_about_its_interval() -> None:
    assert (mean_of([3.0]).mean, mean_of([3.0]).half) == (3.0, inf)
    assert isnan(mean_of([]).mean)
    assert isnan(mean_of([1.0, nan]).mean)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = Random(7)
    samples = [mean_of([rng.gauss(5.0, 2.0) for _ in range(5)]) for _ in range(2000)]
    held = sum(each.low <= 5.0 <= each.high for each in samples) / len(samples)
    assert 0.935 < held < 0.965


def test_a_change_is_that_of_the_means() -> None:
    found = change_of([10.0, 20.0, 30.0], [5.0, 10.0, 15.0])
    assert (found.mean, found.half) == (pytest.approx(-0.5), pytest.approx(0.0, abs=1e-12))
    assert isnan(change_of([0.0, 0.0], [1.0, 1.0]).mean)
    assert change_of([2.0], [3.0]).half == inf


def test_shared_dice_make_a_change_known_better() -> None:
    rng = Random(3)
    before = [rng.uniform(5.0, 15.0) for _ in range(8)]
    after = [0.8 * each + rng.uniform(-0.1, 0.1) for each in before]
    apart = after[1:] + after[:1]
    assert change_of(before, after).half < change_of(before, apart).half / 10.0
    assert change_of(before, after).mean == pytest.approx(-0.2, abs=0.02)


def test_pairs_are_as_many_before_as_after() -> None:
    with pytest.raises(AssertionError):
        change_of([1.0], [1.0, 2.0])
