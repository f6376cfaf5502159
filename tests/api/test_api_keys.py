"""The API of a node with keys: who is let in, who is not, and what strangers are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from api_room import HELLO, Room, body, error_of, in_process, opened, sdk, served

from dmoa.config.keys import Doorkeeper, create, revoke

CHAT = "/v1/chat/completions"


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@asynccontextmanager
async def guarded(file: Path) -> AsyncIterator[tuple[Room, httpx2.AsyncClient]]:
    keeper = Doorkeeper(file)
    async with opened("n1") as room, in_process(room.home, keeper) as http:
        yield room, http


def bearing(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def test_a_node_without_keys_answers_everybody(file: Path) -> None:
    async with guarded(file) as (_, http):
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.get("/v1/models", headers=bearing("none"))).status_code == 200
        create(file)  # and from now on nobody without
        assert (await http.get("/v1/models")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/dmoa"),
        ("GET", "/v1/peers"),
        ("GET", "/v1/queue"),
        ("GET", "/openapi.json"),
        ("GET", "/metrics"),
        ("GET", "/version"),
        ("POST", "/livez"),
        ("GET", "/readyz/"),
        ("POST", CHAT),
        ("GET", "/nowhere"),
        ("HEAD", "/health"),
        ("POST", "/health"),
        ("GET", "/health/"),
        ("GET", "/page/"),
        ("GET", "/health/../v1/queue"),
    ],
)
async def test_everything_but_health_needs_a_key(file: Path, method: str, path: str) -> None:
    key, _ = create(file)
    async with guarded(file) as (room, http):
        refused = await http.request(method, path)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        if method != "HEAD":
            error = error_of(refused)
            assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
        let_in = await http.request(method, path, headers=bearing(key))
        assert let_in.status_code != 401
        assert room.started == 0


async def test_health_is_open_and_foreign_hosts_are_not(file: Path) -> None:
    key, _ = create(file)
    async with guarded(file) as (_, http):
        for path in ("/health", "/livez", "/readyz"):
            assert (await http.get(path)).status_code == 200
            assert (await http.get(path, headers=bearing("wrong"))).status_code == 200
        foreign = await http.get("/v1/models", headers={**bearing(key), "host": "evil.example"})
        assert foreign.status_code == 403


async def test_a_key_is_sent_in_one_way(file: Path) -> None:
    key, _ = create(file)
    other, _ = create(file)
    good: list[Any] = [f"Bearer {key}", f"bearer {other}", f"BEARER  {key} "]
    bad: list[Any] = [
        "",
        "Bearer",
        "Bearer ",
        key,
        f"Basic {key}",
        f"Bearer{key}",
        f"Bearer\t{key}",
        f"Bearer {key[:-1]}",
        f"Bearer {key}x",
        f"Bearer {key},{key}",
        f"Bearer {key.upper()}",
        f"Bearer {'x' * 9999}",
        "Bearer schlüssel".encode(),
        b"Bearer \xff\xfe",
        f"Bearer \N{NO-BREAK SPACE}{key}".encode("latin-1"),
    ]
    async with guarded(file) as (_, http):
        for value, status in [*((each, 200) for each in good), *((each, 401) for each in bad)]:
            response = await http.get("/v1/models", headers=[(b"authorization", _bytes(value))])
            assert response.status_code == status, value
            assert key not in response.text
        for first, second in ((key, key), (key, "x"), ("x", key)):
            both = [("authorization", f"Bearer {each}") for each in (first, second)]
            assert (await http.get("/v1/models", headers=both)).status_code == 401
        assert (await http.get("/v1/models", params={"api_key": key})).status_code == 401


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.parametrize("stream", [False, True])
async def test_nothing_begins_for_a_stranger(file: Path, *, stream: bool) -> None:
    key, _ = create(file, "gone")
    create(file)
    async with guarded(file) as (room, http):
        assert (await http.post(CHAT, json=body(), headers=bearing(key))).status_code == 200
        begun = room.started
        revoke(file, "gone")
        refused = await http.post(CHAT, json=body(stream=stream), headers=bearing(key))
        assert (refused.status_code, error_of(refused)["code"]) == (401, "invalid_api_key")
        assert refused.headers["content-type"] == "application/json"
        assert room.started == begun


async def test_a_broken_file_lets_nobody_in_and_strangers_learn_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = create(file)
    async with guarded(file) as (room, http):
        whole = file.read_bytes()
        file.write_bytes(b"{")
        for headers in ({}, bearing(key)):
            refused = await http.post(CHAT, json=body(), headers=headers)
            assert (refused.status_code, error_of(refused)["code"]) == (503, "key_file_broken")
            assert str(file) not in refused.text
        assert (await http.get("/health")).status_code == 200
        assert str(file) in caplog.text
        assert key not in caplog.text
        assert room.started == 0
        file.write_bytes(whole)
        assert (await http.get("/v1/models", headers=bearing(key))).status_code == 200


@pytest.mark.real
async def test_the_official_client_is_let_in_by_its_key(file: Path) -> None:
    key, _ = create(file)
    async with opened("n1") as room, served(room.home, Doorkeeper(file)) as http:
        stranger = sdk(http)
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.chat.completions.create(model="dmoa", messages=HELLO)
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="dmoa", messages=HELLO, stream=True)
        assert room.started == 0
        known = stranger.with_options(api_key=key)
        answer = await known.chat.completions.create(model="dmoa", messages=HELLO)
        assert answer.choices[0].message.content
