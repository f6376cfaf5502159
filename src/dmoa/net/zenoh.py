"""Peers over Eclipse Zenoh: discovery, digests, jobs.

Truth about who is there are the digests, which nodes put once a second: liveliness
tokens miss some peers when many start at once. A token that goes only hints that its
node left, and one that comes has the own digest sent again at once, so that a newcomer
does not wait a second for it.

All methods here run on the loop, but for those that say otherwise: `Bridge` brings what
Zenoh's threads call back with.
"""

from __future__ import annotations

import asyncio

import zenoh

from dmoa.core.digest import Digest
from dmoa.core.limits import Limits
from dmoa.core.messages import Gossip, Piece, Propose, Withdraw
from dmoa.core.names import NodeId
from dmoa.errors import RemoteProtocolError
from dmoa.net import codec, keys
from dmoa.net.exchange import (
    INBOUND_JOBS,
    Asking,
    Complaints,
    Desk,
    Inquiry,
    Mailbox,
    left,
    read_digest,
    read_withdrawal,
)
from dmoa.net.zenoh_bridge import Bridge, Gate, Question, Sender, UrgentWay, Way, leave, put
from dmoa.net.zenoh_config import ZenohSettings, choose_ports, explain, make_config
from dmoa.runtime.ports import Frames, Host

GREETING_DELAY = 0.02
"""Seconds that a greeting waits for more newcomers to greet with it."""
PROBES = 512
"""Probes of all peers that may wait to be answered; more are turned away, and their callers
get PeerSilentError at once."""
PROBES_EACH = 64
"""The same for each peer, so that a flood from one leaves room for the others."""
OPENINGS = 3
"""Attempts to open, as another program may take a free port that was just chosen."""


class ZenohNetwork:
    """The network of one node, as `dmoa.runtime.ports.Network` has it, over Zenoh.

    Names must be unique in a realm. Of more than `inbound` jobs of peers at a time, the
    latest are turned away, and their callers get UnreachableError.
    """

    def __init__(
        self,
        node: NodeId,
        settings: ZenohSettings | None = None,
        *,
        limits: Limits | None = None,
        inbound: int = INBOUND_JOBS,
    ) -> None:
        self._node = node
        self._settings = settings or ZenohSettings()
        self._limits = limits or Limits()
        self._inbound = inbound
        self._complaints = Complaints(node)
        self._listen: tuple[str, ...] = ()
        self._last: bytes | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._asking: dict[Asking, None] = {}
        self._session: zenoh.Session | None = None
        self._closed = True
        self._bridge: Bridge
        self._sender: Sender
        self._gate: Gate
        self._host: Host
        self._desk: Desk

    @property
    def node(self) -> NodeId:
        """The name of the node."""
        return self._node

    @property
    def dropped(self) -> int:
        """Count the messages of peers that broke the protocol."""
        return self._complaints.count

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where this node listens, once it is open: what other nodes can `connect` to."""
        return self._listen

    async def open(self, host: Host) -> None:
        """Join the realm; NetworkError names the endpoint where that is impossible."""
        self._closed = False
        self._host = host
        self._desk = Desk(host, self._limits, self._complaints, inbound=self._inbound)
        self._bridge = Bridge()
        self._sender = Sender()
        self._gate = Gate(PROBES_EACH, PROBES)
        joining = asyncio.ensure_future(asyncio.to_thread(self._join, self._bridge))
        try:
            self._session = await asyncio.shield(joining)
        except asyncio.CancelledError:
            self._closed = True
            joining.add_done_callback(_leave_late)
            raise
        self._greet()

    def _join(self, bridge: Bridge) -> zenoh.Session:
        """Open a session and declare all that peers can reach, in a thread."""
        session = self._open()
        remote = zenoh.Locality.REMOTE
        try:
            session.declare_queryable(
                keys.jobs(self._node),
                bridge.handler(self._asked),
                complete=True,
                allowed_origin=remote,
            )
            session.declare_queryable(
                keys.standing(self._node),
                bridge.guard(self._gate, self._probed),
                complete=True,
                allowed_origin=remote,
            )
            for key, function in (
                (keys.withdrawals(self._node), self._withdrawn),
                (keys.DIGESTS, self._heard),
            ):
                session.declare_subscriber(key, bridge.handler(function), allowed_origin=remote)
            alive = session.liveliness()
            alive.declare_subscriber(keys.PRESENCES, bridge.handler(self._seen), history=True)
            # The last, for whoever sees it may ask at once.
            self._token = alive.declare_token(keys.presence(self._node))
        except zenoh.ZError as error:
            leave(session, None)
            raise explain(error, self._settings.listen) from error
        return session

    def _open(self) -> zenoh.Session:
        for attempt in range(1, OPENINGS + 1):
            self._listen = choose_ports(self._settings.listen)
            config = make_config(self._settings, self._listen, self._limits)
            try:
                return zenoh.open(config)
            except zenoh.ZError as error:
                if attempt == OPENINGS or self._listen == self._settings.listen:
                    raise explain(error, self._settings.listen) from error
        raise AssertionError

    async def close(self) -> None:
        """Leave, so that peers see it; ends everything under way."""
        self._closed = True
        session, self._session = self._session, None
        if session is None:
            return
        if self._greeting is not None:
            self._greeting.cancel()
        for mailbox in self._asking:
            mailbox.fail(left(self._node))
        await self._desk.close()
        await self._sender.close()
        await asyncio.to_thread(leave, session, self._token)

    def announce(self, digest: Digest) -> None:
        """Send a digest to every peer that can be reached now."""
        self._last = codec.encode(Gossip(digest), self._limits)
        self._greet()

    def _greet(self) -> None:
        self._greeting = None
        if self._session is not None and self._last is not None:
            put(self._session, keys.digest(self._node), self._last)

    async def probe(self, peer: NodeId, *, patience: float) -> Digest:
        """Ask a peer how it stands right now."""
        session = self._session
        if session is None:
            raise left(self._node)
        inquiry = Inquiry(peer, self._limits, patience=patience)
        question = Question(session, self._bridge, self._sender, inquiry, urgent=True)
        self._asking[inquiry] = None
        try:
            await question.ask(keys.standing(peer, self._node), b"", patience)
            return await inquiry.digest()
        except RemoteProtocolError as error:
            self._complaints.note(peer, error)
            raise
        finally:
            del self._asking[inquiry]
            question.drop()

    async def propose(
        self, peer: NodeId, message: Propose, *, patience: float, idle: float | None = None
    ) -> Frames:
        """Give a job to a peer and follow it to its reply."""
        data = codec.encode(message, self._limits)
        session = self._session
        if session is None:
            raise left(self._node)
        mailbox = Mailbox(peer, message.job.id, self._limits, patience=patience, idle=idle)
        question = Question(session, self._bridge, self._sender, mailbox)
        self._asking[mailbox] = None
        try:
            await question.ask(keys.jobs(peer, self._node), data, patience)
            while True:
                frame = await mailbox.next()
                yield frame
                if not isinstance(frame, Piece):
                    return
        except RemoteProtocolError as error:
            self._complaints.note(peer, error)
            raise
        finally:
            del self._asking[mailbox]
            if not mailbox.settled:
                withdrawal = codec.encode(Withdraw(message.job.id), self._limits)
                question.withdraw(keys.withdrawals(peer, self._node), withdrawal)

    def _asked(self, query: zenoh.Query) -> None:
        caller = keys.speaker(str(query.key_expr))
        way = Way(self._sender, caller or "", query)
        if self._closed or caller is None:
            way.end()
        else:
            self._desk.take(caller, bytes(query.payload or b""), way)

    def _probed(self, caller: NodeId, query: zenoh.Query) -> None:
        way = UrgentWay(self._sender, caller, query, self._gate)
        if self._closed:
            way.end()
        else:
            self._desk.stand(caller, way)

    def _withdrawn(self, sample: zenoh.Sample) -> None:
        caller = keys.speaker(str(sample.key_expr))
        if self._closed or caller is None:
            return
        try:
            job = read_withdrawal(bytes(sample.payload), self._limits)
        except RemoteProtocolError as error:
            self._complaints.note(caller, error)
        else:
            self._desk.withdraw(caller, job)

    def _heard(self, sample: zenoh.Sample) -> None:
        sender = keys.speaker(str(sample.key_expr))
        if self._closed or sender is None:
            return
        try:
            digest = read_digest(sender, bytes(sample.payload), self._limits)
        except RemoteProtocolError as error:
            self._complaints.note(sender, error)
            return
        if sender == self._node:
            self._complaints.note(sender, "another node of this realm has this node's name")
        else:
            self._host.heard(digest)

    def _seen(self, sample: zenoh.Sample) -> None:
        """Take the coming or going of a token."""
        peer = keys.speaker(str(sample.key_expr))
        if self._closed or peer is None or peer == self._node:
            return
        if sample.kind == zenoh.SampleKind.DELETE:
            self._desk.forsake(peer)
            self._host.departed(peer)
        elif self._greeting is None:
            loop = asyncio.get_running_loop()
            self._greeting = loop.call_later(GREETING_DELAY, self._greet)


def _leave_late(joining: asyncio.Future[zenoh.Session]) -> None:
    """Close a session that opened when nobody wanted it any more."""
    if not joining.cancelled() and joining.exception() is None:
        leave(joining.result(), None)
