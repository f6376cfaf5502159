"""One contract, `dmoa.runtime.ports.Network`, and every network that fulfils it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from net_room import (
    PATIENT,
    A,
    B,
    C,
    Opens,
    collect,
    make_digest,
    make_job,
    make_preview,
    make_proposal,
)

from dmoa.core.messages import Decline, Failure, Offer, Piece, Preview, Propose
from dmoa.core.names import NodeId
from dmoa.errors import UnreachableError
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


async def test_a_preview_goes_beside_its_job_and_is_taken_back_alone(room: Opens) -> None:
    shown, taken = asyncio.Event(), asyncio.Event()

    async def hold(caller: NodeId, message: Offer) -> Frames:
        del caller
        if isinstance(message, Propose):
            yield make_proposal(message)
        elif message.number == 1:
            yield Decline(message.name, 3)
        try:
            shown.set()
            await asyncio.sleep(10 * PATIENT)
        finally:
            taken.set()

    first, second = make_preview(), make_preview(2)
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hold)
        await r.meet()
        assert await collect(a, B, first) == [Decline(first.name, 3)]
        shown.clear()
        taken.clear()
        holds = asyncio.create_task(collect(a, B, second))
        await asyncio.wait_for(shown.wait(), PATIENT)
        job = Propose(second.job)
        assert await collect(a, B, job) == [make_proposal(job)]
        assert isinstance(second, Preview)
        assert not holds.done()
        taken.clear()
        holds.cancel()
        await asyncio.wait_for(taken.wait(), PATIENT)
        assert not r.host(A).offences
        assert not r.host(B).offences
