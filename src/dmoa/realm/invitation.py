"""An invitation: one line that says where to join, whom to believe, and by what right."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Annotated

import msgspec

from dmoa.config.realms import PLACES
from dmoa.core.names import is_node_name
from dmoa.errors import InviteError

TOKEN_BYTES = 32
"""Of chance in an invitation: 256 bits."""
LINE_BYTES = 4096
"""Of one line; eight long host names take half of it."""

_PREFIX = "dmoa-join-"
_CHECK = 4
_Name = Annotated[str, msgspec.Meta(max_length=32)]
_Bytes = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Place = Annotated[str, msgspec.Meta(max_length=300)]


class Invitation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the line of an invitation says; whoever has it can join, once."""

    realm: _Name
    founder: _Name
    """The node at whose desk it is shown."""
    places: Annotated[tuple[_Place, ...], msgspec.Meta(min_length=1, max_length=PLACES)]
    """HOST:PORT of that desk, as many as it may be found under."""
    authority: _Bytes
    """SHA-256 of the certificate of the realm's authority."""
    token: _Bytes
    expires: int
    """Unix seconds."""
    node: _Name = ""
    """The only name it is good for; empty for any."""

    @property
    def line(self) -> str:
        """Write it as one word."""
        content = msgspec.msgpack.encode(self)
        checked = content + zlib.crc32(content).to_bytes(_CHECK)
        return _PREFIX + base64.urlsafe_b64encode(checked).decode().rstrip("=")

    @classmethod
    def parse(cls, line: str) -> Invitation:
        """Read a line; InviteError where it is none, or something of it is missing."""
        word = "".join(line.split())  # mail and terminals break long lines
        body = word.removeprefix(_PREFIX)
        if body == word or len(word) > LINE_BYTES:
            raise InviteError(
                f"that is no invitation: one begins with {_PREFIX}",
                hint="`dmoa realm invite` prints one, at the machine that founded the realm",
            )
        try:
            checked = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            content, check = checked[:-_CHECK], checked[-_CHECK:]
            if zlib.crc32(content).to_bytes(_CHECK) == check:
                found = msgspec.msgpack.decode(content, type=cls)
                if all(map(is_node_name, (found.realm, found.founder, found.node or "any"))):
                    return found
        except (binascii.Error, ValueError):  # msgspec's errors are ValueErrors
            pass
        raise InviteError("the invitation is torn: it must be given whole, as it was printed")
