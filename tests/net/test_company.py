from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from net_room import A, B

from dmoa.core.names import NodeId
from dmoa.net.company import HABIT, SEEK_PAUSE, SEEK_SECONDS, SLEPT, UNHEARD, Company


class Watched:
    """Notes when the session is opened anew, which loses all company."""

    def __init__(self, *, searches: bool) -> None:
        self.times: list[float] = []
        self.asleep = self.worked = 0.0
        self.company = Company(
            self.renew, searches=searches, clock=self.clock, work=lambda: self.worked
        )

    def clock(self) -> float:
        return asyncio.get_running_loop().time() + self.asleep

    async def renew(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.company.clear()

    async def gossips(self, peer: NodeId, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.company.heard(peer)
            await asyncio.sleep(1)


@asynccontextmanager
async def watched(*, searches: bool = True) -> AsyncIterator[Watched]:
    made = Watched(searches=searches)
    yield made
    await asyncio.wait_for(made.company.close(), 1)
    count = len(made.times)
    await asyncio.sleep(100)
    assert len(made.times) == count


async def test_who_never_had_company_seeks_nobody() -> None:
    async with watched() as w:
        w.company.left(A)
        await asyncio.sleep(100)
        assert w.times == []


async def test_who_is_left_by_the_last_seeks_until_somebody_comes() -> None:
    async with watched() as w:
        for peer in (A, B):
            w.company.came(peer)
        w.company.left(A)
        await asyncio.sleep(20)
        assert w.times == []
        w.company.left(B)
        await asyncio.sleep(2.5 * SEEK_PAUSE + 1)
        assert w.times == pytest.approx([21, 21 + SEEK_PAUSE, 21 + 2 * SEEK_PAUSE], abs=1)
        w.company.came(A)
        await asyncio.sleep(20)
        assert len(w.times) == 3


async def test_who_stays_alone_gives_it_up() -> None:
    async with watched() as w:
        w.company.came(A)
        w.company.left(A)
        await asyncio.sleep(3 * SEEK_SECONDS)
        assert SEEK_SECONDS / 6 < len(w.times) <= SEEK_SECONDS / SEEK_PAUSE + 1


async def test_who_does_not_search_is_not_helped_by_a_young_session() -> None:
    async with watched(searches=False) as w:
        w.company.came(A)
        w.company.left(A)
        await asyncio.sleep(100)
        assert w.times == []


async def test_who_gossiped_and_is_not_heard_though_here_is_met_anew() -> None:
    async with watched(searches=False) as w:
        w.company.came(A)
        w.company.came(B)
        await w.gossips(A, HABIT)
        await asyncio.sleep(UNHEARD + 2)
        assert len(w.times) == 1
        w.company.came(A)
        await w.gossips(A, 30)
        assert len(w.times) == 1


async def test_who_never_gossiped_is_not_waited_for() -> None:
    async with watched() as w:
        w.company.came(A)
        await w.gossips(A, HABIT - 1)
        await asyncio.sleep(100)
        assert w.times == []


@pytest.mark.parametrize(("worked", "renewed"), [(0.1, 1), (SLEPT, 0)])
async def test_who_slept_meets_all_anew_but_not_who_was_busy(worked: float, renewed: int) -> None:
    async with watched(searches=False) as w:
        w.company.came(A)
        await asyncio.sleep(10)
        w.asleep, w.worked = SLEPT + 1, worked
        await asyncio.sleep(10)
        assert len(w.times) == renewed
