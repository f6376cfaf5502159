"""What a home expects of its network: how crowded it is, how deep a mixture, how long it takes.

Theory of operation. An answer takes its layers, one after the other, and an aggregation. A
layer takes the wait before the model that is served last, and its service. How long that is
nobody can know before: so a plain formula (`_naive`) tells how it goes with the queues of
this node and of the network, and a factor learned from the latest answers (`Ratios`) makes it
fit this network, its laws and its policy. Simulated with log-normal
services (n=8, M=2, k=3, rho 0.7), 93 % of the answers come within a factor of 1.5 of what is told
when they are asked at a cv of 0.4, and 90 % at 0.5. Small mixtures are harder to foretell: with
M=1, k=2 even a formula that was fitted afterwards had 86 %.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import exp, log

from dmoa.core.bench import Bench
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.policy import Policy, declines, ladder, own_bound, rung
from dmoa.core.view import View

NEAR = 0.15
"""Weight of this node's own queue in what is ahead of a query; the rest is the network's."""
LASTING = 0.85
"""How much of what the network's queues differ from their usual length is there when it counts."""
USUAL = 0.02
"""Weight of the latest look in the usual length."""
SPREAD = 1.6
"""Service times that the slowest of a few proposers takes, without their queues."""
SURE = 1.5
"""A mixture is within the deadline where its expected time is, so many times over."""
RARE = 0.98
"""Share of the proposals that are waited for; those beyond are given up."""
SLACK = 1.5
"""Times as long as that is waited, for what is measured is a past."""
ENOUGH = 20
"""Proposals to be measured before patience rests on them."""
FIRST = 5
"""Answers to be measured before what is expected rests on them."""
REMEMBERED = 200
"""Proposals over which patience forgets."""
RECENT = 200
"""Answers over which expectation forgets."""


class Ratios:
    """The latest ratios of what was to what was expected."""

    def __init__(self, size: int) -> None:
        self._latest: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        """Count what is remembered."""
        return len(self._latest)

    def add(self, ratio: float) -> None:
        """Take one more; what is not above 0 tells nothing."""
        if ratio > 0.0:
            self._latest.append(ratio)

    def quantile(self, share: float) -> float:
        """Tell the ratio that this share does not exceed; 1 where nothing is remembered."""
        if not self._latest:
            return 1.0
        ordered = sorted(self._latest)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    def typical(self) -> float:
        """Tell the geometric middle of the bulk: where most are within one factor of it."""
        return exp(0.5 * (log(self.quantile(0.1)) + log(self.quantile(0.9))))


@dataclass(frozen=True, slots=True)
class Plan:
    """The mixture that a query can have now, with why where it is less than asked for.

    `crowd` is the mean number of jobs per slot in the network.
    """

    mixture: Mixture
    crowd: float = 0.0
    why: str = ""


NOTHING = Plan(ALONE)
"""Before anything was planned."""


@dataclass(slots=True)
class Outlook:
    """The expectations of one home; all times in seconds."""

    view: View
    bench: Bench
    policy: Policy
    _usual: float = 0.0
    _tardiness: Ratios = field(default_factory=lambda: Ratios(REMEMBERED))
    _leans: dict[int, Ratios] = field(default_factory=dict[int, Ratios])
    _ladders: dict[Mixture, tuple[Mixture, ...]] = field(
        default_factory=dict[Mixture, tuple[Mixture, ...]]
    )

    # -- how deep ---------------------------------------------------------------------

    def plan(self, asked: Mixture, layer: int, left: float, now: float, *, others: int = 0) -> Plan:
        """Find the deepest mixture that the network carries, from `layer` on.

        By its load, and so that the answer is there within the `left` seconds; with many
        `others` of the own queries under way it is smaller before one of them is refused.
        """
        policy, queue = self.policy, self.bench.queue
        if not (policy.adaptive or policy.spare):
            return Plan(asked)
        crowd = self.view.crowd(len(queue) / queue.slots, now)
        if not policy.adaptive:
            return Plan(asked, crowd)
        steps = self._ladder(asked)
        index = rung([each.visits for each in steps], crowd)
        why = f"the network holds {crowd:.1f} jobs per slot" if index else ""
        while policy.timely and index < len(steps) - 1:
            layers = max(steps[index].layers - layer + 1, 0)
            bound = own_bound(left, self.bench.gauge.pace, layers)
            if SURE * self.seconds(layers, now) > left:
                why = f"{left:.3g} s are left"
            elif declines(others, bound):
                why = f"{others} other queries of this node are under way"
            else:
                break
            index += 1
        return Plan(steps[index], crowd, why)

    def _ladder(self, asked: Mixture) -> tuple[Mixture, ...]:
        """Look a ladder up; there are no more than mixtures within the limits."""
        if asked not in self._ladders:
            self._ladders[asked] = ladder(asked)
        return self._ladders[asked]

    def bound(self, deadline: float, layers: int) -> int:
        """Count the own queries of so many layers that are taken at once; -1 has no bound."""
        policy = self.policy
        bound = -1 if policy.own_queries is None else policy.own_queries
        if policy.timely:
            timely = own_bound(deadline, self.bench.gauge.pace, layers)
            if timely >= 0:
                bound = timely if bound < 0 else min(bound, timely)
        return bound

    # -- how long ---------------------------------------------------------------------

    def seconds(self, layers: int, now: float) -> float:
        """Expect the time to an answer that has so many layers before it, and its aggregation.

        0 where nothing was measured yet.
        """
        return self.naive(layers, now) * self.lean(layers)

    def lean(self, layers: int) -> float:
        """Tell the factor by which the formula was wrong of late; 1 where too little is known."""
        learned = self._leans.get(layers)
        return learned.typical() if learned and len(learned) >= FIRST else 1.0

    def naive(self, layers: int, now: float) -> float:
        """Expect the same without what was learned."""
        gauge = self.bench.gauge
        last = gauge.service_time("aggregator") or gauge.service_time()
        wait = self._wait(now)
        if layers <= 0:
            return wait + last
        backlog = self.view.backlog(wait, now)
        usual = self._usual or backlog
        there = usual + LASTING * (backlog - usual)
        ahead = NEAR * wait + (1.0 - NEAR) * there
        time = max(gauge.service_time("proposer"), self.view.proposer_time(now))
        return layers * (ahead + SPREAD * time) + ahead + (last or time)

    def own(self, now: float) -> float:
        """Expect the time to an own proposal that is asked for now."""
        gauge = self.bench.gauge
        return self._wait(now) + (gauge.service_time("proposer") or gauge.service_time())

    def _wait(self, now: float) -> float:
        """Expect the wait of an own job that enters the queue last."""
        return self.bench.wait(self.bench.queue.waiting, now)

    def patience(self, share: float, expected: list[float]) -> float:
        """Tell how long to wait for proposals that are expected so; at most a `share`."""
        if not self.policy.learning or len(self._tardiness) < ENOUGH or min(expected) <= 0.0:
            return share
        return min(share, SLACK * self._tardiness.quantile(RARE) * max(expected))

    # -- what is learned --------------------------------------------------------------

    def look(self, now: float) -> None:
        """Learn how long the queues of the network usually are."""
        backlog = self.view.backlog(self._wait(now), now)
        self._usual += (USUAL if self._usual else 1.0) * (backlog - self._usual)

    def answered(self, layers: int, naive: float, seconds: float) -> None:
        """Learn how long it took from where `naive` seconds were expected."""
        if naive > 0.0:
            self._leans.setdefault(layers, Ratios(RECENT)).add(seconds / naive)

    def proposed(self, ratio: float) -> None:
        """Learn how long a proposal took, against what was expected of it."""
        self._tardiness.add(ratio)
