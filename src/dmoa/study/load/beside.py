"""What others say of the same load: Theorem 1, the planner, and a world of agents.

All three are given what was measured: the service times, and the arrivals that really came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from math import fsum, inf
from typing import Any

from dmoa.core.job import Role
from dmoa.core.limits import Timing
from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.policy import PAPER, Policy
from dmoa.core.stability import utilisations
from dmoa.errors import DmoaError
from dmoa.sim.dream import Dream
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Recorded, Setting
from dmoa.study.load.measured import counted
from dmoa.study.load.records import Crew, JobRecord, Log
from dmoa.study.statistics import Estimate, mean_of
from dmoa.theory.latency import Prediction, predict
from dmoa.theory.laws import Measured

JOBS_MAX = 200_000
"""Of a world; it lives through some thousand a second."""
_FEW = 30
"""Jobs below which what was measured makes no law."""
MEASURES = ("mean", "p50", "p95", "p99", "in_time", "goodput", "offered", "proposals", "waiting")
"""Of an outcome, beside the utilisation of each node."""

Told = Callable[[int, int], None]
"""Told how many queries of all worlds were asked so far, and of how many."""


@dataclass(frozen=True, slots=True)
class Worlds:
    """The same load in a world of agents, some times over with other dice.

    `figures` are means over the worlds for each of `MEASURES`, with intervals, `utilisations` of
    each node; `latencies` are of all answers, rising (seconds).
    """

    figures: dict[str, Estimate]
    utilisations: tuple[Estimate, ...]
    latencies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Beside:
    """What others say; where somebody says nothing, `silent` has the reason by its name.

    `theorem1` is rho of each node for the mixture that was asked.
    """

    theorem1: tuple[float, ...] | None
    planner: Prediction | None
    world: Worlds | None
    silent: dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A test, as a simulation wants it."""

    network: Network
    mixture: Mixture
    law: Measured
    policy: Policy | None
    arrivals: Recorded
    poisson: bool
    warmup: float
    deadline: float

    def setting(self, seed: int) -> Setting:
        """Make the setting of one world."""
        assert self.policy is not None
        return Setting(
            network=self.network,
            mixture=self.mixture,
            law=self.law,
            policy=self.policy,
            arrivals=self.arrivals,
            queries=len(self.arrivals.times),
            warmup=self.warmup,
            gossip=Timing().gossip,
            deadline=self.deadline,
            seed=seed,
        )


def case_of(  # noqa: PLR0913  (what was asked, how, and how it is judged)
    log: Log,
    arrivals: Recorded,
    mixture: Mixture,
    *,
    poisson: bool,
    warmup: float = 0.1,
    deadline: float = inf,
) -> Case | None:
    """Take from a test what a simulation needs; None where too few jobs were measured."""
    crew = log.crew
    assert crew is not None, "a test that asked knows its nodes"
    jobs = [
        each
        for record in log.queries.values()
        for each in record.jobs
        if each.outcome == "ok" and each.service_seconds > 0.0 and each.node in crew.names
    ]
    if len(jobs) < _FEW:
        return None
    what = counted(arrivals, warmup)
    homes, span = arrivals.homes[what.first :], what.end - what.begin
    rates = tuple(homes.count(node) / span if span else 0.0 for node in range(len(crew.names)))
    paces = _paces(crew, jobs)
    costs = _costs(crew, jobs, paces, mixture)
    network = Network(rates, paces, crew.slots, costs)
    law = Measured(samples=tuple(_units(crew, jobs, network, mixture)))
    return Case(network, mixture, law, policy_of(crew), arrivals, poisson, warmup, deadline)


def policy_of(crew: Crew) -> Policy | None:
    """Make the policy that the nodes say they follow; None where they differ, or we know less."""
    first = crew.policies[0]
    known = {each.name for each in fields(Policy)}
    if any(each != first for each in crew.policies) or not known.issuperset(first):
        return None
    try:
        return Policy(**first)
    except (DmoaError, TypeError):
        return None


def _paces(crew: Crew, jobs: Sequence[JobRecord]) -> tuple[float, ...]:
    """Average the service times of each node; of one without jobs, believe what it said."""
    usual = fsum(each.service_seconds for each in jobs) / len(jobs)
    found: list[float] = []
    for name, said in zip(crew.names, crew.service_times, strict=True):
        own = [each.service_seconds for each in jobs if each.node == name]
        found.append(fsum(own) / len(own) if own else said or usual)
    return tuple(found)


def _kind(layer: int, role: Role | str, mixture: Mixture) -> str:
    if role == "aggregator":
        return "aggregation" if mixture.layers else "first"
    return "first" if layer == 1 else "later"


def _costs(
    crew: Crew, jobs: Sequence[JobRecord], paces: Sequence[float], mixture: Mixture
) -> Costs:
    """Measure how long the kinds of jobs take, in the service times of the nodes they were at."""
    pace = dict(zip(crew.names, paces, strict=True))
    took: dict[str, list[float]] = {}
    for each in jobs:
        sums = took.setdefault(_kind(each.layer, each.role, mixture), [0.0, 0.0])
        sums[0] += each.service_seconds
        sums[1] += pace[each.node]
    return Costs(**{kind: of / by for kind, (of, by) in took.items()})


def _units(
    crew: Crew, jobs: Sequence[JobRecord], network: Network, mixture: Mixture
) -> Iterator[float]:
    """Tell the service times in what each was expected to be."""
    pace = dict(zip(crew.names, network.service_times, strict=True))
    for each in jobs:
        cost: float = getattr(network.costs, _kind(each.layer, each.role, mixture))
        yield each.service_seconds / (pace[each.node] * cost)


# -- what they say ----------------------------------------------------------------------


def beside(case: Case | None, *, worlds: int = 3, told: Told | None = None) -> Beside:
    """Ask all three; `worlds` is how many worlds are dreamt, 0 for none."""
    if case is None:
        why = f"fewer than {_FEW} jobs were measured"
        return Beside(None, None, None, dict.fromkeys(("theorem1", "planner", "world"), why))
    silent: dict[str, str] = {}
    planner = None
    if case.policy != PAPER:
        silent["planner"] = "it knows the paper's protocol only, and the nodes follow another"
    elif not case.poisson:
        silent["planner"] = "it knows Poisson arrivals only"
    else:
        planner = predict(case.network, case.mixture, case.law)
        if planner.latency is None:
            silent["planner"] = planner.doubts[0]
    world = None
    jobs = len(case.arrivals.times) * case.mixture.visits
    if not worlds:
        silent["world"] = "none was asked for"
    elif case.policy is None:
        silent["world"] = "the nodes follow policies that differ, or that are not known here"
    elif jobs > JOBS_MAX:
        silent["world"] = f"{jobs} jobs would take it too long"
    else:
        world = beside_world(case, range(1, worlds + 1), told)
    return Beside(utilisations(case.network, case.mixture), planner, world, silent)


def beside_world(case: Case, seeds: Sequence[int], told: Told | None = None) -> Worlds:
    """Let agents live through the same load, once for each seed."""
    outcomes: list[Outcome] = []
    latencies: list[float] = []
    queries = len(case.arrivals.times)
    first = counted(case.arrivals, case.warmup).first
    for number, seed in enumerate(seeds):
        life = Dream(case.setting(seed), record=True)
        life.world.record = False  # every answer is told, and nobody reads the histories
        life.live(_shifted(told, number * queries, len(seeds) * queries))
        outcomes.append(life.outcome(0.0))
        latencies += [ended - at for query, at, ended, _ in life.told if query >= first]
    nodes = range(case.network.nodes)
    return Worlds(
        {each: mean_of([getattr(one, each) for one in outcomes]) for each in MEASURES},
        tuple(mean_of([one.utilisation[node] for one in outcomes]) for node in nodes),
        tuple(sorted(latencies)),
    )


def _shifted(told: Told | None, before: int, total: int) -> Callable[[int, int], None] | None:
    if told is None:
        return None

    def tell(done: int, _: int) -> None:
        told(before + done, total)

    return tell


def as_dict(found: Beside) -> dict[str, Any]:
    """Tell it to a program."""
    planner, world = found.planner, found.world
    latency = planner.latency if planner else None
    return {
        "theorem1": found.theorem1 and {"utilisations": list(found.theorem1)},
        "planner": latency
        and planner
        and {
            **{name: getattr(latency, name) for name in ("mean", "p50", "p95", "p99")},
            "waiting": fsum(planner.waiting) / len(planner.waiting),
            "goodput": planner.goodput,
            "doubts": list(planner.doubts),
        },
        "world": world
        and {
            **{name: _known(each) for name, each in world.figures.items()},
            "utilisations": [_known(each) for each in world.utilisations],
        },
        "silent": found.silent,
    }


def _known(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "half": estimate.half}
