"""Calls to peers, over a network that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from dmoa.core.digest import Digest
from dmoa.core.events import Event, Lost, Received
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.messages import Decline, Farewell, Gossip, Piece, Proposal, Propose
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.errors import (
    DmoaError,
    PeerGoneError,
    PeerSilentError,
    RemoteProtocolError,
    UnreachableError,
)
from dmoa.runtime.calls import Calls
from dmoa.runtime.ports import Frames, Host

PEER, QUERY, NAME = NodeId("b"), QueryId("a/1/1"), JobId("a/1/1/1.1")
JOB = Job(
    NAME, QUERY, NodeId("a"), "proposer", 1, (Turn("user", "?"),), (), Sampling(), patience=10.0
)
DONE = Proposal(NAME, Completion("so it is", "fake", 1, 2), 0.0, 0.5)
DIGEST = Digest(PEER, 1, 7, "toy", 1, length=3)


class Scripted:
    """A network whose one peer follows a script; counts the calls under way."""

    def __init__(
        self,
        frames: Callable[[], Frames] | None = None,
        digest: Digest | DmoaError = DIGEST,
        *,
        after: float = 0.0,
    ) -> None:
        self.node, self.endpoints = NodeId("a"), ()
        self.active = 0
        self.patience: list[float] = []
        self._frames = frames
        self._digest = digest
        self._after = after

    async def open(self, host: Host) -> None: ...

    async def close(self) -> None: ...

    def announce(self, digest: Digest) -> None: ...

    async def probe(self, peer: NodeId, *, patience: float) -> Digest:
        assert peer == PEER
        self.patience.append(patience)
        self.active += 1
        try:
            await asyncio.sleep(self._after)
        finally:
            self.active -= 1
        if isinstance(self._digest, DmoaError):
            raise self._digest
        return self._digest

    async def propose(
        self, peer: NodeId, message: Propose, *, patience: float, idle: float | None = None
    ) -> Frames:
        assert (peer, message, idle) == (PEER, Propose(JOB), None)
        assert self._frames is not None
        self.patience.append(patience)
        self.active += 1
        try:
            async for frame in self._frames():
                yield frame
        finally:
            self.active -= 1


class Mind:
    """Keeps what it was told and shown, and when."""

    def __init__(self, network: Scripted) -> None:
        self.told: list[tuple[float, Event]] = []
        self.shown: list[str] = []
        self.calls = Calls(network, tell=self._tell, draft=self._draft)

    def _tell(self, event: Event) -> None:
        self.told.append((asyncio.get_running_loop().time(), event))

    def _draft(self, job: Job, text: str) -> None:
        assert job is JOB
        self.shown.append(text)

    @property
    def events(self) -> list[Event]:
        return [event for _, event in self.told]

    @property
    def kept(self) -> int:
        return len(self.calls._jobs) + len(self.calls._probes)


async def proposed(script: Callable[[], Frames]) -> tuple[Mind, Scripted]:
    """Give a job to a peer that follows a script, and wait until that is over."""
    network = Scripted(script)
    mind = Mind(network)
    mind.calls.propose(PEER, Propose(JOB))
    await asyncio.sleep(100.0)
    assert (mind.kept, network.active) == (0, 0)
    return mind, network


async def probed(digest: Digest | DmoaError) -> list[Event]:
    network = Scripted(digest=digest)
    mind = Mind(network)
    mind.calls.probe(PEER, 0.2)
    await asyncio.sleep(1.0)
    assert (mind.kept, network.active, network.patience) == (0, 0, [0.2])
    return mind.events


# -- jobs --------------------------------------------------------------------------------


async def test_a_job_ends_with_its_reply_and_shows_its_text_before() -> None:
    async def script() -> Frames:
        yield Piece(NAME, "so ")
        await asyncio.sleep(1.0)
        yield Piece(NAME, "it is")
        yield DONE

    mind, network = await proposed(script)
    assert mind.told == [(1.0, Received(PEER, DONE))]
    assert mind.shown == ["so ", "it is"]
    assert network.patience == [12.0], "a little longer than the job's own"


async def test_what_follows_a_reply_is_not_heard() -> None:
    async def script() -> Frames:
        yield Decline(NAME, 3)
        yield DONE

    mind, _ = await proposed(script)
    assert mind.events == [Received(PEER, Decline(NAME, 3))]


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("b cannot be reached"),
        PeerGoneError("b vanished"),
        PeerSilentError("b is silent"),
        RemoteProtocolError("b talks rubbish"),
    ],
)
async def test_whatever_breaks_a_call_the_job_is_lost_and_says_why(error: DmoaError) -> None:
    async def script() -> Frames:
        yield Piece(NAME, "so ")
        raise error

    mind, _ = await proposed(script)
    assert mind.events == [Lost(PEER, NAME, error.message)]


async def test_a_call_that_ends_without_a_reply_is_lost() -> None:
    async def script() -> Frames:
        yield Piece(NAME, "so ")

    mind, _ = await proposed(script)
    assert mind.events == [Lost(PEER, NAME, "it ended the call without a reply")]


async def endless() -> Frames:
    yield Piece(NAME, "so ")
    await asyncio.get_running_loop().create_future()


async def test_a_withdrawn_job_closes_its_call_and_is_told_of_no_more() -> None:
    network = Scripted(endless)
    mind = Mind(network)
    mind.calls.withdraw(NAME)  # nothing is under way
    mind.calls.propose(PEER, Propose(JOB))
    await asyncio.sleep(1.0)
    assert (network.active, mind.shown) == (1, ["so "])
    mind.calls.withdraw(NAME)
    await asyncio.sleep(1.0)
    assert (mind.events, mind.kept, network.active) == ([], 0, 0)


async def test_a_job_withdrawn_at_once_is_never_sent() -> None:
    network = Scripted(endless)
    mind = Mind(network)
    mind.calls.propose(PEER, Propose(JOB))
    mind.calls.withdraw(NAME)
    await asyncio.sleep(1.0)
    assert (mind.events, mind.kept, network.patience) == ([], 0, [])


# -- probes ------------------------------------------------------------------------------


async def test_how_a_peer_stands_is_heard_as_its_gossip() -> None:
    assert await probed(DIGEST) == [Received(PEER, Gossip(DIGEST))]


async def test_a_peer_that_cannot_be_reached_seems_to_have_left() -> None:
    assert await probed(UnreachableError("b cannot be reached")) == [Received(PEER, Farewell())]


@pytest.mark.parametrize("error", [PeerSilentError("hush"), RemoteProtocolError("rubbish")])
async def test_a_peer_that_says_nothing_is_told_of_by_nobody(error: DmoaError) -> None:
    assert await probed(error) == []


async def test_probes_of_one_peer_do_not_wait_for_each_other() -> None:
    network = Scripted(after=0.5)
    mind = Mind(network)
    for _ in range(3):
        mind.calls.probe(PEER, 2.0)
    await asyncio.sleep(0.25)
    assert (network.active, mind.kept) == (3, 3)
    await asyncio.sleep(0.5)
    assert [at for at, _ in mind.told] == [0.5] * 3
    assert mind.kept == 0


async def test_at_the_end_all_that_is_under_way_is_ended() -> None:
    network = Scripted(endless, after=50.0)
    mind = Mind(network)
    mind.calls.propose(PEER, Propose(JOB))
    mind.calls.probe(PEER, 100.0)
    await asyncio.sleep(1.0)
    assert network.active == 2
    tasks = mind.calls.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(tasks) == 2
    assert all(task.cancelled() for task in tasks)
    await asyncio.sleep(100.0)
    assert (mind.events, mind.kept, network.active) == ([], 0, 0)
