"""What a node asks of its peers: jobs, followed to their replies, and how they stand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing

from dmoa.core.events import Event, Lost, Received
from dmoa.core.job import Job
from dmoa.core.messages import Farewell, Gossip, Offer, Piece, Propose
from dmoa.core.names import JobId, NodeId
from dmoa.errors import NetworkError, ProtocolError, UnreachableError
from dmoa.runtime.ports import Network

_GRACE = 2.0
"""Seconds after its patience until a call to a peer is given up in any case."""


class Calls:
    """The calls under way; each ends in one event, which `tell` is told.

    `draft` is shown the text of proposals as it comes.
    """

    def __init__(
        self,
        network: Network,
        *,
        tell: Callable[[Event], None],
        draft: Callable[[Job, str], None],
    ) -> None:
        self._network = network
        self._tell = tell
        self._draft = draft
        self._jobs: dict[JobId, asyncio.Task[None]] = {}
        self._probes: set[asyncio.Task[None]] = set()

    def propose(self, peer: NodeId, offer: Offer) -> None:
        """Give a job to a peer, or show it one."""
        task = asyncio.create_task(self._call(peer, offer))
        self._jobs[offer.name] = task
        task.add_done_callback(lambda _: self._jobs.pop(offer.name, None))

    def withdraw(self, job: JobId) -> None:
        """Want a job no more, or take a preview back."""
        if (call := self._jobs.get(job)) is not None:
            call.cancel()

    def probe(self, peer: NodeId, patience: float) -> None:
        """Ask a peer how it stands; an answer that takes longer than `patience` is not heard."""
        task = asyncio.create_task(self._probe(peer, patience))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)

    def cancel(self) -> list[asyncio.Task[None]]:
        """End all of them; they are done when these tasks are."""
        tasks = [*self._jobs.values(), *self._probes]
        for task in tasks:
            task.cancel()
        return tasks

    async def _call(self, peer: NodeId, offer: Offer) -> None:
        """Give a job to a peer, show its text as it comes, and tell how it ended.

        A preview has no text, so none is shown of one that comes with some.
        """
        job = offer.job
        lost = "it ended the call without a reply"
        try:
            async with aclosing(
                self._network.propose(peer, offer, patience=job.patience + _GRACE)
            ) as frames:
                async for frame in frames:
                    if not isinstance(frame, Piece):
                        self._tell(Received(peer, frame))
                        return
                    if isinstance(offer, Propose):
                        self._draft(job, frame.text)
        except (NetworkError, ProtocolError) as error:
            lost = error.message
        self._tell(Lost(peer, offer.name, lost))

    async def _probe(self, peer: NodeId, patience: float) -> None:
        try:
            digest = await self._network.probe(peer, patience=patience)
        except UnreachableError:
            self._tell(Received(peer, Farewell()))
        except (NetworkError, ProtocolError):
            pass  # the agent goes on without it by itself
        else:
            self._tell(Received(peer, Gossip(digest)))
