"""`dmoa simulate`: what a network does under load, at one point or at many."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli.options import NO, command, json_option
from dmoa.cli.progress import progress_bar
from dmoa.cli.watching import check_watched, player, watch_options, watch_point

if TYPE_CHECKING:
    from dmoa.core.network import Costs
    from dmoa.sim.setting import Bursts, Recorded
    from dmoa.study.grid import Grid, Point
    from dmoa.study.network_file import Description
    from dmoa.study.sweep import Sweep
    from dmoa.theory.laws import Law

_NODES = 10
_QUERIES = 20_000
_WARMUP = 0.1
_FEW = 50
"""Queries per node below which a run may not have settled."""
_RUNS = (".jsonl", ".csv")
_FILE = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options, as they were written."""

    nodes: str | None
    layers: str
    fanout: str
    arrival_rate: str | None
    service_time: str | None
    slots: str | None
    costs: str | None
    overlap: float | None
    network: Path | None
    topology: str | None
    law: str
    policy: str
    overrides: str | None
    arrivals: str
    gossip: str
    deadline: float
    queries: int | None
    warmup: float | None
    replications: int
    seed: int
    engine: str
    jobs: int | None


@command(
    "dmoa simulate --nodes 10 --arrival-rate 0.7rho --layers 2 --fanout 3",
    "dmoa simulate --arrival-rate 0.1:1.2:0.1rho --layers 0:2 --fanout 1,2 --plot load.svg",
    "dmoa simulate --arrival-rate 0.9rho --policy paper,loaded,steady --out runs.jsonl",
    "dmoa simulate --nodes 12 --arrival-rate 0.8rho --queries 500 --watch",
)
@click.option("--nodes", metavar="LIST", help=f"Nodes  [default: {_NODES}, or as the lists say]")
@click.option("--layers", metavar="LIST", default="1", show_default=True, help="Layers, M")
@click.option(
    "--fanout", metavar="LIST", default="2", show_default=True, help="Peers asked per layer, k"
)
@click.option(
    "--arrival-rate",
    metavar="LIST",
    help="Queries/s asked at each node; 0.7rho is what makes the utilisation 0.7",
)
@click.option(
    "--service-time", metavar="SECONDS[,...]", help="Of a job; one, or one per node  [default: 1]"
)
@click.option("--slots", metavar="COUNT[,...]", help="Jobs a node serves at once  [default: 1]")
@click.option(
    "--costs",
    metavar="A,B,C",
    help="Job times of layer 1, later layers, aggregation, in --service-time",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Of jobs that read proposals, what is reading: eager policies hide it",
)
@click.option(
    "--network",
    type=_FILE,
    metavar="FILE.toml",
    help="A network to read; other options go before what it says",
)
@click.option(
    "--topology", metavar="GRAPH", help="Who may draw whom: ring, small-world:4:0.1, ..., a file"
)
@click.option(
    "--law",
    metavar="LIST",
    default="exp",
    show_default=True,
    help="How service times vary: fixed, exp, lognormal:CV:COMMON, ..., measured:FILE",
)
@click.option(
    "--policy",
    metavar="LIST",
    default="paper",
    show_default=True,
    help="paper, loaded, steady, live, ...",
)
@click.option(
    "--set", "overrides", metavar="KEY=VALUE[,...]", help="Set parts of the policies: order=oldest"
)
@click.option(
    "--arrivals",
    metavar="HOW",
    default="poisson",
    show_default=True,
    help="poisson, bursts LOW/HIGH:SECONDS/SECONDS, or a trace .csv, .jsonl",
)
@click.option(
    "--gossip", metavar="LIST", default="0", show_default=True, help="Seconds between two digests"
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    default=inf,
    help="Until when an answer is in time",
)
@click.option(
    "--queries", type=click.IntRange(min=1), metavar="N", help=f"Of a run  [default: {_QUERIES}]"
)
@click.option(
    "--warmup",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help=f"Not counted at the start  [default: {_WARMUP}]",
)
@click.option(
    "--replications",
    type=click.IntRange(1, 1000),
    metavar="R",
    default=5,
    show_default=True,
    help="Runs of each point, for the intervals",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the first replication")
@click.option(
    "--engine",
    type=click.Choice(["auto", "kernel", "lindley", "world"]),
    default="auto",
    show_default=True,
    help="What simulates; world is the product's own agents",
)
@click.option(
    "--jobs", type=click.IntRange(1, 1024), metavar="N", help="Processes  [default: cores]"
)
@click.option(
    "--out", type=_FILE, metavar="FILE", help="Keep runs (.jsonl) or rows (.csv), and go on there"
)
@click.option("--plot", type=_FILE, metavar="FILE", help="Draw times over load: .png, .svg")
@watch_options("Live through one point before your eyes, on a page")
@json_option("Write one JSON object instead of a table")
def simulate(  # noqa: PLR0913  (one for each option that says what to do with the rest)
    *,
    out: Path | None,
    plot: Path | None,
    watch: bool,
    speed: float | None,
    port: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Simulate a network under load, at one point or at many.

    A LIST is a number, 1,2,4 or START:END:STEP; every combination is simulated. Each row tells
    means over replications with 95 % intervals. Exits with 3 where one point alone was asked
    for, and its queues grow.
    """
    from dmoa.cli import simulate_view as view

    wanted, how = _Wanted(**options), player(watch=watch, speed=speed, port=port)
    runs = _check(out, plot)
    points = _grid(wanted).points()
    show = partial(view.report, points, out=out, runs=runs, plot=plot, as_json=as_json)
    if how is not None:
        check_watched(points, wanted.engine, out)
        stable = watch_point(points[0], how, lambda each, seconds: show([[each]], seconds))
    else:
        began = time.monotonic()
        with progress_bar("simulate") as bar:
            sweep = _sweep(wanted, points, runs, bar)
            try:
                outcomes = sweep.measure()
            except KeyboardInterrupt:
                bar.say(_stopped(sweep))
                raise
        stable = show(outcomes, time.monotonic() - began)
    if not stable:
        raise click.exceptions.Exit(NO)


def _check(out: Path | None, plot: Path | None) -> Path | None:
    """Refuse files that could not be written in the end; tell where the runs are kept."""
    from dmoa.errors import UsageError

    if plot is not None:
        from dmoa.study import plots

        plots.check(plot)
    if out is None:
        return None
    if out.suffix.lower() not in _RUNS:
        raise UsageError(
            f"results are kept as {' or '.join(_RUNS)}, not as {out.name!r}",
            hint=f"name it {out.stem or 'runs'}.jsonl",
        )
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError(f"{out} cannot be written", hint="name a file in a folder that exists")
    return out.with_suffix(".jsonl")


# -- from options to a grid -----------------------------------------------------------


def _grid(wanted: _Wanted) -> Grid:
    from dmoa.sim.setting import Recorded
    from dmoa.study import spelling
    from dmoa.study.grid import Grid

    arrivals = spelling.arrivals(wanted.arrivals)
    laws = spelling.laws(wanted.law)
    nodes = spelling.counts(wanted.nodes, "--nodes", 1) if wanted.nodes else ()
    description = _described(wanted, nodes, laws)
    traced = isinstance(arrivals, Recorded)
    if not nodes and _is_open(description):
        nodes = (max(arrivals.homes) + 1,) if isinstance(arrivals, Recorded) else (_NODES,)
    return Grid(
        network=description,
        nodes=nodes,
        layers=spelling.counts(wanted.layers, "--layers"),
        fanouts=spelling.counts(wanted.fanout, "--fanout"),
        rates=_rates(wanted, arrivals),
        policies=spelling.policies(wanted.policy, wanted.overrides),
        laws=laws,
        gossips=spelling.seconds(wanted.gossip, "--gossip"),
        topology=wanted.topology,
        arrivals=arrivals,
        queries=wanted.queries or (len(arrivals.times) if traced else _QUERIES),
        warmup=wanted.warmup if wanted.warmup is not None else (0.0 if traced else _WARMUP),
        deadline=wanted.deadline,
        seed=wanted.seed,
    )


def _rates(wanted: _Wanted, arrivals: Bursts | Recorded | None) -> Sequence[Any]:
    from dmoa.errors import UsageError
    from dmoa.sim.setting import Recorded
    from dmoa.study import spelling

    if wanted.arrival_rate is None:
        return ()
    if isinstance(arrivals, Recorded):
        raise UsageError(
            "a trace has its own arrivals, and --arrival-rate others",
            hint="leave --arrival-rate out",
        )
    return spelling.rates(wanted.arrival_rate)


def _described(
    wanted: _Wanted, nodes: Sequence[int], laws: Sequence[tuple[str, Law]]
) -> Description:
    """Put together what the file says of the network, and what the options say before it."""
    from dmoa.study.network_file import Description, describe, parse_counts, parse_numbers

    said: dict[str, Any] = {}
    if wanted.service_time is not None:
        said["service_time"] = parse_numbers(wanted.service_time, "--service-time")
    if wanted.slots is not None:
        said["slots"] = parse_counts(wanted.slots, "--slots")
    if wanted.costs is not None:
        said["costs"] = _costs(wanted.costs)
    found = replace(describe(wanted.network) if wanted.network else Description(), **said)
    if wanted.overlap is not None:
        found = replace(found, costs=replace(found.costs, overlap=wanted.overlap))
    if nodes:
        found = replace(found, nodes=None)
    if not found.service_time:
        found = replace(found, service_time=(_service_time(laws),))
    return found


def _costs(text: str) -> Costs:
    from dmoa.core.network import Costs
    from dmoa.errors import NetworkShapeError
    from dmoa.study.network_file import parse_numbers

    values = parse_numbers(text, "--costs")
    if len(values) != 3:  # noqa: PLR2004  (a kind of job each)
        raise NetworkShapeError(
            f"--costs takes three numbers, not {len(values)}",
            hint="write --costs FIRST,LATER,AGGREGATION, for example 1,1.5,2",
        )
    return Costs(*values)


def _service_time(laws: Sequence[tuple[str, Law]]) -> float:
    """Take the mean of what was measured, where that is the law and nothing else is said."""
    from math import fsum

    from dmoa.study import spelling

    (text, _), *others = laws
    if others or not text.startswith("measured:"):
        return 1.0
    samples = spelling.measured(text, text.partition(":")[2])
    return fsum(samples) / len(samples)


def _is_open(description: Description) -> bool:
    """Tell whether nothing says how many nodes there are."""
    lists = (description.arrival_rate, description.service_time, description.slots)
    several = any(len(each) > 1 for each in lists)
    return description.nodes is None and description.graph is None and not several


# -- running --------------------------------------------------------------------------


def _sweep(wanted: _Wanted, points: Sequence[Point], file: Path | None, bar: progress_bar) -> Sweep:
    from dmoa.study.sweep import Sweep

    few = [p for p in points if p.setting.queries < _FEW * p.setting.network.nodes]
    if few:
        setting = few[0].setting
        bar.say(
            f"note: with {setting.queries} --queries for {setting.network.nodes} nodes, queues may "
            "not have settled"
        )
    return Sweep(
        points=points,
        replications=wanted.replications,
        engine=wanted.engine,
        jobs=wanted.jobs or _cores(),
        file=file,
        note=lambda text: bar.say(f"note: {text}"),
        progress=bar,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _stopped(sweep: Sweep) -> str:
    if sweep.file is None:
        return "stopped; with --out FILE.jsonl the runs would have been kept"
    kept = sweep.file.read_bytes().count(b"\n") if sweep.file.exists() else 0
    runs = len(sweep.points) * sweep.replications
    return f"stopped; {sweep.file} has {kept} of {runs} runs, and the same command goes on there"
