"""What `dmoa eval` takes beside its models: 805 instructions asked and judged, with fake models.

Nodes are processes whose models take a fixed time; so is the judge, an endpoint of its own. What
they worked, spread over their slots, is the least that a run could take. Needs Linux.

    uv run python benchmarks/evaluation.py
    uv run python benchmarks/evaluation.py --quick --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import exp, log
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import figures
import processes
from rich.console import Console

from dmoa.cli.fleet import Fleet
from dmoa.study.evals.asking import perform
from dmoa.study.evals.docket import BASELINE, Wish
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.judge import Judge
from dmoa.study.evals.judging import judge_run
from dmoa.study.evals.plan import Draft, Run
from dmoa.study.evals.records import Answer, Item, Span

ITEMS, QUICK_ITEMS = 805, 100
ROUNDS, QUICK_ROUNDS = 3, 1
NODES, SLOTS, SECONDS = 4, 4, 0.5
"""Nodes, jobs that each serves at once, and seconds of a job: 32 jobs/s in all."""
ASKED = ("local@n1", "dmoa-m1k2")
DEPTH = 3
"""Items under way for every slot, so that no slot waits for the next."""
JUDGE_SLOTS, JUDGE_SECONDS = 16, 0.5
SETTINGS = {"mode": "paper", "queue_jobs": 4096, "deadline": 3600.0}
"""Nothing is refused, spared or made smaller: every query has all its jobs."""

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a run; times in seconds.

    `bound` is what the busiest of those who worked took, as they measured it, over its slots;
    `nominal` what the work would take if every job took exactly its time and all slots shared it.
    `cpu` is the CPU time of the command itself.
    """

    name: str
    wall: float
    bound: float
    nominal: float
    cpu: float

    @property
    def overhead(self) -> float:
        """Share of the bound that it took longer."""
        return self.wall / self.bound - 1.0


def instructions(count: int) -> tuple[Item, ...]:
    """Make instructions as long as those of AlpacaEval 2.0: 21 tokens in the median, 74 at p90."""
    rng = Random(805)
    letters = "etaoinshrdlu"
    found: list[Item] = []
    for number in range(count):
        tokens = min(483, max(3, round(21 * exp(0.98 * rng.gauss(0.0, 1.0)))))
        words = [
            "".join(rng.choices(letters, k=rng.randint(2, 8)))
            for _ in range(max(1, round(tokens / 1.3)))
        ]
        text = f"{number}: {' '.join(words)}?"
        reference = "".join(rng.choices(letters + " ", k=2000))
        found.append(Item(f"item-{number}", "made", (text,), reference=reference))
    return tuple(found)


# -- asking -------------------------------------------------------------------------------


async def ask(place: Path, fleet: Fleet, items: Sequence[Item], name: str) -> Part:
    """Ask one configuration all items, as `dmoa eval run` does."""
    slots = NODES * SLOTS if "@" not in name else SLOTS
    draft = Draft(name, tuple(items), concurrency=DEPTH * slots, members=False)
    before = _cpu()
    with Run(place) as run:
        await perform(run, [each.url for each in fleet.members], draft, lambda _: None)
    cpu = _cpu() - before
    folder = Folder(place)
    answers, spans = list(folder.answers().values()), list(folder.spans().values())
    _check(answers, len(items))
    wall = max(each.asked + each.seconds for each in answers) - min(each.asked for each in answers)
    nominal = sum(each.jobs for each in answers) * SECONDS / slots
    return Part(name, wall, _busiest(spans), nominal, cpu)


def _check(answers: Sequence[Answer], count: int) -> None:
    """See that every item was answered, by all the jobs of its mixture."""
    jobs = {each.jobs for each in answers}
    if len(answers) < count or {each.status for each in answers} != {"answered"} or len(jobs) > 1:
        raise SystemExit(f"not all {count} items were answered alike: jobs {sorted(jobs)}")


def _busiest(spans: Sequence[Span]) -> float:
    return max(each.serving_job_seconds for each in spans) / SLOTS


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# -- judging ------------------------------------------------------------------------------


async def judge(place: Path, port: int, count: int) -> Part:
    """Have all answers of a run judged in both orders, as `dmoa eval judge` does."""
    before, begun = _cpu(), time.monotonic()
    judging = Judge(f"openai:http://127.0.0.1:{port}/v1#fake")
    _, bench = await judge_run(
        Folder(place), judging, Wish(BASELINE), concurrency=DEPTH * JUDGE_SLOTS, report=_unheard
    )
    wall, cpu = time.monotonic() - begun, _cpu() - before
    verdicts = {each.verdict for each in bench.found.values()}
    if verdicts != {"judged"} or bench.asked != 2 * count:
        raise SystemExit(f"not all was judged: {bench.asked} of {2 * count}, {sorted(verdicts)}")
    worked = await _worked(port)
    nominal = bench.asked * JUDGE_SECONDS / JUDGE_SLOTS
    return Part("judge", wall, worked / JUDGE_SLOTS, nominal, cpu)


def _unheard(*_: object) -> None:
    """Tell nobody how far it is."""


async def _worked(port: int) -> float:
    """Ask the fake judge how many seconds it worked since it was asked last."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /worked HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].split()[0])
    told = json.loads(await reader.readexactly(length))
    writer.close()
    return told["seconds"]


class FakeJudge:
    """An endpoint that takes its time, some calls at once, and prefers by a hash of the prompt."""

    def __init__(self) -> None:
        self.slots = asyncio.Semaphore(JUDGE_SLOTS)
        self.seconds = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = head.lower().partition("content-length:")[2].split(maxsplit=1)
                asked = await reader.readexactly(int(length[0])) if length else b""
                body = json.dumps(await self.say(asked)).encode()
                begin = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n"
                writer.write(begin.encode() + body)
                await writer.drain()
        writer.close()

    async def say(self, asked: bytes) -> dict[str, Any]:
        """Judge; or tell, to whom asks nothing, how long it worked since."""
        if not asked:
            told, self.seconds = self.seconds, 0.0
            return {"seconds": told}
        async with self.slots:
            begun = time.monotonic()
            await asyncio.sleep(JUDGE_SECONDS)
            self.seconds += time.monotonic() - begun
        p = (sha256(asked).digest()[0] + 1) / 258
        top = [{"token": "m", "logprob": log(p)}, {"token": "M", "logprob": log(1 - p)}]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "m" if 2 * p > 1 else "M"},
            "finish_reason": "length",
            "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
        }
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return {"id": "fake", "object": "chat.completion", "choices": [choice], "usage": usage}


async def serve() -> None:
    """Be the fake judge until standard input ends; writes its port as the first line."""
    server = await asyncio.start_server(FakeJudge().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# -- all of it ----------------------------------------------------------------------------


def measure(count: int, rounds: int) -> list[list[Part]]:
    """Ask and judge all items, round after round."""
    items = instructions(count)
    models = [f"fake:{SECONDS}?tokens=4&slots={SLOTS}#m{number}" for number in range(NODES)]
    found: list[list[Part]] = []
    command = [sys.executable, __file__, "--serve"]
    with (
        tempfile.TemporaryDirectory() as place,
        processes.running(command) as server,
        Fleet(models, settings=[SETTINGS] * NODES) as fleet,
    ):
        assert server.stdout is not None
        port = int(server.stdout.readline())
        fleet.wait_ready(lambda _: None)
        fleet.wait_met()
        for number in range(rounds):
            parts: list[Part] = []
            for name in ASKED:
                at = Path(place, f"{number}-{name}")
                parts.append(asyncio.run(ask(at, fleet, items, name)))
                show(parts[-1])
            parts.append(asyncio.run(judge(Path(place, f"{number}-{ASKED[-1]}"), port, count)))
            show(parts[-1])
            found.append(parts)
    return found


def show(part: Part) -> None:
    """Tell how one part went."""
    console.print(f"{part.name}: {part.wall:.1f} s, bound {part.bound:.1f} s, {part.overhead:+.1%}")


def report(rounds: Sequence[Sequence[Part]], count: int) -> str:
    """Lay the figures out as a table: medians, and the least and most of the overhead."""
    head = ("part", "wall, s", "bound, s", "overhead", "over nominal", "own CPU, ms per item")
    rows: list[list[str]] = []
    for parts in zip(*rounds, strict=True):
        shares = [each.overhead for each in parts]
        wall = median(each.wall for each in parts)
        rows.append(
            [
                parts[0].name,
                f"{wall:.1f}",
                f"{median(each.bound for each in parts):.1f}",
                f"{median(shares):+.1%} ({min(shares):+.1%} to {max(shares):+.1%})",
                f"{wall / parts[0].nominal - 1.0:+.1%}",
                f"{1e3 * median(each.cpu for each in parts) / count:.1f}",
            ]
        )
    return figures.table(head, rows)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS} items, once")
    parser.add_argument("--json", action="store_true", help="write one JSON object")
    parser.add_argument("--rounds", type=int, help=f"instead of {ROUNDS}")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        asyncio.run(serve())
        return
    count = QUICK_ITEMS if args.quick else ITEMS
    before = figures.load()
    found = measure(count, args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS))
    loads = [before, figures.load()]
    if args.json:
        rows = [[{**asdict(each), "overhead": each.overhead} for each in row] for row in found]
        print(json.dumps({"machine": figures.machine(), "load": loads, "rounds": rows}))
    else:
        print(f"{count} items; {figures.machine()}; load {loads[0]:.1f}, then {loads[1]:.1f}\n")
        print(report(found, count))


if __name__ == "__main__":
    main()
