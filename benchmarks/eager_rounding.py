"""How much do texts differ by rounding alone? The same prompt, read in different pieces.

A model's sums round differently with the pieces in which a prompt is read, and so texts that are
drawn differ, also where nothing is read ahead: it is enough to ask the same again, when all but
its last token is kept. The control of `accuracy`, whose proposals it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from eager_accuracy import SOURCE, TOKENS, add, read, write

from dmoa.backends.registry import open_backend
from dmoa.core.job import Completion, Job, Prompt, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.prompts import render, render_ahead
from dmoa.study.evals.items import load_items
from dmoa.study.evals.plan import seed_of

ITEMS = 40
STEPS = 6
WAYS = ("cold", "again", "steps")
"""Of which the instruction alone was kept; the same again; and read ahead, piece by piece."""


def job_of(item: str, instruction: str, proposals: Sequence[str]) -> Job:
    """Make the aggregation of an item."""
    return Job(
        id=JobId(f"bench/1/{item}/2.0"),
        query=QueryId(f"bench/1/{item}"),
        home=NodeId("bench"),
        role="aggregator",
        layer=2,
        turns=(Turn("user", instruction),),
        proposals=tuple(proposals),
        sampling=Sampling(seed=seed_of(4, "eager", item), max_tokens=TOKENS),
        patience=0.0,
    )


async def written(backend: Any, prompt: Prompt) -> str:
    """Have the model answer a prompt."""
    async for token in backend.generate(prompt):
        if isinstance(token, Completion):
            return token.text
    raise AssertionError("the backend ended without a completion")


async def answer(backend: Any, job: Job, way: str) -> str:
    """Answer a job, its prompt read in one of the `WAYS`."""
    limits = Limits()
    prompt, ahead = (each(job, backend.profile, limits) for each in (render, _ahead))
    if way != "again":
        bare = render(replace(job, proposals=("",)), backend.profile, limits)
        await written(backend, replace(bare, sampling=Sampling(max_tokens=1)))
    if way == "steps":
        turn = ahead.turns[ahead.open or 0]
        for step in range(1, STEPS + 1):
            turns = list(ahead.turns)
            size = len(turn.content) * step // STEPS
            turns[ahead.open or 0] = replace(turn, content=turn.content[:size])
            await backend.read(replace(ahead, turns=tuple(turns)))
    return await written(backend, prompt)


def _ahead(job: Job, profile: Any, limits: Limits) -> Prompt:
    found = render_ahead(job, profile, limits, "")
    if found is None:
        raise AssertionError("the prompt cannot be read ahead")
    return found


async def run(file: Path, count: int, say: Callable[[str], None]) -> None:
    """Answer the items that are left, in all ways."""
    items = load_items(SOURCE, limit=count)
    await write(file, items, say)
    lines = read(file)
    texts = {line["item"]: line["texts"] for line in lines if "texts" in line}
    done = {line["item"] for line in lines if "cold" in line}
    left = [item for item in items if item.id not in done]
    if not left:
        return
    # Two models, so that what is read in steps is not found whole in a cache.
    async with AsyncExitStack() as stack:
        models = {way: open_backend("smollm2") for way in ("cold", "steps")}
        for model in models.values():
            stack.push_async_callback(model.close)
            await model.open()
        models["again"] = models["cold"]
        for item in left:
            job = job_of(item.id, item.instruction, texts[item.id])
            told = {way: await answer(models[way], job, way) for way in WAYS}
            add(file, {"item": item.id, **told})
            say(f"{item.id} was answered in {len(WAYS)} ways")


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Count the items, and the texts that are those of the cold prompt; ValueError if none."""
    found = [line for line in lines if "cold" in line]
    if not found:
        raise ValueError("nothing was answered yet")
    same = {way: sum(line[way] == line["cold"] for line in found) for way in WAYS[1:]}
    return {"items": len(found), **same}


def text(found: dict[str, int]) -> str:
    """Say it in words."""
    of = found["items"]
    return (
        f"texts like those of a cold prompt, of {of}: the same prompt again {found['again']},"
        f" read ahead in {STEPS} pieces {found['steps']}"
    )
