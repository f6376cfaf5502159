"""A queue against a plain model of it, under any sequence of operations."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dmoa.core.job import Job, Sampling, Turn
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.queue import Entry, Queue


def make_entry(id: str, *, own: bool, size: int, now: float) -> Entry:
    query, _, _ = id.rpartition("/")
    home = NodeId(id.split("/", maxsplit=1)[0])
    turns = (Turn("user", "x" * size),)
    job = Job(JobId(id), QueryId(query), home, "proposer", 1, turns, (), Sampling(), 1.0)
    return Entry(job, own=own, entered=now, expires=now + 1.0)


class Queues(RuleBasedStateMachine):
    """Jobs come, are started, finish and are withdrawn; own queries hold places."""

    @initialize(slots=st.integers(1, 3), jobs=st.integers(1, 5), size=st.integers(60, 1000))
    def begin(self, slots: int, jobs: int, size: int) -> None:
        self.queue = Queue(slots=slots, jobs=jobs, size=size)
        self.slots, self.jobs, self.size = slots, jobs, size
        self.now = 0.0
        self.count = 0
        self.waiting: list[str] = []
        self.serving: list[str] = []
        self.positions: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self.places: dict[str, int] = {}
        self.entered: list[str] = []
        self.started: list[str] = []
        self.withdrawn: set[str] = set()

    def _fits(self, size: int) -> bool:
        taken = len(self.bytes) + len(self.places)
        return taken < self.jobs and sum([*self.bytes.values(), *self.places.values()]) + size <= (
            self.size
        )

    @rule(size=st.integers(0, 300))
    def a_peer_proposes(self, size: int) -> None:
        self.count += 1
        entry = make_entry(f"b/1/{self.count}/1.1", own=False, size=size, now=self.now)
        fits = self._fits(entry.job.size)
        assert self.queue.enter(entry) == fits
        if fits:
            self.waiting.append(entry.job.id)
            self.entered.append(entry.job.id)
            self.bytes[entry.job.id] = entry.job.size
        self._fill()

    @rule(size=st.integers(0, 300))
    def the_user_asks(self, size: int) -> None:
        self.count += 1
        query = QueryId(f"a/1/{self.count}")
        fits = self._fits(size)
        assert self.queue.reserve(query, size) == fits
        if fits:
            self.places[query] = size

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def an_own_query_enters_its_next_job(self, data: st.DataObject) -> None:
        query = data.draw(st.sampled_from(list(self.places)))
        if any(one.startswith(f"{query}/") for one in self.waiting):
            return
        self.count += 1
        job = f"{query}/{self.count}.0"
        assert self.queue.enter(make_entry(job, own=True, size=10**6, now=self.now))
        self.waiting.append(job)
        self.entered.append(job)
        self._fill()

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def an_own_query_ends(self, data: st.DataObject) -> None:
        query = data.draw(st.sampled_from(list(self.places)))
        for job in [one for one in self.waiting if one.startswith(f"{query}/")]:
            self._withdraw(job)
        self.queue.release(QueryId(query))
        del self.places[query]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def who_waits_is_withdrawn(self, data: st.DataObject) -> None:
        self._withdraw(data.draw(st.sampled_from(self.waiting)))

    @precondition(lambda self: self.serving)
    @rule(data=st.data())
    def a_service_ends(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.serving))
        assert self.queue.withdraw(JobId(job)) is None
        assert self.queue.finish(JobId(job)) is not None
        assert self.queue.finish(JobId(job)) is None
        self.serving.remove(job)
        self.bytes.pop(job, None)
        self._fill()

    @rule(seconds=st.floats(0.0, 10.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def _withdraw(self, job: str) -> None:
        assert self.queue.finish(JobId(job)) is None
        assert self.queue.withdraw(JobId(job)) is not None
        assert self.queue.withdraw(JobId(job)) is None
        self.waiting.remove(job)
        self.withdrawn.add(job)
        self.entered.remove(job)
        self.bytes.pop(job, None)

    def _fill(self) -> None:
        while (entry := self.queue.start(self.now)) is not None:
            assert entry.started == self.now
            assert entry.job.id == self.waiting.pop(0)
            self.serving.append(entry.job.id)
            self.started.append(entry.job.id)

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        self.queue.check()
        assert (self.queue.waiting, self.queue.serving) == (len(self.waiting), len(self.serving))
        assert len(self.queue) == len(self.waiting) + len(self.serving) <= self.jobs + self.slots
        assert all(job in self.queue for job in self.waiting + self.serving)
        assert sum(self.bytes.values()) + sum(self.places.values()) <= self.size
        assert self.started == self.entered[: len(self.started)], "not first come, first served"

    @invariant()
    def a_position_is_the_place_in_line_and_never_grows(self) -> None:
        positions = {job: self.queue.position(JobId(job)) for job in self.waiting}
        assert list(positions.values()) == list(range(1, len(self.waiting) + 1))
        for job, position in positions.items():
            assert position <= self.positions.get(job, position)
        assert all(self.queue.position(JobId(job)) == 0 for job in self.serving)
        self.positions = positions


TestQueues = Queues.TestCase
TestQueues.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
