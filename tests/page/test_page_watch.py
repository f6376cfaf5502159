"""Watchers: the scene first, what is new in order, never more than they read, and none for free."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_room import SECRET, kinds, nodes, taken, watching

from dmoa.core.digest import Digest
from dmoa.core.effects import Effect
from dmoa.core.events import Event
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.names import NodeId
from dmoa.errors import BackendUnavailableError, OverloadedError
from dmoa.runtime import watch as watch_module
from dmoa.runtime.watch import (
    PAST_NODES,
    PAST_POINTS,
    SCENE_POINTS,
    WATCHERS,
    Past,
    Watcher,
)


async def test_a_scene_comes_first_and_tells_of_everything() -> None:
    async with nodes("n1", "n2", "n3") as (home, *_):
        watch = watching(home, version="9.9")
        await asyncio.sleep(7)
        asking = asyncio.ensure_future(home.ask(SECRET, mixture=Mixture(1, 2)))
        await asyncio.sleep(0.5)
        [scene] = taken(watch.join())
        await asking
    assert (scene["kind"], scene["node"], scene["version"]) == ("scene", "n1", "9.9")
    assert scene["mode"] == "paper"
    assert [each["node"] for each in scene["nodes"]] == ["n1", "n2", "n3"]
    assert all(0 <= each.get("age", 0) < 2 for each in scene["nodes"])
    assert [each["layers"] for each in scene["queries"]] == [1]
    assert len(scene["visits"]) == 3
    assert len(scene["places"]) == 1
    for line in scene["past"].values():
        times = [point[0] for point in line]
        assert 3 <= len(line) <= 5
        assert all(later - sooner >= 2 for sooner, later in pairwise(times))


async def test_digests_departures_and_returns_are_seen() -> None:
    async with nodes("n1", "n2") as (home, peer):
        watcher = watching(home).join()
        await asyncio.sleep(3)
        first = taken(watcher)
        await peer.close()
        await asyncio.sleep(0.1)
        left = taken(watcher)
        await peer.open()
        await asyncio.sleep(3)
        back = taken(watcher)
    assert {each["node"] for each in kinds(first, "node")} == {"n1", "n2"}
    assert kinds(left, "gone")[0]["node"] == "n2"
    assert {each["node"] for each in kinds(back, "node")} == {"n1", "n2"}


async def test_who_is_not_asked_is_shown_so() -> None:
    async with nodes("n1", "n2", "n3") as (home, *_):
        for _ in range(40):
            home.offended(NodeId("n2"), "malformed")
        watcher = watching(home).join()
        await asyncio.sleep(3)
        sights = taken(watcher)
    shown = [*sights[0]["nodes"], *kinds(sights, "node")]
    assert {each["node"] for each in shown if each.get("barred")} == {"n2"}
    assert {each.get("barred", "") for each in shown if each["node"] == "n2"} == {"shunned"}


async def test_who_reads_slowly_misses_the_oldest_and_is_told_how_many() -> None:
    watcher = Watcher(b'"scene"', 3)
    for number in range(5):
        watcher.put(str(number).encode())
    gap, *rest = json.loads(watcher.take(7.5))
    assert gap == {"kind": "gap", "at": 7.5, "missed": 3}
    assert rest == [2, 3, 4]
    watcher.put(b"5")
    assert json.loads(watcher.take(8.0)) == [5]


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 5))
def test_nothing_is_lost_without_being_counted(bursts: list[int], held: int) -> None:
    async def read() -> None:
        watcher = Watcher(b"-1", held)
        put, got, missed, most = 0, [], 0, 0
        for burst in bursts:
            for _ in range(burst):
                watcher.put(str(put).encode())
                put += 1
            for each in json.loads(watcher.take(0.0)):
                if isinstance(each, dict):
                    missed += each["missed"]
                else:
                    got.append(each)
            most = max(most, burst)
        assert got == sorted(got)
        assert len(got) + missed == (put + 1 if bursts else 0)
        assert most > held - 1 or missed == 0

    asyncio.run(read())


async def test_a_watcher_waits_until_there_is_something_to_read() -> None:
    watcher = Watcher(b"1", 9)
    assert await watcher.wait(1.0)
    watcher.take(0.0)
    assert not await watcher.wait(1.0)
    asyncio.get_running_loop().call_later(0.5, watcher.put, b"2")
    assert await watcher.wait(1.0)


async def test_so_many_may_watch_and_no_more() -> None:
    async with nodes("n1") as (home,):
        watch = watching(home)
        watchers = [watch.join() for _ in range(WATCHERS)]
        with pytest.raises(OverloadedError, match="watch this node already") as refused:
            watch.join()
        assert refused.value.status == 429
        watch.leave(watchers[0])
        watch.leave(watchers[0])
        assert len(watch) == WATCHERS - 1
        watch.join()


async def test_a_node_that_loads_cannot_be_watched() -> None:
    async with nodes("n1") as (home,):
        watch = watching(home)
        await home.close()
        with pytest.raises(BackendUnavailableError):
            watch.join()
        assert len(watch) == 0


async def test_nothing_is_made_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Event] = []
    honest = watch_module.sights_of

    def counting(node: NodeId, event: Event, effects: Sequence[Effect], now: float) -> Any:
        made.append(event)
        return honest(node, event, effects, now)

    monkeypatch.setattr(watch_module, "sights_of", counting)
    async with nodes("n1", "n2") as (home, _):
        watch = watching(home)
        await home.ask("hello", mixture=Mixture(1, 1))
        assert made == []
        watcher = watch.join()
        await home.ask("hello", mixture=ALONE)
        assert made
        watch.leave(watcher)
        made.clear()
        await home.ask("hello", mixture=ALONE)
        assert made == []


async def test_to_watch_changes_nothing() -> None:
    async def lived(*, watched: bool) -> list[float]:
        async with nodes("n1", "n2", "n3") as (home, *_):
            if watched:
                watching(home).join()
            answers = [await home.ask("hello", mixture=Mixture(2, 1)) for _ in range(3)]
        return [answer.trace.seconds for answer in answers]

    assert await lived(watched=True) == pytest.approx(await lived(watched=False), rel=1e-9)


# -- the past ----------------------------------------------------------------------------


def digest(node: str, length: int = 0) -> Digest:
    return Digest(NodeId(node), 1, 1, "m", 1, length=length, layers=2, refused=3, declined=4)


def test_a_past_has_a_point_every_other_second_for_five_minutes() -> None:
    past = Past()
    for tick in range(2000):
        past.take(digest("n1", tick), tick / 2)
    line = past.told()["n1"]
    assert len(line) == PAST_POINTS
    assert line[-1] == [998.0, 1996.0, 0.0, 0.0, 0.0, 2.0, 7.0]
    assert line[0][0] == 998.0 - 2 * (PAST_POINTS - 1)


def test_a_past_forgets_whom_it_heard_of_least_recently() -> None:
    past = Past()
    for number in range(PAST_NODES + 20):
        past.take(digest(f"n{number}"), float(number))
    kept = past.told()
    assert len(kept) == PAST_NODES
    assert "n19" not in kept
    assert "n20" in kept


def test_a_scene_of_many_nodes_thins_their_past_and_keeps_the_latest() -> None:
    past = Past()
    for number in range(64):
        for tick in range(PAST_POINTS):
            past.take(digest(f"n{number}", tick), 2.0 * tick)
    told = past.told()
    assert sum(len(line) for line in told.values()) <= SCENE_POINTS + 64
    assert {line[-1][1] for line in told.values()} == {PAST_POINTS - 1.0}
    gaps = {b[0] - a[0] for line in told.values() for a, b in pairwise(line)}
    assert len(gaps) == 1
    assert len(json.dumps(told)) < 150_000


def test_an_empty_past_is_told_as_well() -> None:
    assert Past().told() == {}
