"""What breaks the protocol, on every network: dropped, counted, and held against its peer."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from net_room import (
    PATIENT,
    A,
    B,
    Opens,
    collect,
    hang,
    make_digest,
    make_job,
)

from dmoa.core.events import Offence
from dmoa.core.messages import Gossip, Piece
from dmoa.core.names import JobId, NodeId
from dmoa.errors import RemoteProtocolError, UnreachableError
from dmoa.net import codec, desk, exchange, seals
from dmoa.runtime.ports import Frames

MALFORMED = (B, "malformed")


@pytest.mark.parametrize(
    ("data", "offences"),
    [
        (b"", [MALFORMED]),
        (b"\x07" + codec.encode(Gossip(make_digest("b")))[1:], []),  # another release
        (codec.encode(Gossip(make_digest("c"))), [MALFORMED]),
        (codec.encode(make_job("b")), [MALFORMED]),
    ],
    ids=["empty", "version", "another", "kind"],
)
async def test_what_is_no_digest_is_dropped_and_counted(
    room: Opens, data: bytes, offences: list[tuple[NodeId, Offence]]
) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        r.forge(B, A, data)
        b.announce(make_digest(B, 2))
        await r.host(A).until(lambda host: make_digest(B, 2) in host.digests)
        assert a.dropped == 1
        assert r.host(A).offences == offences
        assert {digest.node for digest in r.host(A).digests} == {B}


async def test_a_job_in_the_name_of_another_is_refused(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        with pytest.raises(UnreachableError, match=r"refused.*another node"):
            await collect(a, B, make_job("c"))
        assert b.dropped == 1
        assert r.host(B).offences == [(A, "malformed")]
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
            assert r.host(B).offences == [(A, "replayed")]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x63",
        exchange.MESSAGE + b"\x01rubbish",
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
        assert r.host(A).offences == [MALFORMED]
