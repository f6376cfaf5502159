"""One of four: the odd one out, the largest, the longest, the first in the alphabet; opposites."""

from __future__ import annotations

from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import Question
from dmoa.study.evals.tasks.words import GROUPS, OPPOSITES

_WORDS = tuple(word for words in GROUPS.values() for word in words if word.islower())
_FOUR = 4


def make(number: int, dice: Dice) -> Question:
    """Make question `number` (from 0): the levels take turns."""
    return _LEVELS[number % len(_LEVELS)](dice)


def _ask(text: str, choices: list[str], right: str, what: str) -> Question:
    return Question(
        f"{text}: {', '.join(choices)}? Answer with the {what} only.", (right,), "exact"
    )


def _odd(dice: Dice) -> Question:
    most, other = dice.few(sorted(GROUPS), 2)
    right = dice.pick(GROUPS[other])
    choices = dice.shuffled([*dice.few(GROUPS[most], 3), right])
    return _ask("Which of these does not belong with the others", choices, right, "word")


def _member(dice: Dice) -> Question:
    """Ask for the one that is of a kind, among three kinds that it is not."""
    groups = dice.few([each for each in sorted(GROUPS) if each != "body"], _FOUR)
    choices = [dice.pick(GROUPS[each]) for each in groups]
    kind = {"clothing": "a piece of clothing", "weather": "a kind of weather"}
    kind |= {"furniture": "a piece of furniture", "animal": "an animal"}
    kind |= {"instrument": "a musical instrument"}
    what = kind.get(groups[0], f"a {groups[0]}")
    return _ask(f"Which of these is {what}", dice.shuffled(choices), choices[0], "word")


def _largest(dice: Dice) -> Question:
    numbers = dice.different(100, 999, _FOUR)
    choices = [str(each) for each in numbers]
    return _ask("Which number is the largest", choices, str(max(numbers)), "number")


def _smallest_decimal(dice: Dice) -> Question:
    """Decimals whose lengths mislead, of which the smallest is not always the shortest."""
    whole = dice.between(1, 9)
    parts = dice.different(2, 9, 2) + dice.different(12, 99, 1) + dice.different(101, 999, 1)
    choices = dice.shuffled([f"{whole}.{each + (each % 10 == 0)}" for each in parts])
    right = min(choices, key=float)
    return _ask("Which number is the smallest", choices, right, "number")


def _second(dice: Dice) -> Question:
    numbers = dice.different(-60, 60, _FOUR)
    right = sorted(numbers)[-2]
    choices = [str(each) for each in numbers]
    return _ask("Which number is the second largest", choices, str(right), "number")


def _longest(dice: Dice) -> Question:
    while True:
        choices = dice.few(_WORDS, _FOUR)
        *_, before, right = sorted(choices, key=len)
        if len(right) > len(before):
            return _ask("Which word has the most letters", choices, right, "word")


def _alphabet(dice: Dice) -> Question:
    choices = dice.few(_WORDS, _FOUR)
    first = dice.below(2) == 0
    right = min(choices) if first else max(choices)
    place = "first" if first else "last"
    return _ask(f"Which word comes {place} in the alphabet", choices, right, "word")


def _opposite(dice: Dice) -> Question:
    word = dice.pick(list(OPPOSITES))
    return Question(
        f'What is the opposite of "{word}"? Answer with one word only.',
        tuple(OPPOSITES[word].split("|")),
        "contains",
    )


_LEVELS = (
    _odd,
    _second,
    _largest,
    _opposite,
    _alphabet,
    _member,
    _smallest_decimal,
    _longest,
)
