"""The founder's ledger: whom certificates were issued to, who was invited, who was revoked.

One file, written whole under a lock, for the node's desk and commands write it at once. Tokens
of invitations stand in it as hashes: who reads it can't join by it. SHA-256 once is enough for
256 bits of chance.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec

from dmoa.config.files import alone, replace
from dmoa.errors import RealmError

MEMBERS = 256
"""Members of one realm, those included that were revoked or expired lately."""
INVITES = 100
"""Invitations that are open at once."""
LEDGER_BYTES = 256 * 1024
"""Of the file; with all members and invitations it takes half of it."""
FORMAT = 1
"""Of the file; another one is not read."""
KEPT = 30 * 86_400.0
"""Seconds for which a member is listed that let its certificate expire, if there is room."""

_Name = Annotated[str, msgspec.Meta(max_length=32)]
_Print = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")]
_Place = Annotated[str, msgspec.Meta(max_length=300)]


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a certificate was issued to, the newest of each name. Times are Unix seconds."""

    node: _Name
    key: _Print
    """SHA-256 of its public key."""
    issued: float
    ends: float
    place: _Place = ""
    """The endpoint where it was last seen to listen; empty where that is not known."""
    revoked: float = 0.0
    """When it was revoked; 0 where it was not."""

    def lives(self, now: float) -> bool:
        """Whether there is a certificate of this name that would be good if not revoked."""
        return now < self.ends


class Invite(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An invitation, without the token that makes it good. Times are Unix seconds."""

    token: _Print
    """SHA-256 of its token."""
    made: float
    expires: float
    node: _Name = ""
    """The only name it is good for; empty for any."""
    key: _Print = ""
    """SHA-256 of the public key that used it; empty while it is open."""


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the founder has to remember."""

    format: int = FORMAT
    serial: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Of the newest list of revocations; 0 before the first."""
    members: Annotated[tuple[Member, ...], msgspec.Meta(max_length=MEMBERS)] = ()
    invites: Annotated[tuple[Invite, ...], msgspec.Meta(max_length=INVITES)] = ()

    def member(self, node: str) -> Member | None:
        """Find a member by name."""
        return next((each for each in self.members if each.node == node), None)

    def invite(self, token: bytes) -> Invite | None:
        """Find an invitation by its token."""
        # By its hash: to learn from the time how much of that fits helps nobody to a token.
        found = token_print(token)
        return next((each for each in self.invites if each.token == found), None)

    def with_member(self, member: Member, now: float) -> Ledger:
        """Enter a member in place of its earlier self; RealmError where there is no room.

        Those whose certificates expired long ago make room, the longest ago first.
        """
        others = [each for each in self.members if each.node != member.node]
        gone = sorted((each for each in others if not each.lives(now)), key=lambda each: each.ends)
        for each in gone:
            if each.ends < now - KEPT or len(others) >= MEMBERS:
                others.remove(each)
        if len(others) >= MEMBERS:
            raise RealmError(
                f"the realm has {MEMBERS} members, and takes no more", hint="found another realm"
            )
        return msgspec.structs.replace(self, members=(*others, member))

    def with_invite(self, invite: Invite, now: float) -> Ledger:
        """Enter an invitation in place of its earlier self; RealmError where too many are open."""
        kept = tuple(
            each for each in self.invites if each.token != invite.token and now < each.expires
        )
        if len(kept) >= INVITES:
            raise RealmError(
                f"{INVITES} invitations are open, and no more fit",
                hint="wait until some of them expire",
            )
        return msgspec.structs.replace(self, invites=(*kept, invite))


def token_print(token: bytes) -> str:
    """Name a token: its SHA-256, in hexadecimal digits."""
    return sha256(token).hexdigest()


def load(file: Path) -> Ledger:
    """Read the ledger; RealmError where it cannot be relied on."""
    try:
        with file.open("rb") as reading:
            content = reading.read(LEDGER_BYTES + 1)
    except OSError as error:
        raise _broken(file, f"cannot be read: {error.strerror or error}") from None
    if len(content) > LEDGER_BYTES:
        raise _broken(file, f"is larger than {LEDGER_BYTES} bytes")
    try:
        found = msgspec.json.decode(content, type=Ledger)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(file, f"is no ledger of a realm: {error}") from None
    if found.format != FORMAT:
        raise _broken(file, f"has format {found.format}, which this dmoa does not read")
    return found


def write(file: Path, ledger: Ledger) -> None:
    """Write the ledger, on the disk when this returns; RealmError where it cannot be."""
    content = msgspec.json.format(msgspec.json.encode(ledger), indent=1) + b"\n"
    assert len(content) <= LEDGER_BYTES, "so many members and invitations fit"
    try:
        replace(file, content, mode=0o600)
    except OSError as error:
        raise RealmError(f"{file}: cannot be written: {error.strerror or error}") from None


@contextmanager
def held(file: Path) -> Generator[Ledger]:
    """Read the ledger and keep other writers out meanwhile; RealmError where that fails."""
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(file))
        except TimeoutError:
            raise RealmError(f"{file}: is being written by another", hint="try again") from None
        except OSError as error:
            raise RealmError(f"{file}: cannot be written: {error.strerror or error}") from None
        yield load(file)


def _broken(file: Path, what: str) -> RealmError:
    return RealmError(f"{file}: {what}", hint="bring it back from a copy, or found a new realm")
