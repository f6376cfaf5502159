"""The one queue of a node: first come, first served, bounded, with c slots.

Own queries and peers' jobs wait together. An accepted own query keeps one *place* (and
the bytes its proposals may grow to) until it ends: it never has more than one job
waiting here, so its later jobs always fit, and the bound holds without ever giving up
an accepted query. Peers' jobs take a place each, for as long as they are here.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmoa.core.job import Job
from dmoa.core.names import JobId, QueryId


@dataclass(slots=True)
class Entry:
    """A job in the queue; times in seconds of the agent's clock."""

    job: Job
    own: bool
    entered: float
    expires: float
    started: float | None = None
    stopping: bool = False
    squeeze: int = 0
    unread: int = 0


class Queue:
    """Jobs waiting and in service at one node."""

    def __init__(self, *, slots: int, jobs: int, size: int) -> None:
        assert slots > 0
        assert jobs > 0
        self.slots = slots
        self._jobs = jobs
        self._size = size
        self._waiting: dict[JobId, Entry] = {}
        self._serving: dict[JobId, Entry] = {}
        self._places: dict[QueryId, int] = {}
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

    def _fits(self, size: int) -> bool:
        taken = self._foreign + len(self._places)
        return taken < self._jobs and self._bytes + size <= self._size

    def reserve(self, query: QueryId, size: int) -> bool:
        """Keep a place and `size` bytes for an own query; False when full."""
        if not self._fits(size):
            return False
        self._places[query] = size
        self._bytes += size
        return True

    def release(self, query: QueryId) -> None:
        """Give back the place of an own query that ended."""
        self._bytes -= self._places.pop(query)

    def enter(self, entry: Entry) -> bool:
        """Put a job at the end of the queue; False when full (never for one with a place)."""
        if entry.own:
            assert entry.job.query in self._places
        elif self._fits(entry.job.size):
            self._foreign += 1
            self._bytes += entry.job.size
        else:
            return False
        self._waiting[entry.job.id] = entry
        return True

    def start(self, now: float) -> Entry | None:
        """Move the job that came first into a free slot; None if there is no such pair."""
        if not self._waiting or len(self._serving) >= self.slots:
            return None
        job = next(iter(self._waiting))
        entry = self._waiting.pop(job)
        entry.started = now
        self._serving[job] = entry
        return entry

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
        assert self._foreign + len(self._places) <= self._jobs, "more places than there are"
        assert 0 <= self._bytes <= self._size, "more bytes than allowed"
        order = [entry.entered for entry in self._waiting.values()]
        assert order == sorted(order), "not first come, first served"
        assert not self._waiting or len(self._serving) == self.slots, "a slot idles"
