"""Peers that read what the next layer will ask them, while the one before is under way."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest
from room import LATENCY, SOON, Room, idle, now

from dmoa.core.effects import Answer, Visit
from dmoa.core.mixture import Mixture
from dmoa.core.policy import Policy
from dmoa.runtime.node import Node

DEEP = Mixture(2, 3)
QUESTION = "why is the sky blue, and why is it red in the evening? " * 8
WRITES = {"a": 1.0, "b": 1.5, "c": 2.0, "d": 6.0}
"""Seconds that a model writes: all but one have read all they know before the last is done."""
PREFILL = 0.01
"""Seconds to read a token."""


async def room_of_readers(room: Room) -> None:
    for name, seconds in WRITES.items():
        await room.add(name, seconds=seconds, prefill=PREFILL)
    await room.met()


def reading(node: Node) -> list[str]:
    return list(node._readings._readings)


def held(node: Node) -> list[str]:
    return list(node._mind._shelf.held)


async def answered(eager: str) -> Answer:
    async with Room(policy=Policy(eager=eager)) as room:
        await room_of_readers(room)
        answer = await room["a"].ask(QUESTION, mixture=DEEP)
        await asyncio.sleep(SOON)
        assert room.idle
        assert not any(held(node) or reading(node) for node in room.nodes.values())
        assert not room["a"]._mind._previews.coming
        return answer


async def test_peers_have_read_what_they_are_asked_for_and_answer_sooner() -> None:
    off, own, every = [await answered(eager) for eager in ("off", "own", "all")]

    def early(answer: Answer) -> dict[str, int]:
        deep = [visit for visit in answer.trace.jobs if visit.layer == 2]
        assert {visit.outcome for visit in deep} == {"ok"}
        return {str(visit.node): visit.early_tokens for visit in deep}

    assert early(off) == dict.fromkeys("abcd", 0)
    assert early(own)["a"] > 300
    assert [early(own)[peer] for peer in "bcd"] == [0, 0, 0]
    shown = early(every)
    assert [shown[peer] > 300 for peer in "abcd"] == [True, True, True, False]
    assert shown["d"] < 100, "it wrote to the end"
    assert every.text == own.text == off.text
    assert every.trace.degraded == off.trace.degraded == ()
    jobs = {visit.node: visit for visit in every.trace.jobs if visit.layer == 2}
    old = {visit.node: visit for visit in own.trace.jobs if visit.layer == 2}
    for peer in "bc":
        saved = old[peer].service_seconds - jobs[peer].service_seconds
        assert saved == pytest.approx(PREFILL * shown[peer], rel=0.2), peer


async def reads_at_peers(room: Room) -> None:
    """Wait until peers read what they are shown."""
    async with asyncio.timeout(WRITES["d"]):
        while not (reading(room["b"]) and reading(room["c"])):
            await asyncio.sleep(LATENCY)


@pytest.mark.parametrize("how", ["leaves", "dies", "vanishes"])
async def test_nothing_is_read_any_more_once_nobody_wants_it(how: str) -> None:
    async with Room(policy=Policy(eager="all")) as room:
        await room_of_readers(room)
        followed = room["a"].follow(QUESTION, mixture=DEEP, deadline=60.0)

        async def follow() -> None:
            async with aclosing(followed):
                async for _ in followed:
                    pass

        asks = asyncio.create_task(follow())
        await reads_at_peers(room)
        assert held(room["b"])
        end = now()
        if how == "leaves":
            asks.cancel()
        else:
            room.kill("a", reset=how == "dies")
        peers = [room[name] for name in "bcd"]
        async with asyncio.timeout(60.0):
            while any(held(node) or reading(node) for node in peers):
                await asyncio.sleep(LATENCY)
        assert now() - end < (20.0 + SOON if how == "vanishes" else 2 * SOON), "a layer's share"
        asks.cancel()
        with suppress(asyncio.CancelledError):
            await asks
        async with asyncio.timeout(120.0):
            while not all(idle(node) for node in peers):
                await asyncio.sleep(1.0)


async def test_a_peer_that_cannot_read_holds_nobody_up() -> None:
    async with Room(policy=Policy(eager="all")) as room:
        await room_of_readers(room)
        room.backends["b"].fail = "unavailable"
        room.backends["b"].after = 5
        seen = [each async for each in room["a"].follow(QUESTION, mixture=DEEP)]
        answer = seen[-1]
        assert isinstance(answer, Answer)
        assert {visit.outcome for visit in answer.trace.jobs if visit.node == "b"} == {"failed"}
        assert {visit.outcome for visit in answer.trace.jobs if visit.node == "c"} == {"ok"}
        assert all("~" not in visit.job for visit in seen if isinstance(visit, Visit))
        await asyncio.sleep(SOON)
        assert room.idle
