"""The list of revocations: who is no longer a member, signed by the realm's authority.

Members pass it on to each other, and take it from anybody: the signature says that it is
genuine, and its number which of two is the newer, so that an old one never brings anybody back.
A name stays on it until all its certificates have expired by themselves; so it stays short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dmoa.errors import ForgedError

NOTICE_BYTES = 64 * 1024
"""Of one list."""
REVOKED = 1000
"""Names on one list; each takes 60 bytes at most."""

_TAG = b"dmoa revocations 1\0"
_Name = Annotated[str, msgspec.Meta(max_length=32)]


class Notice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A list of revocations, the `serial`-th of its realm."""

    realm: _Name
    serial: Annotated[int, msgspec.Meta(ge=0)]
    stamp: int
    """When it was made, Unix seconds."""
    revoked: Annotated[dict[_Name, int], msgspec.Meta(max_length=REVOKED)]
    """By name: until when, in Unix seconds, there can be certificates of that name."""
    signature: Annotated[str, msgspec.Meta(max_length=128)] = ""
    """By the key of the authority, 64 bytes in hexadecimal digits."""


def sign(
    realm: str, serial: int, revoked: Mapping[str, float], key: Ed25519PrivateKey, now: float
) -> bytes:
    """Write the `serial`-th list of a realm: names, and until when (Unix seconds) they count."""
    ordered = {name: int(revoked[name]) + 1 for name in sorted(revoked)}
    notice = Notice(realm, serial, int(now), ordered)
    signature = key.sign(_signed(notice)).hex()
    return msgspec.json.encode(msgspec.structs.replace(notice, signature=signature))


def read(content: bytes, realm: str, authority: Ed25519PublicKey) -> Notice:
    """Read a list; ForgedError where the authority of this realm did not sign it.

    There is one way to write a list, so that two that differ in bytes differ in what they say.
    """
    if len(content) > NOTICE_BYTES:
        raise ForgedError(f"a list of revocations of more than {NOTICE_BYTES} bytes")
    try:
        notice = msgspec.json.decode(content, type=Notice)
        signature = bytes.fromhex(notice.signature)
        authority.verify(signature, _signed(notice))
    except (ValueError, InvalidSignature):  # msgspec's errors are ValueErrors
        raise ForgedError("a list of revocations that the authority did not sign") from None
    if msgspec.json.encode(msgspec.structs.replace(notice, signature=signature.hex())) != content:
        raise ForgedError("a list of revocations that is not written as its authority writes it")
    if notice.realm != realm:
        raise ForgedError("a list of revocations of another realm")
    return notice


def _signed(notice: Notice) -> bytes:
    return _TAG + msgspec.json.encode(msgspec.structs.replace(notice, signature=""))
