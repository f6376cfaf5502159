"""The record of a live node: whatever it lived through, a fresh agent wants the same."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from pathlib import Path

import pytest
from room import ALONE, MIXED, Room, Scripted

from dmoa.core.events import Abandoned, Asked, Faltered, Received, Served, Woke
from dmoa.core.history import Record, difference
from dmoa.core.job import Prompt
from dmoa.core.limits import Limits
from dmoa.core.policy import LIVE, PAPER, Policy
from dmoa.core.recipe import Recipe
from dmoa.errors import BackendError, BackendRubbishError, OverloadedError
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Tokens
from dmoa.runtime.recorder import Recorder
from dmoa.runtime.records import Reader


def replayed(file: Path) -> list[Record]:
    """Live a file again, and return its steps."""
    with Reader(file) as reader:
        assert difference(reader.records(), reader.agent()) is None
        assert not reader.torn
    with Reader(file) as reader:
        return list(reader.records())


async def broken(prompt: Prompt) -> Tokens:
    del prompt
    raise BackendRubbishError("nothing but noise")
    yield ""


async def looked_at(node: Node, work: Coroutine[None, None, object]) -> None:
    """Look at a node while it works, at odd times: that must not change what it does."""
    task = asyncio.ensure_future(work)
    while not task.done():
        assert node.census.seconds > 0
        assert node.digest.node == node.id
        assert len(node.standings) <= 1
        await asyncio.sleep(0.0371)
    await task


@pytest.mark.parametrize("policy", [PAPER, LIVE])
async def test_what_a_node_lived_through_is_lived_again(tmp_path: Path, policy: Policy) -> None:
    files = {name: tmp_path / name for name in "abd"}
    async with Room(policy=policy, limits=Limits(queue_jobs=6)) as room:
        await room.add("a", recorder=Recorder(files["a"]))
        await room.add("b", recorder=Recorder(files["b"]), seconds=0.3)
        await room.add("c", Scripted(broken))
        await room.add("d", Scripted(broken), recorder=Recorder(files["d"]))
        await room.met()
        home = room["a"]
        for _ in range(4):
            await looked_at(home, home.ask("a secret", mixture=MIXED))
        await home.ask("sorted", mixture=MIXED, recipe=Recipe.parse("self+rank+best"))
        crowd = await asyncio.gather(
            *(home.ask("many", mixture=MIXED) for _ in range(9)), return_exceptions=True
        )
        assert any(isinstance(each, OverloadedError) for each in crowd)
        assert home.census.refused
        async with aclosing(home.follow("never mind", mixture=ALONE, standings=True)) as progress:
            await anext(progress)
        with pytest.raises(BackendError):
            await room["d"].ask("hello", mixture=ALONE)
        asked = asyncio.create_task(home.ask("the last", mixture=MIXED))
        await asyncio.sleep(0.2)
        room.kill("b", reset=True)
        await asked
    kinds = {type(record.event) for record in replayed(files["a"])}
    assert kinds >= {Asked, Received, Served, Woke, Abandoned}
    assert "a secret" in files["a"].read_text()
    assert Served in {type(record.event) for record in replayed(files["b"])}
    assert Faltered in {type(record.event) for record in replayed(files["d"])}


async def test_of_a_node_that_is_opened_again_the_first_life_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "life"
    async with Room() as room:
        node = await room.add("a", recorder=Recorder(file))
        await node.ask("one", mixture=ALONE)
        await node.close()
        first = file.read_bytes()
        await node.open()
        await node.ask("two", mixture=ALONE)
    assert file.read_bytes() == first
    assert len(replayed(file)) > 2
