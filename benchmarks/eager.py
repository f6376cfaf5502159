"""What eager prefill is worth: the aggregator reads while the proposers still write.

    uv run python benchmarks/eager.py replay out/       # the embedded model, recorded peers
    uv run python benchmarks/eager.py server out/       # the same with llama.cpp's own server
    uv run python benchmarks/eager.py processes out/    # three real nodes that share two cores
    uv run python benchmarks/eager.py virtual out/      # fake models on virtual time: exact figures
    uv run python benchmarks/eager.py load out/         # real nodes, fake models, rho 0.3, 0.5, 0.7
    uv run python benchmarks/eager.py virtual-load out/ # the same loads on virtual time
    uv run python benchmarks/eager.py accuracy out/     # is as much right as before?
    uv run python benchmarks/eager.py rounding out/     # how far texts differ by rounding alone
    uv run python benchmarks/eager.py table out/        # what is there so far

Both ways are always measured in the same run, by turns or side by side. Each part keeps a file
of JSON lines in the folder, and goes on with what is missing there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import eager_accuracy as accuracy
import eager_load as load
import eager_processes as processes
import eager_replay as replay
import eager_rounding as rounding
import eager_virtual as virtual
import eager_virtual_load as virtual_load
import figures
from eager_accuracy import read
from rich.console import Console

PARTS = ("replay", "server", "processes", "virtual", "load", "virtual-load")
PARTS += ("accuracy", "rounding")
ROUNDS = 10

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Tell how far it is."""
    console.print(text)


def measure(part: str, file: Path, options: argparse.Namespace) -> None:
    """Do what is missing of one part."""
    rounds: int = options.rounds
    match part:
        case "replay":
            asyncio.run(replay.run(file, rounds, say, stretch=options.stretch))
        case "server":
            asyncio.run(replay.run(file, rounds, say, stretch=options.stretch, served=True))
        case "processes":
            asyncio.run(processes.run(file, rounds, options.proposals, say))
        case "load":
            load.run(file, options.seconds, options.seed, options.set or {}, say)
        case "accuracy":
            asyncio.run(accuracy.run(file, options.items, say))
        case "rounding":
            asyncio.run(rounding.run(file, min(options.items, rounding.ITEMS), say))
        case _:
            dreamt = part == "virtual-load"
            lines = virtual_load.run(say) if dreamt else virtual.data(virtual.run(say=say))
            file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def told(part: str, file: Path) -> tuple[Any, str]:
    """Sum up what a file has of a part: as values and as text; ValueError where it lacks all."""
    lines = read(file)
    if not lines:
        raise ValueError("nothing was measured yet")
    found: Any = lines
    match part:
        case "replay" | "server":
            found = replay.summaries(lines)
            text = figures.table(replay.HEAD, replay.rows(found))
        case "processes":
            found = processes.summary(lines)
            text = processes.text(found)
        case "load":
            text = load.text(lines)
        case "virtual-load":
            text = virtual_load.text(lines)
        case "accuracy":
            verdict = accuracy.verdict(lines)
            found, text = asdict(verdict), accuracy.text(verdict)
        case "rounding":
            found = rounding.summary(lines)
            text = rounding.text(found)
        case _:
            text = virtual.text([virtual.Line(**line) for line in lines])
    return found, text


def show(parts: list[str], folder: Path, *, as_json: bool) -> None:
    """Write what is there of some parts."""
    data: dict[str, Any] = {"machine": figures.machine(), "load": figures.load()}
    texts = [f"{figures.machine()}, load {figures.load():.1f}"]
    for part in parts:
        try:
            data[part], text = told(part, folder / f"{part}.jsonl")
        except ValueError as error:
            text = f"{error}"
        texts.append(f"## {part}\n\n{text}")
    print(json.dumps(data) if as_json else "\n\n".join(texts))


STRETCH = "times of recorded peers, for a machine on which home's own proposal is late (1)"
LENGTHS = "tokens of a proposal of each of the `processes` (40,70,150)"


def lengths(text: str) -> tuple[int, ...]:
    """Read the length of a proposal of each process."""
    found = tuple(map(int, text.split(",")))
    if len(found) != processes.FANOUT + 1:
        raise argparse.ArgumentTypeError(f"write {processes.FANOUT + 1} lengths like 40,70,150")
    return found


def setting(text: str) -> dict[str, Any]:
    """Read settings of nodes, as a JSON object."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('write settings like {"hedge": 0}')
    return found


def main() -> None:
    """Measure a part, or write what is there."""
    if sys.argv[1:2] == ["serve"]:
        replay.serve()
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=(*PARTS, "write", "table"))
    parser.add_argument("folder", type=Path, help="for the lines of each part")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"questions ({ROUNDS})")
    parser.add_argument("--stretch", type=float, default=1.0, help=STRETCH)
    parser.add_argument("--items", type=int, default=accuracy.ITEMS, help="tasks of `accuracy`")
    parser.add_argument("--proposals", type=lengths, default=processes.PROPOSALS, help=LENGTHS)
    parser.add_argument(
        "--seconds", type=float, default=load.SECONDS, help=f"of all loads ({load.SECONDS:g})"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the loads' arrivals and services")
    parser.add_argument("--set", type=setting, help='of the loads\' nodes, as {"hedge": 0}')
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.part == "write":
        asyncio.run(replay.write(say))
        return
    parts = list(PARTS) if options.part == "table" else [options.part]
    if options.part != "table":
        measure(options.part, options.folder / f"{options.part}.jsonl", options)
    show(parts, options.folder, as_json=options.json)


if __name__ == "__main__":
    main()
