"""Nodes as they are by default: steady by what they measure, and telling how queries stand."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import replace
from random import Random

import pytest
from room import ALONE, LATENCY, MIXED, SECONDS, SOON, Room, now, outcomes, room_of

from dmoa.core.digest import Digest
from dmoa.core.effects import Answer, Standing
from dmoa.core.messages import Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.outlook import SLACK
from dmoa.core.policy import LIVE
from dmoa.errors import OverloadedError
from dmoa.net.memory import MemoryEndpoint, MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Frames, Host

PLAIN = replace(LIVE, spare=0)
"""Without hedging, so that every proposer is waited for."""
LAYER = SECONDS + 2 * LATENCY
STALL = 1e5
"""Seconds of a service that nobody waits for."""


async def asked(node: Node, times: int, **other: object) -> list[Answer]:
    """Ask one query after the other."""
    return [await node.ask("hello", **{"mixture": MIXED, **other}) for _ in range(times)]


def invited(answers: list[Answer], peer: str) -> int:
    """Count the answers for which a peer was asked."""
    return sum(peer in outcomes(answer) for answer in answers)


def is_quiet(room: Room) -> bool:
    """Tell whether nothing is under way, no probe either."""
    return room.idle and not any(node._calls._probes for node in room.nodes.values())


# -- a peer that hangs -------------------------------------------------------------------


async def test_a_hung_peer_costs_the_measured_patience_and_is_asked_less() -> None:
    async with Room(policy=PLAIN) as room:
        await room_of(room, "a", "b", "c", "d", "e")
        before = await asked(room["a"], 12)
        assert all(answer.trace.degraded == () for answer in before)
        hung = max("bcde", key=lambda name: invited(before, name))
        room.backends[hung].law = lambda: STALL
        after = await asked(room["a"], 30)
        late = [answer for answer in after if outcomes(answer).get(hung) == "late"]
        assert len(late) == invited(after, hung), "it never answers"
        assert 1 <= len(late) <= 3
        worst = max(answer.trace.seconds for answer in after)
        assert LAYER < worst - SECONDS < 3 * SLACK * LAYER, "and not its share of 300 s"
        await asyncio.sleep(SOON)
        assert is_quiet(room)


async def test_a_hung_peer_among_few_costs_its_patience_every_time() -> None:
    async with Room(policy=PLAIN) as room:
        await room_of(room, "a", "b", "c")
        await asked(room["a"], 8)
        room.backends["c"].law = lambda: STALL
        answers = await asked(room["a"], 10)
        assert all(outcomes(answer)["b"] == "ok" for answer in answers)
        assert max(answer.trace.seconds for answer in answers) < 150.0 / 2
        await asyncio.sleep(SOON)
        assert is_quiet(room)


async def test_a_hung_peer_costs_a_hedging_home_nothing_and_is_asked_less() -> None:
    async with Room(policy=LIVE) as room:
        for name in "abcdef":
            await room.add(name, cv=0.5, seed=ord(name))
        await room.met()
        await asked(room["a"], 20)
        room.backends["c"].law = lambda: STALL
        answers = await asked(room["a"], 30)
        assert all(answer.trace.degraded == () for answer in answers)
        assert max(answer.trace.seconds for answer in answers) < 3 * (LAYER + SECONDS)
        asked_of = Counter(peer for answer in answers for peer in outcomes(answer))
        assert asked_of["c"] < 30 * 3 / 5 / 2, asked_of
        await asyncio.sleep(SOON)
        assert is_quiet(room)


# -- a peer that lies --------------------------------------------------------------------


def lie(digest: Digest) -> Digest:
    return replace(digest, length=0, service_time=0.01, proposer_time=0.01, capacity=100.0)


class LyingHost:
    """Tells whoever asks that it is idle and quick."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.heard, self.departed = host.heard, host.departed
        self.offended, self.rolled = host.offended, host.rolled

    def probed(self, caller: NodeId) -> Digest | None:
        digest = self._host.probed(caller)
        return None if digest is None else lie(digest)

    def serve(self, caller: NodeId, message: Propose) -> Frames:
        return self._host.serve(caller, message)


class Liar(MemoryEndpoint):
    """Tells everybody the same."""

    async def open(self, host: Host) -> None:
        await super().open(LyingHost(host))

    def announce(self, digest: Digest) -> None:
        super().announce(lie(digest))


class LiarsRoom(Room):
    """A room in which `z` lies."""

    hub: MemoryNetwork

    def endpoint(self, name: str) -> MemoryEndpoint:
        return Liar(self.hub, NodeId(name)) if name == "z" else super().endpoint(name)


async def test_a_node_that_lies_is_doubted_and_asked_less() -> None:
    async with LiarsRoom(policy=PLAIN) as room:
        for name in "abcde":
            await room.add(name)
        await room.add("z", seconds=6.0)
        await room.met()
        first = await asked(room["a"], 10)
        assert invited(first, "z") >= 1, "its word is tempting"
        await asked(room["a"], 20)
        last = await asked(room["a"], 20)
        view = room["a"]._mind.view
        assert view.doubt(NodeId("z"), now()) > 5.0
        assert all(view.doubt(NodeId(name), now()) < 1.5 for name in "bcde")
        assert invited(last, "z") < 20 * 2 / 5 / 2, "less than half of its share"
        assert room["a"].peers[-1][0].service_time == 0.01, "and yet it says so"
        await asyncio.sleep(SOON)
        assert is_quiet(room)


# -- how queries stand -------------------------------------------------------------------


async def stood(node: Node) -> tuple[list[tuple[float, Standing]], Answer]:
    """Follow a query of the own model, and keep what it was told of its place, and when."""
    seen: list[tuple[float, Standing]] = []
    async with aclosing(node.follow("hello", mixture=ALONE, standings=True)) as progress:
        async for item in progress:
            if isinstance(item, Standing):
                seen.append((now(), item))
            elif isinstance(item, Answer):
                return seen, item
    raise AssertionError("no answer")


async def test_standings_follow_the_queue() -> None:
    async with Room(policy=LIVE) as room:
        await room_of(room, "a")
        await asked(room["a"], 3, mixture=ALONE)
        start = now()
        tasks = [asyncio.create_task(stood(room["a"])) for _ in range(4)]
        ended = await asyncio.gather(*tasks)
        for number, (seen, answer) in enumerate(ended):
            places = [standing.position for _, standing in seen]
            assert places == list(range(number, -1, -1)), "told when it changes, and only then"
            begins = start + number * SECONDS
            for at, standing in seen:
                assert at + standing.starts_in == pytest.approx(begins, abs=0.01)
                assert at + standing.answers_in == pytest.approx(begins + SECONDS, abs=0.01)
            assert (answer.trace.position, answer.trace.queued_seconds) == (
                number,
                pytest.approx(number * SECONDS, abs=0.01),
            )
            assert answer.trace.expected_seconds == pytest.approx(answer.trace.seconds, rel=0.05)
        assert room["a"].standings == ()


async def test_answers_come_about_when_they_were_expected() -> None:
    async with Room(policy=LIVE) as room:
        for name in "abcd":
            await room.add(name, cv=0.5, seed=ord(name))
        await room.met()
        dice, asking = Random(7), list[asyncio.Task[list[Answer]]]()
        for _ in range(160):  # 4 jobs of 1 s for each, at 4 nodes: half of what they carry
            await asyncio.sleep(dice.expovariate(0.5))
            asking.append(asyncio.create_task(asked(room[dice.choice("abcd")], 1)))
        traces = [one.trace for answers in await asyncio.gather(*asking[40:]) for one in answers]
        near = [1 / 1.5 < trace.seconds / trace.expected_seconds < 1.5 for trace in traces]
        assert sum(near) > 0.75 * len(near)
        await asyncio.gather(*asking)


async def test_whoever_does_not_want_to_know_is_told_nothing() -> None:
    async with Room(policy=LIVE) as room:
        await room_of(room, "a")
        async with aclosing(room["a"].follow("hello", mixture=ALONE)) as progress:
            assert not any([isinstance(item, Standing) async for item in progress])


# -- at the door -------------------------------------------------------------------------


async def test_who_is_refused_is_told_a_place_and_when_one_will_be_free() -> None:
    async with Room(policy=LIVE) as room:
        await room_of(room, "a")
        await asked(room["a"], 3, mixture=ALONE)
        whole = {"mixture": ALONE, "deadline": 8.0}  # three services of 1 s are less than half
        tasks = [asyncio.create_task(room["a"].ask("hello", **whole)) for _ in range(3)]
        await asyncio.sleep(SECONDS / 4)
        for _ in range(2):
            with pytest.raises(OverloadedError) as caught:
                await room["a"].ask("hello", **whole)
            assert caught.value.position == 3
            assert caught.value.retry_after == pytest.approx(0.75 * SECONDS, abs=0.02)
        await asyncio.sleep(caught.value.retry_after + 0.02)
        answer = await room["a"].ask("hello", **whole)
        assert answer.trace.seconds == pytest.approx(3 * SECONDS, abs=0.05)
        await asyncio.gather(*tasks)
        assert (room["a"].digest.refused, room["a"].census.refused) == (2, 2)
        assert room.idle


# -- hedging -----------------------------------------------------------------------------


async def test_the_slowest_of_a_calm_network_is_spared_and_stops() -> None:
    async with Room(policy=LIVE) as room:
        await room_of(room, "a", "b", "c", "d")
        await asked(room["a"], 3)
        slow = room.backends["d"]
        slow.law, before = (lambda: STALL), slow.cancelled
        [answer] = await asked(room["a"], 1)
        assert outcomes(answer) == {"a": "ok", "b": "ok", "c": "ok", "d": "spared"}
        assert answer.trace.degraded == ()
        assert answer.trace.seconds == pytest.approx(LAYER + SECONDS, abs=0.1)
        await asyncio.sleep(SOON)
        assert (slow.active, slow.cancelled) == (0, before + 1)
        assert is_quiet(room)


# -- how deep ----------------------------------------------------------------------------


async def test_the_depth_falls_in_a_burst_and_recovers() -> None:
    full, names = Mixture(2, 3), ("a", "b", "c", "d", "e")
    async with Room(policy=LIVE) as room:
        await room_of(room, *names)
        calm = await asked(room["a"], 4, mixture=full)
        assert all(answer.trace.degraded == () for answer in calm)
        assert (room["a"].digest.layers, room["a"].digest.fanout) == (2, 3)
        burst = [
            asyncio.create_task(room[name].ask("hello", mixture=full, deadline=60.0))
            for name in names
            for _ in range(8)
        ]
        await asyncio.sleep(3 * SECONDS)
        assert room["a"].digest.layers * room["a"].digest.fanout < 6, "it says so"
        answers = await asyncio.gather(*burst)
        visits = [len(answer.trace.jobs) for answer in answers]
        assert min(visits) < full.visits
        assert sum(visits) < 0.75 * len(visits) * full.visits
        assert max(answer.trace.seconds for answer in answers) < 60.0
        await asyncio.sleep(5.0)
        [after] = await asked(room["a"], 1, mixture=full)
        assert not [why for why in after.trace.degraded if why.split(":")[0] != "late"]
        assert (room["a"].digest.layers, room["a"].digest.fanout) == (2, 3)
        await asyncio.sleep(1.0)
        assert is_quiet(room)
