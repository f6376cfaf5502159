"""What `dmoa simulate` shows: a row per point, remarks on what to take with care, a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import fsum, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmoa.cli import render
from dmoa.cli.plan_view import count
from dmoa.study.rows import Row, flat

if TYPE_CHECKING:
    from rich.table import Table

    from dmoa.sim.outcome import Outcome
    from dmoa.study.grid import Point
    from dmoa.study.plots import Panel, Series
    from dmoa.study.statistics import Estimate

_Column = tuple[str, Callable[[Row], str]]
"""Its heading, and what it says of a row."""
_LESS = ("waiting", "goodput", "proposals", "busy", "refused", "asked/s")
"""What is left out on a narrow terminal, the first first."""
_WIDEST = 1000
"""Columns of a line in a file."""
_SEEN = 0.0005
"""A share that is not written as 0.0%."""
_WIDE = 0.1
"""An interval of more than this share of its mean, on either side, is worth a remark."""


def report(  # noqa: PLR0913  (what came of it, and where to)
    points: Sequence[Point],
    outcomes: Sequence[Sequence[Outcome]],
    seconds: float,
    *,
    out: Path | None,
    runs: Path | None,
    plot: Path | None,
    as_json: bool,
) -> bool:
    """Show what came of it in all ways that are wanted; false where one point is not stable."""
    from dmoa.study.rows import rows_of, write_csv

    rows = rows_of(points, outcomes)
    if as_json:
        render.data({"rows": data(rows)})
    else:
        show(rows)
    if out is not None and out != runs:
        write_csv(rows, out)
        render.talk(f"written: {out}; the runs are in {runs}")
    if plot is not None:
        draw(rows, plot)
        render.talk(f"drawn: {plot}")
    for line in remarks(rows):
        render.note(line)
    render.talk(_measured(outcomes, seconds))
    growing = len(rows) == 1 and rows[0].verdict == "growing"
    if growing:
        render.talk("no: the queues grow, the network is not stable")
    return not growing


def data(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Tell the rows to a program."""
    return [flat(row) for row in rows]


def show(rows: Sequence[Row]) -> None:
    """Write the table: on a terminal what there is room for, to a file all of it."""
    screen, columns, left_out = render.console(), _columns(rows), list[str]()
    room, screen.width = screen.width, _WIDEST
    for heading in _LESS:
        if not screen.is_terminal or screen.measure(_table(rows, columns)).maximum <= room:
            break
        left_out += [each for each, _ in columns if each == heading]
        columns = [each for each in columns if each[0] != heading]
    drawn = _table(rows, columns)
    width = screen.measure(drawn).maximum
    screen.width = room if screen.is_terminal else max(room, width)
    screen.print(drawn)
    if left_out:
        render.note(f"there is no room for {', '.join(left_out)}; --json tells them")


def _table(rows: Sequence[Row], columns: Sequence[_Column]) -> Table:
    """Draw a line for each point."""
    from rich.table import Table

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading, _ in columns:
        left = heading in {"policy", "law", "verdict"}
        drawn.add_column(heading, justify="left" if left else "right", overflow="fold")
    for row in rows:
        drawn.add_row(*(cell(row) for _, cell in columns), style=_style(row))
    return drawn


def _style(row: Row) -> str:
    return "" if row.verdict == "stable" else "yellow"


def _columns(rows: Sequence[Row]) -> list[_Column]:
    """Choose the columns: what was asked for, then what was measured."""
    asked: list[_Column] = [
        ("nodes", lambda row: str(row.point.setting.network.nodes)),
        ("policy", _policy),
        ("law", lambda row: row.point.law),
        ("gossip", lambda row: f"{row.point.setting.gossip:g} s"),
    ]
    found = [(heading, cell) for heading, cell in asked if len(dict.fromkeys(map(cell, rows))) > 1]
    always: list[_Column] = [
        ("M", lambda row: str(row.point.setting.mixture.layers)),
        ("k", _fanout),
        ("asked/s", lambda row: _figure(row.point.rate)),
        ("rho", lambda row: f"{row.point.rho:.3g}"),
        ("mean", lambda row: _time(row, row.mean, interval=True)),
        ("p95", lambda row: _time(row, row.p95)),
        ("waiting", lambda row: _figure(row.waiting.mean)),
        ("busy", lambda row: f"{row.utilisation.mean:.1%}"),
        ("goodput", lambda row: f"{_figure(row.goodput.mean)}/s"),
    ]
    found += always
    if any(isfinite(row.point.setting.deadline) for row in rows):
        found.append(("in time", lambda row: f"{row.in_time.mean:.1%}"))
    if any(row.refused.mean >= _SEEN for row in rows):
        found.append(("refused", lambda row: f"{row.refused.mean:.1%}"))
    if any(_is_partial(row) for row in rows):
        found.append(("proposals", lambda row: _figure(row.proposals.mean)))
    if any(row.change is not None for row in rows):
        found.append((f"vs {_policy(rows[0])}", _change))
    found.append(("verdict", lambda row: row.verdict))
    return found


def _is_partial(row: Row) -> bool:
    """Tell whether answers were made of fewer or more proposals than the mixture has."""
    mixture = row.point.setting.mixture
    full = (mixture.fanout + 1) * mixture.layers
    return abs(row.proposals.mean - full) > 1e-9  # noqa: PLR2004  (of rounding)


def _time(row: Row, estimate: Estimate, *, interval: bool = False) -> str:
    """Write a time with its interval, and a > where it would be more, had the run been longer."""
    if not isfinite(estimate.mean):
        return "-"
    more = "" if row.verdict == "stable" else ">"
    half = f" ±{_figure(estimate.half, 2)}" if interval and isfinite(estimate.half) else ""
    return f"{more}{_figure(estimate.mean)}{half} s"


def _policy(row: Row) -> str:
    """Name a policy without what is set in it: that is the same in all, and a remark."""
    return row.point.policy.partition("+")[0]


def _fanout(row: Row) -> str:
    mixture = row.point.setting.mixture
    return str(mixture.fanout) if mixture.layers else "-"


def _change(row: Row) -> str:
    if row.change is None:
        return ""
    if row.verdict != "stable" or not isfinite(row.change.mean):
        return "-"
    digits = 1 if row.change.half < 0.01 else 0  # noqa: PLR2004  (below one per cent)
    half = f" ±{row.change.half:.{digits}%}" if isfinite(row.change.half) else ""
    return f"{row.change.mean:+.0%}{half}"


def _figure(value: float, digits: int = 3) -> str:
    """Write so many digits, or all before the point."""
    if not isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 10.0**digits else f"{value:.{digits}g}"


def remarks(rows: Sequence[Row]) -> Iterable[str]:
    """Say what is set, and what to take with care."""
    parts = rows[0].point.policy.partition("+")[2]
    if parts:
        yield f"policies are simulated with {parts}"
    overlap = rows[0].point.setting.network.costs.overlap
    if overlap and not any(row.point.setting.overlaps for row in rows):
        yield f"of the overlap of {overlap:g} nothing is hidden: no policy reads ahead; eager does"
    growing = sum(row.verdict == "growing" for row in rows)
    if growing:
        which = "the queues" if len(rows) == 1 else f"the queues of {growing} of {len(rows)} points"
        yield f"{which} grow; their times (with a >) depend on how long is simulated"
    unclear = [row for row in rows if row.verdict == "unclear"]
    if unclear:
        first = unclear[0].point
        seen = "growth is not seen yet" if first.rho >= 1.0 else "queues have not settled yet"
        yield f"unclear at {first.shape} and rho {first.rho:.3g}: {seen}; simulate more --queries"
    wide = [_width(row.mean) for row in rows if row.verdict == "stable"]
    wide = [width for width in wide if width > _WIDE]
    if wide:
        yield (
            f"the intervals of {len(wide)} of {len(rows)} means are wide, up to ±{max(wide):.0%}: "
            "more --replications or --queries tell more"
        )


def _width(estimate: Estimate) -> float:
    known = isfinite(estimate.half) and estimate.mean > 0.0
    return estimate.half / estimate.mean if known else 0.0


# -- the picture ----------------------------------------------------------------------


def draw(rows: Sequence[Row], file: Path) -> None:
    """Draw the mean, the 95th percentile and the share answered, over load or what else varies."""
    from dmoa.study import plots

    plots.lines(panels(rows), file, title=_title(rows))


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Make the panels; times of points that grow are left out, as they have no mean."""
    from dmoa.study.plots import Mark, Panel

    label, place = _axis(rows)
    marks = [Mark(1.0, "bound, rho = 1")] if label.startswith("utilisation") else []
    deadline = rows[0].point.setting.deadline
    due = [Mark(deadline, "deadline", level=True)] if isfinite(deadline) else []

    def timed(name: str) -> list[Series]:
        return _series(rows, place, lambda row: _steady(row, getattr(row, name)))

    def share(row: Row) -> tuple[float, float, float]:
        if due:
            return (row.in_time.mean, nan, nan)
        return (row.goodput.mean / (row.offered.mean or nan), nan, nan)

    return [
        Panel("Mean time to answer", label, "seconds", timed("mean"), marks),
        Panel("95th percentile", label, "seconds", timed("p95"), [*marks, *due]),
        Panel(
            "Answered in time" if due else "Goodput",
            label,
            "share of those asked",
            _series(rows, place, share),
            marks,
            y_range=(0.0, 1.05),
        ),
    ]


def _steady(row: Row, estimate: Estimate) -> tuple[float, float, float]:
    if row.verdict != "stable":
        return nan, nan, nan
    low, high = (estimate.low, estimate.high) if isfinite(estimate.half) else (nan, nan)
    return estimate.mean, max(low, 0.0), high


def _axis(rows: Sequence[Row]) -> tuple[str, Callable[[Row], float]]:
    """Choose what stands below: the load, or what varies where it does not."""
    choices: list[tuple[str, Callable[[Row], float]]] = [
        ("utilisation rho of the busiest node", lambda row: round(row.point.rho, 9)),
        ("seconds between digests", lambda row: row.point.setting.gossip),
        ("nodes", lambda row: float(row.point.setting.network.nodes)),
    ]
    for label, place in choices:
        lines: dict[str, dict[float, None]] = {}
        for row in rows:
            lines.setdefault(_label(rows, row, label), {})[place(row)] = None
        if any(len(values) > 1 for values in lines.values()):
            return label, place
    return choices[0]


def _label(rows: Sequence[Row], row: Row, axis: str) -> str:
    """Name the line that a row is on: by all that varies besides the axis."""
    parts: list[tuple[str, Callable[[Row], str]]] = [
        ("nodes", lambda each: f"{each.point.setting.network.nodes} nodes"),
        ("", lambda each: each.point.shape),
        ("", lambda each: each.point.policy),
        ("", lambda each: each.point.law),
        ("seconds between digests", lambda each: f"gossip {each.point.setting.gossip:g} s"),
    ]
    told = [
        part(row)
        for name, part in parts
        if (not name or name != axis) and len(dict.fromkeys(map(part, rows))) > 1
    ]
    return ", ".join(told) or row.point.shape


def _series(
    rows: Sequence[Row],
    place: Callable[[Row], float],
    value: Callable[[Row], tuple[float, float, float]],
) -> list[Series]:
    from dmoa.study.plots import Series

    axis = _axis(rows)[0]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        lines.setdefault(_label(rows, row, axis), []).append(row)
    found: list[Series] = []
    for label, members in lines.items():
        members.sort(key=place)
        values = [value(row) for row in members]
        middle, low, high = (list(each) for each in zip(*values, strict=True))
        x = [place(row) for row in members]
        alone = len(x) == 1
        known = any(isfinite(each) for each in low)
        found.append(
            Series(label, x, middle, low if known else None, high if known else None, points=alone)
        )
    return found


def _title(rows: Sequence[Row]) -> str:
    setting = rows[0].point.setting
    nodes = list(dict.fromkeys(row.point.setting.network.nodes for row in rows))
    words = [f"{nodes[0]} nodes" if len(nodes) == 1 else "Simulated networks"]
    if len(dict.fromkeys(row.point.shape for row in rows)) == 1:
        words.append(rows[0].point.shape)
    times = setting.network.service_times
    words.append(f"{fsum(times) / len(times):g} s per job")
    if len(dict.fromkeys(row.point.law for row in rows)) == 1:
        words.append(rows[0].point.law)
    policies = list(dict.fromkeys(row.point.policy for row in rows))
    if len(policies) == 1 and policies[0] != "paper":
        words.append(policies[0])
    return ", ".join(words)


def _measured(outcomes: Sequence[Sequence[Outcome]], seconds: float) -> str:
    """Say which engine it was, and how fast."""
    runs = [each for replications in outcomes for each in replications]
    events, cpu = sum(each.events for each in runs), sum(each.cpu_seconds for each in runs)
    engines = " and ".join(dict.fromkeys(each.engine for each in runs))
    speed = f", {events / cpu:.2g} a CPU-second" if cpu > 0.0 else ""
    return f"{count(len(runs), 'run')} by {engines}: {events:.3g} events{speed}, in {seconds:.1f} s"
