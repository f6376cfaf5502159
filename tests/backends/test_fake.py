from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from dmoa.backends.fake import FakeBackend
from dmoa.core.job import Completion, Prompt, Sampling, Turn
from dmoa.errors import (
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ContextLengthError,
    UsageError,
)


def prompt(text="why?", *, tokens=512):
    turns = (Turn("system", "be brief"), Turn("user", text), Turn("assistant", "so"))
    return Prompt("proposer", turns, Sampling(max_tokens=tokens))


async def take(backend, given=None):
    return [item async for item in backend.generate(given or prompt())]


async def test_echoes_in_as_many_pieces_as_told():
    *texts, end = await take(FakeBackend("ann", tokens=4))
    assert len(texts) == 4
    assert "".join(texts) == end.text == "ann heard: why?"
    assert (end.model, end.completion_tokens, end.finish) == ("ann", 4, "stop")
    assert end.prompt_tokens > 0


async def test_spreads_its_pieces_evenly_over_its_time():
    loop = asyncio.get_running_loop()
    backend = FakeBackend(seconds=2.0, tokens=4)
    times = [round(loop.time(), 9) async for _ in backend.generate(prompt())]
    assert times == [0.5, 1.0, 1.5, 2.0, 2.0]


async def test_never_writes_more_than_allowed():
    loop = asyncio.get_running_loop()
    *texts, end = await take(FakeBackend(seconds=2.0, tokens=4), prompt(tokens=2))
    assert len(texts) == end.completion_tokens == 2
    assert end.finish == "length"
    assert loop.time() == pytest.approx(1.0)


async def test_the_law_is_asked_for_each():
    loop = asyncio.get_running_loop()
    times = iter((3.0, 1.0))
    backend = FakeBackend(law=lambda: next(times))
    await take(backend)
    assert loop.time() == pytest.approx(3.0)
    await take(backend)
    assert loop.time() == pytest.approx(4.0)


async def test_counts_what_finished():
    backend = FakeBackend(seconds=1.0)
    tasks = [asyncio.create_task(take(backend)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert (backend.started, backend.active, backend.finished) == (3, 3, 0)
    await asyncio.gather(*tasks)
    assert (backend.active, backend.finished, backend.cancelled) == (0, 3, 0)
    assert len(backend.prompts) == 3


async def test_counts_a_closed_generator_as_cancelled():
    backend = FakeBackend(seconds=1.0)
    async with aclosing(backend.generate(prompt())) as tokens:
        await anext(tokens)
        assert backend.active == 1
    assert (backend.active, backend.finished, backend.cancelled) == (0, 0, 1)


async def test_counts_a_cancelled_task_as_cancelled():
    backend = FakeBackend(seconds=1.0)
    task = asyncio.create_task(take(backend))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (backend.active, backend.finished, backend.cancelled) == (0, 0, 1)


@pytest.mark.parametrize(
    ("fail", "error"),
    [
        ("unavailable", BackendUnavailableError),
        ("refused", BackendRefusedError),
        ("rubbish", BackendRubbishError),
        ("timeout", BackendTimeoutError),
        ("too_long", ContextLengthError),
    ],
)
@pytest.mark.parametrize("after", [0, 3, 99])
async def test_fails_as_told(fail, error, after):
    backend = FakeBackend(tokens=6, fail=fail, after=after)
    got = []

    async def collect():
        async for item in backend.generate(prompt("a long enough question")):
            got.append(item)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(error) as caught:
        await collect()
    assert type(caught.value) is error
    assert len(got) == min(after, 6)
    assert not any(isinstance(item, Completion) for item in got)
    assert (backend.active, backend.failed, backend.cancelled) == (0, 1, 0)


async def test_too_long_tells_the_counts():
    with pytest.raises(ContextLengthError) as caught:
        await take(FakeBackend(fail="too_long"))
    assert caught.value.prompt_tokens > caught.value.context_tokens > 0


async def test_stalls_until_it_is_closed():
    backend = FakeBackend(fail="stall", after=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1e6):
            await take(backend)
    assert (backend.active, backend.cancelled) == (0, 1)


async def test_a_healed_backend_serves_again():
    backend = FakeBackend(fail="unavailable")
    with pytest.raises(BackendUnavailableError):
        await take(backend)
    backend.fail = ""
    assert isinstance((await take(backend))[-1], Completion)


@pytest.mark.parametrize("wrong", [{"tokens": 0}, {"seconds": -1.0}, {"fail": "loudly"}])
def test_refuses_nonsense(wrong):
    with pytest.raises(UsageError):
        FakeBackend(**wrong)
