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
