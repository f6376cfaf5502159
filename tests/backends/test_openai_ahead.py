"""Servers that read ahead: what they are asked, and what becomes of it when they cannot."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import aclosing

import pytest
from asking import opened, take
from scripted import DONE, Reply, Scripted, chunk, finished, said

from dmoa.backends import ahead
from dmoa.backends.heads import MARK
from dmoa.core.job import Prompt, Sampling, Turn
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendTimeoutError,
    BackendUnavailableError,
)
from dmoa.runtime.ports import Reads

pytestmark = pytest.mark.real

GOOD = Reply([said("a"), finished(), chunk(choices=[], usage={"prompt_tokens": 90}), DONE])
LLAMA = Reply.json({"data": [{"id": "m", "owned_by": "llamacpp"}]})
TEMPLATE = Reply.json({"prompt": f"<s>{MARK}</s><u>why?</u>"})
READ = Reply.json({"content": "x", "tokens_evaluated": 42})


def prompt(text="known so far", *, job="j", opened=0, **more):
    turns = (Turn("system", text), Turn("user", "why?"))
    return Prompt("aggregator", turns, Sampling(max_tokens=64), job=job, open=opened, **more)


def llama(*chat, slots=2, template=TEMPLATE, completion=(READ,), models=LLAMA):
    server = Scripted(*(chat or (GOOD,)), models=models)
    server.replies |= {
        "/props": [Reply.json({"total_slots": slots})],
        "/apply-template": [template],
        "/completion": list(completion),
    }
    return server


def asked(server, path):
    return [request.body for request in server.requests if request.path == path]


# -- llama.cpp's slots -------------------------------------------------------------------


async def test_a_slot_reads_the_text_and_its_job_comes_there():
    async with llama() as server, opened(f"openai:{server.url}#m?slots=2") as backend:
        assert isinstance(backend, Reads)
        assert backend.profile.reads
        assert await backend.read(prompt()) == 42
        assert await backend.read(prompt("known so far and more")) == 42
        await take(backend, prompt("another", job="k", opened=None))
        await take(backend, prompt("known so far, and all", opened=None))
    reads = asked(server, "/completion")
    assert [each["prompt"] for each in reads] == ["<s>known so far", "<s>known so far and more"]
    (slot,) = {each["id_slot"] for each in reads}
    assert all(each["cache_prompt"] and each["n_predict"] == 0 for each in reads)
    other, own = asked(server, "/v1/chat/completions")
    assert own["id_slot"] == slot != other["id_slot"]
    assert own["cache_prompt"] is True
    assert len(asked(server, "/apply-template")) == 2  # one greeting, and one for both steps


async def test_the_template_sees_the_tools_as_well():
    async with llama() as server, opened(f"openai:{server.url}#m") as backend:
        await backend.read(prompt(options='{"tools": [{"type": "function"}]}'))
    assert asked(server, "/apply-template")[-1]["tools"] == [{"type": "function"}]


async def test_where_nothing_is_read_the_server_places_jobs_as_it_likes():
    async with llama() as server, opened(f"openai:{server.url}#m") as backend:
        await take(backend, prompt(opened=None))
    assert "id_slot" not in asked(server, "/v1/chat/completions")[0]


async def test_a_job_beyond_the_slots_goes_anywhere_and_nothing_is_read():
    held = Reply([said("a")], end="held")
    async with llama(GOOD, held, GOOD) as server, opened(f"openai:{server.url}#m") as backend:
        await backend.read(prompt())
        await take(backend, prompt(opened=None))
        async with aclosing(backend.generate(prompt(opened=None))) as tokens:
            await anext(tokens)
            with pytest.raises(BackendUnavailableError):
                await backend.read(prompt())
            await take(backend, prompt(job="k", opened=None))
    first, second, third = asked(server, "/v1/chat/completions")
    assert "id_slot" in first
    assert "id_slot" in second
    assert "id_slot" not in third


async def test_under_a_prefix_it_asks_under_the_prefix():
    server = llama()
    server.replies |= {f"/lm{path}": replies for path, replies in server.replies.items()}
    async with server, opened(f"openai:{server.url.removesuffix('/v1')}/lm/v1#m") as backend:
        assert await backend.read(prompt()) == 42
    assert all(request.path.startswith("/lm/") for request in server.requests)


async def test_the_key_goes_along(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "SECRET")
    async with llama() as server, opened(f"openai:{server.url}#m?key_env=SOME_KEY") as backend:
        await backend.read(prompt())
    assert {each.headers.get("authorization") for each in server.requests} == {"Bearer SECRET"}


@pytest.mark.parametrize(
    ("change", "settings", "level", "words"),
    [
        ({"/props": [Reply.json({}, 404)]}, "", logging.INFO, "404"),
        ({"/props": [Reply.json({"role": "router"})]}, "", logging.INFO, "llama.cpp"),
        ({"/props": [Reply.json({}, 404)]}, "?ahead=slot", logging.WARNING, "404"),
        ({}, "?slots=3", logging.INFO, "start it with `--parallel 3`, or name `?slots=2`"),
        ({"/apply-template": [Reply.json({}, 501)]}, "", logging.INFO, "501"),
        ({"/apply-template": [Reply.json({"prompt": "x"})]}, "", logging.INFO, "template"),
    ],
)
async def test_what_a_server_cannot_is_said_once_and_left(change, settings, level, words, caplog):
    caplog.set_level(logging.INFO)
    server = llama()
    server.replies |= change
    async with server, opened(f"openai:{server.url}#m{settings}") as backend:
        assert not backend.profile.reads
        await take(backend, prompt(opened=None))
        with pytest.raises(BackendRefusedError):
            await backend.read(prompt())
    (record,) = [each for each in caplog.records if each.name == ahead.__name__]
    assert record.levelno == level
    assert words in record.message


@pytest.mark.parametrize(
    ("models", "settings"), [(LLAMA, "?ahead=off"), (Reply.json({"data": [{"id": "m"}]}), "")]
)
async def test_others_and_those_that_shall_not_are_asked_nothing(models, settings):
    async with llama(models=models) as server, opened(f"openai:{server.url}#m{settings}") as it:
        assert not it.profile.reads
    assert {request.path for request in server.requests} == {"/v1/models"}


async def test_a_proxy_that_hides_its_maker_can_be_told():
    models = Reply.json({"data": [{"id": "m"}]})
    async with llama(models=models) as server, opened(f"openai:{server.url}#m?ahead=slot") as it:
        assert it.profile.reads
        assert await it.read(prompt()) == 42


async def test_a_server_that_is_not_there_yet_may_read_later_where_it_is_told_to():
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
        async with opened(f"openai:{url}#m?ahead=slot") as backend:
            assert backend.profile.reads
            with pytest.raises(BackendUnavailableError):
                await backend.read(prompt())
        async with opened(f"openai:{url}#m") as backend:
            assert not backend.profile.reads


@pytest.mark.parametrize(
    "reply",
    [
        Reply.json({"error": {"message": "no"}}, 400),
        Reply.json({"error": {"message": "broken"}}, 500),
        Reply.json({"content": ""}),
        Reply([b"{"], media="application/json"),
        Reply([b"{"], end="cut", media="application/json"),
    ],
)
async def test_a_reading_that_fails_costs_the_job_nothing(reply):
    async with llama(completion=[reply]) as server, opened(f"openai:{server.url}#m") as backend:
        with pytest.raises(BackendError):
            await backend.read(prompt())
        *_, end = await take(backend, prompt(opened=None))
    assert end.text == "a"
    assert asked(server, "/v1/chat/completions")[0]["id_slot"] == 0


async def test_a_server_that_hangs_as_it_reads_is_left(monkeypatch):
    monkeypatch.setattr(ahead, "STEP_SECONDS", 0.1)
    hanging = Reply(end="held")
    async with llama(completion=[hanging]) as server, opened(f"openai:{server.url}#m") as backend:
        with pytest.raises(BackendTimeoutError):
            await backend.read(prompt())
        async with asyncio.timeout(5):
            await server.left.wait()
        assert (await take(backend, prompt(opened=None)))[-1].text == "a"


@pytest.mark.parametrize("settings", ["", "&ahead=prefix"])
async def test_a_reading_that_is_cancelled_hangs_up_and_its_slot_is_free(settings):
    held = Reply([b" "], end="held")
    chat = held if settings else GOOD
    async with (
        llama(chat, GOOD, completion=[held]) as server,
        opened(f"openai:{server.url}#m?slots=1{settings}") as backend,
    ):
        task = asyncio.create_task(backend.read(prompt()))
        path = "/v1/chat/completions" if settings else "/completion"
        async with asyncio.timeout(5):
            while not asked(server, path):
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await server.left.wait()
        assert (await take(backend, prompt(opened=None)))[-1].text == "a"


# -- prefixes ----------------------------------------------------------------------------


async def test_a_prefix_is_read_for_one_token_with_all_that_follows():
    text = "known " * 40
    async with Scripted(GOOD) as server, opened(f"openai:{server.url}#m?ahead=prefix") as backend:
        assert backend.profile.reads
        tokens = await backend.read(prompt(text))
    (body,) = asked(server, "/v1/chat/completions")
    assert body["max_tokens"] == 1
    assert [each["content"] for each in body["messages"]] == [text, "why?"]
    assert tokens == 90 * len(text) // (len(text) + 4)


async def test_little_news_waits_for_more_and_other_words_do_not():
    texts = ["x" * 300, "x" * 500, "x" * 811, "x" * 812, "x" * 812, "y" * 10]
    async with Scripted(GOOD) as server, opened(f"openai:{server.url}#m?ahead=prefix") as backend:
        counts = [await backend.read(prompt(text)) for text in texts]
        await take(backend, prompt(texts[3], opened=None))
        await backend.read(prompt(texts[3]))
    sent = [each["messages"][0]["content"] for each in asked(server, "/v1/chat/completions")]
    assert sent == [texts[0], texts[3], texts[5], texts[3], texts[3]]
    assert counts[0] == counts[1] == counts[2]
    assert counts[3] == counts[4]


async def test_a_word_of_thought_or_none_is_no_error_as_it_reads():
    for delta in ({}, {"reasoning_content": "hm"}):
        reply = Reply([chunk(choices=[{"delta": delta, "finish_reason": "length"}]), DONE])
        async with Scripted(reply) as server, opened(f"openai:{server.url}#m?ahead=prefix") as it:
            assert await it.read(prompt("x" * 400)) == 101 * 400 // 404


async def test_what_a_server_does_not_know_is_learnt_from_its_refusals():
    no = Reply.json({"error": {"message": "use max_completion_tokens"}}, 400)
    async with Scripted(no, GOOD) as server, opened(f"openai:{server.url}#m?ahead=prefix") as it:
        await it.read(prompt())
    assert asked(server, "/v1/chat/completions")[-1]["max_completion_tokens"] == 1


async def test_reading_throws_no_dice():
    async with Scripted(GOOD) as server:
        uri = f"openai:{server.url}#m?ahead=prefix&seed=7"
        for reads in (False, True):
            async with opened(uri) as backend:
                if reads:
                    await backend.read(prompt())
                await take(backend, prompt(opened=None))
    seeds = [each.get("seed") for each in asked(server, "/v1/chat/completions")]
    assert seeds[0] == seeds[2] != seeds[1] is None


async def test_how_far_jobs_were_read_is_forgotten_in_time(monkeypatch):
    monkeypatch.setattr(ahead, "_PREFIXES", 2)
    async with Scripted(GOOD) as server, opened(f"openai:{server.url}#m?ahead=prefix") as backend:
        for job in "abca":
            await backend.read(prompt(job=job))
        assert len(backend._way._known) == 2
    assert len(asked(server, "/v1/chat/completions")) == 4
