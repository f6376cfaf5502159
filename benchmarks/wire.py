"""The one HTTP client of the benchmarks: asyncio alone, so that it costs next to nothing.

Each request has a connection of its own, because some of what is measured keeps none open.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

_EVENT = b"data: "
_LINE_BYTES = 2**20


@dataclass(slots=True)
class Reply:
    """What came back, and when: seconds from before connecting."""

    seconds: float
    first: float
    """When the first text of the answer was here; the whole time, if it came at once."""
    text: str
    events: int = 0
    """Pieces of text that were streamed."""
    extra: dict[str, Any] = field(default_factory=dict)
    """dmoa's own account of the answer, empty for others."""


async def chat(url: str, body: dict[str, Any]) -> Reply:
    """Ask for one chat completion, streamed or whole."""
    start = time.perf_counter()
    reader, writer = await _request(url + "/chat/completions", json.dumps(body).encode())
    try:
        lines = await _opened(reader)
        reply = await (_streamed if body.get("stream") else _whole)(lines, start)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return reply


async def get(url: str) -> Any:
    """Get some JSON; OSError or ValueError while the server is not ready."""
    reader, writer = await _request(url, b"")
    try:
        return json.loads(b"".join([line async for line in await _opened(reader)]))
    finally:
        writer.close()


async def _request(url: str, body: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=_LINE_BYTES)
    head = [
        f"{'POST' if body else 'GET'} {place.path} HTTP/1.1",
        f"Host: {place.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
    return reader, writer


async def _opened(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Read the head of a response, and give its body in lines."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    status = head.split(maxsplit=2)[1]
    lines = _chunked(reader) if "transfer-encoding: chunked" in head else _plain(reader, head)
    if status != "200":
        words = b"".join([line async for line in lines]).decode(errors="replace")
        raise ValueError(f"status {status}: {words[:500]}")
    return lines


async def _plain(reader: asyncio.StreamReader, head: str) -> AsyncIterator[bytes]:
    length = head.partition("content-length:")[2].split(maxsplit=1)
    if length:
        yield await reader.readexactly(int(length[0]))
        return
    while line := await reader.readline():
        yield line


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        *lines, rest = (rest + await reader.readexactly(size)).splitlines(keepends=True)
        for line in lines:
            yield line
        if rest.endswith(b"\n"):
            yield rest
            rest = b""
        await reader.readexactly(2)
    yield rest


async def _whole(lines: AsyncIterator[bytes], start: float) -> Reply:
    data = json.loads(b"".join([line async for line in lines]))
    seconds = time.perf_counter() - start
    text = data["choices"][0]["message"]["content"]
    return Reply(seconds, seconds, text, extra=data.get("dmoa") or {})


async def _streamed(lines: AsyncIterator[bytes], start: float) -> Reply:
    first, seconds, texts, extra = 0.0, 0.0, list[str](), dict[str, Any]()
    async for line in lines:
        if not line.startswith(_EVENT):
            continue
        if line.startswith(b"[DONE]", len(_EVENT)):
            seconds = time.perf_counter() - start
            continue
        event = json.loads(line[len(_EVENT) :])
        if "error" in event:
            raise ValueError(f"a stream broke off: {event['error']}")
        extra = event.get("dmoa") or extra
        text = event["choices"][0]["delta"].get("content") if event["choices"] else ""
        if text:
            first = first or time.perf_counter() - start
            texts.append(text)
    return Reply(seconds, first, "".join(texts), len(texts), extra)
