"""Between Zenoh's threads and the loop.

Zenoh calls back in threads of its own. There are two of them for all peers, and one that
waits stalls the network; inside a callback, most calls to Zenoh deadlock. So a callback
does nothing but hand what it got to the loop, and the loop does all the rest. The other
way round, what can block for long is sent by threads of our own.
"""

# pyright: reportUnknownMemberType=false
# (Zenoh's stubs leave out what a method returns that returns nothing.)

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import zenoh

from dmoa.core.names import NodeId
from dmoa.net import keys
from dmoa.net.exchange import Asking
from dmoa.net.inlet import Inlet
from dmoa.net.zenoh_config import WAIT_BEFORE_CLOSE

LARGE_FRAME = 8 * 1024
"""Bytes from which a frame is sent by a thread."""
SENDING_THREADS = 4
"""Peers that may take their time at once before others wait for them."""
TIMEOUT_MARGIN = 2.0
"""Seconds that Zenoh's own timeout comes after ours, which knows more."""
LONGEST = 10.0**6
"""Seconds that Zenoh is asked to wait at most."""

T = TypeVar("T")


class Bridge:
    """The way from Zenoh's threads to the loop that is running when it is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def soon(self, function: Callable[..., None], *details: object) -> None:
        """Have the loop do something: all that a thread of Zenoh may do here."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *details)

    def handler(self, function: Callable[[T], None]) -> zenoh.handlers.Callback[T]:
        """Make a handler that passes what comes on to the loop."""

        def callback(thing: T) -> None:
            self.soon(function, thing)

        # Indirect ones cost a thread each, which keeps the interpreter from exiting.
        return zenoh.handlers.Callback(callback, indirect=False)

    def take(
        self, inlet: Inlet, function: Callable[[NodeId, zenoh.Sample], None]
    ) -> zenoh.handlers.Callback[zenoh.Sample]:
        """Make a handler that passes on as much as its inlet takes, and drops the rest."""

        def callback(sample: zenoh.Sample) -> None:
            caller = keys.speaker(str(sample.key_expr))
            if caller is not None and self._enter(inlet, caller):
                self.soon(function, caller, sample)

        return zenoh.handlers.Callback(callback, indirect=False)

    def admit(
        self,
        inlet: Inlet,
        function: Callable[[NodeId, zenoh.Query], None],
        gate: Gate | None = None,
    ) -> zenoh.handlers.Callback[zenoh.Query]:
        """Make a handler that passes on as much as inlet and gate let in, and refuses the rest."""

        def callback(query: zenoh.Query) -> None:
            caller = keys.speaker(str(query.key_expr))
            if (
                caller is not None
                and self._enter(inlet, caller)
                and (gate is None or gate.enter(caller))
            ):
                self.soon(function, caller, query)
                return
            # Here, by Zenoh's thread: what is kept for the loop is what must not pile up.
            with suppress(zenoh.ZError):
                if caller is not None:
                    # A bare end would say that nobody is here.
                    query.reply_err(b"busy")
                query.drop()

        return zenoh.handlers.Callback(callback, indirect=False)

    def _enter(self, inlet: Inlet, caller: NodeId) -> bool:
        if inlet.early.enter(caller):
            return True
        if inlet.early.tell(caller):
            self.soon(inlet.spilled, caller)
        return False


class Gate:
    """Lets in so many at a time, of one caller and of all; any thread may use it."""

    def __init__(self, each: int, most: int) -> None:
        self._each = each
        self._most = most
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, caller: str) -> bool:
        """Tell whether one more of this caller is let in."""
        with self._lock:
            if self._inside.total() >= self._most or self._inside[caller] >= self._each:
                return False
            self._inside[caller] += 1
            return True

    def leave(self, caller: str) -> None:
        """Make room for another one of this caller."""
        with self._lock:
            self._inside[caller] -= 1
            if self._inside[caller] <= 0:
                del self._inside[caller]


class Sender:
    """Sends to peers, to each in order, and waits for a slow one in a thread.

    A peer that takes no more bytes would hold up the loop, for WAIT_BEFORE_CLOSE and
    behind others that wait for the same peer. So a large frame is sent by a thread, and
    what follows it to that peer queues behind it; one thread at most waits for a peer.
    """

    def __init__(self) -> None:
        # Not the loop's own threads: others may be busy there for long.
        self._threads = ThreadPoolExecutor(SENDING_THREADS, "dmoa-send")
        self._lanes: dict[str, deque[tuple[Callable[[], None], asyncio.Future[None]]]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False

    def post(
        self, peer: str, send: Callable[[], None], size: int = 0
    ) -> asyncio.Future[None] | None:
        """Send at once, or else return the future of when it is sent or given up."""
        lane = self._lanes.get(peer)
        if self._closed:
            return None
        if lane is None and size < LARGE_FRAME:
            send()
            return None
        done = asyncio.get_running_loop().create_future()
        if lane is None:
            lane = self._lanes[peer] = deque()
            worker = asyncio.create_task(self._work(peer), name=f"send to {peer}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        lane.append((send, done))
        return done

    async def close(self) -> None:
        """Send what is still to be sent, as far as that does not take long."""
        if self._workers:
            await asyncio.wait(self._workers, timeout=2 * WAIT_BEFORE_CLOSE)
        self._closed = True
        for worker in self._workers:
            worker.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _work(self, peer: str) -> None:
        lane = self._lanes[peer]
        try:
            while lane:
                await asyncio.get_running_loop().run_in_executor(self._threads, lane[0][0])
                _settle(lane.popleft()[1])
        finally:
            del self._lanes[peer]
            for _, done in lane:
                _settle(done)


def _settle(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


class Question:
    """One query to a peer, whose frames go to a mailbox.

    An urgent one overtakes the bytes of jobs, as does its reply, and rather gets lost than
    waits for a peer that takes no bytes. It does not travel express: each would then fill
    one of the two places that its urgency has, and of a few at once most were lost.

    With `every`, all that answer to the peer's name are asked, where else any one of them is:
    seals tell which of them it is, and none can stand in the peer's way.
    """

    def __init__(  # noqa: PLR0913 - all that is known of a call
        self,
        session: zenoh.Session,
        bridge: Bridge,
        sender: Sender,
        mailbox: Asking,
        *,
        urgent: bool = False,
        every: bool = False,
    ) -> None:
        self._session = session
        self._bridge = bridge
        self._sender = sender
        self._mailbox = mailbox
        self._urgent = urgent
        self._every = every
        self._wanted = True
        self._token = zenoh.CancellationToken()

    async def ask(self, key: str, data: bytes, patience: float) -> None:
        """Send the query, or begin to where that takes longer than the patience."""
        sent = self._sender.post(
            self._mailbox.peer, lambda: self._get(key, data, patience), len(data)
        )
        if sent is not None:
            await asyncio.wait({sent}, timeout=patience)

    def drop(self) -> None:
        """End the query on this side: its peer keeps nothing for it."""
        self._wanted = False
        self._sender.post(self._mailbox.peer, self._cancel)

    def withdraw(self, key: str, data: bytes) -> None:
        """End the query on both sides, once it is wholly sent."""

        def send() -> None:
            self._cancel()
            put(self._session, key, data, zenoh.CongestionControl.BLOCK)

        self._sender.post(self._mailbox.peer, send)

    def _cancel(self) -> None:
        self._token.cancel()

    def _get(self, key: str, data: bytes, patience: float) -> None:
        if not self._wanted:
            return
        congestion, priority = zenoh.CongestionControl, zenoh.Priority
        targets = zenoh.QueryTarget
        try:
            self._session.get(
                key,
                zenoh.handlers.Callback(self._replied, self._ended, indirect=False),
                payload=data,
                target=targets.ALL if self._every else targets.BEST_MATCHING,
                timeout=min(patience + TIMEOUT_MARGIN, LONGEST),
                # Any other keeps all replies back until the query ends, but one.
                consolidation=zenoh.ConsolidationMode.NONE,
                cancellation_token=self._token,
                congestion_control=congestion.DROP if self._urgent else congestion.BLOCK,
                priority=priority.INTERACTIVE_HIGH if self._urgent else priority.DATA,
                express=not self._urgent,
            )
        except zenoh.ZError:
            self._ended()

    def _replied(self, reply: zenoh.Reply) -> None:
        self._bridge.soon(self._take, reply)

    def _ended(self) -> None:
        self._bridge.soon(self._mailbox.end)

    def _take(self, reply: zenoh.Reply) -> None:
        if reply.ok is not None:
            self._mailbox.put(bytes(reply.ok.payload))
        else:
            # Zenoh's own timeout, or the peer has too many probes to answer: it is there.
            self._mailbox.doubt()


class Way:
    """The way back to the caller of one query."""

    def __init__(self, sender: Sender, caller: str, query: zenoh.Query) -> None:
        self._sender = sender
        self._caller = caller
        self._query = query
        self._key = query.key_expr

    def put(self, frame: bytes) -> asyncio.Future[None] | None:
        """Send a frame; nothing happens where the caller is gone."""
        return self._sender.post(self._caller, lambda: self._reply(frame), len(frame))

    async def send(self, frame: bytes) -> None:
        """Send a frame, and wait until it is sent."""
        sent = self.put(frame)
        if sent is not None:
            await sent

    def end(self) -> None:
        """Finish the query: one that is not dropped lets its caller wait."""
        self._sender.post(self._caller, self._drop)

    def _drop(self) -> None:
        self._query.drop()

    def _reply(self, frame: bytes, *, express: bool = True) -> None:
        # Zenoh would gather frames to batches; a token is to be seen at once.
        with suppress(zenoh.ZError):
            self._query.reply(self._key, frame, express=express)


class UrgentWay(Way):
    """The way back to the caller of an urgent query, who came by a gate.

    A thread sends it, for only the caller's own word makes a reply one that rather gets
    lost than waits: a caller that asks and asks, and takes no bytes, would hold up the loop.
    """

    def __init__(self, sender: Sender, caller: NodeId, query: zenoh.Query, gate: Gate) -> None:
        super().__init__(sender, caller, query)
        self._gate = gate
        self._frame: bytes | None = None

    def put(self, frame: bytes) -> None:
        """Keep the one frame until the end."""
        self._frame = frame

    def end(self) -> None:
        """Send the frame, if there is one, and finish the query."""
        self._sender.post(self._caller, self._tell, LARGE_FRAME)

    def _tell(self) -> None:
        try:
            if self._frame is not None:
                self._reply(self._frame, express=False)
            self._drop()
        finally:
            self._gate.leave(self._caller)


def leave(session: zenoh.Session, token: zenoh.LivelinessToken | None) -> None:
    """Close a session, in a thread: the token first, so that peers see it at once."""
    if token is not None:
        with suppress(zenoh.ZError):
            token.undeclare()
    with suppress(zenoh.ZError):
        session.close()


def put(
    session: zenoh.Session,
    key: str,
    data: bytes,
    congestion_control: zenoh.CongestionControl = zenoh.CongestionControl.DROP,
) -> None:
    """Publish; where the session is closed, nothing happens."""
    with suppress(zenoh.ZError):
        session.put(key, data, congestion_control=congestion_control, express=True)
