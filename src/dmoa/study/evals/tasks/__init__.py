"""Our own questions with known answers, for a verdict without a judge and without a network.

A pure function: the same questions on every machine and Python, so that results can be compared
as long as `TASKS_VERSION` is the same. All of it is written or made here; nothing is taken from
a published set, so that no model has been trained on it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache

from dmoa.errors import UsageError
from dmoa.study.evals.records import Item
from dmoa.study.evals.tasks import arithmetic, comparison, dates, facts, sorting, strings
from dmoa.study.evals.tasks.dice import Dice
from dmoa.study.evals.tasks.question import Question

TASKS_VERSION = 1
"""Of the questions, answers and metrics; it grows with any change by which results differ."""
DATASET = "dmoa-tasks"
"""Begins the names of the datasets; the kind follows."""

_MAKERS: dict[str, tuple[int, Callable[[int, Dice], Question]]] = {
    "arithmetic": (56, arithmetic.make),
    "sorting": (50, sorting.make),
    "dates": (50, dates.make),
    "strings": (60, strings.make),
    "facts": (facts.COUNT, facts.make),
    "comparison": (48, comparison.make),
}
KINDS = tuple(_MAKERS)
"""Of questions."""


def tasks(kinds: Sequence[str] = KINDS, *, limit: int | None = None) -> tuple[Item, ...]:
    """Make the questions of some kinds, or the first `limit` of them.

    The kinds are mixed, each spread evenly over all, and so are the levels within a kind: any
    beginning has of every kind its share, to within one question. So `tasks(limit=100)` is
    `tasks(limit=200)[:100]`, and fewer kinds leave the others' items and order as they are.
    UsageError for an unknown kind, none, or a limit below 1.
    """
    for kind in kinds:
        if kind not in _MAKERS:
            raise UsageError(
                f"there are no tasks of the kind {kind[:40]!r}", hint=f"kinds: {', '.join(KINDS)}"
            )
    if not kinds or (limit is not None and limit < 1):
        raise UsageError(
            "tasks of no kind are none" if not kinds else f"{limit} tasks cannot be asked",
            hint=f"kinds: {', '.join(KINDS)}" if not kinds else "ask 1 or more",
        )
    places = [
        (Fraction(2 * number + 1, 2 * count), KINDS.index(kind), number, item)
        for kind, (count, _) in _MAKERS.items()
        if kind in kinds
        for number, item in enumerate(_items(kind))
    ]
    return tuple(item for *_, item in sorted(places, key=lambda each: each[:3]))[:limit]


@cache
def _items(kind: str) -> tuple[Item, ...]:
    """Make all items of a kind; one that was there already is thrown anew."""
    count, make = _MAKERS[kind]
    found: dict[str, Item] = {}
    for number in range(count):
        again = 0
        while True:
            question = make(number, Dice(f"{kind}/{number}/{again}"))
            if question.text not in found:
                break
            again += 1
        found[question.text] = Item(
            id=f"{kind}-{number + 1:03}",
            dataset=f"{DATASET}/{kind}",
            turns=(question.text,),
            answers=question.answers,
            metric=question.metric,
        )
    return tuple(found.values())
