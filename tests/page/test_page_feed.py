"""GET /v1/feed: a stream of sights that begins with the scene and ends with the node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest
from page_room import SECRET, api, kinds, nodes, told

from dmoa.api import feed
from dmoa.config.keys import Doorkeeper, create
from dmoa.core.mixture import ALONE, Mixture
from dmoa.runtime.node import Node
from dmoa.runtime.watch import WATCHERS, Watch

FEED = "/v1/feed"


async def watched(node: Node, http: httpx2.AsyncClient, seconds: float) -> httpx2.Response:
    """Read the feed until the node closes, some seconds from now."""
    reading = asyncio.ensure_future(http.get(FEED))
    await asyncio.sleep(seconds)
    await node.close()
    return await reading


async def test_a_feed_begins_with_the_scene_and_ends_with_the_node() -> None:
    async with nodes("n1", "n2") as (home, _), api(home) as http:
        reading = asyncio.ensure_future(http.get(FEED))
        await asyncio.sleep(1)
        await home.ask(SECRET, mixture=Mixture(1, 1))
        await asyncio.sleep(1)
        closed = asyncio.get_running_loop().time()
        await home.close()
        response = await reading
        assert asyncio.get_running_loop().time() - closed <= feed.LOOK
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    sights = told(response.text)
    assert [index for index, sight in enumerate(sights) if sight["kind"] == "scene"] == [0]
    assert len(kinds(sights, "answered")) == 1
    assert SECRET not in response.text
    assert len(feed.watch_of(home)) == 0


async def test_what_happens_at_once_comes_together() -> None:
    async with nodes("n1", seconds=0.0) as (home,), api(home) as http:
        reading = asyncio.ensure_future(http.get(FEED))
        await asyncio.sleep(0.05)
        for _ in range(20):
            await home.ask("hello", mixture=ALONE)
        await asyncio.sleep(0.3)
        await home.close()
        text = (await reading).text
    assert len(kinds(told(text), "answered")) == 20
    assert text.count("data: ") <= 4


async def test_a_silent_feed_says_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SILENCE", 0.4)
    async with nodes("n1") as (home,), api(home) as http:
        text = (await watched(home, http, 5)).text
    assert ": nothing new\n\n" in text


async def test_a_feed_of_a_node_that_loads_is_refused() -> None:
    async with nodes("n1") as (home,), api(home) as http:
        await home.close()
        response = await http.get(FEED)
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"


async def test_one_watcher_too_many_is_refused() -> None:
    async with nodes("n1") as (home,), api(home) as http:
        readings = [asyncio.ensure_future(http.get(FEED)) for _ in range(WATCHERS)]
        await asyncio.sleep(1)
        refused = await http.get(FEED)
        await home.close()
        assert [each.status_code for each in await asyncio.gather(*readings)] == [200] * WATCHERS
    assert refused.status_code == 429
    assert "watch this node already" in refused.json()["error"]["message"]


async def test_apps_of_one_node_share_its_watch() -> None:
    async with nodes("n1") as (home,), api(home), api(home):
        assert sum(isinstance(each, Watch) for each in home.onlookers) == 1


async def test_a_feed_wants_the_key_that_the_node_wants(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret, _ = create(file)
    async with nodes("n1") as (home,), api(home, Doorkeeper(file)) as http:
        assert (await http.get(FEED)).status_code == 401
        http.headers["Authorization"] = f"Bearer {secret}"
        assert (await watched(home, http, 1)).status_code == 200
