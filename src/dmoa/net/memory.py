"""A network inside one process, for tests: seeded latency and faults, no sockets.

Everything passes through the codec, and every delay is a timer of the running loop, so
that on a virtual loop hours of it take no time and always go alike. What one node sends
another arrives in order, as on one connection. A partition breaks that connection: what
was under way on it is never heard of again, even once it is healed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

from dmoa.core.digest import Digest
from dmoa.core.limits import Limits
from dmoa.core.messages import Gossip, Offer, Piece, Withdraw
from dmoa.core.names import NodeId
from dmoa.errors import NetworkError, RemoteProtocolError
from dmoa.net import codec
from dmoa.net.complaints import Complaints
from dmoa.net.desk import INBOUND_JOBS, Desk, offence, read_digest, read_withdrawal
from dmoa.net.exchange import Asking, Inquiry, Mailbox, left
from dmoa.runtime.ports import Frames, Host, Roll

Latency = Callable[[Random], float]
"""Draws the seconds that one message travels."""


def evenly(low: float = 0.0005, high: float = 0.0015) -> Latency:
    """Draw every latency evenly between two bounds, in seconds."""
    return lambda dice: dice.uniform(low, high)


class MemoryNetwork:
    """The hub that carries all messages, and loses them as it is told.

    When two nodes are partitioned, nothing passes between them, and neither is told.
    When a node is killed, its peers notice nothing by themselves; with `reset` they do
    at once, as when the operating system closes the sockets of a process that died.
    `digest_loss` is the fraction of digests, and of probes for one, that never arrive.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        latency: Latency | None = None,
        digest_loss: float = 0.0,
        limits: Limits | None = None,
        inbound: int = INBOUND_JOBS,
    ) -> None:
        self.limits = limits or Limits()
        self.inbound = inbound
        self.digest_loss = digest_loss
        self._latency = latency or evenly()
        # Apart, so that a loss switched on does not reshuffle the latencies.
        self._latency_dice = Random(f"{seed}/latency")
        self._loss_dice = Random(f"{seed}/loss")
        self._present: dict[NodeId, MemoryEndpoint] = {}
        self._dead: set[NodeId] = set()
        self._cut: set[frozenset[NodeId]] = set()
        self._wires: dict[frozenset[NodeId], Wire] = {}

    def join(self, node: NodeId) -> MemoryEndpoint:
        """Make the network of one node; it takes part once it is opened."""
        return MemoryEndpoint(self, node)

    def partition(self, one: NodeId, other: NodeId) -> None:
        """Let nothing pass between two nodes, what is on its way included."""
        self._cut.add(frozenset((one, other)))
        self.wire(one, other).broken = True

    def heal(self, one: NodeId | None = None, other: NodeId | None = None) -> None:
        """Let two nodes meet again on a new connection; without names, all."""
        for pair in tuple(self._cut):
            if one is None or other is None or pair == frozenset((one, other)):
                self._cut.remove(pair)
                del self._wires[pair]

    def kill(self, node: NodeId, *, reset: bool = False) -> None:
        """Let a node die without a word; with `reset`, its peers notice at once."""
        endpoint = self._present.pop(node)
        for peer in self.others(node):
            self.wire(node, peer.node).broken = True
            if reset:
                self._reconnect(node, peer.node)
                asyncio.get_running_loop().call_soon(peer.lost, node)
        if not reset:
            self._dead.add(node)
        endpoint.die()

    def forge(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        """Deliver any bytes in place of a digest."""
        self.wire(sender, to).carry(sender, self._present[to].heard, sender, data)

    def enter(self, endpoint: MemoryEndpoint) -> None:
        """Let a node take part on new connections; all others send it their digests."""
        if endpoint.node in self._present:
            raise NetworkError(f"another node of this network is called {endpoint.node}")
        self._dead.discard(endpoint.node)
        self._present[endpoint.node] = endpoint
        for peer in self.others(endpoint.node):
            self._reconnect(endpoint.node, peer.node)
            self.wire(endpoint.node, peer.node).carry(endpoint.node, peer.greet, endpoint)

    def leave(self, endpoint: MemoryEndpoint) -> None:
        """Let a node leave, so that all others see it."""
        if self._present.get(endpoint.node) is endpoint:
            del self._present[endpoint.node]
            for peer in self.others(endpoint.node):
                wire = self.wire(endpoint.node, peer.node)
                wire.carry(endpoint.node, peer.lost, endpoint.node)

    def find(self, node: NodeId) -> MemoryEndpoint | None:
        """Find a node to ask; None where nothing listens under that name."""
        return self._present.get(node)

    def others(self, node: NodeId) -> list[MemoryEndpoint]:
        """List all nodes that take part, but one."""
        return [endpoint for name, endpoint in self._present.items() if name != node]

    def wire(self, one: NodeId, other: NodeId) -> Wire:
        """Get the connection of two nodes as it is now."""
        pair = frozenset((one, other))
        if pair not in self._wires:
            self._wires[pair] = Wire(self)
        return self._wires[pair]

    def _reconnect(self, one: NodeId, other: NodeId) -> None:
        """Let two nodes use a new connection from now on, if they can."""
        pair = frozenset((one, other))
        if pair not in self._cut:
            self._wires.pop(pair, None)

    def expects(self, node: NodeId) -> bool:
        """Tell whether others still believe that a node is there."""
        return node in self._present or node in self._dead

    def latency(self) -> float:
        """Draw the seconds that one message travels."""
        return self._latency(self._latency_dice)

    def loses(self) -> bool:
        """Draw whether one digest, or the probe for it, is lost."""
        return self._loss_dice.random() < self.digest_loss


class Wire:
    """One connection of two nodes: keeps the order each way; once broken, always broken."""

    def __init__(self, hub: MemoryNetwork) -> None:
        self.broken = False
        self._hub = hub
        self._latest: dict[NodeId, float] = {}

    def carry(self, sender: NodeId, deliver: Callable[..., None], *details: object) -> None:
        """Call `deliver` once the way is travelled, unless the wire is broken by then."""
        loop = asyncio.get_running_loop()
        # Timers of one and the same moment fire in no certain order.
        after = math.nextafter(self._latest.get(sender, 0.0), math.inf)
        when = max(loop.time() + self._hub.latency(), after)
        self._latest[sender] = when

        def arrive() -> None:
            if not self.broken:
                deliver(*details)

        loop.call_at(when, arrive)


class MemoryEndpoint:
    """The network of one node, as `dmoa.runtime.ports.Network` has it."""

    def __init__(self, hub: MemoryNetwork, node: NodeId) -> None:
        self._hub = hub
        self._node = node
        self._complaints = Complaints(node)
        self._host: Host | None = None
        self._desk: Desk | None = None
        self._last: bytes | None = None
        self._asking: dict[Asking, None] = {}

    @property
    def node(self) -> NodeId:
        """The name of the node."""
        return self._node

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Nowhere: this network is in one process."""
        return ()

    @property
    def dropped(self) -> int:
        """Count the messages of peers that broke the protocol."""
        return self._complaints.count

    @property
    def _joined(self) -> bool:
        return self._host is not None

    async def open(self, host: Host) -> None:
        """Join the hub; NetworkError where the name is taken."""
        self._hub.enter(self)
        self._host = host
        self._complaints.blame = host.offended
        self._desk = Desk(host, self._hub.limits, self._complaints, inbound=self._hub.inbound)

    async def close(self) -> None:
        """Leave, so that peers see it; ends everything under way."""
        if self._desk is not None:
            await self._desk.close()
        self._hub.leave(self)
        self.die()

    def die(self) -> None:
        """End everything under way on this side only."""
        if self._desk is not None:
            self._desk.stop()
        self._host = None
        for mailbox in self._asking:
            mailbox.fail(left(self._node))

    def announce(self, digest: Digest) -> None:
        """Send a digest to every peer that can be reached now."""
        self._last = codec.encode(Gossip(digest), self._hub.limits)
        if self._joined:
            for peer in self._hub.others(self._node):
                self.greet(peer)

    async def probe(self, peer: NodeId, *, patience: float) -> Digest:
        """Ask a peer how it stands right now."""
        data = await self._inquire(peer, patience, MemoryEndpoint.probed)
        try:
            return read_digest(peer, data, self._hub.limits)
        except RemoteProtocolError as error:
            self._complaints.judge(peer, error, offence(data, self._hub.limits))
            raise

    async def roll(self, peer: NodeId, *, patience: float) -> Roll:
        """Call on a peer to say its release, its clock and whom it hears."""
        start = asyncio.get_running_loop().time()
        data = await self._inquire(peer, patience, MemoryEndpoint.called)
        taken = asyncio.get_running_loop().time() - start
        try:
            return replace(codec.decode_roll(peer, data, self._hub.limits), round_trip=taken)
        except RemoteProtocolError as error:
            self._complaints.judge(peer, error)
            raise

    async def _inquire(self, peer: NodeId, patience: float, deliver: _Deliver) -> bytes:
        """Ask what takes one frame to answer; it may be lost as digests may."""
        if not self._joined:
            raise left(self._node)
        inquiry = Inquiry(peer, patience=patience)
        wire = self._hub.wire(self._node, peer)
        self._asking[inquiry] = None
        try:
            if not self._hub.loses():
                wire.carry(self._node, self._probe, wire, inquiry, deliver)
            return await inquiry.answer()
        finally:
            del self._asking[inquiry]

    async def propose(
        self, peer: NodeId, message: Offer, *, patience: float, idle: float | None = None
    ) -> Frames:
        """Give a job to a peer and follow it to its reply."""
        data = codec.encode(message, self._hub.limits)
        if not self._joined:
            raise left(self._node)
        job = message.name
        mailbox = Mailbox(peer, job, self._hub.limits, patience=patience, idle=idle)
        wire = self._hub.wire(self._node, peer)
        self._asking[mailbox] = None
        try:
            wire.carry(self._node, self._ask, wire, mailbox, data)
            while True:
                frame = await mailbox.next()
                yield frame
                if not isinstance(frame, Piece):
                    return
        except RemoteProtocolError as error:
            self._complaints.judge(peer, error, mailbox.offence)
            raise
        finally:
            del self._asking[mailbox]
            if not mailbox.settled and self._joined:
                data = codec.encode(Withdraw(job), self._hub.limits)
                wire.carry(self._node, self._withdraw, peer, data)

    def _ask(self, wire: Wire, mailbox: Mailbox, data: bytes) -> None:
        peer = self._hub.find(mailbox.peer)
        if peer is not None:
            peer.asked(self._node, data, _Way(wire, peer.node, mailbox))
        elif not self._hub.expects(mailbox.peer):
            mailbox.end()

    def _probe(self, wire: Wire, inquiry: Inquiry, deliver: _Deliver) -> None:
        peer = self._hub.find(inquiry.peer)
        if peer is not None:
            deliver(peer, self._node, _Way(wire, peer.node, inquiry))
        elif not self._hub.expects(inquiry.peer):
            inquiry.end()

    def _withdraw(self, to: NodeId, data: bytes) -> None:
        peer = self._hub.find(to)
        if peer is not None:
            peer.withdrawn(self._node, data)

    def asked(self, caller: NodeId, data: bytes, way: _Way) -> None:
        """Take a job from the hub."""
        if self._desk is None:
            way.end()
        else:
            self._desk.take(caller, data, way)

    def probed(self, caller: NodeId, way: _Way) -> None:
        """Take a probe from the hub."""
        if self._desk is None:
            way.end()
        else:
            self._desk.stand(caller, way)

    def called(self, caller: NodeId, way: _Way) -> None:
        """Take a roll call from the hub."""
        if self._desk is None:
            way.end()
        else:
            self._desk.present(caller, way)

    def withdrawn(self, caller: NodeId, data: bytes) -> None:
        """Take a withdrawal from the hub."""
        try:
            job = read_withdrawal(data, self._hub.limits)
        except RemoteProtocolError as error:
            self._complaints.judge(caller, error, offence(data, self._hub.limits))
        else:
            if self._desk is not None:
                self._desk.withdraw(caller, job)

    def heard(self, sender: NodeId, data: bytes) -> None:
        """Take a digest from the hub."""
        try:
            digest = read_digest(sender, data, self._hub.limits)
        except RemoteProtocolError as error:
            self._complaints.judge(sender, error, offence(data, self._hub.limits))
        else:
            if self._host is not None:
                self._host.heard(digest)

    def lost(self, peer: NodeId) -> None:
        """Take from the hub that a peer is gone."""
        for mailbox in self._asking:
            if mailbox.peer == peer:
                mailbox.end()
        if self._host is not None and self._desk is not None:
            self._desk.forsake(peer)
            self._host.departed(peer)

    def greet(self, peer: MemoryEndpoint) -> None:
        """Send a peer the latest digest; it may be lost."""
        if self._last is not None and not self._hub.loses():
            wire = self._hub.wire(self._node, peer.node)
            wire.carry(self._node, peer.heard, self._node, self._last)


_Deliver = Callable[["MemoryEndpoint", NodeId, "_Way"], None]
"""Hands an inquiry to the endpoint that is asked."""


class _Way:
    """The way back to a caller on the wire that its job or probe came by."""

    def __init__(self, wire: Wire, sender: NodeId, mailbox: Asking) -> None:
        self._wire = wire
        self._sender = sender
        self._mailbox = mailbox

    def put(self, frame: bytes) -> None:
        self._wire.carry(self._sender, self._mailbox.put, frame)

    async def send(self, frame: bytes) -> None:
        self.put(frame)

    def end(self) -> None:
        self._wire.carry(self._sender, self._mailbox.end)
