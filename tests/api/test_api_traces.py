"""One query is one trace: asked over HTTP, served by four nodes, and sent off as OTLP."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from threading import Thread
from typing import Any

import pytest
from api_room import NAMES, STEADFAST, FakeBackend, body, in_process, served, until
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dmoa.api.question import Question
from dmoa.api.schema import DmoaOptions
from dmoa.core.job import Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.core.policy import PAPER
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.telemetry.context import Context
from dmoa.telemetry.otlp import PATIENCE, Otlp, _Seldom
from dmoa.telemetry.spans import Span, Spans

pytestmark = pytest.mark.real

CHAT = "/v1/chat/completions"
WORDS = "words that belong to the user alone"
ABOVE = Context(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)


@dataclass
class Collector:
    """What came in: whole bodies, and each span with the node that sent it."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    spans: list[tuple[str, Any]] = field(default_factory=list)
    slow: float = 0.0

    def take(self, data: bytes) -> None:
        time.sleep(self.slow)
        self.bodies.append(data)
        told = ExportTraceServiceRequest.FromString(data)
        for group in told.resource_spans:
            node = attributes(group.resource)["service.instance.id"]
            for scope in group.scope_spans:
                self.spans += [(node, span) for span in scope.spans]


def attributes(what: Any) -> dict[str, Any]:
    def value(each: Any) -> Any:
        kind = each.WhichOneof("value")
        if kind == "array_value":
            return [value(item) for item in each.array_value.values]
        return getattr(each, kind)

    return {each.key: value(each.value) for each in what.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                data = gzip.decompress(data)
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            collector.take(data)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def traced(hub: MemoryNetwork, name: str, url: str) -> Node:
    node, fake = NodeId(name), FakeBackend(f"model-of-{name}", seconds=0.02)
    limits = Limits()
    spans = Spans(
        node, lambda: fake.profile.model, Otlp(url, node), limits=limits, timing=STEADFAST
    )
    return Node(
        hub.join(node),
        fake,
        limits=limits,
        timing=STEADFAST,
        policy=PAPER,
        rng=Random(f"{name}/1"),  # with which n1 asks all others, for M=2 and k=2
        tracer=spans,
    )


@asynccontextmanager
async def opened(collector: Collector) -> AsyncIterator[list[Node]]:
    hub = MemoryNetwork()
    nodes = [traced(hub, name, collector.url) for name in NAMES]
    for node in nodes:
        await node.open()
    await until(lambda: all(len(node.peers) == len(nodes) - 1 for node in nodes))
    yield nodes
    for node in nodes:
        await node.close()  # which sends what is left


@pytest.fixture(name="collector")
def _collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


async def test_a_query_over_four_nodes_is_one_trace_of_seven_jobs(collector: Collector) -> None:
    asked = body(
        model="dmoa-m2k2",
        messages=[{"role": "user", "content": WORDS}],
        temperature=0.5,
        stop=["a secret word"],
    )
    async with opened(collector) as nodes, served(nodes[0]) as http:
        before = time.time_ns()
        headers = {"traceparent": ABOVE.text}
        answer = (await http.post(CHAT, json=asked, headers=headers)).json()
        after = time.time_ns()
    (root,) = [span for _, span in collector.spans if span.kind == span.SPAN_KIND_SERVER]
    jobs = [(node, span) for node, span in collector.spans if span is not root]
    assert len(jobs) == 7
    trace = ABOVE.trace.to_bytes(16)
    assert {span.trace_id for _, span in collector.spans} == {trace}
    assert root.parent_span_id == ABOVE.span.to_bytes(8)
    assert {span.parent_span_id for _, span in jobs} == {root.span_id}
    assert len({span.span_id for _, span in collector.spans}) == 8
    seen = {(attributes(span)["dmoa.job.id"], node) for node, span in jobs}
    assert seen == {(job["job"], job["node"]) for job in answer["dmoa"]["jobs"]}
    assert {node for node, _ in jobs} == set(NAMES)
    assert all(attributes(span)["dmoa.node.id"] == node for node, span in collector.spans)
    assert before <= root.start_time_unix_nano < root.end_time_unix_nano <= after
    for _, span in jobs:
        told = attributes(span)
        assert told["gen_ai.operation.name"] == "chat"
        assert told["dmoa.service.seconds"] > 0.01
        assert [event.name for event in span.events] == ["service began"]
    told = attributes(root)
    assert told["gen_ai.workflow.name"] == "dmoa-m2k2"
    assert told["gen_ai.request.temperature"] == 0.5
    assert told["gen_ai.usage.output_tokens"] == answer["usage"]["completion_tokens"]
    everything = b"".join(collector.bodies)
    assert b"model-of-n1" in everything
    text = answer["choices"][0]["message"]["content"]
    for words in (WORDS, "a secret word", "hello", text[:12]):
        assert words.encode() not in everything


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_way_to_ask_begins_where_its_asker_says(
    collector: Collector, path: str, *, stream: bool
) -> None:
    node = traced(MemoryNetwork(), "n1", collector.url)
    words = {"messages": body()["messages"]} if "chat" in path else {"input": "hello"}
    async with node, served(node) as http:
        headers = {"traceparent": ABOVE.text}
        asked = {"model": "local", "stream": stream, **words}
        assert (await http.post(path, json=asked, headers=headers)).status_code == 200
        await http.post(path, json=asked, headers={"traceparent": "none of W3C's"})
    roots = [span for _, span in collector.spans if span.kind == span.SPAN_KIND_SERVER]
    parents = {span.parent_span_id for span in roots}
    assert (len(roots), parents) == (2, {ABOVE.span.to_bytes(8), b""})


def test_a_question_of_the_background_keeps_its_trace() -> None:
    question = Question((Turn("user", "why?"),), "local", Sampling(), DmoaOptions(), ABOVE.text)
    assert Question.load(question.dump()) == question
    older = json.loads(question.dump())
    del older["trace"]
    assert Question.load(json.dumps(older)).trace == ""


async def test_all_four_nodes_send_their_own(collector: Collector) -> None:
    async with opened(collector) as nodes:
        for node in nodes:
            async with in_process(node) as http:
                assert (await http.post(CHAT, json=body(model="dmoa-m1k3"))).status_code == 200
    assert len({span.trace_id for _, span in collector.spans}) == 4
    assert {node for node, _ in collector.spans} == set(NAMES)
    assert len(collector.spans) == 4 * (1 + 4 + 1)


async def test_a_failure_is_an_error_of_its_span(collector: Collector) -> None:
    node = traced(MemoryNetwork(), "n1", collector.url)
    node._backend.fail = "rubbish"
    async with node, in_process(node) as http:
        assert (await http.post(CHAT, json=body(model="local"))).status_code == 502
    status = {span.kind: span.status for _, span in collector.spans}
    assert {each.code for each in status.values()} == {2}
    assert sorted(each.message for each in status.values()) == ["backend", "rubbish"]


async def test_a_collector_that_is_slow_or_gone_holds_nobody_up(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.slow = 2 * PATIENCE
    for url in (collector.url, "http://127.0.0.1:9"):
        node = traced(MemoryNetwork(), "n1", url)
        await node.open()
        await node.ask("why?")
        start = time.monotonic()
        await node.close()
        assert time.monotonic() - start < PATIENCE + 1.0
        await node.open()  # and it may live again
        await node.close()
    collector.slow = 0.0
    assert "Traceback" not in caplog.text
    assert len([each for each in caplog.records if "opentelemetry" in each.name]) <= 1


def test_of_a_collector_that_is_gone_the_log_tells_once_a_minute() -> None:
    seldom, passed = _Seldom(), 0
    for second in range(600):
        record = logging.LogRecord("x", logging.ERROR, "", 1, "lost", (), None)
        record.created = 1000.0 + second
        passed += seldom.filter(record)
    assert passed == 10


async def test_only_a_whole_url_is_kept_as_it_is() -> None:
    assert Otlp("http://h:4318", NodeId("n"))._url == "http://h:4318/v1/traces"
    assert Otlp("http://h/x/v1/traces", NodeId("n"))._url == "http://h/x/v1/traces"


async def test_sending_costs_the_loop_little(collector: Collector) -> None:
    export = Otlp(collector.url, NodeId("n1"))
    many = {f"gen_ai.request.{number}": "a value of some length" for number in range(20)}
    span = Span("chat", "client", ABOVE, None, 1, 2, many)
    start = time.perf_counter()
    for _ in range(100):
        export.send(span)
    seconds = (time.perf_counter() - start) / 100
    await export.close()
    assert seconds < 0.02


def test_nothing_of_it_is_imported_unless_it_is_wanted() -> None:
    code = "import sys, dmoa.assemble, dmoa.api.app\n"
    code += "heavy = ('opentelemetry.sdk', 'opentelemetry.exporter', 'google.')\n"
    code += "print([name for name in sys.modules if name.startswith(heavy)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_where_the_extra_is_not_installed_the_hint_names_it() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
from dmoa.assemble import build
from dmoa.config import load
from dmoa.errors import ConfigError
try:
    build(load({"model": "fake:1", "otlp": "http://127.0.0.1:4318"}, environ={"HOME": "/"}))
except ConfigError as error:
    print(error.message, "|", error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("needs OpenTelemetry | pip install 'dmoa[otel]'\n")
