"""The adapter of OpenAI-compatible endpoints against llama.cpp's own server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest
from asking import opened, prompt, take

from dmoa.backends.weights import ensure_weights
from dmoa.core.job import Job, Profile, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.prompts import render, render_ahead
from dmoa.errors import BackendRefusedError, ContextLengthError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def llama():
    code = Path(__file__).with_name("llama_server.py")
    command = [sys.executable, str(code), str(ensure_weights())]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        yield server.stdout.readline().strip()
        server.stdin.close()  # it ends with its input
        assert server.wait(30) == 0


async def test_llama_server_answers(llama):
    async with opened(f"openai:{llama}/v1") as backend:
        assert backend.profile.context_tokens == 1024
        *texts, end = await take(backend, prompt("aggregator", text="Say hello.", tokens=8))
    assert "".join(texts) == end.text != ""
    assert 0 < end.completion_tokens <= 8
    assert end.prompt_tokens > 3


async def test_llama_server_tells_the_counts_of_a_prompt_that_is_too_long(llama):
    async with opened(f"openai:{llama}/v1") as backend:
        with pytest.raises(ContextLengthError) as caught:
            await take(backend, prompt(text="word " * 2000))
    assert caught.value.prompt_tokens > 2000
    assert caught.value.context_tokens == 1024


async def test_llama_server_refuses_nonsense_in_its_own_words(llama):
    async with opened(f"openai:{llama}/v1") as backend:
        with pytest.raises(BackendRefusedError) as caught:
            await take(backend, prompt(options='{"min_p": "much"}'))
    assert "min_p" in caught.value.message


async def test_llama_server_stops_when_the_generator_is_closed(llama):
    long = prompt(text="Tell a story.", tokens=900, options='{"ignore_eos": true}')
    async with opened(f"openai:{llama}/v1") as backend, asyncio.timeout(60):
        loop = asyncio.get_running_loop()
        whole = loop.time()
        *_, end = await take(backend, prompt(tokens=60, options='{"ignore_eos": true}'))
        pace = (loop.time() - whole) / end.completion_tokens
        async with aclosing(backend.generate(long)) as tokens:
            await anext(tokens)
        closed = loop.time()
        await take(backend, prompt(tokens=1))  # its only slot is free again
        assert loop.time() - closed < 450 * pace


WORDS = "The sky looks blue because air scatters blue light more than red light. "


def job(*proposals):
    asked = (Turn("user", "Why is the sky blue?"),)
    name, query, home = JobId("a/1/1/2.0"), QueryId("a/1/1"), NodeId("a")
    return Job(name, query, home, "aggregator", 2, asked, proposals, Sampling(max_tokens=1), 60.0)


@pytest.mark.parametrize(
    ("settings", "layout"), [("", "short"), ("", "full"), ("?ahead=prefix", "short")]
)
async def test_llama_server_finds_what_it_has_read_ahead(llama, settings, layout):
    """By its own count: all but the tail, and the word at which each step was cut."""
    profile, limits = Profile("m", context_tokens=1024, layout=layout), Limits()
    first, second = f"Of {layout}{settings}. {WORDS}", WORDS
    whole = render(job(first, second), profile, limits)
    async with opened(f"openai:{llama}/v1{settings}") as backend:
        assert backend.profile.reads
        counts = [
            await backend.read(render_ahead(job(first), profile, limits, second[:length]))
            for length in (0, 40, len(second))
        ]
        *_, end = await take(backend, whole)
    assert 0 < counts[0] <= counts[1] <= counts[2] < end.prompt_tokens
    if settings:  # what follows stands in the count as well, and so little news is not read
        assert end.cached_tokens > counts[0] - 24 > 0
    else:
        assert end.cached_tokens >= counts[-1] - 8
        assert end.prompt_tokens - end.cached_tokens < 48


async def test_llama_server_reads_no_further_once_nobody_wants_it(llama):
    async with opened(f"openai:{llama}/v1") as backend, asyncio.timeout(60):
        open_prompt = render_ahead(
            job("word " * 500), Profile("m", context_tokens=1024, answer_tokens=16), Limits()
        )
        task = asyncio.create_task(backend.read(open_prompt))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await take(backend, prompt(tokens=1)))[-1].completion_tokens == 1
