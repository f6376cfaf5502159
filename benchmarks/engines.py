"""How fast the simulators are: events per CPU second, against SimPy on the same model.

    uv run python benchmarks/engines.py
    uv run python benchmarks/engines.py --quick --json

An event is a question asked or a job done (an agent handles messages as well, which are told
apart). All engines take turns in one run, three times,
after each was warmed up; compiling is not counted, but told. Memory and the time to a first
answer are those of fresh interpreters.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import figures
import simpy
from figures import Spread
from rich.console import Console

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import POLICIES
from dmoa.sim.dream import Dream
from dmoa.sim.engine import simulate
from dmoa.sim.setting import Setting

ROUNDS = 3
MIXTURE, RHO = Mixture(2, 2), 0.7
SIZES = (10, 1000)
MILLION = 1_000_000

_FIRST = """
import time
start = time.perf_counter()
from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.sim.engine import simulate
from dmoa.sim.setting import Setting
network = Network.alike(10, arrival_rate=0.1)
simulate(Setting(network, Mixture(2, 2), queries=1000), engine={engine!r}, compiled={compiled})
print(time.perf_counter() - start, time.process_time())
"""

_MANY = """
import resource, time
from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.sim.engine import simulate
from dmoa.sim.setting import Setting
network = Network.alike({nodes}, arrival_rate=0.1)
setting = Setting(network, Mixture(2, 2), queries={queries})
told = simulate(setting, engine={engine!r}, compiled=True, clock=time.process_time)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(peak, told.events / told.cpu_seconds)
"""

console = Console(stderr=True, highlight=False)


def by_simpy(setting: Setting) -> float:
    """Run the model as one writes it for SimPy; tell the events per CPU second."""
    rng, env = random.Random(setting.seed), simpy.Environment()
    network, mixture = setting.network, setting.mixture
    nodes = [simpy.Resource(env) for _ in range(network.nodes)]
    rate = sum(network.arrival_rates)
    sojourns: list[float] = []

    def job(node: int) -> Iterator[Any]:
        with nodes[node].request() as slot:
            yield slot
            yield env.timeout(rng.expovariate(1.0))

    def others(home: int) -> list[int]:
        found: list[int] = []
        while len(found) < mixture.fanout:
            peer = rng.randrange(network.nodes)
            if peer != home and peer not in found:
                found.append(peer)
        return found

    def query(home: int) -> Iterator[Any]:
        asked = env.now
        for _ in range(mixture.layers):
            yield env.all_of([env.process(job(node)) for node in (home, *others(home))])
        yield env.process(job(home))
        sojourns.append(env.now - asked)

    def users() -> Iterator[Any]:
        for _ in range(setting.queries):
            yield env.timeout(rng.expovariate(rate))
            env.process(query(rng.randrange(network.nodes)))

    began = time.process_time()
    env.process(users())
    env.run()
    assert len(sojourns) == setting.queries
    return setting.queries * (mixture.visits + 1) / (time.process_time() - began)


def by_us(setting: Setting, **how: Any) -> float:
    """Run one of our engines; tell the events per CPU second."""
    told = simulate(setting, clock=time.process_time, **how)
    return told.events / told.cpu_seconds


def by_world(setting: Setting, *, own: bool) -> float:
    """Run the product's own agents; tell the events, or all their `own`, per CPU second."""
    began = time.process_time()
    life = Dream(setting)
    life.live()
    taken = time.process_time() - began
    return (life.world.events if own else life.outcome(taken).events) / taken


def speeds(nodes: int, scale: float) -> dict[str, list[float]]:
    """Let the engines take turns on a network of so many nodes."""
    network = Network.alike(nodes, arrival_rate=RHO / MIXTURE.visits)
    setting = Setting(network, MIXTURE)

    def of(queries: int) -> Setting:
        return replace(setting, queries=int(queries * scale))

    runs: dict[str, Callable[[], float]] = {
        "SimPy": partial(by_simpy, of(10_000)),
        "kernel, compiled": partial(by_us, of(400_000), engine="kernel", compiled=True),
        "Lindley, compiled": partial(by_us, of(1_000_000), engine="lindley", compiled=True),
        "kernel, plain Python": partial(by_us, of(10_000), engine="kernel", compiled=False),
        "Lindley, plain Python": partial(by_us, of(20_000), engine="lindley", compiled=False),
    }
    if nodes <= SIZES[0]:  # each agent knows all others
        runs["World, agents"] = partial(by_world, of(4000), own=False)
        runs["World, what agents handle"] = partial(by_world, of(4000), own=True)
    console.print(f"the engines are warmed up on {nodes} nodes")
    for engine in ("kernel", "lindley"):
        by_us(of(2000), engine=engine, compiled=True)
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS):
        console.print(f"round {turn + 1} of {ROUNDS} on {nodes} nodes")
        for name, run in runs.items():
            measured[name].append(run())
    return measured


def policies(scale: float) -> dict[str, list[float]]:
    """Let the compiled kernel follow each policy, M=2, k=3, on 20 nodes."""
    mixture = Mixture(2, 3)
    network = Network.alike(20, arrival_rate=RHO / mixture.visits)
    setting = Setting(network, mixture, queries=int(200_000 * scale))
    console.print("the kernel follows each policy")
    how = {"engine": "kernel", "compiled": True}
    known = {name: policy for name, policy in POLICIES.items() if not policy.lives}
    settings = {name: replace(setting, policy=policy) for name, policy in known.items()}
    return {name: [by_us(each, **how) for _ in range(ROUNDS)] for name, each in settings.items()}


def fresh(code: str) -> list[float]:
    """Run code in an interpreter of its own; read the numbers that it prints."""
    environment = {name: value for name, value in os.environ.items() if "DONTWRITE" not in name}
    environment["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir(), "dmoa-engines"))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return [float(each) for each in done.stdout.split()]


def first_answers() -> dict[str, list[list[float]]]:
    """Start, import and simulate 1000 queries, again and again: wall and CPU seconds."""
    console.print("first answers of fresh interpreters")
    told: dict[str, list[list[float]]] = {}
    for compiled in (False, True):
        for engine in ("lindley", "kernel"):
            name = f"{engine}, {'compiled before' if compiled else 'plain Python'}"
            code = _FIRST.format(engine=engine, compiled=compiled)
            told[name] = [fresh(code) for _ in range(1 + ROUNDS)][1:]
    return told


def million(scale: float) -> dict[str, list[float]]:
    """Simulate a million nodes: peak memory in MB, events per CPU second."""
    console.print("a million nodes")
    queries = int(4 * MILLION * scale)
    code = partial(_MANY.format, nodes=MILLION, queries=queries)
    return {engine: fresh(code(engine=engine)) for engine in ("lindley", "kernel")}


def report(results: dict[str, Any]) -> str:
    """Write it all as Markdown."""
    sizes = results["speeds"]
    rows: list[list[str]] = []
    for name in sizes[str(SIZES[0])]:
        row = [name]
        for nodes in map(str, SIZES):
            measured = sizes[nodes].get(name)
            if measured is None:
                row += ["-", "-"]
                continue
            base = statistics.median(sizes[nodes]["SimPy"])
            thousands = Spread.of([each / 1e3 for each in measured])
            row += [thousands.text(0), f"{statistics.median(measured) / base:.1f}"]
        rows.append(row)
    head = ["thousand events per CPU second"]
    for nodes in SIZES:
        head += [f"n={nodes}", "x SimPy"]
    by_policy = [
        [name, Spread.of([each / 1e3 for each in measured]).text(0)]
        for name, measured in results["policies"].items()
    ]
    answers = [
        [name, *(Spread.of(each).text(2) for each in zip(*measured, strict=True))]
        for name, measured in results["first"].items()
    ]
    many = [
        [name, f"{peak:.0f}", f"{speed / 1e3:.0f}"]
        for name, (peak, speed) in results["million"].items()
    ]
    before, after = results["load"]
    return "\n\n".join(
        [
            f"{results['machine']}; load {before:.1f} before, {after:.1f} after; {ROUNDS} rounds",
            figures.table(head, rows),
            figures.table(["kernel, compiled, n=20, M=2, k=3", "thousand events/CPU-s"], by_policy),
            figures.table(["import and first answer", "wall, s", "CPU, s"], answers),
            figures.table(["a million nodes", "peak, MB", "thousand events/CPU-s"], many),
        ]
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the queries")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    args = parser.parse_args()
    scale = 0.2 if args.quick else 1.0
    before = figures.load()
    results: dict[str, Any] = {
        "machine": figures.machine(),
        "speeds": {str(nodes): speeds(nodes, scale) for nodes in SIZES},
        "policies": policies(scale),
        "first": first_answers(),
        "million": million(scale),
    }
    results["load"] = [before, figures.load()]
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()
    else:
        print(report(results))


if __name__ == "__main__":
    main()
