"""What flows past the agent: progress to the followers of queries, pieces to homes.

A follower that reads slowly keeps nobody waiting: what it has not read is kept for it.
That is bounded by what one query can bring, its drafts and one answer
(`Limits.answer_tokens`), because a line lives no longer than its query.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypedDict

from dmoa.core.effects import Answer, Standing, Visit
from dmoa.core.events import Received
from dmoa.core.job import Job, Sampling
from dmoa.core.messages import Failure, Offer, Piece, Reply, Withdraw
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.recipe import Recipe
from dmoa.errors import BackendUnavailableError, DmoaError, LocalProtocolError
from dmoa.runtime.ports import Frames

_GRACE = 1.0
"""Seconds after a home's patience until its job is given up from this side."""


PIECE_INTERVAL = 0.05
"""Seconds between two frames of one job's text: faster than a reader sees, and few."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Some more text of a proposal for an own query."""

    visit: Visit
    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """Some more text of the answer."""

    text: str


Progress = Visit | Draft | Token | Standing | Answer
"""What a follower of a query sees: jobs, drafts, tokens, how it stands, last the one answer."""


class Wishes(TypedDict, total=False):
    """What a question can say beside its words; `deadline` is in seconds from now.

    Without a `mixture` it gets what is usual at its home. A `recipe` says how it is mixed.
    """

    mixture: Mixture | None
    recipe: Recipe | None
    sampling: Sampling | None
    deadline: float | None


Followed = AsyncGenerator[Progress | None, None]
"""A query that is followed; None after each tick of silence. Closing it abandons the query."""


async def whole(followed: Followed) -> Answer:
    """Wait for the whole answer; raises what following it raises."""
    async with aclosing(followed):
        async for item in followed:
            if isinstance(item, Answer):
                return item
    raise LocalProtocolError("a query ended without an answer")


async def pieces(followed: Followed) -> AsyncGenerator[str, None]:
    """Give the answer in pieces as they are written, or whole where it was not written so.

    BackendUnavailableError, with the `trace`, where an aggregation failed of which some was
    given already: that is not the answer.
    """
    written = False
    async with aclosing(followed):
        async for item in followed:
            if isinstance(item, Token):
                written = True
                yield item.text
            elif isinstance(item, Answer) and not written:
                yield item.completion.text
            elif isinstance(item, Answer) and item.source == "proposal":
                error = BackendUnavailableError(item.trace.degraded[-1])
                error.trace = item.trace
                raise error


class Line(asyncio.Queue[Progress | DmoaError | None]):
    """What one follower has not read yet; None after each `tick` of silence."""

    def __init__(self, *, drafts: bool, standings: bool, tick: float | None) -> None:
        super().__init__()
        self.drafts = drafts
        self.standings = standings
        self.place: tuple[int, int, float] | None = None
        self.visits: dict[JobId, Visit] = {}
        self.first: float | None = None
        self._clock = asyncio.get_running_loop()
        self._tick = tick
        self._latest = self._clock.time()
        self._timer = None if tick is None else self._clock.call_later(tick, self._look)

    def put_nowait(self, item: Progress | DmoaError | None) -> None:
        """Show the follower something."""
        self._latest = self._clock.time()
        if self.first is None and isinstance(item, Token):
            self.first = self._latest
        super().put_nowait(item)

    def close(self) -> None:
        """Count the silence no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        # One timer a tick, not one an item: most items come long before it is due.
        assert self._tick is not None
        if self._clock.time() >= self._latest + self._tick:
            self.put_nowait(None)
        self._timer = self._clock.call_at(self._latest + self._tick, self._look)


class Followers:
    """Whoever waits for the node's own queries."""

    def __init__(self) -> None:
        self._followers: dict[QueryId, Line] = {}
        self.wonder = 0
        """How many followers want to know how their queries stand."""

    def join(
        self,
        query: QueryId,
        *,
        drafts: bool = True,
        standings: bool = False,
        tick: float | None = None,
    ) -> Line:
        """Follow a query from now on."""
        line = self._followers[query] = Line(drafts=drafts, standings=standings, tick=tick)
        self.wonder += standings
        return line

    def leave(self, query: QueryId) -> None:
        """Follow it no more."""
        line = self._followers.pop(query)
        line.close()
        self.wonder -= line.standings

    def stand(self, standings: Iterable[Standing]) -> None:
        """Show how queries stand to those who want to know, where their place has changed."""
        for standing in standings:
            line = self._followers.get(standing.query)
            place = (standing.layer, standing.position, standing.expected)
            if line is not None and line.standings and line.place != place:
                line.place = place
                line.put_nowait(standing)

    def show(self, query: QueryId, item: Progress | DmoaError) -> None:
        """Show something to the follower of a query, if there still is one."""
        line = self._followers.get(query)
        if line is not None:
            if isinstance(item, Visit):
                line.visits[item.job] = item
            line.put_nowait(item)

    def first_token(self, query: QueryId) -> float | None:
        """Tell when the answer began; None where it has not, or nobody follows the query."""
        line = self._followers.get(query)
        return None if line is None else line.first

    def draft(self, job: Job, text: str) -> None:
        """Show some more text of a proposal, if it is wanted."""
        line = self._followers.get(job.query)
        if line is not None and line.drafts:
            line.put_nowait(Draft(line.visits[job.id], text))

    def end(self, reason: str) -> None:
        """Show everybody that the node ends, each with an error of its own to raise."""
        for line in self._followers.values():
            line.put_nowait(BackendUnavailableError(reason))


class _WayHome:
    """What a peer's job has written and its home was not sent yet.

    The first piece and the reply go at once; in between, pieces that come within
    PIECE_INTERVAL go together, because a frame costs far more than its text.
    """

    def __init__(self, job: JobId) -> None:
        self._job = job
        self._texts: list[str] = []
        self._reply: Reply | None = None
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()

    def put(self, frame: Piece | Reply) -> None:
        """Take what the job wrote."""
        if not isinstance(frame, Piece):
            self._reply = frame
            self._news.set()
            return
        self._texts.append(frame.text)
        if self._timer is None and not self._news.is_set():
            if self._loop.time() >= self._due:
                self._news.set()
            else:
                self._timer = self._loop.call_at(self._due, self._news.set)

    async def get(self) -> Piece | Reply:
        """Wait for the next frame that is to be sent."""
        await self._news.wait()
        self.close()
        if self._texts:
            text = "".join(self._texts)
            self._texts.clear()
            if self._reply is None:
                self._news.clear()
                self._due = self._loop.time() + PIECE_INTERVAL
            return Piece(self._job, text)
        assert self._reply is not None
        return self._reply

    def close(self) -> None:
        """Wait for nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Guests:
    """Peers' jobs that are here, each with its line back to its home."""

    def __init__(self) -> None:
        self._lines: dict[JobId, _WayHome] = {}

    def write(self, frame: Piece | Reply) -> None:
        """Send a frame home, if the home still listens."""
        line = self._lines.get(frame.job)
        if line is not None:
            line.put(frame)

    async def serve(
        self, caller: NodeId, message: Offer, tell: Callable[[Received], None]
    ) -> Frames:
        """Take a job in, and hand on what comes of it; closing withdraws the job."""
        name = message.name
        if name in self._lines:
            yield Failure(name, "this job is already here")
            return
        line = self._lines[name] = _WayHome(name)
        latest = asyncio.get_running_loop().time() + message.job.patience + _GRACE
        replied = False
        try:
            tell(Received(caller, message))
            while not replied:
                async with asyncio.timeout_at(latest):
                    frame = await line.get()
                replied = not isinstance(frame, Piece)
                yield frame
        except TimeoutError:
            replied = True
            yield Failure(name, "nobody waits for this job any more")
        finally:
            line.close()
            del self._lines[name]
            if not replied:
                tell(Received(caller, Withdraw(name)))
