"""Does a network last? Nodes under load for long, one of which is killed and started each minute.

Four processes with models that take a fixed time, at a utilisation of 0.8 of the paper's formula.
Half of the questions are chats, half are background responses; a node that is killed (SIGKILL)
starts again with the same files. In the end nothing accepted may be missing or doubled, and every
node must hold as little at rest as it did in the beginning. Needs Linux.

    uv run python benchmarks/soak.py                     # 30 minutes
    uv run python benchmarks/soak.py --minutes 2 --kill-every 20 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx2
from rich.console import Console

NODES, LAYERS, FANOUT = 4, 1, 2
SERVICE = 0.2
"""Seconds of a job."""
RHO = 0.8
RATE = RHO / (SERVICE * ((FANOUT + 1) * LAYERS + 1))
"""Queries per second at each node, by Theorem 1 of the paper."""
PATIENCE = 60.0
"""Seconds for a node to start, and for the network to come to rest."""
WARM = 0.2
"""Share of the time after which memory should no longer grow."""
GROWTH_MIB = 8.0
"""By so much memory may differ between two lives and moments, with nothing leaking."""
REST = ("tasks", "files", "threads", "questions", "ways", "mailboxes", "inquiries")
SLACK = {"files": 8, "threads": 4, "tasks": 6}
"""At rest a node may hold so many more than in the beginning: links and idle connections."""
SOAKED = Path(__file__).with_name("soaked.py")

console = Console(stderr=True, highlight=False)


@dataclass
class Soaked:
    """One node, through all its lives."""

    name: str
    flags: dict[str, Any]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    url: str = ""
    lives: int = 0

    @property
    def lines(self) -> Path:
        """Where the life that runs writes what it holds."""
        return self.folder / f"{self.name}.{self.lives}.jsonl"

    def start(self) -> None:
        """Begin a life, without waiting for it to be ready."""
        self.lives += 1
        out = (self.folder / f"{self.name}.out").open("wb")
        log = (self.folder / f"{self.name}.log").open("ab")
        command = [sys.executable, str(SOAKED), str(self.lines), json.dumps(self.flags)]
        with out, log:
            self.process = subprocess.Popen(command, stdout=out, stderr=log)
        self.url = f"http://127.0.0.1:{self.flags['port']}"

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End a life."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()

    def held(self) -> list[dict[str, float]]:
        """Read what the life that runs held; a last line may be torn."""
        found: list[dict[str, float]] = []
        for line in self.lines.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found


@dataclass
class Tally:
    """What became of the questions."""

    chats: Counter[str] = field(default_factory=Counter[str])
    seconds: list[float] = field(default_factory=list[float])
    accepted: dict[str, int] = field(default_factory=dict[str, int])
    """Ids of background responses, with the number of the node that took them."""
    refused: int = 0
    lost: list[str] = field(default_factory=list[str])


def free_ports(count: int) -> list[int]:
    """Find ports below those that systems hand out."""
    found: list[int] = []
    dice = Random()
    while len(found) < count:
        port = dice.randrange(20_000, 32_000)
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
    return found


def make_nodes(folder: Path) -> list[Soaked]:
    """Lay out nodes that each know two others, so that any of them may be gone."""
    ports = free_ports(2 * NODES)
    ends = [f"tcp/127.0.0.1:{port}" for port in ports[NODES:]]
    return [
        Soaked(
            f"n{index + 1}",
            {
                "node": f"n{index + 1}",
                "realm": "soak",
                "model": f"fake:{SERVICE}?seed={index}",
                "port": ports[index],
                "listen": [ends[index]],
                "connect": [ends[(index + step) % NODES] for step in (1, 2)],
                "layers": LAYERS,
                "fanout": FANOUT,
                "store": str(folder / f"n{index + 1}.db"),
                "queue_jobs": 256,
            },
            folder,
        )
        for index in range(NODES)
    ]


async def settled(http: httpx2.AsyncClient, nodes: list[Soaked], peers: int) -> None:
    """Wait until every node hears all others and has nothing to do."""
    end = time.monotonic() + PATIENCE
    left = list(nodes)
    while left:
        node = left[0]
        with suppress(httpx2.HTTPError, KeyError, ValueError):
            told = (await http.get(f"{node.url}/health")).json()
            if told["status"] == "ok" and told["peers"] == peers and told["queue"] == 0:
                left.pop(0)
                continue
        if time.monotonic() > end:
            raise SystemExit(f"{node.name} is not at rest within {PATIENCE:g} s")
        await asyncio.sleep(0.1)


async def ask(http: httpx2.AsyncClient, node: Soaked, number: int, tally: Tally) -> None:
    """Ask one question, a chat or one in the background, and note what becomes of it."""
    life, began = node.lives, time.monotonic()
    words = f"question {number}"
    try:
        if number % 2:
            body: dict[str, Any] = {
                "model": "dmoa",
                "messages": [{"role": "user", "content": words}],
            }
            response = await http.post(f"{node.url}/v1/chat/completions", json=body)
        else:
            body = {"model": "dmoa", "input": words, "background": True}
            response = await http.post(f"{node.url}/v1/responses", json=body)
    except httpx2.ConnectError:  # nobody accepted it
        tally.chats["not up yet"] += 1
        return
    except httpx2.HTTPError as error:
        if node.lives == life and node.process is not None and node.process.poll() is None:
            tally.lost.append(f"{words} at {node.name}: {type(error).__name__}")
        tally.chats["cut off by a kill"] += 1
        return
    if response.status_code == 429:  # noqa: PLR2004  (too many requests)
        tally.refused += 1
    elif response.status_code == 503:  # noqa: PLR2004  (the node starts, or stops)
        tally.chats["not up yet"] += 1
    elif response.status_code != 200:  # noqa: PLR2004
        tally.lost.append(f"{words} at {node.name}: {response.status_code} {response.text[:200]}")
    elif number % 2:
        tally.chats["answered"] += 1
        tally.seconds.append(time.monotonic() - began)
    else:
        tally.accepted[response.json()["id"]] = int(node.name[1:]) - 1


async def load(http: httpx2.AsyncClient, nodes: list[Soaked], seconds: float, tally: Tally) -> None:
    """Ask at random moments, at nodes that run, for so long."""
    dice, asked = Random(1), 0
    pending: set[asyncio.Task[None]] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(dice.expovariate(RATE * NODES))
        asked += 1
        node = dice.choice(nodes)
        task = asyncio.create_task(ask(http, node, asked, tally))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)


async def kills(nodes: list[Soaked], every: float, seconds: float) -> int:
    """Kill one after another, and start it again at once."""
    done = 0
    end = time.monotonic() + seconds
    while time.monotonic() + every < end:
        await asyncio.sleep(every)
        node = nodes[1 + done % (NODES - 1)]  # the first one lives through all of it
        node.kill()
        node.start()
        done += 1
        console.print(f"{node.name} was killed and started, its life {node.lives}")
    return done


async def ended(http: httpx2.AsyncClient, nodes: list[Soaked], tally: Tally) -> Counter[str]:
    """Wait for all accepted responses to end, and count how."""
    found: Counter[str] = Counter()
    end = time.monotonic() + 2 * PATIENCE
    for name, number in tally.accepted.items():
        while True:
            told = (await http.get(f"{nodes[number].url}/v1/responses/{name}")).json()
            status = told.get("status", "missing")
            if status not in ("queued", "in_progress") or time.monotonic() > end:
                found[status] += 1
                break
            await asyncio.sleep(0.05)
    return found


def doubled(nodes: list[Soaked]) -> int:
    """Count flaws of the stores: what their own check says is damaged."""
    flaws = 0
    for node in nodes:
        with closing(sqlite3.connect(node.flags["store"])) as store:
            [(told,)] = store.execute("PRAGMA integrity_check").fetchall()
            flaws += told != "ok"
    return flaws


def growth(lines: list[dict[str, float]], key: str) -> float:
    """Tell by how much something grew after the warm part: medians of the ends."""
    values = [each[key] for each in lines[int(WARM * len(lines)) :]]
    part = max(1, len(values) // 5)
    return median(values[-part:]) - median(values[:part])


async def soak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Go through all of it, and tell what was found."""
    nodes, tally = make_nodes(folder), Tally()
    seconds = 60.0 * options.minutes
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    try:
        for node in nodes:
            node.start()
        async with httpx2.AsyncClient(limits=limits, timeout=120.0, trust_env=False) as http:
            await settled(http, nodes, NODES - 1)
            await asyncio.sleep(5.0)
            before = {node.name: node.held()[-1] for node in nodes}
            loading = asyncio.create_task(load(http, nodes, seconds, tally))
            killed = await kills(nodes, options.kill_every, seconds)
            await loading
            found = await ended(http, nodes, tally)
            await settled(http, nodes, NODES - 1)
            await asyncio.sleep(15.0)  # connections of the API close, digests of the dead fade
            after = {node.name: node.held()[-1] for node in nodes}
            long = nodes[0].held()
    finally:
        for node in nodes:
            node.kill(signal.SIGTERM)
    tally.seconds.sort()
    return {
        "minutes": options.minutes,
        "rho": RHO,
        "kills": killed,
        "chats": dict(tally.chats),
        "refused": tally.refused,
        "mean_seconds": sum(tally.seconds) / max(1, len(tally.seconds)),
        "p95_seconds": tally.seconds[int(0.95 * len(tally.seconds))] if tally.seconds else 0.0,
        "background": {"accepted": len(tally.accepted), **found},
        "lost": tally.lost,
        "damaged_stores": doubled(nodes),
        "growth_mib": growth(long, "anonymous_mib"),
        "growth_objects": growth(long, "objects"),
        "at_rest": {
            name: {key: [before[name][key], after[name][key]] for key in (*REST, "anonymous_mib")}
            for name in before
        },
    }


def flaws(told: dict[str, Any]) -> list[str]:
    """Say in words what did not hold."""
    found = [f"lost: {each}" for each in told["lost"]]
    background = told["background"]
    if background.get("completed", 0) != background["accepted"]:
        found.append(f"background: {background}")
    if told["damaged_stores"]:
        found.append(f"{told['damaged_stores']} stores are damaged")
    if told["growth_mib"] > GROWTH_MIB:
        found.append(f"n1 grew by {told['growth_mib']:.1f} MiB")
    for name, held in told["at_rest"].items():
        found += [
            f"{name} holds {after:g} {key} at rest, and held {before:g}"
            for key, (before, after) in held.items()
            if key in REST and after > before + SLACK.get(key, 0)
        ]
    return found


def main() -> int:
    """Run it, and say what it found; 1 where something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds (60)")
    parser.add_argument("--json", action="store_true", help="write all of it as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dmoa-soak-") as folder:
        told = asyncio.run(soak(options, Path(folder)))
    wrong = flaws(told)
    if options.json:
        print(json.dumps({**told, "flaws": wrong}))
    else:
        chats, background = told["chats"], told["background"]
        print(f"{told['minutes']:g} min at rho {RHO}, {told['kills']} kills")
        print(f"chats: {chats}, {told['refused']} refused with 429")
        print(f"  mean {told['mean_seconds']:.2f} s, p95 {told['p95_seconds']:.2f} s")
        print(f"background: {background}")
        print(f"n1 grew by {told['growth_mib']:.1f} MiB, {told['growth_objects']:.0f} objects")
        for name, held in told["at_rest"].items():
            print(f"{name} at rest, before and after: {held}")
        print("\n".join(wrong) if wrong else "nothing lost, nothing leaked")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
