"""Peers over Eclipse Zenoh: discovery, digests, jobs.

Truth about who is there are the digests, which nodes put once a second: liveliness
tokens miss some peers when many start at once. A token that goes only hints that its
node left, and one that comes has the own digest sent again at once, so that a newcomer
does not wait a second for it.

In a realm all of it is sealed, over mutual TLS. New papers and revocations need a new session
at the same endpoints (`refresh`): what is under way is lost then, as when a cable is cut.

All methods here run on the loop, but for those that say otherwise: `Bridge` brings what
Zenoh's threads call back with.
"""

from __future__ import annotations

import asyncio
import math
import os
from dataclasses import replace

import zenoh

from dmoa.core.digest import Digest
from dmoa.core.limits import Limits
from dmoa.core.messages import Gossip, Offer, Piece, Withdraw
from dmoa.core.names import NodeId
from dmoa.errors import ForgedError, RemoteProtocolError
from dmoa.net import codec, keys
from dmoa.net.company import Company
from dmoa.net.complaints import Complaints
from dmoa.net.desk import INBOUND_JOBS, Desk, offence, read_digest, read_withdrawal
from dmoa.net.exchange import Asking, Inquiry, Mailbox, left
from dmoa.net.identity import Identity
from dmoa.net.inlet import Inlets
from dmoa.net.notices import Notices
from dmoa.net.seals import (
    DIGEST,
    JOB,
    NOTICE,
    ROLL,
    STANDING,
    WITHDRAWAL,
    Answer,
    Replays,
    Seals,
)
from dmoa.net.zenoh_bridge import Bridge, Gate, Question, Sender, UrgentWay, Way, put
from dmoa.net.zenoh_config import ZenohSettings
from dmoa.net.zenoh_session import Doings, Presence
from dmoa.runtime.ports import Frames, Host, Roll

GREETING_DELAY = 0.02
"""Seconds that a greeting waits for more newcomers to greet with it."""
GREETING_LEAST = 0.1
"""Seconds between two greetings: whoever comes and goes and comes must not make a flood of us."""
PROBES = 512
"""Probes of all peers that may wait to be answered; more are turned away, and their callers
get PeerSilentError at once."""
PROBES_EACH = 64
"""The same for each peer, so that a flood from one leaves room for the others."""
NONCE_BYTES = 16
"""Bytes of chance in a sealed inquiry, so that no answer to an earlier one fits it."""
VIEWS = 4
"""How many views of peers are known by their newest digests."""


class ZenohNetwork:
    """The network of one node, as `dmoa.runtime.ports.Network` has it, over Zenoh.

    Names must be unique in a realm. Of more than `inbound` jobs of peers at a time, the
    latest are turned away, and their callers get UnreachableError. With an `identity`, only
    who proves to be a member of its realm is met or heard.
    """

    def __init__(
        self,
        node: NodeId,
        settings: ZenohSettings | None = None,
        *,
        identity: Identity | None = None,
        limits: Limits | None = None,
        inbound: int = INBOUND_JOBS,
    ) -> None:
        self._node = node
        self._limits = limits or Limits()
        self._inbound = inbound
        self._complaints = Complaints(node)
        self._seals = Seals(node, identity, self._complaints)
        self._replays = Replays(nodes=VIEWS * self._limits.view)
        self._notices = Notices(node, identity, self.refresh)
        self._presence = Presence(node, settings or ZenohSettings(), self._limits, identity)
        self._last: bytes | None = None
        self._greeting: asyncio.TimerHandle | None = None
        self._asking: dict[Asking, None] = {}
        self._renewals: set[asyncio.Task[None]] = set()
        self._renewing = asyncio.Lock()
        self._closed = True
        self._company: Company | None = None
        self._greeted = -math.inf
        self._bridge: Bridge
        self._sender: Sender
        self._gate: Gate
        self._host: Host
        self._desk: Desk
        self._inlets: Inlets

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
        return self._presence.listen

    @property
    def _session(self) -> zenoh.Session | None:
        return self._presence.session

    # -- coming and going ----------------------------------------------------------------

    async def open(self, host: Host) -> None:
        """Join the realm; NetworkError names the endpoint where that is impossible.

        A node that is relayed goes on trying, for its peers may come later.
        """
        self._closed = False
        self._host = host
        self._complaints.blame = host.offended
        self._company = Company(self._renew, searches=self._presence.searches)
        self._inlets = Inlets(self._seals, self._complaints, self._limits)
        try:
            await self._presence.begin(self._doings())
        except BaseException:
            self._closed = True
            self._company.cancel()
            raise

    def _doings(self) -> Doings:
        """Make all anew that belongs to one session, and say what happens on it."""
        self._desk = Desk(self._host, self._limits, self._complaints, inbound=self._inbound)
        self._bridge = bridge = Bridge()
        self._sender = Sender()
        self._gate = Gate(PROBES_EACH, PROBES)
        inlets, gate = self._inlets, self._gate
        return Doings(
            queries=(
                (keys.jobs(self._node), bridge.admit(inlets[JOB], self._asked)),
                (keys.standing(self._node), bridge.admit(inlets[STANDING], self._probed, gate)),
                (keys.roll(self._node), bridge.admit(inlets[ROLL], self._called, gate)),
            ),
            samples=(
                (keys.withdrawals(self._node), bridge.take(inlets[WITHDRAWAL], self._withdrawn)),
                (keys.DIGESTS, bridge.take(inlets[DIGEST], self._heard)),
                (keys.NOTICES, bridge.take(inlets[NOTICE], self._noticed)),
            ),
            presences=bridge.handler(self._seen),
            joined=self._welcome,
        )

    async def close(self) -> None:
        """Leave, so that peers see it; ends everything under way."""
        self._closed = True
        if self._greeting is not None:
            self._greeting.cancel()
        if self._company is not None:
            await self._company.close()
        await self._notices.close()
        if self._renewals:
            await asyncio.wait(self._renewals)
        await self._part()

    async def refresh(self) -> None:
        """Take new papers and revocations into use: leave, and join again at the same endpoints.

        What is under way is lost. Nothing happens where nothing is new. Where joining fails,
        it is tried again until it succeeds or the network is closed.
        """
        task = asyncio.create_task(self._renew(always=False), name="renew the session")
        self._renewals.add(task)
        task.add_done_callback(self._renewals.discard)
        await asyncio.shield(task)  # half of it would leave a session that nobody closes

    async def _renew(self, *, always: bool = True) -> None:
        """Leave, and join again, where papers are new or it is done `always`."""
        async with self._renewing:
            if self._closed or not (always or await self._presence.outdated()):
                return
            await self._part()
            if not self._closed:
                await self._presence.begin(self._doings(), persists=True)

    async def _part(self) -> None:
        if not self._presence.begun:
            return
        session = self._presence.part()
        for mailbox in self._asking:
            mailbox.fail(left(self._node))
        await self._desk.close()
        await self._sender.close()
        await self._presence.leave(session)
        if self._company is not None:
            self._company.clear()

    # -- what this node says ---------------------------------------------------------------

    def announce(self, digest: Digest) -> None:
        """Send a digest to every peer that can be reached now."""
        self._last = self._seals.seal(DIGEST, "", codec.encode(Gossip(digest), self._limits))
        self._greet()
        self._notices.tell(self._session, again=True)

    def _greet(self) -> None:
        if self._session is not None and self._last is not None:
            put(self._session, keys.digest(self._node), self._last)

    async def probe(self, peer: NodeId, *, patience: float) -> Digest:
        """Ask a peer how it stands right now."""
        data = await self._inquire(peer, STANDING, keys.standing(peer, self._node), patience)
        try:
            return read_digest(peer, data, self._limits)
        except RemoteProtocolError as error:
            self._complaints.judge(peer, error, offence(data, self._limits))
            raise

    async def roll(self, peer: NodeId, *, patience: float) -> Roll:
        """Call on a peer to say its release, its clock and whom it hears."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        data = await self._inquire(peer, ROLL, keys.roll(peer, self._node), patience)
        taken = loop.time() - start
        try:
            return replace(codec.decode_roll(peer, data, self._limits), round_trip=taken)
        except RemoteProtocolError as error:
            self._complaints.judge(peer, error, offence(data, self._limits))
            raise

    async def _inquire(self, peer: NodeId, purpose: str, key: str, patience: float) -> bytes:
        """Ask what takes one frame to answer."""
        session = self._session
        if session is None:
            raise left(self._node)
        data = os.urandom(NONCE_BYTES) if self._seals.used else b""
        data = self._seals.seal(purpose, peer, data)
        inquiry = Inquiry(peer, patience=patience, reader=self._seals.reader(peer, data))
        question = self._question(session, inquiry, urgent=True)
        self._asking[inquiry] = None
        try:
            await question.ask(key, data, patience)
            return await inquiry.answer()
        finally:
            del self._asking[inquiry]
            question.drop()

    async def propose(
        self, peer: NodeId, message: Offer, *, patience: float, idle: float | None = None
    ) -> Frames:
        """Give a job to a peer and follow it to its reply."""
        data = self._seals.seal(JOB, peer, codec.encode(message, self._limits))
        session = self._session
        if session is None:
            raise left(self._node)
        reader = self._seals.reader(peer, data)
        job = message.name
        mailbox = Mailbox(peer, job, self._limits, patience=patience, idle=idle, reader=reader)
        question = self._question(session, mailbox)
        self._asking[mailbox] = None
        try:
            await question.ask(keys.jobs(peer, self._node), data, patience)
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
            if not mailbox.settled:
                withdrawal = codec.encode(Withdraw(job), self._limits)
                sealed = self._seals.seal(WITHDRAWAL, peer, withdrawal)
                question.withdraw(keys.withdrawals(peer, self._node), sealed)

    def _question(
        self, session: zenoh.Session, mailbox: Asking, *, urgent: bool = False
    ) -> Question:
        every = self._seals.used
        return Question(session, self._bridge, self._sender, mailbox, urgent=urgent, every=every)

    # -- what this node hears --------------------------------------------------------------

    def _asked(self, caller: NodeId, query: zenoh.Query) -> None:
        payload = bytes(query.payload or b"")
        way = self._seals.writer(caller, payload, Way(self._sender, caller, query))
        data = None if self._closed else self._inlets[JOB].open(caller, payload)
        if data is None or not self._is_new(caller, payload):
            way.end()
        else:
            self._desk.take(caller, data, way)

    def _is_new(self, caller: NodeId, payload: bytes) -> bool:
        try:
            if self._seals.used:
                self._replays.job(payload)
        except ForgedError as error:
            self._complaints.note(caller, error)
            return False
        return True

    def _probed(self, caller: NodeId, query: zenoh.Query) -> None:
        way = self._inquired(STANDING, caller, query)
        if way is not None:
            self._desk.stand(caller, way)

    def _called(self, caller: NodeId, query: zenoh.Query) -> None:
        way = self._inquired(ROLL, caller, query)
        if way is not None:
            self._desk.present(caller, way)

    def _inquired(self, purpose: str, caller: NodeId, query: zenoh.Query) -> Answer | None:
        payload = bytes(query.payload or b"")
        way = UrgentWay(self._sender, caller, query, self._gate)
        if self._closed or self._inlets[purpose].open(caller, payload) is None:
            way.end()
            return None
        return self._seals.writer(caller, payload, way)

    def _withdrawn(self, caller: NodeId, sample: zenoh.Sample) -> None:
        if self._closed:
            return
        data = self._inlets[WITHDRAWAL].open(caller, bytes(sample.payload))
        if data is None:
            return
        try:
            job = read_withdrawal(data, self._limits)
        except RemoteProtocolError as error:
            self._complaints.judge(caller, error, offence(data, self._limits))
        else:
            self._desk.withdraw(caller, job)

    def _heard(self, sender: NodeId, sample: zenoh.Sample) -> None:
        payload = bytes(sample.payload)
        if self._closed or (self._seals.used and self._replays.repeats(sender, payload)):
            return
        data = self._inlets[DIGEST].open(sender, payload)
        if data is None:
            return
        if sender == self._node:
            self._complaints.note(sender, "another node of this realm has this node's name")
            return
        try:
            digest = read_digest(sender, data, self._limits)
            if self._seals.used:
                self._replays.digest(digest, payload)
        except RemoteProtocolError as error:
            self._complaints.judge(sender, error, offence(data, self._limits))
        else:
            if self._company is not None:
                self._company.heard(sender)
            self._host.heard(digest)

    def _noticed(self, _: NodeId, sample: zenoh.Sample) -> None:
        if not self._closed:
            self._notices.take(bytes(sample.payload))

    def _seen(self, sample: zenoh.Sample) -> None:
        """Take the coming or going of a token."""
        peer = keys.speaker(str(sample.key_expr))
        if self._closed or peer is None or peer == self._node:
            return
        if self._company is not None:
            gone = sample.kind == zenoh.SampleKind.DELETE
            (self._company.left if gone else self._company.came)(peer)
        if sample.kind == zenoh.SampleKind.DELETE:
            self._desk.forsake(peer)
            self._host.departed(peer)
        elif self._greeting is None:
            loop = asyncio.get_running_loop()
            due = max(loop.time() + GREETING_DELAY, self._greeted + GREETING_LEAST)
            self._greeting = loop.call_at(due, self._welcome)

    def _welcome(self) -> None:
        """Greet newcomers, and tell them who is no member any more."""
        self._greeting = None
        self._greeted = asyncio.get_running_loop().time()
        self._greet()
        self._notices.tell(self._session)
