"""The founder's part: invites, issues certificates, and revokes; what it said, it remembers."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec.structs import replace as altered

from dmoa.config import is_loopback, realms
from dmoa.config.files import replace
from dmoa.config.realms import SEEDS, Membership
from dmoa.errors import ConflictError, InviteError, RealmError
from dmoa.realm import certificates, ledger, notice
from dmoa.realm.addresses import places_of
from dmoa.realm.invitation import TOKEN_BYTES, Invitation
from dmoa.realm.ledger import Invite, Ledger, Member

SHORTEST = 60.0
"""Seconds for which an invitation is good at least."""
LONGEST = 7 * 86_400.0
"""Seconds for which an invitation is good at most."""

_log = logging.getLogger(__name__)


class Authority:
    """The authority of a realm, at the founder's machine. Its methods block for some ms.

    RealmError where this machine did not found the realm, or a file of it is broken.
    """

    def __init__(self, membership: Membership, *, clock: Callable[[], float] = time.time) -> None:
        """Take the authority's key from its file; `clock` tells Unix seconds."""
        if not membership.founds:
            raise RealmError(
                f"realm {membership.name} was founded elsewhere",
                hint=f"do this at the machine of node {membership.founder}",
            )
        self.membership = membership
        self._clock = clock
        self.certificate = certificates.read_certificate(membership.authority_file)
        self._key = certificates.read_key(membership.authority_key_file)
        own = certificates.authority_key(self.certificate).public_bytes_raw()
        if own != self._key.public_key().public_bytes_raw():
            raise RealmError(f"{membership.authority_key_file}: is the key of another authority")

    @property
    def _file(self) -> Path:
        return self.membership.ledger_file

    def members(self) -> tuple[Member, ...]:
        """List whom certificates were issued to, by name."""
        return tuple(sorted(ledger.load(self._file).members, key=lambda each: each.node))

    def invite(self, seconds: float, node: str = "") -> Invitation:
        """Make an invitation that is good once, for so many seconds, for one name or for any.

        RealmError where it would be good for too short or too long, or too many are open.
        """
        if not SHORTEST <= seconds <= LONGEST:
            raise RealmError(
                f"an invitation is good for {SHORTEST:.0f} s to {LONGEST / 86_400:.0f} days, "
                f"not for {seconds:.0f} s"
            )
        now, its = self._clock(), self.membership
        token = secrets.token_bytes(TOKEN_BYTES)
        with ledger.held(self._file) as book:
            if node:
                self._refuse_taken(book, node, "", now)
            made = Invite(ledger.token_print(token), now, now + seconds, node)
            ledger.write(self._file, book.with_invite(made, now))
        return Invitation(
            realm=its.name,
            founder=its.founder,
            places=places_of(its.hosts, its.desk),
            authority=certificates.authority_print(self.certificate),
            token=token,
            expires=int(now + seconds),
            node=node,
        )

    def admit(self, token: bytes, request: str, place: str = "") -> x509.Certificate:
        """Certify who shows the token of an open invitation, which is thereby used.

        The same key may come again with it until it expires, for the answer may have been lost.
        `place` is the endpoint where others may reach the new member. InviteError for a token
        that is not good, the same whatever the reason, which is in the log; ConflictError where
        another key has that name; RealmError for rubbish, or where the realm is full.
        """
        node, key = certificates.asked(request)
        holder, now = certificates.key_print(key), self._clock()
        with ledger.held(self._file) as book:
            invite = book.invite(token)
            if invite is None:
                raise _refusal(node, "nobody made it")
            if now >= invite.expires:
                raise _refusal(node, "it expired")
            if invite.key and invite.key != holder:
                raise _refusal(node, "it was used before")
            if invite.node and invite.node != node:
                raise _refusal(node, f"it is for {invite.node} alone")
            self._refuse_taken(book, node, holder, now)
            used = book.with_invite(altered(invite, key=holder), now)
            issued = self._issue(used, node, key, place, now)
        _log.info("%s joins realm %s", node, self.membership.name)
        return issued

    def renew(self, node: str, request: str, place: str = "") -> x509.Certificate:
        """Certify a member anew, which has proved to be `node` by its present certificate.

        RealmError where it asks for another name or key, or is no member any more.
        """
        wanted, key = certificates.asked(request)
        now = self._clock()
        with ledger.held(self._file) as book:
            member = book.member(node)
            # The founder may have been off for long, and has nobody else to ask.
            lives = member is not None and (member.lives(now) or node == self.membership.founder)
            if member is None or not lives or member.revoked:
                raise RealmError(f"{node} is no member of realm {self.membership.name} any more")
            if wanted != node or certificates.key_print(key) != member.key:
                raise RealmError("a certificate is renewed for the same name and key alone")
            return self._issue(book, node, key, place or member.place, now)

    def revoke(self, node: str) -> bytes:
        """End a membership: returns the new list of revocations, which is kept as the newest.

        RealmError where there is no such member, or where it is the founder, whom only a new
        realm gets rid of.
        """
        now, its = self._clock(), self.membership
        with ledger.held(self._file) as book:
            member = book.member(node)
            if node == its.founder:
                raise RealmError(
                    f"{node} founded the realm, and cannot be revoked",
                    hint="found another realm, and invite the others to it",
                )
            if member is None or not member.lives(now):
                names = ", ".join(each.node for each in book.members if each.lives(now))
                raise RealmError(f"there is no member {node!r}", hint=f"members: {names}")
            revoked = altered(member, revoked=member.revoked or now)
            then = altered(book.with_member(revoked, now), serial=book.serial + 1)
            ends = {each.node: each.ends for each in then.members if each.revoked}
            living = {name: until for name, until in ends.items() if until > now}
            content = notice.sign(its.name, then.serial, living, self._key, now)
            # The ledger first: what is revoked there is never certified again, come what may.
            ledger.write(self._file, then)
            _write(its.notice_file, content)
        return content

    def notice(self) -> bytes:
        """Read the newest list of revocations; empty before the first."""
        try:
            return self.membership.notice_file.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RealmError(
                f"{self.membership.notice_file}: cannot be read: {error.strerror or error}"
            ) from None

    def seeds(self, node: str, *, near: bool = False) -> tuple[str, ...]:
        """Name the endpoints of the members last heard of, for one of them to begin with.

        `near` says that it is on this machine, where alone loopback addresses mean anything.
        """
        now = self._clock()
        book = ledger.load(self._file)
        newest = sorted(book.members, key=lambda each: -each.issued)
        return tuple(
            each.place
            for each in newest
            if each.place
            and each.node != node
            and each.lives(now)
            and not each.revoked
            and (near or not is_loopback(each.place))
        )[:SEEDS]

    def _issue(
        self, book: Ledger, node: str, key: Ed25519PublicKey, place: str, now: float
    ) -> x509.Certificate:
        """Certify, and have it in the ledger before anybody has it."""
        issued = certificates.issue(self.certificate, self._key, node, key, now)
        ends = issued.not_valid_after_utc.timestamp()
        member = Member(node, certificates.key_print(key), now, ends, place)
        ledger.write(self._file, book.with_member(member, now))
        self._remember_seeds()
        return issued

    def _remember_seeds(self) -> None:
        """Have the founder, too, begin with the members that it knows."""
        its = self.membership
        seeds = self.seeds(its.node, near=True)
        if seeds != its.seeds:
            self.membership = changed(its, seeds=seeds)
            try:
                realms.write(self.membership)
            except OSError as error:
                _log.warning("%s: cannot be written: %s", its.file, error)

    def _refuse_taken(self, book: Ledger, node: str, holder: str, now: float) -> None:
        member = book.member(node)
        if member is None or not member.lives(now) or (member.key == holder and not member.revoked):
            return
        how = "was revoked, and its name is not free yet" if member.revoked else "is a member"
        raise ConflictError(
            f"node {node} {how} in realm {self.membership.name}", hint="use another name: --node"
        )


def _refusal(node: str, why: str) -> InviteError:
    """Say the same to everybody, and to the log what it is."""
    _log.warning("%s came with an invitation that is not good: %s", node, why)
    return InviteError(
        "the invitation is not good, or no longer",
        hint="each is good once, and not for long: ask for another, of `dmoa realm invite`",
    )


def _write(file: Path, content: bytes) -> None:
    try:
        replace(file, content, mode=0o600)
    except OSError as error:
        raise RealmError(f"{file}: cannot be written: {error.strerror or error}") from None
