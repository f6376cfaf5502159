"""What others say of the same load: Theorem 1, the planner, and a world of agents.

All three are given what was measured: the service times, and the arrivals that really came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from math import fsum, inf
from typing import Any

from dmoa.core.effects import Answer
from dmoa.core.limits import Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import QueryId
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, Policy
from dmoa.core.stability import utilisations
from dmoa.errors import DmoaError
from dmoa.sim.dream import Dream
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Recorded, Setting
from dmoa.sim.world import End
from dmoa.study.load.again import again, summed, why_not
from dmoa.study.load.measured import counted
from dmoa.study.load.records import Crew, Log
from dmoa.study.load.services import FEW, Services, kind_of, means, services_of
from dmoa.study.statistics import Estimate, mean_of
from dmoa.theory.latency import Prediction, predict

JOBS_MAX = 200_000
"""Of a world; it lives through some thousand a second."""
_TRIALS = 2
"""Worlds that are dreamt to find the cost of jobs that are not all waited for."""
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

    `theorem1` is rho of each node for the mixture that was asked. `again` are the times to
    answer (seconds, rising) of the very same questions, peers and service times without network
    and dice (`again`).
    """

    theorem1: tuple[float, ...] | None
    planner: Prediction | None
    world: Worlds | None
    silent: dict[str, str]
    again: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A test, as a simulation wants it."""

    network: Network
    mixture: Mixture
    services: Services
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
            law=self.services.law,
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
    services = services_of(log, crew, mixture)
    if services is None:
        return None
    what = counted(arrivals, warmup)
    homes, span = arrivals.homes[what.first :], what.end - what.begin
    rates = tuple(homes.count(node) / span if span else 0.0 for node in range(len(crew.names)))
    network = Network(rates, services.paces, crew.slots, services.costs)
    policy = policy_of(crew)
    return Case(network, mixture, services, policy, arrivals, poisson, warmup, deadline)


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


# -- what they say ----------------------------------------------------------------------


def beside(case: Case | None, *, worlds: int = 3, told: Told | None = None) -> Beside:
    """Ask all three; `worlds` is how many worlds are dreamt, 0 for none."""
    if case is None:
        why = f"fewer than {FEW} jobs were measured"
        return Beside(None, None, None, dict.fromkeys(("theorem1", "planner", "world"), why))
    silent: dict[str, str] = {}
    planner = None
    jobs = len(case.arrivals.times) * case.mixture.visits
    if worlds and case.policy is not None and jobs <= JOBS_MAX:
        case = corrected(case)
    if case.policy != PAPER:
        silent["planner"] = "it knows the paper's protocol only, and the nodes follow another"
    elif not case.poisson:
        silent["planner"] = "it knows Poisson arrivals only"
    else:
        planner = predict(case.network, case.mixture, case.services.law)
        if planner.latency is None:
            silent["planner"] = planner.doubts[0]
    world = None
    if not worlds:
        silent["world"] = "none was asked for"
    elif case.policy is None:
        silent["world"] = "the nodes follow policies that differ, or that are not known here"
    elif jobs > JOBS_MAX:
        silent["world"] = f"{jobs} jobs would take it too long"
    else:
        world = beside_world(case, range(1, worlds + 1), told)
    return Beside(utilisations(case.network, case.mixture), planner, world, silent)


def with_replay(found: Beside, case: Case | None, log: Log) -> Beside:
    """Repeat the test itself too, where that can be done."""
    if case is None:
        return found
    if why := why_not(log, case.mixture, case.policy):
        return replace(found, silent=found.silent | {"replay": why})
    first = counted(case.arrivals, case.warmup).first
    return replace(found, again=again(log, case.network, case.mixture, first=first) or None)


def corrected(case: Case) -> Case:
    """Find the costs of jobs of which the slowest are missing: those that look the same in a world.

    In it the slowest are not waited for either, so that what is seen there is too low alike.
    """
    for trial in range(_TRIALS if case.services.guessed else 0):
        found = _seen_in_a_world(case, -1 - trial)
        costs = {
            kind: getattr(case.network.costs, kind) * case.services.seen[kind] / found[kind]
            for kind in case.services.guessed
            if kind in found
        }
        network = replace(case.network, costs=replace(case.network.costs, **costs))
        case = replace(case, network=network)
    return case


def _seen_in_a_world(case: Case, seed: int) -> dict[str, float]:
    """Average what the completed jobs of each kind take in a world, in paces of their nodes."""
    life, seen = Dream(case.setting(seed)), list[tuple[str, float, float]]()
    pace = dict(zip(life.nodes, case.network.service_times, strict=True))
    heed = life.world.heed
    assert heed is not None, "a dream heeds how queries end"

    def look(query: QueryId, end: End) -> None:
        heed(query, end)
        if isinstance(end.result, Answer):
            seen.extend(
                (
                    kind_of(each.layer, each.role, case.mixture),
                    each.service_seconds,
                    pace[each.node],
                )
                for each in end.result.trace.jobs
                if each.outcome == "ok"
            )

    life.world.heed = look
    life.live()
    return means(seen)


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
        "replay": summed(found.again) if found.again else None,
        "silent": found.silent,
    }


def _known(estimate: Estimate) -> dict[str, float]:
    return {"mean": estimate.mean, "half": estimate.half}
