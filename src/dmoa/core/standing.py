"""What a home can tell of its queries while they are under way, and of those to come."""

from __future__ import annotations

from dmoa.core.effects import Census, Standing
from dmoa.core.home import Home
from dmoa.core.mixture import Mixture
from dmoa.core.query import Query


def standings(home: Home, now: float) -> tuple[Standing, ...]:
    """Tell how the queries under way stand, the oldest first; times in seconds."""
    return tuple(_standing(home, query, now) for query in home.queries.values())


def _standing(home: Home, query: Query, now: float) -> Standing:
    position = home.bench.queue.position(query.first)
    last = query.foreseen[-1]
    return Standing(
        query=query.asked.query,
        position=position,
        layer=query.layer,
        mixture=query.plan.mixture,
        waited=now - query.began,
        starts_in=home.bench.wait(position - 1, now) if position else 0.0,
        answers_in=max(query.expects - now, home.bench.gauge.rest) if last.seconds else 0.0,
        expected=query.expects - query.began if last.seconds else 0.0,
    )


def given(home: Home, now: float) -> Mixture:
    """Tell the mixture that a query like the latest would get, were it asked now."""
    others = home.bench.queue.own
    return home.outlook.plan(home.usual, 1, home.timing.deadline, now, others=others).mixture


def bound(home: Home, now: float) -> int:
    """Count the own queries that are taken at once as things stand; -1 has no bound."""
    return home.outlook.bound(home.timing.deadline, given(home, now).layers)


def census(home: Home, now: float) -> Census:
    """Count who is at a home, and what was counted there since its start."""
    gauge, queue = home.bench.gauge, home.bench.queue
    seconds, waiting, serving = gauge.until(now)  # who asks must not change what comes
    return Census(
        waiting=queue.waiting,
        serving=queue.serving,
        slots=queue.slots,
        bound=bound(home, now),
        seconds=seconds,
        waiting_seconds=waiting,
        serving_seconds=serving,
        queries=gauge.queries.count,
        refused=gauge.refused,
        declined=gauge.declined,
        served=gauge.count,
        reading=len(home.bench.reader.under_way),
    )
