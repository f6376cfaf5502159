"""The server's end of all exchanges: the jobs of peers that a node has under way."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from dmoa.core.digest import Digest
from dmoa.core.events import Offence
from dmoa.core.limits import Limits
from dmoa.core.messages import Gossip, Offer, Piece, Preview, Propose, Withdraw
from dmoa.core.names import JobId, NodeId
from dmoa.errors import LocalProtocolError, RemoteProtocolError
from dmoa.net import codec
from dmoa.net.complaints import Complaints
from dmoa.net.exchange import BROKEN, BUSY, EXPIRED, MESSAGE, REFUSED
from dmoa.net.seals import Answer
from dmoa.runtime.ports import Frames, Host

log = logging.getLogger(__name__)

INBOUND_JOBS = 256
"""Jobs of peers that one node lets run or wait at a time; the queue declines long before."""
INBOUND_SHARE = 0.5
"""The part of them that one peer can have."""
CLOSING = 5.0
"""Seconds that handlers have to let go when the node leaves."""


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
        self._each = max(1, int(INBOUND_SHARE * inbound))
        self._tasks: dict[tuple[NodeId, JobId], asyncio.Task[None]] = {}
        self._closed = False

    def take(self, caller: NodeId, data: bytes, answer: Answer) -> None:
        """Begin a caller's job, or answer why not."""
        if self._closed:
            answer.end()
            return
        if len(self._tasks) >= self._inbound or self._has(caller) >= self._each:
            self._turn_away(answer, BUSY)
            return
        try:
            message = self._read(caller, data)
        except RemoteProtocolError as error:
            self._complaints.judge(caller, error, offence(data, self._limits))
            self._turn_away(answer, REFUSED + str(error)[:200].encode())
            return
        key = (message.job.home, message.name)
        if key in self._tasks:
            flaw = "a job that is under way already"
            self._complaints.hold(caller, "replayed", flaw)
            self._turn_away(answer, REFUSED + flaw.encode())
            return
        task = asyncio.create_task(self._serve(message, answer), name=f"serve {message.name}")
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

    def present(self, caller: NodeId, answer: Answer) -> None:
        """Answer the roll call of a caller, or end without a word."""
        try:
            roll = None if self._closed else self._host.rolled(caller)
            if roll is not None:
                answer.put(codec.encode_roll(roll))
        except Exception:
            log.exception("%s cannot be told who is here", caller)
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

    def _read(self, caller: NodeId, data: bytes) -> Offer:
        message = codec.decode(data, self._limits)
        if not isinstance(message, Propose | Preview):
            raise RemoteProtocolError(f"a {message.kind} where a job belongs")
        if message.job.home != caller:
            raise RemoteProtocolError("a job that names another node as its home")
        return message

    def _has(self, caller: NodeId) -> int:
        return sum(home == caller for home, _ in self._tasks)

    @staticmethod
    def _turn_away(answer: Answer, frame: bytes) -> None:
        answer.put(frame)
        answer.end()

    def _finish(self, key: tuple[NodeId, JobId], answer: Answer) -> None:
        # Here and not in the task: one that is cancelled before it starts runs nothing.
        del self._tasks[key]
        answer.end()

    async def _serve(self, message: Offer, answer: Answer) -> None:
        """Pass the host's frames on, up to its reply; whatever else ends it becomes a frame."""
        deadline = asyncio.timeout(message.job.patience)
        try:
            async with deadline, aclosing(self._host.serve(message.job.home, message)) as frames:
                await self._pass_on(frames, answer)
        except Exception:
            if deadline.expired():
                answer.put(EXPIRED)
            else:
                log.exception("%s: the handler of a job failed", message.name)
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


def offence(data: bytes, limits: Limits) -> Offence:
    """Name what is wrong with a message that no codec reads."""
    return "oversized" if len(data) > limits.message_bytes else "malformed"
