"""What flows past the agent: progress to the followers of queries, pieces to homes.

A follower that reads slowly keeps nobody waiting: what it has not read is kept for it.
That is bounded by what one query can bring, its drafts and one answer
(`Limits.answer_tokens`), because a line lives no longer than its query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from dmoa.core.effects import Answer, Visit
from dmoa.core.events import Received
from dmoa.core.job import Job
from dmoa.core.messages import Failure, Piece, Propose, Reply, Withdraw
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.errors import BackendUnavailableError, DmoaError
from dmoa.runtime.ports import Frames

_GRACE = 1.0
"""Seconds after a home's patience until its job is given up from this side."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Some more text of a proposal for an own query."""

    visit: Visit
    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """Some more text of the answer."""

    text: str


Progress = Visit | Draft | Token | Answer
"""What a follower of a query sees: jobs, drafts and tokens, and last the one answer."""


@dataclass(slots=True)
class _Follower:
    line: asyncio.Queue[Progress | DmoaError]
    visits: dict[JobId, Visit] = field(default_factory=dict[JobId, Visit])


class Followers:
    """Whoever waits for the node's own queries."""

    def __init__(self) -> None:
        self._followers: dict[QueryId, _Follower] = {}

    def join(self, query: QueryId) -> asyncio.Queue[Progress | DmoaError]:
        """Follow a query from now on."""
        line = asyncio.Queue[Progress | DmoaError]()
        self._followers[query] = _Follower(line)
        return line

    def leave(self, query: QueryId) -> None:
        """Follow it no more."""
        del self._followers[query]

    def show(self, query: QueryId, item: Progress | DmoaError) -> None:
        """Show something to the follower of a query, if there still is one."""
        follower = self._followers.get(query)
        if follower is not None:
            if isinstance(item, Visit):
                follower.visits[item.job] = item
            follower.line.put_nowait(item)

    def draft(self, job: Job, text: str) -> None:
        """Show some more text of a proposal."""
        follower = self._followers.get(job.query)
        if follower is not None:
            follower.line.put_nowait(Draft(follower.visits[job.id], text))

    def end(self, reason: str) -> None:
        """Show everybody that the node ends, each with an error of its own to raise."""
        for follower in self._followers.values():
            follower.line.put_nowait(BackendUnavailableError(reason))


class Guests:
    """Peers' jobs that are here, each with its line back to its home."""

    def __init__(self) -> None:
        self._lines: dict[JobId, asyncio.Queue[Piece | Reply]] = {}

    def write(self, frame: Piece | Reply) -> None:
        """Send a frame home, if the home still listens."""
        line = self._lines.get(frame.job)
        if line is not None:
            line.put_nowait(frame)

    async def serve(
        self, caller: NodeId, message: Propose, tell: Callable[[Received], None]
    ) -> Frames:
        """Take a job in, and hand on what comes of it; closing withdraws the job."""
        job = message.job
        if job.id in self._lines:
            yield Failure(job.id, "this job is already here")
            return
        line = self._lines[job.id] = asyncio.Queue[Piece | Reply]()
        latest = asyncio.get_running_loop().time() + job.patience + _GRACE
        replied = False
        try:
            tell(Received(caller, message))
            while not replied:
                async with asyncio.timeout_at(latest):
                    frame = await line.get()
                frame = _joined(frame, line)
                replied = not isinstance(frame, Piece)
                yield frame
        except TimeoutError:
            replied = True
            yield Failure(job.id, "nobody waits for this job any more")
        finally:
            del self._lines[job.id]
            if not replied:
                tell(Received(caller, Withdraw(job.id)))


def _joined(frame: Piece | Reply, line: asyncio.Queue[Piece | Reply]) -> Piece | Reply:
    """Join the pieces that wait already into one, so that a burst costs one frame."""
    if not isinstance(frame, Piece):
        return frame
    texts = [frame.text]
    while not line.empty():
        later = line.get_nowait()
        if not isinstance(later, Piece):
            line.put_nowait(later)  # the reply, which is always the last
            break
        texts.append(later.text)
    return Piece(frame.job, "".join(texts)) if len(texts) > 1 else frame
