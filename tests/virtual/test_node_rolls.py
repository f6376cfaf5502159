"""The roll call between nodes: who is there, which release runs there, whom each hears."""

from __future__ import annotations

import time
from importlib.metadata import version

import pytest
from room import LATENCY, Room

from dmoa.core.names import NodeId
from dmoa.errors import PeerSilentError, UnreachableError


async def test_a_node_answers_with_its_release_its_clock_and_whom_it_hears() -> None:
    async with Room() as room:
        for name in "abc":
            await room.add(name)
        await room.met()
        before = time.time()
        roll = await room["a"].roll(NodeId("b"))
    assert (roll.node, roll.release, roll.peers) == ("b", version("dmoa"), ("a", "c"))
    assert before <= roll.clock <= time.time()
    assert roll.round_trip == pytest.approx(2 * LATENCY)


async def test_who_is_dead_or_unknown_answers_no_roll() -> None:
    async with Room() as room:
        for name in "ab":
            await room.add(name)
        await room.met()
        with pytest.raises(UnreachableError):
            await room["a"].roll(NodeId("nobody"))
        room.kill("b")
        with pytest.raises(PeerSilentError, match=r"within 0\.5 s"):
            await room["a"].roll(NodeId("b"), patience=0.5)
