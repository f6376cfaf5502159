from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from little_gguf import little_gguf

from dmoa.backends import llamacpp
from dmoa.backends.gguf import Tensor, read_header
from dmoa.backends.llamacpp import LlamaBackend, make_profile, usual_threads
from dmoa.backends.registry import open_backend
from dmoa.backends.uri import parse_uri
from dmoa.core.job import Completion, Prompt, Sampling, Turn
from dmoa.errors import (
    BackendRefusedError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigError,
    ContextLengthError,
)

pytestmark = pytest.mark.real

ENDLESS = '{"ignore_eos": true}'
CONTEXT = 2048


def prompt(role="aggregator", *, text="What is the capital of France?", tokens=16, options=""):
    return Prompt(role, (Turn("user", text),), Sampling(max_tokens=tokens), options)


async def take(backend, given=None):
    return [item async for item in backend.generate(given or prompt())]


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def model(loop):
    """One loaded model for this file, of one slot, on one loop."""
    backend = open_backend(f"smollm2?context={CONTEXT}")
    loop.run(backend.open())
    yield backend
    loop.run(backend.close())


def busy(backend):
    """The calls that the model still works on."""
    return [call for call in backend._engine._calls if not call.ended.done()]


def test_tells_of_itself(model):
    profile = model.profile
    assert profile.model == "smollm2-135m-instruct-q8_0"
    assert (profile.context_tokens, profile.slots, profile.layout) == (CONTEXT, 1, "short")
    assert (profile.proposal_tokens, profile.answer_tokens) == (128, 256)


@pytest.mark.parametrize("role", ["proposer", "aggregator"])
def test_streams_real_tokens(model, loop, role):
    *texts, end = loop.run(take(model, prompt(role, tokens=12, options=ENDLESS)))
    assert isinstance(end, Completion)
    assert "".join(texts) == end.text
    assert len(texts) > 4
    assert (end.model, end.completion_tokens, end.finish) == (model.profile.model, 12, "length")


def test_counts_the_whole_prompt_also_when_it_is_cached(model, loop):
    given = prompt(text="Count every one of these words, cached or not, please.", tokens=1)
    first, second = (loop.run(take(model, given))[-1].prompt_tokens for _ in range(2))
    assert first == second > 10


def test_jobs_beyond_the_slots_wait_and_are_all_served(model, loop):
    async def three():
        return await asyncio.gather(*(take(model, prompt(tokens=4)) for _ in range(3)))

    assert [got[-1].completion_tokens > 0 for got in loop.run(three())] == [True] * 3


def test_the_loop_lives_while_the_model_works(model, loop):
    async def ticks():
        task = asyncio.create_task(take(model, prompt(tokens=24, options=ENDLESS)))
        count = 0
        while not task.done():
            await asyncio.sleep(0.002)
            count += 1
        return count

    assert loop.run(ticks()) > 20


def test_closing_the_generator_stops_the_model(model, loop):
    async def close():
        async with aclosing(model.generate(prompt(tokens=1800, options=ENDLESS))) as tokens:
            await anext(tokens)
            assert len(busy(model)) == 1
        return busy(model)

    assert loop.run(close()) == []
    assert loop.run(take(model))[-1].text


@pytest.mark.parametrize("where", ["prompt", "answer"])
def test_cancelling_the_task_stops_the_model(model, loop, where):
    text = "word " * 1900 if where == "prompt" else "Tell a story."

    async def cancel():
        got = []

        async def collect():
            async for item in model.generate(prompt(text=text, tokens=120, options=ENDLESS)):
                got.append(item)  # noqa: PERF401 - the test looks on as it grows

        task = asyncio.create_task(collect())
        while not (busy(model) if where == "prompt" else got):
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bool(got) == (where == "answer")
        return busy(model)

    assert loop.run(cancel()) == []


def test_a_waiting_job_can_be_cancelled_at_once(model, loop):
    async def cancel():
        async with aclosing(model.generate(prompt(tokens=1800, options=ENDLESS))) as tokens:
            await anext(tokens)
            waiting = asyncio.create_task(take(model))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert len(busy(model)) == 1

    loop.run(cancel())
    assert loop.run(take(model))[-1].text


def test_a_prompt_that_is_too_long_tells_the_counts(model, loop):
    with pytest.raises(ContextLengthError) as caught:
        loop.run(take(model, prompt(text="word " * 3000)))
    assert caught.value.prompt_tokens > 3000
    assert caught.value.context_tokens == CONTEXT


@pytest.mark.parametrize(
    "options",
    [
        '{"temperature": "hot"}',
        '{"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}}',
        '{"tools": 7}',
        "[]",
    ],
)
def test_nonsense_is_refused_and_the_slot_is_free_again(model, loop, options):
    with pytest.raises(BackendRefusedError):
        loop.run(take(model, prompt(options=options)))
    assert loop.run(take(model))[-1].text


def test_options_reach_the_model(model, loop):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    options = {"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    end = loop.run(take(model, prompt(tokens=60, options=json.dumps(options))))[-1]
    assert end.finish == "length" or isinstance(json.loads(end.text)["n"], int)
    assert end.text.lstrip().startswith("{")


def test_a_stalled_model_is_given_up(model, loop, monkeypatch):
    monkeypatch.setattr(model, "_stall", 0.001)
    with pytest.raises(BackendTimeoutError):
        loop.run(take(model, prompt(text="word " * 1500)))
    monkeypatch.undo()
    assert loop.run(take(model))[-1].text


def request(given, uri="smollm2", layout="short"):
    backend = LlamaBackend(parse_uri(uri))
    backend._profile = replace(backend._profile, layout=layout)
    return backend._request(given)


def test_a_chat_without_system_text_gets_one():
    first, second = request(prompt())["messages"]
    assert (first["role"], second["role"]) == ("system", "user")
    own = Prompt("proposer", (Turn("system", "own"), Turn("user", "x")), Sampling(max_tokens=1))
    assert [message["content"] for message in request(own)["messages"]] == ["own", "x"]


def test_each_role_has_its_sampling_and_the_user_overrules_it():
    proposer, aggregator = request(prompt("proposer")), request(prompt())
    assert (proposer["temperature"], proposer["min_p"]) == (0.7, 0.1)
    assert (aggregator["temperature"], aggregator["repeat_penalty"]) == (0.2, 1.1)
    assert "temperature" not in request(prompt(), layout="full")
    said = Prompt("proposer", (), Sampling(temperature=0.0, max_tokens=1, seed=5), '{"min_p": 0.3}')
    fields = request(said)
    assert (fields["temperature"], fields["seed"], fields["min_p"]) == (0.0, 5, 0.3)


def test_the_uri_overrules_the_role_and_the_user_the_uri():
    uri = "smollm2?temperature=1.2&repeat_penalty=1&seed=3"
    fields = request(prompt("proposer"), uri)
    assert (fields["temperature"], fields["repeat_penalty"], fields["top_p"]) == (1.2, 1.0, 0.9)
    assert fields["seed"] == request(prompt(), uri)["seed"], "the stream of seeds is repeatable"
    said = Prompt("proposer", (), Sampling(temperature=0.0, max_tokens=1, seed=5))
    fields = request(said, uri)
    assert (fields["temperature"], fields["seed"]) == (0.0, 5)


def test_rankings_are_read_as_they_are_likeliest():
    said = Prompt("ranker", (), Sampling(temperature=0.0, max_tokens=48))
    assert request(said)["temperature"] == 0.0
    assert request(said, layout="full")["temperature"] == 0.0


def test_every_job_has_a_fresh_seed():
    seeds = {request(prompt("proposer"))["seed"] for _ in range(20)}
    assert len(seeds) > 15
    assert all(0 <= seed < 2**32 - 1 for seed in seeds)


def test_the_profile_follows_the_model_and_then_the_user(tmp_path):
    path = little_gguf(tmp_path / "Own-Model.Q8.gguf", context=32_768)
    small = read_header(path)
    profile = make_profile(parse_uri(f"llama:{path}"), path, small)
    assert (profile.model, profile.context_tokens) == ("own-model.q8", 8192)
    assert (profile.layout, profile.proposal_tokens, profile.answer_tokens) == ("short", 128, 256)
    large = replace(small, tensors=(Tensor("t", (7, 1_000_000_000), 0, 0),))
    profile = make_profile(parse_uri(f"llama:{path}"), path, large)
    assert (profile.layout, profile.proposal_tokens, profile.answer_tokens) == ("full", 512, 1024)
    said = parse_uri(f"llama:{path}?context=99&slots=4&answer=5&proposal=6&layout=full")
    profile = make_profile(said, path, small)
    assert (profile.context_tokens, profile.slots, profile.layout) == (99, 4, "full")
    assert (profile.answer_tokens, profile.proposal_tokens) == (5, 6)


def test_only_a_large_models_tokens_are_divided_among_cores(tmp_path):
    small = read_header(little_gguf(tmp_path / "m.gguf", context=2048))
    large = replace(small, tensors=(Tensor("t", (7, 1_000_000_000), 0, 0),))
    assert [usual_threads(small, cores) for cores in (1, 4, 64)] == [1, 1, 1]
    assert [usual_threads(large, cores) for cores in (1, 4, 64)] == [1, 4, 8]


def test_a_context_beyond_the_models_is_refused(tmp_path):
    path = little_gguf(tmp_path / "m.gguf", context=2048)
    assert make_profile(parse_uri("llama:m"), path, read_header(path)).context_tokens == 2048
    with pytest.raises(ConfigError) as caught:
        make_profile(parse_uri("llama:m?context=2049"), path, read_header(path))
    assert "2048" in caught.value.message


async def test_files_that_cannot_be_models_are_refused(tmp_path):
    with pytest.raises(ConfigError):
        await open_backend(f"llama:{tmp_path}/absent.gguf").open()
    path = tmp_path / "text.gguf"
    path.write_text("no model")
    with pytest.raises(ConfigError):
        await open_backend(f"llama:{path}").open()
    with pytest.raises(BackendUnavailableError):  # a header alone is no model
        await open_backend(f"llama:{little_gguf(tmp_path / 'little.gguf')}").open()


async def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_backend("llama:~/m.gguf")._path() == tmp_path / "m.gguf"


async def test_hub_files_are_looked_up(monkeypatch):
    monkeypatch.setattr(llamacpp, "ensure_file", lambda name, _: Path("/hub") / name)
    assert open_backend("hub:a/b/c.gguf")._path() == Path("/hub/a/b/c.gguf")


async def test_a_backend_that_is_not_open_is_unavailable():
    backend = open_backend("smollm2")
    await backend.close()
    with pytest.raises(BackendUnavailableError):
        await take(backend)


async def test_a_call_that_cannot_start_keeps_no_slot():
    def call(_):
        raise BackendUnavailableError("closed meanwhile")

    backend = open_backend("smollm2?stall=5")
    backend._engine = SimpleNamespace(call=call)
    for _ in range(2):
        with pytest.raises(BackendUnavailableError):
            await take(backend)


async def test_closing_ends_what_is_under_way():
    backend = open_backend("smollm2?context=512")
    await backend.open()
    tokens = backend.generate(prompt(tokens=400, options=ENDLESS))
    await anext(tokens)

    async def rest():
        async for _ in tokens:
            pass

    await backend.close()
    with pytest.raises(BackendUnavailableError):
        await rest()
