"""What a node costs before it is asked anything: time to import, time to ready, memory.

    uv run python benchmarks/startup.py
    uv run python benchmarks/startup.py --quick --json

Memory is read from /proc, so that it needs Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import figures
import processes
import wire
from figures import Spread
from rich.console import Console

ROUNDS, QUICK_ROUNDS = 9, 5
SETTLE = 1.0
"""Seconds from ready until memory is read: one gossip later."""
ANSWERS = 20
"""Asked before memory is read once more."""

HEAVY = [
    "asyncio",
    "click",
    "fastapi",
    "httpx2",
    "msgspec",
    "numpy",
    "opentelemetry",
    "openai",
    "pydantic",
    "rich",
    "starlette",
    "uvicorn",
    "xllamacpp",
    "zenoh",
]
ADAPTERS = set(HEAVY) - {"asyncio", "click"}
"""What belongs to an adapter, and must not be loaded before it is asked for."""

_IMPORT = """
import sys, time
start = time.perf_counter()
import dmoa
seconds = time.perf_counter() - start
print(seconds, len(sys.modules), *(name for name in %r if name in sys.modules))
"""

console = Console(stderr=True, highlight=False)


def import_time(rounds: int) -> dict[str, Any]:
    """Import dmoa in fresh interpreters."""
    seconds: list[float] = []
    modules, heavy = "0", list[str]()
    for turn in range(1 + rounds):
        command = [sys.executable, "-c", _IMPORT % (HEAVY,)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        taken, modules, *heavy = out.split()
        if turn:  # the first one may have had to compile
            seconds.append(float(taken))
    loaded = sorted(ADAPTERS & set(heavy))
    return {"seconds": seconds, "modules": int(modules), "heavy": heavy, "adapters": loaded}


def node(model: str, rounds: int) -> dict[str, Any]:
    """Start a node again and again; see when it is ready, and how large it is."""
    ready: list[float] = []
    idle: list[tuple[float, float]] = []
    used: list[tuple[float, float]] = []
    cpu: list[float] = []
    for turn in range(1 + rounds):
        command = [sys.executable, "-m", "dmoa", "up", "--json", "--config", os.devnull]
        command += ["--node", "alone", "--port", "0", "--stop-on-eof", "--model", model]
        start = time.perf_counter()
        with processes.running(command) as process:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            taken = time.perf_counter() - start
            spent = processes.cpu_seconds([process.pid])
            time.sleep(SETTLE)
            before = processes.memory_mb(process.pid)
            asyncio.run(_ask(told["url"] + "/v1", ANSWERS if model.startswith("fake") else 1))
            if turn:
                ready.append(taken)
                cpu.append(spent)
                idle.append(before)
                used.append(processes.memory_mb(process.pid))
    return {
        "model": told["model"],
        "ready_seconds": ready,
        "cpu_seconds": cpu,
        "rss_mb": [rss for rss, _ in idle],
        "pss_mb": [pss for _, pss in idle],
        "used_rss_mb": [rss for rss, _ in used],
        "used_pss_mb": [pss for _, pss in used],
    }


async def _ask(url: str, answers: int) -> None:
    messages = [{"role": "user", "content": "Say yes."}]
    for turn in range(answers):
        body = {"model": "local", "messages": messages, "stream": turn % 2 == 0, "max_tokens": 8}
        await wire.chat(url, body)


def report(results: dict[str, Any]) -> str:
    """Write it all as Markdown."""
    imported = results["import"]
    seconds = Spread.of([second * 1e3 for second in imported["seconds"]])
    rows = [
        [
            each["model"],
            Spread.of(each["ready_seconds"]).text(2),
            Spread.of(each["cpu_seconds"]).text(2),
            *(
                f"{statistics.median(each[f'{name}rss_mb']):.0f} RSS, "
                f"{statistics.median(each[f'{name}pss_mb']):.0f} PSS"
                for name in ("", "used_")
            ),
        ]
        for each in results["nodes"]
    ]
    head = ["node with model", "ready, s", "CPU until then, s"]
    head += ["memory when ready, MB", "memory once used, MB"]
    before, after = results["load"]
    conditions = f"load {before:.1f} before, {after:.1f} after; {results['rounds']} starts"
    adapters = ", ".join(imported["adapters"]) or "none"
    loaded = f"{imported['modules']} modules, of adapters: {adapters}"
    return "\n".join(
        [
            f"{results['machine']}; {conditions}; median (quartiles)",
            "",
            f"`import dmoa`: {seconds.text()} ms, {loaded}",
            "",
            figures.table(head, rows),
        ]
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} starts of each")
    parser.add_argument("--no-embedded", action="store_true", help="leave the embedded model out")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    args = parser.parse_args()
    rounds = QUICK_ROUNDS if args.quick else ROUNDS
    before = figures.load()
    console.print(f"dmoa is imported {1 + rounds} times")
    imported = import_time(rounds)
    models = ["fake:0"] if args.no_embedded else ["fake:0", "smollm2"]
    nodes: list[dict[str, Any]] = []
    for model in models:
        console.print(f"a node with {model} is started {1 + rounds} times")
        nodes.append(node(model, rounds))
    results = {
        "machine": figures.machine(),
        "load": [before, figures.load()],
        "rounds": rounds,
        "import": imported,
        "nodes": nodes,
    }
    if args.json:
        json.dump(results, sys.stdout, indent=2)
        print()
    else:
        print(report(results))


if __name__ == "__main__":
    main()
