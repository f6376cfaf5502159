"""The one queue of a node: bounded, with c slots; first come, first served, or by policy.

Own queries and peers' jobs wait together. An accepted own query keeps one *place* (and
the bytes its proposals may grow to) until it ends, or as many as it may have jobs
waiting here at once: so its later jobs always fit, and the bound holds without ever giving
up an accepted query. Peers' jobs take a place each, for as long as they are here.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from dmoa.core.job import Job
from dmoa.core.names import JobId, QueryId
from dmoa.core.policy import ORDERS, Order, rank


@dataclass(slots=True)
class Entry:
    """A job in the queue; times in seconds of the agent's clock.

    `place` is where it stands among the waiting, the least first: its rank by the order of
    the queue, then how many came before it. `full` tells whether its start took the last slot.
    """

    job: Job
    own: bool
    entered: float
    expires: float
    started: float | None = None
    stopping: bool = False
    squeeze: int = 0
    unread: int = 0
    full: bool = True
    place: tuple[float, int] = (0.0, 0)


class Queue:
    """Jobs waiting and in service at one node."""

    def __init__(self, *, slots: int, jobs: int, size: int, order: Order = "fcfs") -> None:
        assert slots > 0
        assert jobs > 0
        self.slots = slots
        self._jobs = jobs
        self._size = size
        self._order = ORDERS.index(order)
        self._came = 0
        self._heap: list[tuple[tuple[float, int], JobId]] = []
        self._waiting: dict[JobId, Entry] = {}
        self._serving: dict[JobId, Entry] = {}
        self._places: dict[QueryId, tuple[int, int]] = {}
        self._kept = 0
        self._foreign = 0
        self._bytes = 0

    def __len__(self) -> int:
        """Count the jobs here, waiting and in service."""
        return len(self._waiting) + len(self._serving)

    def __contains__(self, job: object) -> bool:
        """Tell whether a job is waiting or in service here."""
        return job in self._waiting or job in self._serving

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def serving(self) -> int:
        """Jobs in service."""
        return len(self._serving)

    @property
    def own(self) -> int:
        """Own queries that have a place."""
        return len(self._places)

    def _fits(self, size: int, places: int = 1) -> bool:
        taken = self._foreign + self._kept
        return taken + places <= self._jobs and self._bytes + size <= self._size

    def reserve(self, query: QueryId, size: int, places: int = 1) -> bool:
        """Keep places and `size` bytes for an own query; False when full."""
        if not self._fits(size, places):
            return False
        self._places[query] = (size, places)
        self._bytes += size
        self._kept += places
        return True

    def release(self, query: QueryId) -> None:
        """Give back the places of an own query that ended."""
        size, places = self._places.pop(query)
        self._bytes -= size
        self._kept -= places

    def enter(self, entry: Entry) -> bool:
        """Let a job wait; False when full (never for one with a place)."""
        if entry.own:
            assert entry.job.query in self._places
        elif self._fits(entry.job.size):
            self._foreign += 1
            self._bytes += entry.job.size
        else:
            return False
        self._came += 1
        asked = entry.entered - entry.job.age
        entry.place = (rank(self._order, asked, entry.job.layer), self._came)
        self._waiting[entry.job.id] = entry
        if len(self._heap) > 2 * len(self._waiting) + 64:
            self._heap = [(each.place, job) for job, each in self._waiting.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (entry.place, entry.job.id))
        return True

    def start(self, now: float) -> Entry | None:
        """Move the job whose turn it is into a free slot; None if there is no such pair."""
        if not self._waiting or len(self._serving) >= self.slots:
            return None
        job = self._next()
        entry = self._waiting.pop(job)
        entry.started = now
        self._serving[job] = entry
        entry.full = len(self._serving) == self.slots
        return entry

    def _next(self) -> JobId:
        """Take the first of the waiting off the heap, and those that were withdrawn."""
        while True:
            place, job = heappop(self._heap)
            entry = self._waiting.get(job)
            if entry is not None and entry.place == place:
                return job

    def position(self, job: JobId | None) -> int:
        """Tell the place of a job among the waiting: 1 is the next, 0 does not wait."""
        entry = None if job is None else self._waiting.get(job)
        if entry is None:
            return 0
        return sum(each.place <= entry.place for each in self._waiting.values())

    def began(self) -> list[float]:
        """List when the jobs in service began (seconds)."""
        return [each.started for each in self._serving.values() if each.started is not None]

    def in_service(self, job: JobId) -> Entry | None:
        """Look up a job that holds a slot."""
        return self._serving.get(job)

    def withdraw(self, job: JobId) -> Entry | None:
        """Take out a job that still waits; None if it does not."""
        return self._left(self._waiting.pop(job, None))

    def finish(self, job: JobId) -> Entry | None:
        """Free the slot of a job whose service ended; None if it has none."""
        return self._left(self._serving.pop(job, None))

    def _left(self, entry: Entry | None) -> Entry | None:
        if entry is not None and not entry.own:
            self._foreign -= 1
            self._bytes -= entry.job.size
        return entry

    def check(self) -> None:
        """Assert every bound."""
        entries = [*self._waiting.values(), *self._serving.values()]
        assert len(self._serving) <= self.slots, "more jobs in service than slots"
        assert len(self._waiting) <= self._jobs, "more jobs waiting than places"
        assert self._foreign == sum(not entry.own for entry in entries)
        assert self._kept == sum(places for _, places in self._places.values())
        assert self._foreign + self._kept <= self._jobs, "more places than there are"
        assert 0 <= self._bytes <= self._size, "more bytes than allowed"
        assert len(self._heap) >= len(self._waiting), "somebody waits in vain"
        assert not self._waiting or len(self._serving) == self.slots, "a slot idles"
