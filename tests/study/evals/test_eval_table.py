"""The table of a run: its rows, what stands beside them, its forms and its picture."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from math import isnan
from pathlib import Path
from random import Random

import pytest

from dmoa.core.mixture import Mixture
from dmoa.study import plots
from dmoa.study.evals import picture, table_text
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.records import Answer, Item, Judgement, Member, Plan, Span
from dmoa.study.evals.scores import Run, measures_of
from dmoa.study.evals.table import Table, Terms, printed_of, table_of
from dmoa.study.lines import Lines
from dmoa.study.paper import table1, table2

KINDS = ("arithmetic", "dates")
ITEMS = tuple(
    Item(f"{kind}-{n}", f"dmoa-tasks/{kind}", (f"{n}?",), (str(n),), "numeric")
    for n in range(60)
    for kind in KINDS
)
RATES = {"local@n1": 0.2, "local@n2": 0.4, "dmoa-m1k1": 0.9, "dmoa-m1k1-self": 0.05, "dmoa": 0.4}
SOON = 1_790_000_000.0


def written(place: Path, models=("SmolLM2", "SmolLM2"), *, judged: bool = False) -> Run:
    dice, folder = Random(4), Folder(place)
    items = ITEMS
    if judged:
        items = tuple(
            Item(each.id, each.dataset, each.turns, reference="Yes.", reference_model="gpt4")
            for each in ITEMS
        )
    folder.write_items(items)
    members = tuple(Member(f"n{n}", model) for n, model in enumerate(models, 1))
    plan = Plan(tuple(RATES), members, hash_of(items), len(items), 7, rate=0.05, deadline=30.0)
    with Lines(folder.answers_file) as log:
        log.add("plan", plan)
        for name, rate in RATES.items():
            for number, item in enumerate(items):
                right = dice.random() < rate
                lost = name == "dmoa" and number < 6
                log.add(
                    "answer",
                    Answer(
                        item.id,
                        name,
                        "n1",
                        "refused" if lost else "answered",
                        () if lost else (item.turns[0][:-1] if right else "-1",),
                        seconds=2.0 if number else 50.0,
                        prompt_tokens=30,
                        completion_tokens=12,
                        jobs=1 if name.startswith("local") else 3,
                        degraded=("a",) if name == "dmoa" and number < 12 else (),
                        asked=SOON + number,
                    ),
                )
        for leg, seconds in ((1, 10.0), (2, 30.0)):
            log.add("span", Span("dmoa", "n1", leg, seconds, 20.0, 5.0))
        log.add("span", Span("dmoa", "n2", 1, 10.0, 30.0, 5.0))
    if judged:
        with Lines(folder.judgements_file) as log:
            for name, rate in RATES.items():
                for each in items:
                    value = dice.betavariate(4 * rate, 4 * (1 - rate))
                    told = Judgement(
                        *(each.id, name, "gpt4", "judge-1"),
                        swapped=False,
                        draw=0,
                        verdict="judged",
                        key=f"{name}{each.id}",
                        preference=value,
                    )
                    log.add("judgement", told)
    return Run.read(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    return written(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def table(run: Run) -> Table:
    return table_of(run, measures_of(run)[0])


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Table:
    run = written(tmp_path_factory.mktemp("judged"), judged=True)
    return table_of(run, measures_of(run)[0], Terms(refits=20))


# -- rows ---------------------------------------------------------------------------------


def test_every_member_has_a_row_and_every_mixture_a_verdict(table: Table) -> None:
    words = {each.configuration: each.verdict and each.verdict.word for each in table.rows}
    assert words == {
        "local@n1": None,
        "local@n2": None,
        "dmoa-m1k1": "pays",
        "dmoa-m1k1-self": "does not pay",
        "dmoa": "can't tell",
    }
    assert table.best is not None
    assert table.best.configuration == "local@n2"
    assert [each.model for each in table.rows] == ["SmolLM2", "SmolLM2", "", "", ""]
    assert [each.best for each in table.verdicts] == ["local@n2"] * 3


def test_a_member_that_was_not_asked_has_an_empty_row(tmp_path) -> None:
    run = written(tmp_path, ("a", "b", "c"))
    found = table_of(run, measures_of(run)[0])
    row = next(each for each in found.rows if each.configuration == "local@n3")
    assert row.is_member
    assert isnan(row.value.mean)
    assert isnan(row.cost.latency)
    assert found.paper == "diverse"
    cells = next(each for each in table_text.main_grid(found) if each[0] == "local@n3")
    assert set(cells[1:]) == {"-", "0"}
    assert "local@n3: 120 of 120 items not asked yet." in table_text.remarks(found)


def test_what_answers_took(table: Table) -> None:
    row = table.rows[-1]
    assert row.cost.counts == {"answered": 114, "refused": 6, "expired": 0, "failed": 0}
    assert row.cost.latency == row.cost.p95 == 2.0  # the slow one was refused
    assert table.rows[0].cost.latency == pytest.approx(2.4)
    assert (row.cost.prompt_tokens, row.cost.completion_tokens, row.cost.jobs) == (30, 12, 3)
    assert row.cost.degraded == pytest.approx(6 / 114)
    assert row.cost.queue == pytest.approx((40 / 40 + 30 / 10) / 2)
    assert isnan(table.rows[0].cost.queue)


def test_values_by_kind_of_task(table: Table) -> None:
    row = table.rows[2]
    assert list(row.kinds) == ["dmoa-tasks/arithmetic", "dmoa-tasks/dates"]
    mean = sum(mean * n for mean, n in row.kinds.values()) / 120
    assert mean == pytest.approx(row.value.mean)
    grid = table_text.kinds_grid(table)
    assert grid[0] == ["configuration", "arithmetic (60)", "dates (60)"]


def test_a_win_rate_is_controlled_for_length(judged: Table) -> None:
    row = judged.rows[2]
    assert row.controlled is not None
    assert not row.controlled.regularised
    assert 60 < row.controlled.win_rate < row.value.mean + 5
    told = " ".join(table_text.remarks(judged))
    assert "without the difficulties of AlpacaEval" in told
    assert "Judged by judge-1" in told
    assert table_text.title(judged) == "Win rate against gpt4 on 120 items, judged by judge-1"
    assert judged.rows[-1].verdict is not None
    assert judged.rows[-1].verdict.n == 120  # six of them were lost, as they never came


def test_a_gain_by_length_alone_is_told(judged: Table) -> None:
    def told(win_rate: float) -> str:
        row = judged.rows[2]
        assert row.controlled is not None
        fair = replace(row, controlled=replace(row.controlled, win_rate=win_rate))
        rows = [*judged.rows[:2], fair, *judged.rows[3:]]
        return " ".join(table_text.remarks(replace(judged, rows=rows)))

    best = max(row.controlled.win_rate for row in judged.rows[:2] if row.controlled)
    assert "dmoa-m1k1: the gain may be one of length" in told(best + 0.5)
    assert "one of length" not in told(best + 1.5)


def test_a_gain_that_is_not_worth_it_does_not_pay(run: Run) -> None:
    found = table_of(run, measures_of(run)[0], Terms(worth=80.0))
    assert found.rows[2].verdict is not None
    assert found.rows[2].verdict.word == "does not pay"
    assert "ruled out" in found.rows[2].verdict.words()


# -- the paper ----------------------------------------------------------------------------


def test_the_papers_figures_stand_beside_the_same_mixtures() -> None:
    solo = printed_of("local@n3", "same")
    assert solo is not None
    assert (solo.accuracy, solo.latency, solo.queue) == (21.91, 94.01, 0.60)
    three = printed_of("dmoa-m1k3@n1", "same")
    assert three is not None
    assert (three.accuracy, three.latency) == (None, 578.88)  # what is not known is not made up
    deep = printed_of("dmoa-m2k3", "diverse")
    assert deep is not None
    assert (deep.accuracy, deep.queue) == (55.55, 4.21)
    for name in ("dmoa", "dmoa-m1k2-self", "dmoa-m3k3"):
        assert printed_of(name, "same") is None
    assert printed_of("dmoa-m1k2", "none") is None
    assert len(table1.PAPER) == len(table2.PAPER) == 7
    assert Mixture(1, 2) in {each.mixture for each in table1.PAPER}


def test_which_table_stands_beside_goes_by_the_models(run: Run, table: Table) -> None:
    assert table.paper == "same"
    assert [row[0] for row in table_text.paper_grid(table)[1:]] == [
        "local@n1",
        "local@n2 *",
        "dmoa-m1k1",
    ]
    assert "Table I of the paper" in table_text.paper_title(table)
    none = table_of(run, measures_of(run)[0], Terms(paper="none"))
    assert table_text.paper_grid(none) == []


# -- forms --------------------------------------------------------------------------------


def test_markdown_has_the_rows_the_verdicts_and_the_plan(table: Table, judged: Table) -> None:
    text = table_text.markdown([table, judged])
    rows = [line for line in text.splitlines() if line.startswith("| dmoa-m1k1 |")]
    assert len(rows) == 6  # of each: the table, by kind of task, and beside the paper
    assert "- dmoa-m1k1: pays, +" in text
    assert "dmoa: 6 refused; each counts as wrong, or lost." in text
    assert "0.05 queries/s at each node, deadline 30 s on 2026-09-21" in text
    assert "Members: n1 SmolLM2, n2 SmolLM2." in text
    widths = {line.count("|") for line in text.split("\n\n")[1].splitlines()}
    assert len(widths) == 1


def test_names_cannot_break_markdown(tmp_path) -> None:
    run = written(tmp_path, ("a|b*c", "<script>"))
    text = table_text.markdown([table_of(run, measures_of(run)[0])])
    assert "a\\|b\\*c" in text
    assert "\\<script>" in text


def test_csv_has_a_row_per_configuration(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(table_text.comma_separated([table]))))
    assert [each["configuration"] for each in rows] == list(RATES)
    assert float(rows[2]["value_mean"]) == pytest.approx(table.rows[2].value.mean)
    assert rows[2]["verdict_word"] == "pays"
    assert rows[0]["verdict_word"] == ""
    assert rows[0]["cost_queue"] == ""
    assert rows[2]["printed_accuracy"] == "29.55"


def test_json_has_all_of_it_and_nothing_json_has_not(judged: Table) -> None:
    text = json.dumps(table_text.as_dict([judged]), allow_nan=False)
    (found,) = json.loads(text)["tables"]
    assert found["measure"] == "win rate"
    assert found["best"] == "local@n2"
    assert found["rows"][2]["verdict"]["word"] == "pays"
    assert found["rows"][2]["verdict"]["words"].startswith("dmoa-m1k1: pays")
    assert found["rows"][0]["cost"]["queue"] is None
    assert found["rows"][2]["length_controlled"]["win_rate"] > 60
    assert found["plan"]["members"][0] == {"node": "n1", "model": "SmolLM2"}
    assert found["unjudged"] == 0


# -- the picture --------------------------------------------------------------------------


def test_a_picture_has_every_configuration_and_the_level_to_pass(table: Table) -> None:
    (panel,) = picture.panels([table])
    labels = [each.label for each in panel.series]
    assert labels == [
        "other members alone",
        "best member alone, local@n2",
        "dmoa-m1k1",
        "dmoa-m1k1-self",
        "dmoa",
    ]
    assert all(each.points for each in panel.series)
    assert table.best is not None
    assert [each.at for each in panel.marks] == [table.best.value.mean]


def test_pictures_are_drawn(table: Table, judged: Table, tmp_path) -> None:
    file = tmp_path / "table.svg"
    plots.lines(picture.panels([table, judged]), file, columns=2)
    assert "best member" in file.read_text()
    assert picture.panels([]) == []
