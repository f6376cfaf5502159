"""Our own tasks: their answers worked out again by other means, and none of them moves."""

from __future__ import annotations

import re
from calendar import isleap
from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.errors import UsageError
from dmoa.study.evals.folder import hash_of
from dmoa.study.evals.metrics import score
from dmoa.study.evals.records import Item
from dmoa.study.evals.tasks import KINDS, TASKS_VERSION, tasks
from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.words import GROUPS

ALL = tasks()
NUMBER = r"-?\d+(?:\.\d+)?"


def of(kind: str, begin: str = "") -> list[Item]:
    found = [each for each in ALL if each.dataset.endswith(f"/{kind}")]
    found = [each for each in found if re.search(begin, each.instruction)]
    assert found, (kind, begin)
    return found


def numbers(text: str) -> list[str]:
    return re.findall(NUMBER, text)


def listed(item: Item) -> list[str]:
    text = re.split(r": ", item.instruction, maxsplit=1)[1]
    return re.split(r"[.?] Answer", text)[0].split(", ")


def answer(item: Item) -> str:
    return item.answers[0]


# -- the set ----------------------------------------------------------------------------


def test_the_set_never_changes_without_a_new_version() -> None:
    """Whoever changes a question must raise `TASKS_VERSION`: results do not compare any more."""
    assert (TASKS_VERSION, len(ALL), hash_of(ALL)) == (1, 382, "f12bc748bb30e332")


def test_ids_and_questions_are_unique_and_well_formed() -> None:
    assert max(Counter(each.id for each in ALL).values()) == 1
    assert max(Counter(each.instruction for each in ALL).values()) == 1
    for each in ALL:
        kind = each.dataset.removeprefix("dmoa-tasks/")
        assert kind in KINDS
        assert re.fullmatch(rf"{kind}-\d{{3}}", each.id)
        assert each.metric
        assert len(each.turns) == 1
        assert " Answer with " in each.instruction


def test_every_answer_is_right_and_repeating_the_question_never_is() -> None:
    for each in ALL:
        for right in each.answers:
            assert score(each, right) == 1.0, each
            assert score(each, f"The answer is **{right}**.") == 1.0, each
        assert score(each, each.instruction) == 0.0, each
        assert score(each, "") == 0.0, each


SAYINGS = (
    "{right}",
    "Sure! Here it is: **{right}**",
    "The answer is not {wrong}, it is {right}.",
    "Some might say {wrong}, but the answer is {right}.",
    "Step 1: consider {wrong}.\nStep 2: that cannot be.\n\n**Answer:** {right} (checked)",
    "{right}, not {wrong}",
)


@pytest.mark.parametrize("saying", SAYINGS)
def test_right_answers_are_told_from_wrong_ones_beside_them(saying: str) -> None:
    for kind in KINDS:
        items = of(kind)
        for item, other in pairwise(items):
            if item.metric == other.metric and not set(item.answers) & set(other.answers):
                said = saying.format(right=item.answers[0], wrong=other.answers[0])
                assert (score(item, said), score(other, said)) == (1.0, 0.0), (said, item)


def test_no_single_answer_is_right_for_many() -> None:
    """Whoever always says the same gains nothing; but few letters, counts and days there are."""
    for kind in KINDS:
        items = of(kind)
        said = Counter(each.casefold() for item in items for each in set(item.answers))
        assert max(said.values()) / len(items) < 0.15, (kind, said.most_common(2))


@given(st.integers(1, 400), st.integers(1, 400), st.sets(st.sampled_from(KINDS), min_size=1))
def test_a_limit_takes_the_first_of_a_fair_mixture(few: int, many: int, kinds: set[str]) -> None:
    few, many = sorted((few, many))
    some = tasks(sorted(kinds), limit=few)
    assert some == tasks(sorted(kinds), limit=many)[:few]
    whole = tasks(sorted(kinds))
    assert [each for each in ALL if each in whole] == list(whole)
    for kind in kinds:
        share = sum(each.dataset.endswith(f"/{kind}") for each in some) / len(some)
        fair = len(of(kind)) / len(whole)
        assert abs(share - fair) * len(some) <= 1.0


def test_levels_of_a_kind_are_spread_over_its_items() -> None:
    ids = [int(each.id[-3:]) for each in of("arithmetic")]
    assert ids == sorted(ids)


@pytest.mark.parametrize(("kinds", "limit"), [(("sums",), None), ((), None), (KINDS, 0)])
def test_what_there_is_none_of_is_refused(kinds: tuple[str, ...], limit: int | None) -> None:
    with pytest.raises(UsageError) as caught:
        tasks(kinds, limit=limit)
    assert caught.value.hint


@given(st.text(max_size=9), st.integers(1, 50))
def test_dice_repeat_themselves_and_stay_within_bounds(name: str, end: int) -> None:
    first, second = Dice(name), Dice(name)
    throws = [first.below(end) for _ in range(20)]
    assert throws == [second.below(end) for _ in range(20)]
    assert all(0 <= each < end for each in throws)
    assert sorted(first.shuffled(range(end))) == list(range(end))
    assert len(set(first.different(1, end, end))) == end


def test_dice_are_fair() -> None:
    dice = Dice("fair")
    counts = Counter(dice.below(6) for _ in range(6_000))
    assert all(abs(each - 1_000) < 150 for each in counts.values())


# -- each kind again, by other means ----------------------------------------------------


def test_bare_arithmetic() -> None:
    found = 0
    for each in of("arithmetic"):
        text = each.instruction.replace("divided by", "/")
        if match := re.search(r"(?:What is|Work out) ([-+*/() \d]+?)[?.] ", text):
            found += 1
            assert eval(match[1]) == int(answer(each)), text  # noqa: S307
    assert found >= 36


def test_sequences_and_stories() -> None:
    for each in of("arithmetic", "comes next"):
        first, *_, before, last = [int(number) for number in numbers(each.instruction)]
        assert int(answer(each)) == last + (last - first) // 3 == last + (last - before)
    for each in of("arithmetic", "gives away"):
        start, lost, gained = map(int, numbers(each.instruction))
        assert int(answer(each)) == start - lost + gained > 0
    for each in of("arithmetic", "boxes"):
        boxes, inside, loose = map(int, numbers(each.instruction))
        assert int(answer(each)) == sum([inside] * boxes, loose)
    for each in of("arithmetic", "percent"):
        price, count, off = map(int, numbers(each.instruction))
        assert float(answer(each)) == pytest.approx(price * count * (1 - off / 100))


def test_sorting() -> None:
    for each in of("sorting"):
        given, right = listed(each), answer(each).split(", ")
        key = float if "numbers" in each.instruction else str
        falling = "reverse" in each.instruction or "largest to smallest" in each.instruction
        assert right == sorted(given, key=key, reverse=falling)
        assert right != given
        assert len(set(map(key, given))) == len(given) >= 3


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
A_MONDAY = date(2024, 1, 1)


def day_of(text: str) -> date:
    return datetime.strptime(text, "%d %B %Y").date()  # noqa: DTZ007


def test_weekdays() -> None:
    for each in of("dates", "day of the week"):
        today = DAYS.index(re.search(r"Today is (\w+)", each.instruction)[1])
        days = int(numbers(each.instruction)[0])
        then = A_MONDAY + timedelta(today) + timedelta(-days if "ago" in each.instruction else days)
        assert answer(each) == DAYS[then.weekday()] != DAYS[today]


def test_months() -> None:
    for each in of("dates", "^Which month"):
        match = re.search(r"is (\d+) months? (after|before) (\w+)", each.instruction)
        month = day_of(f"1 {match[3]} 2023").month - 1
        step = int(match[1]) if match[2] == "after" else -int(match[1])
        assert answer(each) == date(2023, (month + step) % 12 + 1, 1).strftime("%B")
    for each in of("dates", "whole month"):
        month = re.search(r"month of (\w+)", each.instruction)[1]
        first = day_of(f"1 {month} 2023")
        days = ((first + timedelta(31)).replace(day=1) - first).days
        assert int(answer(each)) == days + 7 * int(numbers(each.instruction)[0])


def test_days_between_and_after() -> None:
    for each in of("dates", "How many days is it from"):
        start, end = re.search(r"from (.*) to (.*?)\?", each.instruction).groups()
        assert int(answer(each)) == (day_of(end) - day_of(start)).days
    for each in of("dates", "^Which date"):
        days, start = re.search(r"is (\d+) days after (.*?)\?", each.instruction).groups()
        end = day_of(start) + timedelta(int(days))
        assert end == day_of(each.answers[0]) == date.fromisoformat(each.answers[2])
        assert score(each, f"{end:%B} {end.day}, {end.year}") == 1.0


def test_leap_years_and_clocks() -> None:
    for each in of("dates", "leap year"):
        assert [year for year in listed(each) if isleap(int(year))] == list(each.answers)
    for each in of("dates", "train"):
        clock, lasts = re.search(r"at (\S+) and travels for (\d+)", each.instruction).groups()
        start = datetime.strptime(clock, "%H:%M")  # noqa: DTZ007
        assert answer(each) == (start + timedelta(minutes=int(lasts))).strftime("%H:%M")


def quoted(item: Item) -> list[str]:
    return re.findall(r'"(.*?)"', item.instruction)


def test_strings() -> None:
    for each in of("strings", "backwards"):
        assert answer(each) == "".join(reversed(quoted(each)[0])) != quoted(each)[0]
    for each in of("strings", "How many times"):
        letter, text = quoted(each)
        assert int(answer(each)) == len(re.findall(letter, text)) >= 1
    for each in of("strings", "How many words"):
        assert int(answer(each)) == quoted(each)[0].count(" ") + 1
    for each in of("strings", "Join the first"):
        assert answer(each) == "".join(re.findall(r"\b\w", quoted(each)[0])).upper()
    for each in of("strings", "without the vowels"):
        assert answer(each) == re.sub("[aeiou]", "", quoted(each)[0])
    for each in of("strings", "letter of the word"):
        place = re.search(r"the (\w+) letter of", each.instruction)[1]
        order = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]
        at = -1 if place == "last" else order.index(place)
        assert answer(each) == quoted(each)[0][at]


def test_comparisons() -> None:
    for each in of("comparison", ": "):
        given, right = listed(each), answer(each)
        assert len(set(given)) == len(given) == 4
        assert right in given
        if "second largest" in each.instruction:
            assert sum(float(other) > float(right) for other in given) == 1
        elif "largest" in each.instruction:
            assert all(float(right) >= float(other) for other in given)
        elif "smallest" in each.instruction:
            assert [other for other in given if float(other) <= float(right)] == [right]
        elif "most letters" in each.instruction:
            assert [other for other in given if len(other) >= len(right)] == [right]
        elif "alphabet" in each.instruction:
            assert right == sorted(given)[0 if "first" in each.instruction else -1]
        else:
            group = {word: name for name, words in GROUPS.items() for word in words}
            kinds = Counter(group[word] for word in given)
            assert kinds[group[right]] == 1
            assert sorted(kinds.values()) in ([1, 3], [1, 1, 1, 1])


def test_no_word_is_in_two_groups() -> None:
    words = [word for group in GROUPS.values() for word in group]
    assert len(set(words)) == len(words)


def test_facts_name_no_answer_in_the_question() -> None:
    """A symbol of one letter stands in questions by chance; those are compared by `exact`."""
    for each in of("facts"):
        if each.metric == "contains":
            assert not any(
                re.search(rf"\b{re.escape(right)}\b", each.instruction, re.IGNORECASE)
                for right in each.answers
            ), each
