"""What `dmoa load` shows: what was measured beside what others say, node by node, a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from math import fsum, isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dmoa.cli import render
from dmoa.study.load.again import summed
from dmoa.study.load.beside import as_dict
from dmoa.study.load.measured import LAG_MAX, NEAR

if TYPE_CHECKING:
    from rich.table import Table

    from dmoa.study.load.plan import Report
    from dmoa.study.statistics import Estimate

_NODES = 32
"""Rows of the table of nodes."""
_MANY = 0.01
"""A share of jobs that is worth a remark."""
_MIB = 1024.0 * 1024.0
_HOUR = 3600.0
_SPEAKERS = {
    "replay": "the replay",
    "theorem1": "Theorem 1",
    "planner": "the planner",
    "world": "worlds",
}
_ROUNDING = 1e-9
"""A relative difference that is none."""


# -- for programs -------------------------------------------------------------------------


def data(reports: Sequence[Report]) -> dict[str, Any]:
    """Tell one test, or several and their change, to a program."""
    tests = [_test(each) for each in reports]
    if len(tests) == 1:
        return tests[0]
    return {"tests": tests, "change": [_finite(each) for each in _changes(reports)]}


def _test(report: Report) -> dict[str, Any]:
    figures = asdict(report.figures)
    del figures["latencies"]
    crew = report.log.crew
    assert crew is not None
    said = crew.policies
    found = {
        "mode": report.mode,
        "policies": [each for at, each in enumerate(said) if each not in said[:at]],
        "settings": report.plan.settings(),
        "rates": list(report.log.rates or ()),
        "deadline_seconds": report.plan.deadline,
        "deadline_sent_seconds": report.deadline_sent,
        "warmup": report.plan.warmup,
        "done": report.done,
        "legs": report.log.leg,
        "measured": figures,
        "beside": as_dict(report.beside),
        "memory_bytes": list(report.memory) or None,
        "notes": list(remarks(report)),
    }
    return cast("dict[str, Any]", _finite(found))


def _finite(value: object) -> object:
    """Write what is no number as null, which JSON has."""
    match value:
        case float():
            return value if isfinite(value) else None
        case dict():
            return {key: _finite(each) for key, each in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [_finite(each) for each in cast("Sequence[Any]", value)]
        case _:
            return value


def _changes(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Compare every test with the first."""
    first = reports[0].figures
    return [
        {
            "mode": each.mode,
            "against": reports[0].mode,
            "mean": each.figures.mean / first.mean - 1.0 if first.mean else nan,
            "p95": each.figures.p95 / first.p95 - 1.0 if first.p95 else nan,
            "waiting": each.figures.waiting / first.waiting - 1.0 if first.waiting else nan,
        }
        for each in reports[1:]
    ]


# -- for people ---------------------------------------------------------------------------


def show(report: Report) -> None:
    """Write the tables of one test, and what must be said of it."""
    from rich.text import Text

    screen, figures = render.console(), report.figures
    screen.print(Text(_title(report), style="bold"))
    screen.print()
    screen.print(_comparison(report))
    screen.print()
    screen.print(_ends(report))
    screen.print()
    if len(figures.nodes) <= _NODES:
        screen.print(_nodes(report))
        screen.print()
    for line in remarks(report):
        render.note(line)


def _title(report: Report) -> str:
    figures, mixture = report.figures, report.plan.mixture
    return (
        f"mode {report.mode}, {len(figures.nodes)} nodes, M={mixture.layers}, k={mixture.fanout}: "
        f"{figures.asked} queries in {figures.span:.1f} s, after {figures.sent - figures.asked} "
        "to warm up"
    )


def _comparison(report: Report) -> Table:
    """Draw what was measured beside what the theorem, the planner and the worlds say."""
    from rich.table import Table

    figures, beside = report.figures, report.beside
    rho, planner, world = beside.theorem1 or (), beside.planner, beside.world
    replayed = summed(beside.again) if beside.again else None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("measured", "replay", "Theorem 1", "planner", "worlds"):
        table.add_column(heading, justify="right")

    def row(name: str, measured: str, **said: str) -> None:
        cells = (said.get(each, "-") for each in ("replay", "theorem", "planner", "world"))
        table.add_row(name, measured, *cells)

    def worlds(key: str, unit: str = "") -> dict[str, str]:
        return {} if world is None else {"world": _estimate(world.figures[key], unit)}

    row("offered", f"{_figure(figures.offered)}/s", **worlds("offered", "/s"))
    goodput = {"planner": f"{_figure(planner.goodput)}/s"} if planner and planner.goodput else {}
    row("goodput", f"{_figure(figures.goodput)}/s", **goodput, **worlds("goodput", "/s"))
    for name in ("mean", "p50", "p95", "p99"):
        latency = planner.latency if planner else None
        told = {"planner": f"{_figure(getattr(latency, name))} s"} if latency else {}
        told |= {"replay": f"{_figure(replayed[name])} s"} if replayed else {}
        row(name, f"{_figure(getattr(figures, name))} s", **told, **worlds(name, " s"))
    if report.plan.deadline is not None:
        title = f"in time, {report.plan.deadline:g} s"
        row(title, _share(figures.in_time), **_shares(world.figures["in_time"] if world else None))
    row("proposals", _figure(figures.proposals), **worlds("proposals"))
    told = {"planner": _figure(_mean(planner.waiting))} if planner and planner.waiting else {}
    row("waiting jobs", _figure(figures.waiting), **told, **worlds("waiting"))
    busy = [each.mean for each in world.utilisations] if world else []
    for name, choose in (("busy, mean", _mean), ("busy, most", max)):
        told = {"theorem": _share(choose(rho))} if rho else {}
        told |= {"planner": _share(choose(planner.utilisations))} if planner else {}
        told |= {"world": _share(choose(busy))} if busy else {}
        row(name, _share(choose([each.utilisation for each in figures.nodes])), **told)
    return table


def _ends(report: Report) -> str:
    """Tell how the counted queries ended."""
    figures = report.figures
    counts = figures.counts | {"unanswered": figures.unanswered}
    return ", ".join(
        f"{count} {status}" for status, count in counts.items() if count or status == "answered"
    )


def _nodes(report: Report) -> Table:
    from rich.table import Table

    figures, beside = report.figures, report.beside
    table = Table(box=None, pad_edge=False, header_style="bold")
    headings = ["asked", "refused", "jobs", "service", "rho", "busy", "world", "waiting", "longest"]
    headings += ["memory"] if any(report.memory) else []
    table.add_column("node")
    for heading in headings:
        table.add_column(heading, justify="right")
    for place, each in enumerate(figures.nodes):
        longest = f"{each.peak} of {each.bound}" if each.bound else str(each.peak)
        cells = [
            str(each.asked),
            str(each.refused),
            str(each.jobs),
            f"{_figure(each.service_time)} s",
            f"{beside.theorem1[place]:.3f}" if beside.theorem1 else "-",
            _share(each.utilisation),
            _share(beside.world.utilisations[place].mean) if beside.world else "-",
            _figure(each.waiting),
            longest,
        ]
        if any(report.memory):
            cells.append(f"{report.memory[place] / _MIB:.0f} MiB")
        table.add_row(render.plain(each.name), *cells)
    return table


def remarks(report: Report) -> Iterable[str]:
    """Say what to take with care, and why something is not there."""
    yield from _silences(report)
    yield from _cuts(report)
    yield from _lateness(report)


def _silences(report: Report) -> Iterable[str]:
    for name, why in report.beside.silent.items():
        title = _SPEAKERS[name]
        yield f"nothing is said by {title}: {why}"
    if report.beside.planner is not None:
        yield from report.beside.planner.doubts if report.beside.planner.latency else ()


def _cuts(report: Report) -> Iterable[str]:
    """Tell what is missing of the test."""
    figures = report.figures
    if not report.done:
        yield "the test was stopped; this is what there is of it"
    if report.log.leg > 1:
        yield f"the test was gone on with {report.log.leg - 1} times; queues were empty after each"
    if report.log.torn:
        yield "the last line of the file was torn and is dropped"
    if figures.unanswered:
        yield (
            f"{figures.unanswered} queries have no end: they were under way when the test ended "
            "or was stopped, and times to answer are of the others"
        )
    if figures.counts["dropped"]:
        yield (
            f"{figures.counts['dropped']} queries were dropped by the generator, with "
            f"{report.plan.in_flight} under way; see --in-flight"
        )


def _lateness(report: Report) -> Iterable[str]:
    """Tell what is late, and what had been told of it."""
    figures = report.figures
    if figures.lag_p99 > LAG_MAX:
        yield (
            f"the generator itself was late: 1 of 100 queries by more than "
            f"{1e3 * figures.lag_p99:.0f} ms (at most {1e3 * figures.lag_max:.0f} ms), which is "
            "part of the times to answer; where it shares its machine with the nodes, they were "
            "slowed down as well"
        )
    if figures.spared > _MANY and report.beside.theorem1 and report.beside.world is None:
        yield (
            f"{figures.spared:.0%} of the jobs were stopped as others came first, mostly long "
            "ones: measured service times are a little short, and so is rho"
        )
    if figures.told:
        yield (
            f"of {figures.told} answers whose time was foretold at rho below 1, "
            f"{figures.told_near:.0%} came within a factor of {NEAR:g} of it"
        )
    if report.deadline_sent is not None and report.deadline_sent > _HOUR:
        yield "users waited however long (mode paper); the deadline only judges"


def show_change(reports: Sequence[Report]) -> None:
    """Tell how the tests differ."""
    from rich.text import Text

    for each in _changes(reports):
        parts = ", ".join(
            f"{name} {each[key]:+.0%}"
            for name, key in (("mean", "mean"), ("p95", "p95"), ("waiting jobs", "waiting"))
            if isfinite(each[key])
        )
        line = f"{each['mode']} against {each['against']}: {parts or 'nothing to compare'}"
        render.console().print(Text(line, style="bold"))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values) if values else nan


def _figure(value: float) -> str:
    if not isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004  (three digits)


def _share(value: float) -> str:
    return f"{value:.1%}" if isfinite(value) else "-"


def _shares(estimate: Estimate | None) -> dict[str, str]:
    return {} if estimate is None else {"world": _share(estimate.mean)}


def _estimate(estimate: Estimate, unit: str) -> str:
    """Write a mean, and how well it is known where it varies at all."""
    varies = isfinite(estimate.half) and estimate.half > _ROUNDING * abs(estimate.mean)
    half = f" ±{estimate.half:.2g}" if varies else ""
    return f"{_figure(estimate.mean)}{half}{unit}"


# -- the picture --------------------------------------------------------------------------


def draw(report: Report, file: Path) -> None:
    """Draw the test over time, and how long answers took."""
    from dmoa.study import plots
    from dmoa.study.load.picture import panels

    found = panels(
        report.log,
        report.arrivals.times,
        report.figures,
        report.beside,
        deadline=report.plan.deadline,
    )
    plots.lines(found, file, title=_title(report))
