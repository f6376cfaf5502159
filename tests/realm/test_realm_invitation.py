"""The line of an invitation: whole or refused, and by whom it may be made."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realm_room import DAY, HOUR, Room

from dmoa.errors import ConflictError, InviteError, RealmError
from dmoa.realm import certificates, ledger
from dmoa.realm.invitation import LINE_BYTES, Invitation

INVITATION = Invitation(
    "lab", "alice", ("10.0.0.7:7448", "[fd00::7]:7448"), b"a" * 32, b"t" * 32, 1_800_000_000, "bob"
)
LINE = INVITATION.line
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
BYTES = st.binary(min_size=32, max_size=32)


@settings(max_examples=30, deadline=None)
@given(
    st.builds(
        Invitation,
        realm=NAMES,
        founder=NAMES,
        places=st.lists(st.text(max_size=60), min_size=1, max_size=8).map(tuple),
        authority=BYTES,
        token=BYTES,
        expires=st.integers(0, 2**40),
        node=NAMES | st.just(""),
    )
)
def test_what_is_written_is_read(invitation: Invitation) -> None:
    assert Invitation.parse(invitation.line) == invitation


def test_it_is_one_word_that_may_have_been_broken() -> None:
    assert len(LINE.split()) == 1
    assert Invitation.parse(f"  {LINE[:40]}\n  {LINE[40:]}\r\n") == INVITATION


@given(st.integers(0, len(LINE) - 2), st.characters(codec="ascii"))
def test_with_any_character_changed_it_is_none(at: int, other: str) -> None:
    """But for the last, some of whose bits are no part of any byte."""
    if other.strip() != LINE[at]:
        with pytest.raises(InviteError):
            Invitation.parse(LINE[:at] + other + LINE[at + 1 :])


@given(st.integers(0, len(LINE) - 1))
def test_a_torn_line_is_none(length: int) -> None:
    with pytest.raises(InviteError):
        Invitation.parse(LINE[:length])


@given(st.text(max_size=300))
def test_garbage_is_none(text: str) -> None:
    for line in (text, f"dmoa-join-{text}"):
        with pytest.raises(InviteError):
            Invitation.parse(line)


def test_what_is_said_of_it_is_one_line_with_a_hint() -> None:
    with pytest.raises(InviteError) as caught:
        Invitation.parse("https://example.org/join")
    assert caught.value.message == "that is no invitation: one begins with dmoa-join-"
    assert caught.value.hint is not None
    with pytest.raises(InviteError, match="is torn: it must be given whole"):
        Invitation.parse(LINE[:-9])
    with pytest.raises(InviteError):
        Invitation.parse(LINE + "A" * LINE_BYTES)


@pytest.mark.parametrize("wrong", [{"realm": "../up"}, {"founder": ""}, {"node": "No"}])
def test_names_in_it_are_names(wrong: dict[str, str]) -> None:
    with pytest.raises(InviteError):
        Invitation.parse(msgspec.structs.replace(INVITATION, **wrong).line)


# -- the founder --------------------------------------------------------------------------


def test_tokens_are_kept_as_hashes_alone(room: Room) -> None:
    authority = room.authority(room.found())
    made = authority.invite(HOUR)
    kept = authority.membership.ledger_file.read_text()
    assert made.token.hex() not in kept
    assert ledger.token_print(made.token) in kept


@pytest.mark.parametrize("seconds", [0.0, 59.0, 7 * DAY + 1])
def test_an_invitation_is_good_for_a_while(room: Room, seconds: float) -> None:
    with pytest.raises(RealmError, match=r"is good for 60 s to 7 days, not for"):
        room.authority(room.found()).invite(seconds)


def test_open_invitations_are_bounded_and_expired_ones_forgotten(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "INVITES", 3)
    authority = room.authority(room.found())
    for _ in range(3):
        authority.invite(HOUR)
    with pytest.raises(RealmError, match="3 invitations are open"):
        authority.invite(HOUR)
    room.clock.now += HOUR
    authority.invite(HOUR)
    assert len(ledger.load(authority.membership.ledger_file).invites) == 1


def test_members_are_bounded_and_those_long_gone_make_room(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "MEMBERS", 3)
    authority = room.authority(room.found())
    for name in ("bob", "carol"):
        room.enlist(authority, name)
    with pytest.raises(RealmError, match="has 3 members, and takes no more"):
        room.enlist(authority, "dave")
    room.clock.now += 31 * DAY
    room.enlist(authority, "dave")
    assert "dave" in {each.node for each in authority.members()}
    assert len(authority.members()) == 3


def test_a_revoked_name_is_free_when_its_certificates_have_expired(room: Room) -> None:
    authority = room.authority(room.found())
    room.enlist(authority, "bob")
    authority.revoke("bob")
    with pytest.raises(ConflictError, match="bob was revoked, and its name is not free yet"):
        authority.invite(HOUR, "bob")
    token, key = authority.invite(HOUR).token, certificates.new_key()
    with pytest.raises(ConflictError):
        authority.admit(token, certificates.ask(key, "bob"))
    room.clock.now += 31 * DAY
    token = authority.invite(HOUR, "bob").token
    assert authority.admit(token, certificates.ask(key, "bob"))


def test_who_was_revoked_does_not_come_back_by_its_old_invitation(room: Room) -> None:
    authority = room.authority(room.found())
    token, request = authority.invite(HOUR).token, certificates.ask(certificates.new_key(), "bob")
    authority.admit(token, request)
    authority.admit(token, request)  # the answer may have been lost
    authority.revoke("bob")
    with pytest.raises(ConflictError):
        authority.admit(token, request)


def test_revoking_is_for_members_and_not_for_the_founder(room: Room) -> None:
    authority = room.authority(room.found())
    with pytest.raises(RealmError, match="there is no member 'bob'") as caught:
        authority.revoke("bob")
    assert caught.value.hint == "members: alice"
    with pytest.raises(RealmError, match="alice founded the realm, and cannot be revoked"):
        authority.revoke("alice")


def test_only_the_founders_machine_invites(room: Room) -> None:
    bob = room.enlist(room.authority(room.found()))
    with pytest.raises(RealmError, match="realm lab was founded elsewhere") as caught:
        room.authority(bob)
    assert caught.value.hint == "do this at the machine of node alice"


@pytest.mark.parametrize("content", [b"", b"{}x", b'{"format": 9}', b'{"more": 1}', b" " * 300_000])
def test_a_broken_ledger_is_named(room: Room, content: bytes) -> None:
    authority = room.authority(room.found())
    authority.membership.ledger_file.write_bytes(content)
    with pytest.raises(RealmError, match=r"ledger\.json: "):
        authority.invite(HOUR)
    assert authority.membership.ledger_file.read_bytes() == content


def test_the_largest_ledger_fits_its_limit(room: Room) -> None:
    file = room.found().ledger_file
    member = ledger.Member("n" * 32, "f" * 64, 1e9 + 0.123456, 1e9 + 0.123456, "p" * 300, 1e9 + 0.1)
    invite = ledger.Invite("f" * 64, 1e9 + 0.123456, 1e9 + 0.123456, "n" * 32, "f" * 64)
    full = ledger.Ledger(
        members=(member,) * ledger.MEMBERS, invites=(invite,) * ledger.INVITES, serial=10**9
    )
    ledger.write(file, full)
    assert ledger.load(file) == full
