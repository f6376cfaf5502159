"""Whatever a node lives through, metrics and spans tell of it: once each, and never by an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dmoa.core.effects import Deliver, Effect, Fail, Serve
from dmoa.core.events import Abandoned, Asked, Faltered, Served
from dmoa.core.history import Record
from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.telemetry.context import Context
from dmoa.telemetry.metrics import Metrics
from dmoa.telemetry.spans import Span, Spans

from .dream import run_world

PARENT = Context(1, 2).text


class Node:
    """One that is watched, and not open to whoever looks how it stands."""

    is_open = False

    def __init__(self, name: str, limits: Limits) -> None:
        self.id, self.limits = NodeId(name), limits
        self.peers: list[Any] = []

    def first_token(self, query: object) -> None:
        """Nobody follows."""


class Heard(list[Span]):
    def send(self, span: Span) -> None:
        self.append(span)

    async def close(self) -> None: ...


def traced(effects: Iterable[Effect]) -> list[Effect]:
    return [
        replace(each, job=replace(each.job, trace=PARENT)) if isinstance(each, Serve) else each
        for each in effects
    ]


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # no seed is simpler than another
)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_life_is_told_whole(seed: int) -> None:
    world = run_world(seed)
    for life, records in world.histories.items():
        name = life.partition("/")[0]
        heard, metrics = Heard(), Metrics(Node(name, world.limits))  # type: ignore[arg-type]
        spans = Spans(
            NodeId(name), lambda: "m", heard, limits=world.limits, timing=world.timing,
            clock=lambda: 10**18,
        )  # fmt: skip
        for record in records:
            event, effects = record.event, traced(record.effects)
            if isinstance(event, Asked):
                event = replace(event, trace=spans.begin(""))
            spans.saw(event, effects, record.now)
            metrics.saw(event, effects, record.now)
        _whole(records, heard, spans, metrics)


def _whole(records: list[Record], heard: Heard, spans: Spans, metrics: Metrics) -> None:
    asked = {each.event.query for each in records if isinstance(each.event, Asked)}
    over = Counter(
        effect.query
        for each in records
        for effect in each.effects
        if isinstance(effect, (Deliver, Fail))
    )
    left = {each.event.query for each in records if isinstance(each.event, Abandoned)}
    roots = [each for each in heard if each.kind == "server"]
    told = Counter(each.attributes["dmoa.query.id"] for each in roots)
    assert set(told) == over.keys() | (left & asked)
    assert set(told.values()) <= {1}
    assert spans._queries.keys() == metrics._queries.keys() == asked - set(told)
    served = {each.event.job for each in records if isinstance(each.event, (Served, Faltered))}
    jobs = Counter(each.attributes["dmoa.job.id"] for each in heard if each.kind == "client")
    assert set(jobs) == served - spans._works.keys()
    assert spans._works.keys() == metrics._serving.keys()
    for each in heard:
        assert each.began <= each.ended
        for moment in each.moments:
            assert each.began <= moment.at <= each.ended
    counted = {
        family.name: sum(each.value for each in family.samples) for family in metrics.collect()
        if family.name in {"dmoa_requests", "dmoa_jobs"}
    }  # fmt: skip
    assert counted == {"dmoa_requests": len(told), "dmoa_jobs": sum(jobs.values())}
