from __future__ import annotations

import asyncio

from net_room import A, B

from dmoa.net.company import SEEK_PAUSE, SEEK_SECONDS, Company


class Seeker:
    """Notes when others are sought."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.company = Company(self.seek)

    async def seek(self) -> None:
        self.times.append(asyncio.get_running_loop().time())
        self.company.clear()


async def test_who_never_had_company_seeks_nobody() -> None:
    seeker = Seeker()
    seeker.company.left(A)
    await asyncio.sleep(100)
    assert seeker.times == []
    await seeker.company.close()


async def test_who_is_left_by_the_last_seeks_until_somebody_comes() -> None:
    seeker = Seeker()
    for peer in (A, B):
        seeker.company.came(peer)
    seeker.company.left(A)
    await asyncio.sleep(100)
    assert seeker.times == []
    seeker.company.left(B)
    await asyncio.sleep(2.5 * SEEK_PAUSE)
    assert seeker.times == [100, 100 + SEEK_PAUSE, 100 + 2 * SEEK_PAUSE]
    seeker.company.came(A)
    await asyncio.sleep(100)
    assert len(seeker.times) == 3
    seeker.company.left(A)
    await asyncio.sleep(1)
    assert len(seeker.times) == 4
    await seeker.company.close()


async def test_who_stays_alone_gives_it_up() -> None:
    seeker = Seeker()
    seeker.company.came(A)
    seeker.company.left(A)
    await asyncio.sleep(3 * SEEK_SECONDS)
    assert len(seeker.times) == SEEK_SECONDS / SEEK_PAUSE
    await seeker.company.close()


async def test_who_leaves_seeks_nobody_any_more() -> None:
    seeker = Seeker()
    seeker.company.came(A)
    seeker.company.left(A)
    await asyncio.sleep(1)
    await asyncio.wait_for(seeker.company.close(), 1)
    seeker.company.came(A)
    seeker.company.left(A)
    await asyncio.sleep(100)
    assert len(seeker.times) == 1
