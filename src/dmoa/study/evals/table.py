"""The paper's table for a run: how good, how slow, how dear, and whether it pays.

A row for every configuration, every node's own model alone among them, by one measure. Beside
them stand the paper's Table I or II (arXiv 2412.21200), where a row has the same M and k.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import fsum, nan
from typing import Literal

import numpy as np

from dmoa.core.mixture import ALONE, Mixture
from dmoa.errors import MixtureError
from dmoa.study.evals.chance import Interval, mean_of
from dmoa.study.evals.records import Answer, Item, Plan, Status
from dmoa.study.evals.scores import MEMBER, Measure, Run, judged_of
from dmoa.study.evals.verdict import WORTH, Rivals, Verdict, verdict_of
from dmoa.study.evals.winrate import Difficulties, LengthControlled, length_controlled
from dmoa.study.paper import table1, table2
from dmoa.study.paper.tables import Reported

Paper = Literal["same", "diverse", "none"]
"""Table I, of four nodes with one model; Table II, with a model each; or neither."""
PAPERS: tuple[Paper, ...] = ("same", "diverse", "none")
STATUSES: tuple[Status, ...] = ("answered", "refused", "expired", "failed")
TITLES: Mapping[Paper, str] = {"same": "Table I", "diverse": "Table II", "none": ""}
_PERCENT = 100.0
_PRINTED: Mapping[Paper, Sequence[Reported]] = {
    "same": table1.PAPER,
    "diverse": table2.PAPER,
    "none": (),
}
_ACCURACY: Mapping[Paper, Mapping[Mixture, float]] = {
    "same": {
        Mixture(0, 0): 21.91,
        Mixture(1, 1): 29.55,
        Mixture(1, 2): 39.63,
        Mixture(2, 1): 28.88,
        Mixture(2, 2): 39.89,
        Mixture(2, 3): 40.63,
    },
    "diverse": {
        Mixture(0, 0): 23.62,
        Mixture(1, 1): 39.41,
        Mixture(2, 2): 40.51,
        Mixture(2, 3): 55.55,
    },
    "none": {},
}
"""The third columns (percent), as far as they are known here."""


@dataclass(frozen=True, slots=True)
class Printed:
    """What the paper has of a mixture: accuracy (percent), latency (s), queue (jobs per node)."""

    accuracy: float | None
    latency: float
    queue: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What the answers of a configuration took; nan where nothing was answered.

    `latency` and `p95` are of what was answered (seconds), `queue` the jobs waiting at a node,
    averaged over time and nodes. Tokens, `jobs` and `length` (characters) are means per answer,
    `degraded` is a share of the answers. `counts` tells how many queries ended in which way.
    """

    latency: float
    p95: float
    queue: float
    prompt_tokens: float
    completion_tokens: float
    jobs: float
    length: float
    degraded: float
    counts: Mapping[Status, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration by one measure.

    `value` is the accuracy or win rate, `controlled` that controlled for length (percent), None
    for accuracy and for the reference itself. `model` is that of a member. `unjudged` counts the
    answers a judge failed at; `kinds` has the value of each data set (percent) and its items.
    """

    configuration: str
    model: str
    is_member: bool
    is_best: bool
    value: Interval
    controlled: LengthControlled | None
    cost: Cost
    unjudged: int
    kinds: Mapping[str, tuple[float, int]]
    verdict: Verdict | None
    printed: Printed | None


@dataclass(frozen=True, slots=True)
class Table:
    """All rows by one measure, and what they rest on; `date` is that of the answers (UTC)."""

    measure: Measure
    rivals: Rivals
    rows: Sequence[Row]
    plan: Plan
    date: str
    paper: Paper = "none"

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdict on each configuration that is no member."""
        return [each.verdict for each in self.rows if each.verdict is not None]

    @property
    def best(self) -> Row | None:
        """The row of the best member; None where no member answered."""
        return next((each for each in self.rows if each.is_best), None)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a table is made by: `known` difficulties for length, the gain `worth` having (points).

    `paper` is by default the table of a network as this one. Length-controlled win rates have
    their intervals from `refits`.
    """

    known: Difficulties | None = None
    worth: float = WORTH
    paper: Paper | None = None
    refits: int = 400


def table_of(run: Run, measure: Measure, terms: Terms | None = None) -> Table:
    """Sum up a run by one measure."""
    terms = terms or Terms()
    models = {f"{MEMBER}{each.node}": each.model for each in run.plan.members}
    beside = terms.paper or ("same" if len(set(models.values())) == 1 else "diverse")
    members, rivals = run.members(), measure.rivals(run)
    best = rivals.best()
    rows: list[Row] = []
    for name in dict.fromkeys([*members, *run.configurations]):
        values = measure.values.get(name, {})
        is_judged = bool(measure.judge and values) and name != measure.reference
        judged = judged_of(run, measure, name) if is_judged else None
        is_member = name in members
        row = Row(
            configuration=name,
            model=models.get(name, ""),
            is_member=is_member,
            is_best=name == best,
            value=mean_of([_PERCENT * each for each in values.values()]),
            controlled=length_controlled(judged, terms.known, refits=terms.refits)
            if judged
            else None,
            cost=cost_of(run, measure.items, name),
            unjudged=len(measure.unjudged.get(name, ())),
            kinds=_kinds(measure, values),
            verdict=None if is_member else verdict_of(name, rivals, worth=terms.worth),
            printed=printed_of(name, beside),
        )
        rows.append(row)
    return Table(measure, rivals, rows, run.plan, _date(run), beside)


def printed_of(configuration: str, paper: Paper) -> Printed | None:
    """Find what the paper has of a configuration: one of the same M and k, mixed as there."""
    model, _, _ = configuration.partition("@")
    try:
        shape = ALONE if model == "local" else Mixture.parse(model.removeprefix("dmoa-"))
    except MixtureError:  # a way of mixing that the paper does not have, or an unnamed one
        return None
    for each in _PRINTED[paper]:
        if each.mixture == shape:
            return Printed(_ACCURACY[paper].get(shape), each.latency, each.queue)
    return None


# -- cost -----------------------------------------------------------------------------------


def cost_of(run: Run, items: Sequence[Item], configuration: str) -> Cost:
    """Sum up what the answers of a configuration took."""
    asked = [run.answers.get((configuration, each.id)) for each in items]
    there = [each for each in asked if each is not None]
    answered = [each for each in there if each.status == "answered"]
    seconds = [each.seconds for each in answered]

    def mean(of: Callable[[Answer], float]) -> float:
        return fsum(of(each) for each in answered) / len(answered) if answered else nan

    return Cost(
        latency=mean(lambda each: each.seconds),
        p95=float(np.quantile(seconds, 0.95)) if seconds else nan,
        queue=_queue(run, configuration),
        prompt_tokens=mean(lambda each: each.prompt_tokens),
        completion_tokens=mean(lambda each: each.completion_tokens),
        jobs=mean(lambda each: each.jobs),
        length=mean(lambda each: sum(map(len, each.outputs))),
        degraded=mean(lambda each: bool(each.degraded)),
        counts={name: sum(each.status == name for each in there) for name in STATUSES},
    )


def _queue(run: Run, configuration: str) -> float:
    """Average the jobs waiting at a node, over the time that it was watched, and over nodes."""
    sums: dict[str, tuple[float, float]] = {}
    for each in run.spans:
        if each.configuration == configuration:
            waited, watched = sums.get(each.node, (0.0, 0.0))
            sums[each.node] = (waited + each.waiting_job_seconds, watched + each.seconds)
    found = [waited / watched for waited, watched in sums.values() if watched > 0.0]
    return fsum(found) / len(found) if found else nan


def _kinds(measure: Measure, values: Mapping[str, float]) -> dict[str, tuple[float, int]]:
    """Average by data set."""
    found: dict[str, tuple[float, int]] = {}
    for name, items in measure.kinds().items():
        told = [values[each.id] for each in items if each.id in values]
        found[name] = (_PERCENT * fsum(told) / len(told) if told else nan, len(told))
    return found


def _date(run: Run) -> str:
    """Tell on which days the answers came."""
    times = [each.asked for each in run.answers.values() if each.asked > 0.0]
    if not times:
        return ""
    days = [
        datetime.fromtimestamp(each, UTC).date().isoformat() for each in (min(times), max(times))
    ]
    return " to ".join(dict.fromkeys(days))
