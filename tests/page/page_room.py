"""Nodes in memory with models that only take their time, and ways to their API and their feed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx2

from dmoa.api.app import create_app
from dmoa.backends.fake import FakeBackend
from dmoa.config.keys import Doorkeeper
from dmoa.core.names import NodeId
from dmoa.core.policy import PAPER, Policy
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.watch import Watch, Watcher

SECRET = "xyzzy-plugh"  # noqa: S105
"""What is asked, and so what fake models answer: in no sight."""


@asynccontextmanager
async def nodes(
    *names: str, seconds: float = 1.0, policy: Policy = PAPER
) -> AsyncIterator[list[Node]]:
    """Open some nodes that have met."""
    hub = MemoryNetwork()
    opened = [
        Node(
            hub.join(NodeId(name)),
            FakeBackend(f"model-of-{name}", seconds=seconds),
            policy=policy,
            rng=Random(name),
            url=f"http://{name}",
        )
        for name in names
    ]
    try:
        for node in opened:
            await node.open()
        while any(len(node.peers) < len(names) - 1 for node in opened):
            await asyncio.sleep(0.01)
        yield opened
    finally:
        for node in opened:
            if node.is_open:
                await node.close()


@asynccontextmanager
async def api(node: Node, keeper: Doorkeeper | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """Speak with a node without sockets."""
    transport = httpx2.ASGITransport(create_app(node, keeper), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield http


def watching(node: Node, **settings: Any) -> Watch:
    watch = Watch(node, **settings)
    node.onlookers.append(watch)
    return watch


def taken(watcher: Watcher, now: float = 0.0) -> list[dict[str, Any]]:
    return json.loads(watcher.take(now))


def kinds(sights: list[dict[str, Any]], *wanted: str) -> list[dict[str, Any]]:
    return [sight for sight in sights if sight["kind"] in wanted]


def told(text: str) -> list[dict[str, Any]]:
    """Read a whole feed."""
    blocks = [block for block in text.split("\n\n") if block.startswith("data: ")]
    return [sight for block in blocks for sight in json.loads(block.removeprefix("data: "))]
