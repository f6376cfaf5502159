"""What a judge said of a run, summed up: wins, failures, flips, and which way it leans."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, nan

import numpy as np

from dmoa.study.evals.docket import NO_ANSWER, SAME_TEXT, Docket, Question
from dmoa.study.evals.judging import Bench
from dmoa.study.evals.opinion import LONE
from dmoa.study.evals.records import Judgement
from dmoa.study.evals.winrate import win_rate_of

UNJUDGED_MAX = 0.05
"""Share of the items that may be without a judgement; with more a win rate says too little."""
_HALF = 0.5
_FEW = 3
"""Items below which nothing is said of a correlation."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The judgements of one configuration; nan where nothing can be said.

    `items` were answered, well or not, and of them `judged` in each order that was wanted; only
    these are in `win_rate` and its `standard_error` (percent). `no_answer` items lost and
    `same_text` items were a draw without a judge; `unreferenced` ones had nothing to be compared
    with. `verdicts` counts judgements, `flips` the items, of `pairs` in both orders, in which
    the judge preferred the first answer twice, or the second. `first` is its mean preference for
    what stood first, `length` the correlation of its preference with how much longer an answer
    was than the reference. `graded` is the share that log probabilities made, `lone` that in which
    only one identifier was among these. Tokens are sums.
    """

    configuration: str
    items: int
    judged: int
    unreferenced: int
    unasked: int
    no_answer: int
    same_text: int
    cut: int
    win_rate: float
    standard_error: float
    verdicts: dict[str, int]
    pairs: int
    flips: int
    first: float
    length: float
    graded: float
    lone: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def unjudged(self) -> float:
        """The share of the items without a judgement."""
        return (self.items - self.judged) / self.items if self.items else 0.0


@dataclass(frozen=True, slots=True)
class _Heard:
    """A question, and what was said of it; None where it was not asked."""

    question: Question
    judgement: Judgement | None

    @property
    def preference(self) -> float | None:
        return None if self.judgement is None else self.judgement.preference


def tally(docket: Docket, bench: Bench) -> tuple[Tally, ...]:
    """Sum up what was said, for each configuration."""
    heard: dict[str, dict[str, list[_Heard]]] = {name: {} for name in docket.answers}
    for each in docket.questions:
        items = heard[each.configuration]
        items.setdefault(each.item, []).append(_Heard(each, bench.found.get(each.key)))
    return tuple(_tally(name, items, docket) for name, items in heard.items())


def _tally(name: str, items: dict[str, list[_Heard]], docket: Docket) -> Tally:
    preferences: list[float] = []
    lengths: list[tuple[float, int]] = []
    pairs = flips = 0
    for about in items.values():
        orders = _orders(about)
        if orders is None:
            continue
        preference = fsum(orders.values()) / len(orders)
        preferences.append(preference)
        if about[0].question.settled:
            continue
        lengths.append((preference, about[0].question.longer))
        if len(orders) > 1:
            pairs += 1
            flips += (orders[False] - _HALF) * (orders[True] - _HALF) < 0.0
    asked = [each for about in items.values() for each in about if not each.question.settled]
    said = [each.judgement for each in asked if each.judgement is not None]
    settled = Counter(about[0].question.settled for about in items.values())
    rate = win_rate_of(preferences)
    judged = [each for each in said if each.verdict == "judged"]
    return Tally(
        configuration=name,
        items=docket.answers[name],
        judged=len(preferences),
        unreferenced=docket.unreferenced[name],
        unasked=docket.unasked[name],
        no_answer=settled[NO_ANSWER],
        same_text=settled[SAME_TEXT],
        cut=sum(any(each.question.is_cut for each in about) for about in items.values()),
        win_rate=rate.win_rate,
        standard_error=rate.standard_error,
        verdicts=dict(Counter(each.verdict for each in said)),
        pairs=pairs,
        flips=flips,
        first=_mean([_first(each) for each in judged]),
        length=_correlation(lengths),
        graded=_mean([float(each.graded) for each in judged]),
        lone=_mean([float(each.detail == LONE) for each in judged]),
        prompt_tokens=sum(each.prompt_tokens for each in said),
        completion_tokens=sum(each.completion_tokens for each in said),
    )


def _orders(about: Sequence[_Heard]) -> dict[bool, float] | None:
    """Give the mean preference in each order; None where one of them was not judged."""
    found: dict[bool, list[float]] = defaultdict(list)
    for each in about:
        preferences = found[each.question.swapped]
        if each.preference is not None:
            preferences.append(each.preference)
    if not all(found.values()):
        return None
    return {swapped: fsum(each) / len(each) for swapped, each in found.items()}


def _first(of: Judgement) -> float:
    """Tell how much what stood first was preferred."""
    assert of.preference is not None, "it was judged"
    return 1.0 - of.preference if of.swapped else of.preference


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values) if values else nan


def _correlation(pairs: Sequence[tuple[float, int]]) -> float:
    """Correlate preferences with lengths; nan where either does not vary."""
    if len(pairs) < _FEW:
        return nan
    values = np.asarray(pairs, dtype=np.float64)
    values -= values.mean(axis=0)
    spread = np.sqrt((values**2).sum(axis=0))
    if not spread.all():
        return nan
    return float((values[:, 0] * values[:, 1]).sum() / (spread[0] * spread[1]))
