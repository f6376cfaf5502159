"""Both ends of an exchange, a job and its frames, whatever carries the bytes between.

The caller's end is a `Mailbox`, the server's a `Desk`. Between them travel frames: one
byte that says what the frame is, then

```text
MESSAGE   an encoded piece or reply; the reply is the last frame
BUSY      nothing ran: too many jobs of peers are under way      -> UnreachableError
REFUSED   nothing ran: the job broke the protocol, says the rest -> UnreachableError
BROKEN    the handler failed, its peer's log knows how           -> PeerGoneError
EXPIRED   the patience of the job passed at the peer             -> PeerSilentError
```

and at last the bare end, which alone means that the peer vanished: PeerGoneError when
frames came before it, UnreachableError when none did.

A probe is shorter. Its caller's end is an `Inquiry`, and its one frame is the peer's
encoded digest; the bare end without one is an UnreachableError.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import Protocol

from dmoa.core.digest import Digest
from dmoa.core.limits import Limits
from dmoa.core.messages import (
    Decline,
    Failure,
    Gossip,
    Piece,
    Proposal,
    Propose,
    Reply,
    Withdraw,
)
from dmoa.core.names import JobId, NodeId
from dmoa.errors import (
    LocalProtocolError,
    PeerGoneError,
    PeerSilentError,
    RemoteProtocolError,
    UnreachableError,
)
from dmoa.net import codec
from dmoa.runtime.ports import Frames, Host

log = logging.getLogger(__name__)

INBOUND_JOBS = 256
"""Jobs of peers that one node lets run or wait at a time; the queue declines long before."""
BACKLOG_MESSAGES = 4
"""Bytes that wait for the reader of one exchange, in messages of the largest size."""
COMPLAINT_INTERVAL = 60.0
"""Seconds between two warnings about one peer."""
COMPLAINT_PEERS = 256
"""Peers whose last warning is remembered."""
CLOSING = 5.0
"""Seconds that handlers have to let go when the node leaves."""

MESSAGE, BUSY, REFUSED, BROKEN, EXPIRED = (bytes((tag,)) for tag in range(5))


class Complaints:
    """Counts what broke the protocol, and warns of it at most once a minute and peer."""

    def __init__(self, node: NodeId) -> None:
        self.count = 0
        self._node = node
        self._warned: dict[str, float] = {}

    def note(self, peer: str, flaw: object) -> None:
        """Count one message of `peer` that was dropped for its `flaw`."""
        self.count += 1
        now = asyncio.get_running_loop().time()
        if now - self._warned.get(peer, -COMPLAINT_INTERVAL) < COMPLAINT_INTERVAL:
            return
        if len(self._warned) >= COMPLAINT_PEERS:
            self._warned.clear()
        self._warned[peer] = now
        log.warning("%s dropped a message from %.40s: %.200s", self._node, peer, flaw)


class Mailbox:
    """The caller's end: takes frames as they come, gives messages as they are wanted.

    `settled` tells that the peer does nothing more for this job, as far as is known.
    """

    def __init__(
        self, peer: NodeId, job: JobId, limits: Limits, *, patience: float, idle: float | None
    ) -> None:
        self.peer = peer
        self.settled = False
        self._job = job
        self._limits = limits
        self._patience = patience
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + patience
        self._frames: deque[bytes] = deque()
        self._room = BACKLOG_MESSAGES * limits.message_bytes
        self._heard = False
        self._end: Exception | None = None
        self._news = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Take a frame; frames after the end are ignored."""
        if self._end is not None:
            return
        self._room -= len(frame)
        if self._room < 0:
            self.fail(RemoteProtocolError(f"{self.peer} sends faster than can be read"))
            return
        self._heard = True
        self._frames.append(frame)
        self._news.set()

    def end(self) -> None:
        """Take the bare end: no frame comes any more."""
        if self._end is None:
            self.settled = True
        gone = PeerGoneError(f"{self.peer} vanished in the middle of a job")
        self.fail(gone if self._heard else UnreachableError(f"{self.peer} cannot be reached"))

    def fail(self, error: Exception) -> None:
        """Raise `error` once all frames are read, unless an end came before."""
        self._end = self._end or error
        self._news.set()

    async def next(self) -> Piece | Reply:
        """Wait for the next message of the job; raises what ended it without a reply."""
        if not self._frames:
            await self._wait()
        elif self._loop.time() > self._deadline:
            raise self._impatient()
        if not self._frames:
            assert self._end is not None
            raise self._end
        frame = self._frames.popleft()
        self._room += len(frame)
        return self._read(frame)

    async def _wait(self) -> None:
        if self._end is not None:
            return
        now = self._loop.time()
        idle = self._idle is not None and now + self._idle < self._deadline
        self._news.clear()
        try:
            async with asyncio.timeout_at(now + (self._idle or 0) if idle else self._deadline):
                await self._news.wait()
        except TimeoutError:
            raise self._silent() if idle else self._impatient() from None

    def _silent(self) -> PeerSilentError:
        return PeerSilentError(f"{self.peer} was silent for {self._idle:g} s")

    def _impatient(self) -> PeerSilentError:
        return PeerSilentError(f"{self.peer} gave no reply within {self._patience:g} s")

    def _read(self, frame: bytes) -> Piece | Reply:
        tag, body = frame[:1], frame[1:]
        if tag != MESSAGE:
            self.settled = True
            raise self._fault(tag, body.decode(errors="replace")[:200])
        message = codec.decode(body, self._limits)
        if not isinstance(message, Piece | Proposal | Decline | Failure):
            raise RemoteProtocolError(f"{self.peer} sent a {message.kind} where a reply belongs")
        if message.job != self._job:
            raise RemoteProtocolError(f"{self.peer} sent a reply to another job")
        self.settled = not isinstance(message, Piece)
        return message

    def _fault(self, tag: bytes, detail: str) -> Exception:
        if tag == BUSY:
            return UnreachableError(f"{self.peer} is busy with too many jobs of peers")
        if tag == REFUSED:
            return UnreachableError(f"{self.peer} refused the job: {detail}")
        if tag == BROKEN:
            return PeerGoneError(f"{self.peer} failed in the middle of a job")
        if tag == EXPIRED:
            return self._impatient()
        return RemoteProtocolError(f"{self.peer} sent a frame of an unknown kind")


class Inquiry:
    """The caller's end of a probe: takes one digest, or what keeps it from coming."""

    def __init__(self, peer: NodeId, limits: Limits, *, patience: float) -> None:
        self.peer = peer
        self._limits = limits
        self._patience = patience
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + patience
        # An error is a result here: nobody may be left to hear it, which is no fault.
        self._outcome: asyncio.Future[bytes | Exception] = loop.create_future()

    def put(self, frame: bytes) -> None:
        """Take the encoded digest; what comes after it is ignored."""
        self._settle(frame)

    def end(self) -> None:
        """Take the bare end: no digest comes any more."""
        self._settle(UnreachableError(f"{self.peer} cannot be reached"))

    def fail(self, error: Exception) -> None:
        """Raise `error`, unless the digest or an end came before."""
        self._settle(error)

    def _settle(self, outcome: bytes | Exception) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def digest(self) -> Digest:
        """Wait for the peer's digest; raises what came in its place."""
        try:
            async with asyncio.timeout_at(self._deadline):
                outcome = await self._outcome
        except TimeoutError:
            told = f"{self.peer} did not say within {self._patience:g} s how it stands"
            raise PeerSilentError(told) from None
        if isinstance(outcome, Exception):
            raise outcome
        return read_digest(self.peer, outcome, self._limits)


Asking = Mailbox | Inquiry
"""The caller's end of anything that is under way."""


class Answer(Protocol):
    """The way back to one caller."""

    def put(self, frame: bytes) -> object:
        """Send a small frame; nothing happens where the caller is gone."""
        ...

    async def send(self, frame: bytes) -> None:
        """Send a frame of any size, and let others run while that takes long."""
        ...

    def end(self) -> None:
        """Send the bare end; the last call."""
        ...


class Desk:
    """The server's end: all jobs of peers that this node has under way.

    Each runs in a task of its own, until its reply, its deadline, its withdrawal or the
    death of its caller; then the host's generator is closed. A probe is told at once.
    """

    def __init__(
        self, host: Host, limits: Limits, complaints: Complaints, *, inbound: int = INBOUND_JOBS
    ) -> None:
        self._host = host
        self._limits = limits
        self._complaints = complaints
        self._inbound = inbound
        self._tasks: dict[tuple[NodeId, JobId], asyncio.Task[None]] = {}
        self._closed = False

    def take(self, caller: str, data: bytes, answer: Answer) -> None:
        """Begin a caller's job, or answer why not."""
        if self._closed:
            answer.end()
            return
        try:
            message = self._read(caller, data)
        except RemoteProtocolError as error:
            self._complaints.note(caller, error)
            self._turn_away(answer, REFUSED + str(error)[:200].encode())
            return
        if len(self._tasks) >= self._inbound:
            self._turn_away(answer, BUSY)
            return
        key = (message.job.home, message.job.id)
        task = asyncio.create_task(self._serve(message, answer), name=f"serve {message.job.id}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._finish(key, answer))

    def withdraw(self, caller: NodeId, job: JobId) -> None:
        """Close a job that its caller no longer wants; one that has ended is no matter."""
        task = self._tasks.get((caller, job))
        if task is not None:
            task.cancel()

    def forsake(self, caller: NodeId) -> None:
        """Close all jobs of a caller that is gone."""
        for home, job in tuple(self._tasks):
            if home == caller:
                self.withdraw(caller, job)

    def stand(self, caller: NodeId, answer: Answer) -> None:
        """Tell a caller how the node stands right now, or end without a word."""
        try:
            digest = None if self._closed else self._host.probed(caller)
            if digest is not None:
                answer.put(codec.encode(Gossip(digest), self._limits))
        except Exception:
            log.exception("%s cannot be told how this node stands", caller)
        finally:
            answer.end()

    def stop(self) -> None:
        """Take no more jobs, and begin to close all."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()

    async def close(self) -> None:
        """Close all jobs, and give their handlers time to let go."""
        tasks = tuple(self._tasks.values())
        self.stop()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSING)

    def _read(self, caller: str, data: bytes) -> Propose:
        message = codec.decode(data, self._limits)
        if not isinstance(message, Propose):
            raise RemoteProtocolError(f"a {message.kind} where a job belongs")
        if message.job.home != caller:
            raise RemoteProtocolError("a job that names another node as its home")
        if (message.job.home, message.job.id) in self._tasks:
            raise RemoteProtocolError("a job that is under way already")
        return message

    @staticmethod
    def _turn_away(answer: Answer, frame: bytes) -> None:
        answer.put(frame)
        answer.end()

    def _finish(self, key: tuple[NodeId, JobId], answer: Answer) -> None:
        # Here and not in the task: one that is cancelled before it starts runs nothing.
        del self._tasks[key]
        answer.end()

    async def _serve(self, message: Propose, answer: Answer) -> None:
        """Pass the host's frames on, up to its reply; whatever else ends it becomes a frame."""
        deadline = asyncio.timeout(message.job.patience)
        try:
            async with deadline, aclosing(self._host.serve(message.job.home, message)) as frames:
                await self._pass_on(frames, answer)
        except Exception:
            if deadline.expired():
                answer.put(EXPIRED)
            else:
                log.exception("%s: the handler of a job failed", message.job.id)
                answer.put(BROKEN)

    async def _pass_on(self, frames: Frames, answer: Answer) -> None:
        async for frame in frames:
            await answer.send(MESSAGE + codec.encode(frame, self._limits))
            if not isinstance(frame, Piece):
                return
        raise LocalProtocolError("a handler ended without a reply")


def read_digest(sender: str, data: bytes, limits: Limits) -> Digest:
    """Read a digest that `sender` gave of itself; RemoteProtocolError when it is none."""
    message = codec.decode(data, limits)
    if not isinstance(message, Gossip):
        raise RemoteProtocolError(f"a {message.kind} where a digest belongs")
    if message.digest.node != sender:
        raise RemoteProtocolError("a digest of another node")
    return message.digest


def read_withdrawal(data: bytes, limits: Limits) -> JobId:
    """Read which job is no longer wanted; RemoteProtocolError when it does not say so."""
    message = codec.decode(data, limits)
    if not isinstance(message, Withdraw):
        raise RemoteProtocolError(f"a {message.kind} where a withdrawal belongs")
    return message.job


def left(node: NodeId) -> UnreachableError:
    """Say why a job cannot go on: this node itself is not in the network."""
    return UnreachableError(f"{node} is not in the network")
