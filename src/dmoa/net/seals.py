"""Seals on what travels: put on everything that goes out, and checked before anything is read.

Without an identity, outside of a realm, nothing is sealed, and all bytes are as they were.
With one, a message is sealed for its purpose and its listener, and so no member that passes
it on can turn it into another:

```text
digest        to all
job           to the peer       job, withdrawal, standing, roll: what a caller asks
frame M I     to the caller     the I-th frame (from 0) of the answer to what was asked, of
                                which M is a hash: of this very call, in this very order
```
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import Protocol

from dmoa.core.digest import Digest
from dmoa.core.names import NodeId
from dmoa.errors import ForgedError
from dmoa.net.complaints import Complaints
from dmoa.net.identity import Identity

DIGEST, JOB, WITHDRAWAL, STANDING, ROLL = "digest", "job", "withdrawal", "standing", "roll"
"""What is sealed, of what is not an answer."""
NOTICE = "notice"
"""What is not, as the realm's authority signed it: a list of revocations."""
SEAL_BYTES = 4096
"""Most bytes that a seal adds, the certificate of its speaker included."""
STRAY_FRAMES = 64
"""Frames under a peer's name but not of its hand, after which a caller waits no longer."""
REPLAY_SECONDS = 660.0
"""For so long a job is known again; an older seal is not good any more (300 s either way)."""
REPLAY_JOBS = 16_384
"""Jobs that are known again at most."""
MARK_BYTES = 16
"""Bytes of the hash that stands for a call."""


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


class Seals:
    """The seals of one node; without an `identity` all of it does nothing."""

    def __init__(self, node: NodeId, identity: Identity | None, complaints: Complaints) -> None:
        self._node = node
        self._identity = identity
        self._complaints = complaints

    @property
    def used(self) -> bool:
        """Tell whether messages are sealed here at all."""
        return self._identity is not None

    def seal(self, purpose: str, to: str, data: bytes) -> bytes:
        """Seal what goes out; `to` is empty where all are meant."""
        return data if self._identity is None else self._identity.seal(purpose, to, data)

    def open(self, purpose: str, speaker: NodeId, data: bytes) -> bytes:
        """Check the seal of what came in; ForgedError where `speaker` did not make it."""
        if self._identity is None:
            return data
        to = "" if purpose == DIGEST else self._node
        return self._identity.open(purpose, to, speaker, data)

    def reader(self, peer: NodeId, asked: bytes) -> Reader | None:
        """Make what opens the frames of a peer's answer to what was `asked`, as it was sent."""
        if self._identity is None:
            return None
        return Reader(self._identity, peer, asked, self._complaints)

    def writer(self, caller: NodeId, asked: bytes, answer: Answer) -> Answer:
        """Seal what goes along the way back to a caller, who `asked` this, as it came."""
        if self._identity is None:
            return answer
        return _SealedAnswer(self._identity, caller, asked, answer)


class Reader:
    """Opens the frames of one answer, each in its turn.

    Frames that do not open are passed over, as another member may have sent them; frames in
    another order, repeated ones and those of another call are among them.
    """

    def __init__(
        self, identity: Identity, peer: NodeId, asked: bytes, complaints: Complaints
    ) -> None:
        self._identity = identity
        self._peer = peer
        self._mark = mark(asked)
        self._complaints = complaints
        self._count = 0
        self._strays = 0

    def read(self, sealed: bytes) -> bytes | None:
        """Open the next frame; None where this is not it, and ForgedError after too many."""
        purpose = _frame(self._mark, self._count)
        try:
            frame = self._identity.open(purpose, self._identity.node, self._peer, sealed)
        except ForgedError as error:
            self._complaints.note(self._peer, error)
            self._strays += 1
            if self._strays < STRAY_FRAMES:
                return None
            told = f"{self._strays} frames in the name of {self._peer} were not its own"
            raise ForgedError(told) from None
        self._count += 1
        return frame


class _SealedAnswer:
    """A way back on which every frame is sealed."""

    def __init__(self, identity: Identity, caller: NodeId, asked: bytes, answer: Answer) -> None:
        self._identity = identity
        self._caller = caller
        self._mark = mark(asked)
        self._answer = answer
        self._count = 0

    def put(self, frame: bytes) -> object:
        return self._answer.put(self._seal(frame))

    async def send(self, frame: bytes) -> None:
        await self._answer.send(self._seal(frame))

    def end(self) -> None:
        self._answer.end()

    def _seal(self, frame: bytes) -> bytes:
        purpose = _frame(self._mark, self._count)
        self._count += 1
        return self._identity.seal(purpose, self._caller, frame)


def mark(asked: bytes) -> str:
    """Name a call by the hash of its sealed bytes."""
    return hashlib.sha256(asked).hexdigest()[: 2 * MARK_BYTES]


def _frame(call: str, index: int) -> str:
    return f"frame {call} {index}"


class Replays:
    """Knows again what came before: sealed jobs, and digests older than the newest.

    A member that passed on a message can send it once more; whoever made it is not to blame.
    """

    def __init__(self, *, nodes: int) -> None:
        self._nodes = nodes
        self._jobs: OrderedDict[str, float] = OrderedDict()
        self._newest: OrderedDict[NodeId, tuple[int, int]] = OrderedDict()
        self._same: dict[NodeId, str] = {}

    def job(self, sealed: bytes) -> None:
        """Remember a job; ForgedError where it was here before."""
        now, name = asyncio.get_running_loop().time(), mark(sealed)
        while self._jobs and (
            len(self._jobs) >= REPLAY_JOBS or now - next(iter(self._jobs.values())) > REPLAY_SECONDS
        ):
            self._jobs.popitem(last=False)
        if name in self._jobs:
            raise ForgedError("a job that came before")
        self._jobs[name] = now

    def repeats(self, sender: NodeId, sealed: bytes) -> bool:
        """Tell whether these are the very bytes that this sender's newest digest came in."""
        return self._same.get(sender) == mark(sealed)

    def digest(self, digest: Digest, sealed: bytes) -> None:
        """Remember a digest; ForgedError where a newer one of that node was here before."""
        age = (digest.incarnation, digest.sequence)
        if age < self._newest.get(digest.node, age):
            raise ForgedError("a digest older than one that came before")
        self._newest[digest.node] = age
        self._newest.move_to_end(digest.node)
        self._same[digest.node] = mark(sealed)
        if len(self._newest) > self._nodes:
            self._same.pop(self._newest.popitem(last=False)[0], None)
