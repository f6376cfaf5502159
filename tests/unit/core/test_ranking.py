"""Which of several proposals is the better."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.ranking import (
    agree,
    better_half,
    by_agreement,
    likeness,
    most_agreed,
    outliers,
    read_ranking,
)


def test_those_most_like_the_others_come_first() -> None:
    texts = ["it is Paris", "London, of course", "it is Paris today"]
    assert by_agreement(texts) == [0, 2, 1]
    assert most_agreed(texts) == 0


def test_marks_around_a_word_do_not_matter() -> None:
    assert likeness(["The answer is 42.", "the answer is **42**"]) == [1.0, 1.0]
    assert likeness(["4.2", "42"]) == [0.0, 0.0]


def test_what_has_no_words_is_like_itself_alone() -> None:
    assert likeness(["?", "!", "?"]) == [0.5, 0.0, 0.5]
    assert likeness(["", ""]) == [0.0, 0.0]


def test_several_that_say_the_same_agree() -> None:
    assert agree(["It is 42.", "it is 42", "It is 42"])
    assert not agree(["It is 42.", "It is 41."])
    assert not agree(["It is 42."]), "one alone agrees with nobody"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_an_order_has_every_text_once(texts: list[str]) -> None:
    order = by_agreement(texts)
    alike = likeness(texts)
    assert sorted(order) == list(range(len(texts)))
    assert [alike[index] for index in order] == sorted(alike, reverse=True)
    assert all(0.0 <= each <= 1.0 for each in alike)


@pytest.mark.parametrize(("count", "half"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_the_better_half_is_rounded_up(count: int, half: int) -> None:
    assert better_half(count) == half


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("3, 1, 2", [2, 0, 1]),
        ("2", [1, 0, 2]),
        ("Answer 2 is best, then 3, then 2 again", [1, 2, 0]),
        ("1 > 3 > 2.", [0, 2, 1]),
        ("7, 0, 3, -1", [2, 0, 1]),
        ("2.5 out of 10", None),
        ("none of them", None),
        ("12345", None),
        ("", None),
    ],
)
def test_a_ranking_is_read_or_is_none(text: str, order: list[int] | None) -> None:
    assert read_ranking(text, 3) == order


@given(st.text(alphabet="0123456789,. >-abc", max_size=40), st.integers(1, 9))
def test_whatever_is_read_ranks_every_proposal_once(text: str, count: int) -> None:
    order = read_ranking(text, count)
    assert order is None or sorted(order) == list(range(count))


@pytest.mark.parametrize(
    ("texts", "out"),
    [
        ([], []),
        (["7"], []),
        (["7", "9"], []),
        (["7", "7", "9"], [2]),
        (["9", "7", "7", "7"], [0]),
        (["7", "9"] * 2, []),
        (["7", "7", "7", "8", "9"], [3, 4]),
        (["7", "7", "6", "8", "9"], []),
        (["1", "2", "3", "4"], []),
        (["the answer is 7", "7 is the answer", "seven", "the answer, 7"], [2]),
    ],
)
def test_what_is_unlike_the_rest_is_an_outlier(texts: list[str], out: list[int]) -> None:
    assert outliers(texts) == out


@given(st.lists(st.sampled_from(["7", "7 8", "8", "9", "a b c", ""]), max_size=9))
def test_only_a_minority_is_ever_outlying(texts: list[str]) -> None:
    out = outliers(texts)
    assert 2 * len(out) < max(len(texts), 1)
    assert len(set(out)) == len(out)
