"""The picture of a load test: what is in its panels."""

from __future__ import annotations

from math import nan
from pathlib import Path

import pytest
from load_room import crew_of, node_sample, query

from dmoa.sim.setting import Recorded
from dmoa.study import plots
from dmoa.study.load import picture
from dmoa.study.load.beside import Beside, Worlds
from dmoa.study.load.measured import measure
from dmoa.study.load.picture import panels
from dmoa.study.load.records import Log, Sample
from dmoa.study.plots import Panel

SILENT = Beside(None, None, None, {})
WORLDS = Beside(None, None, Worlds({}, (), (1.0, 2.0, 3.0, 4.0)), {})


def log_of(nodes: int, *, longest: int = 3) -> Log:
    log = Log()
    log.meet(crew_of(*(f"n{number + 1}" for number in range(nodes))))
    for number in range(20):
        status = "refused" if number >= 16 else "answered"
        log.query(query(number, due=float(number), latency=1.0 + number, status=status))
    for at in (0.0, 10.0, 20.0):
        deep = node_sample(waiting=longest if at else 0, serving=1, layers=2, fanout=3, rho=1.2)
        log.sample(Sample(at, 0, (deep, None, *(node_sample() for _ in range(nodes - 2)))))
    return log


def drawn(log: Log, beside: Beside = SILENT, deadline: float | None = None) -> dict[str, Panel]:
    arrivals = Recorded(tuple(float(each) for each in range(20)), (0,) * 20)
    found = panels(log, arrivals.times, measure(log, arrivals), beside, deadline=deadline)
    return {each.title: each for each in found}


def test_every_panel_has_its_unit() -> None:
    found = drawn(log_of(3))
    assert {title: each.y for title, each in found.items()} == {
        "Time to answer": "share of the answers",
        "Utilisation, as nodes measure it": "rho",
        "Depth in use": "jobs per query",
        "Asked and refused": "queries/s in the whole network",
        "Queues": "jobs at a node",
    }
    assert {each.x for each in found.values()} == {"seconds", "seconds since the test began"}


def test_queues_are_drawn_node_by_node_with_a_gap_where_nobody_answered() -> None:
    series = drawn(log_of(3))["Queues"].series
    assert [each.label for each in series] == ["n1", "n2", "n3"]
    assert list(series[0].y) == [1.0, 4.0, 4.0]
    assert list(series[1].y) == pytest.approx([nan] * 3, nan_ok=True)


def test_many_nodes_are_drawn_by_their_mean_and_longest() -> None:
    series = drawn(log_of(20))["Queues"].series
    assert [each.label for each in series] == ["busiest node", "mean of the nodes"]
    assert list(series[0].y) == [2.0, 4.0, 4.0]
    assert series[1].y[0] == pytest.approx((1.0 + 18 * 2.0) / 19)


def test_the_limit_is_drawn_where_queues_come_near_it() -> None:
    assert drawn(log_of(3))["Queues"].marks == []
    (mark,) = drawn(log_of(3, longest=40))["Queues"].marks
    assert (mark.at, mark.label, mark.level) == (64.0, "limit", True)


def test_rho_is_drawn_against_its_bound() -> None:
    panel = drawn(log_of(3))["Utilisation, as nodes measure it"]
    assert [mark.at for mark in panel.marks] == [1.0]
    assert [list(each.y) for each in panel.series] == [
        pytest.approx([0.85] * 3),
        pytest.approx([1.2] * 3),
    ]
    assert panel.y_range == (0.0, pytest.approx(1.32))


def test_depth_is_jobs_per_query() -> None:
    (series,) = drawn(log_of(3))["Depth in use"].series
    assert list(series.y) == [(2 * 4 + 1 + 1 * 2 + 1) / 2] * 3


def test_refusals_are_drawn_per_second() -> None:
    asked, refused, others = drawn(log_of(3))["Asked and refused"].series
    width = asked.x[1] - asked.x[0]
    assert sum(asked.y) * width == pytest.approx(20.0)
    assert sum(refused.y) * width == pytest.approx(4.0)
    assert [each > 0.0 for each in refused.y] == [at >= 16.0 for at in refused.x]
    assert sum(others.y) == 0.0


def test_the_times_to_answer_stand_beside_those_of_the_worlds() -> None:
    panel = drawn(log_of(3), WORLDS, deadline=6.0)["Time to answer"]
    measured, worlds = panel.series
    assert list(worlds.x) == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert list(worlds.y) == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert measured.y[-1] == 1.0
    assert [mark.at for mark in panel.marks] == [6.0]
    assert drawn(log_of(3), WORLDS, deadline=600.0)["Time to answer"].marks == []


def test_long_tests_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(3)
    for at in range(21, 2000):
        log.sample(Sample(float(at), 0, (node_sample(), None, None)))
    monkeypatch.setattr(picture, "_POINTS", 100)
    assert len(drawn(log)["Queues"].series[0].y) <= 100


def test_it_can_be_drawn_even_of_next_to_nothing(tmp_path: Path) -> None:
    log = Log()
    log.meet(crew_of("n1", "n2"))
    log.query(query(0, due=0.0, status="failed"))
    found = panels(log, (0.0,), measure(log, Recorded((0.0,), (0,))), SILENT, deadline=None)
    plots.lines(found, tmp_path / "run.svg", title="x")
    assert (tmp_path / "run.svg").stat().st_size > 1000


def test_what_has_no_end_was_asked_all_the_same() -> None:
    log = Log()
    log.meet(crew_of("n1", "n2"))
    log.query(query(0, due=0.0))
    arrivals = Recorded((0.0, 1.0, 2.0), (0, 1, 0))
    found = panels(log, arrivals.times, measure(log, arrivals), SILENT, deadline=None)
    asked = next(each for each in found if each.title == "Asked and refused").series[0]
    width = asked.x[1] - asked.x[0] if len(asked.x) > 1 else 1.0
    assert sum(asked.y) * width == pytest.approx(3.0)
