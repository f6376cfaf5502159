"""Days of the week, dates and times of day."""

from __future__ import annotations

from calendar import isleap
from datetime import date, timedelta

from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import Question, numeric

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTES = 24 * 60


def make(number: int, dice: Dice) -> Question:
    """Make question `number` (from 0): the levels take turns."""
    return _LEVELS[number % len(_LEVELS)](dice)


def spelled(day: date) -> str:
    """Write a date as in `4 July 1987`; `strftime` would heed the locale."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def _weekday(dice: Dice, low: int, high: int, *, past: bool = False) -> Question:
    start, days = dice.below(7), dice.between(low, high)
    if days % 7 == 0:  # whoever only repeats the day of the question must not be right
        days += 1
    when = f"was it {days} days ago" if past else f"will it be in {days} days"
    answer = DAYS[(start - days if past else start + days) % 7]
    return Question(
        f"Today is {DAYS[start]}. Which day of the week {when}? "
        "Answer with the name of the day only.",
        (answer,),
        "exact",
    )


def _soon(dice: Dice) -> Question:
    return _weekday(dice, 2, 4)


def _later(dice: Dice) -> Question:
    return _weekday(dice, 9, 30)


def _far(dice: Dice) -> Question:
    return _weekday(dice, 100, 400)


def _ago(dice: Dice) -> Question:
    return _weekday(dice, 3, 20, past=True)


def _neighbour(dice: Dice) -> Question:
    month, step = dice.below(12), dice.pick((1, 2, 5, -1, -2))
    side = "after" if step > 0 else "before"
    months = "1 month" if abs(step) == 1 else f"{abs(step)} months"
    return Question(
        f"Which month is {months} {side} {MONTHS[month]}? Answer with the name of the month only.",
        (MONTHS[(month + step) % 12],),
        "exact",
    )


def _between(dice: Dice) -> Question:
    start = date(dice.between(1950, 2030), dice.between(1, 12), dice.between(1, 28))
    days = dice.between(20, 300)
    return numeric(
        f"How many days is it from {spelled(start)} to {spelled(start + timedelta(days))}? "
        "Do not count the first day.",
        days,
    )


def _after(dice: Dice) -> Question:
    start = date(dice.between(1950, 2030), dice.between(1, 12), dice.between(15, 28))
    end = start + timedelta(dice.between(10, 40))
    month = MONTHS[end.month - 1]
    ways = (spelled(end), f"{month} {end.day} {end.year}", end.isoformat())
    return Question(
        f"Which date is {(end - start).days} days after {spelled(start)}? "
        "Answer with the date only, written like 4 July 1987.",
        ways,
        "exact",
    )


def _leap(dice: Dice) -> Question:
    """One leap year among years that look like some, at times a century."""
    leap = dice.pick([each for each in range(1904, 2100) if isleap(each)])
    others = dice.few((1700, 1800, 1900, 2100, 2200, 2300), 1)
    others += dice.few([each for each in range(1901, 2100) if each % 4 == 2], 1)  # noqa: PLR2004
    others += dice.few([each for each in range(1901, 2100) if each % 2 == 1], 1)
    years = ", ".join(map(str, dice.shuffled([leap, *others])))
    return Question(
        f"Which of these years is a leap year: {years}? Answer with the year only.",
        (str(leap),),
        "exact",
    )


def _weeks(dice: Dice) -> Question:
    month, weeks = dice.pick([each for each in range(12) if MONTHS[each] != "February"]), 2
    weeks += dice.below(6)
    return numeric(
        f"How many days are {weeks} weeks and the whole month of {MONTHS[month]} together?",
        7 * weeks + _LENGTHS[month],
    )


def _clock(dice: Dice) -> Question:
    start, lasts = dice.below(_MINUTES // 5) * 5, dice.between(5, 50) * 5
    hours, minutes = divmod((start + lasts) % _MINUTES, 60)
    return Question(
        f"A train leaves at {start // 60:02}:{start % 60:02} and travels for {lasts} minutes. "
        "When does it arrive? Answer with the time only, written like 07:45.",
        tuple(dict.fromkeys((f"{hours:02}:{minutes:02}", f"{hours}:{minutes:02}"))),
        "exact",
    )


_LEVELS = (
    _soon,
    _between,
    _neighbour,
    _later,
    _clock,
    _leap,
    _ago,
    _after,
    _weeks,
    _far,
)
