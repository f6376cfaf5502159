"""What each kind makes: a question, what is right, and how answers are compared with it."""

from __future__ import annotations

from typing import NamedTuple

from dmoa.study.evals.records import Metric


class Question(NamedTuple):
    """A question with known answers; any of `answers` is right by `metric`."""

    text: str
    answers: tuple[str, ...]
    metric: Metric


NUMBER_ONLY = "Answer with the number only."


def numeric(text: str, answer: int) -> Question:
    """Make a question that a number answers, and that says so."""
    return Question(f"{text} {NUMBER_ONLY}", (str(answer),), "numeric")
