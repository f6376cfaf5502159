"""What a node needs of the outside: a network of peers and a backend.

Adapters in `dmoa.net` and `dmoa.backends` fulfil these protocols; `dmoa.assemble`
chooses them. Every clock is the running loop's `time()`, so that all of it can run on
a virtual one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol, runtime_checkable

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.effects import Effect
from dmoa.core.events import Event, Offence
from dmoa.core.history import Birth
from dmoa.core.job import Completion, Profile, Prompt
from dmoa.core.messages import Offer, Piece, Reply
from dmoa.core.names import NodeId

Frames = AsyncGenerator[Piece | Reply, None]
"""A job at a peer as its caller sees it: any number of pieces, then exactly one reply."""

Tokens = AsyncGenerator[str | Completion, None]
"""A job at a backend: any number of texts, then exactly one completion, which ends it."""


@dataclass(frozen=True, slots=True)
class Papers:
    """Files (PEM) with which links of a realm are made: all paths exist."""

    authority: Path
    """The certificate of the realm's authority."""
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Roll:
    """What a node answers to the roll call of another: who it is, and whom it hears."""

    node: NodeId
    release: str
    """The release of dmoa that runs there."""
    clock: float
    """Its wall clock, in seconds since 1970, as it answered."""
    peers: tuple[NodeId, ...] = ()
    """Whom it hears, by name; at most as many as a view holds."""
    round_trip: float = 0.0
    """Seconds from question to answer, as the caller measured them."""


class Host(Protocol):
    """What a network needs of the node it carries; called on the node's loop only."""

    def heard(self, digest: Digest) -> None:
        """Take a peer's digest, straight from that peer."""
        ...

    def departed(self, peer: NodeId) -> None:
        """Take a hint that a peer left; its next digest brings it back."""
        ...

    def offended(self, peer: NodeId, offence: Offence) -> None:
        """Take the evidence that a peer misbehaved; never what another could have forged."""
        ...

    def probed(self, caller: NodeId) -> Digest | None:
        """Tell a peer how this node stands right now; None when it is closed."""
        ...

    def rolled(self, caller: NodeId) -> Roll | None:
        """Answer the roll call of a peer; None when this node is closed."""
        ...

    def serve(self, caller: NodeId, message: Offer) -> Frames:
        """Serve a peer's job, or hold a preview; closing the generator stops all work on it."""
        ...


class Network(Protocol):
    """The way to the peers.

    When `propose` is iterated, frames come in order, without gaps or doubles, and end
    with exactly one reply. When the peer cannot be reached, UnreachableError; when it
    dies in the middle, PeerGoneError; when nothing comes for `idle` seconds or no reply
    within `patience` seconds, PeerSilentError. When the generator is closed early, the
    peer's handler is closed as well. When a caller dies, its handlers are closed. When
    a peer's message breaks the protocol, it is dropped, and RemoteProtocolError is
    raised where a caller waits for it.
    """

    @property
    def node(self) -> NodeId:
        """The name this network gives to its node."""
        ...

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where peers can reach this node; complete once `open` has returned."""
        ...

    async def open(self, host: Host) -> None:
        """Join; NetworkError when that is impossible."""
        ...

    async def close(self) -> None:
        """Leave, so that peers see it at once; ends everything under way."""
        ...

    def announce(self, digest: Digest) -> None:
        """Send a digest to every peer that can be reached now."""
        ...

    async def probe(self, peer: NodeId, *, patience: float) -> Digest:
        """Ask a peer how it stands right now.

        UnreachableError where nobody answers to that name, PeerSilentError when nothing
        came within `patience` seconds, RemoteProtocolError for what is no digest of its.
        """
        ...

    async def roll(self, peer: NodeId, *, patience: float) -> Roll:
        """Call on a peer to say its release, its clock and whom it hears; errors as of `probe`."""
        ...

    def propose(
        self, peer: NodeId, message: Offer, *, patience: float, idle: float | None = None
    ) -> Frames:
        """Give a job to a peer and follow it to its reply."""
        ...


class Backend(Protocol):
    """A language model.

    When the generator of `generate` is closed early, the model stops working on that
    prompt. When it fails, one of the BackendError family; never an error as text.
    """

    @property
    def profile(self) -> Profile:
        """What the node must know of the model; complete once `open` has returned."""
        ...

    async def open(self) -> None:
        """Load or reach the model; BackendError with a hint when that fails."""
        ...

    async def close(self) -> None:
        """Stop all work and let go of the model."""
        ...

    def generate(self, prompt: Prompt) -> Tokens:
        """Stream the completion of a prompt."""
        ...


@runtime_checkable
class Reads(Protocol):
    """A backend that can read a prompt ahead; its profile says so.

    Each `read` has more of the text than the one before, or another end. What was read is found
    again by the `generate` of the prompt with the same `job`, as far as both begin alike; a
    prompt that is never asked for costs nothing but its place, which others may take.
    """

    async def read(self, prompt: Prompt) -> int:
        """Read an open prompt up to the end of its open turn; tells how many tokens that is.

        BackendError where it cannot now. To cancel it stops it; the slot is free when it ends.
        """
        ...


class Witness(Protocol):
    """Who takes down what an agent lives through, without ever changing or delaying it."""

    def begin(self, birth: Birth, rng: Random) -> None:
        """Hear how the agent is made, before it throws its dice."""
        ...

    def handle(self, agent: Agent, event: Event, now: float) -> list[Effect]:
        """Let the agent take an event; its errors go on."""
        ...

    def close(self) -> None:
        """End the record."""
        ...


class Tracer(Protocol):
    """Who records what becomes of queries, over all nodes; an `Onlooker` beside."""

    def begin(self, parent: str) -> str:
        """Name the span of the query that is asked next, below one that is named, if any."""
        ...

    def saw(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        """See what happened to the agent, as an `Onlooker` does."""
        ...

    async def close(self) -> None:
        """Record what is left, within seconds; it may be used again."""
        ...


class Onlooker(Protocol):
    """Who watches a node live: shows it, or counts; must be quick, and must not raise."""

    def saw(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        """See what happened to the agent, and what it wanted, at `now` of the loop's clock."""
        ...
