"""`dmoa load`: queries sent to live nodes on time, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli import render
from dmoa.cli.demo import MOST_NODES
from dmoa.cli.options import NO, command, json_option, mixture_options
from dmoa.cli.progress import progress_bar
from dmoa.errors import DmoaError, UsageError

if TYPE_CHECKING:
    from dmoa.cli.fleet import Fleet
    from dmoa.study.load.plan import Plan, Report
    from dmoa.study.load.records import Log
    from dmoa.study.load.wanted import Wanted

_TICKS = 10
"""Of the progress bar in a second."""
_FILE = click.Path(path_type=Path)
_ABOVE_0 = click.FloatRange(0, min_open=True)


@command(
    "dmoa load --local 8 --service 0.2 --rho 0.7 --layers 2 --fanout 3",
    "dmoa load --url http://127.0.0.1:4747 --rate 0.2 --seconds 300 --out run.jsonl",
    "dmoa load --local 8 --service 0.2 --rho 0.9 --alternate paper,steady --plot run.svg",
)
@click.option("--url", "urls", metavar="URL", multiple=True, help="A node to ask; repeatable")
@click.option(
    "--local",
    type=click.IntRange(1, MOST_NODES),
    metavar="N",
    help="Start N nodes with fake models",
)
@click.option("--service", metavar="SECONDS[,...]", help="Of a job; one, or one per node")
@click.option(
    "--cv",
    type=click.FloatRange(0, 100),
    default=0.4,
    show_default=True,
    help="How much the service times of fake models vary",
)
@click.option(
    "--slots", metavar="COUNT[,...]", help="Jobs a fake model serves at once  [default: 1]"
)
@click.option(
    "--mode",
    type=click.Choice(["steady", "paper"]),
    help="Of nodes started here  [default: steady]",
)
@click.option(
    "--set", "changes", metavar="KEY=VALUE[,...]", help="Of nodes started here: hedge=0, ..."
)
@click.option(
    "--alternate", metavar="MODE,MODE", help="The same test on a network of each mode, in turn"
)
@click.option("--rate", metavar="NUMBER[,...]", help="Queries/s asked at each node")
@click.option("--rho", type=_ABOVE_0, metavar="RHO", help="Utilisation to reach, instead of a rate")
@click.option(
    "--bursts", metavar="LOW/HIGH:SECONDS/SECONDS", help="Let the rates change between two levels"
)
@click.option("--trace", type=_FILE, metavar="FILE", help="Arrivals to repeat: .csv, .jsonl")
@click.option("--seconds", type=_ABOVE_0, metavar="SECONDS", help="To ask for  [default: 60]")
@mixture_options(layers=1, fanout=2)
@click.option(
    "--deadline",
    type=click.FloatRange(0, 86_400, min_open=True),
    metavar="SECONDS",
    help="Until when an answer is in time",
)
@click.option("--prompts", type=_FILE, metavar="FILE.jsonl", help="What to ask  [default: our own]")
@click.option(
    "--in-flight",
    type=click.IntRange(1, 1_000_000),
    default=10_000,
    show_default=True,
    help="Queries under way at once; more are dropped",
)
@click.option(
    "--poll",
    type=click.FloatRange(0.05, 3600),
    default=0.5,
    show_default=True,
    help="Seconds between two looks at the queues",
)
@click.option(
    "--drain",
    type=click.FloatRange(0, 86_400),
    metavar="SECONDS",
    help="To wait for the last answers  [default: --deadline, or 60]",
)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.1,
    show_default=True,
    help="Share not counted at the start",
)
@click.option(
    "--worlds",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Simulations of the same load, for comparison",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of arrivals and fake models")
@click.option("--out", type=_FILE, metavar="FILE.jsonl", help="Keep what happens, and go on there")
@click.option("--plot", type=_FILE, metavar="FILE", help="Draw it: .png, .svg")
@json_option("Write one JSON object instead of tables")
def load(*, out: Path | None, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Put a live network under load, and compare with theory.

    Queries go out when they are due, whatever became of those before. At the end, what was
    measured stands beside Theorem 1, the planner, and a simulation with the measured service
    times. Exits with 3 where nothing was answered.
    """
    from dmoa.cli import load_view as view
    from dmoa.study.load.wanted import Wanted, modes_of, plan_of

    wanted = Wanted(**options)
    modes = modes_of(wanted)
    plans = [plan_of(wanted, mode) for mode in modes]
    outs = [_file_of(out, mode, modes) for mode in modes]
    plots = [_file_of(plot, mode, modes) for mode in modes]
    _check(outs, plots)
    _allow_connections(wanted.in_flight)
    reports: list[Report] = []
    for mode, plan, file, picture in zip(modes, plans, outs, plots, strict=True):
        found = _test(plan, wanted, mode, file)
        if found is None:
            break
        reports.append(found)
        if not as_json:
            view.show(found)
        if picture is not None:
            view.draw(found, picture)
            render.talk(f"drawn: {picture}")
        if not found.done:
            break
    if as_json and reports:
        render.data(view.data(reports))
    elif len(reports) > 1:
        view.show_change(reports)
    if len(reports) < len(modes) or not reports[-1].done:
        raise click.Abort
    if not any(each.figures.counts["answered"] for each in reports):
        render.talk("no: nothing was answered")
        raise click.exceptions.Exit(NO)


# -- files --------------------------------------------------------------------------------


def _file_of(file: Path | None, mode: str | None, modes: Sequence[str | None]) -> Path | None:
    """Name the file of one mode, where there are several: run.jsonl is run-paper.jsonl."""
    if file is None or len(modes) == 1:
        return file
    return file.with_name(f"{file.stem}-{mode}{file.suffix}")


def _check(outs: Sequence[Path | None], pictures: Sequence[Path | None]) -> None:
    """Refuse, before the work, files that could not be written after it."""
    from dmoa.study import plots

    for picture in pictures:
        if picture is not None:
            plots.check(picture)
    for out in outs:
        if out is not None and (out.is_dir() or out.suffix.lower() != ".jsonl"):
            raise UsageError(
                f"what happens is kept as .jsonl, not as {out.name!r}",
                hint=f"name it {out.stem or 'run'}.jsonl",
            )


def _allow_connections(in_flight: int) -> None:
    """Let this process and those it starts hold a connection for each query under way."""
    try:
        resource: Any = import_module("resource")
    except ImportError:  # not on this system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = in_flight + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
        if most < wanted:
            render.note(f"this system lets a process hold {most} connections at most")


# -- a test -------------------------------------------------------------------------------


def _test(plan: Plan, wanted: Wanted, mode: str | None, out: Path | None) -> Report | None:
    """Run what is left of a test, and sum it up; None where nothing was asked."""
    from dmoa.study.load.plan import is_over, report
    from dmoa.study.load.records import FileLog, Log

    keeping: AbstractContextManager[Log] = FileLog(out, plan.settings()) if out else Log()
    with keeping as log:
        done, memory = True, list[int]()
        if is_over(plan, log):
            render.talk(f"{out} has all of the test; nothing is asked again")
        else:
            if log.asked:
                render.talk(f"{out} has {log.asked} queries; the test goes on at {log.left:.1f} s")
            done, memory = _run(plan, wanted, mode, log)
    with progress_bar("simulate the same") as bar:
        try:
            return report(plan, log, done=done, worlds=wanted.worlds, memory=memory, told=bar)
        except KeyboardInterrupt:
            bar.say("stopped; the simulation is left out")
            return report(plan, log, done=False, worlds=0, memory=memory)


def _run(plan: Plan, wanted: Wanted, mode: str | None, log: Log) -> tuple[bool, list[int]]:
    """Run a test on its nodes; tell whether it came to its end, and the memory of own nodes."""
    from dmoa.cli.fleet import Fleet

    if wanted.local is None:
        return _ask(plan, wanted.urls, log), []
    with Fleet(_models(plan, wanted), options=plan.options) as fleet:
        _gather(fleet, mode)
        done = _ask(plan, [each.url for each in fleet.members], log)
        try:
            fleet.check()
        except DmoaError as error:  # what was measured until then is still worth its report
            render.note(error.message)
        return done, fleet.memory()


def _models(plan: Plan, wanted: Wanted) -> list[str]:
    """Name the fake model of each node."""
    rows = enumerate(zip(plan.service_times, plan.slots, strict=True))
    return [
        f"fake:{_plain(seconds)}?cv={_plain(wanted.cv)}&tokens=1"
        f"&seed={1000 * abs(wanted.seed) + node}&slots={slots}"
        for node, (seconds, slots) in rows
    ]


def _plain(number: float) -> str:
    return f"{number:.9f}".rstrip("0").rstrip(".")


def _gather(fleet: Fleet, mode: str | None) -> None:
    """Wait until all nodes are ready and have met."""
    render.talk(f"{len(fleet.members)} nodes start on this machine, mode {mode}")
    fleet.wait_ready(lambda _: None)
    fleet.wait_met()


def _ask(plan: Plan, urls: Sequence[str], log: Log) -> bool:
    from dmoa.study.load.plan import perform

    with progress_bar("load") as bar:

        def told(at: float, answered: int, others: int) -> None:
            what = f"{answered} answered" + (f", {others} not" if others else "")
            total = max(_length(plan), at)
            bar(int(at * _TICKS), int(total * _TICKS), what)

        return asyncio.run(perform(plan, urls, log, told))


def _length(plan: Plan) -> float:
    """Tell how long is asked (seconds)."""
    last = plan.trace.times[-1] if plan.trace is not None else inf
    return min(plan.seconds, last)
