"""The contract of `Network.probe`, and every network that fulfils it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
from net_room import (
    PATIENT,
    A,
    B,
    Opens,
    RecordingHost,
    collect,
    hang,
    hold,
    make_digest,
    make_job,
    make_proposal,
    under_way,
    wait_until,
)

from dmoa.core.digest import Digest
from dmoa.core.messages import Farewell, Gossip, Piece, Propose
from dmoa.core.names import NodeId
from dmoa.errors import (
    PeerSilentError,
    RemoteProtocolError,
    UnreachableError,
    VersionError,
)
from dmoa.net import codec
from dmoa.net.desk import Desk
from dmoa.net.seals import Answer
from dmoa.runtime.ports import Frames


class Counting(RecordingHost):
    """Tells a digest with the next number each time."""

    def probed(self, caller: NodeId) -> Digest | None:
        super().probed(caller)
        return make_digest("b", len(self.probes))


async def test_a_probe_gives_how_the_peer_stands_at_that_moment(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        for length in (3, 0):
            told = replace(
                make_digest("b", 9),
                length=length,
                capacity=2.5,
                layers=2,
                fanout=3,
                refused=4,
                declined=5,
            )
            r.host(B).standing = told
            assert await a.probe(B, patience=PATIENT) == told
        assert r.host(B).probes == [A, A]
        assert told not in r.host(A).digests
        assert not under_way(a)


async def test_nobody_answers_for_an_unknown_peer(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(UnreachableError, match="nobody cannot be reached"):
            await asyncio.wait_for(a.probe(NodeId("nobody"), patience=PATIENT), PATIENT / 2)
        assert r.host(B).probes == []


async def test_nobody_answers_for_a_peer_that_left(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        await b.close()
        await r.host(A).until(lambda host: host.gone == [B])
        with pytest.raises(UnreachableError):
            await asyncio.wait_for(a.probe(B, patience=PATIENT), PATIENT / 2)
        assert r.host(B).probes == []


async def test_a_host_that_is_closed_tells_nothing(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        r.host(B).standing = None
        with pytest.raises(UnreachableError, match="b cannot be reached"):
            await asyncio.wait_for(a.probe(B, patience=PATIENT), PATIENT / 2)
        assert r.host(B).probes == [A]


@pytest.mark.parametrize("flaw", ["raises", "lies within"])
async def test_a_host_that_fails_tells_nothing(
    room: Opens, flaw: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(caller: NodeId) -> Digest | None:
        if flaw == "raises":
            raise LookupError(f"asked by {caller}")
        return replace(make_digest("b"), capacity=float("nan"))

    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        monkeypatch.setattr(r.host(B), "probed", fail)
        with pytest.raises(UnreachableError):
            await asyncio.wait_for(a.probe(B, patience=PATIENT), PATIENT / 2)
    assert "a cannot be told how this node stands" in caplog.text


async def test_nobody_is_probed_before_opening_or_after_closing(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        await a.close()
        with pytest.raises(UnreachableError, match="a is not in the network"):
            await a.probe(B, patience=PATIENT)


async def test_a_silent_peer_is_given_up_when_patience_ends(
    room: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(monkeypatch)
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        start = asyncio.get_running_loop().time()
        with pytest.raises(PeerSilentError, match=r"b did not say within 0\.3 s"):
            await a.probe(B, patience=0.3)
        assert 0.3 <= asyncio.get_running_loop().time() - start < PATIENT / 2
        assert len(held) == 1
        assert not under_way(a)


async def test_a_cancelled_probe_leaves_nothing_behind(
    room: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(monkeypatch)
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        before = asyncio.all_tasks()
        probing = asyncio.create_task(a.probe(B, patience=PATIENT))
        await wait_until(lambda: held)
        probing.cancel()
        await asyncio.wait([probing])
        assert probing.cancelled()
        assert asyncio.all_tasks() == before
        assert not under_way(a)
        held[0].put(codec.encode(Gossip(make_digest("b"))))
        held[0].end()
        monkeypatch.undo()
        assert await a.probe(B, patience=PATIENT) == make_digest("b")
        assert a.dropped == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("way", ["closes", "crashes"])
@pytest.mark.parametrize("node", [A, B])
async def test_the_end_of_either_side_ends_a_probe(
    room: Opens, node: NodeId, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = hold(monkeypatch)
    async with room() as r:
        ends = {A: await r.open(A), B: await r.open(B)}
        await r.meet()
        probing = asyncio.create_task(ends[A].probe(B, patience=PATIENT))
        await wait_until(lambda: held)
        await (ends[node].close() if way == "closes" else r.crash(node))
        with pytest.raises(UnreachableError):
            await asyncio.wait_for(probing, PATIENT / 2)


def forged(**fields: Any) -> bytes:
    """Write what no codec would: a digest that cannot be meant."""
    message = Gossip(replace(make_digest("b"), **fields))
    return codec._HEADS[Gossip] + codec._ENCODER.encode(message)


@pytest.mark.parametrize(
    ("data", "error", "flaw"),
    [
        (codec.encode(Gossip(make_digest("c"))), RemoteProtocolError, "another node"),
        (codec.encode(Farewell()), RemoteProtocolError, "a farewell where a digest belongs"),
        (b"", RemoteProtocolError, "no head"),
        (b"rubbish", VersionError, "version 114"),
        (b"\x07" + codec.encode(Gossip(make_digest("b")))[1:], VersionError, "version 7"),
        (codec.encode(Gossip(make_digest("b")))[:-1], RemoteProtocolError, "gossip"),
        (forged(capacity=-1.0), RemoteProtocolError, "capacity"),
        (forged(refused=-1), RemoteProtocolError, "refused"),
    ],
    ids=["another", "kind", "empty", "rubbish", "version", "cut", "capacity", "count"],
)
async def test_what_is_no_digest_of_the_peer_is_refused_and_counted(
    room: Opens,
    data: bytes,
    error: type[Exception],
    flaw: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def tell(desk: Desk, caller: NodeId, answer: Answer) -> None:
        del desk, caller
        answer.put(data)
        answer.end()

    monkeypatch.setattr(Desk, "stand", tell)
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(error, match=flaw):
            await asyncio.wait_for(a.probe(B, patience=PATIENT), PATIENT / 2)
        assert a.dropped == 1  # type: ignore[attr-defined]
        assert {digest.node for digest in r.host(A).digests} == {B}


async def test_fifty_probes_at_once_are_all_told(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        host = Counting()
        for part in (b, b._desk):  # type: ignore[attr-defined]
            part._host = host
        told = await asyncio.gather(*(a.probe(B, patience=PATIENT) for _ in range(50)))
        assert sorted(digest.sequence for digest in told) == list(range(1, 51))
        assert host.probes == [A] * 50


async def test_two_nodes_can_probe_each_other_at_once(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        b = await r.open(B)
        await r.meet()
        told = await asyncio.gather(a.probe(B, patience=PATIENT), b.probe(A, patience=PATIENT))
        assert [digest.node for digest in told] == [B, A]


async def test_probes_pass_by_jobs_that_are_under_way(room: Opens) -> None:
    async def write(caller: NodeId, message: Propose) -> Frames:
        del caller
        for number in range(20):
            yield Piece(message.job.id, f"{number}" + "x" * 30_000)
        yield make_proposal(message)

    async with room() as r:
        a = await r.open(A)
        await r.open(B, write)
        await r.meet()
        jobs = [
            asyncio.create_task(
                collect(a, B, make_job(name=f"1.{seat}", content="x" * 100_000)),
            )
            for seat in range(4)
        ]
        while not all(job.done() for job in jobs):
            assert await a.probe(B, patience=PATIENT) == make_digest("b")
        for job in jobs:
            pieces = [frame for frame in job.result() if isinstance(frame, Piece)]
            assert [piece.text.rstrip("x") for piece in pieces] == [
                str(number) for number in range(20)
            ]


async def test_a_job_that_hangs_does_not_hinder_a_probe(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B, hang)
        await r.meet()
        async with aclosing(a.propose(B, make_job(), patience=PATIENT)) as frames:
            await anext(frames)
            assert await a.probe(B, patience=PATIENT) == make_digest("b")
            assert r.host(B).running == 1
