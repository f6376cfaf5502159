"""`dmoa eval score` and `dmoa eval table`: figures, forms, refusals, and the answer no."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dmoa.cli.eval_score import score, table
from dmoa.errors import UsageError
from dmoa.study.evals import hubset
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.records import Answer, Item, Judgement, Member, Plan
from dmoa.study.lines import Lines

DATA = Path(__file__).parents[2] / "../shared/data/alpaca_eval"
NAMES = ("local@n1", "dmoa-m1k1")


def call(command: Any, *args: object) -> Result:
    result = CliRunner().invoke(command, [str(each) for each in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def written(place: Path, *, unjudged: int | None = None, empty: bool = False) -> Path:
    """Write a run of 40 items: with answers, or judged but for `unjudged` of one configuration."""
    open_ = unjudged is not None or empty
    items = tuple(
        Item(f"i-{n}", "d", (f"{n}?",), reference="So.", reference_model="gpt4", index=n)
        if open_
        else Item(f"i-{n}", "d", (f"{n}?",), (str(n),), "numeric")
        for n in range(40)
    )
    folder = Folder(place)
    folder.write_items(items)
    with Lines(folder.answers_file) as log:
        plan = Plan(NAMES, (Member("n1", "model-a"),), hash_of(items), 40, 1, concurrency=2)
        log.add("plan", plan)
        for name in NAMES:
            for number, each in enumerate(items):
                right = name == "dmoa-m1k1" or number % 4 == 0
                text = str(number) if right else "-1"
                log.add("answer", Answer(each.id, name, "n1", "answered", (text,), seconds=1.5))
    if unjudged is not None:
        with Lines(folder.judgements_file) as log:
            for name in NAMES:
                for number, each in enumerate(items):
                    failed = name == "dmoa-m1k1" and number < unjudged
                    told = Judgement(
                        *(each.id, name, "gpt4", "judge-1"),
                        swapped=False,
                        draw=0,
                        verdict="rubbish" if failed else "judged",
                        key=f"{name}{number}",
                        preference=None if failed else 0.75,
                    )
                    log.add("judgement", told)
    return place


# -- score --------------------------------------------------------------------------------


def test_score_shows_accuracy_with_its_interval(tmp_path) -> None:
    result = call(score, written(tmp_path))
    assert result.exit_code == 0
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("local@n1")]
    assert "25.00 ± " in row
    assert row.endswith("40           0")
    assert "asked 2 at once" in result.stderr


def test_score_tells_programs(tmp_path) -> None:
    (found,) = json.loads(call(score, written(tmp_path), "--json").stdout)["tables"]
    assert found["rows"][1]["value"]["mean"] == 100.0
    assert found["rows"][1]["value"]["low"] < 100.0


@pytest.mark.parametrize(("unjudged", "code"), [(0, 0), (4, 0), (5, 3)])
@pytest.mark.parametrize("command", [score, table])
def test_too_much_that_could_not_be_judged_is_a_no(tmp_path, command, unjudged, code) -> None:
    result = call(command, written(tmp_path, unjudged=unjudged))
    assert result.exit_code == code
    assert ("no: 5 of 80 answers could not be judged" in result.stderr) == (code == 3)
    assert "75.0" in result.stdout  # what was judged is told all the same


def test_nothing_to_measure_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="nothing was judged") as caught:
        call(score, written(tmp_path, empty=True))
    assert caught.value.hint == "judge them first: dmoa eval judge"


def test_a_folder_that_is_none_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        call(score, tmp_path / "none")


@pytest.mark.parametrize("args", [[], ["run", "--preferences", "a.csv"]])
def test_score_wants_a_run_or_published_judgements(args: list[str]) -> None:
    with pytest.raises(UsageError, match="either"):
        call(score, *args)


def test_published_judgements_need_lengths(tmp_path) -> None:
    with pytest.raises(UsageError, match="need --lengths"):
        call(score, "--preferences", tmp_path / "a.csv")


def test_published_judgements_of_anybody(tmp_path) -> None:
    told, long = tmp_path / "told.csv", tmp_path / "long.csv"
    told.write_text("index,a,b\n" + "".join(f"{n},{n % 2},0.25\n" for n in range(10)))
    long.write_text("index,gpt4,a,b\n" + "".join(f"{n},100,{90 + n},100\n" for n in range(10)))
    result = call(score, "--preferences", told, "--lengths", long, "--reference", "gpt4", "--json")
    rows = json.loads(result.stdout)["rows"]
    assert [(each["model"], each["win_rate"], each["discrete"]) for each in rows] == [
        ("a", 50.0, 50.0),
        ("b", 25.0, 0.0),
    ]
    assert not rows[0]["length_controlled"]["regularised"]
    result = call(score, "--preferences", told, "--lengths", long, "--reference", "gpt4")
    assert "without the gamed baselines" in result.stderr


@pytest.mark.skipif(not DATA.exists(), reason="the data of AlpacaEval is not here")
def test_the_leaderboard_comes_out_of_its_judgements(tmp_path) -> None:
    told = tmp_path / "told.csv"  # two of the ten, as refits take a second each
    rows = (DATA / "board_preferences.csv").read_text().splitlines()
    keep = [rows[0].split(",").index(each) for each in ("index", "alpaca-7b", "claude-2.1")]
    told.write_text(
        "\n".join(",".join(row.split(",")[each] for each in keep) for row in rows) + "\n"
    )
    result = call(
        score,
        *("--preferences", told),
        *("--lengths", DATA / "board_lengths.csv"),
        *("--difficulty", DATA / "lc_aux.csv"),
    )
    assert result.exit_code == 0
    assert [line.split()[:2] for line in result.stdout.splitlines()[1:3]] == [
        ["alpaca-7b", "2.59"],
        ["claude-2.1", "15.73"],
    ]
    assert "25.2" in result.stdout.splitlines()[2]
    assert "not comparable" not in result.stderr


# -- table --------------------------------------------------------------------------------


def test_table_says_whether_it_pays(tmp_path) -> None:
    result = call(table, written(tmp_path))
    assert result.exit_code == 0
    assert "dmoa-m1k1: pays, +75.0 points beside the best member (local@n1)" in result.stdout
    assert "Table I of the paper" in result.stdout
    assert "29.55" in result.stdout
    assert max(map(len, result.stdout.splitlines()[:4])) <= 120


def test_table_beside_nothing_and_with_a_dear_worth(tmp_path) -> None:
    result = call(table, written(tmp_path), "--paper", "none", "--worth", "99")
    assert "the paper" not in result.stdout
    assert "dmoa-m1k1: does not pay, +75.0" in result.stdout


def test_table_tells_programs(tmp_path) -> None:
    run = written(tmp_path / "run")
    (found,) = json.loads(call(table, run, "--json").stdout)["tables"]
    assert found["rows"][1]["verdict"]["word"] == "pays"
    with pytest.raises(UsageError, match="--json goes without"):
        call(table, run, "--json", "--out", tmp_path / "t.md")


def test_difficulties_come_from_the_hub_where_asked_for(tmp_path, monkeypatch) -> None:
    file = tmp_path / "df.csv"
    file.write_text("index,instruction_difficulty\n" + "".join(f"{n},0.5\n" for n in range(40)))
    monkeypatch.setattr(hubset, "fetched", lambda what, _: {hubset.DIFFICULTIES: file}[what])
    run = written(tmp_path / "run", unjudged=0)
    assert "without the regulariser" in call(table, run, "--difficulty", "hub").stderr
    assert "without the difficulties" in call(table, run).stderr


@pytest.mark.parametrize(
    ("name", "begin"),
    [("t.md", "### Accuracy on 40"), ("t.csv", "measure,judge"), ("t.json", '{\n  "tables"')],
)
def test_tables_are_written_by_the_name_of_the_file(tmp_path, name: str, begin: str) -> None:
    run = written(tmp_path / "run")
    result = call(table, run, "--out", tmp_path / name)
    assert result.stdout == ""
    assert (tmp_path / name).read_text().startswith(begin)
    form = {"md": "markdown", "csv": "csv", "json": "json"}[name.partition(".")[2]]
    assert call(table, run, "--format", form).stdout == (tmp_path / name).read_text()


def test_files_that_cannot_be_written_are_refused(tmp_path) -> None:
    run = written(tmp_path / "run")
    with pytest.raises(UsageError, match=r"\.csv or \.json, not as"):
        call(table, run, "--out", tmp_path / "t.doc")
    with pytest.raises(UsageError, match="cannot be written"):
        call(table, run, "--out", tmp_path / "none" / "t.md")
    with pytest.raises(UsageError, match="markdown, csv and json"):
        call(table, run, "--out", tmp_path / "t.md", "--format", "terminal")
    with pytest.raises(UsageError, match="a plot is written as"):
        call(table, run, "--plot", tmp_path / "t.jpg")


def test_a_table_is_drawn(tmp_path) -> None:
    picture = tmp_path / "t.svg"
    result = call(table, written(tmp_path / "run"), "--plot", picture)
    assert f"drawn: {picture}" in result.stderr
    assert "best member alone, local@n1" in picture.read_text()
