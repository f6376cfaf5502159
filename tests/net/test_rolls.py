"""The contract of `Network.roll`, and every network that fulfils it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from net_room import PATIENT, A, B, C, Opens, make_digest

from dmoa.core.names import NodeId
from dmoa.errors import PeerSilentError, RemoteProtocolError, UnreachableError
from dmoa.net import codec
from dmoa.net.desk import Desk
from dmoa.net.seals import Answer
from dmoa.runtime.ports import Roll

ROLL = Roll(B, "0.1.0", 1_800_000_000.25, (A, C))


async def test_a_peer_says_who_it_is_and_whom_it_hears(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        r.host(B).roll = ROLL
        heard = await a.roll(B, patience=PATIENT)
        assert replace(heard, round_trip=0.0) == ROLL
        assert 0 < heard.round_trip < PATIENT
        assert r.host(B).probes == [A]


async def test_nobody_answers_the_roll_for_another(room: Opens) -> None:
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(UnreachableError, match="nobody cannot be reached"):
            await a.roll(NodeId("nobody"), patience=PATIENT)
        with pytest.raises(UnreachableError):  # it is closed, and says nothing
            await a.roll(B, patience=PATIENT)
        await a.close()
        with pytest.raises(UnreachableError, match="a is not in the network"):
            await a.roll(B, patience=PATIENT)


async def test_who_does_not_answer_the_roll_is_given_up(
    room: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Answer] = []
    monkeypatch.setattr(Desk, "present", lambda *given: held.append(given[2]))
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(PeerSilentError, match=r"within 0\.3 s"):
            await a.roll(B, patience=0.3)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        codec.encode(codec.Gossip(make_digest(B))),
        codec.encode_roll(ROLL)[:-1],
        codec.encode_roll(replace(ROLL, node=C)),
        codec.encode_roll(replace(ROLL, clock=-1.0)),
        codec.encode_roll(replace(ROLL, release="9" * 1000)),
        codec.encode_roll(replace(ROLL, peers=(A,) * 129)),
        codec.encode_roll(replace(ROLL, peers=(NodeId("not a name"),))),
        codec.encode_roll(ROLL) + b" " * codec.ROLL_BYTES,
    ],
    ids=["empty", "kind", "cut", "name", "clock", "release", "peers", "peer", "long"],
)
async def test_what_is_no_answer_to_the_roll_is_held_against_the_peer(
    room: Opens, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tell(desk: Desk, caller: NodeId, answer: Answer) -> None:
        del desk, caller
        answer.put(data)
        answer.end()

    monkeypatch.setattr(Desk, "present", tell)
    async with room() as r:
        a = await r.open(A)
        await r.open(B)
        await r.meet()
        with pytest.raises(RemoteProtocolError):
            await asyncio.wait_for(a.roll(B, patience=PATIENT), PATIENT / 2)
        assert r.host(A).offences == [(B, "malformed")]
