"""What the own model reads before it is asked to: eager prefill.

On a small machine an aggregation is mostly reading, and most of what is to be read is there
long before the last proposal. So while a layer is under way its home's model reads the prompt
of the job that comes next, as far as it is known: finished proposals in the order of their
arrival, then the one that is still being written, as it is written. When the layer ends only
the rest is left to read.

It is work of the lowest priority: only as many prompts are read as there are free slots, and a
job that comes takes a slot at once. What was read and is not needed, because a proposer was lost
or the layer went another way, is lost work of a model that had nothing else to do. The core says
what to read (`Read`) and when to leave off (`Rest`); how, in what steps and into which cache, is
the body's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from dmoa.core.effects import Read, Rest
from dmoa.core.names import JobId
from dmoa.core.queue import Queue
from dmoa.core.wants import Wants


@dataclass(slots=True)
class Reader:
    """Has prompts read while slots are free; `able` tells whether that is ever done here."""

    able: bool
    queue: Queue
    wants: Wants
    under_way: dict[JobId, Read] = field(default_factory=dict[JobId, Read])

    @property
    def free(self) -> int:
        """Count the slots that nobody needs."""
        return self.queue.slots - self.queue.serving

    def give_way(self, job: JobId) -> None:
        """A job begins: it goes on where its prompt was read to, or takes a slot from another."""
        if self.under_way.pop(job, None) is None and len(self.under_way) > self.free:
            self._rest(next(reversed(self.under_way)))

    def look(self, wanted: Iterable[Read]) -> None:
        """Read what is wanted, the first first, as far as there are slots; and nothing else."""
        if not self.able:
            return
        reads = {read.job.id: read for read in islice(wanted, self.free)}
        if not reads and not self.under_way:
            return
        for job in [each for each in self.under_way if each not in reads]:
            self._rest(job)
        for job, read in reads.items():
            if self.under_way.pop(job, None) is not read:
                self.wants.want(read)
            self.under_way[job] = read  # in the order in which they matter

    def _rest(self, job: JobId) -> None:
        del self.under_way[job]
        self.wants.want(Rest(job))

    def check(self) -> None:
        """Assert that nothing is read but in free slots."""
        assert len(self.under_way) <= self.free
        assert self.able or not self.under_way
