"""GET /v1/feed: what happens at a node, as server-sent events, for those who watch.

Each event holds a JSON list of sights (`runtime/sights.py`); the first sight of the first is the
scene. What happens within a tenth of a second comes together, as an event costs more than its
sights.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from importlib.metadata import version
from typing import Final, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dmoa.runtime.node import Node
from dmoa.runtime.watch import Audience, Watch, Watcher

TOGETHER: Final = 0.1
"""Seconds between two events of one watcher, at least."""
LOOK: Final = 0.5
"""Seconds between two looks whether the node is still open, and the watcher still there."""
SILENCE: Final = 15.0
"""Seconds after which a comment says that the feed lives, so that nobody on the way hangs up."""


class Open(Protocol):
    """What is shown as long as it is open: a node."""

    @property
    def is_open(self) -> bool:
        """Tell whether it is."""
        ...


def install(app: FastAPI, node: Node) -> None:
    """Serve the feed of a node, and remember what a scene tells of its past."""
    serve(app, node, watch_of(node))


def serve(app: FastAPI, shown: Open, audience: Audience) -> None:
    """Serve what an audience is shown."""

    @app.get("/v1/feed", include_in_schema=False)  # it never ends, and is the page's own
    async def feed(request: Request) -> Response:
        """Tell what happens, until the watcher leaves or it is closed."""
        return FeedStream(shown, audience, request)

    _ = feed


def watch_of(node: Node) -> Watch:
    """Find who shows a node, or let somebody; there is one for each node."""
    for each in node.onlookers:
        if isinstance(each, Watch):
            return each
    watch = Watch(node, version=version("dmoa"))
    node.onlookers.append(watch)
    return watch


class FeedStream(StreamingResponse):
    """A watcher's stream, which takes the watcher out however it ends, or never begins.

    OverloadedError where too many watch, BackendUnavailableError until the node is open.
    """

    def __init__(self, shown: Open, audience: Audience, request: Request) -> None:
        self._audience = audience
        self._watcher = audience.join()
        super().__init__(
            events(shown, self._watcher, request),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end."""
        del scope, receive  # the events themselves look whether anybody is there
        try:
            await self.stream_response(send)
        finally:
            self._audience.leave(self._watcher)


async def events(shown: Open, watcher: Watcher, request: Request) -> AsyncGenerator[bytes, None]:
    """Write what a watcher has to read as events, as long as it is there and what is shown open."""
    clock = asyncio.get_running_loop().time
    latest = clock()
    while shown.is_open and not await request.is_disconnected():
        if await watcher.wait(LOOK):
            latest = clock()
            yield b"data: " + watcher.take(latest) + b"\n\n"
            await asyncio.sleep(TOGETHER)
        elif clock() - latest >= SILENCE:
            latest = clock()
            yield b": nothing new\n\n"
