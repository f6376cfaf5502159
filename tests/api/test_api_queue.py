"""Where one stands: GET /v1/queue, headers, chunks of a stream, and what the refused are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import asdict
from typing import Any

import openai
import pytest
from api_room import HELLO, Room, body, error_of, events_of, in_process, opened, sdk, served
from openai.types.chat import ChatCompletionChunk

from dmoa.api import chat
from dmoa.backends.fake import FakeBackend
from dmoa.core.limits import Limits
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.policy import LIVE, PAPER

CHAT = "/v1/chat/completions"
SECRET = "xyzzy-plugh"  # noqa: S105
KEYS = ["query", "position", "layer", "layers", "fanout"]
KEYS += ["waited_seconds", "starts_in_seconds", "answers_in_seconds"]


@asynccontextmanager
async def waiting(room: Room, count: int, mixture: Mixture = ALONE) -> AsyncIterator[None]:
    """Let so many users ask, one after the other, and wait."""
    async with AsyncExitStack() as asked:
        for number in range(count):
            followed = room.home.follow(f"{SECRET} {number}", mixture=mixture)
            await anext(await asked.enter_async_context(aclosing(followed)))
        yield


async def learnt(room: Room) -> None:
    """Answer some queries, so that their times are known."""
    for _ in range(6):
        await room.home.ask("warm up", mixture=ALONE)


def places(events: list[Any]) -> list[dict[str, Any]]:
    """Pick the chunks that tell a place; each is one that ordinary clients pass over."""
    told = [event for event in events if "queue" in (event.get("dmoa") or {})]
    for event in told:
        ChatCompletionChunk.model_validate(event)
        assert event["choices"][0]["delta"] == {}
        assert event["choices"][0]["finish_reason"] is None
        assert list(event["dmoa"]) == ["queue"]
        assert list(event["dmoa"]["queue"]) == KEYS
    return [event["dmoa"]["queue"] for event in told]


async def streamed(room: Room, **changes: Any) -> tuple[list[Any], dict[str, str]]:
    async with in_process(room.home) as http:
        response = await http.post(CHAT, json=body(stream=True, **changes))
    assert response.status_code == 200, response.text
    events = [event for event in events_of(response.text) if isinstance(event, dict)]
    return events, dict(response.headers)


# -- GET /v1/queue -----------------------------------------------------------------------


async def test_an_empty_queue_is_shown_whole() -> None:
    async with opened("n1", policy=LIVE) as room, in_process(room.home) as http:
        await asyncio.sleep(2)
        shown = (await http.get("/v1/queue")).json()
    assert 2 <= shown["counters"].pop("seconds") < 5
    assert shown == {
        "node": "n1",
        "mode": "steady",
        "policy": asdict(LIVE),
        "queries": [],
        "jobs": {"waiting": 0, "serving": 0, "slots": 1, "reading": 0},
        "limits": {"queries": None, "jobs": 64},
        "counters": {
            "waiting_job_seconds": 0.0,
            "serving_job_seconds": 0.0,
            "queries": 0,
            "refused": 0,
            "declined": 0,
            "served": 0,
        },
    }


async def test_the_mode_and_the_policy_are_those_of_the_node() -> None:
    async with opened("n1", policy=PAPER) as room, in_process(room.home) as http:
        shown = (await http.get("/v1/queue")).json()
    assert (shown["mode"], shown["policy"]) == ("paper", asdict(PAPER))


async def test_every_waiting_query_knows_its_place_and_its_times() -> None:
    async with opened("n1", seconds=8, policy=LIVE) as room, in_process(room.home) as http:
        await learnt(room)
        async with waiting(room, 3):
            await asyncio.sleep(2)
            shown = (await http.get("/v1/queue")).json()
    first, second, third = shown["queries"]
    assert [list(each) for each in (first, second, third)] == [KEYS] * 3
    assert [each["position"] for each in (first, second, third)] == [0, 1, 2]
    assert [each["waited_seconds"] for each in (first, second, third)] == [2.0] * 3
    assert first["starts_in_seconds"] == 0.0
    assert 0 < second["starts_in_seconds"] <= 8
    assert third["starts_in_seconds"] == pytest.approx(second["starts_in_seconds"] + 8, abs=0.5)
    assert 0 < first["answers_in_seconds"] < second["answers_in_seconds"]
    assert second["answers_in_seconds"] < third["answers_in_seconds"]
    assert len({each["query"] for each in shown["queries"]}) == 3
    assert shown["jobs"] == {"waiting": 2, "serving": 1, "slots": 1, "reading": 0}
    assert shown["limits"]["queries"] >= 3


async def test_what_was_counted_adds_up() -> None:
    async with opened("n1", seconds=8) as room, in_process(room.home) as http:
        await learnt(room)
        async with waiting(room, 3):
            await asyncio.sleep(2)
            counters = (await http.get("/v1/queue")).json()["counters"]
    assert counters["serving_job_seconds"] == pytest.approx(6 * 8 + 2, abs=0.1)
    assert counters["waiting_job_seconds"] == pytest.approx(2 * 2, abs=0.1)
    assert counters["seconds"] >= 6 * 8 + 2
    assert (counters["queries"], counters["served"], counters["refused"]) == (9, 6, 0)


async def test_no_text_of_a_prompt_or_an_answer_is_in_the_queue() -> None:
    fakes = {"n1": FakeBackend(SECRET, seconds=8)}
    async with (
        opened("n1", "n2", fakes=fakes) as room,
        in_process(room.home) as http,
        waiting(room, 3, Mixture(2, 1)),
    ):
        for _ in range(5):
            text = (await http.get("/v1/queue")).text
            assert '"layer":' in text
            assert SECRET not in text
            await asyncio.sleep(4)


async def test_a_node_that_loads_shows_no_queue() -> None:
    async with opened("n1", wait=False) as room, in_process(room.home) as http:
        response = await http.get("/v1/queue")
        assert response.status_code == 503
        assert "still loading" in error_of(response)["message"]
        assert response.headers["retry-after"] == "1"
        await room.home.open()
        assert (await http.get("/v1/queue")).status_code == 200


async def test_peers_tell_what_their_digests_do() -> None:
    async with opened("n1", "n2", policy=LIVE, mixture=Mixture(2, 1)) as room:
        for _ in range(6):
            await room.home.ask("warm up")
        async with in_process(room.home) as http:
            told = (await http.get("/v1/peers")).json()
    assert (told["node"]["layers"], told["node"]["fanout"]) == (2, 1)
    assert told["node"]["capacity"] == pytest.approx(1 / 0.05, rel=0.1)
    assert (told["node"]["refused"], told["node"]["declined"]) == (0, 0)
    assert {"capacity", "layers", "refused"} <= told["peers"][0].keys()


# -- answers -----------------------------------------------------------------------------


async def test_an_answer_tells_where_it_stood_and_where_its_time_went() -> None:
    async with opened("n1", seconds=4, policy=LIVE) as room, in_process(room.home) as http:
        await learnt(room)
        async with waiting(room, 2):
            response = await http.post(CHAT, json=body(model="local"))
    told = response.json()["dmoa"]
    assert told["position"] == 2
    assert told["queued_seconds"] == pytest.approx(8, abs=0.1)
    assert told["service_seconds"] == pytest.approx(4, abs=0.1)
    assert told["expected_seconds"] == pytest.approx(told["seconds"], rel=0.5)
    assert response.headers["x-dmoa-queue-position"] == "2"
    assert float(response.headers["x-dmoa-queued-seconds"]) == told["queued_seconds"]
    assert float(response.headers["x-dmoa-service-seconds"]) == told["service_seconds"]


async def test_an_answer_at_an_idle_node_waited_for_nothing() -> None:
    async with opened("n1", seconds=4) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(model="local"))
    assert response.headers["x-dmoa-queue-position"] == "0"
    assert response.headers["x-dmoa-queued-seconds"] == "0.0000"
    assert response.headers["x-dmoa-service-seconds"] == "4.0000"


async def test_a_failure_tells_where_it_stood_as_well() -> None:
    async with opened("n1", seconds=20) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(model="local", dmoa={"deadline": 2}))
    assert (response.status_code, error_of(response)["dmoa"]["position"]) == (504, 0)


# -- streams -----------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["local", "dmoa", "dmoa-m2k3"])
@pytest.mark.parametrize("policy", [PAPER, LIVE], ids=["paper", "live"])
async def test_a_stream_tells_its_place_until_it_is_served(model: str, policy: Any) -> None:
    async with opened(seconds=4, policy=policy) as room:
        await learnt(room)
        async with waiting(room, 2):
            events, headers = await streamed(room, model=model)
    told = places(events)
    positions = [each["position"] for each in told]
    assert (positions[0], positions[-1]) == (2, 0)
    assert positions == sorted(positions, reverse=True)
    trace = events[-1]["dmoa"]
    assert {each["query"] for each in told} == {trace["query"]}
    assert told[0]["starts_in_seconds"] > 0
    assert told[0]["answers_in_seconds"] > told[0]["starts_in_seconds"]
    assert headers["x-dmoa-queue-position"] == "2" == str(trace["position"])
    assert float(headers["x-dmoa-expected-seconds"]) == pytest.approx(
        trace["expected_seconds"], abs=0.01
    )
    assert "x-dmoa-queued-seconds" not in headers
    assert events[0]["id"] == "chatcmpl-" + trace["query"].replace("/", "-")


async def test_every_chunk_before_the_end_is_of_the_answer_or_passed_over() -> None:
    async with opened(seconds=4) as room, waiting(room, 1):
        events, _ = await streamed(room, dmoa={"drafts": True})
    kinds = {next(iter(event["dmoa"])) for event in events[:-1] if "dmoa" in event}
    assert kinds == {"queue", "progress", "draft"}
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert text == "model-of-n1 heard: hello there"


async def test_without_peers_a_stream_begins_at_once_and_tells_as_much() -> None:
    async with opened("n1", seconds=0.0) as room:
        events, headers = await streamed(room)
    assert headers["x-dmoa-queue-position"] == "0"
    assert float(headers["x-dmoa-expected-seconds"]) == 0.0
    assert places(events)[0]["position"] == 0


@pytest.mark.parametrize("model", ["local", "dmoa"])
async def test_an_error_at_the_start_keeps_its_status(model: str) -> None:
    fake = FakeBackend(seconds=0.5, fail="unavailable")
    async with opened("n1", fakes={"n1": fake}) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(model=model, stream=True))
    if model == "local":
        assert (response.status_code, error_of(response)["code"]) == (503, "backend_unavailable")
    else:  # it was accepted, and begun
        assert (response.status_code, response.headers["x-dmoa-queue-position"]) == (200, "0")
        assert events_of(response.text)[-1]["error"]["code"] == "backend_unavailable"


@pytest.mark.real
async def test_who_waits_for_the_own_model_hears_so_while_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chat, "SILENCE", 0.05)
    async with opened("n1", seconds=30) as room, served(room.home) as http, waiting(room, 1):
        request = http.stream("POST", CHAT, json=body(model="local", stream=True))
        async with request as response, asyncio.timeout(10):
            assert response.headers["x-dmoa-queue-position"] == "1"
            async for line in response.aiter_lines():
                if '"queue"' in line:
                    break
        assert '"position":1' in line


@pytest.mark.real
@pytest.mark.parametrize("model", ["local", "dmoa-m1k3"])
async def test_the_official_client_passes_over_places(model: str) -> None:
    async with opened(seconds=0.05) as room, in_process(room.home) as http:
        async with waiting(room, 2):
            ask = sdk(http).chat.completions
            raw = await ask.with_raw_response.create(model=model, messages=HELLO, stream=True)
            assert raw.headers["x-dmoa-queue-position"] == "2"
            chunks = [chunk async for chunk in raw.parse()]
            assert any("queue" in (chunk.model_extra or {}).get("dmoa", {}) for chunk in chunks)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            assert text == "model-of-n1 heard: hello there"
        async with (
            waiting(room, 2),
            sdk(http).chat.completions.stream(model=model, messages=HELLO) as stream,
        ):
            answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "model-of-n1 heard: hello there"


# -- the refused -------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_who_is_refused_hears_the_place_and_when_to_come_back(*, stream: bool) -> None:
    limits = Limits(queue_jobs=3)
    async with opened("n1", limits=limits, seconds=8) as room, in_process(room.home) as http:
        await learnt(room)
        async with waiting(room, 3):
            await asyncio.sleep(2.5)
            response = await http.post(CHAT, json=body(stream=stream, model="local"))
            counters = (await http.get("/v1/queue")).json()["counters"]
    error = error_of(response)
    assert (response.status_code, error["code"]) == (429, "overloaded")
    assert error["dmoa"]["position"] == 3
    seconds = error["dmoa"]["retry_after_seconds"]
    assert 5 < seconds < 9
    assert (
        int(response.headers["retry-after"]) - 1 < seconds <= int(response.headers["retry-after"])
    )
    assert int(response.headers["retry-after-ms"]) == pytest.approx(1000 * seconds, abs=1)
    assert error["dmoa"]["jobs"] == []
    assert counters["refused"] == 1
    assert "x-dmoa-queue-position" not in response.headers


@pytest.mark.real
async def test_the_official_client_comes_back_when_told_and_is_answered() -> None:
    limits = Limits(queue_jobs=1)
    async with opened("n1", limits=limits, seconds=0.2) as room, in_process(room.home) as http:
        await learnt(room)
        client = sdk(http)
        busy = asyncio.ensure_future(room.home.ask("keeps it busy", mixture=ALONE))
        await asyncio.sleep(0)
        with pytest.raises(openai.RateLimitError) as full:
            await client.chat.completions.create(model="local", messages=HELLO)
        assert full.value.body["dmoa"]["position"] == 1
        patient = client.with_options(max_retries=5)
        answer = await patient.chat.completions.create(model="local", messages=HELLO)
        await busy
    assert answer.choices[0].message.content == "model-of-n1 heard: hello there"
