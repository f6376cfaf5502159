"""The gate: what was measured decides whether the model `dmoa` is a mixture.

The verdict goes into the configuration of a node as one line, `verdict = "..."`, and nothing
else of the file is touched. A node that reads it serves the mixture where it pays, and its own
model alone where it does not, or where that cannot be told (`dmoa.core.usual`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dmoa.config import edit
from dmoa.core import usual
from dmoa.core.mixture import Mixture
from dmoa.errors import UsageError
from dmoa.study.evals.plan import configuration
from dmoa.study.evals.table import Row, Table
from dmoa.study.evals.verdict import Verdict, verdict_of

KEY = "verdict"


@dataclass(frozen=True, slots=True)
class Gate:
    """What is written of a run: the verdict on a mixture, chosen of so many `compared`.

    `items` counts those of the run, which may not all have been asked yet.
    """

    verdict: Verdict
    line: usual.Verdict
    compared: int
    items: int


def choose(table: Table, *, named: str = "", node: str = "") -> Gate:
    """Choose the mixture that goes into the configuration, with its verdict.

    The one that is `named`; else one that pays, and of several the one whose gain is surest,
    else the one with the largest gain; the verdict then allows for its having been lucky.
    `node` is whose configuration it is: a verdict counts only while that node has the model it
    had then; where all have the same it goes without. UsageError where there is no such mixture
    or node.
    """
    rows = [each for each in table.rows if _is_compared(each) and _is_mixture(each)]
    if named:
        rows = [each for each in rows if each.configuration == named]
    if not rows:
        what = f"{named!r} was not compared with the members" if named else "no mixture was asked"
        raise UsageError(what, hint="ask one with `dmoa eval run --ask dmoa-m1k2`, members too")
    found = max(rows, key=_sureness)
    assert found.verdict is not None, "rows without one were left out"
    verdict = verdict_of(
        found.configuration, table.rivals, worth=found.verdict.worth, among=len(rows)
    )
    asked = configuration(found.configuration)
    line = usual.Verdict(
        asked.mixture or Mixture(),
        asked.recipe,
        verdict.word,
        _model(table, node),
        _figures(table, verdict),
    )
    return Gate(verdict, line, len(rows), len(table.measure.items))


def _is_compared(row: Row) -> bool:
    return row.verdict is not None and row.verdict.n > 0


def _is_mixture(row: Row) -> bool:
    mixture = configuration(row.configuration).mixture
    return mixture is not None and mixture.layers > 0


def _sureness(row: Row) -> tuple[bool, float]:
    found = row.verdict
    assert found is not None, "rows without one were left out"
    return (found.word == "pays", found.low if found.word == "pays" else found.difference)


def _model(table: Table, node: str) -> str:
    """Tell the model that the verdict is bound to; empty where nodes differ and none is named."""
    models = {each.node: each.model for each in table.plan.members}
    if node and node not in models:
        raise UsageError(f"no node {node!r} was asked", hint=f"nodes: {', '.join(models)}")
    if node:
        return models[node]
    return next(iter(models.values())) if len(set(models.values())) == 1 else ""


def _figures(table: Table, found: Verdict) -> str:
    """Tell what the verdict rests on, in one line."""
    by = f"judged by {table.measure.judge}, " if table.measure.judge else ""
    gain = f"{found.difference:+.1f} points, 95 % from {found.low:+.1f} to {found.high:+.1f}, "
    told = f"{gain}beside {found.best}, {found.n} items, {by}{table.date}"
    return " ".join(told.split())


def one_of(tables: Sequence[Table], *, judge: str = "") -> Table:
    """Choose the measure to go by: the only one, or that of a judge; UsageError where unclear."""
    fitting = [each for each in tables if not judge or each.measure.judge == judge]
    if len(fitting) == 1:
        return fitting[0]
    named = ", ".join(each.measure.judge or "known answers" for each in tables)
    raise UsageError(
        f"the run can be measured in {len(tables)} ways: {named}",
        hint="name the judge to go by, with --judge NAME"
        if not judge
        else "name one of these judges",
    )


# -- the file -----------------------------------------------------------------------------


def write(file: Path, line: usual.Verdict) -> None:
    """Write the verdict into the configuration of a node, as `dmoa.config.edit.write` does."""
    edit.write(file, KEY, line.text)
