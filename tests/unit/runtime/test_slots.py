from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from dmoa.backends.fake import FakeBackend
from dmoa.core.effects import Serve
from dmoa.core.events import Faltered, Served
from dmoa.core.job import Completion, Fault, Job, Profile, Prompt, Sampling, Turn
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.errors import BackendTimeoutError, BackendUnavailableError, ContextLengthError
from dmoa.runtime.ports import Tokens
from dmoa.runtime.slots import serve

NAME = JobId("a/1/1/1.0")
TURNS = (Turn("user", "why is the sky blue?"),)
DONE = Completion("so it is", "scripted", 1, 2)


class Scripted:
    """A backend that runs a script, and counts those under way."""

    def __init__(self, script: Callable[[], Tokens]) -> None:
        self.profile = Profile("scripted")
        self.active = 0
        self._script = script

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def generate(self, prompt: Prompt) -> Tokens:
        del prompt
        self.active += 1
        try:
            async for token in self._script():
                yield token
        finally:
            self.active -= 1


def wish(patience: float = 10.0) -> Serve:
    sampling = Sampling(max_tokens=100)
    job = Job(
        NAME, QueryId("a/1/1"), NodeId("a"), "proposer", 1, TURNS, (), sampling, patience=patience
    )
    return Serve(job, Prompt("proposer", TURNS, sampling), patience)


async def nothing(job: JobId) -> int:
    """Read nothing ahead."""
    assert job == NAME
    return 0


async def outcome(script: Callable[[], Tokens], patience: float = 10.0) -> Served | Faltered:
    backend = Scripted(script)
    ended = await serve(backend, wish(patience), lambda _: None, nothing)
    assert backend.active == 0
    return ended


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_pieces_come_as_they_are_written_then_the_completion() -> None:
    backend = FakeBackend("fake", seconds=1.0, tokens=4)
    pieces: list[tuple[float, str]] = []
    ended = await serve(backend, wish(), lambda text: pieces.append((now(), text)), nothing)
    assert isinstance(ended, Served)
    assert ended.job == NAME
    assert [at for at, _ in pieces] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert "".join(text for _, text in pieces) == ended.completion.text
    assert (backend.started, backend.active, backend.finished) == (1, 0, 1)


@pytest.mark.parametrize(
    ("read", "whole", "cached", "early"),
    [
        (112, 187, 150, 112),  # more was there from before
        (112, 187, None, 112),  # a backend that does not tell is believed
        (112, 187, 40, 40),  # the rest was lost meanwhile
        (112, 187, 0, 0),
        (0, 187, 150, 0),  # its own cache is no reading ahead
        (500, 187, 400, 187),  # no backend reads more than there is
        (112, -5, None, 0),
        (112, 187, -5, 0),
    ],
)
async def test_no_more_is_told_as_read_ahead_than_was(
    read: int, whole: int, cached: int | None, early: int
) -> None:
    async def script() -> Tokens:
        yield Completion("so it is", "scripted", whole, 2, cached_tokens=cached)

    async def settle(job: JobId) -> int:
        del job
        return read

    ended = await serve(Scripted(script), wish(), lambda _: None, settle)
    assert isinstance(ended, Served)
    assert ended.completion.early_tokens == early


async def test_what_follows_a_completion_is_not_heard() -> None:
    async def chatty() -> Tokens:
        yield DONE
        yield "and another thing"
        raise LookupError

    assert await outcome(chatty) == Served(NAME, DONE)


async def test_a_completion_without_pieces_is_one() -> None:
    async def terse() -> Tokens:
        yield DONE

    assert await outcome(terse) == Served(NAME, DONE)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (BackendUnavailableError("gone"), Fault("unavailable", "gone")),
        (BackendTimeoutError("slow"), Fault("timeout", "slow")),
        (
            ContextLengthError("long", prompt_tokens=9, context_tokens=8),
            Fault("too_long", "long", 9, 8),
        ),
    ],
)
async def test_a_backend_error_is_a_fault(error: Exception, fault: Fault) -> None:
    async def broken() -> Tokens:
        yield "so "
        raise error

    assert await outcome(broken) == Faltered(NAME, fault)


async def test_patience_ends_on_time_and_closes_the_backend() -> None:
    backend = FakeBackend("fake", fail="stall", after=1)
    ended = await serve(backend, wish(3.0), lambda _: None, nothing)
    assert ended == Faltered(NAME, Fault("timeout", "no completion within 3.0 s"))
    assert now() == pytest.approx(3.0)
    assert (backend.active, backend.cancelled) == (0, 1)


async def test_without_patience_nothing_is_served() -> None:
    backend = FakeBackend("fake", seconds=1.0)
    ended = await serve(backend, wish(0.0), lambda _: None, nothing)
    assert isinstance(ended, Faltered)
    assert ended.fault.code == "timeout"
    assert (now(), backend.active) == (0.0, 0)


async def test_an_arbitrary_exception_is_rubbish_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def wild() -> Tokens:
        yield "so "
        raise ZeroDivisionError("one over zero")

    assert await outcome(wild) == Faltered(
        NAME, Fault("rubbish", "ZeroDivisionError in the backend")
    )
    assert "one over zero" in caplog.text
    assert NAME in caplog.text


async def test_a_timeout_of_the_backends_own_is_no_lack_of_patience() -> None:
    async def wild() -> Tokens:
        yield "so "
        raise TimeoutError("a socket's")

    ended = await outcome(wild)
    assert isinstance(ended, Faltered)
    assert "within" not in ended.fault.detail
    assert "TimeoutError" in ended.fault.detail


async def test_an_end_without_a_completion_is_rubbish() -> None:
    async def mute() -> Tokens:
        yield "so "

    assert await outcome(mute) == Faltered(
        NAME, Fault("rubbish", "the backend ended without a completion")
    )


@pytest.mark.parametrize("thing", [None, 7, b"bytes", Fault("rubbish"), {"text": "so"}])
async def test_what_is_neither_text_nor_completion_is_rubbish(thing: object) -> None:
    async def odd() -> Tokens:
        yield cast("Any", thing)
        yield DONE

    ended = await outcome(odd)
    assert isinstance(ended, Faltered)
    assert ended.fault.code == "rubbish"


@pytest.mark.parametrize("text", ["half a pair: \ud83d", "\udc80"])
async def test_text_that_no_wire_can_carry_is_rubbish(text: str) -> None:
    async def whole() -> Tokens:
        yield Completion(text, "scripted", 1, 2)

    async def piece() -> Tokens:
        yield text
        yield DONE

    for script in (whole, piece):
        ended = await outcome(script)
        assert isinstance(ended, Faltered)
        assert ended.fault.code == "rubbish"


async def test_a_cancelled_service_lets_go_of_the_backend_before_it_is_done() -> None:
    backend = FakeBackend("fake", seconds=5.0)
    task = asyncio.create_task(serve(backend, wish(), lambda _: None, nothing))
    await asyncio.sleep(1.0)
    assert backend.active == 1
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert (now(), backend.active, backend.cancelled) == (1.0, 0, 1)


async def test_a_service_cancelled_before_it_began_never_reaches_the_backend() -> None:
    backend = FakeBackend("fake", seconds=5.0)
    task = asyncio.create_task(serve(backend, wish(), lambda _: None, nothing))
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert backend.started == 0


async def test_a_backend_that_fails_when_it_is_stopped_has_ended() -> None:
    async def sulky() -> Tokens:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise BackendUnavailableError("the door fell shut") from None
        yield DONE

    backend = Scripted(sulky)
    task = asyncio.create_task(serve(backend, wish(), lambda _: None, nothing))
    await asyncio.sleep(1)
    task.cancel()
    assert await task == Faltered(NAME, Fault("unavailable", "the door fell shut"))
