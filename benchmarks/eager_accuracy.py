"""Is what is right as often right when it was read ahead? Task by task, in pairs.

Each task's three proposals are written once, by the embedded model, and kept. Then two homes
aggregate them, with the same seed: one reads the whole prompt once the last proposal is there, the
other reads it ahead, step by step, while two of the proposals are played to it, as slowly as it
reads. Rounding differs with the steps, so that texts may; how often they are right should not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from eager_room import Heard, Part, Player, Recorded, ask, room

from dmoa.backends.registry import open_backend
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.policy import Eager
from dmoa.core.prompts import render
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Backend
from dmoa.study.evals.chance import difference_of
from dmoa.study.evals.items import load_items
from dmoa.study.evals.metrics import score
from dmoa.study.evals.plan import seed_of
from dmoa.study.evals.records import Item

SOURCE = "tasks"
ITEMS = 240
MIXTURE = Mixture(1, 2)
TOKENS = 48
"""Of a proposal and of an answer: the tasks ask for a word or a number."""
ARMS: tuple[Eager, ...] = ("off", "own")
PACE = 0.4
"""Seconds in which a peer's proposal is played to the home that reads ahead."""
GAP = PACE
"""Seconds between two proposals that come whole: they keep their order, also when it is busy."""

Plays = dict[str, list[Part]]


async def propose(backend: Backend, item: Item, seat: int) -> str:
    """Have the model write the proposal of a seat."""
    seed = (seed_of(1, "eager", item.id) + seat) % 2**31
    job = Job(
        id=JobId("bench/1/1/1.1"),
        query=QueryId("bench/1/1"),
        home=NodeId("bench"),
        role="proposer",
        layer=1,
        turns=(Turn("user", item.instruction),),
        proposals=(),
        sampling=Sampling(seed=seed, max_tokens=TOKENS),
        patience=0.0,
    )
    tokens = backend.generate(render(job, backend.profile, Limits()))
    async for token in tokens:
        if isinstance(token, Completion):
            return token.text
    raise AssertionError("the backend ended without a completion")


def played(texts: Sequence[str], arm: Eager) -> list[Part]:
    """Lay out when proposals come: the home's at once, then its peers' in the same order."""
    if arm == "off":
        return [Part(text, seat * GAP, seat * GAP) for seat, text in enumerate(texts)]
    first = Part(texts[0])
    return [first, *(Part(text, at * PACE, (at + 1) * PACE) for at, text in enumerate(texts[1:]))]


def read(file: Path) -> list[dict[str, Any]]:
    """Read what was written; a last line may be torn."""
    found: list[dict[str, Any]] = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def add(file: Path, line: dict[str, Any]) -> None:
    """Write one more line."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")


async def write(file: Path, items: Sequence[Item], say: Callable[[str], None]) -> None:
    """Write the proposals that are missing."""
    done = {line["item"] for line in read(file) if "texts" in line}
    left = [item for item in items if item.id not in done]
    if not left:
        return
    backend = open_backend("smollm2")
    await backend.open()
    try:
        for number, item in enumerate(left, 1):
            texts = [await propose(backend, item, seat) for seat in range(MIXTURE.fanout + 1)]
            add(file, {"item": item.id, "texts": texts})
            if number % 20 == 0:
                say(f"proposals of {number} of {len(left)} tasks, {time.strftime('%H:%M:%S')}")
    finally:
        await backend.close()


async def answer(file: Path, items: Sequence[Item], say: Callable[[str], None]) -> None:
    """Answer the tasks that are left, each in both ways."""
    lines = read(file)
    texts = {line["item"]: line["texts"] for line in lines if "texts" in line}
    done = {(line["item"], line["arm"]) for line in lines if "arm" in line}
    left = [item for item in items if any((item.id, arm) not in done for arm in ARMS)]
    if not left:
        return
    async with AsyncExitStack() as stack:
        homes: dict[Eager, Node] = {}
        models: dict[Eager, Recorded] = {}
        for arm in ARMS:
            plays: Plays = {each.instruction: played(texts[each.id], arm) for each in items}
            home = models[arm] = Recorded(open_backend("smollm2"), plays)
            seats = range(1, MIXTURE.fanout + 1)
            players = [Player(plays, seat, follow=home) for seat in seats]
            homes[arm] = await stack.enter_async_context(room(home, players, arm))
        for number, item in enumerate(left, 1):
            sampling = Sampling(seed=seed_of(3, "eager", item.id), max_tokens=TOKENS)
            heard: list[Heard] = await asyncio.gather(
                *(ask(homes[arm], item.instruction, MIXTURE, sampling) for arm in ARMS)
            )
            for arm, each in zip(ARMS, heard, strict=True):
                right = score(item, each.text) == 1.0
                told = {"text": each.text, "prompt": each.prompt, "early": each.early}
                asked = models[arm].asked
                add(file, {"item": item.id, "arm": arm, "right": right, "asked": asked, **told})
            if number % 20 == 0:
                say(f"{number} of {len(left)} tasks answered, {time.strftime('%H:%M:%S')}")


async def run(file: Path, count: int, say: Callable[[str], None]) -> None:
    """Do all that is missing in the file."""
    items = load_items(SOURCE, limit=count)
    await write(file, items, say)
    await answer(file, items, say)


@dataclass(frozen=True)
class Verdict:
    """What was found over `items` tasks; the difference and its interval (95 %) in points.

    `lost` tasks were right only cold, `won` only when read ahead. `p` is McNemar's, exact:
    the chance of so unequal a split if neither way were better. `early` is the share of the
    prompts' tokens that was read ahead, `unlike` counts tasks whose two prompts were not the same
    (proposals in another order); they are left out of all else.
    """

    items: int
    cold: int
    ahead: int
    lost: int
    won: int
    p: float
    difference: float
    low: float
    high: float
    same: int
    early: float
    unlike: int


def mcnemar(one: int, other: int) -> float:
    """Tell the chance of a split at least as unequal, of pairs that differ (two-sided, exact)."""
    pairs = one + other
    tail = sum(comb(pairs, each) for each in range(min(one, other) + 1))
    return min(1.0, 2.0 * tail / 2**pairs)


def verdict(lines: Sequence[dict[str, Any]]) -> Verdict:
    """Compare the tasks that were answered in both ways; ValueError where there are none."""
    found = {(line["item"], line["arm"]): line for line in lines if "arm" in line}
    names = dict.fromkeys(item for item, _ in found)
    pairs = [
        tuple(found[name, arm] for arm in ARMS)
        for name in names
        if all((name, arm) in found for arm in ARMS)
    ]
    unlike = sum(cold["asked"] != ahead["asked"] for cold, ahead in pairs)
    pairs = [(cold, ahead) for cold, ahead in pairs if cold["asked"] == ahead["asked"]]
    if not pairs:
        raise ValueError("no task was answered in both ways yet")
    lost = sum(cold["right"] > ahead["right"] for cold, ahead in pairs)
    won = sum(cold["right"] < ahead["right"] for cold, ahead in pairs)
    gap = difference_of([100.0 * (ahead["right"] - cold["right"]) for cold, ahead in pairs])
    return Verdict(
        items=len(pairs),
        cold=sum(cold["right"] for cold, _ in pairs),
        ahead=sum(ahead["right"] for _, ahead in pairs),
        lost=lost,
        won=won,
        p=mcnemar(lost, won),
        difference=gap.mean,
        low=gap.low,
        high=gap.high,
        same=sum(cold["text"] == ahead["text"] for cold, ahead in pairs),
        early=sum(ahead["early"] for _, ahead in pairs)
        / sum(ahead["prompt"] for _, ahead in pairs),
        unlike=unlike,
    )


def text(found: Verdict) -> str:
    """Say it in words."""
    return (
        f"{found.items} tasks: right {found.cold} cold, {found.ahead} read ahead\n"
        f"difference {found.difference:+.1f} points ({found.low:+.1f} to {found.high:+.1f}, 95 %)\n"
        f"right only cold {found.lost}, only read ahead {found.won}: McNemar's p {found.p:.2f}\n"
        f"the same text, byte for byte: {found.same} of {found.items}\n"
        f"{found.early:.0%} of the prompts' tokens were read ahead;"
        f" {found.unlike} tasks left out, as their two prompts were not the same"
    )
