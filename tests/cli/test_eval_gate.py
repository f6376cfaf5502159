"""`dmoa eval gate`: what is chosen, what is written, and what a node makes of it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_api import Dmoa

from dmoa.config import load
from dmoa.config.edit import edited
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.usual import Verdict
from dmoa.errors import ConfigError
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.records import Answer, Item, Judgement, Member, Plan
from dmoa.study.lines import Lines

PAYS = Verdict.parse("m1k2: pays").text
SURE = {"local@n1": 10, "local@n2": 30, "dmoa-m1k1": 96, "dmoa-m1k1-self": 70}
"""Right answers of 100."""


def run_of(place: Path, right: dict[str, int], models: tuple[str, ...] = ("tiny", "tiny")) -> Path:
    """Write a run of 100 items, of which each configuration has so many right."""
    items = tuple(Item(f"i-{n}", "d", (f"{n}?",), (str(n),), "numeric") for n in range(100))
    folder = Folder(place)
    folder.write_items(items)
    with Lines(folder.answers_file) as log:
        members = tuple(Member(f"n{n}", model) for n, model in enumerate(models, 1))
        log.add("plan", Plan(tuple(right), members, hash_of(items), 100, 1))
        for name, count in right.items():
            for number, each in enumerate(items):
                text = str(number) if number * 37 % 100 < count else "-1"
                log.add("answer", Answer(each.id, name, "n1", "answered", (text,), seconds=1.5))
    return place


def test_a_mixture_that_pays_becomes_the_default(dmoa: Dmoa, tmp_path: Path) -> None:
    run, config = run_of(tmp_path / "run", SURE), tmp_path / "node.toml"
    result = dmoa("eval", "gate", str(run), "--config", str(config))
    assert result.exit_code == 0
    assert result.stdout.startswith("m1k1 with tiny: pays (+66.0 points, 95 % from +")
    assert "it did best of 2 mixtures" in result.stderr
    assert "there the model dmoa is dmoa-m1k1, from the next start on" in result.stderr
    usual = load(file=config, environ={}).defaults.usual("tiny")
    assert (usual.mixture, usual.why) == (Mixture(1, 1), "measured")
    assert load(file=config, environ={}).defaults.usual("other").mixture == ALONE


def test_one_that_does_not_is_kept_off(dmoa: Dmoa, tmp_path: Path) -> None:
    run, config = run_of(tmp_path / "run", SURE | {"dmoa-m1k1": 2}), tmp_path / "node.toml"
    args = ("--mixture", "dmoa-m1k1", "--config", str(config), "--json")
    result = dmoa("eval", "gate", str(run), *args)
    told = json.loads(result.stdout)
    assert result.exit_code == 3
    assert (told["verdict"]["word"], told["compared"], told["written"]) == ("does not pay", 1, True)
    usual = load(file=config, environ={}).defaults.usual("tiny")
    assert (usual.mixture, usual.why) == (ALONE, "measured")


def test_the_best_of_several_has_to_be_surer(dmoa: Dmoa, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {"local@n1": 30, "dmoa-m1k1": 42, "dmoa-m1k1-self": 31})
    args = ("--dry-run", "--json")
    chosen = json.loads(dmoa("eval", "gate", str(run), *args).stdout)["verdict"]
    named = json.loads(dmoa("eval", "gate", str(run), "--mixture", "dmoa-m1k1", *args).stdout)
    assert chosen["configuration"] == "dmoa-m1k1"
    assert chosen["low"] < named["verdict"]["low"]
    assert chosen["high"] == named["verdict"]["high"]


def test_what_was_not_asked_yet_is_told(dmoa: Dmoa, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", SURE | {"dmoa-m2k2": 50})
    answers = run / "answers.jsonl"
    lines = answers.read_text().splitlines()
    kept = [line for line in lines if '"configuration": "dmoa-m2k2"' not in line]
    kept = [each for each in kept if not ('"dmoa-m1k1"' in each and '"i-9' in each)]
    answers.write_text("\n".join(kept) + "\n")
    result = dmoa("eval", "gate", str(run), "--dry-run")
    assert result.stdout.startswith("m1k1 with tiny: pays")
    assert "only 89 of the run's 100 items can be compared" in result.stderr
    assert "it did best of 2 mixtures" in result.stderr


def judged(run: Path, judges: dict[str, float]) -> None:
    """Let judges prefer the mixture's answers to a baseline so much, and the member's half."""
    folder = Folder(run)
    with Lines(folder.judgements_file) as log:
        for judge, preference in judges.items():
            for name in ("local@n1", "dmoa-m1k1"):
                for item in folder.items():
                    told = Judgement(
                        *(item.id, name, "local@n2", judge),
                        swapped=False,
                        draw=0,
                        verdict="judged",
                        key=f"{judge}{name}{item.id}",
                        preference=preference if name == "dmoa-m1k1" else 0.5,
                    )
                    log.add("judgement", told)


def test_of_several_measures_one_is_to_be_named(dmoa: Dmoa, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {"local@n1": 30, "local@n2": 30, "dmoa-m1k1": 10})
    judged(run, {"kind": 0.9, "harsh": 0.1})
    unclear = dmoa("eval", "gate", str(run), "--dry-run")
    assert (unclear.exit_code, unclear.stdout) == (2, "")
    assert "in 3 ways: known answers, kind, harsh" in unclear.stderr
    kind = dmoa("eval", "gate", str(run), "--dry-run", "--judge", "kind")
    assert kind.stdout.startswith("m1k1 with tiny: pays (+40.0 points")
    assert "judged by kind" in kind.stdout
    harsh = dmoa("eval", "gate", str(run), "--dry-run", "--judge", "harsh")
    assert harsh.stdout.startswith("m1k1 with tiny: does not pay")
    nobody = dmoa("eval", "gate", str(run), "--dry-run", "--judge", "nobody")
    assert nobody.exit_code == 2


def test_files_that_cannot_be_read_or_written_are_refused(dmoa: Dmoa, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", SURE)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    blocked = tmp_path / "file" / "node.toml"
    (tmp_path / "file").touch()
    for config, word in ((binary, "is not UTF-8"), (blocked, "cannot be")):
        result = dmoa("eval", "gate", str(run), "--config", str(config))
        assert (result.exit_code, result.stdout) == (2, "")
        assert word in result.stderr


def test_a_dry_run_writes_nothing(dmoa: Dmoa, tmp_path: Path) -> None:
    run, config = run_of(tmp_path / "run", SURE), tmp_path / "node.toml"
    result = dmoa("eval", "gate", str(run), "--config", str(config), "--dry-run")
    assert "would be written" in result.stderr
    assert not config.exists()


def test_unlike_members_are_told_apart(dmoa: Dmoa, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", SURE, ("tiny", "large one"))
    result = dmoa("eval", "gate", str(run), "--dry-run")
    assert result.stdout.startswith("m1k1: pays")
    assert "--node NAME binds it" in result.stderr
    bound = dmoa("eval", "gate", str(run), "--dry-run", "--node", "n2")
    assert bound.stdout.startswith("m1k1 with large one: pays")
    wrong = dmoa("eval", "gate", str(run), "--node", "n7")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "no node 'n7' was asked" in wrong.stderr


def test_without_a_mixture_there_is_nothing_to_decide(dmoa: Dmoa, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {"local@n1": 30})
    result = dmoa("eval", "gate", str(run))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no mixture was asked" in result.stderr
    named = dmoa("eval", "gate", str(run), "--mixture", "dmoa-m2k2")
    assert "'dmoa-m2k2' was not compared" in named.stderr


# -- the file -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", 'verdict = "m1k2: pays"\n'),
        ("port = 1", 'port = 1\nverdict = "m1k2: pays"\n'),
        ("# mine\nport = 1 # so\n", '# mine\nport = 1 # so\nverdict = "m1k2: pays"\n'),
        ('verdict = "m1k1: pays"\nport = 1\n', 'verdict = "m1k2: pays"\nport = 1\n'),
        ("  verdict   = ''\n\nport = 1", 'verdict = "m1k2: pays"\n\nport = 1'),
        ("a = 1\n[b]\nc = 2\n", 'a = 1\nverdict = "m1k2: pays"\n[b]\nc = 2\n'),
    ],
)
def test_the_rest_of_the_file_stays(old: str, new: str) -> None:
    assert edited(old, "verdict", PAYS, "f") == new


@pytest.mark.parametrize(
    "old",
    [
        'verdict = """\nlong\n"""\n',
        'persona = """\nverdict = 1\n"""\n',
        "[t]\nverdict = 1\n",
        'listen = [\n  "tcp/127.0.0.1:1",\n[2],\n]\n',
    ],
)
def test_what_it_cannot_be_put_into_is_left_alone(old: str) -> None:
    with pytest.raises(ConfigError, match="without changing the rest") as caught:
        edited(old, "verdict", PAYS, "f")
    assert caught.value.hint is not None
    assert PAYS in caught.value.hint


def test_what_is_no_toml_is_refused_and_kept(dmoa: Dmoa, tmp_path: Path) -> None:
    run, config = run_of(tmp_path / "run", SURE), tmp_path / "node.toml"
    config.write_text("port = ")
    result = dmoa("eval", "gate", str(run), "--config", str(config))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is not TOML" in result.stderr
    assert config.read_text() == "port = "
    assert {each.name for each in tmp_path.iterdir()} == {"run", "node.toml"}


def test_a_new_file_takes_the_rights_of_the_old(dmoa: Dmoa, tmp_path: Path) -> None:
    run, config = run_of(tmp_path / "run", SURE), tmp_path / "node.toml"
    config.write_text("port = 5000\n")
    config.chmod(0o640)
    assert dmoa("eval", "gate", str(run), "--config", str(config)).exit_code == 0
    assert config.stat().st_mode & 0o777 == 0o640
    assert load(file=config, environ={}).port == 5000
    assert {each.name for each in tmp_path.iterdir()} == {"run", "node.toml"}


KEYS = st.sampled_from(["port = 1", "# verdict = 2", "node = 'a'", "", 'mode = "paper" # x = [1]'])


@given(st.lists(KEYS, unique=True), st.booleans())
def test_whatever_stood_there_stands_there_still(lines: list[str], twice: Any) -> None:
    old = "\n".join(lines)
    new = edited(edited(old, "verdict", "m1k1: pays", "f") if twice else old, "verdict", PAYS, "f")
    assert tomllib.loads(new) == tomllib.loads(old) | {"verdict": PAYS}
    assert all(line in new.splitlines() for line in lines if line)
