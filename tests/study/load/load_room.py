"""What load tests are made of, by hand: queries, jobs, nodes and how they stood."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from dmoa.core.policy import PAPER
from dmoa.study.load.records import Crew, JobRecord, NodeSample, QueryRecord


def job(
    node: str = "n1",
    layer: int = 1,
    role: str = "proposer",
    seconds: float = 0.5,
    outcome: str = "ok",
) -> JobRecord:
    return JobRecord(node, layer, role, outcome, 0.1, seconds)


def query(number: int, *, due: float, latency: float = 1.0, **more: Any) -> QueryRecord:
    given = {"node": 0, "lag": 0.0, "status": "answered"} | more
    return QueryRecord(number=number, due=due, latency=latency, **given)


def node_sample(**more: Any) -> NodeSample:
    usual: dict[str, Any] = {
        "waiting": 1,
        "serving": 1,
        "slots": 1,
        "bound_jobs": 64,
        "rho": 0.5,
        "arrival_rate": 0.5,
        "service_time": 0.5,
        "layers": 1,
        "fanout": 1,
        "seconds": 10.0,
        "waiting_job_seconds": 0.0,
        "serving_job_seconds": 0.0,
        "queries": 0,
        "refused": 0,
        "declined": 0,
        "served": 0,
    }
    return NodeSample(**(usual | more))


def crew_of(*names: str, mode: str = "paper", **more: Any) -> Crew:
    count = len(names)
    given = {
        "modes": (mode,) * count,
        "slots": (1,) * count,
        "service_times": (0.5,) * count,
        "policies": (asdict(PAPER),) * count,
    }
    return Crew(names=names, **(given | more))
