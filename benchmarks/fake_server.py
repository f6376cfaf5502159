"""A model server that only takes its time: the same one for all that is compared.

It speaks as much of the OpenAI protocol as they need. A call takes SECONDS, however many
calls there are at once; its text comes in TOKENS pieces spread evenly over that time, by
the same law as dmoa's own fake backend. The name of the model says what becomes of `n`:

    fake              all n completions within the one call, as vLLM does
    fake-ignores-n    one completion, as Ollama does
    fake-refuses-n    status 400 for more than one, as some hosted models do

Runs until its standard input ends; writes the port it got as its first line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any

SECONDS = 0.2
TOKENS = 16
TEXT = "This answer takes its time, and says nothing much, but says it in even pieces. " * 4

_HEAD = "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
_PIECES = [TEXT[len(TEXT) * i // TOKENS : len(TEXT) * (i + 1) // TOKENS] for i in range(TOKENS)]
_USAGE = {"prompt_tokens": 32, "completion_tokens": TOKENS, "total_tokens": 32 + TOKENS}


async def _read(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bool]:
    """Read a request's body, empty for a GET, and whether it is the last."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = head.partition("content-length:")[2].split(maxsplit=1)
    body = await reader.readexactly(int(length[0])) if length else b""
    return json.loads(body) if body else {}, "connection: close" in head


def _frame(kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {"id": "fake", "object": kind, "created": int(time.time()), "model": "fake"} | fields


def _write(writer: asyncio.StreamWriter, data: dict[str, Any], status: str = "200 OK") -> None:
    body = json.dumps(data).encode()
    head = _HEAD.format(status=status, kind="application/json")
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)


async def _complete(writer: asyncio.StreamWriter, count: int, start: float) -> None:
    await asyncio.sleep(max(0.0, start + SECONDS - time.monotonic()))
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": TEXT},
            "finish_reason": "stop",
        }
        for index in range(count)
    ]
    _write(writer, _frame("chat.completion", {"choices": choices, "usage": _USAGE}))


async def _stream(writer: asyncio.StreamWriter, start: float) -> None:
    head = _HEAD.format(status="200 OK", kind="text/event-stream")
    writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())

    def send(data: bytes) -> None:
        event = b"data: " + data + b"\n\n"
        writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")

    def chunk(delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return json.dumps(_frame("chat.completion.chunk", {"choices": [choice]})).encode()

    for index, piece in enumerate(_PIECES):
        due = start + SECONDS * (index + 1) / TOKENS
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        send(chunk({"content": piece}, None))
    send(chunk({}, "stop"))
    usage = _frame("chat.completion.chunk", {"choices": [], "usage": _USAGE})
    send(json.dumps(usage).encode())
    send(b"[DONE]")
    writer.write(b"0\r\n\r\n")


async def _answer(writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
    start, count = time.monotonic(), asked.get("n") or 1
    model = asked.get("model", "fake")
    if not asked:
        _write(writer, {"object": "list", "data": [{"id": "fake", "object": "model"}]})
    elif count > 1 and model.endswith("refuses-n"):
        _write(writer, {"error": {"message": "n must be 1"}}, "400 Bad Request")
    elif asked.get("stream"):
        await _stream(writer, start)
    else:
        await _complete(writer, 1 if model.endswith("ignores-n") else count, start)
    await writer.drain()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    last = False
    with suppress(OSError, asyncio.IncompleteReadError):
        while not last:
            asked, last = await _read(reader)
            await _answer(writer, asked)
    writer.close()


async def main() -> None:
    """Serve on any free port of this machine, until standard input ends."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
