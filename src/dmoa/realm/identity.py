"""Who this node is in its realm, and whether others are who they say: seals and their checks.

```text
sealed:  version 1 | length 2 | certificate | stamp 8 | signature 64 | data
signed:  tag | realm, purpose, listener, speaker | stamp | SHA-256 of the certificate | data
```

Numbers are big-endian, texts stand with their length before them, so that no two seals sign the
same bytes; stamps are milliseconds of the wall clock (Unix).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature

from dmoa.config.files import replace
from dmoa.config.realms import Membership
from dmoa.core.names import NodeId
from dmoa.errors import ForgedError, RealmError
from dmoa.realm import certificates, notice
from dmoa.realm.certificates import CERTIFICATE_BYTES, CLOCK_SKEW, Certified
from dmoa.runtime.ports import Papers

REMEMBERED = 256
"""Certificates that are checked once and then known; a realm has far fewer members."""

_VERSION = 1
_TAG = b"dmoa seal 1\0"
_HEAD = 3
_STAMP = 8
_SIGNATURE = 64
_log = logging.getLogger(__name__)


class RealmIdentity:
    """The own certificate and key, with those of others judged by the realm's authority.

    RealmError where a file of the realm is missing, or they do not belong together. An expired
    certificate is taken, for it may still be renewed: `ends` tells, and its seals open nowhere.
    """

    def __init__(self, membership: Membership, *, clock: Callable[[], float] = time.time) -> None:
        """Read the files of a realm; `clock` tells Unix seconds."""
        self.membership = membership
        self._clock = clock
        self._authority = certificates.read_certificate(membership.authority_file)
        self._authority_key = certificates.authority_key(self._authority)
        self._key = certificates.read_key(membership.key_file)
        self._realm = _text(membership.name)
        self._known: dict[bytes, tuple[Certified, bytes]] = {}
        self._notice, self._serial = b"", -1
        self._revoked: dict[str, int] = {}
        self._seen = self._times()
        self._take_certificate()
        try:
            self._take_notice(_content(membership))
        except ForgedError as error:
            raise RealmError(
                f"{membership.notice_file}: {error.message}",
                hint="move it away: other members bring the newest one",
            ) from None

    @property
    def node(self) -> NodeId:
        """The name in the own certificate."""
        return NodeId(self._own.node)

    @property
    def papers(self) -> Papers:
        """The files of the links."""
        its = self.membership
        return Papers(its.authority_file, its.certificate_file, its.key_file)

    @property
    def begins(self) -> float:
        """From when on the own certificate is good, in Unix seconds."""
        return self._own.begins

    @property
    def ends(self) -> float:
        """Until when the own certificate is good, in Unix seconds."""
        return self._own.ends

    @property
    def left(self) -> float:
        """Seconds for which the own certificate is still good; less than 0 where it expired."""
        return self._own.ends - self._clock()

    @property
    def revoked(self) -> frozenset[str]:
        """Names of members whose certificates are no longer good, by the newest list known."""
        now = self._clock()
        return frozenset(name for name, until in self._revoked.items() if until > now)

    @property
    def notice(self) -> bytes:
        """The newest list of revocations, signed by the authority; empty where none was made."""
        return self._notice

    def adopt(self, notice: bytes) -> bool:
        """Take a list of revocations from anybody; True where it is genuine and newer.

        It is kept on disk, so that a restart brings nobody back.
        """
        try:
            newer = self._take_notice(notice)
        except ForgedError:
            return False
        if newer:
            try:
                replace(self.membership.notice_file, notice, mode=0o600)
            except OSError as error:
                _log.warning("revocations hold until the next start alone: %s", error)
        return newer

    def refresh(self) -> bool:
        """Look whether certificate or revocations changed on disk; True where they did.

        What cannot be read or is not genuine is logged, and changes nothing.
        """
        seen = self._times()
        if seen == self._seen:
            return False
        self._seen = seen
        changed = False
        try:
            changed = self._take_certificate()
            changed = self._take_notice(_content(self.membership)) or changed
        except (RealmError, ForgedError) as error:
            _log.warning("the realm's files cannot be read anew: %s", error.message)
        return changed

    def seal(self, purpose: str, to: str, data: bytes) -> bytes:
        """Sign `data`: returns it with certificate, moment and signature before it."""
        stamp = int(self._clock() * 1000).to_bytes(_STAMP)
        said = (_TAG, self._realm, _text(purpose), _text(to), self._speaker, stamp, self._print)
        signature = self._key.sign(b"".join((*said, data)))
        return b"".join((self._header, stamp, signature, data))

    def open(self, purpose: str, to: str, speaker: str, sealed: bytes) -> bytes:
        """Check a seal and return the data.

        ForgedError where it was not sealed by `speaker`, for this purpose and listener, with
        a certificate of this realm that is good now and not revoked, or where its moment is
        more than CLOCK_SKEW from now.
        """
        if len(sealed) < _HEAD + _STAMP + _SIGNATURE or sealed[0] != _VERSION:
            raise ForgedError("that is no seal")
        at = _HEAD + int.from_bytes(sealed[1:_HEAD])
        begins = at + _STAMP + _SIGNATURE
        if at - _HEAD > CERTIFICATE_BYTES or len(sealed) < begins:
            raise ForgedError("that is no seal")
        known, fingerprint = self._judged(sealed[_HEAD:at])
        now = self._clock()
        known.check(now)
        if known.node != speaker:
            raise ForgedError(f"{known.node} speaks as another node")
        if self._revoked.get(known.node, 0) > now:
            raise ForgedError(f"{known.node} was revoked")
        stamp, data = sealed[at : at + _STAMP], sealed[begins:]
        if abs(int.from_bytes(stamp) / 1000 - now) > CLOCK_SKEW:
            raise ForgedError(f"a seal of {known.node} from another time, or its clock is wrong")
        said = (_TAG, self._realm, _text(purpose), _text(to), _text(speaker), stamp, fingerprint)
        try:
            known.key.verify(sealed[at + _STAMP : begins], b"".join((*said, data)))
        except InvalidSignature:
            raise ForgedError(f"{known.node} did not seal this") from None
        return data

    def _judged(self, content: bytes) -> tuple[Certified, bytes]:
        """Read a certificate of the realm; the checks that never change are made once."""
        known = self._known.get(content)
        if known is None:
            if not certificates.is_signed(content, self._authority_key):
                raise ForgedError("a certificate that the realm's authority did not issue")
            found = certificates.certified(self._authority, certificates.from_der(content))
            known = (found, sha256(content).digest())
            # Only what the authority issued gets here, so that strangers push nobody out.
            while len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[content] = known
        return known

    # The files.

    def _times(self) -> tuple[tuple[int, int], ...]:
        return tuple(
            _time(file) for file in (self.membership.certificate_file, self.membership.notice_file)
        )

    def _take_certificate(self) -> bool:
        """Take the own certificate from its file; True where it is another than before."""
        its = self.membership
        found = certificates.read_certificate(its.certificate_file)
        try:
            own = certificates.certified(self._authority, found)
        except ForgedError as error:
            raise RealmError(f"{its.certificate_file}: {error.message}") from None
        if own.key.public_bytes_raw() != self._key.public_key().public_bytes_raw():
            raise RealmError(f"{its.certificate_file}: is not for the key in {its.key_file.name}")
        if own.node != its.node:
            raise RealmError(
                f"{its.certificate_file}: certifies {own.node}, {its.file.name} names {its.node}"
            )
        content = certificates.der(found)
        header = bytes([_VERSION]) + len(content).to_bytes(2) + content
        if header == getattr(self, "_header", b""):
            return False
        self._own, self._header = own, header
        self._print, self._speaker = sha256(content).digest(), _text(own.node)
        return True

    def _take_notice(self, content: bytes) -> bool:
        """Take a list that is newer than the one known; ForgedError where it is not genuine."""
        if not content:
            return False
        found = notice.read(content, self.membership.name, self._authority_key)
        if found.serial <= self._serial:
            return False
        self._notice, self._serial, self._revoked = content, found.serial, found.revoked
        return True


def _text(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(2) + content


def _time(file: Path) -> tuple[int, int]:
    """When a file was last put in its place; zeros where there is none."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def _content(membership: Membership) -> bytes:
    """Read the list of revocations; empty where none was made, RealmError where it is hidden."""
    file = membership.notice_file
    try:
        with file.open("rb") as reading:
            return reading.read(notice.NOTICE_BYTES + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise RealmError(f"{file}: cannot be read: {error.strerror or error}") from None
