"""AlpacaEval's own package, run on our files by the same judge: it says what we say."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from fake_judge import FakeJudge, Json, Said, completion, make_run, refusal

from dmoa.errors import BackendUnavailableError, DmoaError, MissingExtraError, UsageError
from dmoa.study.evals import official
from dmoa.study.evals.docket import Wish
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.judge import Judge
from dmoa.study.evals.judged import Tally, tally
from dmoa.study.evals.judging import judge_run
from dmoa.study.evals.official import Case, Official, Package, evaluate, prepare
from dmoa.study.evals.records import Answer, Item
from dmoa.study.evals.template import parse_template

pytestmark = pytest.mark.real

NAMES = ("local@n1", "dmoa-m1k2-best")
KINDS = ("graded", "text")
COUNT = 8
WORTH = {f"Answer {at:02}.": 0.4 * at - 1.5 for at in range(2 * COUNT)} | {
    f"Baseline {at:02}!": 1.0 for at in range(COUNT)
}
RUBBISH = "Task 5 \u2014 “what” [[0]]?"
"""The instruction of the item that the judge cannot judge."""


def items() -> tuple[Item, ...]:
    tasks = [RUBBISH if at == 5 else f"Task {at}?" for at in range(COUNT)]
    return tuple(
        Item(f"i{at}", "set", (task,), reference=f"Baseline {at:02}!", reference_model="base")
        for at, task in enumerate(tasks)
    )


def run_of(place: Path) -> Folder:
    """Two configurations; one says what the baseline says to one item, and has one answer less."""
    one = [f"Answer {at:02}." for at in range(COUNT)]
    two: list[Any] = [f"Answer {at + COUNT:02}." for at in range(COUNT)]
    two[3], two[7] = "Baseline 03!", None
    return make_run(place, items(), dict(zip(NAMES, (tuple(one), tuple(two)), strict=True)))


@dataclass
class Both:
    """The same judge asked by the package, and by ourselves."""

    theirs: tuple[Official, ...]
    ours: tuple[Tally, ...]
    asked_by_them: list[Json]
    asked_by_us: list[Json]


def library() -> set[tuple[str, float]]:
    """What is in the package's folder, with the time it was changed."""
    spec = find_spec("alpaca_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    files = (each for each in root.rglob("*") if each.suffix != ".pyc")
    return {(str(each), each.stat().st_mtime) for each in files if each.is_file()}


@dataclass
class Trial:
    place: Path
    library: set[tuple[str, float]]
    kinds: dict[str, Both]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Judge by one that sees what texts are worth, leans to the first, and fails at times.

    With log probabilities and without, but in one process: the package takes long to import.
    """
    place, before = tmp_path_factory.mktemp("official"), library()
    fake = FakeJudge(WORTH, bias=0.8)

    def say(body: Json) -> Said:
        if body["model"] == "text":
            body = body | {"logprobs": False}
        if "Task 5" not in body["messages"][-1]["content"]:
            return fake.compare(body)
        return completion("It depends.", {"It": 0.9} if body.get("logprobs") else None)

    fake.say = say
    cases: dict[str, Case] = {}
    ours: dict[str, tuple[Tally, ...]] = {}
    with pytest.MonkeyPatch.context() as patch, fake.served() as uri:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(place / "hub"))
        patch.setenv("OFFICIAL_KEY", "sk-official")
        patch.setattr(official, "ITEMS", COUNT)
        for kind in KINDS:
            judge = Judge(f"{uri.replace('#judge', f'#{kind}')}?key_env=OFFICIAL_KEY")
            package = Package.find(judge, None, 4, 0)
            words = parse_template(package.words.read_text(), "theirs")
            wish, folder = Wish(both=False, template=words), run_of(place / kind)
            docket, bench = asyncio.run(
                judge_run(folder, judge, wish, concurrency=4, report=lambda *_: None)
            )
            ours[kind] = tally(docket, bench)
            cases[kind] = prepare(folder, wish, package)
        by_us, fake.bodies = fake.bodies, []
        tasks = {f"{kind} {name}": cases[kind].tasks[name] for kind in KINDS for name in NAMES}
        told = package.run(place / "both", tasks)
    by_us = [each for each in by_us if "1 + 1" not in each["messages"][-1]["content"]]
    kinds = {
        kind: Both(
            case.conclude({name: told[f"{kind} {name}"] for name in NAMES}),
            ours[kind],
            *([each for each in heard if each["model"] == kind] for heard in (fake.bodies, by_us)),
        )
        for kind, case in cases.items()
    }
    return Trial(place, before, kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_says_what_we_say(trial: Trial, kind: str) -> None:
    found = trial.kinds[kind]
    assert [each.configuration for each in found.theirs] == list(NAMES)
    for theirs, ours in zip(found.theirs, found.ours, strict=True):
        assert theirs.win_rate == pytest.approx(ours.win_rate, abs=1e-9)
        assert theirs.standard_error == pytest.approx(ours.standard_error, abs=1e-9)
        assert theirs.own == pytest.approx(ours.win_rate, abs=1e-9)
        assert theirs.items == ours.judged == theirs.own_items
        assert 0.0 < theirs.win_rate < 100.0
        assert isnan(theirs.length_controlled)
    whole, part = (each.notes[0] for each in found.theirs)
    assert "Error" in whole  # it needs a file of the hub
    assert "all 805 items" in part
    assert [each.items for each in found.theirs] == [COUNT - 1, COUNT - 2]
    grades = {each.win_rate * each.judged / 50 for each in found.ours}
    assert all(each == pytest.approx(round(each)) for each in grades) is (kind == "text")


@pytest.mark.parametrize("kind", KINDS)
def test_the_judge_hears_the_same_from_both(trial: Trial, kind: str) -> None:
    def heard(bodies: list[Json]) -> list[str]:
        # but for the wish for log probabilities that found none
        asked = (each for each in bodies if kind == "graded" or "logprobs" not in each)
        return sorted({json.dumps(each, sort_keys=True) for each in asked})

    found = trial.kinds[kind]
    assert heard(found.asked_by_them) == heard(found.asked_by_us)
    assert len(heard(found.asked_by_us)) == 2 * COUNT - 2


def test_all_that_is_written_is_in_the_run(trial: Trial) -> None:
    assert library() == trial.library
    place = trial.place / "both"
    assert (place / "log.txt").stat().st_size
    (found,) = place.glob("graded*n1")
    assert (found / "annotations.json").exists()
    assert (found / "leaderboard.csv").exists()
    for file in (file for file in trial.place.rglob("*") if file.is_file()):
        assert b"sk-official" not in file.read_bytes()


# -- without the package ------------------------------------------------------------------


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Instead of the package: it fails, and says its key."""
    calls: list[dict[str, Any]] = []

    def run(_: list[str], **more: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append(more)
        said = f"Traceback\nBoom: key {more['env']['OPENAI_API_KEY']}\n".encode()
        return subprocess.CompletedProcess([], 1, said)

    monkeypatch.setattr(official.subprocess, "run", run)
    return calls


def package_of(fake: FakeJudge, uri: str = "openai:http://127.0.0.1:9/v1#instruct") -> Package:
    return Package.find(Judge(uri, transport=fake.transport), None, 3, 0)


def test_a_failure_is_told_without_the_key(
    tmp_path: Path, ended: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFICIAL_KEY", "sk-official")
    monkeypatch.setenv("OPENAI_API_KEYS", "others")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "inside.example")
    fake = FakeJudge({"It is 2.": 1.0, "It is 3.": 0.0})
    package = package_of(fake, "openai:http://127.0.0.1:9/v1#instruct?key_env=OFFICIAL_KEY")
    with pytest.raises(DmoaError, match=r"alpaca_eval failed: Boom: key \*\*\*"):
        evaluate(run_of(tmp_path), Wish(), package)
    (call,) = ended
    env = call["env"]
    assert env["OPENAI_API_BASE"] == "http://127.0.0.1:9/v1"
    assert env["OPENAI_API_KEY"] == "sk-official"
    assert "OPENAI_API_KEYS" not in env
    assert env["NO_PROXY"] == env["no_proxy"] == "inside.example,127.0.0.1"
    assert env["PATH"] == os.environ["PATH"]
    settings = (tmp_path / "official" / NAMES[1] / "judge" / "configs.yaml").read_text()
    assert '"requires_chatml": true' in settings
    assert '"top_logprobs": 20' in settings
    assert "logprob_parser" in settings
    assert "sk-official" not in (tmp_path / "official" / "log.txt").read_text()


@pytest.mark.usefixtures("ended")
def test_a_configuration_may_be_the_reference(tmp_path: Path) -> None:
    fake = FakeJudge({"It is 2.": 1.0, "It is 3.": 0.0}, logprobs=False)
    with pytest.raises(DmoaError, match="failed"):
        evaluate(run_of(tmp_path), Wish(reference=NAMES[0]), package_of(fake))
    rows = json.loads((tmp_path / "official" / NAMES[1] / "reference.json").read_bytes())
    assert len(rows) == COUNT - 1
    assert {each["generator"] for each in rows} == {NAMES[0]}
    assert (
        "regex_parser" in (tmp_path / "official" / NAMES[1] / "judge" / "configs.yaml").read_text()
    )


def test_what_the_package_has_no_form_for_is_refused(tmp_path: Path) -> None:
    fake = FakeJudge({"It is 2.": 1.0, "It is 3.": 0.0})
    twice = tuple(Item(f"i{at}", "set", ("Same?",), reference="x") for at in range(2))
    folder = make_run(tmp_path / "twice", twice, {"local@n1": ("a", "b")})
    with pytest.raises(UsageError, match="1 stand there twice"):
        evaluate(folder, Wish(), package_of(fake))
    turns = (Item("i", "set", ("one", "two")),)
    pair = {name: (Answer("i", name, "n1", "answered", ("a", name)),) for name in NAMES}
    folder = make_run(tmp_path / "turns", turns, pair)
    with pytest.raises(UsageError, match="one turn only"):
        evaluate(folder, Wish(reference=NAMES[0]), package_of(fake))


def test_a_judge_out_of_reach_is_found_before_the_package_starts(
    tmp_path: Path, ended: list[dict[str, Any]]
) -> None:
    fake = FakeJudge({})
    fake.say = lambda _: refusal(400, "not today")
    with pytest.raises(BackendUnavailableError, match="not today"):
        evaluate(run_of(tmp_path), Wish(), package_of(fake))
    assert not ended


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="not installed") as caught:
        package_of(FakeJudge({}))
    assert caught.value.hint == "pip install 'dmoa[eval]'"
