"""Floods over the real network: dropped early, held against who is to blame, harmless to others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from net_room import (
    A,
    B,
    C,
    RealmRoom,
    ZenohRoom,
    collect,
    make_digest,
    make_job,
    wait_until,
)

from dmoa.core.messages import Gossip
from dmoa.net import codec, keys
from dmoa.net.inlet import RATES
from dmoa.net.seals import DIGEST, WITHDRAWAL
from dmoa.runtime.ports import Network

pytestmark = pytest.mark.real

MANY = 10_000
"""Messages; sent within a second or two."""


def count_opened(network: Network) -> Counter[str]:
    """Count by kind what is looked at of all that comes."""
    counts: Counter[str] = Counter()
    for kind, inlet in network._inlets.items():  # type: ignore[attr-defined]

        def opened(*given: Any, kind: str = kind, open_: Any = inlet.open) -> Any:
            counts[kind] += 1
            return open_(*given)

        inlet.open = opened
    return counts


def breathe(number: int) -> None:
    """Let the loop have the interpreter, as if the flood came from another process."""
    if number % 100 == 0:
        time.sleep(0.005)


@pytest.mark.parametrize("kind", [ZenohRoom, RealmRoom], ids=["plain", "realm"])
async def test_a_flood_of_digests_is_held_against_its_sender(kind: type[ZenohRoom]) -> None:
    room = kind()
    try:
        a, b, c = [await room.open(node) for node in (A, B, C)]
        await room.meet()
        said = [codec.encode(Gossip(make_digest(C, 2 + number))) for number in range(2000)]
        if isinstance(room, RealmRoom):
            said = [room.identities[C].seal("digest", "", data) for data in said]
        session = room.session(C)

        def send() -> None:
            for number in range(MANY):
                session.put(keys.digest(C), said[number % len(said)])
                breathe(number)

        opened = count_opened(a)
        sending = asyncio.create_task(asyncio.to_thread(send))
        for number in range(20):
            message = make_job(name=f"3.{number}", content="")
            assert len(await collect(a, B, message)) == 1
        await sending
        await wait_until(lambda: (C, "flood") in room.host(A).offences)
        assert opened[DIGEST] < MANY / 4  # the rest cost nothing
        assert {offence for _, offence in room.host(A).offences} == {"flood"}
        assert len(room.host(A).offences) < 30  # of thousands: once an interval
        assert len(room.host(A).digests) < 4 * RATES[DIGEST].burst
        b.announce(make_digest(B, 2))
        await room.host(A).until(lambda host: make_digest(B, 2) in host.digests)
        del c
    finally:
        await room.close()


async def test_a_flood_in_another_s_name_is_blamed_on_nobody() -> None:
    room = RealmRoom()
    try:
        a, b, _ = [await room.open(node) for node in (A, B, C)]
        await room.meet()
        session = room.session(C)

        def send() -> None:
            for number in range(MANY):
                session.put(keys.digest(B if number % 2 else C), b"rubbish")
                session.put(f"withdraw/a/n{number}", b"rubbish")
                breathe(number)

        opened = count_opened(a)
        sending = asyncio.create_task(asyncio.to_thread(send))
        for number in range(20):
            assert len(await collect(b, A, make_job("b", name=f"3.{number}", content=""))) == 1
        await sending
        assert opened[DIGEST] + opened[WITHDRAWAL] < MANY / 4
        assert a.dropped > 0  # type: ignore[attr-defined]
        assert room.host(A).offences == []
    finally:
        await room.close()
