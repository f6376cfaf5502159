"""An HTTP server that plays what it is told to: the bad days of a language model server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Self


def chunk(**fields) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def said(text: str) -> bytes:
    return chunk(choices=[{"index": 0, "delta": {"content": text}}])


def finished(reason: str = "stop") -> bytes:
    return chunk(choices=[{"index": 0, "delta": {}, "finish_reason": reason}])


DONE = b"data: [DONE]\n\n"


@dataclass
class Reply:
    """A response in pieces. `end`: whole; cut off; held open until the client leaves; or
    silent: there is none, and the connection ends.
    """

    pieces: list[bytes] = field(default_factory=list)
    status: int = 200
    media: str = "text/event-stream"
    end: str = "whole"

    @classmethod
    def json(cls, body: object, status: int = 200) -> Reply:
        return cls([json.dumps(body).encode()], status, "application/json")


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict


class Scripted:
    """Answers requests for a path with its replies, one after the other, the last for ever."""

    def __init__(self, *chat: Reply, models: Reply | None = None) -> None:
        self.replies = {
            "/v1/chat/completions": list(chat),
            "/v1/models": [models or Reply.json({"data": [{"id": "m"}]})],
        }
        self.requests: list[Request] = []
        self.connections = 0
        self._tasks: list[asyncio.Task] = []
        self.left = asyncio.Event()
        """The client has left in the middle of a reply that is held open."""

    @property
    def chats(self) -> list[Request]:
        return [request for request in self.requests if request.path.endswith("completions")]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader, writer) -> None:
        self.connections += 1
        self._tasks.append(asyncio.create_task(self._connected(reader, writer)))

    async def _connected(self, reader, writer) -> None:
        try:
            while request := await self._read(reader):
                self.requests.append(request)
                replies = self.replies.get(request.path, [Reply.json({}, 404)])
                reply = replies.pop(0) if len(replies) > 1 else replies[0]
                if not await self._play(reply, reader, writer):
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _read(self, reader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Request(head[0].split(" ")[1], headers, json.loads(body or b"{}"))

    async def _play(self, reply: Reply, reader, writer) -> bool:
        if reply.end == "silent":
            return False
        head = f"HTTP/1.1 {reply.status} X\r\ncontent-type: {reply.media}\r\n"
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        try:
            for piece in reply.pieces:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
        except ConnectionError:
            self.left.set()
            raise
        if reply.end == "cut":
            writer.transport.abort()
            return False
        if reply.end == "held":
            try:
                await reader.read()
            finally:
                self.left.set()  # with a reset, where something was on its way to it
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True
