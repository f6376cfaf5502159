"""A membership is kept good: renewed in time, tried again, and its news taken into use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest
from realm_room import DAY, HOUR, Room

from dmoa.errors import NetworkError, RealmError, UnreachableError
from dmoa.realm import certificates, errand, keeper
from dmoa.realm.identity import RealmIdentity
from dmoa.realm.residence import check, in_order


class Told:
    """Counts what it was told, and how often it was asked to renew."""

    def __init__(self, *, works: bool = False) -> None:
        self.news = 0
        self.asked: list[float] = []
        self.works = works
        self.breaks = 0

    async def changed(self) -> None:
        if self.breaks:
            self.breaks -= 1
            raise NetworkError("not now")
        self.news += 1

    async def renew(self, identity: RealmIdentity) -> None:
        self.asked.append(asyncio.get_running_loop().time())
        if not self.works:
            raise UnreachableError("no desk answers")
        await errand.renew(identity)


@asynccontextmanager
async def kept(identity: RealmIdentity, told: Told) -> AsyncIterator[None]:
    keeping = asyncio.create_task(
        keeper.keep(identity, told.changed, renew=told.renew, rng=Random(1))
    )
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def test_a_revocation_by_another_process_is_seen_within_seconds(room: Room) -> None:
    authority = room.authority(room.found())
    room.enlist(authority)
    identity, told = room.identity(authority.membership), Told()
    async with kept(identity, told):
        await asyncio.sleep(10)
        assert told.news == 0
        authority.revoke("bob")
        await asyncio.sleep(keeper.LOOK + 0.1)
        assert (told.news, identity.revoked) == (1, {"bob"})
        await asyncio.sleep(10)
        assert told.news == 1
    assert told.asked == []


async def test_news_that_could_not_be_used_are_not_forgotten(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    authority = room.authority(room.found())
    room.enlist(authority)
    told = Told()
    told.breaks = 2
    async with kept(room.identity(authority.membership), told):
        authority.revoke("bob")
        await asyncio.sleep(3 * keeper.LOOK + 0.1)
    assert told.news == 1
    assert caplog.text.count("could not be taken into use: not now") == 2


async def test_a_certificate_is_renewed_when_a_third_is_left(room: Room) -> None:
    """The founder signs itself; its clock is set by hand, and files are looked at."""
    identity = room.identity(room.found())
    told = Told()
    room.clock.now += certificates.LIFE * 2 / 3 - 1
    async with kept(identity, told):
        await asyncio.sleep(10)
        assert told.asked == []
        room.clock.now += 2
        await asyncio.sleep(keeper.LOOK + 0.1)
    assert len(told.asked) == 1


async def test_a_renewed_certificate_is_taken_into_use(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, told = room.identity(room.found()), Told(works=True)
    monkeypatch.setattr("dmoa.realm.errand.Authority", room.authority)
    room.clock.now += 25 * DAY
    async with kept(identity, told):
        async with asyncio.timeout(60):
            while not told.news:
                await asyncio.sleep(0.1)
        await asyncio.sleep(HOUR)
    assert (len(told.asked), told.news) == (1, 1)
    assert identity.left == certificates.LIFE


async def test_what_fails_is_tried_again_each_hour_and_told_in_the_end(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    identity, told = room.identity(room.found()), Told()
    room.clock.now += 21 * DAY
    async with kept(identity, told):
        await asyncio.sleep(5 * HOUR)
        assert caplog.text == ""
        count = len(told.asked)
        assert 4 <= count <= 7
        gaps = [b - a for a, b in zip(told.asked, told.asked[1:], strict=False)]
        assert all(0.75 * HOUR <= gap <= 1.25 * HOUR + keeper.LOOK for gap in gaps)
        assert len(set(gaps)) > 1
        room.clock.now += 3 * DAY
        await asyncio.sleep(2 * HOUR)
        assert "the certificate of alice expires in 6.0 days and was not renewed" in caplog.text
        room.clock.now += 7 * DAY
        await asyncio.sleep(2 * HOUR)
        assert "the certificate of alice has expired and was not renewed" in caplog.text


async def test_a_founder_that_was_off_for_long_starts_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    its = room.found()
    room.clock.now += 100 * DAY
    with pytest.raises(RealmError, match="the certificate of alice in realm lab expired"):
        check(room.identity(its))
    monkeypatch.setattr(
        "dmoa.realm.residence.RealmIdentity", lambda its: RealmIdentity(its, clock=room.clock)
    )
    monkeypatch.setattr("dmoa.realm.errand.Authority", room.authority)
    identity = await in_order(its)
    assert identity.left == certificates.LIFE


async def test_a_member_whose_certificate_expired_is_told_what_to_do(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = room.enlist(room.authority(room.found()))
    room.clock.now += 31 * DAY
    monkeypatch.setattr(
        "dmoa.realm.residence.RealmIdentity", lambda its: RealmIdentity(its, clock=room.clock)
    )
    with pytest.raises(RealmError, match="the certificate of bob in realm lab expired") as caught:
        await in_order(bob)
    assert caught.value.hint is not None
    assert "dmoa realm leave" in caught.value.hint
