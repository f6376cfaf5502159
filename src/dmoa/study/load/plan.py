"""One load test from its settings to its end: what is asked of whom, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from math import inf
from typing import Any

from dmoa.core.limits import Timing
from dmoa.core.mixture import Mixture
from dmoa.errors import UsageError
from dmoa.sim.setting import Bursts, Recorded
from dmoa.study.load import beside as others
from dmoa.study.load.generator import ENDLESS, Generator, Load, Told, greet
from dmoa.study.load.live import Nodes, NodeState
from dmoa.study.load.measured import Figures, counted, measure
from dmoa.study.load.records import Crew, FileLog, Log
from dmoa.study.load.schedule import Prompts, due, rates_for, within

DRAIN = 60.0
"""Seconds that answers are awaited after the last question, where there is no deadline."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a test; times in seconds, rates in queries per second at each node.

    `nodes` tells in words for JSON who is asked, `count` how many they are. There is either
    `rates`, or `rho` with the `service_times` (else those that the nodes have measured are
    taken), or a `trace`. `options` are arguments of `dmoa up` for nodes that are started. The
    rest is as in `Load` and `Setting`.
    """

    nodes: dict[str, Any]
    count: int
    mixture: Mixture
    prompts: Prompts
    options: tuple[str, ...] = ()
    rates: tuple[float, ...] = ()
    rho: float | None = None
    service_times: tuple[float, ...] = ()
    slots: tuple[int, ...] = ()
    bursts: Bursts | None = None
    trace: Recorded | None = None
    seconds: float = 60.0
    seed: int = 1
    deadline: float | None = None
    in_flight: int = 10_000
    poll: float = 0.5
    drain: float | None = None
    warmup: float = 0.1

    def settings(self) -> dict[str, Any]:
        """Tell all that what is asked depends on, for JSON."""
        trace = None
        if self.trace is not None:
            listed = json.dumps([self.trace.times, self.trace.homes]).encode()
            trace = sha256(listed).hexdigest()[:16]
        return {
            "nodes": self.nodes,
            "rate": list(self.rates) or None,
            "rho": self.rho,
            "service": list(self.service_times) or None,
            "bursts": None if self.bursts is None else asdict(self.bursts),
            "trace": trace,
            "seconds": None if self.seconds == inf else self.seconds,
            "seed": self.seed,
            "layers": self.mixture.layers,
            "fanout": self.mixture.fanout,
            "deadline": self.deadline,
            "prompts": self.prompts.name,
        }

    def rates_of(self, crew: Crew | None) -> tuple[float, ...] | None:
        """Tell how often each node is asked; None where only the nodes can say it."""
        if self.trace is not None:
            return (0.0,) * self.count
        if self.rates:
            return self.rates
        assert self.rho is not None, "a test has a rate, a rho or a trace"
        times, slots = self.service_times, self.slots
        if crew is not None:
            times, slots = times or crew.service_times, slots or crew.slots
        if not times:
            return None
        if min(times) <= 0.0:
            raise UsageError(
                "a node has not measured its service time yet, so that rho is not known",
                hint="ask it something first, or give --service SECONDS or --rate",
            )
        return rates_for(self.rho, self.mixture, times, slots or (1,) * self.count)

    def arrivals(self, rates: Sequence[float]) -> Recorded:
        """Draw all arrivals, or take them from the trace."""
        if self.trace is not None:
            return within(self.trace, self.seconds)
        return due(rates, self.bursts, seconds=self.seconds, seed=self.seed)

    def sent_deadline(self, crew: Crew) -> float | None:
        """Tell the deadline that goes with the queries: users of the paper wait however long."""
        return ENDLESS if "paper" in crew.modes else self.deadline


def is_over(plan: Plan, log: Log) -> bool:
    """Tell whether all of a test was asked before."""
    return log.rates is not None and log.asked >= len(plan.arrivals(log.rates).times)


async def perform(plan: Plan, urls: Sequence[str], log: Log, told: Told) -> bool:
    """Ask what is left of a test; False where it was stopped (by cancelling) before its end."""
    async with Nodes(urls) as nodes:
        crew = _crew(await greet(nodes, plan.mixture))
        if log.rates is None:
            rates = plan.rates_of(crew)
            assert rates is not None, "the nodes were asked"
            log.begin(rates)
        log.meet(crew)
        assert log.rates is not None, "the test has begun"
        arrivals = plan.arrivals(log.rates)
        window = counted(arrivals, plan.warmup)
        load = Load(
            arrivals=arrivals,
            prompts=plan.prompts,
            mixture=plan.mixture,
            deadline=plan.sent_deadline(crew),
            in_flight=plan.in_flight,
            poll=plan.poll,
            drain=plan.drain if plan.drain is not None else plan.deadline or DRAIN,
            marks=(window.begin, window.end),
        )
        return await Generator(load, nodes, log, told).run()


def _crew(states: Sequence[NodeState]) -> Crew:
    return Crew(
        names=tuple(each.name for each in states),
        modes=tuple(each.queue.mode for each in states),
        slots=tuple(each.slots for each in states),
        service_times=tuple(each.service_time for each in states),
        policies=tuple(each.queue.policy for each in states),
    )


@dataclass(frozen=True, slots=True)
class Report:
    """A test and what is said of it; `memory` is the most bytes each node held, if known.

    `deadline_sent` went with the queries (seconds), None where the nodes had their own.
    """

    plan: Plan
    log: Log
    arrivals: Recorded
    figures: Figures
    beside: others.Beside
    done: bool
    deadline_sent: float | None
    memory: tuple[int, ...] = ()

    @property
    def mode(self) -> str:
        """What the nodes did."""
        assert self.log.crew is not None
        return " and ".join(dict.fromkeys(self.log.crew.modes))


def report(  # noqa: PLR0913  (the test, how it ended, and what more to do)
    plan: Plan,
    log: Log,
    *,
    done: bool,
    worlds: int = 3,
    memory: Sequence[int] = (),
    told: Callable[[int, int], None] | None = None,
) -> Report | None:
    """Sum up a test, as far as it got; None where nothing was asked."""
    if log.crew is None or log.rates is None or not log.asked:
        return None
    whole = plan.arrivals(log.rates)
    arrivals = Recorded(whole.times[: log.asked], whole.homes[: log.asked])
    figures = measure(
        log, arrivals, warmup=plan.warmup, deadline=inf if plan.deadline is None else plan.deadline
    )
    case = others.case_of(
        log,
        arrivals,
        plan.mixture,
        poisson=plan.bursts is None and plan.trace is None,
        warmup=plan.warmup,
        deadline=plan.deadline or Timing().deadline,
    )
    beside = others.with_replay(others.beside(case, worlds=worlds, told=told), case, log)
    sent = plan.sent_deadline(log.crew)
    return Report(plan, log, arrivals, figures, beside, done, sent, tuple(memory))


__all__ = ["FileLog", "Log", "Plan", "Report", "is_over", "perform", "report"]
