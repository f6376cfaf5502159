"""From the runs of a sweep to a row for each point: means over replications, with intervals."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, isfinite
from pathlib import Path
from typing import Any, Literal

from dmoa.core.policy import PAPER
from dmoa.errors import UsageError
from dmoa.sim.outcome import Outcome
from dmoa.study.grid import Point
from dmoa.study.statistics import Estimate, change_of, mean_of

Verdict = Literal["stable", "growing", "unclear"]
"""Whether the queues stay bounded, as far as was seen."""

GROWS = 1.0
"""Growth over the whole span, in mean lengths of the queue, beyond which a network is unstable:
a queue that grows steadily from nothing has 2, one that only fluctuates about 0."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one point; estimates over its replications.

    Times are in seconds. `waiting` and `length` are jobs per node, `utilisation` the mean
    over the nodes and `busiest` the highest of a node; `goodput` and `offered` are queries
    per second in the whole network; `in_time` and `refused` shares of the queries asked.
    `change` is that of the mean time against the first policy, pair by pair, where both are
    stable.
    """

    point: Point
    mean: Estimate
    p50: Estimate
    p95: Estimate
    p99: Estimate
    waiting: Estimate
    length: Estimate
    utilisation: Estimate
    busiest: Estimate
    goodput: Estimate
    offered: Estimate
    in_time: Estimate
    refused: Estimate
    proposals: Estimate
    growth: Estimate
    verdict: Verdict
    change: Estimate | None = None


def row_of(point: Point, outcomes: Sequence[Outcome], base: Sequence[Outcome] = ()) -> Row:
    """Sum up the replications of a point; `base` are those of the policy to compare with."""

    def of(name: str) -> Estimate:
        return mean_of([getattr(each, name) for each in outcomes])

    change = None
    if base:
        change = change_of([each.mean for each in base], [each.mean for each in outcomes])
    return Row(
        point=point,
        mean=of("mean"),
        p50=of("p50"),
        p95=of("p95"),
        p99=of("p99"),
        waiting=of("waiting"),
        length=of("length"),
        utilisation=mean_of([fsum(o.utilisation) / len(o.utilisation) for o in outcomes]),
        busiest=mean_of([max(each.utilisation) for each in outcomes]),
        goodput=of("goodput"),
        offered=of("offered"),
        in_time=of("in_time"),
        refused=mean_of([each.refused / each.asked for each in outcomes]),
        proposals=of("proposals"),
        growth=of("growth"),
        verdict=verdict_of(point, outcomes),
        change=change,
    )


def rows_of(points: Sequence[Point], outcomes: Sequence[Sequence[Outcome]]) -> list[Row]:
    """Sum up a sweep: a row per point, compared with the first policy where there are more."""
    first: dict[tuple[object, ...], tuple[Row, Sequence[Outcome]]] = {}
    rows: list[Row] = []
    for point, each in zip(points, outcomes, strict=True):
        setting = point.setting
        alike = (setting.network, setting.mixture, point.law, setting.gossip)
        row = row_of(point, each)
        base, before = first.setdefault(alike, (row, each))
        if base is not row and base.verdict == row.verdict == "stable":
            row = row_of(point, each, before)
        rows.append(row)
    return rows


def verdict_of(point: Point, outcomes: Sequence[Outcome]) -> Verdict:
    """Judge whether the queues stay bounded, by what was measured.

    Growth times span over mean length is 2 where a queue grows steadily from nothing, and
    about 0 where it is stable. More than `GROWS` is growth, if the interval over the
    replications (where there are several) leaves no doubt that there is any. Where theory
    is sure of the contrary (the paper's protocol, even arrivals) it is unclear, and the run
    was too short to tell.
    """
    shares = [each.growth * each.span / each.length if each.length else 0.0 for each in outcomes]
    found = mean_of(shares)
    grows = found.mean > GROWS and (found.count == 1 or found.low > 0.0)
    setting = point.setting
    sure = setting.policy == PAPER and setting.arrivals is None
    if sure and grows != (point.rho >= 1.0):
        return "unclear"
    return "growing" if grows else "stable"


# -- for other programs ---------------------------------------------------------------


def flat(row: Row) -> dict[str, Any]:
    """Tell a row in plain keys and values; what is not known is None.

    `mean_half` and the like are the half widths of the 95 % intervals.
    """
    point, setting = row.point, row.point.setting
    mixture = setting.mixture
    found: dict[str, Any] = {
        "nodes": setting.network.nodes,
        "layers": mixture.layers,
        "fanout": mixture.fanout,
        "policy": point.policy,
        "law": point.law,
        "gossip": setting.gossip,
        "overlap": setting.network.costs.overlap,
        "arrival_rate": point.rate,
        "rho": point.rho,
        "replications": row.mean.count,
        "queries": setting.queries,
        "seed": setting.seed,
    }
    for name in _ESTIMATES:
        estimate: Estimate | None = getattr(row, name)
        found[name] = _finite(estimate.mean if estimate else None)
        found[f"{name}_half"] = _finite(estimate.half if estimate else None)
    found["verdict"] = row.verdict
    return found


_ESTIMATES = (
    *("mean", "p50", "p95", "p99", "waiting", "length", "utilisation", "busiest"),
    *("goodput", "offered", "in_time", "refused", "proposals", "growth", "change"),
)


def write_csv(rows: Sequence[Row], file: Path) -> None:
    """Write the rows with a heading; what is not known is empty."""
    table = [flat(row) for row in rows]
    try:
        with file.open("w", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, list(table[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror or error}") from None


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
