"""What a load test tells of service times: how fast each node is, what each kind of job costs.

Where the slowest of a layer is not waited for, those that were completed are the quicker ones,
and their mean is too low. So only layers of which every job was waited for are looked at, and
aggregations, which always are. Kinds of jobs that are in no such layer are `guessed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import fsum

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs
from dmoa.study.load.records import Crew, JobRecord, Log, QueryRecord
from dmoa.theory.laws import Measured

FEW = 30
"""Jobs below which what was measured makes no law, and no cost."""
_FEW_OF_A_NODE = 10
_CUT = ("spared", "late", "pending")
"""What became of jobs that were not waited for."""
KINDS = ("first", "later", "aggregation")
"""Of jobs, as `Costs` names them."""


@dataclass(frozen=True, slots=True)
class Services:
    """How long jobs take: `paces` of the nodes (seconds) times `costs` times the law's draw.

    `seen` is what the completed jobs of each kind took in the mean, in paces; where the slowest
    are missing it is too low. It is all that is known of the kinds that are `guessed`.
    """

    paces: tuple[float, ...]
    costs: Costs
    law: Measured
    seen: dict[str, float]
    guessed: tuple[str, ...]


def services_of(log: Log, crew: Crew, mixture: Mixture) -> Services | None:
    """Sum up the measured service times; None where there are too few."""
    done = [each for record in log.queries.values() for each in _done(record.jobs, crew)]
    if len(done) < FEW:
        return None
    whole = [each for record in log.queries.values() for each in _whole(record, crew)]
    sound = whole if len(whole) >= FEW else done
    paces = _paces(crew, sound, done)
    seen, known = _costs(crew, done, paces, mixture), _costs(crew, sound, paces, mixture)
    counts = [kind_of(each.layer, each.role, mixture) for each in whole]
    guessed = tuple(kind for kind in seen if counts.count(kind) < FEW)
    costs = Costs(**{kind: seen[kind] if kind in guessed else known[kind] for kind in seen})
    units = _units(crew, sound, paces, costs, mixture)
    return Services(paces, costs, Measured(samples=tuple(units)), seen, guessed)


def kind_of(layer: int, role: str, mixture: Mixture) -> str:
    """Tell the kind of a job."""
    if role == "aggregator":
        return "aggregation" if mixture.layers else "first"
    return "first" if layer == 1 else "later"


def means(jobs: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """Average what kinds of jobs took; of each its kind, its seconds, and its node's pace."""
    sums: dict[str, list[float]] = {}
    for kind, seconds, pace in jobs:
        both = sums.setdefault(kind, [0.0, 0.0])
        both[0] += seconds
        both[1] += pace
    return {kind: took / paces for kind, (took, paces) in sums.items()}


def _done(jobs: Iterable[JobRecord], crew: Crew) -> Iterator[JobRecord]:
    """Keep the jobs that were completed at a known node."""
    for each in jobs:
        if each.outcome == "ok" and each.service_seconds > 0.0 and each.node in crew.names:
            yield each


def _whole(record: QueryRecord, crew: Crew) -> Iterator[JobRecord]:
    """Keep the completed jobs of the layers of which all were waited for."""
    cut = {each.layer for each in record.jobs if each.outcome in _CUT}
    if record.status == "answered":
        yield from _done((each for each in record.jobs if each.layer not in cut), crew)


def _paces(crew: Crew, sound: Sequence[JobRecord], done: Sequence[JobRecord]) -> tuple[float, ...]:
    """Average the service times of each node; of one without jobs, believe what it said."""
    usual = _mean(sound)
    found: list[float] = []
    for name, said in zip(crew.names, crew.service_times, strict=True):
        own = [each for each in sound if each.node == name]
        if len(own) < _FEW_OF_A_NODE:
            own = [each for each in done if each.node == name]
        found.append(_mean(own) if own else said or usual)
    return tuple(found)


def _mean(jobs: Sequence[JobRecord]) -> float:
    return fsum(each.service_seconds for each in jobs) / len(jobs)


def _costs(
    crew: Crew, jobs: Sequence[JobRecord], paces: Sequence[float], mixture: Mixture
) -> dict[str, float]:
    pace = dict(zip(crew.names, paces, strict=True))
    return means(
        (kind_of(each.layer, each.role, mixture), each.service_seconds, pace[each.node])
        for each in jobs
    )


def _units(
    crew: Crew,
    jobs: Sequence[JobRecord],
    paces: Sequence[float],
    costs: Costs,
    mixture: Mixture,
) -> Iterator[float]:
    """Tell the service times in what each was expected to be."""
    pace = dict(zip(crew.names, paces, strict=True))
    for each in jobs:
        cost: float = getattr(costs, kind_of(each.layer, each.role, mixture))
        yield each.service_seconds / (pace[each.node] * cost)
