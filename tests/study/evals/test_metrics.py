"""Metrics of known answers: what counts as said, and what only looks like it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.study.evals.metrics import TEXT_MAX, WORDS_AT_AN_END, score
from dmoa.study.evals.records import Item, Metric


def item(metric: Metric, *answers: str, asked: str = "What is it?") -> Item:
    return Item("x-1", "x", (asked,), answers, metric)


def test_where_only_a_judge_can_tell_there_is_no_score() -> None:
    assert score(Item("x", "x", ("Write a poem.",)), "a poem") is None


@pytest.mark.parametrize("metric", ["exact", "contains", "numeric"])
@pytest.mark.parametrize(
    "output", ["", " \n", "\x00", "...", "I do not know.", "\ud800", "**", "$"]
)
def test_an_empty_answer_is_wrong(metric: Metric, output: str) -> None:
    assert score(item(metric, "12"), output) == 0.0


@pytest.mark.parametrize("metric", ["exact", "contains", "numeric"])
def test_thoughts_are_no_answer(metric: Metric) -> None:
    known = item(metric, "12")
    assert score(known, "<think>Is it 12? No, 13.</think>\n12") == 1.0
    assert score(known, "<think>The answer is 12.</think>\n13") == 0.0
    assert score(known, "<think>The answer is 12.") == 0.0
    assert score(known, "\n12</think>") == 0.0


# -- exact ------------------------------------------------------------------------------

RIGHT_WORD = (
    "tac",
    "Tac.",
    "**tac**",
    '"tac"',
    "`tac`",
    "“TAC”",
    "  tac\n\n",
    "The answer is tac.",
    "Answer: tac",
    "**Answer:** tac",
    "The final answer is: **tac**.",
    "Answer:\n\ntac\n\nI hope that this helps.",
    'The reverse of "cat" is "tac".',
    "It would be tac because the letters are c, a and t.",
    "The answer is tac. The first letter is t.",
    "Let us see: c, a, t.\n\nBackwards it is t, a, c.\n\ntac",
    "tac\n\nI wrote the letters from the last to the first.",
    "\\boxed{tac}",
    "- tac",
    "cat → tac",
    "tac is the answer.",
    "Not act; tac.",
    "Sure! Here it is: tac",
    "Sure! It is tac.",
    "tac\n\nExplanation: I did it letter by letter, and that was hard.",
    "The letters are\n\nt\n\na\n\nc\n\nSo it is tac.",
    "Answer: tac (checked)",
    "The month is tac, but it was act once.",
)
WRONG_WORD = (
    "cat",
    "tac or act",
    "The answer is not tac.",
    "The answer is cat, not tac.",
    "tac, cat, act, atc",
    "tacit",
    "t a c",
    "tac\n\nNo, the answer is act.",
    "Is it tac? It is act.",
)


@pytest.mark.parametrize("output", RIGHT_WORD)
def test_exact_finds_the_final_answer(output: str) -> None:
    assert score(item("exact", "tac"), output) == 1.0


@pytest.mark.parametrize("output", WRONG_WORD)
def test_exact_takes_nothing_but_the_final_answer(output: str) -> None:
    assert score(item("exact", "tac"), output) == 0.0


LISTS = (
    "3, 7, 19",
    "[3, 7, 19]",
    "3 7 19",
    "3,7,19",
    "3\n7\n19",
    "- 3\n- 7\n- 19",
    "1. 3\n2. 7\n3. 19",
)
LISTS += ("Sorted: 3, 7, 19.", "The sorted list is:\n\n3, 7, 19", "The numbers are 3, 7, 19.")


@pytest.mark.parametrize("output", LISTS)
def test_how_a_list_is_separated_does_not_matter(output: str) -> None:
    assert score(item("exact", "3, 7, 19"), output) == 1.0


@pytest.mark.parametrize("output", ["7, 3, 19", "3, 7", "3, 7, 19, 20", "-3, 7, 19", "3.7, 19"])
def test_the_order_and_number_of_entries_matter(output: str) -> None:
    assert score(item("exact", "3, 7, 19"), output) == 0.0


def test_the_subject_of_a_comparison_is_an_answer_and_its_object_none() -> None:
    assert score(item("exact", "9.9"), "9.9 is larger than 9.11.") == 1.0
    assert score(item("exact", "9.11"), "9.9 is larger than 9.11.") == 0.0


def test_signs_and_decimals_are_part_of_a_word() -> None:
    assert score(item("exact", "-5"), "\u22125.") == 1.0
    assert score(item("exact", "5"), "-5") == 0.0
    assert score(item("exact", ".5"), ".5") == 1.0
    assert score(item("exact", "?!"), " ?! ") == 1.0
    assert score(item("exact", "?!"), "!?") == 0.0


def test_a_time_is_one_word() -> None:
    assert score(item("exact", "18:05"), "It arrives at 18:05.") == 0.0, "three words, no `is`"
    assert score(item("exact", "18:05"), "The time of arrival is 18:05.") == 1.0
    assert score(item("exact", "18:05"), "Arrival: 18:05") == 1.0


@given(st.from_regex(r"[a-z]{1,8}( [a-z]{1,8}){0,3}", fullmatch=True))
def test_exact_is_true_of_the_answer_itself(answer: str) -> None:
    assert score(item("exact", answer), answer) == 1.0
    assert score(item("exact", answer), f"The answer is: **{answer.upper()}**.") == 1.0
    assert score(item("exact", answer), f"{answer}{answer}x") == 0.0


# -- contains ---------------------------------------------------------------------------

RIGHT_NAME = (
    "Bogotá",
    "bogota",
    "The capital is Bogotá.",
    "It is not Lima, it is Bogotá.",
    "It is not Lima but Bogotá.",
    "Bogotá, not Lima.",
    "Bogotá, Colombia",
    "**Bogotá**",
    "Bogotá (also written Bogota) lies high up in the Andes.",
    "Lima is in Peru.\n\nAnswer: Bogotá",
    "Bogotá. " + "It lies high. " * 100,
    "It lies high. " * 100 + "It is Bogotá.",
)
WRONG_NAME = (
    "Lima",
    "Bogotan",
    "It is not Bogotá.",
    "It isn't Bogotá, it's Lima.",
    "Bogotá is not the capital.",
    "Bogotá is wrong.",
    "Bogotá's neighbour Medellín",
    "It is Bogotá, but it's actually Quito.",
    "Bogotá or Lima",
    "Either Lima or Bogotá.",
    "Lima, Quito, Bogotá, Caracas",
    "Lima\nQuito\nBogotá\nCaracas",
    "1. Lima\n2. Quito\n3. Bogotá\n4. Caracas",
    "Bogotá? No.\n\nAnswer: Lima",
    "It lies high. " * 50 + "It is Bogotá. " + "It lies high. " * 50,
)


@pytest.mark.parametrize("output", RIGHT_NAME)
def test_contains_finds_a_name_that_is_meant(output: str) -> None:
    assert score(item("contains", "Bogotá"), output) == 1.0


@pytest.mark.parametrize("output", WRONG_NAME)
def test_contains_is_not_fooled(output: str) -> None:
    assert score(item("contains", "Bogotá"), output) == 0.0


def test_other_spellings_beside_the_answer_are_no_rivals() -> None:
    gas = item("contains", "carbon dioxide", "CO2")
    assert score(gas, "carbon dioxide or CO₂") == 1.0
    assert score(gas, "Carbon dioxide (CO2).") == 1.0
    assert score(gas, "carbon dioxide or oxygen") == 0.0


def test_words_of_the_question_are_no_rivals() -> None:
    asked = "Which river flows through Vienna, Budapest and Belgrade?"
    danube = item("contains", "Danube", asked=asked)
    assert score(danube, "The Danube, through Vienna, Budapest, and Belgrade.") == 1.0
    assert score(danube, "Rhine, Elbe, Danube, Oder") == 0.0


def test_repeating_a_question_that_names_the_answer_is_no_answer() -> None:
    choice = item("contains", "iron", asked="Which is heavier, iron or wood?")
    assert score(choice, "Which is heavier, iron or wood?") == 0.0
    assert score(choice, "Iron.") == 1.0


def test_text_without_spaces_between_words_is_searched_as_it_is() -> None:
    assert score(item("contains", "東京"), "答えは東京です") == 1.0
    assert score(item("contains", "東京"), "答えは京都です") == 0.0


@given(st.integers(0, 300))
def test_contains_reads_both_ends_and_no_more(place: int) -> None:
    words = ["word"] * 301
    words[place] = "Oslo"
    near = min(place, 300 - place) < WORDS_AT_AN_END
    assert score(item("contains", "Oslo"), " ".join(words)) == float(near)


# -- numeric ----------------------------------------------------------------------------

THIRTEEN = (
    "13",
    "13.",
    "13.0",
    "**13**",
    "$13",
    "13 apples",
    "thirteen",
    "It is not 12, it's 13",
    "It's 13, not 12.",
    "It's 13, not -12.",
    "The answer is 13.",
    "The answer is 13 because 6 + 7 makes that.",
    "Answer: 6 + 7 = 13",
    "The answer is 6 + 7 = 13, as 7 is 1 more than 6.",
    "6 + 7 = 13",
    "6 + 7 = 13 apples (of 2 kinds)",
    "13\n\nI added 6 and 7.",
    "13. I added 6 and 7.",
    "First 6. Then 7 more, which makes 13.",
    "\\boxed{13}",
    "so \\(x = 13\\).",
    "#### 13",
    "1. Take 6.\n2. Add 7.\n3. The sum is 13.",
    "26/2",
)
NOT_THIRTEEN = (
    "12",
    "-13",
    "1.3",
    "113",
    "13.5",
    "x13",
    "H13",
    "not 13",
    "The answer is 12, not 13.",
)
NOT_THIRTEEN += (
    "13 or 14",
    "13/2",
    "fourteen",
    "It was 13 at first, but now it is 12.",
    "13e2",
    "1,300",
)


@pytest.mark.parametrize("output", THIRTEEN)
def test_numeric_finds_the_final_number(output: str) -> None:
    assert score(item("numeric", "13"), output) == 1.0


@pytest.mark.parametrize("output", NOT_THIRTEEN)
def test_numeric_takes_no_other_number(output: str) -> None:
    assert score(item("numeric", "13"), output) == 0.0


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ("-107", "\u2212107"),
        ("-107", "777 - 884 = -107"),
        ("-107", "It is -107."),
        ("-107", "= - 107"),
        ("-107", "minus one hundred and seven"),
        ("-5", "-$5"),
        ("1234567.5", "1,234,567.5"),
        ("653048", "653 048"),
        ("653048", "653'048"),
        ("653048", "$653{,}048$"),
        ("3.5", "3,5"),
        ("3.5", "7/2"),
        ("3.5", "\\frac{7}{2}"),
        ("0.5", ".5"),
        ("1500000", "1.5e6"),
        ("21", "twenty-one"),
        ("1066", "one thousand sixty six"),
        ("3600", "3600 seconds"),
        ("5", "5th"),
        ("2", "It occurs twice."),
        ("8", "It is 10 - 2, that is 8."),
        ("1", "1"),
        ("333333.333333", "333333.3333331"),
    ],
)
def test_numbers_are_read_as_people_write_them(answer: str, output: str) -> None:
    assert score(item("numeric", answer), output) == 1.0


def test_a_number_of_the_question_is_the_answer_only_where_none_else_is() -> None:
    hours = item("numeric", "120", asked="How many minutes are there in two hours?")
    assert score(hours, "There are 120 minutes in 2 hours.") == 1.0
    assert score(hours, "There are 90 minutes in 2 hours.") == 0.0
    halves = item("numeric", "25", asked="What is 50 - 25?")
    assert score(halves, "It is 25.") == 1.0
    assert score(halves, "50 - 25 = 50") == 0.0


@given(st.integers(-(10**9), 10**9))
def test_numeric_reads_every_integer_in_every_dress(number: int) -> None:
    known = item("numeric", str(number))
    for said in (
        f"{number}",
        f"{number:,}",
        f"**{number:,}**.",
        f"The answer is: {number:,} euros.",
    ):
        assert score(known, said) == 1.0, said
        assert score(item("numeric", str(number + max(1, abs(number) // 1000))), said) == 0.0


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numeric_allows_a_millionth(number: float) -> None:
    assert score(item("numeric", f"{number:f}"), f"{number:f}") == 1.0
    if abs(number) > 1e-3:
        assert score(item("numeric", f"{number:f}"), f"{number * 1.001:f}") == 0.0


# -- whatever models say ----------------------------------------------------------------


@given(
    st.text(max_size=300), st.sampled_from(["exact", "contains", "numeric"]), st.text(max_size=9)
)
def test_every_text_has_a_score(output: str, metric: Metric, answer: str) -> None:
    assert score(item(metric, answer, asked=output[:50] or "?"), output) in (0.0, 1.0)


@pytest.mark.parametrize("metric", ["exact", "contains", "numeric"])
@pytest.mark.parametrize(
    "piece", ["1", "1,", "1 - ", "a ", "is ", "\n", "not ", "$", "(", "answer: ", "or 12 "]
)
def test_endless_repetition_takes_no_time(metric: Metric, piece: str) -> None:
    assert score(item(metric, "12"), piece * (TEXT_MAX // len(piece) + 9)) in (0.0, 1.0)
