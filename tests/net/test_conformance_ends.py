"""How exchanges end before their time, on every network."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest
from net_room import (
    PATIENT,
    A,
    B,
    Opens,
    ZenohRoom,
    collect,
    hang,
    make_job,
    make_proposal,
    mute,
    start_child,
)

from dmoa.core.messages import Piece, Propose
from dmoa.core.names import NodeId
from dmoa.errors import PeerGoneError, PeerSilentError, UnreachableError
from dmoa.runtime.ports import Frames


async def test_closing_early_closes_the_handler(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hang)
        await r.meet()
        frames = a.propose(B, make_job(), patience=PATIENT)
        await anext(frames)
        assert r.host(B).running == 1
        await frames.aclose()
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)
        assert r.host(B).running == 0


async def test_cancelling_the_caller_closes_a_handler_that_said_nothing(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, mute)
        await r.meet()
        # Large enough to be sent by a thread.
        asking = asyncio.create_task(collect(a, B, make_job(content="x" * 50_000)))
        await asyncio.wait_for(r.host(B).started.wait(), PATIENT)
        asking.cancel()
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)


async def test_closing_one_job_leaves_others_alone(room: Opens) -> None:
    goes_on = asyncio.Event()

    async def write(caller: NodeId, message: Propose) -> Frames:
        del caller
        yield Piece(message.job.id, "so")
        await goes_on.wait()
        yield make_proposal(message)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, write)
        await r.meet()
        one, other = make_job(name="1.1"), make_job(name="1.2")
        async with aclosing(a.propose(B, other, patience=PATIENT)) as frames:
            await anext(frames)
            left = a.propose(B, one, patience=PATIENT)
            await anext(left)
            await left.aclose()
            await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)
            goes_on.set()
            assert await anext(frames) == make_proposal(other)


@pytest.mark.parametrize("way", ["closes", "crashes"])
async def test_the_death_of_a_caller_closes_its_handlers(room: Opens, way: str) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hang)
        await r.meet()
        asking = asyncio.create_task(collect(a, B, make_job()))
        await asyncio.wait_for(r.host(B).started.wait(), PATIENT)
        await (a.close() if way == "closes" else r.crash(A))
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)
        with pytest.raises((UnreachableError, PeerGoneError)):
            await asyncio.wait_for(asking, PATIENT / 2)


@pytest.mark.parametrize("way", ["closes", "crashes"])
async def test_the_death_of_a_peer_in_the_middle_is_seen(room: Opens, way: str) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B, hang)
        await r.meet()
        async with aclosing(a.propose(B, make_job(), patience=PATIENT)) as frames:
            await anext(frames)
            await (b.close() if way == "closes" else r.crash(B))
            with pytest.raises(PeerGoneError, match="b vanished"):
                await asyncio.wait_for(anext(frames), PATIENT / 2)
        await r.host(A).until(lambda host: host.gone == [B])


async def test_a_handler_that_fails_is_a_peer_gone(
    room: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(caller: NodeId, message: Propose) -> Frames:
        del caller
        yield Piece(message.job.id, "so")
        raise LookupError("a secret of b")

    async with room() as r:
        a = await r.open(A)
        await r.open(B, fail)
        await r.meet()
        with pytest.raises(PeerGoneError) as caught:
            await collect(a, B, make_job())
    assert "secret" not in str(caught.value)
    assert "a secret of b" in caplog.text


async def test_a_handler_without_a_reply_is_a_peer_gone(room: Opens) -> None:
    async def stop(caller: NodeId, message: Propose) -> Frames:
        del caller
        yield Piece(message.job.id, "so")

    async with room() as r:
        a = await r.open(A)
        await r.open(B, stop)
        await r.meet()
        with pytest.raises(PeerGoneError):
            await collect(a, B, make_job())


async def test_a_silent_peer_is_given_up_after_idle_seconds(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hang)
        await r.meet()
        start = asyncio.get_running_loop().time()
        frames = a.propose(B, make_job(), patience=PATIENT, idle=0.4)
        assert isinstance(await anext(frames), Piece)
        with pytest.raises(PeerSilentError, match=r"silent for 0\.4 s"):
            await anext(frames)
        assert 0.4 <= asyncio.get_running_loop().time() - start < PATIENT / 2
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)


async def test_a_slow_peer_is_given_up_when_patience_ends(room: Opens) -> None:
    async def dawdle(caller: NodeId, message: Propose) -> Frames:
        del caller
        while True:
            yield Piece(message.job.id, "er")
            await asyncio.sleep(0.05)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, dawdle)
        await r.meet()
        start = asyncio.get_running_loop().time()
        with pytest.raises(PeerSilentError, match=r"no reply within 0\.5 s"):
            async for _ in a.propose(B, make_job(), patience=0.5, idle=0.4):
                pass
        assert 0.5 <= asyncio.get_running_loop().time() - start < PATIENT / 2
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)


async def test_a_handler_is_closed_when_the_patience_of_its_job_ends(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hang)
        await r.meet()
        with pytest.raises(PeerSilentError):
            await collect(a, B, make_job(patience=0.3))
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT / 2)


@pytest.mark.real
async def test_a_peer_killed_for_real_is_seen_quickly() -> None:
    r = ZenohRoom()
    a = await r.open(A)
    child = await start_child(r.entries[0])
    try:
        await r.host(A).knows(B)
        async with aclosing(a.propose(B, make_job(), patience=PATIENT)) as frames:
            await anext(frames)
            child.kill()
            start = time.monotonic()
            with pytest.raises(PeerGoneError):
                await anext(frames)
            assert time.monotonic() - start < 2
        await r.host(A).until(lambda host: host.gone == [B])
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        await r.close()
