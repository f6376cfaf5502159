"""Records and simulations on a stage: what is shown of them, when, and how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from page_room import SECRET, kinds, taken

from dmoa.api.page import HEADERS
from dmoa.api.stage import create_stage
from dmoa.backends.fake import FakeBackend
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.network import Network
from dmoa.core.policy import LIVE, PAPER, POLICIES, Policy
from dmoa.errors import UsageError
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.pace import PAUSE, Pace
from dmoa.runtime.recorder import Recorder
from dmoa.runtime.records import Reader
from dmoa.runtime.replayed import Replayed
from dmoa.runtime.watch import Stage, Watch, Watcher
from dmoa.sim.dream import dream
from dmoa.sim.setting import Setting
from dmoa.study.dreamt import NODES_MAX, QUERIES_SHOWN, Dreamt

JOINED = 0.505
"""Seconds after its birth when somebody begins to watch the node."""
SETTING = Setting(Network.alike(5, arrival_rate=0.12), Mixture(2, 2), queries=60, warmup=0.0)


async def played(stage: Stage, each: Callable[[list[dict[str, Any]]], None]) -> float:
    """Play a stage to its end before one who reads all; the seconds of the loop that it took."""
    clock = asyncio.get_running_loop().time
    watcher, began = stage.audience.join(), clock()
    playing = asyncio.ensure_future(stage.play())
    while not playing.done():
        if await watcher.wait(0.1):
            each(taken(watcher))
    seconds = clock() - began
    playing.result()
    each(taken(watcher))
    return seconds


# -- a clock that can be played ------------------------------------------------------------


async def test_time_passes_as_quickly_as_is_wanted_and_stands_still_at_the_end() -> None:
    clock = asyncio.get_running_loop().time
    for speed in (0.5, 1.0, 20.0):
        pace, began = Pace(100.0, speed), clock()
        await asyncio.sleep(1)
        assert pace.now == 100.0, "not before it is begun"
        pace.begin()
        await pace.until(102.0)
        assert clock() - began == pytest.approx(1 + 2 / speed)
        assert pace.now == pytest.approx(102.0)
        await asyncio.sleep(1)
        assert pace.now == 102.0, "what comes next is not known yet"
        pace.end()
        await asyncio.sleep(1)
        assert (pace.now, pace.leapt) == (102.0, 0.0)


async def test_a_long_pause_is_shortened() -> None:
    clock = asyncio.get_running_loop().time
    pace = Pace(0.0, 2.0)
    began = clock()
    pace.begin()
    await pace.until(1000.0)
    await pace.until(1001.0)
    assert clock() - began == pytest.approx(PAUSE + 0.5)
    assert pace.now == pytest.approx(1001.0)
    assert pace.leapt == pytest.approx(1000.0 - 2 * PAUSE)


# -- a record ------------------------------------------------------------------------------


async def lived(file: Path, policy: Policy) -> list[dict[str, Any]]:
    """Let a node live that is recorded, and return all that it showed after the scene."""
    hub = MemoryNetwork()
    home = Node(
        hub.join(NodeId("n1")),
        FakeBackend("m", seconds=0.7),
        policy=policy,
        rng=Random(1),
        recorder=Recorder(file),
    )
    watch = Watch(home, held=10**6)
    home.onlookers.append(watch)
    async with peers(hub, policy), home:
        await asyncio.sleep(JOINED)
        watcher = watch.join()
        while len(home.peers) < 2:
            await asyncio.sleep(0.01)
        asks = [home.ask(SECRET, mixture=Mixture(2, 2)) for _ in range(3)]
        await asyncio.gather(*asks)
        await asyncio.sleep(2)
        return taken(watcher)


@asynccontextmanager
async def peers(hub: MemoryNetwork, policy: Policy) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for name in ("n2", "n3"):
            way, model = hub.join(NodeId(name)), FakeBackend(f"m-{name}", seconds=1.0)
            await stack.enter_async_context(Node(way, model, policy=policy, rng=Random(name)))
        yield


@pytest.mark.parametrize("policy", [PAPER, LIVE])
async def test_a_record_shows_what_its_node_showed(tmp_path: Path, policy: Policy) -> None:
    file = tmp_path / "life.jsonl"
    before, *showed = await lived(file, policy)
    with Reader(file) as reader:
        stage = Replayed(reader)
        stage.audience._held = 10**6
        playing = asyncio.ensure_future(stage.play())
        await asyncio.sleep(JOINED)
        watcher = stage.audience.join()
        await playing
    scene, *shown, over = taken(watcher)
    own = ("at", "began", "origin", "version")
    assert [{k: v for k, v in each.items() if k not in own} for each in (scene, before)] == [
        {k: v for k, v in before.items() if k not in own}
    ] * 2
    assert (scene["origin"], scene["at"]) == ("record", before["at"])
    assert shown[: len(showed)] == showed
    assert len(showed) > 60
    assert {"asked", "visit", "place", "answered", "node"} <= {each["kind"] for each in showed}
    assert over == {"kind": "pace", "at": over["at"]}
    assert SECRET not in json.dumps([scene, *shown])
    assert stage.differs is None
    assert stage.steps > 50


async def test_who_comes_in_the_middle_sees_how_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "life.jsonl"
    await lived(file, PAPER)
    with Reader(file) as reader:
        stage = Replayed(reader)
        playing = asyncio.ensure_future(stage.play())
        await asyncio.sleep(2.5)
        scene = taken(stage.audience.join())[0]
        await playing
        late = taken(stage.audience.join())[0]
    assert scene["at"] == pytest.approx(scene["began"] + 2.5, abs=0.1)
    assert scene.get("speed", 1.0) == 1.0
    assert {each["node"] for each in scene["nodes"]} == {"n1", "n2", "n3"}
    assert len(scene["queries"]) == 3
    assert any(each.get("outcome") is None for each in scene["visits"])
    assert scene["past"]["n1"]
    assert (late["speed"], late.get("queries", [])) == (0.0, [])
    assert late["at"] > scene["at"]


async def test_a_release_that_acts_otherwise_is_told(tmp_path: Path) -> None:
    file = tmp_path / "life.jsonl"
    await lived(file, PAPER)
    lines = file.read_bytes().splitlines(keepends=True)
    other = lines[0].replace(b'"persona":""', b'"persona":"somebody else"', 1)
    assert other != lines[0]
    file.write_bytes(b"".join([other, *lines[1:]]))
    with Reader(file) as reader:
        stage = Replayed(reader, speed=50.0)
        sights: list[dict[str, Any]] = []
        await played(stage, sights.extend)
    assert stage.differs is not None
    assert kinds(sights, "answered"), "the record is what is shown"


async def test_what_is_no_step_ends_it_where_it_is(tmp_path: Path) -> None:
    file = tmp_path / "life.jsonl"
    await lived(file, PAPER)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:9], b'{"now": 1}\n']))
    with Reader(file) as reader:
        stage = Replayed(reader, speed=50.0)
        with pytest.raises(UsageError, match="line 10"):
            await stage.play()
    assert stage.steps == 8
    assert not stage.pace.runs


# -- a simulation --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper", "loaded", "live"])
async def test_to_watch_a_simulation_changes_nothing(name: str) -> None:
    policy = POLICIES[name]
    setting = replace(SETTING, policy=policy, deadline=60.0, queries=25)
    stage = Dreamt(setting, speed=10.0)
    await played(stage, lambda _: None)
    assert stage.outcome is not None
    assert replace(stage.outcome, cpu_seconds=0.0) == replace(dream(setting), cpu_seconds=0.0)


async def test_the_sights_of_all_nodes_come_in_order_and_in_time() -> None:
    stage = Dreamt(SETTING, speed=5.0)
    clock = asyncio.get_running_loop().time
    sights: list[dict[str, Any]] = []
    late: list[float] = []
    began = clock()

    def read(some: list[dict[str, Any]]) -> None:
        sights.extend(some)
        late.extend(clock() - began - each["at"] / 5 for each in some if "at" in each)

    seconds = await played(stage, read)
    scene, begun, *shown, over = sights
    assert (scene["origin"], scene.get("node", "")) == ("simulation", "")
    assert [each["node"] for each in scene["nodes"]] == ["n1", "n2", "n3", "n4", "n5"]
    assert (begun["kind"], over["kind"], over.get("speed", 0.0)) == ("pace", "pace", 0.0)
    times = [each.get("at", 0.0) for each in shown]
    assert times == sorted(times)
    assert max(late) < 0.3
    assert min(late) > -0.01
    assert seconds == pytest.approx(over["at"] / 5, abs=0.3)
    # It ends with the last question; until then each job has begun, and ended, once.
    answered = kinds(shown, "answered")
    assert len(kinds(shown, "asked")) == 60
    assert len(answered) > 40
    visits = kinds(shown, "visit")
    begun_jobs, ended_jobs = (
        [each["job"] for each in visits if ("outcome" in each) is ended] for ended in (False, True)
    )
    assert len(begun_jobs) == len(set(begun_jobs)) > 60 * 5
    assert len(ended_jobs) == len(set(ended_jobs)) >= 7 * len(answered)
    assert set(ended_jobs) < set(begun_jobs)
    homes = {(each["query"].split("/")[0], each["node"]) for each in visits}
    assert len(homes) == 25, "jobs travel between any two"
    assert not kinds(shown, "job", "gone", "gap")
    nodes_told = kinds(shown, "node")
    assert {each["node"] for each in nodes_told} == {f"n{number}" for number in range(1, 6)}
    assert max(each.get("length", 0) for each in nodes_told) > 1


async def test_who_reads_nothing_of_a_simulation_holds_little() -> None:
    stage = Dreamt(replace(SETTING, queries=80), speed=100.0)
    watcher = stage.audience.join()
    await stage.play()
    assert isinstance(watcher, Watcher)
    gap, *rest = taken(watcher)
    assert gap["kind"] == "gap"
    assert len(rest) == 1024


async def test_a_scene_of_a_crowd_tells_so_many_queries() -> None:
    crowded = replace(SETTING, network=Network.alike(5, arrival_rate=2.0), queries=900)
    stage = Dreamt(crowded, speed=100.0)
    playing = asyncio.ensure_future(stage.play())
    await asyncio.sleep(0.8)
    scene = taken(stage.audience.join())[0]
    assert len(scene["queries"]) == QUERIES_SHOWN
    assert 0 < scene["at"] < 100
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    assert stage.outcome is None
    assert 100 < stage.asked < 900


def test_too_many_nodes_are_refused() -> None:
    network = Network.alike(NODES_MAX + 1, arrival_rate=0.1)
    with pytest.raises(UsageError, match="128 nodes can be watched at most, not 129"):
        Dreamt(replace(SETTING, network=network))


# -- what is served ------------------------------------------------------------------------


@pytest.fixture
def stage() -> Dreamt:
    return Dreamt(SETTING, speed=50.0)


async def test_a_stage_serves_the_page_and_what_that_asks_for(stage: Dreamt) -> None:
    await stage.play()
    transport = httpx2.ASGITransport(create_stage(stage), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        page = await http.get("/")
        assert page.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        plan = await http.get("/v1/plan?layers=1&fanout=2&arrival_rate=0.1&latency=false")
        assert plan.json()["nodes"] == 5
        assert 0.5 < plan.json()["service_time"] < 2.0
        assert (await http.get("/", headers={"Host": "evil.example"})).status_code == 403
        body = {"model": "dmoa", "messages": []}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 404
        for path in ("/docs", "/openapi.json", "/v1/peers"):
            assert (await http.get(path)).status_code == 404


async def test_a_stage_that_closes_ends_its_feeds(stage: Dreamt) -> None:
    app = create_stage(stage)
    asyncio.get_running_loop().call_later(1.0, stage.close)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get("/v1/feed")
    assert answer.text.startswith('data: [{"kind":"scene"')
    assert len(stage.audience) == 0
    assert stage.audience.came.is_set()
