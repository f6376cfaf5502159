"""Every refusal of the API: OpenAI's error object, the right status, one readable line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from api_room import HELLO, NAMES, body, error_of, in_process, opened

from dmoa.backends.fake import FakeBackend
from dmoa.core.limits import Limits

CHAT = "/v1/chat/completions"


def said(content: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content, **more}]


PIXEL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
BROKEN: list[tuple[dict[str, Any], str | None, str]] = [
    # a change to a usual request, the param it is about, and words of the message
    ({"temperature": 3}, "temperature", "less than or equal to 2"),
    ({"temperature": -1}, "temperature", "greater than or equal to 0"),
    ({"temperature": "hot"}, "temperature", "valid number"),
    ({"top_p": 2}, "top_p", "less than or equal to 1"),
    ({"presence_penalty": 3}, "presence_penalty", "less than or equal to 2"),
    ({"n": 2}, "n", "only one choice"),
    ({"n": 0}, "n", "only one choice"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
    ({"stop": 5}, "stop", "a text or a list of texts"),
    ({"stop": ["a", 5]}, "stop[1]", "valid string"),
    ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
    ({"max_completion_tokens": -1}, "max_completion_tokens", "greater than or equal to 1"),
    ({"seed": 2**63}, "seed", "less than"),
    ({"seed": 1.5}, "seed", "valid integer"),
    ({"logprobs": True}, "logprobs", "not supported"),
    ({"top_logprobs": 50}, "top_logprobs", "not supported"),
    ({"functions": [{"name": "f"}]}, "functions", "not supported"),
    ({"audio": {"voice": "x"}}, "audio", "not supported"),
    ({"stream": "perhaps"}, "stream", "valid boolean"),
    ({"tools": [{"parameters": float("nan")}]}, "tools[0]", "no JSON"),
    ({"logit_bias": {"1": float("inf")}}, "logit_bias", "no JSON"),
    ({"tools": "hammer"}, "tools", "valid list"),
    ({"model": 5}, "model", "valid string"),
    ({"model": None}, "model", "required"),
    ({"messages": None}, "messages", "required"),
    ({"messages": []}, "messages", "at least 1"),
    ({"messages": "hello"}, "messages", "valid list"),
    ({"messages": ["hello"]}, "messages[0]", "valid dictionary"),
    ({"messages": [{"content": "no role"}]}, "messages[0].role", "required"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "'developer'"),
    ({"messages": [*HELLO, {"role": "user"}]}, "messages[1].content", "missing"),
    ({"messages": said(None)}, "messages[0].content", "missing"),
    ({"messages": [{"role": "assistant", "tool_calls": []}]}, "messages[0].content", "missing"),
    ({"messages": said(5)}, "messages[0].content", "a text or a list of parts"),
    ({"messages": said({"type": "text"})}, "messages[0].content", "a text or a list of parts"),
    ({"messages": said(["x"])}, "messages[0].content[0]", "valid dictionary"),
    ({"messages": said([{"type": "text"}])}, "messages[0].content[0].text", "required"),
    (
        {"messages": said([{"type": "text", "text": "see"}, PIXEL])},
        "messages[0].content[1].type",
        "'text'",
    ),
    ({"tools": [{"type": "\ud83d"}]}, "tools[0]", "half a character"),
    ({"stop": "\ud83d"}, "stop[0]", "half a character"),
    ({"messages": said("x", name="\ud83d")}, "messages[0].name", "half a character"),
    ({"dmoa": {"layer": 2}}, "dmoa.layer", "not permitted"),
    ({"dmoa": {"layers": -1}}, "dmoa.layers", "greater than or equal to 0"),
    ({"dmoa": {"layers": 1.5}}, "dmoa.layers", "valid integer"),
    ({"dmoa": {"deadline": 0}}, "dmoa.deadline", "greater than 0"),
    ({"dmoa": {"deadline": 1e9}}, "dmoa.deadline", "less than or equal to 86400"),
    ({"dmoa": "m1k2"}, "dmoa", "valid dictionary"),
    ({"dmoa": {"x" * 5000: 1}}, "dmoa." + "x" * 80, "not permitted"),
]


@pytest.mark.parametrize(("change", "param", "words"), BROKEN, ids=lambda it: str(it)[:50])
async def test_a_broken_request_is_told_what_is_wrong_and_where(
    change: dict[str, Any], param: str | None, words: str
) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        headers = {"content-type": "application/json"}
        response = await http.post(CHAT, content=json.dumps(body(**change)), headers=headers)
        error = error_of(response)
    assert (response.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(f"{param}: ")
    assert words in error["message"]
    assert room.started == 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("change", "status", "code", "words"),
    [
        ({"model": "gpt-4"}, 404, "model_not_found", "'gpt-4' is not offered"),
        ({"model": "dmoa-m1"}, 404, "model_not_found", "dmoa-m2k3"),
        ({"model": "x" * 9999}, 404, "model_not_found", "is not offered"),
        ({"model": "dmoa-m9k2"}, 400, "invalid_mixture", "at most 8 layers"),
        ({"model": "dmoa-m1k33"}, 400, "invalid_mixture", "a fanout of 32"),
        ({"dmoa": {"layers": 9}}, 400, "invalid_mixture", "at most 8 layers"),
        ({"dmoa": {"fanout": 10**30}}, 400, "invalid_mixture", "a fanout of 32"),
        ({"model": "local", "dmoa": {"layers": 1}}, 400, "invalid_mixture", "'local'"),
        ({"messages": said("x" * 300_000)}, 400, "context_length_exceeded", "Please reduce"),
    ],
    ids=lambda it: str(it)[:40],
)
async def test_what_cannot_be_is_refused_in_a_stream_as_well(
    change: dict[str, Any], status: int, code: str, words: str, *, stream: bool
) -> None:
    async with opened(*NAMES[:2]) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(stream=stream, **change))
        error = error_of(response)
    assert (response.status_code, error["code"]) == (status, code)
    assert words in error["message"]
    assert response.headers["content-type"] == "application/json"
    assert room.started == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "required"),
        (b"{", "not JSON"),
        (b'{"model": }', "not JSON"),
        (b'{"model": "\xff"}', "parsing"),
        (b"[" * 100_000, "parsing"),
        (b"[]", "valid dictionary"),
        (b'"hello"', "valid dictionary"),
        (b"null", "valid dictionary"),
        (
            b'{"model": "dmoa", "messages": [{"role": "user", "content": "\\ud83d"}]}',
            "half a character",
        ),
        (
            b'{"model": "dmoa\\ud83d", "messages": [{"role": "user", "content": "x"}]}',
            "half a character",
        ),
    ],
)
async def test_a_body_that_is_no_request_is_refused(data: bytes, words: str) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        headers = {"content-type": "application/json"}
        response = await http.post(CHAT, content=data, headers=headers)
    assert response.status_code == 400
    assert words in error_of(response)["message"]


async def test_only_json_is_taken_so_that_no_web_page_can_ask_unasked() -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        for media in ("text/plain", "application/x-www-form-urlencoded"):
            headers = {"content-type": media}
            response = await http.post(CHAT, content=json.dumps(body()), headers=headers)
            assert response.status_code == 415
            error_of(response)
        assert room.started == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/page", 404),
        ("GET", "/v1", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/nothing/at/all", 404),
        ("GET", "/docs", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/health", 405),
    ],
)
async def test_other_places_are_refused_in_the_same_shape(
    method: str, path: str, status: int
) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        response = await http.request(method, path)
    error = error_of(response)
    assert response.status_code == status
    assert error["message"].startswith(f"{method} {path}: ")
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:4747", 200),
        ("localhost:1", 200),
        ("LocalHost", 200),
        ("[::1]", 200),
        ("[::1]:4747", 200),
        ("evil.example", 403),
        ("evil.example:4747", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost:1:2", 403),
        ("", 403),
    ],
)
async def test_only_names_of_this_machine_are_served(host: str, status: int) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        response = await http.get("/health", headers={"host": host})
    assert response.status_code == status
    if status == 403:
        assert error_of(response)["code"] == "host"


@pytest.mark.parametrize("counted", [True, False], ids=["announced", "in chunks"])
async def test_a_huge_body_is_refused(*, counted: bool) -> None:
    limits = Limits(conversation_bytes=1000)

    async def pieces():
        for _ in range(9):
            yield b" " * 1000

    async with opened("n1", limits=limits) as room, in_process(room.home) as http:
        content = b" " * 9000 if counted else pieces()
        headers = {"content-type": "application/json"}
        response = await http.post(CHAT, content=content, headers=headers)
        error = error_of(response)
        assert (response.status_code, error["code"]) == (413, "body_too_large")
        assert "larger than 8000 bytes" in error["message"]
        response = await http.post(CHAT, json=body(messages=said("x" * 999, name="n" * 99)))
        assert error_of(response)["code"] == "context_length_exceeded"
        response = await http.post(CHAT, json=body(messages=said("é" * 450)))  # \u00e9 each
        assert response.status_code == 200


FAULTS = [
    ("unavailable", 503, "backend_unavailable"),
    ("refused", 400, "backend_refused"),
    ("too_long", 400, "context_length_exceeded"),
    ("rubbish", 502, "backend_failed"),
    ("timeout", 502, "backend_failed"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fail", "status", "code"), FAULTS)
@pytest.mark.parametrize("model", ["local", "dmoa-m0k0"])
async def test_a_failing_own_model_has_its_status_also_where_it_should_stream(
    model: str, fail: str, status: int, code: str, *, stream: bool
) -> None:
    fake = FakeBackend(seconds=0.5, fail=fail)
    async with opened("n1", fakes={"n1": fake}) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(model=model, stream=stream))
        error = error_of(response)
    assert (response.status_code, error["code"]) == (status, code)
    assert "fake is told to" in error["message"]
    assert ("retry-after" in response.headers) == (status == 503)
    (job,) = error["dmoa"]["jobs"]
    assert (job["role"], job["outcome"]) == ("aggregator", "failed")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_node_says_when_to_come_back(*, stream: bool) -> None:
    limits = Limits(queue_jobs=1)
    async with opened("n1", limits=limits, seconds=20) as room, in_process(room.home) as http:
        first = room.home.stream("keeps it busy")
        assert await anext(first)
        response = await http.post(CHAT, json=body(stream=stream))
        await first.aclose()
    error = error_of(response)
    assert (response.status_code, error["code"]) == (429, "overloaded")
    assert "its queue holds 1 jobs" in error["message"]
    assert int(response.headers["retry-after"]) >= 1


async def test_a_deadline_that_passes_is_an_error_with_its_trace() -> None:
    async with opened("n1", seconds=20) as room, in_process(room.home) as http:
        response = await http.post(CHAT, json=body(model="local", dmoa={"deadline": 2}))
        assert room.idle()
    error = error_of(response)
    assert (response.status_code, error["code"]) == (504, "deadline_exceeded")
    assert "2 s passed" in error["message"]
    assert [job["outcome"] for job in error["dmoa"]["jobs"]] == ["late"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_node_that_loads_says_so(*, stream: bool) -> None:
    async with opened("n1", wait=False) as room, in_process(room.home) as http:
        for response in (
            await http.post(CHAT, json=body(stream=stream)),
            await http.get("/v1/peers"),
        ):
            assert response.status_code == 503
            assert "still loading" in error_of(response)["message"]
            assert response.headers["retry-after"] == "1"
        health = await http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "loading")
        assert health.headers["retry-after"] == "1"
        assert (await http.get("/v1/models")).status_code == 200
        assert (await http.post(CHAT, json=body(n=2))).status_code == 400
        await room.home.open()
        assert (await http.get("/health")).status_code == 200
        assert (await http.post(CHAT, json=body())).status_code == 200


async def test_a_bug_of_the_node_is_told_in_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        monkeypatch.setattr(room.home, "follow", lambda *_, **__: 1 // 0)
        response = await http.post(CHAT, json=body())
    assert (response.status_code, error_of(response)["code"]) == (500, "internal")
    assert "division" not in response.text
