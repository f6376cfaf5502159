"""From the folder of a run to what each answer is worth, item by item.

Items with a metric have an accuracy, judged ones the preference of a judge over a reference:
each judge and reference is a measure of its own. An answer that never came counts as wrong, or
lost, and is counted apart; one that could not be judged is left out, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from typing import TypeVar

from dmoa.study.evals.docket import BASELINE, NO_ANSWER, SAME_TEXT, text_of
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.metrics import score
from dmoa.study.evals.records import Answer, Item, Judgement, Plan, Span
from dmoa.study.evals.verdict import Rivals
from dmoa.study.evals.winrate import Judged

UNJUDGED_MAX = 0.05
"""A share of the items to be judged: where more could not be, the result is in doubt."""
MEMBER = "local@"
"""What configurations begin with that are a node's own model alone."""

_V = TypeVar("_V")


@dataclass(frozen=True, slots=True)
class Run:
    """All that a folder tells, read once; `judgements` in the order they were written.

    `configurations` are those of the plan in its order, and what has answers besides.
    """

    items: tuple[Item, ...]
    plan: Plan
    answers: Mapping[tuple[str, str], Answer]
    spans: Sequence[Span]
    judgements: Sequence[Judgement]
    configurations: tuple[str, ...]

    @classmethod
    def read(cls, folder: Folder) -> Run:
        """Read a folder; UsageError where it is none."""
        there = folder.judgements_file.exists()
        rows = folder.rows(folder.judgements_file, "judgement", Judgement) if there else ()
        plan, answers = folder.plan(), folder.answers()
        return cls(
            items=folder.items(),
            plan=plan,
            answers=answers,
            spans=list(folder.spans().values()),
            judgements=list(rows),
            configurations=tuple(
                dict.fromkeys([*plan.configurations, *(one for one, _ in answers)])
            ),
        )

    def members(self) -> tuple[str, ...]:
        """List the nodes' own models alone, asked or not."""
        named = [f"{MEMBER}{each.node}" for each in self.plan.members]
        asked = [each for each in self.configurations if each.startswith(MEMBER)]
        return tuple(dict.fromkeys([*named, *asked]))


@dataclass(frozen=True, slots=True)
class Measure:
    """What answers are worth by one measure: `values` in [0, 1], by configuration and item.

    `judge` and `reference` are empty for accuracy. `items` are those it is taken on. `unjudged`
    lists the answers that a judge failed at, `missing` those that never came, which are worth 0;
    both by configuration. `graded` is the share of judgements from log probabilities, `failures`
    counts those that failed, by how.
    """

    items: tuple[Item, ...]
    judge: str = ""
    reference: str = ""
    values: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])
    unjudged: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    missing: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    graded: float = 0.0
    failures: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def name(self) -> str:
        """What the values are called."""
        return "win rate" if self.judge else "accuracy"

    @property
    def to_judge(self) -> int:
        """Count the answers that were to be judged."""
        seen = sum(len(each) for name, each in self.values.items() if name != self.reference)
        return seen + self.failed if self.judge else 0

    @property
    def failed(self) -> int:
        """Count the answers that could not be judged."""
        return sum(len(each) for each in self.unjudged.values())

    @property
    def doubtful(self) -> bool:
        """Tell whether too many answers could not be judged."""
        return self.failed > UNJUDGED_MAX * self.to_judge

    def rivals(self, run: Run) -> Rivals:
        """Name the members to be compared with, and what each costs."""
        asked = [each for each in run.members() if each in self.values]
        costs = {each: tokens_of(run, each) for each in asked}
        return Rivals(self.values, asked, costs)

    def kinds(self) -> dict[str, tuple[Item, ...]]:
        """Part the items by data set, in the order they come."""
        return grouped(self.items, [each.dataset for each in self.items])


def measures_of(run: Run) -> list[Measure]:
    """Find what can be measured: accuracy first, then each judge and reference."""
    found: list[Measure] = []
    if scored := tuple(each for each in run.items if each.metric):
        found.append(_accuracy(run, scored))
    pairs = dict.fromkeys((each.judge, each.reference) for each in run.judgements)
    return [*found, *(_judged(run, judge, reference) for judge, reference in pairs)]


def tokens_of(run: Run, configuration: str) -> float:
    """Average the tokens, read and written, of a configuration's answers."""
    found = [
        each.prompt_tokens + each.completion_tokens
        for (name, _), each in run.answers.items()
        if name == configuration and each.status == "answered"
    ]
    return fsum(found) / len(found) if found else 0.0


def judged_of(run: Run, measure: Measure, configuration: str) -> Judged:
    """List the preferences of a configuration with what the control for length needs.

    Items are left out whose reference is not at hand. A missing answer has no characters.
    """
    rows: list[tuple[float, float, float, int | None]] = []
    values = measure.values[configuration]
    for item in measure.items:
        reference = reference_of(run, item, measure.reference)
        if item.id in values and reference is not None:
            answer = run.answers.get((configuration, item.id))
            length = sum(map(len, answer.outputs)) if answer else 0
            rows.append((values[item.id], length, len(reference), item.index))
    preferences, lengths, references, indices = zip(*rows, strict=True) if rows else ((),) * 4
    return Judged(preferences, lengths, references, indices)


def reference_of(run: Run, item: Item, reference: str) -> str | None:
    """Find what an answer was compared with; None where it is not at hand."""
    if reference not in run.configurations:
        is_there = item.reference and (item.reference_model or BASELINE) == reference
        return item.reference if is_there else None
    texts = text_of(item, run.answers.get((reference, item.id)))
    return None if texts is None else "".join(texts)


def grouped(values: Sequence[_V], names: Sequence[str]) -> dict[str, tuple[_V, ...]]:
    """Part values by name, in the order they come."""
    found: dict[str, list[_V]] = {}
    for value, name in zip(values, names, strict=True):
        found.setdefault(name, []).append(value)
    return {name: tuple(each) for name, each in found.items()}


# -- accuracy -----------------------------------------------------------------------------


def _accuracy(run: Run, items: tuple[Item, ...]) -> Measure:
    found = Measure(items)
    for name in run.configurations:
        for item in items:
            answer = run.answers.get((name, item.id))
            if answer is None:  # not asked yet
                continue
            worth = score(item, answer.outputs[-1]) if text_of(item, answer) else 0.0
            found.values.setdefault(name, {})[item.id] = worth or 0.0
            if answer.status != "answered":
                found.missing.setdefault(name, []).append(item.id)
    return found


# -- judgements ---------------------------------------------------------------------------


def _judged(run: Run, judge: str, reference: str) -> Measure:
    """Sum up one judge, beside one reference; what it said last of a pair holds."""
    last: dict[tuple[str, str, bool, int], Judgement] = {}
    for each in run.judgements:
        if (each.judge, each.reference) == (judge, reference):
            last[each.configuration, each.item, each.swapped, each.draw] = each
    pairs: dict[str, dict[str, list[Judgement]]] = {}
    for (name, item, _, _), each in last.items():
        pairs.setdefault(name, {}).setdefault(item, []).append(each)
    items = _to_judge(run, reference)
    found = Measure(
        items,
        judge,
        reference,
        graded=_share([each.graded for each in last.values() if _is_asked(each)]),
        failures=Counter(each.verdict for each in last.values() if each.verdict != "judged"),
    )
    for name in run.configurations:
        if name in pairs and name != reference:
            _fill(found, run, name, pairs[name])
    if reference in run.configurations:  # as good as itself, wherever others were compared
        compared = {item for each in found.values.values() for item in each}
        found.values[reference] = {each.id: 0.5 for each in items if each.id in compared}
    return found


def _to_judge(run: Run, reference: str) -> tuple[Item, ...]:
    """List the items to be judged: beside a baseline those that have it, or no metric."""
    if reference in run.configurations:
        return run.items
    return tuple(
        each
        for each in run.items
        if (each.reference_model or BASELINE) == reference or not (each.reference or each.metric)
    )


def _fill(found: Measure, run: Run, name: str, judged: Mapping[str, Sequence[Judgement]]) -> None:
    """Take in what was said of the answers of one configuration."""
    for item in found.items:
        answer = run.answers.get((name, item.id))
        if answer is None:  # not asked yet
            continue
        has_text = text_of(item, answer) is not None
        # What was said of an answer that was missing says nothing of one that came since.
        about = [
            each for each in judged.get(item.id, ()) if each.detail != NO_ANSWER or not has_text
        ]
        preference = _preference(about) if has_text else 0.0
        if answer.status != "answered":
            found.missing.setdefault(name, []).append(item.id)
        if preference is None or reference_of(run, item, found.reference) is None:
            found.unjudged.setdefault(name, []).append(item.id)
        else:
            found.values.setdefault(name, {})[item.id] = preference


def _preference(judgements: Sequence[Judgement]) -> float | None:
    """Average over draws, then over both orders; None where an order has no judgement.

    One order alone would pass off a judge's liking for the first answer as a preference.
    """
    orders: dict[bool, list[float]] = {each.swapped: [] for each in judgements}
    for each in judgements:
        if each.verdict == "judged" and each.preference is not None:
            orders[each.swapped].append(each.preference)
    if not orders or not all(orders.values()):
        return None
    return fsum(fsum(each) / len(each) for each in orders.values()) / len(orders)


def _is_asked(judgement: Judgement) -> bool:
    """Tell whether a judge was asked and could tell, and it was not settled without."""
    return judgement.verdict == "judged" and judgement.detail not in {NO_ANSWER, SAME_TEXT}


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
