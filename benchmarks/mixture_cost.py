"""What a mixture of M=1, k=3 costs on top of its models: dmoa, optillm and the bare minimum.

All are measured in one run, in turn, with models that take 200 ms a call. Needs Linux.

    uv run python benchmarks/mixture_cost.py
    uv run python benchmarks/mixture_cost.py --quick --json
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import figures
import processes
import systems
from figures import Spread
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from systems import System

ROUNDS, WARM_UP = 30, 1
QUICK_ROUNDS = 5
SETTLE = 0.01
"""Seconds after an answer in which its CPU time is still counted."""
IDLE = 2.0
"""Seconds for which the CPU time of nodes without work is measured."""
TOKENS, TOKEN_SECONDS, TOKEN_ROUNDS = 100, 0.5, 4

console = Console(stderr=True, highlight=False)


@dataclass(slots=True)
class Record:
    """What was measured of one system, in seconds."""

    seconds: list[float] = field(default_factory=list[float])
    first: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True)
class TokenCost:
    """CPU time of streaming, in microseconds per token, without what idle nodes use."""

    name: str
    tokens: int
    """Written by all models for one answer."""
    microseconds: Spread


async def measure(compared: list[System], rounds: int) -> dict[str, Record]:
    """Ask every system in turn, round after round."""
    records = {system.name: Record() for system in compared}
    columns = (TextColumn("{task.description:<40}"), BarColumn(), MofNCompleteColumn())
    # It draws between the answers only, so that it takes no time from them.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=(WARM_UP + rounds) * len(compared))
        for turn in range(WARM_UP + rounds):
            for system in compared:
                progress.update(task, description=system.name, refresh=True)
                await _once(system, records[system.name] if turn >= WARM_UP else Record())
                progress.advance(task)
    return records


async def _once(system: System, record: Record) -> None:
    used = processes.cpu_seconds(system.pids)
    reply = await system.ask()
    await asyncio.sleep(SETTLE)
    record.cpu.append(processes.cpu_seconds(system.pids) - used)
    record.seconds.append(reply.seconds)
    record.first.append(reply.first)


async def idle_rate(pids: tuple[int, ...]) -> float:
    """Measure the CPU seconds per second of processes that have nothing to do."""
    used, start = processes.cpu_seconds(pids), time.perf_counter()
    await asyncio.sleep(IDLE)
    return (processes.cpu_seconds(pids) - used) / (time.perf_counter() - start)


async def token_costs(net: systems.Nodes, rounds: int) -> tuple[list[TokenCost], float]:
    """Measure what a token costs: to write it, to stream it to a client, and in a mixture."""
    idle = await idle_rate(net.pids)
    mixture = f"dmoa-m1k{systems.FANOUT}"
    ways = [
        ("own model, answer whole (mostly the fake model's clock)", "local", False, TOKENS),
        ("own model, streamed to a client", "local", True, TOKENS),
        (f"M=1, k={systems.FANOUT}, streamed", mixture, True, systems.JOBS * TOKENS),
    ]
    found: list[list[float]] = [[] for _ in ways]
    for turn in range(1 + rounds):
        for (_, model, stream, tokens), costs in zip(ways, found, strict=True):
            used, start = processes.cpu_seconds(net.pids), time.perf_counter()
            reply = await net.ask(model, stream=stream)
            await asyncio.sleep(SETTLE)
            cpu = processes.cpu_seconds(net.pids) - used
            cpu -= idle * (time.perf_counter() - start)
            if stream:
                assert reply.events > TOKENS * 0.9, f"only {reply.events} tokens were streamed"
            if turn:
                costs.append(cpu * 1e6 / tokens)
    costs = [
        TokenCost(name, tokens, Spread.of(values))
        for (name, _, _, tokens), values in zip(ways, found, strict=True)
    ]
    return costs, idle


def _row(system: System, record: Record, floor: float) -> list[str]:
    whole = Spread.of([second * 1e3 for second in record.seconds])
    cells = [system.name, f"{system.bound * 1e3:.0f}", whole.text()]
    cells += [f"+{whole.median - system.bound * 1e3:.1f}", f"{whole.median / floor / 1e3:.2f}"]
    first = "-"
    if system.first_bound is not None:
        spread = Spread.of([second * 1e3 for second in record.first])
        first = f"{spread.text()}, bound {system.first_bound * 1e3:.0f}"
    cpu = Spread.of([second * 1e3 for second in record.cpu]).text() if system.pids else "-"
    each = "-"
    if system.jobs:
        each = f"{Spread.of([second * 1e3 / system.jobs for second in record.cpu]).median:.1f}"
    return [*cells, first, cpu, each]


def report(results: dict[str, Any], compared: list[System], records: dict[str, Record]) -> str:
    """Write it all as Markdown."""
    head = ["median (quartiles) of", "bound, ms", "answer, ms", "over bound, ms", "x floor"]
    head += ["first token, ms", "CPU, ms per answer", "CPU, ms per job"]
    floor = Spread.of(records["bare fan-out, streamed"].seconds).median
    rows = [_row(system, records[system.name], floor) for system in compared]
    costs = [
        [cost["name"], str(cost["tokens"]), Spread(**cost["microseconds"]).text(0)]
        for cost in results["token_costs"]
    ]
    before, after = results["load"]
    conditions = f"load {before:.1f} before, {after:.1f} after; {results['rounds']} rounds"
    return "\n".join(
        [
            f"{results['machine']}; {conditions}",
            "",
            figures.table(head, rows),
            "",
            figures.table(
                ["CPU of all nodes of dmoa", "tokens of all jobs", "us per token"], costs
            ),
            "",
            f"An idle node uses {results['idle_ms_per_second']:.1f} ms of CPU per second.",
        ]
    )


def as_data(system: System, record: Record) -> dict[str, Any]:
    """Shape what was measured of one system for machines."""
    return {
        "system": system.name,
        "bound_seconds": system.bound,
        "first_token_bound_seconds": system.first_bound,
        "jobs": system.jobs,
        **{f"{name}_seconds": values for name, values in asdict(record).items()},
    }


def say(text: str) -> None:
    """Tell the person who waits."""
    console.print(text)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--rounds", type=int, help=f"counted answers of each  [default: {ROUNDS}]")
    parser.add_argument("--no-optillm", action="store_true", help="leave optillm out")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    args = parser.parse_args()
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    if rounds < 2:  # noqa: PLR2004  (quartiles need two)
        parser.error("at least 2 rounds")
    before = figures.load()
    with systems.all_systems(say, optillm=not args.no_optillm) as compared:
        say(f"{len(compared)} systems are asked in turn, {WARM_UP} + {rounds} times each")
        gc.freeze()
        records = asyncio.run(measure(compared, rounds))
    say(f"nodes whose models write {TOKENS} tokens in {TOKEN_SECONDS} s are started")
    with systems.nodes(f"fake:{TOKEN_SECONDS}?tokens={TOKENS}") as net:
        costs, idle = asyncio.run(token_costs(net, 2 if args.quick else TOKEN_ROUNDS))
    results: dict[str, Any] = {
        "machine": figures.machine(),
        "load": [before, figures.load()],
        "rounds": rounds,
        "optillm": any(system.name.startswith("optillm") for system in compared),
        "systems": [as_data(system, records[system.name]) for system in compared],
        "token_costs": [asdict(cost) for cost in costs],
        "idle_ms_per_second": idle * 1e3 / systems.NODES,
    }
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()
    else:
        print(report(results, compared, records))
        if not results["optillm"]:
            print("\noptillm was NOT measured.")


if __name__ == "__main__":
    main()
