"""Sweeps with policies that only agents can follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dmoa.core.policy import PAPER, POLICIES
from dmoa.errors import UsageError
from dmoa.sim.outcome import Outcome
from dmoa.study import sweep as sweeps
from dmoa.study.grid import Grid, Point, Rate
from dmoa.study.ledger import Run
from dmoa.study.network_file import Description
from dmoa.study.sweep import Sweep

LIVING = [("paper", PAPER), ("live", POLICIES["live"]), ("live+spare=0", POLICIES["live"])]


def points(policies: Any, **wanted: Any) -> list[Point]:
    given = {"network": Description(nodes=4, service_time=(1.0,)), "queries": 60, **wanted}
    return Grid(rates=(Rate(0.1),), policies=policies, **given).points()


def test_agents_simulate_what_only_they_can_follow(tmp_path: Path) -> None:
    file, said, seen = tmp_path / "runs.jsonl", list[str](), list[tuple[int, int, str]]()
    wanted = points(LIVING[:2], deadline=60.0)

    def sweep() -> list[list[Outcome]]:
        tell = {"note": said.append, "progress": lambda *how: seen.append(how)}
        return Sweep(wanted, replications=2, file=file, **tell).measure()

    found = sweep()
    assert [[each.engine for each in outcomes] for outcomes in found] == [
        ["lindley"] * 2,
        ["world"] * 2,
    ]
    assert said == ["live: simulated by the agents themselves, which is slower"]
    assert seen[-1][:2] == (4 * 60 * 4, 4 * 60 * 4)
    assert sweep() == found, "they are in the file"
    assert said[1:] == [f"4 of 4 runs are in {file} already"]


def test_agents_are_named_once_and_chosen_agents_not_at_all() -> None:
    said: list[str] = []
    for engine in ("auto", "world"):
        sweep = Sweep(points(LIVING, queries=10), engine=engine, note=said.append)
        assert len(sweep.measure()) == 3
    assert said == ["live: simulated by the agents themselves, which is slower"]
    for engine in ("kernel", "lindley"):
        with pytest.raises(UsageError, match="only agents can follow it"):
            Sweep(points(LIVING), engine=engine)


def test_what_agents_simulate_is_not_worth_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, made = points(LIVING[1:2], queries=10**6), list[object]()
    outcome = Sweep(points(LIVING[:1])).measure()[0][0]

    def make(_run: Run, *how: object) -> Outcome:
        made.append(how[0])
        return outcome

    monkeypatch.setattr(sweeps, "_made", make)
    monkeypatch.setattr(sweeps, "is_available", lambda: True)
    Sweep(wanted).measure()
    assert made == [None]
