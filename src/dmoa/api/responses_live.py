"""A response that is written while its asker reads it, and kept once it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from fastapi.responses import Response
from starlette.types import Receive

from dmoa.api import responses_shapes as shapes
from dmoa.api.events import LEFT, SILENCE, EventStream, event, while_connected
from dmoa.api.question import Question
from dmoa.api.shapes import Json
from dmoa.core.effects import Answer, Visit
from dmoa.errors import BackendUnavailableError, DmoaError
from dmoa.runtime.node import Node
from dmoa.runtime.streams import Progress, Token
from dmoa.store.archive import Archive
from dmoa.store.kept import Kept, New, Status


def _nothing() -> None:
    """Do nothing."""


class Live:
    """The stream of one response; `over` is called once, however it ends."""

    def __init__(
        self, node: Node, archive: Archive, question: Question, new: New, *, stored: bool
    ) -> None:
        self.over: Callable[[], None] = _nothing
        self._node = node
        self._archive = archive
        self._question = question
        self._new = new
        self._stored = stored
        self._about: Json = json.loads(new.base)
        self._created = time.time()
        self._text = ""
        self._events = shapes.Events(new.id)
        self._progress = question.follow(node, tick=SILENCE)
        self._written = self._write([])

    async def response(self, receive: Receive) -> Response:
        """Begin; errors up to the first news have their own status."""
        try:
            begun = await while_connected(receive, self._beginning())
        except BaseException:
            await self.aclose()
            raise
        if begun is None:
            await self.aclose()
            return Response(status_code=LEFT)
        self._written = self._write(begun)
        return EventStream(self._written, self)

    async def aclose(self) -> None:
        """Stop asking, whether the stream was begun or not."""
        try:
            await self._written.aclose()
        finally:
            await self._progress.aclose()
            self.over()
            self.over = _nothing

    async def _beginning(self) -> list[Progress | None]:
        """Wait for the first news that is more than a job of the query."""
        begun: list[Progress | None] = []
        async for item in self._progress:
            begun.append(item)
            if not isinstance(item, Visit):
                break
        return begun

    async def _write(self, begun: list[Progress | None]) -> AsyncGenerator[bytes, None]:
        """Write the events; what was left in the middle is kept as cancelled."""
        ended: tuple[Status, Json] | None = None
        try:
            start = self._shaped("in_progress")
            for kind in ("created", "in_progress"):
                yield _event(self._events.told(kind, response=start))
            try:
                for item in begun:
                    for each in self._told(item):
                        yield each
                    ended = self._end(item) or ended
                if ended is None:
                    async for item in self._progress:
                        for each in self._told(item):
                            yield each
                        ended = self._end(item) or ended
            except DmoaError as error:
                ended = shapes.failed(error)
            assert ended is not None, "a query ends with an answer or an error"
            for each in await self._last(*ended):
                yield each
        finally:
            if ended is None and self._stored:
                with suppress(DmoaError):
                    status, outcome = shapes.left(self._new.id, self._text)
                    await self._keep(status, outcome)

    def _told(self, item: Progress | None) -> list[bytes]:
        """Shape one step as events."""
        if item is None:
            return [b": the response is under way\n\n"]
        if not isinstance(item, Token) or not item.text:
            return []
        return [_event(each) for each in self._delta(item.text)]

    def _delta(self, text: str) -> list[Json]:
        opened = [] if self._text else list(self._events.opened())
        self._text += text
        return [*opened, self._events.delta(text)]

    def _end(self, item: Progress | None) -> tuple[Status, Json] | None:
        """Tell what an answer makes of the response; a withdrawn text is not the answer."""
        if not isinstance(item, Answer):
            return None
        if self._text and item.source == "proposal":
            error = BackendUnavailableError(f"the answer broke off: {item.trace.degraded[-1]}")
            error.trace = item.trace
            return shapes.failed(error)
        return shapes.answered(self._new.id, item, self._question.default(self._node))

    async def _last(self, status: Status, outcome: Json) -> list[bytes]:
        """Keep what came of it, and shape the last events."""
        listed: list[Json] = []
        if (text := shapes.text_of(outcome)) is not None:
            if not self._text:
                listed += self._delta(text) if text else self._events.opened()
            listed += self._events.closed(outcome["output"][0])
        told: Json | None = None
        if self._stored:
            try:
                told = shapes.shaped_of(await self._keep(status, outcome))
            except DmoaError:
                self._about["store"] = False  # the answer is worth more than its copy
        listed.append(self._events.told(status, response=told or self._shaped(status, outcome)))
        return [_event(each) for each in listed]

    async def _keep(self, status: Status, outcome: Json) -> Kept:
        return await self._archive.keep(self._new, status, _json(outcome), created=self._created)

    def _shaped(self, status: Status, outcome: Json | None = None) -> Json:
        ended = None if outcome is None else time.time()
        return shapes.shaped(
            self._about, status=status, created=self._created, ended=ended, outcome=outcome
        )


def _event(told: Json) -> bytes:
    return event(told, kind=told["type"])


def _json(shaped: object) -> str:
    return json.dumps(shaped, ensure_ascii=False, separators=(",", ":"))
