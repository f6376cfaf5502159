"""How backlogs go: over replications, and in time."""

from __future__ import annotations

from math import exp, isclose

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.sim.setting import Setting
from dmoa.study.paper.growth import (
    best_exponential,
    best_line,
    course,
    lasting,
    replications,
    run,
)

SETTING = Setting(
    Network.alike(3, arrival_rate=0.3), Mixture(1, 1), queries=600, warmup=0.0, seed=5
)


def test_a_setting_lasts_as_long_as_it_is_told_to() -> None:
    setting = lasting(SETTING, 2000.0)
    assert setting.queries == 1800
    assert run(setting).span == pytest.approx(2000.0, rel=0.1)
    assert lasting(SETTING, 0.0).queries == 1


def test_replications_differ_and_come_again() -> None:
    outcomes = replications(SETTING, 3)
    lengths = [each.length for each in outcomes]
    assert len(dict.fromkeys(lengths)) == 3
    assert lengths == [each.length for each in replications(SETTING, 3)]


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_spans_of_a_course_make_up_the_whole_run(parts: int) -> None:
    found = course(SETTING, parts)
    assert len(found.times) == len(found.jobs) == parts
    # spans are of equal numbers of queries, so of about equal lengths
    assert sum(found.jobs) / parts == pytest.approx(run(SETTING).length, rel=0.1)
    if parts == 1:
        assert found.jobs[0] == run(SETTING).length


def test_the_middle_of_spans_is_told() -> None:
    assert course(SETTING, 4).times == pytest.approx([600 / 0.9 * at / 8 for at in (1, 3, 5, 7)])


def test_a_line_and_an_exponential_are_told_apart() -> None:
    x = [float(each) for each in range(10)]
    straight, bent = [3.0 + 2.0 * each for each in x], [0.5 * exp(0.8 * each) for each in x]
    assert best_line(x, straight).misfit < 1e-12
    assert best_exponential(x, straight).misfit > 0.02
    assert best_exponential(x, bent).misfit < 1e-3
    assert best_line(x, bent).misfit > 0.2
    fitted = zip(best_line(x, straight).values, straight, strict=True)
    assert all(isclose(one, other, abs_tol=1e-9) for one, other in fitted)
