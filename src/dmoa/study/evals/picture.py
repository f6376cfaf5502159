"""A picture of a table: how good every configuration is, over how long its answers take."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from dmoa.study.evals.table import Row, Table
from dmoa.study.plots import Mark, Panel, Series

_MIXTURES = 5
"""With a mark and a colour of their own, beside two for the members; more look all the same."""
_MARGIN = 3.0
"""Percent above and below what is drawn."""
_WIDE = 8.0
"""From the slowest to the quickest: more needs a scale of powers."""

_LETTERS = 36
"""Of a judge's name, that a title has room for."""


def panels(tables: Sequence[Table]) -> list[Panel]:
    """Draw each table as a panel; those without any answer are left out."""
    return [_panel(each) for each in tables if any(_is_known(row) for row in each.rows)]


def _panel(table: Table) -> Panel:
    """Draw points with their intervals, and the level that a mixture has to pass."""
    known = [row for row in table.rows if _is_known(row)]
    others = [row for row in known if row.is_member and not row.is_best]
    mixtures = [row for row in known if not row.is_member]
    best = [row for row in known if row.is_best]
    groups = [("other members alone" if best else "members alone", others)]
    groups += [(f"best member alone, {row.configuration}", [row]) for row in best]
    groups += [(row.configuration, [row]) for row in mixtures[:_MIXTURES]]
    rest = mixtures[_MIXTURES:]
    groups.append(("other mixtures" if len(rest) != 1 else rest[0].configuration, rest))
    low = min(row.value.low for row in known) - _MARGIN
    high = max(row.value.high for row in known) + _MARGIN
    times = [row.cost.latency for row in known]
    measure = table.measure
    judge = measure.judge.rpartition("#")[2]
    short = judge if len(judge) <= _LETTERS else f"{judge[: _LETTERS - 1]}…"
    return Panel(
        f"Win rate by {short}" if judge else "Accuracy and time to answer",
        "mean time to answer, seconds",
        f"{measure.name}, % (bars: 95 %)",
        [_series(label, rows) for label, rows in groups if rows],
        [Mark(row.value.mean, "best member", level=True) for row in best],
        log_x=min(times) > 0.0 and max(times) > _WIDE * min(times),
        x_range=_around(times),
        y_range=(max(low, -_MARGIN), min(high, 100.0 + _MARGIN)),
    )


def _series(label: str, rows: Sequence[Row]) -> Series:
    return Series(
        label,
        [row.cost.latency for row in rows],
        [row.value.mean for row in rows],
        [row.value.low for row in rows],
        [row.value.high for row in rows],
        points=True,
    )


def _around(times: Sequence[float]) -> tuple[float, float]:
    """Leave room beside the points, so that none of them lies upon an axis."""
    low, high = min(times), max(times)
    if low > 0.0 and high > _WIDE * low:
        return low / 1.5, high * 1.5
    return 0.0, (high or 1.0) * 1.1


def _is_known(row: Row) -> bool:
    return isfinite(row.value.low) and isfinite(row.cost.latency)
