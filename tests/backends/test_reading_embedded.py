"""What the embedded engine reads ahead, proved by its own counters: by layout and chat template.

The templates are those of the common families, in few words of our own.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from speaking_gguf import speaking_gguf

from dmoa.backends.heads import MARK
from dmoa.backends.registry import open_backend
from dmoa.core.job import Job, Profile, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.prompts import render, render_ahead
from dmoa.errors import BackendRefusedError, BackendUnavailableError, ContextLengthError

pytestmark = pytest.mark.real

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim }}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% set ns = namespace(first='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.first = m['content'] + '\n\n' %}"
    "{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + ns.first + m['content'] + ' [/INST]' }}{% set ns.first = '' %}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ raise_exception('there is no system role') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' }}"
    "{{ m['content'] | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
SHOUTED = CHATML.replace("m['content']", "(m['content'] | upper)")
DROPPED = CHATML.replace("m['content']", "m['content'].split('\n')[0]")
DOUBLED = CHATML.replace("m['content']", "(m['content'] + m['content'])")
FAMILIES = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"], False),
    "headers": (HEADERS, ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"], True),
    "brackets": (BRACKETS, ["[INST]", "[/INST]"], True),
    "no_system": (NO_SYSTEM, ["<start_of_turn>", "<end_of_turn>"], True),
}
LIMITS = Limits()
PROPOSALS = (
    "Short waves are scattered more by the air.\nAnd so:\n\n  * the sky is blue",
    'It is "blue", isn\'t it? <b>Blue</b> & {{ clear }} \\ {% so %}',
    "Das Licht der kürzeren Wellen wird stärker gestreut; the rest is not said yet",
)
TURNS = (Turn("system", "Be kind."), Turn("user", "Why is the sky blue?"))
RULES = (Profile("any", reads=True), LIMITS)
MARKERS = 64
"""Tokens of the template after the text: where turns begin and end, letter by letter at most."""
EDGE = 6
"""Tokens at the end of what was read that may be cut otherwise where the text goes on."""


def said(text):
    return (Turn("user", text),)


def job(role="aggregator", *, proposals=PROPOSALS, name="a/1/1/2.0", turns=TURNS):
    return Job(
        id=JobId(name),
        query=QueryId("a/1/1"),
        home=NodeId("a"),
        role=role,
        layer=2,
        turns=turns,
        proposals=proposals,
        sampling=Sampling(max_tokens=2, stop=("###",)),
        patience=60.0,
    )


def ahead(given, profile, writing=""):
    return render_ahead(given, profile, LIMITS, writing)


async def feed(backend, given, profile):
    """Read all that is known, as its last proposal is written; the last words are not read."""
    count = 0
    *known, last = given.proposals
    for end in (len(last) // 3, len(last)):
        prompt = ahead(replace(given, proposals=tuple(known)), profile, last[:end])
        count = await backend.read(prompt)
    return count


async def served(backend, prompt):
    return [item async for item in backend.generate(prompt)][-1]


def unread(prompt, part):
    """Bytes of the turns that come after what was read."""
    whole = sum(len(turn.content.encode()) for turn in prompt.turns)
    return whole - sum(len(turn.content.encode()) for turn in part.turns[: part.open + 1])


def opened(tmp_path, loop, family="chatml", template=None, settings=""):
    usual, control, bos = FAMILIES[family]
    path = speaking_gguf(tmp_path / "m.gguf", template or usual, control, bos=bos)
    backend = open_backend(f"llama:{path}?context=4096{settings}")
    loop.run(backend.open())
    return backend


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, loop, tmp_path_factory):
    backend = opened(tmp_path_factory.mktemp("gguf"), loop, request.param)
    yield backend
    loop.run(backend.close())


@pytest.fixture(scope="module")
def chatml(loop, tmp_path_factory):
    backend = opened(tmp_path_factory.mktemp("gguf"), loop, settings="&slots=2")
    yield backend
    loop.run(backend.close())


def check(backend, loop, given, profile):
    count = loop.run(feed(backend, given, profile))
    prompt = render(given, profile, LIMITS)
    end = loop.run(served(backend, prompt))
    *known, last = given.proposals
    left = unread(prompt, ahead(replace(given, proposals=tuple(known)), profile, last))
    assert backend.profile.reads
    assert count - EDGE <= end.cached_tokens <= end.prompt_tokens
    assert end.prompt_tokens - end.cached_tokens <= left + MARKERS + EDGE
    return end


@pytest.mark.parametrize("role", ["aggregator", "ranker"])
@pytest.mark.parametrize("layout", ["short", "full"])
def test_only_the_tail_is_left_to_read(model, loop, role, layout):
    profile = replace(model.profile, layout=layout)
    check(model, loop, job(role, name=f"a/1/{role}{layout}/2.0"), profile)


def test_the_default_model_has_read_all_but_its_tail(loop):
    backend = open_backend("smollm2?context=512")
    loop.run(backend.open())
    try:
        end = check(backend, loop, job(proposals=PROPOSALS[::2]), backend.profile)
        assert end.prompt_tokens - end.cached_tokens < 50
        assert end.cached_tokens > 50
    finally:
        loop.run(backend.close())


def test_with_tools_and_without_a_system_turn_of_the_users(chatml, loop):
    given = replace(job(turns=(Turn("user", "Why?"),)), options='{"tools": []}')
    check(chatml, loop, given, chatml.profile)


@pytest.mark.parametrize("template", [SHOUTED, DROPPED, DOUBLED, "{% broken"])
def test_a_template_that_does_not_keep_the_text_is_not_read_ahead(tmp_path, loop, template):
    try:
        backend = opened(tmp_path, loop, template=template)
    except BackendUnavailableError:
        assert "broken" in template  # llama.cpp does not even load it
        return
    try:
        assert not backend.profile.reads
        with pytest.raises(BackendRefusedError):
            loop.run(backend.read(ahead(job(), backend.profile)))
        assert loop.run(served(backend, render(job(), backend.profile, LIMITS))).prompt_tokens
    finally:
        loop.run(backend.close())


def test_what_the_user_says_of_the_mark_is_not_mistaken_for_it(chatml, loop):
    given = job(turns=(Turn("user", MARK),))
    with pytest.raises(BackendRefusedError):
        loop.run(chatml.read(ahead(given, chatml.profile)))


def test_an_answer_to_improve_is_never_read_ahead(chatml, loop):
    given = replace(job(), seed=True)
    assert ahead(given, chatml.profile) is None
    with pytest.raises(BackendRefusedError):
        loop.run(chatml.read(render(given, chatml.profile, LIMITS)))


def test_other_jobs_go_where_nothing_was_read(chatml, loop):
    async def story():
        given = job()
        await feed(chatml, given, chatml.profile)
        for text in ("first", "second", "third"):
            other = job("proposer", proposals=(), turns=said(text), name=f"b/1/{text}/1.1")
            await served(chatml, render(other, *RULES))
        assert {place.pinned for place in chatml._places._free} == {"", given.id}
        return await served(chatml, render(given, chatml.profile, LIMITS))

    end = loop.run(story())
    assert end.cached_tokens > end.prompt_tokens / 2


def test_what_a_job_pushed_out_of_the_only_slot_comes_back(tmp_path, loop):
    """llama.cpp keeps what leaves a slot in memory, as far as there is room."""
    backend = opened(tmp_path, loop)

    async def story():
        count = await feed(backend, job(), backend.profile)
        between = job("proposer", proposals=(), name="b/1/1/1.1", turns=said("else " * 50))
        await served(backend, render(between, *RULES))
        return count, await served(backend, render(job(), backend.profile, LIMITS))

    try:
        count, end = loop.run(story())
        assert end.cached_tokens >= count - EDGE
    finally:
        loop.run(backend.close())


def test_a_read_never_waits_for_a_slot(chatml, loop):
    async def story():
        endless = replace(
            job("proposer", proposals=(), turns=said("talk")),
            sampling=Sampling(max_tokens=3000),
            options='{"ignore_eos": true}',
        )
        prompt = render(endless, *RULES)
        prompt = replace(prompt, options=endless.options)
        async with (
            aclosing(chatml.generate(prompt)) as one,
            aclosing(chatml.generate(prompt)) as two,
        ):
            await anext(one)
            await anext(two)
            with pytest.raises(BackendUnavailableError):
                await chatml.read(ahead(job(), chatml.profile))
        return await chatml.read(ahead(job(), chatml.profile))

    assert loop.run(story()) > 0


def test_a_read_that_is_cancelled_frees_its_slot_and_draws_no_dice(chatml, loop):
    async def story():
        before = chatml._dice.getstate()
        long = job(turns=said("why?"), proposals=tuple("long words " * 400 for _ in range(3)))
        step = asyncio.create_task(chatml.read(ahead(long, chatml.profile)))
        while not [call for call in chatml._engine._calls if not call.ended.done()]:
            await asyncio.sleep(0.001)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        assert chatml._dice.getstate() == before
        assert len(chatml._places._free) == 2
        assert chatml._places.free

    loop.run(story())


def test_a_prompt_beyond_the_context_is_refused_and_the_job_is_served(chatml, loop):
    given = job(proposals=("word " * 40,))
    prompt = ahead(given, chatml.profile)
    turns = (replace(prompt.turns[0], content="word " * 9000), *prompt.turns[1:])
    with pytest.raises(ContextLengthError):
        loop.run(chatml.read(replace(prompt, turns=turns)))
    assert loop.run(served(chatml, render(given, chatml.profile, LIMITS))).prompt_tokens


async def test_a_backend_that_is_not_open_reads_nothing():
    backend = open_backend("smollm2")
    with pytest.raises(BackendUnavailableError):
        await backend.read(ahead(job(), backend.profile))
