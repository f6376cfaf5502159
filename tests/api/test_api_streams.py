"""Time over a real socket: tokens as they are written, and nobody works for who has left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
from api_room import (
    AT_ONCE,
    HELLO,
    Room,
    Watch,
    body,
    error_of,
    events_of,
    opened,
    sdk,
    served,
    until,
)
from openai import AsyncOpenAI

from dmoa.api import chat
from dmoa.backends.fake import FakeBackend

pytestmark = pytest.mark.real

CHAT = "/v1/chat/completions"
SLOW = 30.0
"""Seconds of a generation that nobody waits for in these tests."""


@asynccontextmanager
async def serving(*names: str, **settings: Any) -> AsyncIterator[tuple[Room, httpx2.AsyncClient]]:
    async with opened(*names, **settings) as room, served(room.home) as http:
        yield room, http


async def lines_of(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


async def test_tokens_come_as_they_are_written_and_progress_before_them() -> None:
    async with serving(seconds=0.32) as (_, http):
        watch = Watch()
        stream = await sdk(http).chat.completions.create(model="dmoa", messages=HELLO, stream=True)
        progress, tokens = [], []
        async for chunk in stream:
            if "progress" in (chunk.model_extra or {}).get("dmoa", {}):
                progress.append(watch.seconds)
            if chunk.choices[0].delta.content:
                tokens.append(watch.seconds)
    assert progress[0] < tokens[0]
    assert len(tokens) == 16
    # Sixteen tokens 20 ms apart: they trickle, they are not poured.
    assert 0.3 < tokens[0] < tokens[-1] - 0.2


async def test_one_connection_serves_many_streams() -> None:
    async with serving("n1", seconds=0.0) as (_, http):
        for number in range(5):
            response = await http.post(CHAT, json=body(stream=number % 2 == 0))
            assert response.status_code == 200
        pool = http._transport._pool
        assert len(pool.connections) == 1


@pytest.mark.parametrize("model", ["dmoa", "local"])
async def test_a_silent_stream_is_kept_alive(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SILENCE", 0.05)
    async with serving("n1", fakes={"n1": FakeBackend(seconds=0.3, tokens=1)}) as (_, http):
        response = await http.post(CHAT, json=body(stream=True, model=model))
    events = events_of(response.text)
    assert events.count(": the query is under way") >= 3
    assert events[-1] == "[DONE]"


async def test_a_held_stream_that_begins_late_and_fails_ends_with_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "SILENCE", 0.05)
    fake = FakeBackend(seconds=0.2, tokens=2, fail="unavailable", after=1)
    async with serving("n1", fakes={"n1": fake}) as (_, http):
        stream = await sdk(http).chat.completions.create(model="local", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="told to be unavailable"):
            [chunk async for chunk in stream]


# -- a client that leaves ----------------------------------------------------------------


async def leaves(room: Room, client: asyncio.Task[Any], *, jobs: int) -> None:
    """Let a client leave once so many generations run, and see that all end at once."""
    await until(lambda: room.active == jobs)
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    took = await until(room.idle)
    assert took < AT_ONCE
    assert sum(fake.cancelled for fake in room.fakes.values()) == jobs
    assert room.home._agent is not None
    assert room.home._agent.queries == 0


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("model", "jobs"), [("dmoa-m2k3", 4), ("dmoa-m1k0", 1), ("local", 1)])
async def test_nobody_works_for_a_client_that_left_before_the_first_token(
    model: str, jobs: int, *, stream: bool
) -> None:
    async with serving(seconds=SLOW) as (room, http):
        for fake in room.fakes.values():
            fake.tokens = 1
        asking = asyncio.create_task(http.post(CHAT, json=body(model=model, stream=stream)))
        await leaves(room, asking, jobs=jobs)
        assert (await http.get("/health")).json()["queue"] == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_nobody_works_for_a_client_that_left_while_its_job_waited(*, stream: bool) -> None:
    async with serving("n1", seconds=SLOW) as (room, http):
        async with aclosing(room.home.follow("keeps it busy")) as busy:
            await anext(busy)
            await until(lambda: room.active == 1)
            asking = asyncio.create_task(http.post(CHAT, json=body(model="local", stream=stream)))
            await until(lambda: room.jobs == 2)
            asking.cancel()
            assert await until(lambda: room.jobs == 1) < AT_ONCE
        await until(room.idle)


@pytest.mark.parametrize("model", ["dmoa", "local"])
async def test_nobody_works_for_a_client_that_left_in_mid_stream(model: str) -> None:
    async with serving(seconds=0.0) as (room, http):
        read: list[str] = []

        async def ask() -> None:
            client: AsyncOpenAI = sdk(http)
            stream = await client.chat.completions.create(model=model, messages=HELLO, stream=True)
            async for chunk in stream:
                read.extend(choice.delta.content or "" for choice in chunk.choices)

        room.fakes["n1"].tokens = 600
        if model == "dmoa":
            quick = iter([0.0])  # for the proposal; the aggregation is slow
            room.fakes["n1"].law = lambda: next(quick, SLOW)
        else:
            room.fakes["n1"].law = lambda: SLOW
        asking = asyncio.create_task(ask())
        await until(lambda: "".join(read))
        await leaves(room, asking, jobs=1)


async def test_drafts_stop_with_the_client_as_well() -> None:
    drafts = 0
    async with serving(seconds=SLOW) as (room, http):
        for fake in room.fakes.values():
            fake.tokens = 600

        async def ask() -> None:
            nonlocal drafts
            changes: dict[str, Any] = {"dmoa": {"drafts": True, "fanout": 3}, "stream": True}
            async with http.stream("POST", CHAT, json=body(**changes)) as response:
                async for event in lines_of(response):
                    drafts += "draft" in event.get("dmoa", {})

        asking = asyncio.create_task(ask())
        await until(lambda: drafts > 4)
        await leaves(room, asking, jobs=4)


async def test_a_stream_that_cannot_begin_ends_what_it_follows() -> None:
    async def send(_: object) -> None:
        raise ConnectionResetError

    async with opened(seconds=SLOW) as room:
        followed = room.home.follow("hello")
        await anext(followed)
        stream = chat.EventStream(aiter_of(b"data"), followed)
        with pytest.raises(ConnectionResetError):
            await stream({"type": "http"}, asyncio.get_running_loop().create_future, send)
        assert await until(room.idle) < AT_ONCE


async def aiter_of(*items: bytes) -> AsyncIterator[bytes]:
    for item in items:
        yield item


async def test_one_that_leaves_takes_nobody_along() -> None:
    async with serving(seconds=0.3) as (room, http):
        leaving = asyncio.create_task(http.post(CHAT, json=body(stream=True)))
        staying = asyncio.create_task(http.post(CHAT, json=body(stream=True)))
        await until(lambda: room.active >= 2)
        leaving.cancel()
        events = events_of((await staying).text)
    assert events[-1] == "[DONE]"
    assert [job["outcome"] for job in events[-2]["dmoa"]["jobs"]] == ["ok"] * 4
    assert events[-2]["dmoa"]["degraded"] == []


# -- the door, over a socket -------------------------------------------------------------


async def test_a_huge_body_is_refused_before_it_is_read() -> None:
    async with serving("n1") as (_, http):
        content = b" " * 3_000_000
        response = await http.post(
            CHAT, content=content, headers={"content-type": "application/json"}
        )
        assert (response.status_code, error_of(response)["code"]) == (413, "body_too_large")
        assert (await http.get("/health")).status_code == 200


async def test_a_node_that_closes_ends_its_streams_with_an_error() -> None:
    async with serving("n1", "n2", seconds=SLOW) as (room, http):
        stream = await sdk(http).chat.completions.create(model="dmoa", messages=HELLO, stream=True)
        await until(lambda: room.active == 2)
        closing = asyncio.create_task(room.home.close())
        with pytest.raises(openai.APIError, match="node n1 is shutting down"):
            [chunk async for chunk in stream]
        await closing
        assert await until(lambda: room.active == 0) < AT_ONCE
        assert (await http.get("/health")).status_code == 503
