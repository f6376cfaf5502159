"""POST /v1/chat/completions: one query, whole or as a stream."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from dmoa.api import problems, queue, shapes
from dmoa.api.asking import parent_of, usual, wanted
from dmoa.api.events import LEFT, SILENCE, EventStream, event, while_connected
from dmoa.api.schema import ChatRequest
from dmoa.core.effects import Answer, Standing, Trace, Visit
from dmoa.errors import BackendUnavailableError, DmoaError
from dmoa.runtime.node import Node
from dmoa.runtime.streams import Draft, Followed, Progress, Token, whole


async def complete(request: ChatRequest, node: Node, connection: Request) -> Response:
    """Answer a request."""
    mixture, recipe, notes = wanted(
        request.model, request.dmoa, node, uses_tools=request.uses_tools
    )
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
        trace=parent_of(connection),
    )
    created = int(time.time())
    default = usual(request.model, request.dmoa, node)
    if not request.stream:
        answer = await while_connected(connection.receive, whole(progress))
        if answer is None:
            return Response(status_code=LEFT)
        shaped = shapes.completion(answer, model=request.model, created=created, default=default)
        return JSONResponse(shaped, headers=_afterwards(answer.trace))
    beginning = _beginning(progress, hold=mixture.layers == 0)
    try:
        begun = await while_connected(connection.receive, beginning)
    except BaseException:
        await progress.aclose()
        raise
    if begun is None:
        return Response(status_code=LEFT)
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
    yield event(chunks.chunk({"role": "assistant", "content": ""}))
    written = False
    try:
        for item in begun:
            for told in _shaped(request, chunks, item, written=written):
                yield told
            written = written or isinstance(item, Token)
        async for item in progress:
            for told in _shaped(request, chunks, item, written=written):
                yield told
            written = written or isinstance(item, Token)
    except DmoaError as error:
        yield event(problems.body_of(error))


def _shaped(
    request: ChatRequest, chunks: shapes.Chunks, item: Progress | None, *, written: bool
) -> list[bytes]:
    """Shape one step as events."""
    match item:
        case None:
            return [b": the query is under way\n\n"]
        case Visit():
            return [event(chunks.chunk({}, dmoa={"progress": shapes.visit(item)}))]
        case Standing():
            return [event(chunks.chunk({}, dmoa={"queue": queue.standing(item)}))]
        case Draft():
            where = {"job": item.visit.job, "node": item.visit.node, "layer": item.visit.layer}
            return [event(chunks.chunk({}, dmoa={"draft": {**where, "text": item.text}}))]
        case Token():
            return [event(chunks.chunk({"content": item.text}))]
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
            return [event(problems.body_of(error))]
        if answer.completion.text:
            events.append(chunks.chunk({"content": answer.completion.text}))
    for index, call in enumerate(shapes.tool_calls(answer)):
        events.append(chunks.chunk({"tool_calls": [{"index": index, **call}]}))
    finish = answer.completion.finish
    events.append(chunks.chunk({}, finish=finish, dmoa=chunks.outcome(answer)))
    if request.stream_options is not None and request.stream_options.include_usage:
        events.append(chunks.usage(answer))
    return [*map(event, events), b"data: [DONE]\n\n"]
