"""A table in words and figures: cells for people, sentences, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any, cast

from dmoa.study.evals.chance import Interval
from dmoa.study.evals.records import Member
from dmoa.study.evals.scores import Measure
from dmoa.study.evals.table import STATUSES, TITLES, Row, Table

Grid = list[list[str]]
"""Rows of cells, the headings first."""
_NONE = "-"
_OTHERS = ("refused", "expired", "failed")
_FEW = 100.0


# -- cells --------------------------------------------------------------------------------


def main_grid(table: Table) -> Grid:
    """Lay out how good and how dear every configuration is; the best member is marked."""
    pairs = zip(quality_grid(table), cost_grid(table), strict=True)
    return [[*good, *dear[1:]] for good, dear in pairs]


def quality_grid(table: Table) -> Grid:
    """Lay out how good every configuration is, beside the best member."""
    controlled = any(each.controlled for each in table.rows)
    lengths = ["length-controlled %", "length"] if controlled else []
    grid = [["configuration", f"{table.measure.name} % (95 %)", *lengths, "beside best", "verdict"]]
    for row in table.rows:
        cells = [_name(row), _interval(row.value)]
        if controlled:
            told = row.controlled
            cells.append(f"{told.win_rate:.1f} ± {told.interval.error:.1f}" if told else _NONE)
            cells.append(_figure(row.cost.length, ".0f"))
        grid.append([*cells, _gain(row), row.verdict.word if row.verdict else _NONE])
    return grid


def cost_grid(table: Table) -> Grid:
    """Lay out what the answers of every configuration took."""
    waited = any(isfinite(each.cost.queue) for each in table.rows)
    queue = ["queue"] if waited else []
    grid = [
        [
            *("configuration", "latency s", "p95 s", *queue),
            *("tokens in", "tokens out", "jobs", "answered"),
        ]
    ]
    for row in table.rows:
        cost = row.cost
        grid.append(
            [
                *(_name(row), _seconds(cost.latency), _seconds(cost.p95)),
                *([_figure(cost.queue, ".2f")] if waited else []),
                *(_figure(cost.prompt_tokens, ".0f"), _figure(cost.completion_tokens, ".0f")),
                *(_figure(cost.jobs, ".1f"), str(cost.counts["answered"])),
            ]
        )
    return grid


def kinds_grid(table: Table) -> Grid:
    """Lay out the value of each data set; nothing where there is only one."""
    names = list(table.measure.kinds())
    if len(names) < 2:  # noqa: PLR2004
        return []
    sizes = {name: len(items) for name, items in table.measure.kinds().items()}
    headings = [f"{name.rpartition('/')[2] or 'other'} ({sizes[name]})" for name in names]
    cells = [
        [_name(row), *(_figure(row.kinds[name][0], ".1f") for name in names)] for row in table.rows
    ]
    return [["configuration", *headings], *cells]


def paper_grid(table: Table) -> Grid:
    """Lay out what was measured beside what the paper has; nothing where it has none."""
    grid = [
        [
            "configuration",
            f"{table.measure.name} %",
            "paper",
            "latency s",
            "paper",
            "queue",
            "paper",
        ]
    ]
    for row in table.rows:
        if row.printed is not None:
            told = row.printed
            grid.append(
                [
                    _name(row),
                    _figure(row.value.mean, ".1f"),
                    _NONE if told.accuracy is None else f"{told.accuracy:.2f}",
                    _seconds(row.cost.latency),
                    f"{told.latency:.0f}",
                    _figure(row.cost.queue, ".2f"),
                    f"{told.queue:.2f}",
                ]
            )
    return grid if len(grid) > 1 else []


def paper_title(table: Table) -> str:
    """Say what stands beside, and how far it can be compared."""
    return (
        f"Beside {TITLES[table.paper]} of the paper (arXiv 2412.21200): other models, machines "
        "and questions, ten queries a row; the shape can be compared, the figures can't."
    )


def _name(row: Row) -> str:
    return f"{row.configuration} *" if row.is_best else row.configuration


def _interval(value: Interval) -> str:
    if not isfinite(value.low):
        return _figure(value.mean, ".1f")
    return f"{value.mean:.1f} ({value.low:.1f} to {value.high:.1f})"


def _gain(row: Row) -> str:
    told = row.verdict
    if told is None or not told.n:
        return _NONE
    return f"{told.difference:+.1f} ({told.low:+.1f} to {told.high:+.1f})"


def _seconds(value: float) -> str:
    return _figure(value, ".0f" if value >= _FEW else ".2f")


def _figure(value: float, form: str) -> str:
    return format(value, form) if isfinite(value) else _NONE


# -- sentences ----------------------------------------------------------------------------


def title(table: Table) -> str:
    """Say what the table is of."""
    measure = table.measure
    if not measure.judge:
        return f"Accuracy on {len(measure.items)} items with known answers"
    return (
        f"Win rate against {measure.reference} on {len(measure.items)} items, "
        f"judged by {measure.judge}"
    )


def verdicts(table: Table) -> list[str]:
    """Say of each configuration whether it pays."""
    return [each.words() for each in table.verdicts]


def remarks(table: Table) -> list[str]:
    """Say what the figures rest on, and what is missing of them."""
    found = list(_about_members(table))
    found += _about_answers(table)
    if table.measure.judge:
        found += _about_judge(table)
    return [*found, *_about_plan(table)]


def _about_members(table: Table) -> Iterable[str]:
    if table.best is None:
        yield "No member was asked alone, so that nobody can say whether a mixture pays."
    elif table.verdicts:
        yield (
            "* is the best member here. Intervals are 95 %, by bootstrap over the items; those "
            "beside the best allow for the luck of having been the best of several."
        )


def _about_answers(table: Table) -> Iterable[str]:
    """Tell of queries without an answer, items not asked, and answers of smaller mixtures."""
    total = len(table.measure.items)
    for row in table.rows:
        counts = row.cost.counts
        ends = [f"{counts[each]} {each}" for each in _OTHERS if counts[each]]
        if ends:
            yield f"{row.configuration}: {', '.join(ends)}; each counts as wrong, or lost."
        if unasked := total - sum(counts.values()):
            yield f"{row.configuration}: {unasked} of {total} items not asked yet."
        if row.cost.degraded > 0.0:
            yield f"{row.configuration}: {row.cost.degraded:.0%} of the answers lack a part."


def _about_judge(table: Table) -> Iterable[str]:
    measure = table.measure
    yield (
        f"Judged by {measure.judge}, {measure.graded:.0%} of the judgements from log "
        f"probabilities; {unjudged_words(measure)}."
    )
    if measure.doubtful:
        yield "More than 5 % could not be judged: the figures are in doubt."
    yield from _about_length(table)
    controlled = [each.controlled for each in table.rows if each.controlled]
    if any(not each.regularised for each in controlled):
        without = "regulariser" if all(each.difficulty for each in controlled) else "difficulties"
        yield (
            f"Length is controlled for without the {without} of AlpacaEval 2.0, "
            "so that the result is not comparable with its leaderboard; see --difficulty."
        )


def _about_length(table: Table) -> Iterable[str]:
    """Warn of gains that may come of length alone: judges like long answers."""
    rates = {row.configuration: row.controlled.win_rate for row in table.rows if row.controlled}
    members = [each.configuration for each in table.rows if each.is_member]
    best = max(
        (each for each in members if each in rates), key=lambda each: rates[each], default=""
    )
    for told in table.verdicts:
        name = told.configuration
        if (
            best
            and told.word == "pays"
            and name in rates
            and rates[name] < rates[best] + told.worth
        ):
            yield (
                f"{name}: the gain may be one of length; controlled for it, the win rate is "
                f"{rates[name]:.1f} % beside {rates[best]:.1f} % of {best}."
            )


def unjudged_words(measure: Measure) -> str:
    """Say how many answers could not be judged, and why."""
    why = ", ".join(f"{count} {how}" for how, count in sorted(measure.failures.items()))
    return f"{measure.failed} of {measure.to_judge} answers could not be judged" + (
        f" (judgements: {why})" if why else ""
    )


def _about_plan(table: Table) -> Iterable[str]:
    plan = table.plan
    yield f"Members: {', '.join(_member(each) for each in plan.members)}."
    slots = "as many at once as there are slots"
    most = f"{plan.concurrency} at once" if plan.concurrency else slots
    asked = f"{plan.rate:g} queries/s at each node" if plan.rate else most
    deadline = f", deadline {plan.deadline:g} s" if plan.deadline else ""
    date = f" on {table.date}" if table.date else ""
    yield f"{plan.count} items ({plan.items}), seed {plan.seed}, asked {asked}{deadline}{date}."


def _member(member: Member) -> str:
    """Tell a node, its model, and the settings it was started with."""
    told = [f"{key} {value!r}" for key, value in member.settings.items()]
    return f"{member.node} {member.model}" + (f" ({', '.join(told)})" if told else "")


# -- files --------------------------------------------------------------------------------


def markdown(tables: Sequence[Table]) -> str:
    """Write tables as Markdown."""
    parts: list[str] = []
    for table in tables:
        parts += [f"### {_escaped(title(table))}", _piped(main_grid(table))]
        if table.verdicts:
            parts.append("\n".join(f"- {_escaped(each)}" for each in verdicts(table)))
        if grid := kinds_grid(table):
            parts += [f"{table.measure.name.capitalize()} % by kind of task (items):", _piped(grid)]
        if grid := paper_grid(table):
            parts += [paper_title(table), _piped(grid)]
        parts.append("\n".join(f"- {_escaped(each)}" for each in remarks(table)))
    return "\n\n".join(parts) + "\n"


def _piped(grid: Grid) -> str:
    first, *others = [[_escaped(cell) for cell in row] for row in grid]
    rule = ["---", *("---:" for _ in first[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (first, rule, *others))


def _escaped(text: str) -> str:
    """Keep what names say from being read as Markdown."""
    for sign in "\\|*_<`":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def comma_separated(tables: Sequence[Table]) -> str:
    """Write the rows of all tables as CSV; what is not known is empty."""
    rows = [_flat(_row(table, row)) for table in tables for row in table.rows]
    opened = io.StringIO()
    headings = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(opened, headings, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return opened.getvalue()


def as_dict(tables: Sequence[Table]) -> dict[str, Any]:
    """Tell tables to a program: percent, points, seconds, tokens and jobs; null is not known."""
    return {"tables": [cast("dict[str, Any]", finite(_table(each))) for each in tables]}


def _table(table: Table) -> dict[str, Any]:
    measure, plan = table.measure, table.plan
    return {
        "measure": measure.name,
        "judge": measure.judge or None,
        "reference": measure.reference or None,
        "items": len(measure.items),
        "to_judge": measure.to_judge,
        "unjudged": measure.failed,
        "failures": dict(measure.failures),
        "graded": measure.graded if measure.judge else None,
        "best": table.best.configuration if table.best else None,
        "paper": TITLES[table.paper] or None,
        "rows": [_row(table, each) for each in table.rows],
        "remarks": remarks(table),
        "date": table.date or None,
        "plan": {
            "members": [{"node": each.node, "model": each.model} for each in plan.members],
            "items": plan.items,
            "count": plan.count,
            "seed": plan.seed,
            "rate": plan.rate,
            "concurrency": plan.concurrency,
            "deadline": plan.deadline,
        },
    }


def _row(table: Table, row: Row) -> dict[str, Any]:
    cost = asdict(row.cost)
    counts = cost.pop("counts")
    return {
        "measure": table.measure.name,
        "judge": table.measure.judge or None,
        "reference": table.measure.reference or None,
        "configuration": row.configuration,
        "model": row.model or None,
        "is_member": row.is_member,
        "is_best": row.is_best,
        "value": asdict(row.value),
        "length_controlled": _controlled(row),
        "cost": cost,
        "counts": {name: counts[name] for name in STATUSES},
        "unjudged": row.unjudged,
        "kinds": {name: {"mean": mean, "count": n} for name, (mean, n) in row.kinds.items()},
        "verdict": asdict(row.verdict) | {"words": row.verdict.words()} if row.verdict else None,
        "printed": asdict(row.printed) if row.printed else None,
    }


def _controlled(row: Row) -> dict[str, Any] | None:
    return asdict(row.controlled) if row.controlled else None


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Join the names of what lies within each other; data sets are left to JSON."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        key = f"{before}{name}"
        is_group = name in {"verdict", "length_controlled", "printed"}
        if name in {"kinds", "weights", "words"} or (is_group and value is None):
            continue
        if isinstance(value, Mapping):
            found |= _flat(cast("Mapping[str, Any]", value), f"{key}_")
        else:
            told = finite(value)
            found[key] = "" if told is None else told
    return found


def finite(value: object) -> object:
    """Write what is no number as null, which JSON has."""
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {key: finite(each) for key, each in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [finite(each) for each in cast("Sequence[Any]", value)]
        case _:
            return value
