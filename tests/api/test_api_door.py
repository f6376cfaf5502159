"""The door of the API: by which names it is addressed, and which pages may do what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_room import body, error_of, in_process, opened

from dmoa.api import guard
from dmoa.api.app import create_app
from dmoa.config.keys import Doorkeeper, create, revoke

CHAT = "/v1/chat/completions"


@asynccontextmanager
async def at(address: str, *hosts: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Speak with a node whose connection came in at an address."""
    async with opened("n1") as room:
        app = create_app(room.home, hosts=frozenset(hosts))
        shown = f"[{address}]" if ":" in address else address
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=f"http://{shown}") as http:
            yield http


@pytest.mark.parametrize(
    ("address", "host", "served"),
    [
        ("127.0.0.1", "127.0.0.1:4747", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "10.0.0.7", False),
        ("127.0.0.2", "127.0.0.2", True),
        ("::1", "[::1]:4747", True),
        ("::1", "[0:0:0:0:0:0:0:1]", True),
        ("10.0.0.7", "10.0.0.7:4747", True),
        ("10.0.0.7", "10.0.0.8", False),
        ("10.0.0.7", "localhost", False),
        ("10.0.0.7", "127.0.0.1", False),
        ("10.0.0.7", "0.0.0.0", False),  # noqa: S104
        ("10.0.0.7", "node.lan", True),
        ("10.0.0.7", "NODE.lan:80", True),
        ("10.0.0.7", "node.lan.evil.example", False),
        ("10.0.0.7", "10.0.0.7.evil.example", False),
        ("10.0.0.7", "10.0.0.7:80:80", False),
        ("10.0.0.7", "10.0.0.7:99999999", False),
        ("::ffff:10.0.0.7", "10.0.0.7", True),
        ("2001:db8::7", "[2001:DB8::7]:4747", True),
        ("2001:db8::7", "2001:db8::7", False),
    ],
)
async def test_it_is_addressed_by_its_own_names(address: str, host: str, *, served: bool) -> None:
    async with at(address, "node.lan", "0.0.0.0") as http:  # noqa: S104
        response = await http.get("/health", headers={"host": host})
    assert response.status_code == (200 if served else 403)
    if not served:
        assert error_of(response)["code"] == "host"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8080"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"origin": "app://here"},
        {"origin": ""},
    ],
)
async def test_a_foreign_page_changes_nothing(headers: dict[str, str]) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        refused = await http.post(CHAT, json=body(), headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (403, "origin")
        removed = await http.delete("/v1/models", headers=headers)
        assert removed.status_code == 403
        assert room.started == 0
        own = await http.post(CHAT, json=body(), headers={"origin": "http://127.0.0.1"})
        assert own.status_code == 200
        twice = [("origin", "http://127.0.0.1"), ("origin", "http://evil.example")]
        assert (await http.post(CHAT, json=body(), headers=twice)).status_code == 403


async def test_no_answer_allows_a_foreign_page_to_read_it() -> None:
    page = {"origin": "http://evil.example"}
    asks = {**page, "access-control-request-method": "POST"}
    private = {**asks, "access-control-request-private-network": "true"}
    async with opened("n1") as room, in_process(room.home) as http:
        answers = [
            await http.options(CHAT, headers=asks),
            await http.options("/v1/models", headers=private),
            await http.get("/v1/models", headers=page),
            await http.post(CHAT, json=body(), headers=page),
            await http.post(CHAT, json=body()),
        ]
    for answer in answers:
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert [answer.status_code for answer in answers] == [405, 405, 200, 403, 200]


@pytest.mark.parametrize(
    "media",
    ["", "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded"],
)
async def test_what_pages_can_send_unasked_is_not_taken(media: str) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        headers = {"content-type": media}
        content = json.dumps(body()).encode()
        refused = await http.post(CHAT, content=content, headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (415, "media_type")

        async def pieces() -> AsyncIterator[bytes]:
            await asyncio.sleep(0)
            yield content

        refused = await http.post(CHAT, content=pieces(), headers=headers)
        assert refused.status_code == 415
        assert room.started == 0
        headers = {"content-type": "Application/JSON; charset=utf-8"}
        assert (await http.post(CHAT, content=content, headers=headers)).status_code == 200


async def test_bodies_that_come_at_once_have_a_bound_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "BODIES_BYTES", 1000)
    gate = asyncio.Event()

    async def pieces(size: int, *, wait: bool) -> AsyncIterator[bytes]:
        yield b" " * size
        if wait:
            await gate.wait()
        yield json.dumps(body()).encode()

    headers = {"content-type": "application/json"}
    async with opened("n1") as room, in_process(room.home) as http:

        def sent(size: int, *, wait: bool) -> Any:
            return http.post(CHAT, content=pieces(size, wait=wait), headers=headers)

        slow = asyncio.ensure_future(sent(800, wait=True))
        await asyncio.sleep(1)
        refused = await sent(800, wait=False)
        assert (refused.status_code, error_of(refused)["code"]) == (429, "overloaded")
        assert (await sent(80, wait=False)).status_code == 200
        gate.set()
        assert (await slow).status_code == 200
        assert (await sent(800, wait=False)).status_code == 200


async def test_a_node_beyond_this_machine_never_opens_by_a_lost_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key, made = create(file)
    bearing = {"authorization": f"Bearer {key}"}
    async with (
        opened("n1") as room,
        in_process(room.home, Doorkeeper(file, always=True)) as http,
    ):
        assert (await http.get("/v1/models", headers=bearing)).status_code == 200
        revoke(file, made.name)
        for headers in ({}, bearing):
            assert (await http.get("/v1/models", headers=headers)).status_code == 401
