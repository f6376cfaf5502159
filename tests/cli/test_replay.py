"""`dmoa replay`: as it did, or the first step where not; and no text of anybody unasked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from scripted_api import Dmoa

from dmoa.core.effects import Deliver
from dmoa.core.events import Asked, Event, Served, Woke
from dmoa.core.history import Birth, Record
from dmoa.core.job import Completion, Profile, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.policy import PAPER
from dmoa.runtime import records
from dmoa.runtime.records import head_line, step_line

BIRTH = Birth(
    NodeId("a"), Profile("toy"), 10.0, 1, Limits(), Timing(), PAPER, "http://a", Mixture(0, 0)
)
TURNS = (Turn("user", "my secret"),)
EVENTS: list[tuple[float, Event]] = [
    (10.0, Woke()),
    (10.5, Asked(QueryId("a/1/1"), TURNS, Mixture(0, 0))),
    (12.25, Served(JobId("a/1/1/1.0"), Completion("an answer", "toy", 1, 1))),
]


def steps() -> list[Record]:
    agent = BIRTH.agent(Random(1))
    return [Record(now, event, tuple(agent.handle(event, now))) for now, event in EVENTS]


def written(folder: Path, lived: list[Record], birth: Birth = BIRTH) -> str:
    file = folder / "life.jsonl"
    file.write_bytes(head_line(birth, Random(1)) + b"".join(map(step_line, lived)))
    return str(file)


def test_a_life_that_was_lived_so(dmoa: Dmoa, tmp_path: Path) -> None:
    file = written(tmp_path, steps())
    result = dmoa("replay", file)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "node a, 3 steps in 2.2 s: it acts as it did\n"
    result = dmoa("replay", file, "--json")
    assert json.loads(result.stdout) == {
        "node": "a",
        "dmoa": "0.1.0",
        "steps": 3,
        "seconds": 2.25,
        "torn": False,
        "same": True,
    }


def test_the_first_step_that_differs_is_named(dmoa: Dmoa, tmp_path: Path) -> None:
    other = replace(BIRTH, profile=replace(BIRTH.profile, persona="somebody else"))
    file = written(tmp_path, steps(), other)
    result = dmoa("replay", file)
    assert result.exit_code == 3
    assert result.stdout.splitlines() == [
        "node a: it acts differently at step 2",
        "  time            0.500 s",
        "  event           Asked a/1/1",
        "  then it wanted  Serve a/1/1/1.0: prompt.turns (1 items)",
        "  now it wants    Serve a/1/1/1.0: prompt.turns (2 items)",
    ]
    assert "secret" not in result.stdout
    shown = dmoa("replay", file, "--text")
    assert "my secret" in shown.stdout
    assert "somebody else" in shown.stdout
    told = json.loads(dmoa("replay", file, "--json").stdout)
    assert (told["same"], told["steps"]) == (False, 2)
    assert told["difference"] == {
        "step": 2,
        "seconds": 0.5,
        "event": "Asked a/1/1",
        "then": ["Serve a/1/1/1.0: prompt.turns (1 items)"],
        "now": ["Serve a/1/1/1.0: prompt.turns (2 items)"],
    }


def test_texts_are_told_by_their_length(dmoa: Dmoa, tmp_path: Path) -> None:
    lived = steps()
    (deliver,) = (each for each in lived[2].effects if isinstance(each, Deliver))
    completion = replace(deliver.answer.completion, text="quite another")
    changed = replace(deliver, answer=replace(deliver.answer, completion=completion))
    effects = tuple(changed if each is deliver else each for each in lived[2].effects)
    lived[2] = replace(lived[2], effects=effects)
    result = dmoa("replay", written(tmp_path, lived))
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-2:] == [
        "  then it wanted  Deliver a/1/1: answer.completion.text (13 characters)",
        "  now it wants    Deliver a/1/1: answer.completion.text (9 characters)",
    ]


def test_what_is_missing_or_broke_off_is_said(dmoa: Dmoa, tmp_path: Path) -> None:
    lived = steps()
    lived[0] = replace(lived[0], effects=())
    result = dmoa("replay", written(tmp_path, lived))
    assert "  then it wanted  nothing\n  now it wants    Announce\n" in result.stdout
    lived[0] = replace(lived[0], raised="KeyError: 'my secret'")
    result = dmoa("replay", written(tmp_path, lived))
    assert "  then it wanted  it broke off: KeyError\n" in result.stdout
    assert "my secret" in dmoa("replay", written(tmp_path, lived), "--text").stdout


def test_a_torn_line_and_another_release_are_noted(
    dmoa: Dmoa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(records, "version", lambda _: "9.9")
        file = Path(written(tmp_path, steps()))
    file.write_bytes(file.read_bytes()[:-1])
    result = dmoa("replay", str(file))
    assert (result.exit_code, result.stdout) == (
        0,
        "node a, 2 steps in 0.5 s: it acts as it did\n",
    )
    assert result.stderr == (
        "note: the last line was cut off, and is passed over\n"
        "note: written by dmoa 9.9, and this one is 0.1.0\n"
    )


def test_what_is_no_record_ends_it_in_one_line(dmoa: Dmoa, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine\n")
    result = dmoa("replay", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {file} is no record of a node\n\nhint: `dmoa up --record FILE` writes one\n"
    )
    assert dmoa("replay", str(tmp_path / "none")).exit_code == 2
    assert dmoa("replay").exit_code == 2
