"""The caller's end of an exchange, a job and its frames, whatever carries the bytes between.

The caller's end is a `Mailbox`, the server's a `Desk` (`desk.py`). Between them travel frames:
one byte that says what the frame is, then

```text
MESSAGE   an encoded piece or reply; the reply is the last frame
BUSY      nothing ran: too many jobs of peers are under way      -> UnreachableError
REFUSED   nothing ran: the job broke the protocol, says the rest -> UnreachableError
BROKEN    the handler failed, its peer's log knows how           -> PeerGoneError
EXPIRED   the patience of the job passed at the peer             -> PeerSilentError
```

and at last the bare end, which alone means that the peer vanished: PeerGoneError when
frames came before it, UnreachableError when none did. In a realm every frame is sealed, and
those that do not open are no frames.

A probe is shorter. Its caller's end is an `Inquiry`, and its one frame is the peer's
encoded digest; the bare end without one is an UnreachableError. A roll call goes alike.
"""

from __future__ import annotations

import asyncio
from collections import deque

from dmoa.core.events import Offence
from dmoa.core.limits import Limits
from dmoa.core.messages import Decline, Failure, Piece, Proposal, Reply
from dmoa.core.names import JobId, NodeId
from dmoa.errors import (
    ForgedError,
    PeerGoneError,
    PeerSilentError,
    RemoteProtocolError,
    UnreachableError,
)
from dmoa.net import codec
from dmoa.net.flows import Flow, Rate
from dmoa.net.seals import Reader

BACKLOG_MESSAGES = 4
"""Bytes that wait for the reader of one exchange, in messages of the largest size."""
FRAMES = Rate(250, 5000)
"""Sealed frames of one exchange that are opened; a peer that keeps to the protocol sends 20 a
second."""

MESSAGE, BUSY, REFUSED, BROKEN, EXPIRED = (bytes((tag,)) for tag in range(5))


class Mailbox:
    """The caller's end: takes frames as they come, gives messages as they are wanted.

    `settled` tells that the peer does nothing more for this job, as far as is known, and
    `offence` what it did where a RemoteProtocolError is raised. A `reader` opens the frames,
    where they are sealed.
    """

    def __init__(  # noqa: PLR0913 - all that is known of a call
        self,
        peer: NodeId,
        job: JobId,
        limits: Limits,
        *,
        patience: float,
        idle: float | None,
        reader: Reader | None = None,
    ) -> None:
        self.peer = peer
        self.settled = False
        self.offence: Offence = "malformed"
        self._sealed = None if reader is None else _Sealed(reader)
        self._job = job
        self._limits = limits
        self._patience = patience
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + patience
        self._frames: deque[bytes] = deque()
        self._room = BACKLOG_MESSAGES * limits.message_bytes
        self._heard = False
        self._doubted = False
        self._end: Exception | None = None
        self._news = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Take a frame; frames after the end, and those that do not open, are ignored."""
        if self._end is not None:
            return
        if self._sealed is not None:
            try:
                opened = self._sealed.open(frame)
            except ForgedError as error:
                self.fail(error)
                return
            if opened is None:
                return
            frame = opened
        self._room -= len(frame)
        if self._room < 0 or (self._sealed is not None and self._sealed.flooded):
            self.offence = "flood"
            self.fail(RemoteProtocolError(f"{self.peer} sends faster than can be read"))
            return
        self._heard = True
        self._frames.append(frame)
        self._news.set()

    def doubt(self) -> None:
        """Take word, from whomever, that no reply comes in time: the end then means silence."""
        self._doubted = True

    def end(self) -> None:
        """Take the bare end: no frame comes any more."""
        if self._end is None:
            self.settled = True
        if self._doubted:
            self.fail(PeerSilentError(f"{self.peer} gave no reply in time"))
        elif self._heard:
            self.fail(PeerGoneError(f"{self.peer} vanished in the middle of a job"))
        else:
            self.fail(UnreachableError(f"{self.peer} cannot be reached"))

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
        if len(body) > self._limits.message_bytes:
            self.offence = "oversized"
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


class _Sealed:
    """Opens the frames of one exchange, and knows when they are too many."""

    def __init__(self, reader: Reader) -> None:
        self.flooded = False
        self._reader = reader
        self._flow = Flow(FRAMES)

    def open(self, frame: bytes) -> bytes | None:
        opened = self._reader.read(frame)
        if opened is not None:
            self.flooded = not self._flow.enter("")
        return opened


class Inquiry:
    """The caller's end of a probe or a roll call: takes one answer, or what keeps it away."""

    def __init__(self, peer: NodeId, *, patience: float, reader: Reader | None = None) -> None:
        self.peer = peer
        self._reader = reader
        self._patience = patience
        self._doubted = False
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + patience
        # An error is a result here: nobody may be left to hear it, which is no fault.
        self._outcome: asyncio.Future[bytes | Exception] = loop.create_future()

    def put(self, frame: bytes) -> None:
        """Take the answer; what comes after it, or does not open, is ignored."""
        if self._outcome.done():
            return
        if self._reader is None:
            self._settle(frame)
            return
        try:
            opened = self._reader.read(frame)
        except ForgedError as error:
            self._settle(error)
        else:
            if opened is not None:
                self._settle(opened)

    def doubt(self) -> None:
        """Take word, from whomever, that no answer comes in time: the end then means silence."""
        self._doubted = True

    def end(self) -> None:
        """Take the bare end: no answer comes any more."""
        if self._doubted:
            self._settle(PeerSilentError(f"{self.peer} gave no reply in time"))
        else:
            self._settle(UnreachableError(f"{self.peer} cannot be reached"))

    def fail(self, error: Exception) -> None:
        """Raise `error`, unless the answer or an end came before."""
        self._settle(error)

    def _settle(self, outcome: bytes | Exception) -> None:
        if not self._outcome.done():
            self._outcome.set_result(outcome)

    async def answer(self) -> bytes:
        """Wait for the peer's answer; raises what came in its place."""
        try:
            async with asyncio.timeout_at(self._deadline):
                outcome = await self._outcome
        except TimeoutError:
            told = f"{self.peer} did not say within {self._patience:g} s how it stands"
            raise PeerSilentError(told) from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


Asking = Mailbox | Inquiry
"""The caller's end of anything that is under way."""


def left(node: NodeId) -> UnreachableError:
    """Say why a job cannot go on: this node itself is not in the network."""
    return UnreachableError(f"{node} is not in the network")
