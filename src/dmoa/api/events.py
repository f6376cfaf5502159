"""Server-sent events, and whoever may hang up while they are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

SILENCE = 1.0
"""Seconds without news after which a stream sends a comment, so that nobody hangs up.

The status of an own model's stream is held back up to the first, for a proper error.
"""
LEFT = 499
"""The status of a response that nobody is there to read."""
_LINE_ENDS = "\x85\u2028\u2029"
"""Characters that JSON leaves as they are, and at which some clients end a line."""

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Do some work, but stop it and return None as soon as the client has left."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def event(data: dict[str, Any], *, kind: str = "") -> bytes:
    """Write an object as one event, on what every reader takes for one line.

    `kind` is its name, where it has one.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for mark in _LINE_ENDS:
        if mark in text:
            text = text.replace(mark, f"\\u{ord(mark):04x}")
    name = f"event: {kind}\n".encode() if kind else b""
    return name + b"data: " + text.encode() + b"\n\n"


class Closing(Protocol):
    """What is to be closed after a stream."""

    def aclose(self) -> Coroutine[Any, Any, None]:
        """Close it, whether it was begun or not."""
        ...


class EventStream(StreamingResponse):
    """A stream of events that closes what it follows, however it ends or never begins."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        followed: Closing,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            events,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", **(headers or {})},
        )
        self._followed = followed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the client has left, whatever the server tells of it."""
        del scope
        try:
            await while_connected(receive, self.stream_response(send))
        finally:
            await self._followed.aclose()
