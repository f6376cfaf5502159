"""At the door of a home: which queries are taken, and what those are told that are not."""

from __future__ import annotations

from collections.abc import Collection

from dmoa.core.effects import FailureCode, Refusal
from dmoa.core.limits import Limits
from dmoa.core.policy import declines
from dmoa.core.query import Query
from dmoa.core.queue import Queue


def beyond(query: Query, limits: Limits) -> tuple[FailureCode, str] | None:
    """Tell which limit a query exceeds, if any."""
    mixture = query.asked.mixture
    if mixture.layers > limits.layers or mixture.fanout > limits.fanout:
        most = f"{limits.layers} layers and a fanout of {limits.fanout}"
        asked = f"{mixture.layers} and {mixture.fanout}"
        return "refused", f"a mixture may have {most} at most, not {asked}"
    if query.conversation > limits.conversation_bytes:
        most = limits.conversation_bytes
        return "too_long", f"the conversation has {query.conversation} of {most} bytes allowed"
    if query.size > limits.queue_bytes:
        return "too_long", f"with its proposals this query could grow to {query.size} bytes"
    if query.places > limits.queue_jobs:
        most = limits.queue_jobs
        return "refused", f"this query has {query.places} jobs at once here, and {most} may wait"
    return None


def enter(  # noqa: PLR0913  (who it is, and who is there)
    query: Query, queue: Queue, others: Collection[Query], bound: int, *, rest: float, now: float
) -> Refusal | None:
    """Keep a place for a query beside the `others` under way, or refuse it.

    `bound` is the most own queries, -1 for any number; `rest` the seconds that a job
    found in service still takes. A refusal tells the place it would have had in the queue, and
    when a place will be free.
    """
    crowded = declines(len(others), bound)
    if not crowded and queue.reserve(query.asked.query, query.size, query.places):
        return None
    detail = f"this node is full: its queue holds {len(queue)} jobs"
    if crowded:
        detail = f"this node is full: {len(others)} of its user's queries wait"
    ends = sorted(max(each.expects - now, rest / 2.0) for each in others)
    above = len(others) - bound if crowded else 0
    wait = ends[min(above, len(ends) - 1)] if ends else rest
    return Refusal(
        "overloaded",
        detail,
        query.trace(now),
        retry_after=wait or UNKNOWN,
        position=queue.waiting + 1,
    )


UNKNOWN = 1.0
"""Seconds after which to come back, where nothing was measured yet."""
