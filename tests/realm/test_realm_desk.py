"""Joining over real TLS on this machine: who is let in, who is not, and what is left behind."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from realm_room import DAY, HOUR, Room

from dmoa.config import realms
from dmoa.errors import (
    ConflictError,
    ForgedError,
    InviteError,
    RealmError,
    UnreachableError,
)
from dmoa.realm import certificates, desk, errand
from dmoa.realm.authority import Authority
from dmoa.realm.desk import Desk
from dmoa.realm.errand import answers, join, renew
from dmoa.realm.forms import Join
from dmoa.realm.residence import check

pytestmark = pytest.mark.real


def opened(room: Room, authority: Authority) -> Desk:
    return Desk(authority.membership, "127.0.0.1", clock=room.clock)


def left_behind(room: Room, machine: str) -> list[str]:
    folder = Path(room.machine(machine)["DMOA_REALMS"])
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


async def test_one_line_is_all_that_another_machine_needs(room: Room) -> None:
    alice = room.found()
    authority = room.authority(alice)
    async with opened(room, authority):
        bob = await room.member(authority)
    assert realms.find("lab", room.machine("bob")) == bob
    assert (bob.node, bob.founder, bob.multicast) == ("bob", "alice", alice.multicast)
    assert bob.seeds == (f"tls/127.0.0.1:{alice.port}",)
    assert bob.authority == (f"127.0.0.1:{alice.desk}",)
    sealed = room.identity(bob).seal("job", "alice", b"hello")
    assert room.identity(alice).open("job", "alice", "bob", sealed) == b"hello"


async def test_secrets_are_their_owners_alone_and_keys_stay_at_home(room: Room) -> None:
    alice = room.found()
    authority = room.authority(alice)
    async with opened(room, authority):
        bob = await room.member(authority)
    for its in (alice, bob):
        assert stat.S_IMODE(its.folder.stat().st_mode) == 0o700
        files = {each.name: stat.S_IMODE(each.stat().st_mode) for each in its.folder.iterdir()}
        assert {mode for name, mode in files.items() if not name.startswith(".")} == {0o600}
    assert not bob.authority_key_file.exists()
    assert not bob.ledger_file.exists()
    assert bob.key_file.read_bytes() not in (alice.key_file.read_bytes(), b"")


async def test_later_members_hear_of_earlier_ones(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        await join(
            authority.invite(HOUR), "bob", port=7501, environ=room.machine("b"), now=room.clock.now
        )
        carol = await room.member(authority, "carol")
    assert carol.seeds == (f"tls/127.0.0.1:{authority.membership.port}", "tls/127.0.0.1:7501")
    here = realms.find("lab", room.machine("here"))
    assert here is not None
    assert set(here.seeds) == {"tls/127.0.0.1:7447", "tls/127.0.0.1:7501"}


async def test_an_invitation_is_good_once(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    authority = room.authority(room.found())
    invitation = authority.invite(HOUR)
    async with opened(room, authority):
        await join(invitation, "bob", environ=room.machine("bob"), now=room.clock.now)
        with pytest.raises(InviteError, match="not good, or no longer"):
            await join(invitation, "eve", environ=room.machine("eve"), now=room.clock.now)
    assert "it was used before" in caplog.text
    assert left_behind(room, "eve") == []


async def test_an_invitation_expires_by_the_founders_clock(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    authority = room.authority(room.found())
    invitation = authority.invite(HOUR)
    early = room.clock.now
    room.clock.now += HOUR
    async with opened(room, authority):
        with pytest.raises(InviteError, match="not good, or no longer"):
            await join(invitation, "eve", environ=room.machine("eve"), now=early)
    assert "it expired" in caplog.text
    with pytest.raises(InviteError, match="the invitation expired"):
        await join(invitation, "eve", environ=room.machine("eve"), now=early + 2 * HOUR)


async def test_what_nobody_invited_is_told_no_more_than_that(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    authority = room.authority(room.found())
    invented = msgspec.structs.replace(authority.invite(HOUR), token=bytes(32))
    with_name = authority.invite(HOUR, "carol")
    async with opened(room, authority):
        for invitation in (invented, with_name):
            with pytest.raises(InviteError) as caught:
                await join(invitation, "eve", environ=room.machine("eve"), now=room.clock.now)
            assert caught.value.message == "the invitation is not good, or no longer"
    assert "nobody made it" in caplog.text
    assert "it is for carol alone" in caplog.text


async def test_a_name_is_one_members(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        await room.member(authority, "bob")
        invitation = authority.invite(HOUR)
        with pytest.raises(ConflictError, match="node bob is a member in realm lab"):
            await join(invitation, "bob", environ=room.machine("eve"), now=room.clock.now)
        # It was no use of the invitation.
        await join(invitation, "eve", environ=room.machine("eve"), now=room.clock.now)
    assert left_behind(room, "eve") == ["lab"]


async def test_another_realms_desk_hears_no_token(room: Room) -> None:
    """Somebody in between shows an authority of the same name, and waits for tokens."""
    authority = room.authority(room.found())
    false = room.found(at="there")
    places = (f"127.0.0.1:{false.desk}",)
    invitation = msgspec.structs.replace(authority.invite(HOUR), places=places)
    heard: list[bytes] = []

    class Listening(Desk):
        async def _answer(self, line: bytes, writer: asyncio.StreamWriter, address: str):
            heard.append(line)
            return await super()._answer(line, writer, address)

    async with Listening(false, "127.0.0.1", clock=room.clock):
        with pytest.raises(InviteError, match="is not the authority that the invitation names"):
            await join(invitation, "bob", environ=room.machine("bob"), now=room.clock.now)
    assert heard == [b'{"do":"look"}\n']
    assert left_behind(room, "bob") == []


async def test_a_member_that_shows_the_right_authority_is_not_the_desk(room: Room) -> None:
    authority = room.authority(room.found())
    mallory = room.enlist(authority, "mallory")
    for name in ("authority_key_file", "ledger_file"):
        getattr(mallory, name).write_bytes(getattr(authority.membership, name).read_bytes())
        getattr(mallory, name).chmod(0o600)
    invitation = authority.invite(HOUR)
    there = replace(authority.membership, folder=mallory.folder)
    async with Desk(there, "127.0.0.1", clock=room.clock):
        with pytest.raises(RealmError, match="is no desk of this realm"):
            await join(invitation, "bob", environ=room.machine("bob"), now=room.clock.now)
    assert left_behind(room, "bob") == []


async def test_where_no_desk_is_the_hint_says_what_to_do(room: Room) -> None:
    authority = room.authority(room.found())
    with pytest.raises(UnreachableError, match="no desk answers at") as caught:
        await room.member(authority)
    assert caught.value.hint is not None
    assert "keep `dmoa up` running where alice is" in caught.value.hint
    assert left_behind(room, "bob") == []
    assert not await answers(authority.membership, f"127.0.0.1:{authority.membership.desk}")


async def test_whether_a_desk_answers_can_be_asked(room: Room) -> None:
    authority = room.authority(room.found())
    place = f"127.0.0.1:{authority.membership.desk}"
    async with opened(room, authority):
        assert await answers(authority.membership, place)
        assert not await answers(room.found(at="there"), place)


async def test_a_lost_answer_can_be_fetched_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk dies after it has written the ledger, and before it has answered."""
    authority = room.authority(room.found())
    done, lost = Desk._done, []

    async def forgetful(self: Desk, ask: object, writer: asyncio.StreamWriter, address: str):
        answer = await done(self, ask, writer, address)  # type: ignore[arg-type]
        if isinstance(ask, Join) and not lost:
            lost.append(answer)
            writer.transport.abort()
        return answer

    monkeypatch.setattr(Desk, "_done", forgetful)
    async with opened(room, authority):
        bob = await room.member(authority)
    assert lost
    assert room.identity(bob).node == "bob"


async def test_a_member_renews_by_its_certificate(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        bob = await room.member(authority)
        identity = room.identity(bob)
        ends = identity.ends
        room.clock.now += 10 * DAY
        await renew(identity)
        assert identity.refresh()
        assert identity.ends == ends + 10 * DAY
        assert not identity.refresh()
        assert bob.key_file.read_bytes() == realms.read(bob.folder).key_file.read_bytes()


async def test_renewing_brings_the_newest_revocations(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        identity = room.identity(await room.member(authority))
        room.enlist(authority, "carol")
        authority.revoke("carol")
        await renew(identity)
    assert identity.revoked == {"carol"}


async def test_who_was_revoked_does_not_renew(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        identity = room.identity(await room.member(authority))
        authority.revoke("bob")
        with pytest.raises(RealmError, match="bob is no member of realm lab any more"):
            await renew(identity)
    assert identity.revoked == {"bob"}
    with pytest.raises(RealmError, match="bob was revoked in realm lab"):
        check(identity)


async def test_nobody_renews_without_a_certificate_or_for_another(room: Room) -> None:
    authority = room.authority(room.found())
    bob, carol = room.enlist(authority, "bob"), room.enlist(authority, "carol")
    its = authority.membership
    place = (f"127.0.0.1:{its.desk}",)
    async with opened(room, authority):
        stolen = replace(bob, node="carol", authority=place)
        stolen.certificate_file.write_bytes(carol.certificate_file.read_bytes())
        stolen.key_file.write_bytes(carol.key_file.read_bytes())
        identity = room.identity(stolen)
        other = certificates.new_key()
        stolen.key_file.write_bytes(certificates.key_pem(other))
        with pytest.raises((RealmError, UnreachableError, ssl.SSLError)):
            await renew(identity)
        said = await spoken(its.desk, b'{"do":"renew","request":"x","port":1}\n')
    assert b"who shows the present one alone" in said


# -- strangers ----------------------------------------------------------------------------


async def spoken(port: int, line: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=errand._seeing(), server_hostname="x"
    )
    try:
        with suppress(ConnectionError):
            writer.write(line)
            await writer.drain()
        return await reader.read(10_000)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    "line",
    [b"\n", b"{}\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff\n", b'{"do":"join"}\n', b"[" * 9000 + b"\n"],
)
async def test_rubbish_is_refused_in_one_line(room: Room, line: bytes) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        assert b"that is nothing one can ask here" in await spoken(authority.membership.desk, line)
        assert await answers(authority.membership, f"127.0.0.1:{authority.membership.desk}")


async def test_a_line_without_end_is_not_read_on(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        assert await spoken(authority.membership.desk, b"x" * 1_000_000) == b""
        await room.member(authority)


async def test_who_fails_often_has_to_wait(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "_MINUTE", 3.0)
    authority = room.authority(room.found())
    port = authority.membership.desk
    async with opened(room, authority):
        for _ in range(desk.FAILURES):
            await spoken(port, b"{}\n")
        for _ in range(desk.FAILURES):
            assert b"too much was tried from there" in await spoken(port, b'{"do":"look"}\n')
        assert not await answers(authority.membership, f"127.0.0.1:{port}")  # nor heard
        async with asyncio.timeout(10):
            while not await answers(authority.membership, f"127.0.0.1:{port}"):
                await asyncio.sleep(0.05)


async def test_silent_visitors_do_not_keep_others_out_for_long(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "PATIENCE", 0.5)
    monkeypatch.setattr(desk, "_MINUTE", 0.5)
    authority = room.authority(room.found())
    its = authority.membership
    silent = []
    async with opened(room, authority):
        for _ in range(3 * desk.VISITORS):
            sock = socket.create_connection(("127.0.0.1", its.desk))
            silent.append(sock)
        async with asyncio.timeout(10):
            while not await answers(its, f"127.0.0.1:{its.desk}", patience=1):
                await asyncio.sleep(0.05)
        await room.member(authority)
    for sock in silent:
        sock.close()


async def test_a_desk_that_closes_ends_its_visits(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority) as there:
        with socket.create_connection(("127.0.0.1", there.port)):
            async with asyncio.timeout(5):
                while not there._visits:
                    await asyncio.sleep(0.01)
    assert there._visits == {}


async def test_a_port_that_is_taken_is_named(room: Room) -> None:
    authority = room.authority(room.found())
    async with opened(room, authority):
        with pytest.raises(RealmError, match=f"port {authority.membership.desk} of 127.0.0.1"):
            async with opened(room, authority):
                raise AssertionError


async def test_nothing_secret_is_logged(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    authority = room.authority(room.found())
    invitation = authority.invite(HOUR)
    async with opened(room, authority):
        await join(invitation, "bob", environ=room.machine("bob"), now=room.clock.now)
        with pytest.raises(InviteError):
            await join(invitation, "eve", environ=room.machine("eve"), now=room.clock.now)
    assert "eve came with an invitation" in caplog.text
    assert invitation.token.hex() not in caplog.text
    assert invitation.line not in caplog.text
    assert "PRIVATE" not in caplog.text


async def test_who_may_not_write_does_not_use_an_invitation_up(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = room.authority(room.found())
    invitation = authority.invite(HOUR)
    async with opened(room, authority):
        blocked = {"DMOA_REALMS": str(authority.membership.file / "x")}
        with pytest.raises(RealmError, match="cannot be written"):
            await join(invitation, "bob", environ=blocked, now=room.clock.now)
        monkeypatch.setattr(errand, "put_papers", _breaks)
        with pytest.raises(ForgedError):
            await join(invitation, "bob", environ=room.machine("bob"), now=room.clock.now)
        assert left_behind(room, "bob") == []


def _breaks(*_: object) -> None:
    raise ForgedError("in the middle")
