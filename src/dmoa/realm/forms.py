"""What is asked at the desk of a realm, and what is answered: one line of JSON each."""

from __future__ import annotations

from typing import Annotated

import msgspec

from dmoa.config.realms import PLACES, SEEDS
from dmoa.realm.notice import NOTICE_BYTES

ASK_BYTES = 16 * 1024
"""Of what is asked; ours have less than 1 kB."""
ANSWER_BYTES = 2 * NOTICE_BYTES
"""Of what is answered: a list of revocations, in base64, is the longest part."""

_Pem = Annotated[str, msgspec.Meta(max_length=4096)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_Place = Annotated[str, msgspec.Meta(max_length=300)]
_Places = Annotated[tuple[_Place, ...], msgspec.Meta(max_length=PLACES)]


class Look(msgspec.Struct, frozen=True, tag="look", tag_field="do"):
    """Asks whose desk this is, before anything secret is said."""


class Join(msgspec.Struct, frozen=True, tag="join", tag_field="do"):
    """Asks for a first certificate, with an invitation's token."""

    token: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    request: _Pem
    port: _Port = 0
    """TCP, where the new node will listen; 0 where none can reach it."""


class Renew(msgspec.Struct, frozen=True, tag="renew", tag_field="do"):
    """Asks for the next certificate, by the present one, with which the link was made."""

    request: _Pem
    port: _Port = 0


class Shown(msgspec.Struct, frozen=True, tag="shown", tag_field="is"):
    """Whose desk it is: the certificate of its authority."""

    authority: _Pem


class Granted(msgspec.Struct, frozen=True, tag="granted", tag_field="is"):
    """A certificate, and what a member should know."""

    certificate: _Pem
    multicast: _Port
    """UDP, where nodes look for each other."""
    port: _Port
    """TCP, where the founder's node listens."""
    places: _Places
    """HOST:PORT of this desk, as many as it may be found under."""
    seeds: Annotated[tuple[_Place, ...], msgspec.Meta(max_length=SEEDS)]
    """Endpoints of other members."""
    notice: Annotated[bytes, msgspec.Meta(max_length=NOTICE_BYTES)]
    """The newest list of revocations; empty before the first."""


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="is"):
    """An error of ours, as the other side should raise it."""

    code: str
    message: str
    hint: str | None = None
    notice: Annotated[bytes, msgspec.Meta(max_length=NOTICE_BYTES)] = b""
    """The newest list of revocations, for who may be on it."""


Ask = Look | Join | Renew
Answer = Shown | Granted | Refused
