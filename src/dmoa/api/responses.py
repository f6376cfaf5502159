"""/v1/responses: questions that are answered now, or in the background, and kept."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from dmoa.api import responses_shapes as shapes
from dmoa.api.asking import parent_of, wanted
from dmoa.api.errands import Errands
from dmoa.api.events import LEFT, SILENCE, EventStream, event, while_connected
from dmoa.api.problems import body_of
from dmoa.api.question import Question
from dmoa.api.responses_live import Live
from dmoa.api.responses_schema import ResponseRequest
from dmoa.api.shapes import Json
from dmoa.config.keys import Doorkeeper
from dmoa.core.job import Turn
from dmoa.errors import (
    BackendUnavailableError,
    ConflictError,
    ContextLengthError,
    DmoaError,
    ResponseNotFoundError,
    UsageError,
)
from dmoa.runtime.node import Node
from dmoa.runtime.streams import whole
from dmoa.store.kept import Kept, New
from dmoa.store.table import no_such

_ID = re.compile(r"resp_[0-9a-f]{32}")
_NAME = re.compile(r"[!-~]{1,255}")
"""What an Idempotency-Key can be."""
Order = Literal["asc", "desc"]


class Responses:
    """The responses of a node, as its users see them.

    Each belongs to the key with which it was asked; to others it is not there.
    """

    def __init__(self, node: Node, errands: Errands, keeper: Doorkeeper | None = None) -> None:
        self._node = node
        self._errands = errands
        self._archive = errands.archive
        self._keeper = keeper
        self._busy: dict[tuple[str, str], _Turnstile] = {}
        self._streams: set[tuple[str, str]] = set()

    async def create(self, request: ResponseRequest, connection: Request) -> Response:
        """Answer a question, or take it in to be answered in the background.

        With an Idempotency-Key the same question is asked once: who repeats it gets the same
        response. ConflictError where another was asked under that key.
        """
        owner = self._owner(connection)
        name = _name(connection, request)
        if request.background and not request.stored:
            raise UsageError("background: what is not stored cannot be answered in the background")
        fingerprint = request.fingerprint() if name else ""
        probe = New("", owner, "", "", idempotency=name, fingerprint=fingerprint)
        async with self._one_at_a_time(owner, name):
            if (owner, name) in self._streams:
                raise ConflictError(
                    "the question of this Idempotency-Key is being answered, as a stream",
                    hint="repeat it once that has ended",
                )
            if name and (same := await self._archive.named(probe)) is not None:
                return self._again(same, request)
            question = await self._question(request, owner)
            question = replace(question, trace=parent_of(connection))
            identity = f"resp_{secrets.token_hex(16)}"
            new = New(
                identity,
                owner,
                _json(shapes.base(request, identity)),
                _json(shapes.entries(request, identity)),
                work=question.dump() if request.background else "",
                background=bool(request.background),
                previous=request.previous_response_id or "",
                idempotency=name,
                fingerprint=fingerprint,
            )
            if request.background:
                return self._again(await self._errands.accept(new), request)
            if request.stream:
                live = Live(self._node, self._archive, question, new, stored=request.stored)
                if name:
                    self._streams.add((owner, name))
                    live.over = lambda: self._streams.discard((owner, name))
                return await live.response(connection.receive)
            return await self._answer(question, new, connection, stored=request.stored)

    async def _answer(
        self, question: Question, new: New, connection: Request, *, stored: bool
    ) -> Response:
        """Answer while the asker waits."""
        created = time.time()
        work = whole(question.follow(self._node))
        answer = await while_connected(connection.receive, work)
        about = json.loads(new.base)
        if answer is None:
            if stored:
                status, outcome = shapes.left(new.id)
                with suppress(DmoaError):
                    await self._archive.keep(new, status, _json(outcome), created=created)
            return Response(status_code=LEFT)
        status, outcome = shapes.answered(new.id, answer, question.default(self._node))
        if stored:
            try:
                kept = await self._archive.keep(new, status, _json(outcome), created=created)
                return JSONResponse(shapes.shaped_of(kept))
            except DmoaError:
                about["store"] = False  # the answer is worth more than its copy
        shaped = shapes.shaped(
            about, status=status, created=created, ended=time.time(), outcome=outcome
        )
        return JSONResponse(shaped)

    async def _question(self, request: ResponseRequest, owner: str) -> Question:
        """Make the question of a request, with the conversation before it."""
        if not self._node.is_open:
            raise BackendUnavailableError(
                f"node {self._node.id} is not open: it is still loading, or closed",
                hint="try again in a moment",
            )
        wanted(request.model, request.dmoa, self._node)  # said now, not in the background
        turns: list[Turn] = []
        if request.instructions:
            turns.append(Turn("system", request.instructions))
        if request.previous_response_id:
            turns += await self._conversation(request.previous_response_id, owner)
        turns += request.turns()
        question = Question(tuple(turns), request.model, request.sampling(), request.dmoa)
        most = self._node.limits.conversation_bytes
        if question.size > most:
            raise ContextLengthError(
                f"the conversation has {question.size} of {most} bytes allowed",
                hint="begin a new one",
            )
        return question

    async def _conversation(self, previous: str, owner: str) -> list[Turn]:
        most = 4 * self._node.limits.conversation_bytes  # as JSON, with what stands beside
        try:
            chain = await self._archive.chain(_known(previous), owner, most)
        except ResponseNotFoundError as error:
            error.message = f"previous_response_id: {error.message}"
            raise
        for kept in chain:
            if kept.status not in ("completed", "incomplete"):
                raise UsageError(
                    f"previous_response_id: {kept.id} is {kept.status}, and has no answer",
                    hint="wait for it, or go on from another",
                )
        return shapes.conversation_of(chain)

    def _again(self, kept: Kept, request: ResponseRequest) -> Response:
        """Answer with what is kept."""
        if request.stream:
            followed = self._followed(kept, -1)
            return EventStream(followed, followed)
        return JSONResponse(shapes.shaped_of(kept))

    # -- what is kept --------------------------------------------------------------------

    async def get(
        self, identity: str, connection: Request, *, stream: bool, after: int
    ) -> Response:
        """Show a response, or stream what comes after an event of it."""
        kept = await self._archive.get(_known(identity), self._owner(connection))
        if not stream:
            return JSONResponse(shapes.shaped_of(kept))
        if not kept.background:
            raise UsageError(
                f"{identity} was not asked in the background, and is streamed only once",
                hint="get it without `stream`",
            )
        followed = self._followed(kept, after)
        return EventStream(followed, followed)

    async def cancel(self, identity: str, connection: Request) -> Json:
        """End a response of the background."""
        return shapes.shaped_of(
            await self._errands.cancel(_known(identity), self._owner(connection))
        )

    async def delete(self, identity: str, connection: Request) -> Json:
        """Delete a response with all that is kept of it."""
        await self._errands.delete(_known(identity), self._owner(connection))
        return {"id": identity, "object": "response", "deleted": True}

    async def entries(
        self, identity: str, connection: Request, *, order: Order, limit: int, after: str
    ) -> Json:
        """List the items of a response's own input."""
        kept = await self._archive.get(_known(identity), self._owner(connection))
        items = json.loads(kept.entries)
        if order == "desc":
            items.reverse()
        if after:
            names = [item["id"] for item in items]
            if after not in names:
                raise UsageError(f"after: {after[:80]!r} is no item of {identity}")
            items = items[names.index(after) + 1 :]
        return _page(items, limit)

    async def listed(self, connection: Request, *, limit: int, after: str) -> Json:
        """List responses, the newest first, without their texts."""
        owner = self._owner(connection)
        found = await self._archive.listed(owner, limit + 1, _known(after) if after else "")
        return _page([shapes.summary(kept) for kept in found], limit)

    async def _followed(self, kept: Kept, after: int) -> AsyncGenerator[bytes, None]:
        """Write the events of a response from after one of them on, until it has ended."""
        told = 0
        with self._errands.watch(kept.id) as heard:
            while True:
                heard.clear()
                try:
                    kept = await self._archive.get(kept.id, kept.owner)
                except DmoaError as error:
                    yield event(_broken(error), kind="error")
                    return
                shaped = shapes.shaped_of(kept)
                begun = kept.is_over or kept.attempts > 0
                listed = shapes.beginnings(shaped)[: None if begun else shapes.BEGINNING - 1]
                listed += shapes.endings(shaped) if kept.is_over else []
                for each in listed[told:]:
                    if each["sequence_number"] > after:
                        yield event(each, kind=each["type"])
                told = len(listed)
                if kept.is_over or self._errands.is_closed:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(SILENCE):
                        await heard.wait()
                        continue
                yield b": the response is under way\n\n"

    # -- who asks ------------------------------------------------------------------------

    def _owner(self, connection: Request) -> str:
        """Tell whose responses a request may see: a hash of its key, if keys are asked for."""
        if self._keeper is None or not self._keeper.asks:
            return ""
        _, _, key = connection.headers.get("authorization", "").partition(" ")
        return sha256(b"owner " + key.strip(" ").encode()).hexdigest()[:32]

    @asynccontextmanager
    async def _one_at_a_time(self, owner: str, name: str) -> AsyncGenerator[None]:
        """Let who repeats a question wait for the one before."""
        if not name:
            yield
            return
        turnstile = self._busy.setdefault((owner, name), _Turnstile())
        turnstile.waiting += 1
        try:
            async with turnstile.lock:
                yield
        finally:
            turnstile.waiting -= 1
            if not turnstile.waiting:
                del self._busy[owner, name]


@dataclass(slots=True)
class _Turnstile:
    """Who asks under one name, one at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


def _known(identity: str) -> str:
    """Refuse what cannot be a response's name."""
    if not _ID.fullmatch(identity):
        raise no_such(identity)
    return identity


def _name(connection: Request, request: ResponseRequest) -> str:
    name = connection.headers.get("idempotency-key", "")
    if name and not _NAME.fullmatch(name):
        raise UsageError("Idempotency-Key: it should be 1 to 255 letters, digits and signs")
    if name and not request.stored:
        raise UsageError("Idempotency-Key: what is not stored cannot be known again")
    return name


def _page(items: list[Json], limit: int) -> Json:
    """Shape a page of a list, as OpenAI does."""
    page = items[:limit]
    return {
        "object": "list",
        "data": page,
        "has_more": len(items) > limit,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
    }


def _broken(error: DmoaError) -> Json:
    """Shape an error in the middle of a stream."""
    told = body_of(error)["error"]
    return {"type": "error", "code": told["code"], "message": told["message"], "param": None}


def _json(shaped: object) -> str:
    return json.dumps(shaped, ensure_ascii=False, separators=(",", ":"))
