"""What the tests of networks share: jobs, a host that does as it is told, rooms of nodes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest
import zenoh
from net_realm import Realm

from dmoa.core.digest import Digest
from dmoa.core.events import Offence
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.messages import Piece, Preview, Proposal, Propose
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.net.desk import Desk
from dmoa.net.memory import MemoryEndpoint, MemoryNetwork
from dmoa.net.seals import Answer
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import WAIT_BEFORE_CLOSE, ZenohSettings
from dmoa.realm.identity import RealmIdentity
from dmoa.runtime.ports import Frames, Network, Roll

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")

PATIENT = 20.0
"""Seconds after which a test for real has failed."""
HELD_UP = 3.0 * WAIT_BEFORE_CLOSE
"""Seconds for which a loop is never held up: a write of another thread that nobody reads may
keep a digest waiting for once that time, and sixty such writes would take sixty times that."""


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


def make_preview(number: int = 1, home: str = "a", **other: Any) -> Preview:
    job = make_job(home, name="2.1", **other).job
    return Preview(replace(job, layer=2, proposals=("so",)), number)


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
        self.offences: list[tuple[NodeId, Offence]] = []
        self.standing: Digest | None = None
        self.roll: Roll | None = None
        self.probes: list[NodeId] = []
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

    def offended(self, peer: NodeId, offence: Offence) -> None:
        self.offences.append((peer, offence))
        self._news.set()

    def probed(self, caller: NodeId) -> Digest | None:
        self.probes.append(caller)
        return self.standing

    def rolled(self, caller: NodeId) -> Roll | None:
        self.probes.append(caller)
        return self.roll

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


class Room(Protocol):
    """Some nodes on one network; all of them leave when it closes."""

    async def open(self, node: NodeId, serve: Serve = echo) -> Network: ...

    async def meet(self) -> None: ...

    def host(self, node: NodeId) -> RecordingHost: ...

    async def crash(self, node: NodeId) -> None: ...

    def forge(self, sender: NodeId, to: NodeId, data: bytes) -> None: ...


class _Room:
    def __init__(self) -> None:
        self.hosts: dict[NodeId, RecordingHost] = {}
        self.networks: dict[NodeId, Network] = {}

    async def open(self, node: NodeId, serve: Serve = echo) -> Network:
        network, host = self.make(node), RecordingHost(serve)
        host.standing = make_digest(node)
        await network.open(host)
        self.networks[node], self.hosts[node] = network, host
        network.announce(make_digest(node))
        return network

    def make(self, node: NodeId) -> Network:
        raise NotImplementedError

    async def meet(self) -> None:
        """Wait until everybody has heard of everybody."""
        for node, host in self.hosts.items():
            await host.knows(*(self.hosts.keys() - {node}))

    def host(self, node: NodeId) -> RecordingHost:
        return self.hosts[node]

    async def close(self) -> None:
        for network in self.networks.values():
            await network.close()


class MemoryRoom(_Room):
    def __init__(self) -> None:
        super().__init__()
        self.hub = MemoryNetwork()

    def make(self, node: NodeId) -> MemoryEndpoint:
        return self.hub.join(node)

    async def crash(self, node: NodeId) -> None:
        self.hub.kill(node, reset=True)

    def forge(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        self.hub.forge(sender, to, data)


class ZenohRoom(_Room):
    entries: tuple[str, ...] = ()

    def make(self, node: NodeId) -> ZenohNetwork:
        return ZenohNetwork(node, self.settings())

    def settings(self) -> ZenohSettings:
        return ZenohSettings(connect=self.entries)

    async def open(self, node: NodeId, serve: Serve = echo) -> Network:
        network = await super().open(node, serve)
        assert isinstance(network, ZenohNetwork)
        self.entries = self.entries or network.endpoints
        return network

    def session(self, node: NodeId) -> zenoh.Session:
        network = self.networks[node]
        assert isinstance(network, ZenohNetwork)
        assert network._session is not None
        return network._session

    async def crash(self, node: NodeId) -> None:
        await asyncio.to_thread(self.session(node).close)

    def forge(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        del to
        block = zenoh.CongestionControl.BLOCK
        self.session(sender).put(f"digest/{sender}", data, congestion_control=block)


class RealmRoom(ZenohRoom):
    """Nodes that are members of one realm."""

    def __init__(self) -> None:
        super().__init__()
        self.realm = Realm()
        self.identities: dict[NodeId, RealmIdentity] = {}

    def make(self, node: NodeId) -> ZenohNetwork:
        if node not in self.identities:
            self.identities[node] = self.realm.member(node)
        return ZenohNetwork(node, self.settings(), identity=self.identities[node])

    async def close(self) -> None:
        await super().close()
        self.realm.close()

    def settings(self) -> ZenohSettings:
        return ZenohSettings(listen=("tls/127.0.0.1:0",), connect=self.entries)

    def forge(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        super().forge(sender, to, self.identities[sender].seal("digest", "", data))


Opens = Callable[[], AbstractAsyncContextManager[Room]]


def hold(monkeypatch: pytest.MonkeyPatch) -> list[Answer]:
    """Let probes lie unanswered, and give the ways back to their callers."""
    held: list[Answer] = []

    def keep(desk: Desk, caller: NodeId, answer: Answer) -> None:
        del desk, caller
        held.append(answer)

    monkeypatch.setattr(Desk, "stand", keep)
    return held


async def wait_until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENT):
        while not true():
            await asyncio.sleep(0.01)


def under_way(network: Network) -> dict[object, None]:
    return network._asking  # type: ignore[attr-defined]


CHILD = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from net_room import RecordingHost, hang, make_digest
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import WAIT_BEFORE_CLOSE, ZenohSettings

async def main():
    network = ZenohNetwork("b", ZenohSettings(connect=(sys.argv[2],)))
    await network.open(RecordingHost(hang))
    network.announce(make_digest("b"))
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def start_child(endpoint: str) -> asyncio.subprocess.Process:
    """Start b in a process of its own, which connects to `endpoint`."""
    here = str(Path(__file__).parent)
    return await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, here, endpoint)


@asynccontextmanager
async def longest_stall() -> AsyncIterator[list[float]]:
    """Measure the longest time, in seconds, for which the loop did nothing else."""
    worst = [0.0]

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            await asyncio.sleep(0.01)
            worst[0] = max(worst[0], loop.time() - start)

    watcher = asyncio.create_task(watch())
    try:
        yield worst
    finally:
        watcher.cancel()
