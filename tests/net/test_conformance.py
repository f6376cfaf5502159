"""One contract, `dmoa.runtime.ports.Network`, and every network that fulfils it."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest
from net_room import (
    PATIENT,
    A,
    B,
    C,
    Opens,
    ZenohRoom,
    collect,
    hang,
    make_digest,
    make_job,
    make_proposal,
    mute,
    start_child,
)

from dmoa.core.messages import Decline, Failure, Gossip, Piece, Propose
from dmoa.core.names import JobId, NodeId
from dmoa.errors import PeerGoneError, PeerSilentError, RemoteProtocolError, UnreachableError
from dmoa.net import codec, desk, exchange, seals
from dmoa.runtime.ports import Frames


async def test_frames_come_in_order_without_gap_or_double(room: Opens) -> None:
    async def count(caller: NodeId, message: Propose) -> Frames:
        assert caller == A
        for number in range(2000):
            yield Piece(message.job.id, str(number))
        yield make_proposal(message)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, count)
        await r.meet()
        message = make_job()
        *pieces, reply = await collect(a, B, message)
    assert pieces == [Piece(message.job.id, str(number)) for number in range(2000)]
    assert reply == make_proposal(message)


async def test_pieces_come_while_the_peer_still_writes(room: Opens) -> None:
    goes_on = asyncio.Event()

    async def write(caller: NodeId, message: Propose) -> Frames:
        del caller
        yield Piece(message.job.id, "early")
        await goes_on.wait()
        yield make_proposal(message)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, write)
        await r.meet()
        async with aclosing(a.propose(B, make_job(), patience=PATIENT)) as frames:
            first = await anext(frames)
            assert isinstance(first, Piece)
            assert first.text == "early"
            goes_on.set()
            assert await anext(frames) == make_proposal(make_job())


async def test_nothing_after_the_reply_is_seen(room: Opens) -> None:
    async def babble(caller: NodeId, message: Propose) -> Frames:
        del caller
        yield make_proposal(message, "first")
        yield make_proposal(message, "second")

    async with room() as r:
        a = await r.open(A)
        await r.open(B, babble)
        await r.meet()
        assert await collect(a, B, make_job()) == [make_proposal(make_job(), "first")]
        await asyncio.wait_for(r.host(B).closed.wait(), PATIENT)


@pytest.mark.parametrize(
    "reply",
    [Decline(make_job().job.id, 7), Failure(make_job().job.id, "out of memory")],
    ids=["decline", "failure"],
)
async def test_a_refusal_comes_through(room: Opens, reply: Decline | Failure) -> None:
    async def refuse(caller: NodeId, message: Propose) -> Frames:
        del caller, message
        yield reply

    async with room() as r:
        a = await r.open(A)
        await r.open(B, refuse)
        await r.meet()
        assert await collect(a, B, make_job()) == [reply]


@pytest.mark.parametrize("size", [100, 8_190, 200_000])
async def test_jobs_and_replies_of_any_size_come_through(room: Opens, size: int) -> None:
    message = make_job(content="x" * size)
    reply = "x" * min(size, 100_000)

    async def write(caller: NodeId, message: Propose) -> Frames:
        del caller
        assert len(message.job.turns[0].content) == size
        yield Piece(message.job.id, reply)
        yield make_proposal(message, reply)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, write)
        await r.meet()
        assert await collect(a, B, message) == [
            Piece(message.job.id, reply),
            make_proposal(message, reply),
        ]


async def test_an_unknown_peer_cannot_be_reached(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(UnreachableError, match="nobody cannot be reached"):
            await asyncio.wait_for(collect(a, NodeId("nobody"), make_job()), PATIENT / 2)


async def test_a_peer_that_left_cannot_be_reached(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        await b.close()
        await r.host(A).until(lambda host: host.gone == [B])
        with pytest.raises(UnreachableError):
            await asyncio.wait_for(collect(a, B, make_job()), PATIENT / 2)


async def test_nobody_can_be_reached_before_opening_or_after_closing(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        await a.close()
        with pytest.raises(UnreachableError, match="a is not in the network"):
            await collect(a, B, make_job())
        a.announce(make_digest(A, 9))
        await a.close()


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


async def test_digests_reach_all_others_and_not_the_sender(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.open(C)
        await r.meet()
        a.announce(make_digest(A, 2))
        for node in (B, C):
            await r.host(node).until(lambda host: make_digest(A, 2) in host.digests)
        assert all(digest.node != A for digest in r.host(A).digests)


async def test_a_newcomer_hears_the_latest_digests_at_once(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        a.announce(make_digest(A, 5))
        await r.open(B)
        await r.host(B).until(lambda host: make_digest(A, 5) in host.digests)


async def test_a_graceful_leave_is_seen_at_once(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.open(C)
        await r.meet()
        start = asyncio.get_running_loop().time()
        await a.close()
        for node in (B, C):
            await r.host(node).until(lambda host: host.gone == [A])
        assert asyncio.get_running_loop().time() - start < 3


async def test_who_comes_back_is_there_again(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        await b.close()
        await r.host(A).until(lambda host: host.gone == [B])
        await r.open(B)
        await r.host(A).until(lambda host: len(host.digests) > 1)
        await r.host(B).knows(A)
        assert await collect(a, B, make_job(content="")) == [make_proposal(make_job(), "")]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        b"\x07" + codec.encode(Gossip(make_digest("b")))[1:],
        codec.encode(Gossip(make_digest("c"))),
        codec.encode(make_job("b")),
    ],
    ids=["empty", "rubbish", "version", "forged", "kind"],
)
async def test_what_is_no_digest_is_dropped_and_counted(room: Opens, data: bytes) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        r.forge(B, A, data)
        b.announce(make_digest(B, 2))
        await r.host(A).until(lambda host: make_digest(B, 2) in host.digests)
        assert a.dropped == 1
        assert {digest.node for digest in r.host(A).digests} == {B}


async def test_a_job_in_the_name_of_another_is_refused(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        with pytest.raises(UnreachableError, match=r"refused.*another node"):
            await collect(a, B, make_job("c"))
        assert b.dropped == 1
        assert not r.host(B).started.is_set()


async def test_a_job_that_runs_already_is_refused(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hang)
        await r.meet()
        async with aclosing(a.propose(B, make_job(), patience=PATIENT)) as frames:
            await anext(frames)
            with pytest.raises(UnreachableError, match="under way"):
                await collect(a, B, make_job())
            assert r.host(B).running == 1


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x63",
        exchange.MESSAGE + b"rubbish",
        exchange.MESSAGE + codec.encode(Gossip(make_digest("b"))),
        exchange.MESSAGE + codec.encode(Piece(JobId("another"), "x")),
    ],
    ids=["empty", "tag", "rubbish", "kind", "job"],
)
async def test_a_broken_reply_is_raised_where_it_is_awaited(
    room: Opens, frame: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rubbish(self: desk.Desk, frames: Frames, answer: seals.Answer) -> None:
        del self, frames
        answer.put(frame)
        await asyncio.sleep(10**6)

    monkeypatch.setattr(desk.Desk, "_pass_on", rubbish)
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(RemoteProtocolError):
            await asyncio.wait_for(collect(a, B, make_job()), PATIENT / 2)
        assert a.dropped == 1


async def test_two_streams_from_two_callers_do_not_mix(room: Opens) -> None:
    async def count(caller: NodeId, message: Propose) -> Frames:
        for number in range(200):
            yield Piece(message.job.id, f"{caller} {number}")
            await asyncio.sleep(0)
        yield make_proposal(message, caller)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, count)
        c = await r.open(C)
        await r.meet()
        both = await asyncio.gather(
            collect(a, B, make_job("a")),
            collect(c, B, make_job("c")),
        )
    for node, (*pieces, reply) in zip("ac", both, strict=True):
        job = make_job(node).job.id
        assert pieces == [Piece(job, f"{node} {number}") for number in range(200)]
        assert reply == make_proposal(make_job(node), node)


async def test_fifty_jobs_at_once_all_come_back(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        messages = [make_job(name=f"1.{seat}", content=f"x {seat}") for seat in range(50)]
        answers = await asyncio.gather(*(collect(a, B, message) for message in messages))
    for seat, (message, answer) in enumerate(zip(messages, answers, strict=True)):
        assert answer[-1] == make_proposal(message, f"x {seat}")
        assert len(answer) == 3


async def test_two_nodes_can_ask_each_other_at_once(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        await asyncio.gather(collect(a, B, make_job("a")), collect(b, A, make_job("b")))


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
