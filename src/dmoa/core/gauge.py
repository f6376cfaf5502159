"""What a node measures of itself: arrival rate, service times, utilisation, queue length.

Rates are exponentially weighted over the last minute and corrected for the time before
the first event. The utilisation is rho of this very node: jobs offered to it per second
(own and peers', declined ones too) times mean service time over slots. Where all nodes
are alike and peers are drawn uniformly it is the rho of Theorem 1,
service_time * visits * arrival_rate, and like it may exceed 1.
"""

from __future__ import annotations

from math import exp
from typing import get_args

from dmoa.core.names import Role

WINDOW = 60.0
"""Seconds over which a rate forgets."""
MEMORY = 50
"""Jobs over which a service time forgets."""
FEW = 5
"""Jobs with all slots busy before they are taken for the rule."""


class Rate:
    """Events per second, weighted by exp(-age / WINDOW)."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._sum = 0.0
        self._last = start
        self.count = 0

    def tick(self, now: float) -> None:
        """Count one event."""
        self._sum = self._sum * exp((self._last - now) / WINDOW) + 1.0
        self._last = now
        self.count += 1

    def value(self, now: float) -> float:
        """Tell the rate per second; 0 before any time has passed."""
        weight = WINDOW * (1.0 - exp((self._start - now) / WINDOW))
        return self._sum * exp((self._last - now) / WINDOW) / weight if weight > 0 else 0.0


class Mean:
    """A mean that forgets: the plain mean of the first MEMORY values, then exponential."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        """Take one more value."""
        self.count += 1
        self.value += (value - self.value) / min(self.count, MEMORY)


class Gauge:
    """The measurements of one node; all times in seconds.

    A model that serves several jobs at once may serve each of them slower for it. So what a
    node can carry, its `capacity`, is measured on jobs that began when all slots were taken.
    """

    def __init__(self, start: float, *, slots: int) -> None:
        self._start = start
        self._now = start
        self._slots = slots
        self._waiting = 0
        self._serving = 0
        self._waiting_seconds = 0.0
        self._serving_seconds = 0.0
        self.queries = Rate(start)
        self.jobs = Rate(start)
        self.refused = 0
        self.declined = 0
        self._all = Mean()
        self._full = Mean()
        self._squares = Mean()
        self._by_role: dict[Role, Mean] = {role: Mean() for role in get_args(Role)}

    def advance(self, now: float) -> None:
        """Let time pass with the queue as it is."""
        elapsed = now - self._now
        self._waiting_seconds += elapsed * self._waiting
        self._serving_seconds += elapsed * self._serving
        self._now = now

    def level(self, waiting: int, serving: int) -> None:
        """Take how many jobs wait and are in service from now on."""
        self._waiting = waiting
        self._serving = serving

    def served(self, role: Role, seconds: float, *, full: bool = True) -> None:
        """Take the service time of one completed job; `full` if all slots were busy then."""
        self._all.add(seconds)
        self._squares.add(seconds * seconds)
        self._by_role[role].add(seconds)
        if full:
            self._full.add(seconds)

    def service_time(self, role: Role | None = None) -> float:
        """Tell the mean service time of all jobs or of one role; 0 if none was served."""
        return (self._all if role is None else self._by_role[role]).value

    @property
    def count(self) -> int:
        """Jobs completed since the start."""
        return self._all.count

    @property
    def pace(self) -> float:
        """Seconds between two jobs that the node completes with all slots busy; 0 if unknown."""
        enough = self._full.count >= min(FEW, self._all.count)
        return (self._full if enough else self._all).value / self._slots

    @property
    def capacity(self) -> float:
        """Jobs per second that the node completes with all slots busy; 0 if unknown."""
        return 1.0 / self.pace if self.pace > 0.0 else 0.0

    @property
    def rest(self) -> float:
        """Mean seconds that a job found in service still takes: E[S^2] / 2 E[S]."""
        mean = self._all.value
        return self._squares.value / (2.0 * mean) if mean > 0.0 else 0.0

    @property
    def seconds(self) -> tuple[float, float, float]:
        """Tell the age of the node, and the job seconds spent waiting and in service."""
        return self._now - self._start, self._waiting_seconds, self._serving_seconds

    def until(self, now: float) -> tuple[float, float, float]:
        """Tell the same as of now; unlike to `advance`, to ask leaves no trace."""
        elapsed = now - self._now
        seconds, waiting, serving = self.seconds
        return (
            seconds + elapsed,
            waiting + elapsed * self._waiting,
            serving + elapsed * self._serving,
        )

    @property
    def utilisation(self) -> float:
        """Rho of this node: jobs offered per second over those it can complete."""
        return self.jobs.value(self._now) * self.pace

    @property
    def busy(self) -> float:
        """Share of slot time in service since the start."""
        elapsed = self._now - self._start
        return self._serving_seconds / (elapsed * self._slots) if elapsed > 0 else 0.0

    @property
    def mean_length(self) -> float:
        """Time-averaged jobs in the node since the start, waiting and in service."""
        elapsed = self._now - self._start
        total = self._waiting_seconds + self._serving_seconds
        return total / elapsed if elapsed > 0 else 0.0

    @property
    def mean_waiting(self) -> float:
        """Time-averaged jobs that wait: the queue length of the paper's tables."""
        elapsed = self._now - self._start
        return self._waiting_seconds / elapsed if elapsed > 0 else 0.0
