"""The loads of `load` on virtual time: the same nodes and fake models, and nothing else.

The product's nodes live on a clock that jumps, so that no core is ever busy, and what the machine
does meanwhile changes nothing. What `load` measures less than this is what nodes need beside their
models, which counts where models are as quick as these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass, replace
from random import Random
from statistics import mean
from typing import Any

import figures
from eager_accuracy import ARMS
from eager_load import NODES, QUESTION, READ, WRITE, batches
from eager_processes import FANOUT

from dmoa.backends.registry import open_backend
from dmoa.core.effects import Answer
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import LIVE, Eager
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime import virtual
from dmoa.runtime.node import Node
from dmoa.study.statistics import change_of

RHOS = (0.3, 0.5, 0.7)
HEDGES = (1, 0)
COST = 0.98
"""Job seconds of a query, cold and without spare proposers, as `load` measured them."""
SECONDS = 600.0
WARMUP = 0.1
SETTLE = 3.0
"""Seconds until all nodes know each other."""


@dataclass(frozen=True)
class Line:
    """One load, off and on; means in seconds, the change of the mean with its interval (95 %).

    `early` is the share of an aggregation's prompt that was read before it was asked for.
    """

    rho: float
    hedge: int
    asked: int
    off: float
    own: float
    change: tuple[float, float, float]
    early: float


async def life(rho: float, hedge: int, eager: Eager, seconds: float) -> dict[int, Answer]:
    """Ask for some seconds, and give what was answered, by the number of the question."""
    hub, dice = MemoryNetwork(), Random(1)
    policy = replace(LIVE, spare=hedge, eager=eager)
    uri = f"fake:{WRITE}?tokens=16&cv=0.4&prefill={READ:.6f}&layout=short&seed="
    found: dict[int, Answer] = {}

    async def ask(number: int, home: Node) -> None:
        asked = home.follow(f"{QUESTION}{number % 100}", mixture=Mixture(1, FANOUT))
        async with aclosing(asked) as progress:
            async for item in progress:
                if isinstance(item, Answer):
                    found[number] = item

    async with AsyncExitStack() as stack:
        nodes: list[Node] = []
        for name in range(1, NODES + 1):
            backend = open_backend(f"{uri}{1000 + name}")
            link = hub.join(NodeId(f"n{name}"))
            nodes.append(Node(link, backend, policy=policy, rng=Random(name)))
            await nodes[-1].open()
            stack.push_async_callback(nodes[-1].close)
        await asyncio.sleep(SETTLE)
        loop, number = asyncio.get_running_loop(), 0
        start = at = loop.time()
        async with asyncio.TaskGroup() as asking:
            while (at := at + dice.expovariate(NODES * rho / COST)) < start + seconds:
                await asyncio.sleep(max(0.0, at - loop.time()))
                asking.create_task(ask(number, dice.choice(nodes)))
                number += 1
    return found


def one(rho: float, hedge: int, seconds: float) -> Line:
    """Live through one load in both ways, and compare them question by question."""
    lives = {arm: virtual.run(life(rho, hedge, arm, seconds)) for arm in ARMS}
    numbers = sorted(lives["off"].keys() & lives["own"].keys())
    numbers = numbers[int(WARMUP * len(numbers)) :]
    times = {arm: [lives[arm][each].trace.seconds for each in numbers] for arm in ARMS}
    change = change_of(batches(times["off"]), batches(times["own"]))
    finals = [lives["own"][each].trace.jobs[-1] for each in numbers]
    early = mean(each.early_tokens / max(1, each.prompt_tokens) for each in finals)
    off, own = mean(times["off"]), mean(times["own"])
    told = (change.mean, change.low, change.high)
    return Line(rho, hedge, len(numbers), off, own, told, early)


def run(say: Callable[[str], None], seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Live through all loads."""
    found: list[dict[str, Any]] = []
    for hedge in HEDGES:
        for rho in RHOS:
            found.append(asdict(one(rho, hedge, seconds)))
            say(f"rho {rho:g}, hedge {hedge}: {100 * found[-1]['change'][0]:+.1f} %")
    return found


HEAD = ("hedge", "rho (cold)", "asked, each", "off: mean, s", "own: mean, s")
HEAD += ("mean, change (95 %)", "read ahead")


def text(lines: list[dict[str, Any]]) -> str:
    """Lay out a row for each load."""
    rows: list[list[str]] = []
    for line in lines:
        middle, low, high = (f"{100 * each:+.1f}" for each in line["change"])
        rows.append(
            [
                f"{line['hedge']}",
                f"{line['rho']:g}",
                f"{line['asked']}",
                f"{line['off']:.3f}",
                f"{line['own']:.3f}",
                f"{middle} % ({low} to {high})",
                f"{line['early']:.0%}",
            ]
        )
    return figures.table(HEAD, rows)
