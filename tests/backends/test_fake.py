from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import aclosing
from math import sqrt
from statistics import fmean, median, pstdev

import pytest

from dmoa.backends.fake import FakeBackend
from dmoa.backends.uri import parse_uri
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


async def times_of(backend, count):
    """Take that many completions one after another; the seconds of each."""
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(count):
        start = loop.time()
        await take(backend)
        times.append(loop.time() - start)
    return times


def fake(uri):
    return FakeBackend.from_uri(parse_uri(uri))


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


@pytest.mark.parametrize("cv", [0.3, 0.5, 1.0])
@pytest.mark.parametrize("tokens", [1, 16])
async def test_its_times_have_the_mean_and_the_shape_of_their_law(cv, tokens):
    count, mean = 2000, 0.2
    times = await times_of(fake(f"fake:{mean}?cv={cv}&seed=7&tokens={tokens}"), count)
    assert abs(fmean(times) - mean) < 3 * mean * cv / sqrt(count)
    assert pstdev(times) / fmean(times) == pytest.approx(cv, rel=0.15)
    # Half of all log-normal times are below exp(mu); any other law has another median.
    assert median(times) == pytest.approx(mean / sqrt(1 + cv**2), rel=0.05)


async def test_without_a_spread_it_takes_exactly_its_time():
    assert await times_of(fake("fake:0.25?seed=7&tokens=1"), 3) == [0.25] * 3


async def test_no_time_with_a_spread_is_no_time():
    assert await times_of(fake("fake:0?cv=0.5"), 3) == [0.0] * 3


async def test_a_seed_repeats_its_times_and_another_does_not():
    first, again, other = [
        await times_of(fake(f"fake:1?cv=0.5&seed={seed}"), 5) for seed in (7, 7, 8)
    ]
    # The clock has moved on in between, so the last digits differ.
    assert again == pytest.approx(first, abs=1e-9)
    assert other != pytest.approx(first, rel=1e-3)
    assert len({round(each, 6) for each in first}) == 5


def test_without_a_seed_no_two_draw_alike():
    draws = [fake("fake:1?cv=0.5").law() for _ in range(5)]
    assert len(set(draws)) == 5


async def test_a_crowd_makes_each_slower_by_how_many_were_there_when_it_began():
    loop = asyncio.get_running_loop()
    backend = fake("fake:1?crowding=0.5&slots=3")

    async def ends():
        await take(backend)
        return loop.time()

    first = asyncio.create_task(ends())
    await asyncio.sleep(0.5)
    second, third = asyncio.create_task(ends()), asyncio.create_task(ends())
    # Alone when it began: nobody who comes later makes it slower.
    assert await first == pytest.approx(1.0)
    assert await second == pytest.approx(0.5 + 1.5)
    assert await third == pytest.approx(0.5 + 2.0)
    assert (await times_of(backend, 1)) == pytest.approx([1.0])


async def test_a_cancelled_job_crowds_nobody():
    loop = asyncio.get_running_loop()
    backend = fake("fake:1?crowding=0.5")
    task = asyncio.create_task(take(backend))
    await asyncio.sleep(0.25)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await take(backend)
    assert loop.time() == pytest.approx(1.25)


@pytest.mark.parametrize(("tokens", "timers"), [(1, 1), (4, 4), (15, 15), (500, 15)])
async def test_sets_one_timer_for_each_piece_that_says_something(tokens, timers):
    loop = asyncio.get_running_loop()
    backend = FakeBackend("ann", seconds=2.0, tokens=tokens)
    set_by_loop, moments = loop.call_at, []

    def call_at(when, *rest, **more):
        moments.append(when)
        return set_by_loop(when, *rest, **more)

    loop.call_at = call_at
    *texts, end = await take(backend)
    assert "".join(texts) == end.text == "ann heard: why?"
    assert len(moments) == len(texts) == timers
    assert loop.time() == pytest.approx(2.0)


async def test_a_fault_comes_in_its_time_though_the_last_pieces_were_empty():
    loop = asyncio.get_running_loop()
    backend = FakeBackend("ann", seconds=1.0, tokens=100, fail="rubbish", after=50)
    with pytest.raises(BackendRubbishError):
        await take(backend)
    assert loop.time() == pytest.approx(0.5)


def test_a_fake_needs_no_numbers_package():
    code = (
        "import sys, dmoa.backends.fake;"
        "print(*[name for name in sys.modules if name.startswith(('numpy', 'dmoa.theory'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokens": 0},
        {"seconds": -1.0},
        {"seconds": float("nan")},
        {"fail": "loudly"},
        {"cv": -1.0},
        {"cv": float("nan")},
        {"crowding": -0.1},
        {"crowding": float("inf")},
        {"law": float, "cv": 0.5},
        {"law": float, "seconds": 1.0},
    ],
)
def test_refuses_nonsense(wrong):
    with pytest.raises(UsageError):
        FakeBackend(**wrong)
