"""Nodes in one room: on one hub, each with a model that only takes its time.

A room is left clean: at its end every node is closed, and then nothing works, nothing
waits, no task is left, and no callback of the loop has failed.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from random import Random
from types import TracebackType
from typing import Any, Self

from dmoa.backends.fake import FakeBackend
from dmoa.core.effects import Answer, Visit
from dmoa.core.job import Completion, Profile, Prompt
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import PAPER, Policy
from dmoa.net.memory import MemoryEndpoint, MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Backend, Tokens, Tracer
from dmoa.runtime.recorder import Recorder
from dmoa.runtime.streams import Draft, Progress, Token

LATENCY = 0.01
"""Seconds of every message on its way."""
SECONDS = 1.0
"""Seconds of every service, if nothing else is said."""
TOKENS = 10
"""Pieces of every text."""
SOON = LATENCY + 1e-6
"""When what was sent now has certainly come."""

MIXED = Mixture(1, 2)
"""One layer of home and two peers."""
ALONE = Mixture(0, 0)
"""Home alone."""


def now() -> float:
    return asyncio.get_running_loop().time()


class Scripted:
    """A model by a script; counts the generations under way."""

    def __init__(self, script: Callable[[Prompt], Tokens], *, slots: int = 1) -> None:
        self.profile = Profile("scripted", slots=slots)
        self.active = self.started = 0
        self._script = script

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def generate(self, prompt: Prompt) -> Tokens:
        self.started += 1
        self.active += 1
        try:
            async with aclosing(self._script(prompt)) as tokens:
                async for token in tokens:
                    yield token
        finally:
            self.active -= 1


def said(text: str) -> Completion:
    return Completion(text, "scripted", 1, 1)


class Room:
    def __init__(
        self,
        *,
        limits: Limits | None = None,
        timing: Timing | None = None,
        policy: Policy = PAPER,
    ) -> None:
        """Nodes keep to Algorithm 1 unless told otherwise, so that jobs can be counted."""
        self.hub = MemoryNetwork(latency=lambda _: LATENCY, limits=limits)
        self.nodes: dict[str, Node] = {}
        self.backends: dict[str, Any] = {}
        self.troubles: list[dict[str, Any]] = []
        self._limits = limits
        self._timing = timing
        self._policy = policy
        self._all: list[tuple[Node, Backend]] = []

    # -- who is in it ------------------------------------------------------------------

    async def add(  # noqa: PLR0913 - the parts of a node
        self,
        name: str,
        backend: Backend | None = None,
        *,
        limits: Limits | None = None,
        incarnation: int = 1,
        recorder: Recorder | None = None,
        tracer: Tracer | None = None,
        **settings: Any,
    ) -> Node:
        """Open one more node; `settings` are those of its fake backend."""
        if backend is None:
            slots = settings.pop("slots", 1)
            usual = {"seconds": SECONDS, "tokens": TOKENS, "profile": Profile(name, slots=slots)}
            backend = FakeBackend(name, **(usual | settings))
        node = Node(
            self.endpoint(name),
            backend,
            limits=limits or self._limits,
            timing=self._timing,
            policy=self._policy,
            rng=Random(f"room/{name}"),
            incarnation=incarnation,
            recorder=recorder,
            tracer=tracer,
        )
        self._all.append((node, backend))
        await node.open()
        self.nodes[name], self.backends[name] = node, backend
        return node

    def endpoint(self, name: str) -> MemoryEndpoint:
        return self.hub.join(NodeId(name))

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def kill(self, name: str, *, reset: bool = False) -> None:
        """Let a node die without a word; who it was lives on alone, as if on an island."""
        self.hub.kill(NodeId(name), reset=reset)
        del self.nodes[name]

    async def close(self, name: str) -> None:
        await self.nodes.pop(name).close()

    async def met(self) -> None:
        """Wait until all see all, and no one else."""
        async with asyncio.timeout(30):
            while any(self.seen(name) != self.nodes.keys() - {name} for name in self.nodes):
                await asyncio.sleep(LATENCY)

    def seen(self, name: str) -> set[str]:
        return {digest.node for digest, _ in self.nodes[name].peers}

    # -- whether it is quiet -----------------------------------------------------------

    @property
    def active(self) -> dict[str, int]:
        """Generations under way, by node, where there are any."""
        counts = {name: self.backends[name].active for name in self.nodes}
        return {name: count for name, count in counts.items() if count}

    @property
    def idle(self) -> bool:
        """Tell whether nothing is under way at any living node, nor kept for anything."""
        return not self.active and all(idle(node) for node in self.nodes.values())

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, trouble: self.troubles.append(trouble))
        gc.freeze()  # so that at the end only what is of this room need be looked through
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for node, _ in self._all:
                await node.close()
            if error is None:
                await self._left_clean()
        finally:
            gc.unfreeze()
        del traceback, kind

    async def _left_clean(self) -> None:
        await asyncio.sleep(SOON)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task is left"
        for node, backend in self._all:
            assert not kept(node), f"{node.id} keeps {kept(node)}"
            assert node._alarm is None or node._alarm.cancelled()
            assert getattr(backend, "active", 0) == 0, f"the backend of {node.id} still works"
        gc.collect()  # tasks tell of exceptions nobody took when they are collected
        assert not self.troubles, self.troubles


def kept(node: Node) -> dict[str, Any]:
    """What the body of a node keeps for anything under way."""
    holds = {
        "calls": node._calls._jobs,
        "services": node._slots._tasks,
        "guests": node._guests._lines,
        "followers": node._followers._followers,
    }
    return {name: what for name, what in holds.items() if what}


def idle(node: Node) -> bool:
    """Tell whether body and mind of an open node wait for nothing."""
    agent = node._mind
    agent.check()
    mind = (agent.queries, len(agent.queue), len(agent._home.seats), len(agent.queue._places))
    return not kept(node) and mind == (0, 0, 0, 0)


async def room_of(room: Room, *names: str, **settings: Any) -> None:
    """Fill a room with nodes that are alike, and let them meet."""
    for name in names:
        await room.add(name, **settings)
    await room.met()


# -- what a follower saw -----------------------------------------------------------------


async def timed(
    progress: AsyncGenerator[Progress, None],
) -> list[tuple[float, Progress]]:
    """Follow a query to its end; every item with the seconds since the beginning."""
    start = now()
    async with aclosing(progress):
        return [(now() - start, item) async for item in progress]


async def pour(source: AsyncGenerator[Any, None], into: list[Any]) -> None:
    """Read a generator into a list, up to its end or its error."""
    async with aclosing(source):
        async for item in source:
            into.append(item)  # noqa: PERF401  (it may break off)


def visits(items: list[Progress]) -> list[Visit]:
    return [item for item in items if isinstance(item, Visit)]


def drafts(items: list[Progress], node: str) -> str:
    """Join what one proposer wrote."""
    return "".join(
        item.text for item in items if isinstance(item, Draft) and item.visit.node == node
    )


def tokens(items: list[Progress]) -> str:
    return "".join(item.text for item in items if isinstance(item, Token))


def outcomes(answer: Answer) -> dict[str, str]:
    """How each node's part in layer 1 ended."""
    return {str(job.node): job.outcome for job in answer.trace.jobs if job.layer == 1}
