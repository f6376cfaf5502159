"""Nodes over Zenoh that read ahead what the next layer will ask them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest
from net_room import PATIENT, RealmRoom, ZenohRoom, wait_until

from dmoa.backends.fake import FakeBackend
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import Policy
from dmoa.runtime.node import Node

QUESTION = "why is the sky blue, and why is it red in the evening? " * 8
WRITES = {"a": 0.1, "b": 0.1, "c": 0.1, "d": 1.0}
"""Seconds that a model writes: one far longer than the others read."""


@pytest.mark.real
@pytest.mark.parametrize("kind", [ZenohRoom, RealmRoom])
async def test_peers_have_read_ahead_and_leave_off_when_they_are_to(
    kind: type[ZenohRoom],
) -> None:
    room = kind()
    nodes: dict[str, Node] = {}
    try:
        async with AsyncExitStack() as stack:
            for name, seconds in WRITES.items():
                network = room.make(NodeId(name))
                backend = FakeBackend(name, seconds=seconds, prefill=0.001)
                node = Node(network, backend, policy=Policy(eager="all"))
                nodes[name] = await stack.enter_async_context(node)
                room.entries = room.entries or network.endpoints
            await wait_until(lambda: all(len(node.peers) == 3 for node in nodes.values()))
            async with asyncio.timeout(PATIENT):
                answer = await nodes["a"].ask(QUESTION, mixture=Mixture(2, 3))
            assert answer.trace.degraded == ()
            deep = {job.node: job.early_tokens for job in answer.trace.jobs if job.layer == 2}
            assert min(deep[NodeId(name)] for name in "abc") > 300, deep

            followed = nodes["a"].follow(QUESTION, mixture=Mixture(2, 3))
            async with aclosing(followed):
                async for _ in followed:
                    if nodes["b"]._readings._readings:
                        break
                else:
                    pytest.fail("nothing was read ahead")
            await wait_until(lambda: not any(_under_way(node) for node in nodes.values()))
            assert not any(node._network.dropped for node in nodes.values())  # type: ignore[attr-defined]
    finally:
        room.realm.close() if isinstance(room, RealmRoom) else None


def _under_way(node: Node) -> bool:
    calls = node._calls._jobs or node._guests._lines or node._readings._readings
    return bool(calls or node._mind._shelf.held or node._mind._previews.coming)
