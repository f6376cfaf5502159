"""`dmoa paper`: how a claim is shown, and the exit code where it does not hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dmoa.cli.main import cli
from dmoa.study import paper as study
from dmoa.study.paper.claim import Claim, Column, Finding, Progress
from dmoa.study.plots import Panel, Series

COLUMNS = (
    Column("layers", "M", form="d"),
    Column("ours", "ours", "s", ".1f"),
    Column("what", "what"),
    Column("grows", "grows"),
)


def claim(*, holds: bool = True, bars: bool = False) -> Claim:
    panel = Panel("One", "x (s)", "y (s)", (Series("ours", (1.0, 2.0), (2.0, 3.0)),))
    return Claim(
        name="table1",
        title="Table I",
        columns=COLUMNS,
        rows=((1, 329.94, "calm", False), (2, None, "busy", True)),
        findings=(Finding("it is so", holds),),
        assumed=("fitted: " + "a long story " * 20,),
        panels=(panel,),
        bars=bars,
    )


def run(monkeypatch: pytest.MonkeyPatch, result: Claim, *args: str) -> Result:
    def measure(name: str, *, effort: float, seed: int, progress: Progress) -> Claim:
        assert (name, effort, seed) == ("table1", 0.5, 7)
        progress(1, 2, "one half")
        return result

    monkeypatch.setattr(study, "measure", measure)
    args = ("paper", "table1", "--effort", "0.5", "--seed", "7", *args)
    return CliRunner().invoke(cli, args)


def test_a_claim_is_shown_with_units_findings_and_assumptions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = run(monkeypatch, claim())
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Table I: ")
    assert [line.split() for line in lines[2:6]] == [
        ["ours"],
        ["M", "s", "what", "grows"],
        ["1", "329.9", "calm", "no"],
        ["2", "-", "busy", "yes"],
    ]
    assert lines[7] == "holds   it is so"
    assert lines[8].startswith("assumed fitted: a long story")
    assert len(lines) == 9, "what is long is not broken, so that it can be searched"
    assert "seed 7, effort 0.5" in done.stderr


def test_a_claim_that_does_not_hold_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(monkeypatch, claim(holds=False))
    assert done.exit_code == 3
    assert "fails   it is so" in done.stdout


def test_a_program_reads_keys_units_and_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(monkeypatch, claim(holds=False), "--json")
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert told["rows"][1] == {"layers": 2, "ours": None, "what": "busy", "grows": True}
    assert told["units"] == {"ours": "s"}
    assert (told["holds"], told["findings"]) == (False, [{"text": "it is so", "holds": False}])


@pytest.mark.parametrize("bars", [False, True])
def test_a_claim_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bars: bool) -> None:  # noqa: FBT001
    file = tmp_path / "claim.svg"
    done = run(monkeypatch, claim(bars=bars), "--plot", str(file))
    assert done.exit_code == 0
    assert file.read_text("utf-8").startswith("<?xml")
    assert str(file) in done.stderr


def test_a_picture_that_cannot_be_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study, "measure", lambda *_args, **_how: pytest.fail("it worked"))
    done = CliRunner().invoke(cli, ["paper", "table1", "--plot", "claim.gif"])
    assert done.exit_code == 2
    assert "hint: " in done.stderr


def test_a_claim_that_is_none_is_refused() -> None:
    done = CliRunner().invoke(cli, ["paper", "table9"])
    assert done.exit_code == 2
    assert "table9" in done.stderr
    assert "overload" in done.stderr


def test_every_claim_is_offered() -> None:
    command = cli.commands["paper"]
    assert list(command.params[0].type.choices) == list(study.CLAIMS)
