"""From a folder to values: accuracy and preferences, and nothing that is silently a win."""

from __future__ import annotations

from pathlib import Path

import pytest

from dmoa.errors import UsageError
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.records import Answer, Item, Judgement, Member, Plan
from dmoa.study.evals.scores import Measure, Run, judged_of, measures_of, reference_of
from dmoa.study.lines import Lines

NAMES = ("local@n1", "local@n2", "dmoa-m1k1")
BASE = "gpt4_1106_preview"
SUMS = tuple(
    Item(f"sum-{n}", "dmoa-tasks/arithmetic", (f"{n}+1?",), (str(n + 1),), "numeric")
    for n in range(4)
)
OPEN = tuple(
    Item(
        f"open-{n}", "helpful_base", (f"Why {n}?",), reference="So.", reference_model=BASE, index=n
    )
    for n in range(4)
)


def answer(item: Item, name: str, text: str = "Because.", **more) -> Answer:
    return Answer(item.id, name, "n1", **({"status": "answered", "outputs": (text,)} | more))


def said(item: Item, name: str, preference: float | None, **more) -> Judgement:
    usual = {
        "item": item.id,
        "configuration": name,
        "reference": BASE,
        "judge": "judge-1",
        "swapped": False,
        "draw": 0,
        "verdict": "failed" if preference is None else "judged",
        "preference": preference,
        "graded": preference is not None,
    } | more
    return Judgement(key=repr(sorted(usual.items())), **usual)


def written(place: Path, items, answers, judgements=()) -> Run:
    folder = Folder(place)
    folder.write_items(items)
    members = (Member("n1", "model-a"), Member("n2", "model-b"))
    with Lines(folder.answers_file) as log:
        log.add("plan", Plan(NAMES, members, hash_of(items), len(items), 1))
        for each in answers:
            log.add("answer", each)
    if judgements:
        with Lines(folder.judgements_file) as log:
            for each in judgements:
                log.add("judgement", each)
    return Run.read(folder)


def judged(place: Path, judgements, answers=None) -> Measure:
    answers = answers or [answer(item, name) for name in NAMES for item in OPEN]
    (found,) = measures_of(written(place, OPEN, answers, judgements))
    return found


# -- accuracy -----------------------------------------------------------------------------


def test_answers_are_scored_by_the_metric_and_missing_ones_are_wrong(tmp_path) -> None:
    run = written(
        tmp_path,
        SUMS,
        [
            answer(SUMS[0], "local@n1", "The answer is 1."),
            answer(SUMS[1], "local@n1", "7"),
            answer(SUMS[2], "local@n1", "", status="refused", http=429, outputs=()),
            answer(SUMS[3], "local@n1", "", status="expired", outputs=()),
            answer(SUMS[0], "dmoa-m1k1", "1"),
        ],
    )
    (found,) = measures_of(run)
    assert found.name == "accuracy"
    assert found.values["local@n1"] == {"sum-0": 1.0, "sum-1": 0.0, "sum-2": 0.0, "sum-3": 0.0}
    assert found.missing == {"local@n1": ["sum-2", "sum-3"]}
    assert found.values["dmoa-m1k1"] == {"sum-0": 1.0}  # what was not asked yet is no value
    assert "local@n2" not in found.values
    assert not found.doubtful
    assert found.to_judge == 0


def test_the_last_answer_of_an_item_holds(tmp_path) -> None:
    first = answer(SUMS[0], "local@n1", "", status="failed", outputs=())
    run = written(tmp_path, SUMS, [first, answer(SUMS[0], "local@n1", "1")])
    (found,) = measures_of(run)
    assert found.values["local@n1"] == {"sum-0": 1.0}
    assert not found.missing


def test_an_empty_answer_is_wrong(tmp_path) -> None:
    run = written(tmp_path, SUMS, [answer(SUMS[0], "local@n1", " ")])
    assert measures_of(run)[0].values["local@n1"] == {"sum-0": 0.0}


def test_nothing_can_be_measured_of_open_items_without_a_judge(tmp_path) -> None:
    run = written(tmp_path, OPEN, [answer(OPEN[0], "local@n1")])
    assert measures_of(run) == []
    assert run.members() == ("local@n1", "local@n2")


def test_what_a_member_costs_is_known_to_the_rivals(tmp_path) -> None:
    run = written(
        tmp_path,
        SUMS,
        [
            answer(SUMS[0], "local@n1", "1", prompt_tokens=10, completion_tokens=5),
            answer(SUMS[1], "local@n1", "2", prompt_tokens=20, completion_tokens=5),
            answer(SUMS[0], "local@n2", "1", prompt_tokens=1, completion_tokens=1),
        ],
    )
    rivals = measures_of(run)[0].rivals(run)
    assert rivals.costs == {"local@n1": 20.0, "local@n2": 2.0}
    assert rivals.best() == "local@n2"


# -- judgements ---------------------------------------------------------------------------


def test_a_preference_is_the_mean_over_draws_and_orders(tmp_path) -> None:
    name = "local@n1"
    told = [
        said(OPEN[0], name, 0.9),
        said(OPEN[0], name, 0.5, draw=1),
        said(OPEN[0], name, 0.1, swapped=True),
        said(OPEN[1], name, 0.25),
        said(OPEN[2], name, 0.75, swapped=True, draw=2),
        said(OPEN[3], name, 1.0),
    ]
    found = judged(tmp_path, told)
    assert found.values[name] == pytest.approx(
        {"open-0": 0.4, "open-1": 0.25, "open-2": 0.75, "open-3": 1.0}
    )
    assert (found.judge, found.reference, found.name) == ("judge-1", BASE, "win rate")
    assert found.graded == 1.0
    assert found.failed == 0
    assert list(found.values) == [name]  # nobody judged the others


@pytest.mark.parametrize("verdict", ["rubbish", "refused", "timeout", "failed"])
def test_what_could_not_be_judged_is_left_out_and_counted(tmp_path, verdict: str) -> None:
    name = "local@n1"
    told = [said(each, name, 0.8) for each in OPEN[:3]]
    found = judged(tmp_path, [*told, said(OPEN[3], name, None, verdict=verdict)])
    assert set(found.values[name]) == {"open-0", "open-1", "open-2"}
    assert found.unjudged == {name: ["open-3"]}
    assert found.failures == {verdict: 1}
    assert (found.failed, found.to_judge) == (1, 4)
    assert found.doubtful


def test_one_order_of_two_is_no_preference(tmp_path) -> None:
    told = [said(OPEN[0], "local@n1", 1.0), said(OPEN[0], "local@n1", None, swapped=True)]
    found = judged(tmp_path, told)
    assert "local@n1" not in found.values
    assert found.unjudged["local@n1"] == ["open-0", "open-1", "open-2", "open-3"]


def test_a_judge_that_stopped_in_the_middle_leaves_doubt(tmp_path) -> None:
    found = judged(tmp_path, [said(OPEN[0], "local@n1", 1.0)])
    assert found.values["local@n1"] == {"open-0": 1.0}
    assert found.failed == 3
    assert found.doubtful


def test_few_that_could_not_be_judged_leave_no_doubt(tmp_path) -> None:
    items = tuple(
        Item(f"i{n}", "d", ("Why?",), reference="So.", reference_model=BASE) for n in range(20)
    )
    told = [said(each, "local@n1", 0.5) for each in items[:19]]
    run = written(tmp_path, items, [answer(each, "local@n1") for each in items], told)
    (found,) = measures_of(run)
    assert found.failed == 1
    assert not found.doubtful  # 5 % is not more than 5 %


def test_an_answer_that_never_came_is_lost_whatever_was_said(tmp_path) -> None:
    answers = [answer(each, "local@n1") for each in OPEN[1:]]
    answers.append(answer(OPEN[0], "local@n1", "", status="failed", outputs=()))
    told = [said(each, "local@n1", 0.7) for each in OPEN]  # of an answer it had before, too
    found = judged(tmp_path, told, answers)
    assert found.values["local@n1"]["open-0"] == 0.0
    assert found.missing == {"local@n1": ["open-0"]}
    assert found.failed == 0


def test_an_answer_that_came_late_is_to_be_judged(tmp_path) -> None:
    told = [said(each, "local@n1", 0.7) for each in OPEN[1:]]
    lost = said(OPEN[0], "local@n1", 0.0, detail="no answer", graded=False)
    found = judged(tmp_path, [lost, *told])
    assert "open-0" not in found.values["local@n1"]
    assert found.unjudged == {"local@n1": ["open-0"]}


def test_what_a_judge_said_last_holds(tmp_path) -> None:
    first = said(OPEN[0], "local@n1", 0.0)
    found = judged(tmp_path, [first, said(OPEN[0], "local@n1", 1.0, detail="again")])
    assert found.values["local@n1"]["open-0"] == 1.0


def test_judges_and_references_are_measures_of_their_own(tmp_path) -> None:
    answers = [answer(item, name) for name in NAMES for item in OPEN]
    told = [
        said(OPEN[0], "dmoa-m1k1", 0.9),
        said(OPEN[0], "dmoa-m1k1", 0.2, judge="judge-2"),
        said(OPEN[0], "dmoa-m1k1", 0.6, reference="local@n1"),
    ]
    found = measures_of(written(tmp_path, OPEN, answers, told))
    assert [(each.judge, each.reference) for each in found] == [
        ("judge-1", BASE),
        ("judge-2", BASE),
        ("judge-1", "local@n1"),
    ]
    assert [each.values["dmoa-m1k1"]["open-0"] for each in found] == [0.9, 0.2, 0.6]


def test_a_configuration_as_reference_is_as_good_as_itself(tmp_path) -> None:
    answers = [answer(item, name, name) for name in NAMES for item in OPEN[:3]]
    answers.append(answer(OPEN[3], "dmoa-m1k1"))
    answers.append(answer(OPEN[3], "local@n1", "", status="refused", outputs=()))
    told = [said(each, "dmoa-m1k1", 0.9, reference="local@n1") for each in OPEN[:3]]
    run = written(tmp_path, OPEN, answers, told)
    (found,) = measures_of(run)
    assert found.values["local@n1"] == {"open-0": 0.5, "open-1": 0.5, "open-2": 0.5}
    assert found.unjudged == {"dmoa-m1k1": ["open-3"]}  # there was nothing to compare it with
    assert found.to_judge == 4
    assert reference_of(run, OPEN[0], "local@n1") == "local@n1"
    assert reference_of(run, OPEN[3], "local@n1") is None


def test_lengths_and_official_places_go_with_the_preferences(tmp_path) -> None:
    answers = [answer(item, "local@n1", "x" * (5 + place)) for place, item in enumerate(OPEN)]
    told = [said(OPEN[place], "local@n1", 0.5 + place / 10) for place in (1, 3, 0, 2)]
    run = written(tmp_path, OPEN, answers, told)
    found = judged_of(run, measures_of(run)[0], "local@n1")
    assert list(found.preferences) == pytest.approx([0.5, 0.6, 0.7, 0.8])
    assert list(found.lengths) == [5, 6, 7, 8]
    assert list(found.reference_lengths) == [3] * 4
    assert list(found.indices) == [0, 1, 2, 3]


def test_items_with_answers_are_not_the_judges_business(tmp_path) -> None:
    items = (*SUMS[:2], *OPEN[:2])
    answers = [answer(each, "local@n1", "1") for each in items]
    run = written(tmp_path, items, answers, [said(each, "local@n1", 0.5) for each in OPEN[:2]])
    scored, found = measures_of(run)
    assert [each.id for each in scored.items] == ["sum-0", "sum-1"]
    assert [each.id for each in found.items] == ["open-0", "open-1"]
    assert found.failed == 0


def test_a_folder_that_is_none(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        Run.read(Folder(tmp_path / "none"))
