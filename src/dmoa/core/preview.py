"""Jobs that are shown before they are given: proposers of later layers read ahead as well.

While a layer is under way its home draws whom the next one will ask, and shows each of them the
job that it will get, with the proposals that are in by now; again with each further one, but for
the last: then the job itself comes. A peer with nothing else to do reads it (`Reader`), and finds
it read when the job comes, which bears the same name.

A preview is a hint and no more. It promises nothing, in either direction: no query waits for one,
or ends by one, and a peer that is asked without having been shown anything serves the job as
ever. Previews are sent only to who says that it reads them (`Digest.reads`), so that nodes which
do not know them never meet one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from dmoa.core.choice import Choice
from dmoa.core.effects import Read, Send, Visit
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Decline, Preview, Withdraw
from dmoa.core.names import JobId, NodeId, QueryId, job_name, preview_name, previewed
from dmoa.core.query import Query
from dmoa.core.queue import Queue
from dmoa.core.view import View
from dmoa.core.wants import Wants

ONE_HOME = 0.5
"""Share of the previews of a node, and of their bytes, that one home can have."""


# -- at home ------------------------------------------------------------------------------


@dataclass(slots=True)
class Shown:
    """What a peer was shown of one job: how often, how many proposals, how many bytes in all.

    `open` are the numbers of those previews that it has not declined: it may hold any of them, as
    one that is sent can be lost, or taken back before it ever left.
    """

    node: NodeId
    seat: int
    number: int = 0
    known: int = 0
    size: int = 0
    open: list[int] = field(default_factory=list[int])


@dataclass(slots=True)
class Coming:
    """A layer of a query that is still to come: its jobs, as far as peers are shown them."""

    layer: int
    early: dict[NodeId, int]
    jobs: dict[JobId, Shown]


@dataclass(slots=True)
class Previews:
    """What one home shows its peers; nothing unless its policy is `able` to."""

    able: bool
    limits: Limits
    timing: Timing
    view: View
    choice: Choice
    wants: Wants
    coming: dict[QueryId, Coming] = field(default_factory=dict[QueryId, Coming])

    def look(self, queries: Mapping[QueryId, Query], now: float) -> None:
        """Show what is new of the queries under way, and take back what will not come."""
        if not self.able:
            return
        for name in [each for each in self.coming if each not in queries]:
            self._end(name, {})
        for query in queries.values():
            self._follow(query, now)

    def _follow(self, query: Query, now: float) -> None:
        name = query.asked.query
        coming = self.coming.get(name)
        if coming is not None and coming.layer <= query.layer:
            if coming.layer == query.layer and query.probing:
                return  # whom it asks is not decided yet
            self._end(name, query.visits)
            coming = None
        if query.deepest or not query.ordered or not query.fresh or query.probing:
            return
        if coming is None:
            coming = self.coming[name] = self._draw(query, now)
        for job, shown in list(coming.jobs.items()):
            if not self.view.may_ask(shown.node, now):
                self._take_back(job, shown)
                self._drop(coming, job)
            elif shown.known < len(query.fresh) and self.view.reads(shown.node):
                self._show(query, shown, now)

    def _draw(self, query: Query, now: float) -> Coming:
        early = query.early = self.choice.early(query, now)
        jobs = {
            job_name(query.asked.query, query.layer + 1, seat): Shown(node, seat)
            for node, seat in early.items()
        }
        return Coming(query.layer + 1, early, jobs)

    def _show(self, query: Query, shown: Shown, now: float) -> None:
        """Show a peer its job as it is now; good until the layer ends, and a moment longer."""
        job = query.preview(shown.seat, shown.node, now)
        job = replace(job, patience=job.patience + self.timing.probe)
        if shown.size + job.size > self.limits.shown_bytes:
            return
        shown.number += 1
        shown.open.append(shown.number)
        shown.known = len(query.fresh)
        shown.size += job.size
        query.reading = True  # the order of the proposals stands
        self.wants.want(Send(shown.node, Preview(job, shown.number)))

    def ended(self, peer: NodeId, name: JobId) -> None:
        """A peer holds a preview no more: where it is the newest, it is shown nothing further."""
        job = previewed(name)
        if job is None:
            return
        coming = self.coming.get(QueryId(job.rpartition("/")[0]))
        shown = None if coming is None else coming.jobs.get(job)
        if coming is None or shown is None or shown.node != peer:
            return
        shown.open = [each for each in shown.open if preview_name(job, each) != name]
        if preview_name(job, shown.number) == name:
            self._take_back(job, shown)
            self._drop(coming, job)

    @staticmethod
    def _drop(coming: Coming, job: JobId) -> None:
        coming.early.pop(coming.jobs.pop(job).node, None)

    def _end(self, query: QueryId, visits: Mapping[JobId, Visit]) -> None:
        """Take back what was shown in vain; a peer that has the job knows by itself."""
        for job, shown in self.coming.pop(query).jobs.items():
            visit = visits.get(job)
            if visit is None or visit.node != shown.node:
                self._take_back(job, shown)

    def _take_back(self, job: JobId, shown: Shown) -> None:
        for number in shown.open:
            self.wants.want(Send(shown.node, Withdraw(preview_name(job, number))))

    def check(self, queries: Mapping[QueryId, Query]) -> None:
        """Assert that peers are shown only what may still come."""
        assert self.able or not self.coming
        for name, coming in self.coming.items():
            query = queries[name]
            probing = coming.layer == query.layer and bool(query.probing)
            assert probing or coming.layer == query.layer + 1, f"{name} shows what was"
            assert all(each.size <= self.limits.shown_bytes for each in coming.jobs.values())


# -- at the peer --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Held:
    """A preview that is here, and what is read for it."""

    preview: Preview
    read: Read

    @property
    def home(self) -> NodeId:
        """Whose job it is of."""
        return self.preview.job.home


@dataclass(slots=True)
class Shelf:
    """The previews that peers sent to this node; none unless it is `able` to read them."""

    able: bool
    limits: Limits
    timing: Timing
    queue: Queue
    wants: Wants
    held: dict[JobId, Held] = field(default_factory=dict[JobId, Held])

    def put(self, preview: Preview, now: float, *, wanted: bool = True) -> None:
        """Hold a preview, in place of older ones of its job; or decline it at once."""
        job = preview.job
        old = self.held.get(job.id)
        if not (wanted and self._takes(preview, old)):
            self._decline(preview)
            return
        if old is not None:
            if old.preview.number == preview.number:
                return  # it came twice
            self._decline(old.preview)
        self.held[job.id] = Held(preview, Read(job))
        seconds = min(job.patience, self.timing.deadline_max)
        self.wants.wake(now + seconds, "preview", job.id)

    def _takes(self, preview: Preview, old: Held | None) -> bool:
        """Tell whether there is room for a preview, and it is not an old one."""
        if not self.able or (old is not None and old.preview.number > preview.number):
            return False
        here = [each for each in self.held.values() if each is not old]
        own = [each for each in here if each.home == preview.job.home]
        most, size = self.limits.previews, self.limits.preview_bytes
        return fits(here, preview, most, size) and fits(
            own, preview, max(1, int(ONE_HOME * most)), int(ONE_HOME * size)
        )

    def drop(self, job: JobId) -> None:
        """Hold the preview of a job no more, and tell its home."""
        held = self._out(job)
        if held is not None:
            self._decline(held.preview)

    def withdrawn(self, name: JobId) -> None:
        """Hold a preview no more that its home takes back."""
        job = previewed(name)
        held = None if job is None else self.held.get(job)
        if job is not None and held is not None and held.preview.name == name:
            self._out(job)

    def forsake(self, home: NodeId) -> None:
        """Hold nothing more of a home that is gone, or shunned."""
        for job in [each for each, held in self.held.items() if held.home == home]:
            self.drop(job)

    def reads(self) -> Iterator[Read]:
        """Tell what can be read, the oldest first."""
        return (held.read for held in self.held.values())

    def _out(self, job: JobId) -> Held | None:
        self.wants.unwake("preview", job)
        return self.held.pop(job, None)

    def _decline(self, preview: Preview) -> None:
        self.wants.want(Send(preview.job.home, Decline(preview.name, len(self.queue))))

    def check(self) -> None:
        """Assert the bounds."""
        assert self.able or not self.held
        assert len(self.held) <= self.limits.previews
        sizes = sum(held.preview.job.size for held in self.held.values())
        assert sizes <= self.limits.preview_bytes


def fits(here: list[Held], preview: Preview, most: int, size: int) -> bool:
    """Tell whether a preview fits beside those that are here, at `most` so many and bytes."""
    taken = sum(each.preview.job.size for each in here)
    return len(here) < most and taken + preview.job.size <= size
