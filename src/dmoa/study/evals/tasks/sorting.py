"""Numbers and words to be put in order."""

from __future__ import annotations

from collections.abc import Sequence

from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import Question
from dmoa.study.evals.tasks.words import GROUPS, LONG, LONGEST

_WORDS = tuple(word for words in GROUPS.values() for word in words if word.islower())


def make(number: int, dice: Dice) -> Question:
    """Make question `number` (from 0): the levels take turns."""
    return _LEVELS[number % len(_LEVELS)](dice)


def _ask(what: str, how: str, given: Sequence[str], right: Sequence[str]) -> Question:
    return Question(
        f"Sort these {what} {how}: {', '.join(given)}. "
        f"Answer with the sorted {what} only, separated by commas.",
        (", ".join(right),),
        "exact",
    )


def _unsorted(dice: Dice, right: Sequence[str]) -> list[str]:
    """Mix what is sorted; whoever only repeats the question must not be right."""
    while True:
        given = dice.shuffled(right)
        if given != list(right):
            return given


def _numbers(dice: Dice, count: int, low: int, high: int, *, falling: bool = False) -> Question:
    right = [str(each) for each in sorted(dice.different(low, high, count), reverse=falling)]
    how = "from largest to smallest" if falling else "from smallest to largest"
    return _ask("numbers", how, _unsorted(dice, right), right)


def _three_numbers(dice: Dice) -> Question:
    return _numbers(dice, 3, 1, 20)


def _three_words(dice: Dice) -> Question:
    right = sorted(dice.few(_WORDS, 3))
    return _ask("words", "alphabetically", _unsorted(dice, right), right)


def _five_numbers(dice: Dice) -> Question:
    return _numbers(dice, 5, 10, 99)


def _falling(dice: Dice) -> Question:
    return _numbers(dice, 6, 100, 999, falling=True)


def _five_words(dice: Dice) -> Question:
    right = sorted(dice.few(_WORDS, 5))
    return _ask("words", "alphabetically", _unsorted(dice, right), right)


def _signs(dice: Dice) -> Question:
    return _numbers(dice, 6, -50, 50)


def _four_numbers(dice: Dice) -> Question:
    return _numbers(dice, 4, 1, 50)


def _decimals(dice: Dice) -> Question:
    """Tenths, hundredths and thousandths side by side, whose lengths mislead."""
    whole = dice.between(1, 9)
    parts = dice.different(1, 9, 2) + dice.different(11, 99, 2) + dice.different(101, 999, 2)
    written = {f"{whole}.{part}" for part in parts if part % 10}
    right = sorted(written, key=float)
    return _ask("numbers", "from smallest to largest", _unsorted(dice, right), right)


def _eight_words(dice: Dice) -> Question:
    """Words of which some begin alike."""
    pool = (*_WORDS, *LONG, *LONGEST)
    right = sorted(dice.few(tuple(dict.fromkeys(pool)), 8))
    return _ask("words", "in reverse alphabetical order", _unsorted(dice, right), right[::-1])


def _ten_numbers(dice: Dice) -> Question:
    return _numbers(dice, 10, 1_000, 1_999)


_LEVELS = (
    _three_numbers,
    _three_words,
    _five_numbers,
    _falling,
    _five_words,
    _signs,
    _four_numbers,
    _decimals,
    _eight_words,
    _ten_numbers,
)
