"""A fake model that takes its time to read, and finds what it has read."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.backends.fake import FakeBackend
from dmoa.backends.prefixes import begin, common, size
from dmoa.backends.uri import parse_uri
from dmoa.core.job import Completion, Profile, Prompt, Sampling, Turn
from dmoa.errors import BackendUnavailableError, UsageError
from dmoa.runtime import virtual
from dmoa.runtime.ports import Reads

TURNS = (Turn("system", "s" * 40), Turn("user", "u" * 20))
"""Sixty bytes: 15 tokens, and one more as nobody can tell what a template adds."""


def prompt(turns=TURNS, *, job="", opened=None):
    return Prompt("aggregator", turns, Sampling(max_tokens=512), job=job, open=opened)


def begun(length, *, job="j", words=TURNS[0].content):
    """An open prompt of which so many bytes of the first turn are known."""
    return prompt((Turn("system", words[:length]), TURNS[1]), job=job, opened=0)


def fake(**settings):
    settings = {"prefill": 0.1, "tokens": 1, "seconds": 1.0} | settings
    return FakeBackend("ann", profile=Profile("ann", slots=settings.pop("slots", 1)), **settings)


async def took(work):
    loop = asyncio.get_running_loop()
    start = loop.time()
    result = await work
    return round(loop.time() - start, 9), result


async def take(backend, given=None):
    return [item async for item in backend.generate(given or prompt())][-1]


async def test_it_reads_before_it_writes():
    loop = asyncio.get_running_loop()
    backend = fake(tokens=2)
    times = [round(loop.time(), 9) async for _ in backend.generate(prompt())]
    assert times == [1.6 + 0.5, 1.6 + 1.0, 1.6 + 1.0]


async def test_what_was_read_ahead_is_not_read_again():
    backend = fake()
    assert isinstance(backend, Reads)
    assert await took(backend.read(begun(20))) == (0.5, 5)
    assert await took(backend.read(begun(36))) == (0.4, 9)
    assert await took(backend.read(begun(36))) == (0.0, 9)
    seconds, end = await took(take(backend, prompt(job="j")))
    assert (seconds, end.prompt_tokens, end.cached_tokens) == (1.7, 16, 9)
    assert backend.early == 9


async def test_what_differs_is_gone_and_so_is_all_that_followed():
    backend = fake()
    await backend.read(begun(40))
    other = "s" * 22 + "x" * 18
    assert await took(backend.read(begun(40, words=other))) == (0.5, 10)
    _, end = await took(take(backend, prompt(job="j")))
    assert end.cached_tokens == 5


async def test_the_same_words_of_another_are_others():
    backend = fake()
    await backend.read(prompt((Turn("user", "s" * 40),), opened=0))
    assert (await take(backend)).cached_tokens == 0


async def test_a_conversation_goes_on_where_it_was():
    backend = fake()
    end = await take(backend)
    turns = (*TURNS, Turn("assistant", end.text), Turn("user", "more"))
    seconds, last = await took(take(backend, prompt(turns)))
    assert last.cached_tokens == (60 + len(end.text)) // 4
    assert seconds == pytest.approx(1.0 + 0.1 * (last.prompt_tokens - last.cached_tokens))


async def test_a_job_between_takes_what_was_read_with_it():
    backend = fake()
    await backend.read(begun(40))
    await take(backend, prompt((Turn("user", "another"),)))
    assert (await take(backend, prompt(job="j"))).cached_tokens == 0


async def test_with_two_slots_a_job_between_takes_the_other():
    backend = fake(slots=2)
    await backend.read(begun(40))
    await take(backend, prompt((Turn("user", "another"),)))
    await take(backend, prompt((TURNS[0],)))  # though it begins alike
    assert (await take(backend, prompt(job="j"))).cached_tokens == 10


async def test_what_was_read_until_it_was_stopped_counts():
    backend = fake()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.31):
            await backend.read(begun(40))
    assert (await take(backend, prompt(job="j"))).cached_tokens == 3
    task = asyncio.create_task(take(fake_other := fake()))
    await asyncio.sleep(1.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await take(fake_other)).cached_tokens == 12
    assert fake_other.cancelled == 1


async def test_closed_as_it_writes_it_has_read_all():
    backend = fake(tokens=4)
    async with aclosing(backend.generate(prompt())) as tokens:
        await anext(tokens)
    assert (await take(backend)).cached_tokens == 15


async def test_without_a_free_slot_it_reads_nothing_ahead_and_serves_all_the_same():
    backend = fake()
    first = asyncio.create_task(take(backend))
    await asyncio.sleep(0)
    with pytest.raises(BackendUnavailableError):
        await backend.read(begun(40))
    assert (await take(backend)).cached_tokens == 0
    await first
    assert (await take(backend)).cached_tokens == 15


async def test_a_crowd_reads_slower_too():
    backend = fake(slots=2, crowding=1.0)
    one, other = asyncio.create_task(took(take(backend))), asyncio.create_task(took(take(backend)))
    assert ((await one)[0], (await other)[0]) == (2.6, 5.2)


async def test_what_fails_fails_as_it_reads_as_well():
    backend = fake(fail="unavailable")
    with pytest.raises(BackendUnavailableError):
        await backend.read(begun(40))
    backend.fail = ""
    assert await backend.read(begun(40)) == 10


@pytest.mark.parametrize(
    ("uri", "reads"),
    [
        ("fake:1", False),
        ("fake:1?prefill=0", False),
        ("fake:1?prefill=0.005", True),
        ("fake:1?prefill=0.005s&ahead=off&slots=2", False),
    ],
)
def test_it_reads_ahead_where_reading_takes_time_and_nobody_forbids_it(uri, reads):
    assert FakeBackend.from_uri(parse_uri(uri)).profile.reads is reads


async def test_without_a_law_nothing_is_told_of_any_cache():
    end = await take(FakeBackend())
    assert end == Completion(end.text, "fake", end.prompt_tokens, end.completion_tokens)


def test_no_time_to_read_is_below_none():
    with pytest.raises(UsageError):
        FakeBackend(prefill=-0.1)


WORDS = st.text("ab", max_size=6).map(str.encode)
TEXTS = st.lists(st.tuples(st.sampled_from(["user", "system"]), WORDS), max_size=4).map(tuple)


@given(TEXTS, TEXTS, st.integers(0, 30))
def test_what_is_common_is_the_beginning_of_both(one, other, length):
    taken = begin(one, length)
    assert size(taken) == min(length, size(one))
    assert common(taken, one) == common(one, taken) == size(taken)
    same = common(one, other)
    assert same == common(other, one)
    joined = [b"".join(words for _, words in each)[:same] for each in (one, other)]
    assert joined[0] == joined[1]


@given(st.lists(st.integers(0, 40), max_size=6))
def test_however_it_is_cut_reading_takes_the_same_time_in_all(cuts):
    async def test() -> None:
        backend = fake()
        total = 0.0
        for cut in sorted(cuts):
            total += (await took(backend.read(begun(cut))))[0]
        seconds, _ = await took(take(backend, prompt(job="j")))
        assert total + seconds == pytest.approx(2.6)

    virtual.run(test())
