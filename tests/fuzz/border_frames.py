"""Frames of an exchange: each call ends in messages of its job, or in one known error."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from dmoa.core.limits import Limits
from dmoa.core.messages import Piece
from dmoa.core.names import NodeId
from dmoa.errors import NetworkError, RemoteProtocolError
from dmoa.net import codec, desk
from dmoa.net.exchange import Mailbox

from .border_codec import JOB, MESSAGES

LIMITS = Limits()
PEER = NodeId("b")
LOOP = asyncio.new_event_loop()


def framed(*frames: bytes) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in frames)


def seeds() -> list[bytes]:
    messages = [b"\x00" + codec.encode(each) for each in MESSAGES]
    ends = [bytes((tag,)) + b"words" for tag in range(1, 6)]
    return [framed(*messages), framed(messages[1], *ends), *map(framed, [*messages, *ends])]


def cross(data: bytes) -> None:
    frames = []
    rest = data
    while rest:
        size = int.from_bytes(rest[:2], "big")
        frames.append(rest[2 : 2 + size])
        rest = rest[2 + size :]
    LOOP.run_until_complete(_read(frames))
    with suppress(RemoteProtocolError):
        assert desk.read_digest("a", data, LIMITS).node == "a"
    with suppress(RemoteProtocolError):
        assert desk.read_withdrawal(data, LIMITS)


async def _read(frames: list[bytes]) -> None:
    mailbox = Mailbox(PEER, JOB, LIMITS, patience=60.0, idle=None)
    for frame in frames:
        mailbox.put(frame)
    mailbox.end()
    with suppress(NetworkError, RemoteProtocolError):
        for _ in range(len(frames) + 1):
            message = await mailbox.next()
            assert message.job == JOB
            if not isinstance(message, Piece):
                return
        raise AssertionError("it has no end")
