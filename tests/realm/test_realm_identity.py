"""Seals: what opens, and that nothing else does; revocations, and that none is taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from realm_room import DAY, HOUR, Room

from dmoa.errors import ForgedError, RealmError
from dmoa.realm import certificates, identity, notice
from dmoa.realm.authority import Authority
from dmoa.realm.certificates import CLOCK_SKEW
from dmoa.realm.identity import RealmIdentity

Both = tuple[Authority, RealmIdentity, RealmIdentity]
LITTLE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(name="both")
def _both(room: Room) -> Both:
    """The authority of a realm, its founder alice, and bob."""
    alice = room.found()
    authority = room.authority(alice)
    return authority, room.identity(alice), room.identity(room.enlist(authority))


@LITTLE
@given(purpose=st.text(max_size=40), to=st.text(max_size=40), data=st.binary(max_size=2000))
def test_what_is_sealed_opens_as_it_was(both: Both, purpose: str, to: str, data: bytes) -> None:
    _, alice, bob = both
    assert alice.open(purpose, to, "bob", bob.seal(purpose, to, data)) == data
    assert bob.open(purpose, to, "bob", bob.seal(purpose, to, data)) == data


@LITTLE
@given(data=st.data())
def test_with_any_byte_changed_it_does_not_open(both: Both, data: st.DataObject) -> None:
    _, alice, bob = both
    sealed = bytearray(bob.seal("job", "alice", b"some words"))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ForgedError):
        alice.open("job", "alice", "bob", bytes(sealed))


@LITTLE
@given(cut=st.integers(0, 600), rubbish=st.binary(max_size=700))
def test_what_is_cut_short_or_no_seal_does_not_open(both: Both, cut: int, rubbish: bytes) -> None:
    _, alice, bob = both
    sealed = bob.seal("job", "alice", b"x" * 200)
    with pytest.raises(ForgedError):
        alice.open("job", "alice", "bob", sealed[: min(cut, len(sealed) - 1)])
    for each in (rubbish, b"\x01" + rubbish):
        with pytest.raises(ForgedError):
            alice.open("job", "alice", "bob", each)


@pytest.mark.parametrize(
    "heard", [("digest", "alice", "bob"), ("job", "carol", "bob"), ("job", "alice", "alice")]
)
def test_a_seal_is_for_one_purpose_listener_and_speaker(
    both: Both, heard: tuple[str, str, str]
) -> None:
    _, alice, bob = both
    sealed = bob.seal("job", "alice", b"words")
    assert alice.open("job", "alice", "bob", sealed) == b"words"
    with pytest.raises(ForgedError):
        alice.open(*heard, sealed)


def test_texts_cannot_be_shifted_from_one_place_to_the_next(both: Both) -> None:
    _, alice, bob = both
    with pytest.raises(ForgedError):
        alice.open("jobal", "ice", "bob", bob.seal("job", "alice", b""))
    with pytest.raises(ForgedError):
        alice.open("job", "", "bob", bob.seal("", "job", b""))


def test_two_realms_of_one_name_do_not_hear_each_other(room: Room, both: Both) -> None:
    _, alice, _ = both
    other = room.identity(room.found(at="there"))
    with pytest.raises(ForgedError, match="did not issue"):
        alice.open("job", "", "alice", other.seal("job", "", b""))


def test_the_name_of_the_realm_is_sealed_too(room: Room, both: Both) -> None:
    """As if one authority had served two realms."""
    _, alice, bob = both
    elsewhere = RealmIdentity(replace(bob.membership, name="other"), clock=room.clock)
    with pytest.raises(ForgedError, match="bob did not seal this"):
        alice.open("job", "", "bob", elsewhere.seal("job", "", b""))


@pytest.mark.parametrize(("passes", "opens"), [(0.0, True), (CLOCK_SKEW, True), (301.0, False)])
@pytest.mark.parametrize("later", [True, False])
def test_a_seal_is_good_for_a_moment(
    room: Room, both: Both, passes: float, *, opens: bool, later: bool
) -> None:
    _, alice, bob = both
    room.clock.now += HOUR
    if later:
        sealed = bob.seal("job", "", b"")
        room.clock.now += passes
    else:
        room.clock.now += passes
        sealed = bob.seal("job", "", b"")
        room.clock.now -= passes
    if opens:
        assert alice.open("job", "", "bob", sealed) == b""
        return
    with pytest.raises(ForgedError, match="from another time"):
        alice.open("job", "", "bob", sealed)


def test_an_expired_certificate_opens_nothing(room: Room, both: Both) -> None:
    _, alice, bob = both
    room.clock.now = bob.ends - 1
    assert alice.open("job", "", "bob", bob.seal("job", "", b"")) == b""
    room.clock.now = bob.ends
    with pytest.raises(ForgedError, match="the certificate of bob expired"):
        alice.open("job", "", "bob", bob.seal("job", "", b""))


def test_a_certificate_of_the_future_opens_nothing(room: Room, both: Both) -> None:
    _, alice, bob = both
    room.clock.now = bob.begins - 1
    with pytest.raises(ForgedError, match="not good yet"):
        alice.open("job", "", "bob", bob.seal("job", "", b""))


def test_checked_certificates_are_known_and_bounded(
    room: Room, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "REMEMBERED", 3)
    authority, alice, bob = both
    others = [room.identity(room.enlist(authority, f"n{each}")) for each in range(5)]
    for each in (*others, bob):
        assert alice.open("job", "", each.node, each.seal("job", "", b"")) == b""
    assert len(alice._known) == 3
    with pytest.raises(ForgedError):
        alice.open("job", "", "bob", RealmIdentity(room.found(at="x")).seal("job", "", b""))
    assert len(alice._known) == 3


# -- certificates that are none -----------------------------------------------------------


def made(authority: Authority, **what: object) -> x509.Certificate:
    """A certificate of the realm's own authority with one thing wrong."""
    key = what.get("key", certificates.new_key())
    names = what.get("names", ["bob"])
    sans = [x509.DNSName(each) for each in what.get("sans", ["bob"])]  # type: ignore[attr-defined]
    usages = what.get("usages", [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in names]  # type: ignore[attr-defined]
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(subject))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(what.get("ca", False), None), critical=True)  # type: ignore[arg-type]
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)  # type: ignore[arg-type]
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(authority._key, None)


def test_a_certificate_made_by_hand_is_taken_where_nothing_is_wrong(both: Both) -> None:
    authority, *_ = both
    assert certificates.certified(authority.certificate, made(authority)).node == "bob"


@LITTLE
@given(rubbish=st.binary(max_size=400), at=st.integers(0, 1000), flip=st.integers(1, 255))
def test_what_the_authority_signed_is_known_before_it_is_parsed(
    both: Both, rubbish: bytes, at: int, flip: int
) -> None:
    authority, *_ = both
    key = certificates.authority_key(authority.certificate)
    content = bytearray(certificates.der(made(authority)))
    assert certificates.is_signed(bytes(content), key)
    content[at % len(content)] ^= flip
    assert not certificates.is_signed(bytes(content), key)
    assert not certificates.is_signed(rubbish, key)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ca": True},
        {"names": ["Not A Node"], "sans": ["Not A Node"]},
        {"names": ["bob", "alice"]},
        {"names": []},
        {"sans": ["alice"]},
        {"sans": ["bob", "alice"]},
        {"sans": []},
        {"usages": [ExtendedKeyUsageOID.SERVER_AUTH]},
        {"usages": [ExtendedKeyUsageOID.CLIENT_AUTH]},
        {"key": generate_private_key(SECP256R1())},
    ],
    ids=str,
)
def test_what_is_no_certificate_of_a_node_is_refused(both: Both, wrong: dict[str, object]) -> None:
    authority, *_ = both
    with pytest.raises(ForgedError):
        certificates.certified(authority.certificate, made(authority, **wrong))


def test_the_authoritys_own_certificate_is_no_nodes(both: Both) -> None:
    authority, *_ = both
    with pytest.raises(ForgedError):
        certificates.certified(authority.certificate, authority.certificate)


def test_a_member_issues_no_certificates(room: Room, both: Both) -> None:
    _, alice, bob = both
    its = certificates.read_certificate(bob.membership.certificate_file)
    key = certificates.read_key(bob.membership.key_file)
    forged = certificates.issue(its, key, "alice", key.public_key(), room.clock.now)
    for authority in (alice._authority, its):
        content = certificates.der(forged)
        if authority is its:  # its name fits, and it is still no authority of the realm
            assert certificates.certified(authority, forged).node == "alice"
            continue
        with pytest.raises(ForgedError):
            certificates.certified(authority, certificates.from_der(content))


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE REQUEST-----"])
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(RealmError, match="no request"):
        certificates.asked(text)


def test_a_request_proves_that_the_key_is_held() -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bob")])
    other = x509.CertificateSigningRequestBuilder().subject_name(subject)
    pem = other.sign(generate_private_key(SECP256R1()), SHA256()).public_bytes(
        certificates.serialization.Encoding.PEM
    )
    with pytest.raises(RealmError, match="no request"):
        certificates.asked(pem.decode())
    key = certificates.new_key()
    torn = certificates.ask(key, "bob").splitlines()
    torn[-2] = torn[-2][:4] + ("A" if torn[-2][4] != "A" else "B") + torn[-2][5:]
    with pytest.raises(RealmError, match="no request"):
        certificates.asked("\n".join(torn) + "\n")
    assert certificates.asked(certificates.ask(key, "bob"))[0] == "bob"


# -- revocations --------------------------------------------------------------------------


def test_who_is_revoked_is_heard_no_more(both: Both) -> None:
    authority, alice, bob = both
    sealed = bob.seal("job", "", b"")
    assert (alice.notice, alice.revoked) == (b"", frozenset())
    authority.revoke("bob")
    assert alice.refresh()
    assert alice.revoked == {"bob"}
    with pytest.raises(ForgedError, match="bob was revoked"):
        alice.open("job", "", "bob", sealed)


def test_revocations_are_taken_from_anybody_and_kept(room: Room, both: Both) -> None:
    authority, _, bob = both
    room.enlist(authority, "carol")
    told = authority.revoke("carol")
    assert bob.adopt(told)
    assert not bob.adopt(told)
    assert not bob.refresh()
    assert bob.revoked == {"carol"}
    assert room.identity(bob.membership).revoked == {"carol"}


def test_an_older_list_brings_nobody_back(room: Room, both: Both) -> None:
    authority, _, bob = both
    for name in ("carol", "dave"):
        room.enlist(authority, name)
    old, new = authority.revoke("carol"), authority.revoke("dave")
    assert bob.adopt(new)
    assert not bob.adopt(old)
    bob.membership.notice_file.write_bytes(old)
    assert not bob.refresh()
    assert bob.revoked == {"carol", "dave"}


@LITTLE
@given(at=st.integers(0, 300), flip=st.integers(1, 255))
def test_a_changed_list_is_not_taken(both: Both, at: int, flip: int) -> None:
    authority, _, bob = both
    key = authority._key
    told = bytearray(notice.sign("lab", 7, {"carol": 9e9}, key, 0.0))
    told[at % len(told)] ^= flip
    assert not bob.adopt(bytes(told))
    assert bob.revoked == frozenset()


def test_a_list_is_taken_as_its_authority_wrote_it_or_not_at_all(both: Both) -> None:
    authority, _, bob = both
    told = notice.sign("lab", 7, {"carol": 9e9}, authority._key, 0.0)
    for like in (told.replace(b":", b": "), told[:-130] + told[-130:].upper(), told + b"\n"):
        assert not bob.adopt(like)
    assert bob.adopt(told)


def test_lists_of_others_are_not_taken(both: Both) -> None:
    authority, _, bob = both
    stranger = certificates.new_key()
    for told in (
        b"",
        b"{}",
        notice.sign("lab", 1, {"alice": 9e9}, stranger, 0.0),
        notice.sign("other", 1, {"alice": 9e9}, authority._key, 0.0),
        b" " * (notice.NOTICE_BYTES + 1),
    ):
        assert not bob.adopt(told)
    assert not bob.membership.notice_file.exists()


def test_the_largest_list_fits_its_limit(both: Both) -> None:
    authority, *_ = both
    names = {f"{each:032d}": 9e9 for each in range(notice.REVOKED)}
    assert len(notice.sign("r" * 32, 10**9, names, authority._key, 9e9)) <= notice.NOTICE_BYTES


def test_a_name_leaves_the_list_when_its_certificates_have_expired(room: Room, both: Both) -> None:
    authority, _, bob = both
    for name in ("carol", "dave"):
        room.enlist(authority, name)
    assert bob.adopt(authority.revoke("carol"))
    room.clock.now += 29 * DAY
    assert bob.revoked == {"carol"}
    room.clock.now += 2 * DAY
    assert bob.revoked == frozenset()


def test_a_broken_list_on_disk_lets_no_node_start(room: Room, both: Both) -> None:
    _, _, bob = both
    bob.membership.notice_file.write_bytes(b"{}")
    with pytest.raises(RealmError, match=r"revoked\.json: .* the authority did not sign"):
        room.identity(bob.membership)
    assert not bob.refresh()  # and one that runs goes on with what it knows


# -- files --------------------------------------------------------------------------------


def test_files_that_do_not_belong_together_are_named(room: Room, both: Both) -> None:
    _, alice, bob = both
    its = bob.membership
    good = its.certificate_file.read_bytes()
    its.certificate_file.write_bytes(alice.membership.certificate_file.read_bytes())
    with pytest.raises(RealmError, match=r"node\.pem: is not for the key in node\.key"):
        room.identity(its)
    its.certificate_file.write_bytes(good)
    with pytest.raises(RealmError, match=r"node\.pem: certifies bob, realm\.toml names carol"):
        room.identity(replace(its, node="carol"))
    stranger = room.found(at="there")
    its.authority_file.write_bytes(stranger.authority_file.read_bytes())
    with pytest.raises(RealmError, match=r"node\.pem: a certificate that the realm's authority"):
        room.identity(its)
    its.key_file.chmod(0o644)
    with pytest.raises(RealmError, match="others than its owner can read it"):
        room.identity(its)
    its.key_file.unlink()
    with pytest.raises(RealmError, match=r"node\.key: holds no private key: No such file"):
        room.identity(its)


def test_the_papers_are_where_the_links_look(both: Both) -> None:
    _, _, bob = both
    assert (bob.node, bob.ends - bob.begins) == ("bob", certificates.LIFE + CLOCK_SKEW)
    papers = bob.papers
    assert all(each.exists() for each in (papers.authority, papers.certificate, papers.key))
