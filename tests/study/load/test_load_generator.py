"""The generator against stub nodes: every query goes out when it is due, and ends in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from stub_network import Said, StubNode, answer, job, network, problem, refusal

from dmoa.core.mixture import Mixture
from dmoa.errors import (
    BackendRubbishError,
    BackendUnavailableError,
    NetworkShapeError,
    UnreachableError,
    UsageError,
)
from dmoa.runtime import virtual
from dmoa.sim.setting import Recorded
from dmoa.study.load.generator import Generator, Load, greet
from dmoa.study.load.live import Nodes, Reply
from dmoa.study.load.records import FileLog, Log, NodeSample, QueryRecord
from dmoa.study.load.schedule import built_in

pytestmark = pytest.mark.real

PAIR = Mixture(1, 1)
SOON = 20.0
"""Seconds within which whatever must happen has happened, on however slow a machine."""


@pytest.fixture
def nodes() -> Iterator[list[StubNode]]:
    with network(2) as found:
        yield found


def load_of(homes: Sequence[int], times: Sequence[float] | None = None, **more: object) -> Load:
    due = tuple(times) if times is not None else (0.0,) * len(homes)
    usual = {"deadline": 5.0, "poll": 60.0, "drain": SOON} | more
    return Load(Recorded(due, tuple(homes)), built_in(), PAIR, **usual)  # type: ignore[arg-type]


async def ran(load: Load, stubs: Sequence[StubNode], log: Log | None = None) -> Log:
    log = Log() if log is None else log
    async with Nodes([each.url for each in stubs]) as nodes:
        assert await Generator(load, nodes, log, lambda *_: None).run()
    return log


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not true():
            await asyncio.sleep(0.005)


# -- out they go --------------------------------------------------------------------------


async def test_no_query_waits_for_another(nodes: list[StubNode]) -> None:
    for each in nodes:
        each.gate.clear()
    log = Log()
    running = asyncio.create_task(ran(load_of([0, 1] * 20), nodes, log))
    await until(lambda: sum(len(each.bodies) for each in nodes) == 40)
    assert log.queries == {}
    for each in nodes:
        each.gate.set()
    await running
    assert sorted(log.queries) == list(range(40))
    assert {each.status for each in log.queries.values()} == {"answered"}


async def test_each_query_goes_to_its_home_with_its_wishes(nodes: list[StubNode]) -> None:
    await ran(load_of([0, 1, 1]), nodes)
    assert [len(each.bodies) for each in nodes] == [1, 2]
    assert nodes[0].bodies == [
        {
            "model": "dmoa",
            "messages": list(built_in().of(0)),
            "dmoa": {"layers": 1, "fanout": 1, "deadline": 5.0},
        }
    ]


async def test_without_a_deadline_none_is_sent(nodes: list[StubNode]) -> None:
    await ran(load_of([0], deadline=None), nodes)
    assert nodes[0].bodies[0]["dmoa"] == {"layers": 1, "fanout": 1}


async def test_latency_counts_from_when_it_was_due(nodes: list[StubNode]) -> None:
    nodes[0].gate.clear()
    log = Log()
    running = asyncio.create_task(ran(load_of([0], [0.05]), nodes, log))
    await until(lambda: len(nodes[0].bodies) == 1)
    nodes[0].gate.set()
    await running
    found = log.queries[0]
    assert found.due == 0.05
    assert 0.0 <= found.lag <= found.latency


async def test_what_is_beyond_the_limit_is_dropped(nodes: list[StubNode]) -> None:
    nodes[0].gate.clear()
    log = Log()
    running = asyncio.create_task(ran(load_of([0] * 5, in_flight=2), nodes, log))
    await until(lambda: len(log.queries) == 3)
    assert {number: each.status for number, each in log.queries.items()} == dict.fromkeys(
        (2, 3, 4), "dropped"
    )
    nodes[0].gate.set()
    await running
    assert len(nodes[0].bodies) == 2
    assert log.asked == 5


# -- how they end -------------------------------------------------------------------------


async def ended(node: StubNode, said: Said) -> QueryRecord:
    node.say = lambda _: said
    return (await ran(load_of([0]), [node])).queries[0]


async def test_an_answer_is_recorded_with_its_jobs_and_without_its_text(
    nodes: list[StubNode],
) -> None:
    more = {"position": 2, "expected_seconds": 3.5, "degraded": ["n2 was lost"]}
    found = await ended(nodes[0], answer("n1", **more))
    assert (found.status, found.http, found.letters) == ("answered", 200, len("Because."))
    assert (found.position, found.expected_seconds) == (2, 3.5)
    assert found.degraded == ("n2 was lost",)
    assert (found.layers, found.fanout) == (1, 1)
    assert [(each.node, each.layer, each.role) for each in found.jobs] == [
        ("n1", 1, "proposer"),
        ("n1", 2, "aggregator"),
    ]
    assert {each.service_seconds for each in found.jobs} == {0.5}


async def test_a_refusal_tells_when_to_come_back(nodes: list[StubNode]) -> None:
    found = await ended(nodes[0], refusal("n1", seconds=4.5, position=3))
    assert (found.status, found.http, found.position) == ("refused", 429, 3)
    assert found.retry_after == 4.5


async def test_a_refusal_in_headers_alone_is_read(nodes: list[StubNode]) -> None:
    status, body, _ = problem(429, "overloaded")
    exact = await ended(nodes[0], (status, body, {"Retry-After": "3", "retry-after-ms": "2250"}))
    coarse = await ended(nodes[0], (status, body, {"Retry-After": "3"}))
    assert (exact.retry_after, coarse.retry_after) == (2.25, 3.0)


@pytest.mark.parametrize(
    ("said", "status", "detail"),
    [
        (problem(504, "expired"), "expired", "expired"),
        (problem(500, "internal"), "failed", "internal"),
        (problem(499, "left"), "failed", "left"),
        ((200, {"no": "answer"}, {}), "failed", "no answer of a node"),
    ],
)
async def test_other_ends_are_told_apart(
    nodes: list[StubNode], said: Said, status: str, detail: str
) -> None:
    found = await ended(nodes[0], said)
    assert (found.status, found.detail, found.http) == (status, detail, said[0])


async def test_a_refused_query_keeps_the_jobs_it_cost(nodes: list[StubNode]) -> None:
    status, body, headers = problem(504, "expired")
    body["error"]["dmoa"] = {"jobs": [job("n2", 1, "proposer", 0.75)]}
    found = await ended(nodes[0], (status, body, headers))
    assert [each.service_seconds for each in found.jobs] == [0.75]


async def test_a_node_that_is_gone_fails_its_queries_alone(nodes: list[StubNode]) -> None:
    urls = [nodes[0].url, "http://127.0.0.1:9"]
    log = Log()
    async with Nodes(urls) as both:
        assert await Generator(load_of([0, 1, 0]), both, log, lambda *_: None).run()
    assert [log.queries[each].status for each in range(3)] == ["answered", "failed", "answered"]
    assert log.queries[1].detail == "ConnectError"
    assert log.samples[-1].nodes[0] is not None
    assert log.samples[-1].nodes[1] is None


async def test_what_is_not_answered_in_the_end_is_given_up(nodes: list[StubNode]) -> None:
    nodes[0].gate.clear()
    log = await ran(load_of([0, 1], drain=0.05), nodes)
    assert 0 not in log.queries
    assert log.asked == 2


# -- how nodes stand ------------------------------------------------------------------------


class Quiet:
    """Nodes that answer at once, on whatever clock; at each look they say how often it was."""

    urls = ("a", "b")

    def __init__(self) -> None:
        self.looks = 0

    async def sample(self, node: int) -> NodeSample:
        self.looks += 1
        return NodeSample(
            *(self.looks, node, 1, 64, 0.4), *(0.0,) * 2, *(0,) * 2, *(0.0,) * 3, *(0,) * 4
        )

    async def ask(self, node: int, body: bytes, patience: float) -> Reply:
        del node, body, patience
        return Reply("answered")


def test_nodes_are_looked_at_from_begin_to_end_and_at_the_marks() -> None:
    nodes, log = Quiet(), Log()

    async def load() -> None:
        wanted = load_of([0, 0], [0.0, 1.5], marks=(0.1,))
        assert await Generator(wanted, nodes, log, lambda *_: None).run()  # type: ignore[arg-type]

    virtual.run(load())
    assert [each.at for each in log.samples] == [0.0, 0.1, 1.5]
    assert [each.waiting for sample in log.samples for each in sample.nodes] == [1, 2, 3, 4, 5, 6]


async def test_how_a_node_stands_is_kept(nodes: list[StubNode]) -> None:
    log = await ran(load_of([0]), nodes)
    first = log.samples[0].nodes[0]
    assert first is not None
    assert (first.waiting, first.bound_jobs, first.rho) == (1, 64, 0.4)


# -- stopping, and going on -------------------------------------------------------------------


async def test_a_test_that_is_stopped_keeps_what_it_has(
    nodes: list[StubNode], tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    load = load_of([0, 0, 1], [0.0, 0.0, 3600.0])
    with FileLog(file, {}) as log:
        log.begin((1.0, 1.0))
        async with Nodes([each.url for each in nodes]) as both:
            running = asyncio.create_task(Generator(load, both, log, lambda *_: None).run())
            await until(lambda: len(log.queries) == 2)
            running.cancel()
            assert await running is False
    with FileLog(file, {}) as log:
        assert (sorted(log.queries), log.asked) == ([0, 1], 2)
        assert log.left < 3600.0


async def test_what_was_asked_is_not_asked_again(nodes: list[StubNode], tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    with FileLog(file, {}) as log:
        log.begin((1.0, 1.0))
        log.send(0)
        log.send(1)  # of which nobody saw the end
    with FileLog(file, {}) as log:
        await ran(load_of([0, 0, 1, 1]), nodes, log)
        assert sorted(log.queries) == [2, 3]
        assert {each.leg for each in log.samples} == {0}
    assert [len(each.bodies) for each in nodes] == [0, 2]
    with FileLog(file, {}) as log:
        assert (log.asked, log.leg) == (4, 1)


# -- before the test ----------------------------------------------------------------------------


async def met(stubs: Sequence[StubNode], mixture: Mixture = PAIR) -> list[str]:
    async with Nodes([each.url for each in stubs]) as nodes:
        return [each.name for each in await greet(nodes, mixture)]


async def test_nodes_that_have_met_are_greeted(nodes: list[StubNode]) -> None:
    assert await met(nodes) == ["n1", "n2"]
    assert await met(nodes[:1], Mixture(0, 5)) == ["n1"]


async def test_nodes_that_know_too_few_are_refused(nodes: list[StubNode]) -> None:
    with pytest.raises(NetworkShapeError, match="n1 knows 1 peers, and a fanout of 2 needs 2"):
        await met(nodes, Mixture(1, 2))


async def test_one_node_named_twice_is_refused(nodes: list[StubNode]) -> None:
    with pytest.raises(UsageError, match="are the same node, n1"):
        await met([nodes[0], nodes[0]])


async def test_what_is_no_node_is_refused(nodes: list[StubNode]) -> None:
    nodes[0].queue = {"node": "n1", "counters": {}}
    with pytest.raises(BackendRubbishError, match="no node that tells its queue"):
        await met(nodes)


async def test_a_node_that_is_not_there_is_named() -> None:
    async with Nodes(["http://127.0.0.1:9/v1"]) as nodes:
        with pytest.raises(UnreachableError, match=r"no node answers at http://127.0.0.1:9$"):
            await greet(nodes, PAIR)


async def test_a_node_that_loads_its_model_is_named(nodes: list[StubNode]) -> None:
    nodes[1].status = 503
    with pytest.raises(BackendUnavailableError, match="is not ready"):
        await met(nodes)


@pytest.mark.parametrize("url", ["localhost:4747", "ftp://x", "http://", "not a url"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="is no URL of a node"):
        Nodes([url])
