"""What a realm is told from outside: invitations by people, revocations by peers."""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode
from contextlib import suppress

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dmoa.errors import ForgedError, InviteError
from dmoa.realm import notice
from dmoa.realm.invitation import Invitation

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
OWN = Invitation("lab", "n1", ("10.0.0.7:7450",), bytes(32), bytes(32), 1_800_000_000, "n2")
SIGNED = notice.sign("lab", 3, {"n3": 1.0}, KEY, 2.0)


def seeds() -> list[bytes]:
    return [OWN.line.encode(), msgspec.msgpack.encode(OWN), SIGNED]


def cross(data: bytes) -> None:
    checked = urlsafe_b64encode(data + zlib.crc32(data).to_bytes(4)).decode()
    for line in (data.decode("utf-8", "surrogateescape"), "dmoa-join-" + checked.rstrip("=")):
        with suppress(InviteError):
            found = Invitation.parse(line)
            assert Invitation.parse(found.line) == found
    with suppress(ForgedError):
        found = notice.read(data, "lab", KEY.public_key())
        assert (found.serial, found.revoked) == (3, {"n3": 2})
