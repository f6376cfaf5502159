"""A room to try the API in: nodes in memory, fake models, and ways to speak with one of them."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2
from openai import AsyncOpenAI

from dmoa.api import door
from dmoa.api.app import create_app
from dmoa.backends.fake import FakeBackend
from dmoa.config.keys import Doorkeeper
from dmoa.core.job import Completion, Prompt
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import PAPER, Policy
from dmoa.core.usual import Defaults
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Tokens

PATIENT = 10.0
"""Seconds after which a test has failed."""
AT_ONCE = 0.5
"""Seconds in which all work stops once nobody waits for it.

Client, nodes and models share one process here; processes of their own are held to a fifth.
"""

NAMES = ("n1", "n2", "n3", "n4")
HELLO = [{"role": "user", "content": "hello there"}]


async def until(true: Callable[[], Any], *, within: float = PATIENT) -> float:
    """Wait until something is so, and tell how many seconds that took."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while not true():
        assert loop.time() - start < within, f"not so within {within} s"
        await asyncio.sleep(0.002)
    return loop.time() - start


class Fickle(FakeBackend):
    """A fake model that proposes well and fails to aggregate."""

    def __init__(self, name: str, mood: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.mood = mood

    def generate(self, prompt: Prompt) -> Tokens:
        self.fail = self.mood if prompt.role == "aggregator" else ""
        return super().generate(prompt)


class Reciter(FakeBackend):
    """A fake model that gives what it was told to."""

    def __init__(self, *script: str | Completion) -> None:
        super().__init__("reciter")
        self.script = script

    def generate(self, prompt: Prompt) -> Tokens:
        self.prompts.append(prompt)
        return self._recite()

    async def _recite(self) -> AsyncGenerator[str | Completion, None]:
        for item in self.script:
            yield item


@dataclass
class Room:
    """Nodes that see each other; the first is the home of all questions."""

    hub: MemoryNetwork
    nodes: dict[str, Node]
    fakes: dict[str, FakeBackend]

    @property
    def home(self) -> Node:
        return self.nodes["n1"]

    @property
    def active(self) -> int:
        return sum(fake.active for fake in self.fakes.values())

    @property
    def started(self) -> int:
        return sum(fake.started for fake in self.fakes.values())

    @property
    def jobs(self) -> int:
        return sum(node.digest.length for node in self.nodes.values())

    def idle(self) -> bool:
        return self.active == 0 and self.jobs == 0


STEADFAST = Timing(silence=60.0)
"""Nobody is thought dead because a busy machine stood still for some seconds."""


@asynccontextmanager
async def opened(  # noqa: PLR0913 - the settings of a network
    *names: str,
    seconds: float = 0.05,
    mixture: Mixture | None = None,
    defaults: Defaults | None = None,
    limits: Limits | None = None,
    fakes: dict[str, FakeBackend] | None = None,
    policy: Policy = PAPER,
    wait: bool = True,
) -> AsyncIterator[Room]:
    """Open some nodes, four if none is named, and wait until they have met.

    They keep to Algorithm 1 unless told otherwise, so that jobs can be counted.
    """
    hub = MemoryNetwork(limits=limits)
    room = Room(hub, {}, {})
    for name in names or NAMES:
        fake = (fakes or {}).get(name) or FakeBackend(f"model-of-{name}", seconds=seconds)
        room.fakes[name] = fake
        room.nodes[name] = Node(
            hub.join(NodeId(name)),
            fake,
            mixture=mixture,
            defaults=defaults,
            limits=limits,
            timing=STEADFAST,
            policy=policy,
            rng=Random(name),
            url=f"http://{name}",
        )
    if wait:
        for node in room.nodes.values():
            await node.open()
        others = len(room.nodes) - 1
        await until(lambda: all(len(node.peers) == others for node in room.nodes.values()))
    try:
        yield room
    finally:
        for node in room.nodes.values():
            if node.is_open:
                await node.close()


@asynccontextmanager
async def in_process(
    node: Node, keeper: Doorkeeper | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Speak with a node without sockets, also on a virtual clock; streams come whole."""
    transport = httpx2.ASGITransport(create_app(node, keeper), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield http


@asynccontextmanager
async def served(node: Node, keeper: Doorkeeper | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """Speak with a node over a real socket on loopback."""
    server = door.server(create_app(node, keeper))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve(sockets=[sock]))
        await until(lambda: server.started)
        base = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            async with httpx2.AsyncClient(base_url=base, trust_env=False, timeout=PATIENT) as http:
                yield http
        finally:
            server.should_exit = True
            await serving


def sdk(http: httpx2.AsyncClient) -> AsyncOpenAI:
    """Make the official client on top of a way to speak."""
    return AsyncOpenAI(
        base_url=f"{http.base_url}/v1".replace("//v1", "/v1"),
        api_key="none",
        http_client=http,
        max_retries=0,
    )


def body(**changes: Any) -> dict[str, Any]:
    """Make a usual request, with changes; what is None is left out."""
    usual = {"model": "dmoa", "messages": HELLO}
    return {key: value for key, value in {**usual, **changes}.items() if value is not None}


def events_of(text: str) -> list[Any]:
    """Read a whole stream, by lines as coarse clients do: objects, and what is no JSON."""
    assert text.endswith("\n\n")
    events = []
    for line in filter(None, text.splitlines()):
        data = line.removeprefix("data: ")
        events.append(json.loads(data) if data.startswith("{") else data)
    return events


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """Read an error, which has OpenAI's shape exactly and one readable line."""
    shaped = response.json()
    assert list(shaped) == ["error"]
    error = shaped["error"]
    assert {"message", "type", "param", "code"} <= error.keys() <= {*error, "dmoa"}
    assert "\n" not in error["message"]
    assert 0 < len(error["message"]) < 300
    usual = "invalid_request_error" if response.status_code < 500 else "server_error"
    assert error["type"] == {429: "rate_limit_error"}.get(response.status_code, usual)
    assert error["param"] is None or isinstance(error["param"], str)
    assert error["code"] is None or isinstance(error["code"], str)
    return error


class Watch:
    """Measures real seconds."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start
