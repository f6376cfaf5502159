"""Where jobs are served: the queue before the own model, and what is measured there."""

from __future__ import annotations

from dataclasses import dataclass, field

from dmoa.core.effects import Cancel, Serve
from dmoa.core.gauge import Gauge
from dmoa.core.job import Fault, Profile
from dmoa.core.limits import Limits
from dmoa.core.names import JobId
from dmoa.core.policy import PAPER, Policy, declines
from dmoa.core.prompts import SQUEEZES, render
from dmoa.core.queue import Entry, Queue
from dmoa.core.reading import Reader
from dmoa.core.wants import Wants


@dataclass(slots=True)
class Bench:
    """The serving half of an agent, alike for own jobs and those of peers.

    When a job is started, its service ends by exactly one `served` or `faltered`; a slot
    is free only then, also where the service was cancelled: a model that is still busy is
    never given more than it has slots for.
    """

    profile: Profile
    limits: Limits
    queue: Queue
    gauge: Gauge
    wants: Wants
    policy: Policy = PAPER
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        """Read ahead where the policy has it and the model can."""
        self.reader = Reader(self.eager, self.queue, self.wants)

    @property
    def eager(self) -> bool:
        """Tell whether prompts are read ahead here."""
        return self.policy.eager != "off" and self.profile.reads

    def enter(self, entry: Entry) -> bool:
        """Offer a job to the queue; False when it is full, or a peer's and too many are here."""
        self.gauge.jobs.tick(entry.entered)
        bound = self.policy.peer_jobs
        most = -1 if bound is None else bound * self.queue.slots
        too_many = not entry.own and declines(len(self.queue), most)
        if not too_many and self.queue.enter(entry):
            return True
        self.gauge.declined += 1
        return False

    def fill(self, now: float) -> None:
        """Give every free slot the job whose turn it is."""
        while (entry := self.queue.start(now)) is not None:
            self.reader.give_way(entry.job.id)
            self._serve(entry, now)

    def _serve(self, entry: Entry, now: float) -> None:
        prompt = render(entry.job, self.profile, self.limits, squeeze=entry.squeeze)
        entry.unread = prompt.unread
        self.wants.want(Serve(entry.job, prompt, max(0.0, entry.expires - now)))

    def wait(self, ahead: int, now: float) -> float:
        """Expect the seconds until a job with so many waiting before it begins.

        A job in service takes its mean time, of which some has passed; where it takes longer,
        half of what is left of a job on average.
        """
        if self.queue.serving < self.queue.slots:
            return 0.0
        mean, least = self.gauge.service_time(), self.gauge.rest / 2.0
        left = min(max(mean - (now - began), least) for began in self.queue.began())
        return left + ahead * self.gauge.pace

    def drop(self, job: JobId) -> None:
        """Nobody wants this job any more: take it out, or stop its service."""
        self.wants.unwake("job", job)
        if self.queue.withdraw(job) is None:
            entry = self.queue.in_service(job)
            if entry is not None and not entry.stopping:
                entry.stopping = True
                self.wants.want(Cancel(job))

    def served(self, job: JobId, now: float) -> tuple[Entry, float, float]:
        """Free the slot of a completed job; with the seconds it waited and was in service."""
        entry = self.queue.finish(job)
        assert entry is not None, f"{job} was served without being in service"
        assert entry.started is not None
        self.wants.unwake("job", job)
        seconds = now - entry.started
        self.gauge.served(entry.job.role, seconds, full=entry.full)
        return entry, entry.started - entry.entered, seconds

    def faltered(self, job: JobId, fault: Fault, now: float) -> Entry | None:
        """Free the slot of a job that failed; None where it is served again, with less."""
        entry = self.queue.in_service(job)
        assert entry is not None, f"{job} faltered without being in service"
        if fault.code == "too_long" and not entry.stopping and entry.squeeze < SQUEEZES:
            entry.squeeze += 1
            self._serve(entry, now)
            return None
        self.wants.unwake("job", job)
        return self.queue.finish(job)
