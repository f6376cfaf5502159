"""Four processes over Zenoh: they gossip, they stop at once, and they outlive each other."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import httpx2
import openai
import pytest
from openai import Stream
from openai.types.chat import ChatCompletionChunk
from real_room import AT_ONCE, CountingServer, Fleet, NodeProcess, counting_server, fleet_of, until

pytestmark = pytest.mark.real

HELLO: list[Any] = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[Fleet, CountingServer]]:
    with (
        counting_server() as (counting, url),
        fleet_of([f"openai:{url}#m{number}" for number in range(1, 5)]) as fleet,
    ):
        yield fleet, counting


@pytest.fixture
def fleet(world: tuple[Fleet, CountingServer]) -> Fleet:
    return world[0].meet()


@pytest.fixture
def models(world: tuple[Fleet, CountingServer]) -> CountingServer:
    world[1].calm()
    return world[1]


def ask(node: NodeProcess, model: str) -> dict[str, Any]:
    with node.sdk as client:
        answer = client.chat.completions.create(model=model, messages=HELLO)
    assert answer.choices[0].message.content
    assert answer.model_extra is not None
    return answer.model_extra["dmoa"]


def stream_of(node: NodeProcess, model: str) -> Stream[ChatCompletionChunk]:
    return node.sdk.chat.completions.create(model=model, messages=HELLO, stream=True)


def nodes_of(trace: dict[str, Any]) -> set[str]:
    return {job["node"] for job in trace["jobs"]}


def test_two_layers_of_three_peers_are_nine_jobs_of_four_nodes(
    fleet: Fleet, models: CountingServer
) -> None:
    trace = ask(fleet["n2"], "dmoa-m2k3")
    assert [job["outcome"] for job in trace["jobs"]] == ["ok"] * 9
    assert [job["layer"] for job in trace["jobs"]] == [1] * 4 + [2] * 4 + [3]
    assert nodes_of(trace) == {"n1", "n2", "n3", "n4"}
    assert {(job["node"], job["model"]) for job in trace["jobs"]} == {
        (f"n{number}", f"m{number}") for number in range(1, 5)
    }
    assert (trace["home"], trace["degraded"]) == ("n2", [])
    assert models.started == {"m1": 2, "m2": 3, "m3": 2, "m4": 2}


def test_the_first_token_comes_long_before_the_last(fleet: Fleet, models: CountingServer) -> None:
    models.tokens, models.answer_pace = 30, 0.02
    start, tokens, progress = time.monotonic(), [], []
    for chunk in stream_of(fleet["n1"], "dmoa-m1k3"):
        if chunk.choices[0].delta.content:
            tokens.append(time.monotonic() - start)
        elif "progress" in (chunk.model_extra or {}).get("dmoa", {}):
            progress.append(time.monotonic() - start)
    assert len(tokens) == 30
    assert progress[0] < tokens[0] < tokens[-1] - 0.4


LEAVERS = 3
"""Clients that leave, one after another; one hiccup of the machine is not ours."""


def stopped(fleet: Fleet, models: CountingServer) -> float:
    """Wait until no model works any more, exactly, and no node as far as it tells; seconds."""
    took = until(lambda: not models.busy, what="idle models")
    for node in fleet.nodes.values():
        until(lambda node=node: node.queue() == 0, within=1, what=f"an idle {node.name}")
    return took


@pytest.mark.parametrize("wait_for", ["proposals", "answer"])
def test_nobody_works_for_a_client_that_left_a_stream(
    fleet: Fleet, models: CountingServer, wait_for: str
) -> None:
    models.calm(tokens=3000, answer_pace=0.01, pace=0.01)
    if wait_for == "answer":
        models.calm(tokens=200, answer_pace=0.05)

    def leave() -> float:
        stream = stream_of(fleet["n1"], "dmoa-m1k3")
        if wait_for == "answer":
            assert next(chunk for chunk in stream if chunk.choices[0].delta.content)
        until(lambda: models.busy == (1 if wait_for == "answer" else 4), what="busy models")
        stream.close()
        return stopped(fleet, models)

    assert median(leave() for _ in range(LEAVERS)) < AT_ONCE


def test_nobody_works_for_a_client_that_left_without_a_stream(
    fleet: Fleet, models: CountingServer
) -> None:
    models.calm(tokens=3000, pace=0.01)

    def leave() -> float:
        with fleet["n3"].http() as http:
            body = {"model": "dmoa-m2k3", "messages": HELLO}
            request = http.build_request("POST", "/v1/chat/completions", json=body, timeout=1.5)
            with pytest.raises(httpx2.ReadTimeout):
                http.send(request)
        return stopped(fleet, models)

    assert median(leave() for _ in range(LEAVERS)) < AT_ONCE
    assert models.started.total() == 4 * LEAVERS


def test_a_query_outlives_a_proposer_that_is_killed(fleet: Fleet, models: CountingServer) -> None:
    models.calm(tokens=100, pace=0.01)
    traces: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: traces.append(ask(fleet["n1"], "dmoa-m1k3")))
    asking.start()
    until(lambda: models.busy == 4, what="four busy models")
    fleet["n3"].kill()
    until(lambda: models.busy == 3, within=1, what="no work for the dead")
    asking.join(timeout=10)
    (trace,) = traces
    assert sorted(job["outcome"] for job in trace["jobs"]) == ["lost", "ok", "ok", "ok", "ok"]
    (lost,) = [job for job in trace["jobs"] if job["outcome"] == "lost"]
    assert (lost["node"], lost["role"]) == ("n3", "proposer")
    assert [reason for reason in trace["degraded"] if "lost: n3 in layer 1" in reason]
    assert trace["source"] == "aggregator"
    assert trace["seconds"] < 4

    models.calm()
    trace = ask(fleet["n1"], "dmoa-m1k3")
    assert nodes_of(trace) == {"n1", "n2", "n4"}
    assert {job["outcome"] for job in trace["jobs"]} == {"ok"}
    assert trace["degraded"] == ["few: 2 of 3 peers were known in layer 1"]

    fleet["n3"].revive()
    until(lambda: "n3" in fleet["n1"].peers(), within=5, what="n3 back")
    trace = ask(fleet["n1"], "dmoa-m1k3")
    assert nodes_of(trace) == {"n1", "n2", "n3", "n4"}
    assert trace["degraded"] == []


def test_peers_stop_for_a_home_that_is_killed(fleet: Fleet, models: CountingServer) -> None:
    models.calm(tokens=3000, pace=0.01)
    stream = stream_of(fleet["n1"], "dmoa-m1k3")
    until(lambda: models.busy == 4, what="four busy models")
    fleet["n1"].kill()
    until(lambda: not models.busy, within=1, what="no work for the dead")
    with pytest.raises(openai.APIConnectionError):
        list(stream)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_that_is_told_to_stop_leaves_in_the_middle_of_a_stream(
    fleet: Fleet, models: CountingServer, number: signal.Signals
) -> None:
    models.calm(tokens=3000, answer_pace=0.01, pace=0.0005)
    node = fleet["n4"]
    stream = stream_of(node, "dmoa-m1k3")
    until(lambda: models.busy == 4, what="four busy models")
    node.process.send_signal(number)
    assert until(lambda: not models.busy, what="idle models") < 1
    assert until(lambda: "n4" not in fleet["n1"].peers(), what="n4 gone") < 1
    with pytest.raises(openai.APIError, match="node n4 is shutting down"):
        list(stream)
    assert node.process.wait(5) == 0
    assert node.finish() == 0
