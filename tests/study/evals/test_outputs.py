"""Answers in the form of AlpacaEval: all items in their order, and what has no answer is a loss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stub_member import items

from dmoa.errors import UsageError
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.outputs import write_outputs
from dmoa.study.evals.plan import Run
from dmoa.study.evals.records import Answer, Item, Plan

NAMES = ("local@n1", "dmoa-m1k2-self+best")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    asked = (
        *items(4, "And why?"),
        Item("x", "d/\u00e9", ("Sum?",), answers=("3",), metric="exact"),
    )
    plan = Plan(NAMES, (), hash_of(asked), len(asked), seed=0)
    with Run(tmp_path) as run:
        run.begin(plan, asked)
        for number, status in ((3, "answered"), (0, "answered"), (1, "failed"), (2, "refused")):
            heard = (f"heard \u2028 {number}", "because")[: 1 + number % 2]
            run.answer(Answer(f"item-{number}", NAMES[0], "n1", status, heard))
        run.answer(Answer("x", NAMES[1], "n1", "answered", ("\u00fc",)))
    return Folder(tmp_path)


def test_each_configuration_has_a_file_as_the_package_reads_it(folder: Folder) -> None:
    files = write_outputs(folder)
    assert [each.name for each in files] == [f"{name}.json" for name in NAMES]
    assert sorted(folder.outputs.iterdir()) == sorted(files)
    one, two = (json.loads(each.read_text("utf-8")) for each in files)
    assert [row["instruction"] for row in one] == [each.turns[0] for each in folder.items()]
    # of several turns the first; of what failed nothing, though a turn was answered
    assert [row["output"] for row in one] == ["heard \u2028 0", "", "", "heard \u2028 3", ""]
    assert [row["output"] for row in two] == ["", "", "", "", "\u00fc"]
    assert one[4] == {
        "instruction": "Sum?",
        "output": "",
        "generator": "local@n1",
        "dataset": "d/\u00e9",
        "datasplit": "eval",
    }
    assert {row["generator"] for row in two} == {NAMES[1]}


def test_files_are_written_anew(folder: Folder) -> None:
    before = [each.read_bytes() for each in write_outputs(folder)]
    with Run(folder.place) as run:
        run.answer(Answer("item-1", NAMES[0], "n1", "answered", ("late",)))
    after = [each.read_bytes() for each in write_outputs(folder)]
    assert after[1] == before[1]
    assert json.loads(after[0])[1]["output"] == "late"


def test_names_fit_every_file_system(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.begin(Plan(("../up:1",), (), hash_of(()), 0, seed=0), ())
    assert [each.name for each in write_outputs(Folder(tmp_path))] == [".._up_1.json"]


def test_a_folder_without_a_run_is_told(tmp_path: Path, folder: Folder) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        write_outputs(Folder(tmp_path / "none"))
    folder.outputs.write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        write_outputs(folder)
