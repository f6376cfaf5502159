from __future__ import annotations

import asyncio
import json
import logging
import socket

import pytest
from asking import opened, prompt, take
from scripted import DONE, Reply, Scripted, chunk, finished, said

from dmoa.backends import openai
from dmoa.backends.link import Link
from dmoa.backends.registry import open_backend
from dmoa.backends.uri import parse_uri
from dmoa.core.job import Completion
from dmoa.errors import (
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigError,
    ContextLengthError,
)

pytestmark = pytest.mark.real

USAGE = chunk(choices=[], usage={"prompt_tokens": 12, "completion_tokens": 3})
GOOD = Reply([said("a"), said("b"), finished(), USAGE, DONE])


async def answer(*chat, settings="", given=None):
    """Let a server play, and give the items of one generation."""
    async with Scripted(*chat) as server, opened(f"openai:{server.url}#m{settings}") as backend:
        return await take(backend, given)


async def error(kind, *chat, settings=""):
    with pytest.raises(kind) as caught:
        await answer(*chat, settings=settings)
    assert type(caught.value) is kind
    return caught.value


async def test_streams_and_counts():
    assert await answer(GOOD) == ["a", "b", Completion("ab", "m", 12, 3)]


@pytest.mark.parametrize(
    "pieces",
    [
        [said("a"), said("b"), finished(), DONE],
        [said("a"), said("b"), finished()],
        [said("a"), said("b"), DONE],
        [b": ping\n\n", said("a").replace(b"\n", b"\r\n"), b": pong\n", said("b"), finished()],
        [bytes([byte]) for byte in said("a") + said("b") + finished()],
        [said("a"), said("b"), finished().rstrip()],
        [said("a") + said("b") + finished() + USAGE + DONE],
        [said("a"), said("b"), chunk(choices=None), finished(), chunk(usage=None), DONE],
    ],
)
async def test_reads_streams_of_every_make(pieces):
    *_, end = await answer(Reply(pieces))
    assert (end.text, end.finish) == ("ab", "stop")
    assert end.prompt_tokens > 0
    assert end.completion_tokens > 0


async def test_takes_an_answer_that_is_not_streamed():
    body = {
        "choices": [{"message": {"content": "ab"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3},
    }
    assert await answer(Reply.json(body)) == ["ab", Completion("ab", "m", 12, 3, "length")]


async def test_does_not_wait_for_a_server_that_never_closes(monkeypatch):
    monkeypatch.setattr(openai, "_TAIL", 0.05)
    async with asyncio.timeout(5):
        *_, end = await answer(Reply([said("a"), finished()], end="held"))
        assert end.text == "a"
        *_, end = await answer(Reply([said("a"), finished(), DONE], end="held"))
        assert end.text == "a"


async def test_assembles_tool_calls():
    call = {"index": 0, "id": "c", "function": {"name": "sun", "arguments": "{}"}}
    pieces = [chunk(choices=[{"delta": {"tool_calls": [call]}}]), finished("tool_calls"), DONE]
    (end,) = await answer(Reply(pieces))
    assert end.finish == "tool_calls"
    assert json.loads(end.tool_calls)[0]["function"] == {"name": "sun", "arguments": "{}"}


async def test_sends_what_the_user_said_and_little_else():
    async with Scripted(GOOD) as server, opened(f"openai:{server.url}#m") as backend:
        await take(backend, prompt())
        await take(backend, prompt("aggregator"))
        await take(backend, prompt(temperature=0.1, options='{"tools": []}'))
    proposer, aggregator, told = (request.body for request in server.chats)
    assert proposer == {
        "model": "m",
        "messages": [{"role": "user", "content": "why?"}],
        "max_tokens": 64,
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "temperature" not in aggregator
    assert (told["temperature"], told["tools"]) == (0.1, [])


async def test_draws_as_its_uri_says_where_the_user_does_not():
    bodies = []
    for _ in range(2):
        async with Scripted(GOOD) as server:
            uri = f"openai:{server.url}#m?seed=7&temperature=1.1&top_p=0.5"
            async with opened(uri) as backend:
                await take(backend, prompt())
                await take(backend, prompt("aggregator", temperature=0.2, seed=5))
            bodies += [request.body for request in server.chats]
    first, second, again, _ = bodies
    assert (first["temperature"], first["top_p"]) == (1.1, 0.5)
    assert (second["temperature"], second["seed"]) == (0.2, 5)
    assert first["seed"] == again["seed"], "the stream of seeds is repeatable"
    assert "repeat_penalty" not in first


async def test_uses_one_connection_for_all():
    async with Scripted(GOOD) as server, opened(f"openai:{server.url}#m") as backend:
        for _ in range(3):
            await take(backend)
    assert len(server.chats) == 3
    assert server.connections == 1


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("Unknown field: stream_options", lambda body: "stream_options" not in body),
        (
            "Use 'max_completion_tokens' instead.",
            lambda body: body["max_completion_tokens"] == 64 and "max_tokens" not in body,
        ),
        ("Unsupported value: 'temperature'", lambda body: "temperature" not in body),
    ],
)
async def test_leaves_out_what_the_server_does_not_know_and_remembers(words, changed):
    refusal = Reply.json({"error": {"message": words}}, 400)
    async with (
        Scripted(refusal, GOOD) as server,
        opened(f"openai:{server.url}#m") as backend,
    ):
        assert (await take(backend))[-1].text == "ab"
        assert (await take(backend))[-1].text == "ab"
    assert [changed(request.body) for request in server.chats[1:]] == [True, True]
    assert len(server.chats) == 3


@pytest.mark.parametrize("status", [400, 422])
async def test_asks_only_once_more(status):
    refusal = Reply.json({"error": "stream_options, again"}, status)
    async with Scripted(refusal) as server, opened(f"openai:{server.url}#m") as backend:
        with pytest.raises(BackendRefusedError):
            await take(backend)
    assert len(server.chats) == 2


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"message": "bad tools"}}, BackendRefusedError),
        (400, {"error": {"code": "context_length_exceeded"}}, ContextLengthError),
        (401, {"error": {"message": "bad key"}}, BackendRefusedError),
        (403, {}, BackendRefusedError),
        (404, {"error": {"message": "no such model"}}, BackendRefusedError),
        (413, {}, ContextLengthError),
        (429, {"error": {"message": "slow down"}}, BackendUnavailableError),
        (500, {"error": {"message": "boom"}}, BackendUnavailableError),
        (503, {"error": {"message": "loading"}}, BackendUnavailableError),
    ],
)
async def test_every_refusal_has_its_error_and_is_not_repeated(status, body, kind):
    async with (
        Scripted(Reply.json(body, status)) as server,
        opened(f"openai:{server.url}#m") as backend,
    ):
        with pytest.raises(kind) as caught:
            await take(backend)
    assert type(caught.value) is kind
    assert server.url.split("/")[2] in caught.value.message
    assert len(server.chats) == 1


async def test_an_unknown_model_is_answered_with_the_known_ones():
    models = Reply.json({"data": [{"id": "qwen"}, {"id": "llama"}]})
    async with (
        Scripted(Reply.json({}, 404), models=models) as server,
        opened(f"openai:{server.url}#m") as backend,
    ):
        with pytest.raises(BackendRefusedError) as caught:
            await take(backend)
    assert "qwen, llama" in caught.value.hint


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply([b"<html>hello</html>"], media="text/html"), BackendRubbishError),
        (Reply([b"<html>hello</html>"], media="application/json"), BackendRubbishError),
        (Reply([b"data: {not json\n\n"]), BackendRubbishError),
        (Reply([finished(), DONE]), BackendRubbishError),
        (Reply.json({}), BackendRubbishError),
        (Reply.json([]), BackendRubbishError),
        (Reply([]), BackendUnavailableError),
        (Reply([said("a")]), BackendUnavailableError),
        (Reply([said("a")], end="cut"), BackendUnavailableError),
        (Reply([], end="cut"), BackendUnavailableError),
        (Reply([said("a"), chunk(error={"code": 500, "message": "x"})]), BackendUnavailableError),
        (Reply([said("a"), chunk(error="x"), finished(), DONE]), BackendRefusedError),
        (Reply([said("a")], end="held"), BackendTimeoutError),
        (Reply([], end="held"), BackendTimeoutError),
    ],
)
async def test_what_goes_wrong_in_the_stream(reply, kind):
    await error(kind, reply, settings="?stall=0.3")


async def test_texts_before_an_error_still_come():
    got = []

    async def collect(backend):
        async for item in backend.generate(prompt()):
            got.append(item)  # noqa: PERF401 - what came before the error counts

    async with (
        Scripted(Reply([said("a")])) as server,
        opened(f"openai:{server.url}#m") as backend,
    ):
        with pytest.raises(BackendUnavailableError):
            await collect(backend)
    assert got == ["a"]


async def test_a_huge_error_page_is_not_read_to_its_end():
    page = Reply([b"x" * 65_536] * 3, status=500, media="text/html", end="held")
    async with asyncio.timeout(5):
        assert len((await error(BackendUnavailableError, page)).message) < 1000


@pytest.mark.parametrize("how", ["closed", "cancelled"])
@pytest.mark.parametrize("pieces", [[said("a")], []])
async def test_closing_early_hangs_up(how, pieces):
    async with (
        asyncio.timeout(5),
        Scripted(Reply(pieces, end="held")) as server,
        opened(f"openai:{server.url}#m") as backend,
    ):
        tokens = backend.generate(prompt())
        if pieces:
            await anext(tokens)
        if how == "closed" and pieces:
            await tokens.aclose()
        else:
            task = asyncio.create_task(anext(tokens))
            while not server.chats:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await server.left.wait()


async def test_who_hangs_up_without_a_word_is_asked_once_more():
    """A server may end a kept connection just as it is used again."""
    silent = Reply(end="silent")
    async with (
        Scripted(GOOD, silent, GOOD, silent, silent, GOOD) as server,
        opened(f"openai:{server.url}#m") as backend,
    ):
        await take(backend)
        await take(backend)
        assert len(server.chats) == 3
        with pytest.raises(BackendUnavailableError, match="was lost"):
            await take(backend)
        assert len(server.chats) == 5


async def test_nobody_listening_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        async with opened(f"openai:{url}#m") as backend:  # it may yet be started
            assert backend.profile.model == "m"
            with pytest.raises(BackendUnavailableError) as caught:
                await take(backend)
        assert caught.value.hint
        with pytest.raises(BackendUnavailableError):  # without a name there is no way on
            await open_backend(f"openai:{url}").open()


async def test_takes_the_first_model_and_its_context():
    models = Reply.json({"data": [{"id": "one", "max_model_len": 999}, {"id": "two"}]})
    async with Scripted(GOOD, models=models) as server:
        async with opened(f"openai:{server.url}") as backend:
            assert (backend.profile.model, backend.profile.context_tokens) == ("one", 999)
            assert (await take(backend))[-1].model == "one"
        async with opened(f"openai:{server.url}#one?context=55&slots=3&answer=7") as backend:
            profile = backend.profile
    assert (profile.context_tokens, profile.slots, profile.answer_tokens) == (55, 3, 7)


@pytest.mark.parametrize(
    ("models", "kind"),
    [
        (Reply.json({"data": []}), BackendUnavailableError),
        (Reply.json({"data": None}), BackendUnavailableError),
        (Reply.json([]), BackendRubbishError),
        (Reply([b"<html>"], media="text/html"), BackendRubbishError),
        (Reply.json({}, 404), BackendRefusedError),
        (Reply.json({}, 500), BackendUnavailableError),
        (Reply([], end="cut"), BackendUnavailableError),
    ],
)
async def test_a_named_model_needs_no_list_and_an_unnamed_one_does(models, kind):
    async with Scripted(GOOD, models=models) as server:
        with pytest.raises(kind):
            await open_backend(f"openai:{server.url}").open()
        async with opened(f"openai:{server.url}#m") as backend:
            assert (await take(backend))[-1].text == "ab"


async def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch, caplog):
    monkeypatch.setenv("LITTLE_KEY", "SECRET")
    monkeypatch.setenv("OPENAI_API_KEY", "OTHER")
    caplog.set_level(logging.DEBUG)
    leaky = Reply.json({"error": {"message": "wrong key SECRET"}}, 400)
    streamed = Reply([chunk(error={"message": "wrong key SECRET"})])
    async with Scripted(leaky, streamed) as server:
        async with opened(f"openai:{server.url}#m?key_env=LITTLE_KEY") as backend:
            for _ in range(2):
                with pytest.raises(BackendRefusedError) as caught:
                    await take(backend)
                assert "wrong key ***" in caught.value.message
            assert "SECRET" not in repr(backend) + repr(vars(backend)["_uri"])
        async with opened(f"openai:{server.url}#m"):
            pass
    keys = [request.headers.get("authorization") for request in server.requests]
    assert keys == ["Bearer SECRET"] * 3 + [None]
    assert "SECRET" not in caplog.text


async def test_a_refused_key_ends_the_start(monkeypatch):
    monkeypatch.setenv("LITTLE_KEY", "wrong")
    async with Scripted(GOOD, models=Reply.json({}, 401)) as server:
        with pytest.raises(BackendRefusedError) as caught:
            await open_backend(f"openai:{server.url}#m?key_env=LITTLE_KEY").open()
    assert "key" in caught.value.hint


@pytest.mark.parametrize("value", [None, "", "  "])
async def test_a_missing_key_names_its_variable(monkeypatch, value):
    monkeypatch.delenv("LITTLE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("LITTLE_KEY", value)
    with pytest.raises(ConfigError) as caught:
        await open_backend("openai:http://127.0.0.1:9/v1#m?key_env=LITTLE_KEY").open()
    assert "LITTLE_KEY" in caught.value.message


def test_the_usual_key_goes_to_its_own_host_only(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "SECRET")
    for host, key in (("api.openai.com", "SECRET"), ("api.openai.com.example", "")):
        assert Link(parse_uri(f"openai:https://{host}/v1#m"))._read_key() == key


async def test_a_backend_that_is_not_open_is_unavailable():
    with pytest.raises(BackendUnavailableError):
        await take(open_backend("openai:http://127.0.0.1:9/v1#m"))


async def test_no_proxy_stands_before_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert (await answer(GOOD))[-1].text == "ab"
