"""What the models of a world read ahead, and how much shorter that makes the jobs it was for.

A job that reads proposals takes S seconds, of which the share `overlap` is reading them. While
its prompt is read ahead, that reading goes on a second per second, as far as proposals are
known: with n of N there, and one more that is followed as it is written, to overlap S (n+1)/N.
What stands of it when the job is served is what its service falls by. So never more is saved
than was read, nor more than there was to read.

A proposal that was followed and did not come takes what was read of it with it. A prompt that
was left off is kept, and gone on with: llama.cpp keeps such in memory, beside its slots.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dmoa.core.effects import Read
from dmoa.core.job import Job
from dmoa.core.names import JobId, NodeId, QueryId


class _Stretch(NamedTuple):
    """So many seconds were read, to no more than so many proposals; with 0 it only is cut."""

    reach: int
    seconds: float


@dataclass(slots=True)
class _Prompt:
    """What was read of one prompt; `began` is None while nothing is."""

    node: NodeId
    last: Read
    began: float | None
    stretches: list[_Stretch] = field(default_factory=list[_Stretch])

    @property
    def reach(self) -> int:
        """Count the proposals that can be read: those that are there, and one that comes."""
        return len(self.last.job.proposals) + bool(self.last.follow)

    def pause(self, now: float) -> None:
        """Note what was read up to now."""
        if self.began is not None:
            self._note(self.reach, now - self.began)
            self.began = None

    def turn(self, job: Job, follow: tuple[JobId, ...] = ()) -> None:
        """Note what of that stands in a later prompt of the same job."""
        before, after = self.last.job.proposals, job.proposals
        stands = 0
        while stands < min(len(before), len(after)) and before[stands] == after[stands]:
            stands += 1
        came = len(after) > len(before) or not set(follow).isdisjoint(self.last.follow)
        if stands == len(before) and self.last.follow and came:
            stands += 1
        self._note(stands, 0.0)

    def _note(self, reach: int, seconds: float) -> None:
        if self.stretches and self.stretches[-1].reach == reach:
            seconds += self.stretches.pop().seconds
        self.stretches.append(_Stretch(reach, seconds))

    def hidden(self, reading: float, proposals: int) -> float:
        """Tell what stands of the `reading` seconds that so many proposals take."""
        read = 0.0
        for reach, seconds in self.stretches:
            read = min(read + seconds, reading * min(1.0, reach / proposals))
        return read


@dataclass(slots=True)
class Readings:
    """The prompts that are read ahead in a world; `overlap` is a share of a job's time.

    Kept are those of queries under way alone, one for each job that is still to come.
    """

    overlap: float
    _of: dict[QueryId, dict[JobId, _Prompt]] = field(
        default_factory=dict[QueryId, dict[JobId, _Prompt]]
    )

    def read(self, node: NodeId, read: Read, now: float) -> None:
        """Begin to read a prompt, or go on with more of it."""
        job, prompts = read.job, self._of.setdefault(read.job.query, {})
        if (prompt := prompts.get(job.id)) is None:
            prompts[job.id] = _Prompt(node, read, now)
            return
        prompt.pause(now)
        prompt.turn(job, read.follow)
        prompt.last, prompt.began = read, now

    def rest(self, job: JobId, now: float) -> None:
        """Leave a prompt as far as it is read."""
        prompt = self._of.get(_query_of(job), {}).get(job)
        if prompt is not None:
            prompt.pause(now)

    def take(self, job: Job, seconds: float, now: float) -> float:
        """Tell by how much a job is shorter that is served now, and takes `seconds` unread."""
        prompt = self._of.get(job.query, {}).pop(job.id, None)
        if prompt is None or not job.proposals:
            return 0.0
        prompt.pause(now)
        prompt.turn(job)
        return prompt.hidden(self.overlap * seconds, len(job.proposals))

    def forget(self, query: QueryId) -> None:
        """A query ended: nothing of it will be served any more."""
        self._of.pop(query, None)

    def crash(self, node: NodeId) -> None:
        """A node is out, with all that it read."""
        for prompts in self._of.values():
            for job in [job for job, prompt in prompts.items() if prompt.node == node]:
                del prompts[job]

    def __len__(self) -> int:
        """Count the prompts."""
        return sum(map(len, self._of.values()))


def _query_of(job: JobId) -> QueryId:
    return QueryId(job.rpartition("/")[0])
