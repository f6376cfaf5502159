"""What only the real network can get wrong about probes."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from net_room import (
    HELD_UP,
    PATIENT,
    A,
    B,
    C,
    ZenohRoom,
    collect,
    hold,
    longest_stall,
    make_digest,
    make_job,
    start_child,
    under_way,
    wait_until,
)

from dmoa.core.digest import Digest
from dmoa.core.messages import Gossip
from dmoa.errors import PeerSilentError, UnreachableError
from dmoa.net import codec, keys
from dmoa.net import zenoh as zenoh_network

pytestmark = pytest.mark.real


async def test_a_flood_of_one_peer_neither_piles_up_nor_shuts_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zenoh_network, "PROBES_EACH", 3)
    r = ZenohRoom()
    a, b, c = [await r.open(node) for node in (A, B, C)]
    try:
        await r.meet()
        held = hold(monkeypatch)
        flood = [asyncio.create_task(a.probe(B, patience=PATIENT)) for _ in range(40)]
        await wait_until(lambda: sum(probe.done() for probe in flood) == 37)
        assert len(held) == 3
        monkeypatch.undo()
        assert await c.probe(B, patience=PATIENT) == make_digest("b")
        for answer in held:
            answer.put(codec.encode(Gossip(make_digest("b", 5))))
            answer.end()
        outcomes = await asyncio.gather(*flood, return_exceptions=True)
        told = [outcome for outcome in outcomes if isinstance(outcome, Digest)]
        assert told == [make_digest("b", 5)] * 3
        # Not UnreachableError, for which the peer would be forgotten.
        assert sum(isinstance(outcome, PeerSilentError) for outcome in outcomes) == 37
        assert await a.probe(B, patience=PATIENT) == make_digest("b")
        await wait_until(lambda: not b._gate._inside)  # type: ignore[attr-defined]
    finally:
        await r.close()


async def test_who_has_no_name_is_told_nothing() -> None:
    r = ZenohRoom()
    await r.open(A)
    await r.open(B)
    try:
        await r.meet()
        key = f"{keys.standing(B)[:-1]}Not-A-Name"
        replies = await asyncio.to_thread(lambda: list(r.session(A).get(key, timeout=PATIENT)))
        assert replies == []
        assert r.host(B).probes == []
    finally:
        await r.close()


@pytest.mark.parametrize("jobs", [0, 40])
async def test_a_peer_that_takes_no_bytes_does_not_hold_up_its_probers(jobs: int) -> None:
    r = ZenohRoom()
    a = await r.open(A)
    child = await start_child(r.entries[0])
    try:
        await r.host(A).knows(B)
        os.kill(child.pid, signal.SIGSTOP)
        async with longest_stall() as worst:
            text = "x" * 200_000
            asked = [
                asyncio.create_task(
                    collect(a, B, make_job(name=f"1.{seat}", content=text), patience=2)
                )
                for seat in range(jobs)
            ]
            outcomes = await asyncio.gather(
                *(a.probe(B, patience=0.5) for _ in range(300)), return_exceptions=True
            )
            assert {type(each) for each in outcomes} <= {PeerSilentError, UnreachableError}
            await asyncio.gather(*asked, return_exceptions=True)
            assert not under_way(a)
    finally:
        child.kill()
        await child.wait()
        await r.close()
    assert worst[0] < HELD_UP
