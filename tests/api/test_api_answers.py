"""What the official client gets of a node: models, answers and streams in OpenAI's shapes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from api_room import (
    HELLO,
    Fickle,
    Reciter,
    Room,
    body,
    error_of,
    events_of,
    in_process,
    opened,
    sdk,
)
from openai import AsyncOpenAI
from openai.types import Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from dmoa.api import models
from dmoa.backends.fake import FakeBackend
from dmoa.core.job import Completion, Sampling
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture

pytestmark = pytest.mark.real

CHAT = "/v1/chat/completions"
EMOJI = "naïve 漢字 👩‍👩‍👧‍👦 🏳️‍🌈 e\u0301 \u2028 \x85 \\n \r \x7f end"


@asynccontextmanager
async def spoken_to(*names: str, **settings: Any) -> AsyncIterator[tuple[Room, AsyncOpenAI]]:
    """Open nodes and the official client for the first."""
    settings.setdefault("seconds", 0.0)
    async with opened(*names, **settings) as room, in_process(room.home) as http:
        yield room, sdk(http)


def trace_of(answer: ChatCompletion | ChatCompletionChunk) -> dict[str, Any]:
    return answer.model_extra["dmoa"]


async def streamed(room: Room, **changes: Any) -> list[Any]:
    """Ask for a stream, and read it whole; every chunk has the official shape."""
    async with in_process(room.home) as http:
        response = await http.post(CHAT, json=body(stream=True, **changes))
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    events = events_of(response.text)
    for event in events:
        if isinstance(event, dict) and "error" not in event:
            ChatCompletionChunk.model_validate(event)
    return events


def text_of(events: list[Any]) -> str:
    return "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in events
        if isinstance(event, dict) and event.get("choices")
    )


# -- models ------------------------------------------------------------------------------


async def test_the_models_are_listed_and_each_can_be_retrieved() -> None:
    async with spoken_to("n1", "n2", mixture=Mixture(2, 1)) as (_, client):
        listed = [model async for model in client.models.list()]
        assert [model.id for model in listed] == models.names()
        for model in listed:
            Model.model_validate(model.model_dump())
            assert await client.models.retrieve(model.id) == model
        shapes = {model.id: trace_of(model) for model in listed}
        assert shapes["dmoa"] == {
            "layers": 2,
            "fanout": 1,
            "recipe": "",
            "aggregator": "model-of-n1",
            "default": {
                "model": "dmoa-m2k1",
                "why": "chosen",
                "detail": "the operator chose it",
            },
        }
        assert shapes["local"]["layers"] == 0
        assert (shapes["dmoa-m2k3"]["layers"], shapes["dmoa-m2k3"]["fanout"]) == (2, 3)
        unlisted = await client.models.retrieve("dmoa-m3k7")
        assert trace_of(unlisted)["fanout"] == 7
        mixed = await client.models.retrieve("dmoa-m1k2-best+self")
        assert trace_of(mixed)["recipe"] == "self+best"


@pytest.mark.parametrize(
    "name", ["gpt-4o", "dmoa-", "dmoa-m1k2x", "dmoa-m1k2-", "m1k2", "a/b/c", "LOCAL"]
)
async def test_no_other_model_can_be_retrieved(name: str) -> None:
    async with spoken_to("n1") as (_, client):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve(name)
    assert (caught.value.code, caught.value.type) == ("model_not_found", "invalid_request_error")


async def test_health_and_peers_tell_how_nodes_stand() -> None:
    async with opened("n1", "n2", "n3") as room, in_process(room.home) as http:
        health = (await http.get("/health")).json()
        peers = (await http.get("/v1/peers")).json()
    assert health["status"] == "ok"
    assert (health["node"], health["model"], health["peers"]) == ("n1", "model-of-n1", 2)
    assert peers["node"]["node"] == "n1"
    assert peers["node"]["age_seconds"] == 0
    assert [(peer["node"], peer["url"]) for peer in peers["peers"]] == [
        ("n2", "http://n2"),
        ("n3", "http://n3"),
    ]
    assert all(0 <= peer["age_seconds"] < 2 for peer in peers["peers"])


# -- whole answers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "extra", "layers", "fanout"),
    [
        ("dmoa", None, 1, 2),
        ("dmoa", {"layers": 2}, 2, 2),
        ("dmoa", {"fanout": 3}, 1, 3),
        ("dmoa", {"layers": 0}, 0, 2),
        ("dmoa-m2k3", None, 2, 3),
        ("dmoa-m2k3", {"layers": 1, "fanout": 0}, 1, 0),
        ("dmoa-m0k0", None, 0, 0),
        ("local", None, 0, 0),
        ("local", {"deadline": 5}, 0, 0),
    ],
)
async def test_an_answer_is_what_the_model_name_and_the_request_say(
    model: str, extra: dict[str, Any] | None, layers: int, fanout: int
) -> None:
    async with spoken_to() as (room, client):
        answer = await client.chat.completions.create(
            model=model, messages=HELLO, extra_body={"dmoa": extra} if extra else None
        )
        ChatCompletion.model_validate(answer.model_dump())
        started = room.started
    (choice,) = answer.choices
    assert (answer.object, answer.model, choice.finish_reason) == ("chat.completion", model, "stop")
    assert choice.message.content == "model-of-n1 heard: hello there"
    assert choice.message.role == "assistant"
    assert choice.message.tool_calls is None
    trace = trace_of(answer)
    assert trace["mixture"] == {"layers": layers, "fanout": fanout}
    assert (trace["home"], trace["source"], trace["degraded"]) == ("n1", "aggregator", [])
    assert answer.id == "chatcmpl-" + trace["query"].replace("/", "-")
    jobs = trace["jobs"]
    assert len(jobs) == started == (fanout + 1) * layers + 1
    for layer in range(1, layers + 1):
        nodes = [job["node"] for job in jobs if job["layer"] == layer]
        assert nodes[0] == "n1"
        assert len(set(nodes)) == len(nodes) == fanout + 1
    assert [job["role"] for job in jobs] == ["proposer"] * (len(jobs) - 1) + ["aggregator"]
    assert (jobs[-1]["node"], jobs[-1]["layer"]) == ("n1", layers + 1)
    for job in jobs:
        assert (job["outcome"], job["model"]) == ("ok", f"model-of-{job['node']}")
        assert job["service_seconds"] >= 0 <= job["queued_seconds"]
    assert answer.usage is not None
    read = sum(job["prompt_tokens"] for job in jobs)
    written = sum(job["completion_tokens"] for job in jobs)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (read, written)
    assert answer.usage.total_tokens == read + written
    assert min(read, written) >= len(jobs)


async def test_every_answer_has_a_name_of_its_own() -> None:
    async with spoken_to("n1") as (_, client):
        answers = await asyncio.gather(
            *(client.chat.completions.create(model="dmoa", messages=HELLO) for _ in range(9))
        )
    assert len({answer.id for answer in answers}) == 9


async def test_the_user_rules_the_aggregator_and_nobody_else() -> None:
    wishes: dict[str, Any] = {
        "temperature": 0.25,
        "top_p": 0.5,
        "stop": "END",
        "seed": 7,
        "presence_penalty": 1.0,
        "frequency_penalty": -1.0,
    }
    async with spoken_to("n1") as (room, client):
        await client.chat.completions.create(
            model="dmoa-m1k0", messages=HELLO, max_completion_tokens=3, max_tokens=9, **wishes
        )
        await client.chat.completions.create(
            model="local", messages=HELLO, stop=["A", "", "B"], response_format={"type": "text"}
        )
    proposer, aggregator, alone = room.fakes["n1"].prompts
    assert proposer.sampling.temperature is None
    assert proposer.sampling.stop == ()
    assert proposer.sampling.max_tokens != 3
    assert aggregator.sampling == Sampling(**{**wishes, "stop": ("END",)}, max_tokens=3)
    assert alone.sampling.stop == ("A", "B")
    assert json.loads(alone.options) == {"response_format": {"type": "text"}}
    assert (proposer.options, aggregator.options) == ("", "")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_cut_says_length(*, stream: bool) -> None:
    async with spoken_to("n1") as (room, client):
        if stream:
            *_, last, done = await streamed(room, max_tokens=5)
            assert (last["choices"][0]["finish_reason"], done) == ("length", "[DONE]")
        else:
            answer = await client.chat.completions.create(
                model="dmoa", messages=HELLO, max_tokens=5
            )
            assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("cut", [1, 7, 16])
async def test_text_of_any_script_comes_through_intact(cut: int, *, stream: bool) -> None:
    fake = FakeBackend("é", tokens=cut)
    async with spoken_to("n1", fakes={"n1": fake}) as (room, client):
        messages = [{"role": "user", "content": EMOJI}]
        if stream:
            text = text_of(await streamed(room, messages=messages))
        else:
            answer = await client.chat.completions.create(model="dmoa", messages=messages)
            text = answer.choices[0].message.content
    assert text == f"é heard: {EMOJI}"


async def test_parts_roles_and_names_reach_the_model() -> None:
    messages: list[Any] = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": "c", "name": "ann"},
    ]
    async with spoken_to("n1") as (room, client):
        await client.chat.completions.create(model="local", messages=messages)
    (prompt,) = room.fakes["n1"].prompts
    assert [(turn.role, turn.content) for turn in prompt.turns] == [
        ("system", "be brief"),
        ("user", "ab"),
        ("assistant", ""),
        ("user", "c"),
    ]
    assert json.loads(prompt.turns[3].extra) == {"name": "ann"}


async def test_what_other_clients_send_along_is_no_error() -> None:
    names = "stream stream_options max_tokens temperature top_p stop seed tools tool_choice dmoa"
    names += " logprobs top_logprobs functions response_format logit_bias"
    nothing = dict.fromkeys(names.split())
    extra = {"user": "me", "store": False, "metadata": {}, "service_tier": "auto", "top_k": 5}
    async with opened("n1") as room, in_process(room.home) as http:
        sent = {"model": "dmoa", "messages": HELLO, **nothing, **extra, "n": 1}
        sent["messages"] = [{**HELLO[0], "annotations": [], "refusal": None}]
        response = await http.post(CHAT, json=sent)
    assert response.status_code == 200


# -- errors as the official client sees them ---------------------------------------------


async def test_the_official_client_raises_its_own_errors() -> None:
    async with spoken_to("n1", limits=Limits(queue_jobs=1)) as (room, client):
        ask = client.chat.completions.create
        with pytest.raises(openai.NotFoundError) as lost:
            await ask(model="gpt-4", messages=HELLO)
        assert lost.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as bad:
            await ask(model="dmoa", messages=HELLO, temperature=3)
        assert bad.value.param == "temperature"
        with pytest.raises(openai.BadRequestError) as beyond:
            await ask(model="dmoa", messages=HELLO, extra_body={"dmoa": {"layers": 99}})
        assert beyond.value.code == "invalid_mixture"
        long = [{"role": "user", "content": "x" * 300_000}]
        with pytest.raises(openai.BadRequestError) as toolong:
            await ask(model="dmoa", messages=long, stream=True)
        assert toolong.value.code == "context_length_exceeded"
        with pytest.raises(openai.APIStatusError) as huge:
            await ask(model="dmoa", messages=[{"role": "user", "content": "x" * 3_000_000}])
        assert huge.value.status_code == 413
        room.fakes["n1"].fail = "unavailable"
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as down:
                await ask(model="local", messages=HELLO, stream=stream)
            assert down.value.status_code == 503
            assert down.value.response.headers["retry-after"] == "1"
        room.fakes["n1"].fail = "stall"
        busy = room.home.follow("keeps it busy")
        await anext(busy)
        with pytest.raises(openai.RateLimitError) as full:
            await ask(model="dmoa", messages=HELLO)
        assert int(full.value.response.headers["retry-after"]) >= 1
        assert full.value.code == "overloaded"
        await busy.aclose()


# -- degraded answers --------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mood", ["unavailable", "rubbish", "too_long"])
async def test_where_aggregation_fails_a_whole_proposal_is_the_answer_and_marked(
    mood: str, *, stream: bool
) -> None:
    fake = Fickle("model-of-n1", mood)
    async with spoken_to(fakes={"n1": fake}) as (room, client):
        if stream:
            events = await streamed(room)
            assert events.pop() == "[DONE]"
            text, trace = text_of(events), events[-1]["dmoa"]
        else:
            answer = await client.chat.completions.create(model="dmoa", messages=HELLO)
            text, trace = answer.choices[0].message.content, trace_of(answer)
    assert trace["source"] == "proposal"
    assert text in {f"model-of-{name} heard: hello there" for name in room.nodes}
    assert [job["outcome"] for job in trace["jobs"]] == ["ok", "ok", "ok", "failed"]
    assert trace["degraded"][-1].startswith("unaggregated: ")
    assert f"this is the proposal of {text[9:11]}" in trace["degraded"][-1]


async def test_where_aggregation_fails_in_the_middle_the_stream_ends_with_an_error() -> None:
    fake = Fickle("model-of-n1", "unavailable", after=4)
    async with spoken_to(fakes={"n1": fake}) as (room, client):
        events = await streamed(room)
        error = events[-1]["error"]
        assert text_of(events[:-1]) == "model-o"
        assert "[DONE]" not in events
        assert error["message"].startswith("the answer broke off: unaggregated: ")
        assert (error["code"], error["type"]) == ("backend_unavailable", "server_error")
        assert [job["outcome"] for job in error["dmoa"]["jobs"]] == ["ok", "ok", "ok", "failed"]
        seen: list[str] = []

        async def read() -> None:
            async for chunk in await client.chat.completions.create(
                model="dmoa", messages=HELLO, stream=True
            ):
                seen.extend(choice.delta.content or "" for choice in chunk.choices)

        with pytest.raises(openai.APIError, match="the answer broke off") as caught:
            await read()
    assert "".join(seen) == "model-o"
    assert caught.value.code == "backend_unavailable"


async def test_fewer_peers_than_asked_for_is_said() -> None:
    async with spoken_to("n1", "n2") as (_, client):
        answer = await client.chat.completions.create(model="dmoa-m1k3", messages=HELLO)
    trace = trace_of(answer)
    assert trace["degraded"] == ["few: 1 of 3 peers were known in layer 1"]
    assert [job["node"] for job in trace["jobs"]] == ["n1", "n2", "n1"]


# -- tools -------------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLED = Completion("", "reciter", 3, 2, "tool_calls", json.dumps([CALL]))


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_go_to_the_own_model_alone_and_that_is_said(*, stream: bool) -> None:
    fake = Reciter(CALLED)
    async with spoken_to(fakes={"n1": fake}) as (room, client):
        if stream:
            events = await streamed(room, tools=[TOOL], tool_choice="auto")
            assert events.pop() == "[DONE]"
            trace = events[-1]["dmoa"]
            assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"
            assert events[-2]["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **CALL}]
        else:
            answer = await client.chat.completions.create(
                model="dmoa-m2k3", messages=HELLO, tools=[TOOL], tool_choice="auto"
            )
            (choice,) = answer.choices
            assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
            (call,) = choice.message.tool_calls
            assert call.function.name == "weather"
            trace = trace_of(answer)
        assert room.started == 0  # of the others
    assert [job["node"] for job in trace["jobs"]] == ["n1"]
    assert trace["degraded"] == ["tools: calls of tools go to the own model alone"]
    (prompt,) = fake.prompts
    assert json.loads(prompt.options) == {"tools": [TOOL], "tool_choice": "auto"}


async def test_the_reply_of_a_tool_goes_the_same_way() -> None:
    messages: list[Any] = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    async with spoken_to("n1", "n2") as (room, client):
        answer = await client.chat.completions.create(model="dmoa", messages=messages)
        alone = await client.chat.completions.create(model="local", messages=messages)
    assert len(trace_of(answer)["jobs"]) == 1
    assert trace_of(answer)["degraded"][0].startswith("tools: ")
    assert trace_of(alone)["degraded"] == []
    prompt = room.fakes["n1"].prompts[0]
    assert json.loads(prompt.turns[1].extra) == {"tool_calls": [CALL]}
    assert json.loads(prompt.turns[2].extra) == {"tool_call_id": "c1"}


# -- streams -----------------------------------------------------------------------------


async def test_a_stream_has_progress_that_ordinary_clients_pass_over() -> None:
    async with spoken_to() as (room, _):
        events = await streamed(room, model="dmoa-m1k3")
    assert events.pop() == "[DONE]"
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len({(event["id"], event["created"], event["model"]) for event in events}) == 1
    assert events[0]["id"] == "chatcmpl-" + events[-1]["dmoa"]["query"].replace("/", "-")
    progress = [event for event in events if "progress" in event.get("dmoa", {})]
    assert all(event["choices"][0]["delta"] == {} for event in progress)
    assert not [event for event in events if "draft" in event.get("dmoa", {})]
    visits = [event["dmoa"]["progress"] for event in progress]
    assert [visit["outcome"] for visit in visits[:4]] == ["pending"] * 4
    assert sorted(visit["outcome"] for visit in visits) == ["ok"] * 5 + ["pending"] * 5
    last = events[-1]
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "stop")
    assert not [event for event in events[:-1] if event["choices"][0]["finish_reason"]]
    ended = {visit["job"]: visit for visit in visits if visit["outcome"] == "ok"}
    assert [ended[job["job"]] for job in last["dmoa"]["jobs"]] == last["dmoa"]["jobs"]
    assert last["dmoa"]["source"] == "aggregator"
    assert text_of(events) == "model-of-n1 heard: hello there"
    assert not [event for event in events if "usage" in event]


async def test_drafts_come_when_they_are_asked_for() -> None:
    async with spoken_to(seconds=0.02) as (room, _):
        events = await streamed(room, dmoa={"drafts": True, "fanout": 3})
    drafts: dict[str, str] = {}
    for event in events[:-1]:
        if draft := event.get("dmoa", {}).get("draft"):
            assert event["choices"][0]["delta"] == {}
            assert draft["layer"] == 1
            drafts[draft["node"]] = drafts.get(draft["node"], "") + draft["text"]
    assert drafts == {name: f"model-of-{name} heard: hello there" for name in room.nodes}
    assert text_of(events) == "model-of-n1 heard: hello there"


async def test_usage_ends_a_stream_that_asked_for_it() -> None:
    async with spoken_to() as (room, client):
        *events, last, done = await streamed(room, stream_options={"include_usage": True})
        assert done == "[DONE]"
        assert last["choices"] == []
        assert all(event["usage"] is None for event in events)
        jobs = events[-1]["dmoa"]["jobs"]
        assert last["dmoa"]["jobs"] == jobs
        total = sum(job["prompt_tokens"] + job["completion_tokens"] for job in jobs)
        assert last["usage"]["total_tokens"] == total
        stream = await client.chat.completions.create(
            model="dmoa", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == total
    assert len(trace_of(chunks[-1])["jobs"]) == 4


async def test_the_official_client_puts_a_stream_together() -> None:
    async with (
        spoken_to() as (_, client),
        client.chat.completions.stream(model="dmoa", messages=HELLO) as stream,
    ):
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.content == "model-of-n1 heard: hello there"
    assert answer.choices[0].finish_reason == "stop"


async def test_concurrent_streams_do_not_mix() -> None:
    async with spoken_to(seconds=0.02) as (room, _):
        asked = [f"question {number}" for number in range(5)]
        streams = await asyncio.gather(
            *(streamed(room, messages=[{"role": "user", "content": text}]) for text in asked)
        )
    for text, events in zip(asked, streams, strict=True):
        assert text_of(events) == f"model-of-n1 heard: {text}"
        query = events[-2]["dmoa"]["query"]
        told = [event["dmoa"] for event in events[:-2] if "dmoa" in event]
        visits = [each["progress"]["job"] for each in told if "progress" in each]
        assert {visit.rsplit("/", 1)[0] for visit in visits} == {query}
        assert {each["queue"]["query"] for each in told if "queue" in each} == {query}


# -- logs --------------------------------------------------------------------------------


async def test_no_text_of_a_prompt_or_an_answer_is_ever_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "xyzzy-plugh"  # noqa: S105
    messages = [{"role": "user", "content": secret}]
    fake = Fickle("model-of-n1", "", tokens=1)
    async with opened("n1", "n2", fakes={"n1": fake}) as room, in_process(room.home) as http:
        for mood in ("", "unavailable", "rubbish"):
            for stream in (False, True):
                fake.mood = mood
                response = await http.post(CHAT, json=body(messages=messages, stream=stream))
                assert secret in response.text
        for change in ({"temperature": 9}, {"n": 3}, {"model": "gpt"}, {"dmoa": {"x": secret}}):
            response = await http.post(CHAT, json=body(**{"messages": messages, **change}))
            assert secret not in error_of(response)["message"]
        response = await http.post(CHAT, content=f'{{"messages": "{secret}'.encode())
        assert secret not in response.text
    assert not [record for record in caplog.records if secret in record.getMessage()]
    assert secret not in caplog.text
