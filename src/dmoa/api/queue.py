"""GET /v1/queue: who waits at a node and for how long, its bounds, and what it counted."""

from __future__ import annotations

from dataclasses import asdict

from dmoa.api.shapes import Json
from dmoa.core.effects import Census, Standing
from dmoa.runtime.node import Node


def standing(item: Standing) -> Json:
    """Show how one own query stands; seconds are rounded to a tenth of a millisecond.

    Its name and figures only: what was asked is nobody else's affair.
    """
    return {
        "query": item.query,
        "position": item.position,
        "layer": item.layer,
        "layers": item.mixture.layers,
        "fanout": item.mixture.fanout,
        "waited_seconds": round(item.waited, 4),
        "starts_in_seconds": round(item.starts_in, 4),
        "answers_in_seconds": round(item.answers_in, 4),
    }


def queue(node: Node) -> Json:
    """Show the queue of a node; BackendUnavailableError until it is open.

    A bound that is not known, or that does not hold now, is null.
    """
    census = node.census
    return {
        "node": node.id,
        "mode": node.mode,
        "policy": asdict(node.policy),
        "queries": [standing(item) for item in node.standings],
        "jobs": {
            "waiting": census.waiting,
            "serving": census.serving,
            "slots": census.slots,
            "reading": census.reading,
        },
        "limits": {
            "queries": census.bound if census.bound >= 0 else None,
            "jobs": node.limits.queue_jobs,
        },
        "counters": _counters(census),
    }


def _counters(census: Census) -> Json:
    """Show what was counted since the node was opened; sums of times are in job seconds."""
    return {
        "seconds": round(census.seconds, 4),
        "waiting_job_seconds": round(census.waiting_seconds, 4),
        "serving_job_seconds": round(census.serving_seconds, 4),
        "queries": census.queries,
        "refused": census.refused,
        "declined": census.declined,
        "served": census.served,
    }
