"""A node's life: opened, closed, in trouble, opened again; and its guests."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import aclosing
from typing import Any

import pytest
from room import (
    ALONE,
    LATENCY,
    MIXED,
    SECONDS,
    SOON,
    TOKENS,
    Room,
    Scripted,
    idle,
    kept,
    now,
    outcomes,
    pour,
    room_of,
    said,
)

from dmoa.backends.fake import FakeBackend
from dmoa.core.effects import Answer
from dmoa.core.job import Job, Profile, Prompt, Sampling, Turn
from dmoa.core.messages import Decline, Failure, Piece, Proposal, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.errors import (
    BackendUnavailableError,
    DmoaError,
    NetworkError,
    PeerGoneError,
    PeerSilentError,
    UnreachableError,
)
from dmoa.net.memory import MemoryEndpoint, MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Frames, Host, Network, Tokens
from dmoa.runtime.streams import Draft


def job(home: str = "h", *, number: int = 1, patience: float = 20.0) -> Propose:
    """Make a job as a home would that is no node of the room."""
    return Propose(
        Job(
            id=JobId(f"{home}/1/{number}/1.1"),
            query=QueryId(f"{home}/1/{number}"),
            home=NodeId(home),
            role="proposer",
            layer=1,
            turns=(Turn("user", "hello"),),
            proposals=(),
            sampling=Sampling(),
            patience=patience,
        )
    )


class Deaf:
    """The home of the jobs above: hears nothing, serves nobody."""

    def heard(self, digest: object) -> None: ...

    def departed(self, peer: object) -> None: ...

    def offended(self, peer: object, offence: object) -> None: ...

    def probed(self, caller: object) -> None: ...

    def rolled(self, caller: object) -> None: ...

    async def serve(self, caller: NodeId, message: Propose) -> Frames:
        del caller
        yield Failure(message.job.id, "deaf")


# -- what a node is ----------------------------------------------------------------------


def test_a_node_is_what_a_network_needs() -> None:
    host: Host = Node(MemoryNetwork().join(NodeId("a")), FakeBackend())
    for name, wanted in inspect.getmembers(Host, inspect.isfunction):
        if not name.startswith("_"):
            given = inspect.signature(getattr(host, name)).parameters
            assert list(given) == list(inspect.signature(wanted).parameters)[1:]
            assert not inspect.iscoroutinefunction(getattr(host, name))
    assert inspect.isasyncgenfunction(host.serve)


async def test_a_node_that_is_not_open_says_so() -> None:
    node = Node(MemoryNetwork().join(NodeId("a")), FakeBackend("fake"))
    assert (node.id, node.profile.model) == ("a", "fake")
    with pytest.raises(BackendUnavailableError, match="not open") as caught:
        await node.ask("hello")
    assert caught.value.hint
    for ways in (node.stream, node.follow):
        with pytest.raises(BackendUnavailableError, match="not open"):
            await anext(ways("hello"))
    with pytest.raises(BackendUnavailableError, match="not open"):
        assert node.peers
    with pytest.raises(BackendUnavailableError, match="not open"):
        assert node.digest
    assert not kept(node)


async def test_a_closed_node_says_so_too() -> None:
    async with Room() as room:
        await room_of(room, "a")
        node = room["a"]
        await room.close("a")
        with pytest.raises(BackendUnavailableError, match="not open"):
            await node.ask("hello")
        await node.close()


async def test_a_node_is_a_context() -> None:
    hub, backend = MemoryNetwork(), FakeBackend(seconds=1)
    async with Node(hub.join(NodeId("a")), backend) as node:
        assert (await node.ask("hello", mixture=ALONE)).source == "aggregator"
        assert hub.find(NodeId("a")) is not None
    assert hub.find(NodeId("a")) is None


# -- opening and closing in trouble ------------------------------------------------------


class Troubled(FakeBackend):
    """A model that counts how often it was opened and closed, and may fail in either."""

    def __init__(self, name: str = "fake", *, opening: bool = False, closing: bool = False) -> None:
        super().__init__(name)
        self.opened = self.closed = 0
        self._opening, self._closing = opening, closing

    async def open(self) -> None:
        self.opened += 1
        if self._opening:
            raise BackendUnavailableError("no model", hint="get one")

    async def close(self) -> None:
        self.closed += 1
        if self._closing:
            raise OSError("it clings")


async def test_a_node_whose_model_does_not_open_never_joins() -> None:
    hub, backend = MemoryNetwork(), Troubled(opening=True)
    node = Node(hub.join(NodeId("a")), backend)
    with pytest.raises(BackendUnavailableError, match="no model"):
        await node.open()
    assert hub.find(NodeId("a")) is None
    with pytest.raises(BackendUnavailableError, match="not open"):
        await node.ask("hello")


async def test_a_node_that_cannot_join_lets_go_of_its_model() -> None:
    async with Room() as room:
        await room_of(room, "a")
        backend = Troubled()
        node = Node(room.endpoint("a"), backend)
        with pytest.raises(NetworkError, match="called a"):
            await node.open()
        assert (backend.opened, backend.closed) == (1, 1)
        assert (await room["a"].ask("hello", mixture=ALONE)).source == "aggregator"


async def test_a_node_that_cannot_tell_how_it_stands_is_not_left_half_open() -> None:
    hub, backend = MemoryNetwork(), Troubled("x" * 1000)
    node = Node(hub.join(NodeId("a")), backend)
    with pytest.raises(DmoaError, match="model is too long a name"):
        await node.open()
    assert hub.find(NodeId("a")) is None
    assert (backend.opened, backend.closed) == (1, 1)
    with pytest.raises(BackendUnavailableError, match="not open"):
        await node.ask("hello")
    await asyncio.sleep(5)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_network_that_cannot_be_left_keeps_no_model() -> None:
    class Sticky(MemoryEndpoint):
        async def close(self) -> None:
            await super().close()
            raise NetworkError("it sticks")

    backend = Troubled()
    node = Node(Sticky(MemoryNetwork(), NodeId("a")), backend)
    await node.open()
    with pytest.raises(NetworkError, match="it sticks"):
        await node.close()
    assert backend.closed == 1


async def test_closing_can_be_cut_short_and_still_lets_go() -> None:
    async def clinging(prompt: Prompt) -> Tokens:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            await asyncio.sleep(60)
        yield said(prompt.role)

    class Clinging(Scripted):
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    hub, backend = MemoryNetwork(), Clinging(clinging)
    node = Node(hub.join(NodeId("a")), backend)
    await node.open()
    asked = asyncio.create_task(node.ask("hello", mixture=ALONE))
    await asyncio.sleep(0.1)
    closing = asyncio.create_task(node.close())
    await asyncio.sleep(1)
    assert not closing.done()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert backend.closed == 1
    assert hub.find(NodeId("a")) is None
    with pytest.raises(BackendUnavailableError, match="shutting down"):
        await asked
    await asyncio.sleep(120)
    assert not kept(node)


# -- closing with work under way ---------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, LATENCY / 2, 0.5, SECONDS, 1.5])
async def test_closing_ends_every_query_with_an_error(moment: float) -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", slots=3)
        node = room["a"]
        tasks = [asyncio.create_task(node.ask("hello", mixture=MIXED)) for _ in range(3)]
        await asyncio.sleep(moment)
        start = now()
        await room.close("a")
        assert now() == start
        assert not kept(node).keys() & {"calls", "services", "guests"}
        results = await asyncio.gather(*tasks, return_exceptions=True)
        if moment:
            assert {type(result) for result in results} == {BackendUnavailableError}
            assert {str(result) for result in results} == {"node a is shutting down"}
            assert len(set(map(id, results))) == 3
        assert now() == start
        assert not kept(node)
        await asyncio.sleep(SOON)
        assert room.idle
        assert room.seen("b") == {"c"}


async def test_what_came_before_the_end_is_still_seen() -> None:
    async with Room() as room:
        await room_of(room, "a")
        items = room["a"].follow("hello", mixture=Mixture(1, 0))
        await anext(items)
        await asyncio.sleep(SECONDS / 2 + SOON)
        await room.close("a")
        rest: list[object] = []
        with pytest.raises(BackendUnavailableError, match="shutting down"):
            await pour(items, rest)
        assert sum(isinstance(item, Draft) for item in rest) == TOKENS // 2


async def test_an_answer_given_before_the_end_is_an_answer() -> None:
    async with Room() as room:
        await room_of(room, "a")
        items = room["a"].follow("hello", mixture=ALONE)
        await anext(items)
        await asyncio.sleep(2 * SECONDS)
        await room.close("a")
        async with aclosing(items):
            assert isinstance([item async for item in items][-1], Answer)


async def test_a_node_that_closes_takes_no_others_work_with_it() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", slots=4)
        leaves = asyncio.create_task(room["b"].ask("I leave", mixture=MIXED))
        stays = asyncio.create_task(room["a"].ask("I stay", mixture=MIXED))
        await asyncio.sleep(SECONDS / 2)
        await room.close("b")
        with pytest.raises(BackendUnavailableError, match="node b is shutting down"):
            await leaves
        answer = await stays
        assert outcomes(answer) == {"a": "ok", "b": "lost", "c": "ok"}
        assert answer.trace.seconds == pytest.approx(2 * SECONDS + 2 * LATENCY)
        assert len(answer.trace.degraded) == 1
        assert room.idle


async def test_closing_twice_and_at_once_is_closing() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        asked = asyncio.create_task(room["a"].ask("hello"))
        await asyncio.sleep(0.1)
        await asyncio.gather(room["a"].close(), room["a"].close())
        await room["a"].close()
        with pytest.raises(BackendUnavailableError):
            await asked
        del room.nodes["a"]


async def test_closing_in_the_moment_of_the_answer() -> None:
    async with Room() as room:
        await room_of(room, "a")
        node = room["a"]
        asked = asyncio.create_task(node.ask("hello", mixture=ALONE))
        await asyncio.sleep(0)
        room.backends["a"].law = lambda: SECONDS
        closing = asyncio.create_task(asyncio.sleep(SECONDS))
        closing.add_done_callback(lambda _: asyncio.ensure_future(room.close("a")))
        (result,) = await asyncio.gather(asked, return_exceptions=True)
        assert isinstance(result, Answer | BackendUnavailableError)
        await asyncio.sleep(SOON)


# -- a life after ------------------------------------------------------------------------


async def test_a_node_that_is_opened_again_is_known_as_new() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        node = room["b"]
        assert (await node.ask("hello", mixture=MIXED)).trace.degraded == ()
        await room.close("b")
        await asyncio.sleep(SOON)
        assert room.seen("a") == {"c"}
        await node.open()
        room.nodes["b"] = node
        await room.met()
        # Its queries have new names, and its peers take its jobs.
        answer = await node.ask("hello again", mixture=MIXED)
        assert set(outcomes(answer).values()) == {"ok"}
        assert outcomes(await room["a"].ask("hello", mixture=MIXED))["b"] == "ok"
        assert room.idle


async def test_a_new_life_under_the_old_name_is_known_as_new() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        assert outcomes(await room["b"].ask("hello"))["a"] == "ok"
        room.kill("b", reset=True)
        await room.add("b", incarnation=2)
        await room.met()
        assert outcomes(await room["b"].ask("hello"))["a"] == "ok"
        assert outcomes(await room["a"].ask("hello"))["b"] == "ok"


# -- guests ------------------------------------------------------------------------------


async def collect(network: Network, peer: str, message: Propose, patience: float) -> list[Any]:
    frames = network.propose(NodeId(peer), message, patience=patience)
    return [frame async for frame in frames]


async def test_a_guest_is_served_and_heard_as_it_is_written() -> None:
    async with Room() as room:
        await room_of(room, "a")
        home = room.endpoint("h")
        await home.open(Deaf())
        *pieces, reply = await collect(home, "a", job(), 20)
        assert isinstance(reply, Proposal)
        assert (reply.queued_seconds, reply.service_seconds) == pytest.approx((0.0, SECONDS))
        assert all(isinstance(piece, Piece) for piece in pieces)
        assert len(pieces) >= TOKENS - 1
        assert "".join(piece.text for piece in pieces) == reply.completion.text
        assert room.idle
        await home.close()


async def test_a_guest_withdrawn_is_stopped_one_message_later() -> None:
    async with Room() as room:
        await room_of(room, "a")
        home = room.endpoint("h")
        await home.open(Deaf())
        frames = home.propose(NodeId("a"), job(), patience=20)
        assert isinstance(await anext(frames), Piece)
        assert room.active == {"a": 1}
        await frames.aclose()
        await asyncio.sleep(SOON)
        assert room.idle
        assert room.backends["a"].cancelled == 1
        await home.close()


@pytest.mark.parametrize("reset", [True, False])
async def test_a_guest_whose_home_is_gone_is_given_up(*, reset: bool) -> None:
    async with Room() as room:
        await room.add("a", seconds=60.0)
        home = room.endpoint("h")
        await home.open(Deaf())
        asked = asyncio.create_task(collect(home, "a", job(patience=7), 9))
        await asyncio.sleep(1.0)
        assert room.active == {"a": 1}
        room.hub.kill(NodeId("h"), reset=reset)
        with pytest.raises((UnreachableError, PeerGoneError)):
            await asked
        if not reset:
            await asyncio.sleep(6.0 - LATENCY)
            assert room.active == {"a": 1}
        await asyncio.sleep(3 * LATENCY)
        assert room.idle
        assert room.backends["a"].cancelled == 1


async def test_a_guest_is_given_up_where_its_network_never_lets_go() -> None:
    async with Room() as room:
        await room.add("a", seconds=60.0)
        start = now()
        frames = [frame async for frame in room["a"].serve(NodeId("h"), job(patience=7))]
        assert frames[-1] == Failure(job().job.id, "nobody waits for this job any more")
        assert now() - start == pytest.approx(8)
        assert room.idle


async def test_the_double_of_a_guest_fails_and_the_first_goes_on() -> None:
    async with Room() as room:
        await room_of(room, "a")
        first = room["a"].serve(NodeId("h"), job())
        assert isinstance(await anext(first), Piece)
        double = [frame async for frame in room["a"].serve(NodeId("h"), job())]
        assert double == [Failure(job().job.id, "this job is already here")]
        assert isinstance([frame async for frame in first][-1], Proposal)
        assert room.backends["a"].started == 1
        assert room.idle


async def test_the_double_of_a_guest_that_was_served_is_not_served_again() -> None:
    async with Room() as room:
        await room_of(room, "a")
        home = room.endpoint("h")
        await home.open(Deaf())
        assert isinstance((await collect(home, "a", job(), 20))[-1], Proposal)
        with pytest.raises((PeerSilentError, PeerGoneError)):
            await collect(home, "a", job(patience=3), 5)
        assert room.backends["a"].started == 1
        assert room.idle
        await home.close()


async def test_guests_beyond_the_queue_are_declined() -> None:
    async with Room() as room:
        await room_of(room, "a", seconds=0.1)
        home = room.endpoint("h")
        await home.open(Deaf())
        most = room["a"].limits.queue_jobs
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(collect(home, "a", job(number=number), 20))
                for number in range(most + 3)
            ]
        replies = [task.result()[-1] for task in asked]
        assert [type(reply) for reply in replies] == [Proposal] * most + [Decline] * 3
        assert replies[-1].length == most
        assert room.idle
        await home.close()


async def test_a_guest_of_a_node_that_closes_ends() -> None:
    async with Room() as room:
        await room_of(room, "a")
        home = room.endpoint("h")
        await home.open(Deaf())
        asked = asyncio.create_task(collect(home, "a", job(), 20))
        await asyncio.sleep(0.5)
        await room.close("a")
        with pytest.raises(PeerGoneError):
            await asked
        await home.close()


async def test_a_queue_of_guests_is_served_in_the_order_of_arrival() -> None:
    async with Room() as room:
        await room.add("a", seconds=0.2, profile=Profile("a", slots=2))
        served: list[int] = []
        start = now()

        async def guest(number: int) -> None:
            frames = [frame async for frame in room["a"].serve(NodeId("h"), job(number=number))]
            assert isinstance(frames[-1], Proposal)
            served.append(number)
            assert now() - start == pytest.approx(0.2 * (number // 2 + 1))

        async with asyncio.TaskGroup() as group:
            for number in range(6):
                group.create_task(guest(number))
        assert served == list(range(6))
        assert idle(room["a"])
