"""Connections of the API: how long each may wait, and what becomes of those that wait longer."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from papers import self_signed

from dmoa.api import connection, door, listener

pytestmark = pytest.mark.real
WITHIN = 15.0
"""Seconds after which a test has failed."""
CALLS: list[asyncio.StreamWriter] = []
"""What tests opened, to be closed."""
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Reads a body and answers; a GET of /flood writes until nobody reads."""

    def __init__(self) -> None:
        self.written = self.bodies = 0
        self.ended = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.set()
                return
            self.bodies += len(message["body"])
        await self.hold.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/flood":
            leaving = asyncio.ensure_future(receive())
            while not leaving.done():
                self.written += 65_536
                more = {"body": b"x" * 65_536, "more_body": True}
                await send({"type": "http.response.body", **more})
            self.ended.set()
            return
        await send({"type": "http.response.body", "body": b"fine"})


@asynccontextmanager
async def served(
    connections: int = 8, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[App, door.Server, int]]:
    app = App()
    server = door.server(app, connections=connections, tls=tls)
    with listener.bind("127.0.0.1", 0) as sock:
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            yield app, server, sock.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
            while CALLS:
                CALLS.pop().close()


async def until(true: Any) -> None:
    async with asyncio.timeout(WITHIN):
        while not true():
            await asyncio.sleep(0.005)


async def call(port: int, data: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    CALLS.append(writer)
    writer.write(data)
    return reader, writer


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Read all that comes, also where a reset follows it."""
    told = b""
    async with asyncio.timeout(WITHIN):
        try:
            while more := await reader.read(1024):
                told += more
        except ConnectionError:
            told += bytes(reader._buffer)  # type: ignore[attr-defined]
    return told


def refusal(told: bytes) -> tuple[int, str]:
    """Read an error: its status and code."""
    head, _, body = told.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    error = json.loads(body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return int(head.split()[1]), error["code"]


async def test_a_head_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    async with served() as (_, server, port):
        silent, _w = await call(port)
        slow, writer = await call(port, b"GET / HT")

        async def drip() -> None:
            while server.crowd.expired < 2:  # what comes after the end would reset it
                writer.write(b"T")
                await asyncio.sleep(0.05)

        dripping = asyncio.ensure_future(drip())
        assert await rest(silent) == b""
        assert refusal(await rest(slow)) == (408, "slow_request")
        await dripping
        await until(lambda: not len(server.crowd))
        assert server.crowd.expired == 2


async def test_a_body_has_a_deadline_that_it_can_earn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "BODY_SECONDS", 1.0)
    async with served() as (app, _, port):
        slow, writer = await call(port, HEAD)
        for _byte in range(4):  # what comes after the end would reset the connection
            await asyncio.sleep(0.05)
            writer.write(b"x")
        assert refusal(await rest(slow)) == (408, "slow_request")
        await app.ended.wait()
        monkeypatch.setattr(connection, "BODY_RATE", 10)
        quick, writer = await call(port, HEAD + b"x" * 500)
        await asyncio.sleep(2.5)  # beyond the deadline of one that sends less
        writer.write(b"x" * 500)
        async with asyncio.timeout(WITHIN):
            assert (await quick.readline()).startswith(b"HTTP/1.1 200")


async def test_who_does_not_read_is_cut_off_and_holds_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "READ_SECONDS", 0.5)
    async with served() as (app, server, port):
        _reader, writer = await call(port, GET.replace(b"/ ", b"/flood ", 1))
        await until(lambda: app.written)
        (member,) = server.crowd._busy
        assert isinstance(member, connection.Connection)
        await until(lambda: member.flow.write_paused)
        assert member.transport.get_write_buffer_size() < 4 * 65_536
        async with asyncio.timeout(WITHIN):
            await app.ended.wait()
        await until(lambda: not len(server.crowd))
        assert server.crowd.expired == 1
        writer.close()


async def test_the_oldest_idle_goes_for_a_new_one_and_the_busy_stay() -> None:
    async with served(connections=8) as (app, server, port):
        app.hold.clear()
        busy = [await call(port, GET) for _ in range(6)]
        idle = [await call(port) for _ in range(2)]
        await until(lambda: len(server.crowd) == 8)
        _reader, asking = await call(port, GET)
        assert await rest(idle[0][0]) == b""
        more, _ = await call(port, GET)
        assert await rest(idle[1][0]) == b""
        await until(lambda: len(server.crowd._busy) == 8)
        none, _ = await call(port, GET)
        assert refusal(await rest(none)) == (503, "connections")
        app.hold.set()
        for reader in (*(each for each, _ in busy), more):
            async with asyncio.timeout(WITHIN):
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await until(lambda: len(server.crowd._kept) == 8)
        asking.close()
        fresh, _ = await call(port, GET)
        async with asyncio.timeout(WITHIN):
            assert (await fresh.readline()).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "rubbish",
    [b"\x16\x03\x01\x00\xa5\x01\x00", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_what_is_no_http_is_told_so(rubbish: bytes) -> None:
    async with served() as (_, _s, port):
        reader, _w = await call(port, rubbish + b"\r\n")
        assert refusal(await rest(reader)) == (400, "invalid_http")


async def test_rubbish_behind_a_request_ends_the_connection_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as (app, server, port):
        app.hold.clear()
        reader, writer = await call(port, GET)
        await until(lambda: len(server.crowd._busy) == 1)
        writer.write(b"\x00\r\n\r\n")
        app.hold.set()
        await rest(reader)
        assert not len(server.crowd)
        upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        reader, writer = await call(port, upgrade)
        async with asyncio.timeout(WITHIN):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
    assert "Traceback" not in caplog.text
    assert "Unsupported" not in caplog.text


async def test_tls_is_spoken_and_its_handshake_has_a_deadline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificate, key = self_signed(tmp_path)
    monkeypatch.setattr(connection, "HEAD_SECONDS", 1.0)
    trusting = ssl.create_default_context(cafile=certificate)
    async with served(tls=listener.tls(str(certificate), str(key))) as (_, server, port):
        silent, _w = await call(port)
        clear, _w2 = await call(port, GET)
        url = f"https://127.0.0.1:{port}/"
        async with httpx2.AsyncClient(verify=trusting, trust_env=False) as http:
            for size in (0, 100_000):
                answer = await http.post(url, content=b"x" * size)
                assert (answer.status_code, answer.text) == (200, "fine")
        assert await rest(silent) == b""
        assert b"HTTP" not in await rest(clear)
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(certificate)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=old)
        crowd = [await call(port) for _ in range(12)]
        await until(lambda: len(server.crowd) == 8)
        assert server.crowd.dropped >= 4
        for reader, _ in crowd:
            assert await rest(reader) == b""
        await until(lambda: not len(server.crowd))
