"""What was read ahead is told: in traces, streams, usage, metrics, spans, and to who watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from api_room import Room, body, events_of, in_process, opened
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from dmoa.backends.fake import FakeBackend
from dmoa.core.mixture import Mixture
from dmoa.core.policy import PAPER, Policy
from dmoa.runtime.watch import Watch
from dmoa.telemetry.spans import Span, Spans

CHAT = "/v1/chat/completions"
EAGER = Policy(eager="own")
LONG = [{"role": "user", "content": "Why is the sky blue, and not green? " * 9}]


class Heard:
    """Where spans go."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def send(self, span: Span) -> None:
        self.spans.append(span)

    async def close(self) -> None: ...


@asynccontextmanager
async def reading(
    *, policy: Policy = EAGER, slow: float = 4.0
) -> AsyncIterator[tuple[Room, httpx2.AsyncClient]]:
    """Open a home and two peers; the second peer is slow, so that there is time to read."""
    fakes = {
        name: FakeBackend(name, seconds=seconds, prefill=0.002)
        for name, seconds in (("n1", 1.0), ("n2", 1.5), ("n3", slow))
    }
    async with (
        opened("n1", "n2", "n3", fakes=fakes, policy=policy) as room,
        in_process(room.home) as http,
    ):
        yield room, http


def last_of(answer: dict[str, Any]) -> dict[str, Any]:
    return answer["dmoa"]["jobs"][-1]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_says_how_much_was_read_ahead(*, stream: bool) -> None:
    asked = body(model="dmoa-m1k2", messages=LONG, stream=stream)
    async with reading() as (_, http):
        told = await http.post(CHAT, json=asked)
    if stream:
        chunks = [each for each in events_of(told.text) if isinstance(each, dict)]
        answer = chunks[-1]
        seen = [each["dmoa"]["progress"] for each in chunks if "progress" in each.get("dmoa", {})]
        assert seen[-1]["early_tokens"] == last_of(answer)["early_tokens"]
    else:
        answer = told.json()
        early = last_of(answer)["early_tokens"]
        usage = ChatCompletion.model_validate(answer).usage
        assert usage is not None
        assert usage.prompt_tokens_details is not None
        assert usage.prompt_tokens_details.cached_tokens == early
    last = last_of(answer)
    assert last["role"] == "aggregator"
    assert 0.5 * last["prompt_tokens"] < last["early_tokens"] < last["prompt_tokens"]
    assert [job["early_tokens"] for job in answer["dmoa"]["jobs"][:-1]] == [0, 0, 0]


async def test_where_nothing_is_read_ahead_nothing_is_told_of_it() -> None:
    async with reading(policy=PAPER) as (room, http):
        watch = Watch(room.home)
        room.home.onlookers.append(watch)
        watcher = watch.join()
        answer = (await http.post(CHAT, json=body(model="dmoa-m1k2", messages=LONG))).json()
        sights = watcher.take(0.0)
    assert [job["early_tokens"] for job in answer["dmoa"]["jobs"]] == [0, 0, 0, 0]
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
    assert b'"read"' not in sights


async def test_a_response_counts_it_as_openai_counts_what_is_cached() -> None:
    async with reading() as (_, http):
        asked = {"model": "dmoa-m1k2", "input": LONG}
        made = (await http.post("/v1/responses", json=asked)).json()
    usage = Response.model_validate(made).usage
    assert usage is not None
    assert usage.input_tokens_details.cached_tokens == last_of(made)["early_tokens"] > 0


async def test_metrics_and_spans_tell_the_same() -> None:
    heard = Heard()
    async with reading() as (room, http):
        home = room.home
        spans = Spans(home.id, lambda: "m", heard, limits=home.limits, timing=home.timing)
        home.onlookers.append(spans)
        home._tracer = spans
        answer = (await http.post(CHAT, json=body(model="dmoa-m1k2", messages=LONG))).json()
        metrics = (await http.get("/metrics")).text
    early = last_of(answer)["early_tokens"]
    assert f'dmoa_prompt_tokens_early_total{{role="aggregator"}} {float(early)}' in metrics
    assert 'dmoa_prompt_tokens_early_total{role="proposer"} 0.0' in metrics
    told = {each.attributes.get("gen_ai.agent.name", "query"): each for each in heard.spans}
    assert told["aggregator"].attributes["dmoa.usage.early_tokens"] == early
    assert told["aggregator"].attributes["gen_ai.usage.cache_read.input_tokens"] >= early  # type: ignore[operator]
    assert told["proposer"].attributes["dmoa.usage.early_tokens"] == 0
    assert told["query"].attributes["dmoa.usage.early_tokens"] == early


async def test_who_watches_sees_few_signs_of_it_and_their_end() -> None:
    async with reading() as (room, http):
        watch = Watch(room.home)
        room.home.onlookers.append(watch)
        watcher = watch.join()
        await http.post(CHAT, json=body(model="dmoa-m1k2", messages=LONG))
        whole = watcher.take(0.0).decode()
    sights = [each for each in json.loads(whole) if each["kind"] in {"read", "job"}]
    reads = [each for each in sights if each["kind"] == "read"]
    assert 1 <= len(reads) <= 4, "not one for each step"
    assert reads == sorted(reads, key=lambda each: each.get("proposals", 0))
    (name,) = {each["job"] for each in reads}
    own = [each for each in sights if each["job"] == name]
    assert own[len(reads)]["state"] == "serving", "which ends the reading"
    assert "sky" not in whole


async def test_what_is_not_needed_is_seen_to_rest() -> None:
    async with reading(slow=60.0) as (room, _):
        watch = Watch(room.home)
        room.home.onlookers.append(watch)
        watcher = watch.join()
        followed = room.home.follow(LONG[0]["content"])
        async for _ in followed:
            if b'"read"' in (seen := watcher.take(0.0)):
                break
        await followed.aclose()
        seen = watcher.take(0.0)
    assert b'"kind":"rest"' in seen
    assert seen.index(b'"kind":"rest"') < seen.index(b'"kind":"abandoned"')


async def test_the_queue_and_a_gauge_tell_that_it_reads_now() -> None:
    async with reading() as (room, http):
        asking = asyncio.create_task(room.home.ask(LONG[0]["content"], mixture=Mixture(1, 2)))
        async with asyncio.timeout(60.0):
            while not room.home.census.reading:
                await asyncio.sleep(0.1)
        jobs = (await http.get("/v1/queue")).json()["jobs"]
        metrics = (await http.get("/metrics")).text
        await asking
        after = (await http.get("/v1/queue")).json()["jobs"]
    assert jobs == {"waiting": 0, "serving": 0, "slots": 1, "reading": 1}
    assert "dmoa_requests_reading 1.0" in metrics
    assert after["reading"] == 0
