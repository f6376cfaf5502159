"""One query is one trace: what each node tells of it, and what none of them ever tells."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from random import Random

import pytest
from room import ALONE, LATENCY, MIXED, Room, now

from dmoa.backends.fake import FakeBackend
from dmoa.core.events import Asked
from dmoa.core.job import Profile, Prompt, Sampling, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.errors import BackendRubbishError, ContextLengthError, DmoaError
from dmoa.runtime.ports import Tokens
from dmoa.telemetry.context import Context
from dmoa.telemetry.spans import Span, Spans

SECOND = 1_000_000_000
EPOCH = 1_795_000_000 * SECOND
ABOVE = Context(0xABCDEF, 0x123456)
WORDS = "the user's own words"


class Heard:
    """An export that keeps what it was sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.closed = 0

    def send(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None:
        self.closed += 1


class Traced(Room):
    """A room in which every node tells its spans to the same ear."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = Heard()

    def spans(self, name: str, *, limits: Limits | None = None) -> Spans:
        return Spans(
            NodeId(name),
            lambda: f"model-{name}",
            self.heard,
            limits=limits or Limits(),
            timing=Timing(),
            clock=lambda: EPOCH + round(now() * SECOND),
            dice=Random(name).getrandbits,
        )

    async def fill(self, *names: str, **settings: float) -> None:
        for name in names:
            await self.add(name, tracer=self.spans(name), **settings)
        await self.met()

    @property
    def roots(self) -> list[Span]:
        return [each for each in self.heard.spans if each.kind == "server"]

    @property
    def jobs(self) -> list[Span]:
        return [each for each in self.heard.spans if each.kind == "client"]


def told(span: Span) -> str:
    return repr(span)


async def test_a_query_is_one_trace_over_all_nodes() -> None:
    async with Traced() as room:
        await room.fill("n1", "n2", "n3", "n4")
        start = now()
        answer = await room["n1"].ask(WORDS, mixture=Mixture(2, 2), sampling=Sampling(seed=7))
        seconds = now() - start
    (root,), jobs = room.roots, room.jobs
    assert len(jobs) == 7
    assert {each.parent for each in jobs} == {root.context}
    assert {each.context.trace for each in jobs} == {root.context.trace}
    assert len({each.context.span for each in room.heard.spans}) == 8
    assert root.parent is None
    served = sorted((visit.job, visit.node) for visit in answer.trace.jobs)
    assert served == sorted(
        (each.attributes["dmoa.job.id"], each.attributes["dmoa.node.id"]) for each in jobs
    )
    roles = [each.attributes["gen_ai.agent.name"] for each in jobs]
    assert (roles.count("proposer"), roles.count("aggregator")) == (6, 1)
    assert sorted(each.attributes["dmoa.layer"] for each in jobs) == [1, 1, 1, 2, 2, 2, 3]
    assert root.ended - root.began == pytest.approx(seconds * SECOND, abs=10)
    for each in jobs:
        assert root.began <= each.began <= each.ended <= root.ended
        assert each.attributes["gen_ai.request.seed"] >= 7
        assert each.attributes["gen_ai.usage.output_tokens"] > 0
        assert each.name == f"chat model-{each.attributes['dmoa.node.id']}"
    assert root.name == "invoke_workflow dmoa-m2k2"
    total = sum(each.attributes["gen_ai.usage.input_tokens"] for each in jobs)
    assert root.attributes["gen_ai.usage.input_tokens"] == total
    assert WORDS not in "".join(map(told, room.heard.spans))
    assert answer.text[:10] not in "".join(map(told, room.heard.spans))


async def test_a_span_of_the_user_is_above_it_all() -> None:
    async with Traced() as room:
        await room.fill("n1", "n2")
        async with aclosing(room["n1"].follow("why?", mixture=MIXED, trace=ABOVE.text)) as items:
            async for _ in items:
                pass
    (root,) = room.roots
    assert (root.parent, root.context.trace) == (ABOVE, ABOVE.trace)
    assert {each.parent for each in room.jobs} == {root.context}


async def test_what_its_user_does_not_sample_nobody_tells() -> None:
    quiet = Context(1, 2, sampled=False)
    async with Traced() as room:
        await room.fill("n1", "n2")
        async with aclosing(room["n1"].follow("why?", trace=quiet.text)) as items:
            async for _ in items:
                pass
        assert room["n1"]._tracer is not None
        assert room["n1"]._tracer._queries == room["n2"]._tracer._works == {}
    assert room.heard.spans == []


async def test_peers_tell_of_jobs_also_where_home_tells_nothing() -> None:
    async with Traced() as room:
        await room.add("n1")
        await room.fill("n2")
        async with aclosing(room["n1"].follow("why?", mixture=MIXED, trace=ABOVE.text)) as items:
            async for _ in items:
                pass
        await room["n1"].ask("and this?", mixture=MIXED)
    assert room.roots == []
    (job,) = room.jobs
    assert (job.parent, job.attributes["dmoa.home.id"]) == (ABOVE, "n1")


async def test_waiting_and_service_are_told_apart() -> None:
    async with Traced() as room:
        await room.fill("n1", "n2")
        home, peer = room["n1"], room["n2"]
        first = asyncio.create_task(peer.ask("first", mixture=ALONE))
        await asyncio.sleep(0.4)
        await home.ask("second", mixture=Mixture(1, 1))
        await first
    job = next(
        each
        for each in room.jobs
        if each.attributes["dmoa.home.id"] == "n1" and each.attributes["dmoa.node.id"] == "n2"
    )
    queued, service = 0.6 - LATENCY, 1.0
    assert job.attributes["dmoa.queue.seconds"] == pytest.approx(queued, abs=1e-6)
    assert job.attributes["dmoa.service.seconds"] == pytest.approx(service, abs=1e-6)
    (began,) = job.moments
    assert began.name == "service began"
    assert began.at - job.began == pytest.approx(queued * SECOND, abs=1000)
    assert job.ended - began.at == pytest.approx(service * SECOND, abs=1000)


async def test_an_own_job_begins_when_its_layer_does() -> None:
    async with Traced() as room:
        await room.fill("n1")
        first = asyncio.create_task(room["n1"].ask("first", mixture=ALONE))
        await asyncio.sleep(0.25)
        await room["n1"].ask("second", mixture=Mixture(1, 0))
        await first
    proposer = next(
        each for each in room.jobs if each.attributes["gen_ai.agent.name"] == "proposer"
    )
    assert proposer.attributes["dmoa.queue.seconds"] == pytest.approx(0.75)
    last = room.jobs[-1]
    assert last.attributes["dmoa.queue.seconds"] == pytest.approx(0.0, abs=1e-6)
    assert last.began == proposer.ended


async def test_a_proposer_that_is_lost_is_an_event_of_the_query() -> None:
    async with Traced() as room:
        await room.fill("n1", "n2")
        asking = asyncio.create_task(room["n1"].ask("why?", mixture=Mixture(1, 1)))
        await asyncio.sleep(0.5)
        room.kill("n2", reset=True)
        await asking
    (root,) = room.roots
    (lost,) = root.moments
    assert (lost.name, lost.attributes["dmoa.node.id"]) == ("job lost", "n2")
    assert root.began < lost.at < root.ended
    assert root.attributes["dmoa.degraded"] == ("lost",)
    assert sum(each.attributes["dmoa.node.id"] == "n1" for each in room.jobs) == 2


async def test_a_failure_bears_its_code_and_no_words() -> None:
    class Failing(FakeBackend):
        def generate(self, prompt: Prompt) -> Tokens:
            del prompt
            raise BackendRubbishError(WORDS)

    async with Traced() as room:
        await room.add("n1", Failing("n1"), tracer=room.spans("n1"))
        with pytest.raises(DmoaError):
            await room["n1"].ask("why?", mixture=ALONE)
    (root,), (job,) = room.roots, room.jobs
    assert (root.error, root.attributes["error.type"]) == ("backend", "backend")
    assert (job.error, job.attributes["error.type"]) == ("rubbish", "rubbish")
    assert WORDS not in "".join(map(told, room.heard.spans))


async def test_a_job_that_is_served_again_with_less_is_one_span() -> None:
    class Narrow(FakeBackend):
        tries = 0

        def generate(self, prompt: Prompt) -> Tokens:
            self.tries += 1
            if self.tries == 1:
                raise ContextLengthError("too long")
            return super().generate(prompt)

    async with Traced() as room:
        backend = Narrow("n1", seconds=1.0, profile=Profile("n1"))
        await room.add("n1", backend, tracer=room.spans("n1"))
        await room["n1"].ask("why?", mixture=ALONE)
    assert backend.tries == 2
    assert [each.error for each in room.jobs] == [""]


async def test_who_leaves_and_what_is_cut_off_is_told_too() -> None:
    async with Traced() as room:
        await room.fill("n1")
        node = room["n1"]
        leaving = asyncio.create_task(node.ask("why?", mixture=ALONE))
        await asyncio.sleep(0.5)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        cut = asyncio.create_task(node.ask("why?", mixture=ALONE))
        await asyncio.sleep(0.1)
        await node.close()
        await asyncio.gather(cut, return_exceptions=True)
        assert [each.attributes["dmoa.outcome"] for each in room.roots] == ["abandoned", "closed"]
        assert [each.error for each in room.roots] == ["", "closed"]
        assert [each.attributes["dmoa.outcome"] for each in room.jobs] == ["stopped"]
        assert [each.error for each in room.jobs] == [""]
        assert (node._tracer._queries, node._tracer._works) == ({}, {})
        assert room.heard.closed == 1
        await node.open()
        await node.ask("why?", mixture=ALONE)
    assert room.roots[-1].error == ""


async def test_what_is_kept_is_bounded_and_odd_traces_are_passed_over() -> None:
    spans = Traced().spans("n1", limits=Limits(queue_jobs=4))
    for number in range(20):
        event = Asked(QueryId(f"q{number}"), (Turn("user", "x"),), ALONE, trace=spans.begin(""))
        spans.saw(event, [], 0.0)
    assert list(spans._queries) == [f"q{number}" for number in range(15, 20)]
    spans.saw(Asked(QueryId("odd"), (), ALONE, trace="x" * 64), [], 0.0)
    assert "odd" not in spans._queries
