"""Arithmetic of one and two steps, bare or told as a story; all answers are whole numbers."""

from __future__ import annotations

from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import Question, numeric

_NAMES = ("Ada", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas")
_THINGS = ("apples", "marbles", "stamps", "coins", "pencils", "shells", "cards", "books")


def make(number: int, dice: Dice) -> Question:
    """Make question `number` (from 0): the levels take turns."""
    return _LEVELS[number % len(_LEVELS)](dice)


def _digits(dice: Dice) -> Question:
    first, second = dice.between(1, 9), dice.between(1, 9)
    return numeric(f"What is {first} + {second}?", first + second)


def _next(dice: Dice) -> Question:
    start, step = dice.between(1, 9), dice.pick((1, 1, 2, 3, 5, 10))
    row = ", ".join(str(start + step * each) for each in range(4))
    return numeric(f"Which number comes next: {row}?", start + 4 * step)


def _sum(dice: Dice) -> Question:
    first, second = dice.between(3, 49), dice.between(3, 49)
    return numeric(f"What is {first} + {second}?", first + second)


def _story_of_change(dice: Dice) -> Question:
    name, things = dice.pick(_NAMES), dice.pick(_THINGS)
    start, lost, found = dice.between(20, 60), dice.between(3, 18), dice.between(3, 30)
    return numeric(
        f"{name} has {start} {things}, gives away {lost} of them and then finds {found} more. "
        f"How many {things} does {name} have now?",
        start - lost + found,
    )


def _difference(dice: Dice) -> Question:
    first, second = dice.between(100, 999), dice.between(100, 999)
    return numeric(f"What is {first} - {second}?", first - second)


def _two_steps(dice: Dice) -> Question:
    first, second, third = dice.between(2, 30), dice.between(2, 30), dice.between(3, 12)
    return numeric(f"Work out ({first} + {second}) * {third}.", (first + second) * third)


def _small_product(dice: Dice) -> Question:
    first, second = dice.between(3, 12), dice.between(3, 12)
    return numeric(f"What is {first} * {second}?", first * second)


def _story_of_boxes(dice: Dice) -> Question:
    name, things = dice.pick(_NAMES), dice.pick(_THINGS)
    boxes, each, loose = dice.between(4, 15), dice.between(6, 24), dice.between(3, 20)
    return numeric(
        f"{name} has {boxes} boxes with {each} {things} in each, and {loose} {things} that are "
        f"in no box. How many {things} are there in all?",
        boxes * each + loose,
    )


def _product(dice: Dice) -> Question:
    first, second = dice.between(13, 99), dice.between(13, 99)
    return numeric(f"What is {first} * {second}?", first * second)


def _quotient(dice: Dice) -> Question:
    second, answer = dice.between(3, 12), dice.between(4, 40)
    return numeric(f"What is {second * answer} divided by {second}?", answer)


def _order_of_signs(dice: Dice) -> Question:
    first, second, third = dice.between(50, 300), dice.between(11, 29), dice.between(11, 29)
    return numeric(f"Work out {first} - {second} * {third}.", first - second * third)


def _story_of_price(dice: Dice) -> Question:
    name = dice.pick(_NAMES)
    price, count, off = 20 * dice.between(2, 15), dice.between(2, 9), 5 * dice.between(1, 9)
    return numeric(
        f"A chair costs {price} euros. {name} buys {count} chairs and gets {off} percent off the "
        f"whole price. How many euros does {name} pay?",
        price * count * (100 - off) // 100,
    )


def _long_sum(dice: Dice) -> Question:
    parts = [dice.between(1_000, 9_999) for _ in range(3)]
    return numeric(f"What is {' + '.join(map(str, parts))}?", sum(parts))


def _large_product(dice: Dice) -> Question:
    first, second = dice.between(123, 987), dice.between(123, 987)
    return numeric(f"What is {first} * {second}?", first * second)


_LEVELS = (
    _digits,
    _sum,
    _story_of_change,
    _difference,
    _two_steps,
    _small_product,
    _story_of_boxes,
    _product,
    _quotient,
    _next,
    _order_of_signs,
    _story_of_price,
    _long_sum,
    _large_product,
)
