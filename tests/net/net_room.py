"""What the tests of networks share: jobs, and a host that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.messages import Piece, Proposal, Propose
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.runtime.ports import Frames, Network

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")

PATIENT = 20.0
"""Seconds after which a test for real has failed."""


def make_job(
    home: str = "a", *, name: str = "1.1", patience: float = PATIENT, content: str = "?"
) -> Propose:
    return Propose(
        Job(
            id=JobId(f"{home}/1/1/{name}"),
            query=QueryId(f"{home}/1/1"),
            home=NodeId(home),
            role="proposer",
            layer=1,
            turns=(Turn("user", content),),
            proposals=(),
            sampling=Sampling(),
            patience=patience,
        )
    )


def make_proposal(message: Propose, text: str = "done") -> Proposal:
    return Proposal(message.job.id, Completion(text, "fake", 1, 2), 0.0, 0.5)


def make_digest(node: str, sequence: int = 1, *, incarnation: int = 1) -> Digest:
    return Digest(NodeId(node), incarnation, sequence, "fake", 1)


Serve = Callable[[NodeId, Propose], Frames]


async def echo(caller: NodeId, message: Propose) -> Frames:
    """Say the prompt back, word by word, then in whole."""
    del caller
    text = message.job.turns[0].content
    for word in text.split():
        yield Piece(message.job.id, word)
    yield make_proposal(message, text)


class RecordingHost:
    """A host that serves by a script and remembers what it was told."""

    def __init__(self, serve: Serve = echo) -> None:
        self._serve = serve
        self.digests: list[Digest] = []
        self.gone: list[NodeId] = []
        self.started = asyncio.Event()
        self.closed = asyncio.Event()
        self.running = 0
        self._news = asyncio.Event()

    def heard(self, digest: Digest) -> None:
        self.digests.append(digest)
        self._news.set()

    def departed(self, peer: NodeId) -> None:
        self.gone.append(peer)
        self._news.set()

    async def serve(self, caller: NodeId, message: Propose) -> Frames:
        self.started.set()
        self.running += 1
        frames = self._serve(caller, message)
        try:
            async for frame in frames:
                yield frame
        finally:
            await frames.aclose()
            self.running -= 1
            self.closed.set()
            self._news.set()

    async def until(self, true: Callable[[RecordingHost], bool]) -> None:
        """Wait until what was heard makes `true` so."""
        async with asyncio.timeout(PATIENT):
            while not true(self):
                self._news.clear()
                await self._news.wait()

    async def knows(self, *nodes: str) -> None:
        """Wait until digests of all of these were heard."""
        await self.until(lambda host: {digest.node for digest in host.digests} >= set(nodes))


async def hang(caller: NodeId, message: Propose) -> Frames:
    """Write one piece, and then nothing for ever."""
    del caller
    yield Piece(message.job.id, "so")
    await asyncio.sleep(10**6)


async def mute(caller: NodeId, message: Propose) -> Frames:
    """Write nothing for ever."""
    del caller, message
    await asyncio.sleep(10**6)
    yield Piece(JobId("never"), "")


async def collect(
    network: Network, peer: NodeId, message: Propose, *, patience: float = PATIENT
) -> list[object]:
    return [frame async for frame in network.propose(peer, message, patience=patience)]
