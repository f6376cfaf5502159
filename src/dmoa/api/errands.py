"""Errands: questions of the background, asked one after another until each has ended.

What is on the disk as queued will be asked, in this life of the node or a later one. Where the
node is full, or its model cannot be reached, all errands wait, and the oldest is tried again; what
else fails is tried `TRIES` times. After `PATIENCE` a question is given up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from random import Random

from dmoa.api import responses_shapes as shapes
from dmoa.api.question import Question
from dmoa.api.shapes import Json
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendUnavailableError,
    DmoaError,
    ExpiredError,
    LocalProtocolError,
    NetworkError,
    OverloadedError,
    QueryError,
    StoreError,
)
from dmoa.runtime.node import Node
from dmoa.runtime.streams import whole
from dmoa.store.archive import Archive
from dmoa.store.kept import CRASHES, Claim, Kept, New, Status

PATIENCE = 86400.0
"""Seconds from its acceptance after which a question of the background is given up."""
TRIES = 3
"""Failures of one question, other than refusals for want of room, until it has failed."""
SPARE_ERRANDS = 2
"""Errands under way beside those that fill the own model's slots: they wait for peers."""
PAUSE = 0.5
"""Seconds until the first new attempt after a refusal; doubled from one to the next."""
PAUSE_MOST = 60.0
"""Seconds between two attempts at most."""
STORE_PAUSE = 2.0
"""Seconds until what the disk refused is written again."""

_FULL = (OverloadedError, BackendUnavailableError, NetworkError)
"""It is not the question's fault, and will pass."""
_log = logging.getLogger(__name__)


class Errands:
    """The background questions of a node; what is done belongs to the loop it is woken on.

    `clock` tells Unix seconds. It must be closed before its node, so that what is under way
    waits for the next life.
    """

    def __init__(
        self,
        node: Node,
        archive: Archive,
        *,
        clock: Callable[[], float] = time.time,
        rng: Random | None = None,
    ) -> None:
        self._node = node
        self.archive = archive
        self._clock = clock
        self._rng = rng or Random()
        self._news = asyncio.Event()
        self._leading: asyncio.Task[None] | None = None
        self._running: dict[str, tuple[Kept, asyncio.Task[None]]] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._refusals = 0
        self._resumes = 0.0
        self._closed = False

    async def accept(self, new: New) -> Kept:
        """Take a question in; once this returns it will be answered, whatever becomes of us."""
        kept = await self.archive.accept(new)
        self.wake()
        return kept

    async def cancel(self, identity: str, owner: str) -> Kept:
        """End a question for good; one that has ended stays as it is."""
        _, outcome = shapes.left(identity)
        kept = await self.archive.cancel(identity, owner, json.dumps(outcome))
        self._drop(identity)
        return kept

    async def delete(self, identity: str, owner: str) -> None:
        """Delete a response, and stop what is done for it."""
        await self.archive.delete(identity, owner)
        self._drop(identity)

    def wake(self) -> None:
        """See whether something is to be done."""
        self._news.set()
        if not self._closed and (self._leading is None or self._leading.done()):
            self._leading = asyncio.create_task(self._lead(), name="errands")

    async def close(self) -> None:
        """Stop, and let what is under way wait for the next life."""
        self._closed = True
        taken = [kept for kept, _ in self._running.values()]
        ends = [ending for _, ending in self._running.values()]
        if self._leading is not None:
            ends.append(self._leading)
        for ending in ends:
            ending.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for kept in taken:
            with suppress(DmoaError):  # what cannot be put back is, by the next life
                await self.archive.put_back(kept, self._clock(), fault=False)
        for identity in list(self._watchers):
            self._tell(identity)

    @contextmanager
    def watch(self, identity: str) -> Generator[asyncio.Event]:
        """Hear of each change of a response; the event is its hearer's to clear."""
        heard = asyncio.Event()
        watchers = self._watchers.setdefault(identity, set())
        watchers.add(heard)
        try:
            yield heard
        finally:
            watchers.discard(heard)
            if not watchers and self._watchers.get(identity) is watchers:
                del self._watchers[identity]

    @property
    def is_closed(self) -> bool:
        """Tell whether nothing is done any more in this life."""
        return self._closed

    # -- leading -------------------------------------------------------------------------

    async def _lead(self) -> None:
        """Begin errands as long as there are some, and room."""
        while self._node.is_open:
            self._news.clear()
            pause = self._resumes - self._clock()
            claim = Claim()
            if pause <= 0 and len(self._running) < self._node.profile.slots + SPARE_ERRANDS:
                try:
                    claim = await self.archive.claim()
                except DmoaError as error:
                    _log.warning("no errand can be begun: %s", error.message)
                    pause = STORE_PAUSE
            if claim.taken is not None:
                self._begin(claim.taken)
                continue
            if claim.due is not None:
                pause = max(pause, claim.due - self._clock(), 0.0)
            if self._news.is_set():
                continue
            if pause <= 0 and not self._running:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause if pause > 0 else None):
                    await self._news.wait()

    def _begin(self, kept: Kept) -> None:
        running = asyncio.create_task(self._see_to(kept), name=f"errand {kept.id}")
        self._running[kept.id] = kept, running

        def ended(_: object) -> None:
            if self._running.get(kept.id, (None, None))[1] is running:
                del self._running[kept.id]
            self._tell(kept.id)
            self._news.set()

        running.add_done_callback(ended)
        self._tell(kept.id)

    def _drop(self, identity: str) -> None:
        if identity in self._running:
            self._running[identity][1].cancel()
        self._tell(identity)

    def _tell(self, identity: str) -> None:
        for heard in self._watchers.get(identity, ()):
            heard.set()

    # -- one errand ----------------------------------------------------------------------

    async def _see_to(self, kept: Kept) -> None:
        """Ask once, and write down what came of it."""
        try:
            status, outcome = await self._asked(kept)
        except DmoaError as error:
            fault = not isinstance(error, _FULL)
            if self._again(kept, error, fault=fault):
                await self._written(lambda: self.archive.put_back(kept, self._clock(), fault=fault))
                return
            status, outcome = shapes.failed(error)
        except Exception as error:  # noqa: BLE001 - it ends the question, not the node
            _log.exception("an errand met a bug")
            status, outcome = shapes.failed(LocalProtocolError(f"this node met a bug: {error!r}"))
        text = json.dumps(outcome, ensure_ascii=False, separators=(",", ":"))
        await self._written(lambda: self.archive.end(kept, status, text))

    async def _asked(self, kept: Kept) -> tuple[Status, Json]:
        """Ask, unless it is known to be in vain."""
        if kept.crashes >= CRASHES:
            raise LocalProtocolError(f"the node ended {kept.crashes} times while it was at this")
        if self._clock() > kept.created + PATIENCE:
            raise _too_late()
        question = Question.load(kept.work)
        answer = await whole(question.follow(self._node))
        self._refusals = 0
        return shapes.answered(kept.id, answer, question.default(self._node))

    def _again(self, kept: Kept, error: DmoaError, *, fault: bool) -> bool:
        """Decide whether a question is asked again; where there is no room, all wait."""
        if fault:
            transient = isinstance(error, (QueryError, BackendError))
            final = isinstance(error, BackendRefusedError) or not transient
            late = self._clock() > kept.created + PATIENCE
            return not (final or late or kept.faults + 1 >= TRIES)
        told = error.retry_after if isinstance(error, OverloadedError) else 0.0
        pause = min(PAUSE_MOST, max(told, PAUSE * 2.0 ** min(self._refusals, 10)))
        self._refusals += 1
        pause *= 0.75 + 0.5 * self._rng.random()  # nodes that were refused together come apart
        self._resumes = self._clock() + pause
        return self._resumes < kept.created + PATIENCE

    async def _written(self, write: Callable[[], Awaitable[bool]]) -> None:
        """Write until the disk takes it: what was answered is kept as long as the node lives."""
        said = False
        while True:
            try:
                await write()
            except (StoreError, OverloadedError) as error:
                if not said:
                    _log.error("an answer waits to be kept: %s", error.message)
                said = True
                await asyncio.sleep(STORE_PAUSE)
            else:
                return


def _too_late() -> ExpiredError:
    return ExpiredError(f"it was not answered within {PATIENCE / 3600:.0f} h")
