"""POST /v1/chat/completions: one query, whole or as a stream."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dmoa.api import models, problems, queue, shapes
from dmoa.api.schema import ChatRequest
from dmoa.core.effects import Answer, Standing, Trace, Visit
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.recipe import PAPER_RECIPE, Recipe
from dmoa.errors import BackendUnavailableError, DmoaError, MixtureError
from dmoa.runtime.node import Node
from dmoa.runtime.streams import Draft, Followed, Progress, Token, whole

SILENCE = 1.0
"""Seconds without news after which a stream sends a comment, so that nobody hangs up.

The status of an own model's stream is held back up to the first, for a proper error.
"""
_LINE_ENDS = "\x85\u2028\u2029"
"""Characters that JSON leaves as they are, and at which some clients end a line."""
_LEFT = 499
"""The status of a response that nobody is there to read."""

T = TypeVar("T")


Wanted = tuple[Mixture, Recipe, tuple[str, ...]]
"""How a request is to be answered, with what must be said of it."""


def _wanted(request: ChatRequest, node: Node) -> Wanted:
    """Choose the mixture of a request, and how it is mixed."""
    mixture, recipe = models.mixture_of(request.model, node)
    asked = request.dmoa
    if asked.shapes:
        if request.model == models.LOCAL:
            raise MixtureError(
                "dmoa.layers, dmoa.fanout and dmoa.recipe do not go with the model 'local'",
                hint="ask the model 'dmoa'",
            )
        if request.model == models.DEFAULT:  # who shapes it wants one, whatever is usual
            mixture, recipe = node.shaped
        mixture = replace(
            mixture,
            layers=mixture.layers if asked.layers is None else asked.layers,
            fanout=mixture.fanout if asked.fanout is None else asked.fanout,
        )
        recipe = recipe if asked.recipe is None else Recipe.parse(asked.recipe)
        models.within(mixture, node.limits)
    if request.uses_tools and mixture.layers:
        return ALONE, PAPER_RECIPE, ("tools: calls of tools go to the own model alone",)
    if asked.private:
        recipe = replace(recipe, own=True)
    return mixture, recipe, ()


def _as_usual(request: ChatRequest) -> bool:
    """Tell whether a request leaves the mixture to the node."""
    return request.model == models.DEFAULT and not request.dmoa.shapes


async def complete(request: ChatRequest, node: Node, connection: Request) -> Response:
    """Answer a request."""
    mixture, recipe, notes = _wanted(request, node)
    progress = node.follow(
        request.turns(),
        mixture=mixture,
        recipe=recipe,
        sampling=request.sampling(),
        deadline=request.dmoa.deadline,
        options=request.options(),
        notes=notes,
        drafts=request.dmoa.drafts and bool(request.stream),
        standings=bool(request.stream),
        tick=SILENCE if request.stream else None,
    )
    created = int(time.time())
    default = models.default(node) if _as_usual(request) else None
    if not request.stream:
        answer = await _while_connected(connection.receive, whole(progress))
        if answer is None:
            return Response(status_code=_LEFT)
        shaped = shapes.completion(answer, model=request.model, created=created, default=default)
        return JSONResponse(shaped, headers=_afterwards(answer.trace))
    beginning = _beginning(progress, hold=mixture.layers == 0)
    try:
        begun = await _while_connected(connection.receive, beginning)
    except BaseException:
        await progress.aclose()
        raise
    if begun is None:
        return Response(status_code=_LEFT)
    chunks = shapes.Chunks(
        "chatcmpl-" + _query_of(begun).replace("/", "-"),
        model=request.model,
        created=created,
        with_usage=bool(request.stream_options and request.stream_options.include_usage),
        default=default,
    )
    events = _events(request, begun, progress, chunks)
    return EventStream(events, progress, headers=_beforehand(begun))


def _afterwards(trace: Trace) -> dict[str, str]:
    """Tell in headers where a query stood when it was asked, and where its time went."""
    return {
        "X-Dmoa-Queue-Position": str(trace.position),
        "X-Dmoa-Queued-Seconds": f"{trace.queued_seconds:.4f}",
        "X-Dmoa-Service-Seconds": f"{trace.service_seconds:.4f}",
    }


def _beforehand(begun: list[Progress | None]) -> dict[str, str]:
    """Tell in headers where a query stands, and when its answer is expected.

    Nothing of one that was over before it could be told of.
    """
    first = next((item for item in begun if isinstance(item, Standing)), None)
    if first is None:
        return {}
    expected = first.waited + first.answers_in if first.answers_in else 0.0
    return {
        "X-Dmoa-Queue-Position": str(first.position),
        "X-Dmoa-Expected-Seconds": f"{expected:.4f}",
    }


async def _while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
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


# -- streams -----------------------------------------------------------------------------


async def _beginning(progress: Followed, *, hold: bool) -> list[Progress | None]:
    """Wait until it is known where the query stands; of an own model alone, until it writes.

    Errors up to here are answered with their own status, later ones inside the stream. An
    accepted query stands somewhere at once. Who waits for the own model is told after `SILENCE`
    at the latest, as where one stands is no silence.
    """
    begun: list[Progress | None] = []
    async for item in progress:
        begun.append(item)
        held = hold and isinstance(item, Standing) and item.waited < SILENCE
        if not (held or isinstance(item, Visit)):
            break
    return begun


def _query_of(begun: list[Progress | None]) -> str:
    """Find the name of a query in its first news."""
    for item in begun:
        if isinstance(item, Standing):
            return item.query
        if isinstance(item, Visit):
            return item.job.rsplit("/", 1)[0]
    return ""


async def _events(
    request: ChatRequest, begun: list[Progress | None], progress: Followed, chunks: shapes.Chunks
) -> AsyncIterator[bytes]:
    """Write the server-sent events of one answer."""
    yield _event(chunks.chunk({"role": "assistant", "content": ""}))
    written = False
    try:
        for item in begun:
            for event in _shaped(request, chunks, item, written=written):
                yield event
            written = written or isinstance(item, Token)
        async for item in progress:
            for event in _shaped(request, chunks, item, written=written):
                yield event
            written = written or isinstance(item, Token)
    except DmoaError as error:
        yield _event(problems.body_of(error))


def _shaped(
    request: ChatRequest, chunks: shapes.Chunks, item: Progress | None, *, written: bool
) -> list[bytes]:
    """Shape one step as events."""
    match item:
        case None:
            return [b": the query is under way\n\n"]
        case Visit():
            return [_event(chunks.chunk({}, dmoa={"progress": shapes.visit(item)}))]
        case Standing():
            return [_event(chunks.chunk({}, dmoa={"queue": queue.standing(item)}))]
        case Draft():
            where = {"job": item.visit.job, "node": item.visit.node, "layer": item.visit.layer}
            return [_event(chunks.chunk({}, dmoa={"draft": {**where, "text": item.text}}))]
        case Token():
            return [_event(chunks.chunk({"content": item.text}))]
        case Answer():
            return _ending(request, chunks, item, written=written)


def _ending(
    request: ChatRequest, chunks: shapes.Chunks, answer: Answer, *, written: bool
) -> list[bytes]:
    """Shape the end of a stream.

    A proposal in place of a failed aggregation comes whole; where some of the failed one
    was streamed already, the stream ends with an error: that text is not the answer.
    """
    events: list[dict[str, Any]] = []
    if answer.source == "proposal" or not written:
        if written:
            error = BackendUnavailableError(f"the answer broke off: {answer.trace.degraded[-1]}")
            error.trace = answer.trace
            return [_event(problems.body_of(error))]
        if answer.completion.text:
            events.append(chunks.chunk({"content": answer.completion.text}))
    for index, call in enumerate(shapes.tool_calls(answer)):
        events.append(chunks.chunk({"tool_calls": [{"index": index, **call}]}))
    finish = answer.completion.finish
    events.append(chunks.chunk({}, finish=finish, dmoa=chunks.outcome(answer)))
    if request.stream_options is not None and request.stream_options.include_usage:
        events.append(chunks.usage(answer))
    return [*map(_event, events), b"data: [DONE]\n\n"]


def _event(data: dict[str, Any]) -> bytes:
    """Write an object as one event, on what every reader takes for one line."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for mark in _LINE_ENDS:
        if mark in text:
            text = text.replace(mark, f"\\u{ord(mark):04x}")
    return b"data: " + text.encode() + b"\n\n"


class EventStream(StreamingResponse):
    """A stream of events that closes what it follows, however it ends or never begins."""

    def __init__(
        self,
        events: AsyncIterator[bytes],
        followed: Followed,
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
            await _while_connected(receive, self.stream_response(send))
        finally:
            await self._followed.aclose()
