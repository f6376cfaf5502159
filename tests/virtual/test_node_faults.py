"""Whatever fails, here or there: one answer or one error, and a trace that says why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest
from room import (
    ALONE,
    LATENCY,
    MIXED,
    SECONDS,
    SOON,
    Room,
    Scripted,
    now,
    outcomes,
    pour,
    room_of,
    said,
    timed,
    tokens,
    visits,
)

from dmoa.backends.uri import FAILURES
from dmoa.core.digest import Digest
from dmoa.core.effects import Answer, Trace, Visit
from dmoa.core.job import Completion, Prompt
from dmoa.core.limits import Limits
from dmoa.core.messages import Piece, Proposal, Propose, Reply
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendUnavailableError,
    ContextLengthError,
    DmoaError,
    ExpiredError,
    OverloadedError,
)
from dmoa.runtime import virtual
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Frames, Tokens
from dmoa.runtime.streams import Progress, Token

LAYER = SECONDS + 2 * LATENCY


def traced(error: DmoaError) -> Trace:
    assert isinstance(error.trace, Trace)
    return error.trace


def details(answer: Answer) -> dict[str, str]:
    return {str(job.node): job.detail for job in answer.trace.jobs if job.outcome != "ok"}


# -- a peer is lost ----------------------------------------------------------------------


async def test_a_peer_that_dies_loudly_is_lost_at_once() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        asked = asyncio.create_task(room["a"].ask("hello", mixture=MIXED))
        await asyncio.sleep(SECONDS / 2)
        room.kill("b", reset=True)
        answer = await asked
        assert outcomes(answer) == {"a": "ok", "b": "lost", "c": "ok"}
        assert len(answer.trace.degraded) == 1
        assert answer.trace.degraded[0].startswith("lost: b in layer 1")
        lost = next(job for job in answer.trace.jobs if job.node == "b")
        assert lost.ended == pytest.approx(SECONDS / 2)
        assert answer.trace.seconds == pytest.approx(LAYER + SECONDS)
        again = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(again) == {"a": "ok", "c": "ok"}
        assert room.idle


async def test_a_peer_that_dies_silently_costs_the_layers_patience() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        asked = asyncio.create_task(room["a"].ask("hello", mixture=MIXED, deadline=10))
        await asyncio.sleep(SECONDS / 2)
        room.kill("b")
        answer = await asked
        assert outcomes(answer) == {"a": "ok", "b": "late", "c": "ok"}
        assert answer.trace.degraded == ("late: b in layer 1",)
        assert answer.trace.seconds == pytest.approx(5 + SECONDS)
        # It has been silent for five seconds by now, and is asked no more.
        again = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(again) == {"a": "ok", "c": "ok"}
        assert room.idle


async def test_the_last_proposer_to_be_lost_ends_its_layer() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", seconds=10.0)
        room.backends["a"].law = lambda: 1.0
        asked = asyncio.create_task(room["a"].ask("hello", mixture=MIXED))
        await asyncio.sleep(3.0)
        room.kill("b", reset=True)
        await asyncio.sleep(1.0)
        room.kill("c", reset=True)
        answer = await asked
        assert outcomes(answer) == {"a": "ok", "b": "lost", "c": "lost"}
        assert answer.trace.seconds == pytest.approx(4.0 + 1.0)


async def test_a_peer_that_was_closed_is_lost() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        asked = asyncio.create_task(room["a"].ask("hello", mixture=MIXED))
        await asyncio.sleep(SECONDS / 2)
        await room.close("c")
        answer = await asked
        assert outcomes(answer) == {"a": "ok", "b": "ok", "c": "lost"}
        assert answer.trace.seconds == pytest.approx(LAYER + SECONDS)
        assert room.seen("a") == {"b"}


async def test_a_peer_that_vanished_before_it_was_asked_is_lost() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        room["b"]._network.announce(room["b"].digest)
        closed = asyncio.create_task(room.close("b"))
        answer = await room["a"].ask("hello", mixture=MIXED)
        await closed
        assert outcomes(answer) == {"a": "ok", "b": "lost", "c": "ok"}


async def test_a_false_hint_of_a_departure_costs_a_proposal_and_no_work() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        asked = asyncio.create_task(room["a"].ask("hello", mixture=MIXED))
        await asyncio.sleep(SECONDS / 2)
        room["a"].departed(room["b"].id)
        assert room.seen("a") == {"c"}
        await asyncio.sleep(SOON)
        assert room.active == {"a": 1, "c": 1}
        answer = await asked
        assert outcomes(answer) == {"a": "ok", "b": "lost", "c": "ok"}
        assert room.seen("a") == {"b", "c"}
        assert room.idle


async def test_a_peer_that_starts_anew_has_lost_its_jobs() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", seconds=4.0)
        asked = asyncio.create_task(room["a"].ask("hello", mixture=MIXED))
        await asyncio.sleep(1.0)
        room.kill("b")
        await asyncio.sleep(1.0)
        await room.add("b", incarnation=2, seconds=4.0)
        answer = await asked
        assert outcomes(answer) == {"a": "ok", "b": "lost", "c": "ok"}
        assert details(answer) == {"b": "it started anew"}
        lost = next(job for job in answer.trace.jobs if job.node == "b")
        assert lost.ended == pytest.approx(2.0 + LATENCY)
        assert answer.trace.seconds == pytest.approx(4.0 + 2 * LATENCY + 4.0)
        await asyncio.sleep(SOON)
        assert room.idle
        again = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(again) == {"a": "ok", "b": "ok", "c": "ok"}
        digests = {digest.node: digest.incarnation for digest, _ in room["a"].peers}
        assert digests == {"b": 2, "c": 1}


class Rogue:
    """A peer that answers as it likes."""

    def __init__(self, answer: Callable[[Propose], list[Piece | Reply]]) -> None:
        self._answer = answer

    def heard(self, digest: object) -> None: ...

    def departed(self, peer: object) -> None: ...

    def offended(self, peer: object, offence: object) -> None: ...

    def probed(self, caller: object) -> None: ...

    def rolled(self, caller: object) -> None: ...

    async def serve(self, caller: NodeId, message: Propose) -> Frames:
        del caller
        for frame in self._answer(message):
            yield frame


def another(message: Propose) -> list[Piece | Reply]:
    """Reply to a job that was never proposed."""
    job = JobId(f"{message.job.id}0")
    return [Piece(message.job.id, "so"), Proposal(job, said("so it is"), 0.0, 0.1)]


def broken_off(message: Propose) -> list[Piece | Reply]:
    return [Piece(message.job.id, "so")]


def silent(message: Propose) -> list[Piece | Reply]:
    del message
    return []


@pytest.mark.parametrize("answer", [another, broken_off, silent])
async def test_a_peer_that_breaks_the_protocol_is_lost_at_once(
    answer: Callable[[Propose], list[Piece | Reply]],
) -> None:
    async with Room() as room:
        await room_of(room, "a", "c")
        rogue = room.endpoint("b")
        await rogue.open(Rogue(answer))
        rogue.announce(Digest(NodeId("b"), 1, 1, "rogue", 1))
        await asyncio.sleep(SOON)
        answered = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(answered) == {"a": "ok", "b": "lost", "c": "ok"}
        lost = next(job for job in answered.trace.jobs if job.node == "b")
        assert lost.ended == pytest.approx(2 * LATENCY)
        assert lost.detail
        await rogue.close()
        assert room.idle


# -- a peer's model fails ----------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("fail", [fail for fail in FAILURES if fail != "stall"])
async def test_a_peers_model_that_fails_costs_its_proposal(fail: str, after: int) -> None:
    async with Room() as room:
        await room_of(room, "a", "c")
        await room.add("b", fail=fail, after=after)
        await room.met()
        answer = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(answer) == {"a": "ok", "b": "failed", "c": "ok"}
        assert details(answer)["b"].startswith("b is told to")
        assert len(answer.trace.degraded) == 1
        assert answer.trace.degraded[0].startswith("failed: b in layer 1 (b is told to")
        assert answer.trace.seconds == pytest.approx(LAYER + SECONDS)
        assert room.idle


@pytest.mark.parametrize("after", [0, 3])
async def test_a_peers_model_that_stalls_is_late_and_is_stopped(after: int) -> None:
    async with Room() as room:
        await room_of(room, "a", "c")
        await room.add("b", fail="stall", after=after)
        await room.met()
        answer = await room["a"].ask("hello", mixture=MIXED, deadline=6)
        assert outcomes(answer) == {"a": "ok", "b": "late", "c": "ok"}
        assert answer.trace.seconds == pytest.approx(3 + SECONDS)
        assert room.idle
        assert room.backends["b"].cancelled == 1


async def arbitrary(prompt: Prompt) -> Tokens:
    yield "so "
    raise LookupError(prompt.role)


async def endless(prompt: Prompt) -> Tokens:
    yield prompt.role


async def nothing(prompt: Prompt) -> Tokens:
    del prompt
    for word in ():
        yield word


async def neither(prompt: Prompt) -> Tokens:
    del prompt
    yield None  # type: ignore[misc]


async def half(prompt: Prompt) -> Tokens:
    del prompt
    yield said("half a pair: \ud83d")


async def empty(prompt: Prompt) -> Tokens:
    del prompt
    yield said(" \n")


async def nameless(prompt: Prompt) -> Tokens:
    del prompt
    yield Completion("text", "x" * 1000, 1, 1)


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (arbitrary, "failed"),
        (endless, "failed"),
        (nothing, "failed"),
        (neither, "failed"),
        (half, "failed"),
        (empty, "failed"),
        (nameless, "lost"),  # what no peer would take is not sent
    ],
)
async def test_rubbish_of_a_peers_model_never_becomes_text(
    script: type[Tokens], outcome: str
) -> None:
    async with Room() as room:
        await room_of(room, "a", "c")
        await room.add("b", Scripted(script))
        await room.met()
        answer = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(answer) == {"a": "ok", "b": outcome, "c": "ok"}
        assert details(answer)["b"]
        assert answer.source == "aggregator"
        assert room.idle


@pytest.mark.parametrize("script", [arbitrary, endless, nothing, neither, half, empty])
async def test_rubbish_of_the_own_model_never_becomes_text(script: type[Tokens]) -> None:
    async with Room() as room:
        await room.add("a", Scripted(script))
        await room.add("b")
        await room.met()
        answer = await room["a"].ask("hello", mixture=Mixture(1, 1))
        assert outcomes(answer) == {"a": "failed", "b": "ok"}
        assert (answer.source, answer.completion.text) == ("proposal", "b heard: hello")
        assert room.idle


# -- a queue is full ---------------------------------------------------------------------


async def test_a_peer_whose_queue_is_full_declines() -> None:
    async with Room() as room:
        await room_of(room, "a", "c")
        await room.add("b", limits=Limits(queue_jobs=2))
        await room.met()
        own = [asyncio.create_task(room["b"].ask("own", mixture=ALONE)) for _ in range(2)]
        await asyncio.sleep(0)
        answer = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(answer) == {"a": "ok", "b": "declined", "c": "ok"}
        assert details(answer) == {"b": "its queue holds 2 jobs"}
        assert answer.trace.degraded == ("declined: b in layer 1 (its queue holds 2 jobs)",)
        declined = next(job for job in answer.trace.jobs if job.node == "b")
        assert declined.ended == pytest.approx(2 * LATENCY)
        for task in own:
            await task
        assert room.idle


async def test_a_node_whose_queue_is_full_says_when_to_come_back() -> None:
    async with Room(limits=Limits(queue_jobs=3)) as room:
        await room_of(room, "a", seconds=4.0)
        await room["a"].ask("one to measure", mixture=ALONE)
        own = [asyncio.create_task(room["a"].ask("own", mixture=ALONE)) for _ in range(3)]
        await asyncio.sleep(0.1)
        start = now()
        with pytest.raises(OverloadedError) as caught:
            await room["a"].ask("one more")
        assert now() == start
        assert caught.value.retry_after == pytest.approx(4.0 - 0.1), "when the first of them ends"
        assert caught.value.hint
        assert traced(caught.value).jobs == ()
        await own[0]
        assert (await room["a"].ask("again", mixture=ALONE)).source == "aggregator"
        await asyncio.gather(*own)
        assert room.idle


# -- the own model fails -----------------------------------------------------------------


async def break_aggregation(
    room: Room, progress: AsyncGenerator[Progress, None], fail: str, after: int
) -> list[Progress]:
    """Follow a query, and let the own model fail in its aggregation."""
    items: list[Progress] = []
    async with aclosing(progress):
        async for item in progress:
            if isinstance(item, Visit) and item.role == "aggregator":
                room.backends["a"].fail, room.backends["a"].after = fail, after
            items.append(item)
    return items


@pytest.mark.parametrize("after", [0, 3])
@pytest.mark.parametrize("fail", [fail for fail in FAILURES if fail != "stall"])
async def test_where_aggregation_fails_a_proposal_is_the_answer(fail: str, after: int) -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        items = await break_aggregation(room, room["a"].follow("hello", mixture=MIXED), fail, after)
        answer = items[-1]
        assert isinstance(answer, Answer)
        assert answer.source == "proposal"
        assert answer.completion.text in {f"{name} heard: hello" for name in "abc"}
        assert answer.trace.jobs[-1].outcome == "failed"
        failed, unaggregated = answer.trace.degraded
        assert failed.startswith("failed: a in the aggregation (a is told to")
        assert unaggregated.startswith("unaggregated: a is told to")
        assert visits(items)[-1] == answer.trace.jobs[-1]
        assert room.idle


async def test_where_aggregation_stalls_the_deadline_brings_a_proposal() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        progress = room["a"].follow("hello", mixture=MIXED, deadline=8)
        items = await break_aggregation(room, progress, "stall", 2)
        answer = items[-1]
        assert isinstance(answer, Answer)
        assert answer.source == "proposal"
        assert answer.trace.seconds == pytest.approx(8)
        assert answer.trace.jobs[-1].outcome in {"late", "failed"}
        assert "deadline" in answer.trace.degraded[-1] or "within" in answer.trace.degraded[-1]
        await asyncio.sleep(SOON)
        assert room.idle


def aggregating(*pieces: str) -> Scripted:
    """Make a model that proposes, and fails to aggregate once it has said these."""

    async def script(prompt: Prompt) -> Tokens:
        await asyncio.sleep(SECONDS)
        if prompt.role == "proposer":
            yield "mine"
            yield said("mine")
        else:
            for piece in pieces:
                yield piece
            raise BackendUnavailableError("the lights went out")

    return Scripted(script)


async def test_a_stream_without_a_token_brings_the_proposal_whole() -> None:
    async with Room() as room:
        await room.add("a", aggregating())
        async with aclosing(room["a"].stream("hello", mixture=Mixture(1, 0))) as texts:
            assert [text async for text in texts] == ["mine"]


async def test_a_stream_that_broke_off_is_an_error_with_its_trace() -> None:
    async with Room() as room:
        await room.add("a", aggregating("once ", "upon "))
        heard: list[str] = []
        with pytest.raises(BackendUnavailableError, match="the lights went out") as caught:
            await pour(room["a"].stream("hello", mixture=Mixture(1, 0)), heard)
        assert heard == ["once ", "upon "]
        assert traced(caught.value).jobs[-1].outcome == "failed"
        assert room.idle


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        ("unavailable", BackendUnavailableError),
        ("refused", BackendRefusedError),
        ("too_long", ContextLengthError),
        ("rubbish", BackendError),
        ("timeout", BackendError),
    ],
)
@pytest.mark.parametrize("mixture", [ALONE, Mixture(1, 2)])
async def test_where_nobody_has_anything_to_say_it_is_an_error(
    fail: str, kind: type[BackendError], mixture: Mixture
) -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", fail=fail)
        with pytest.raises(kind, match="a is told to") as caught:
            await room["a"].ask("hello", mixture=mixture)
        assert type(caught.value) is kind
        trace = traced(caught.value)
        assert {job.outcome for job in trace.jobs} == {"failed"}
        assert len(trace.jobs) == mixture.visits
        assert room.idle


@pytest.mark.parametrize("how", ["ask", "stream", "follow"])
async def test_every_way_to_ask_raises_the_same(how: str) -> None:
    async def drain(node: Node) -> None:
        if how == "ask":
            await node.ask("hello", mixture=ALONE)
        else:
            each = node.stream if how == "stream" else node.follow
            async for _ in each("hello", mixture=ALONE):
                pass

    async with Room() as room:
        await room_of(room, "a", fail="unavailable")
        with pytest.raises(BackendUnavailableError) as caught:
            await drain(room["a"])
        assert [job.outcome for job in traced(caught.value).jobs] == ["failed"]
        assert room.idle


async def test_peers_make_up_for_a_broken_own_model_as_proposers() -> None:
    async with Room() as room:
        await room_of(room, "b", "c", slots=1)
        await room.add("a", fail="unavailable")
        await room.met()
        answer = await room["a"].ask("hello", mixture=MIXED)
        assert outcomes(answer) == {"a": "failed", "b": "ok", "c": "ok"}
        assert answer.source == "proposal"
        assert answer.trace.seconds == pytest.approx(LAYER)
        assert room.idle


# -- a prompt is too long ----------------------------------------------------------------


def narrow(most: int) -> Scripted:
    """Make a model that finds a prompt of more than `most` bytes too long."""

    async def script(prompt: Prompt) -> Tokens:
        size = sum(len(turn.content.encode()) for turn in prompt.turns)
        if size > most:
            raise ContextLengthError("too long", prompt_tokens=size, context_tokens=most)
        await asyncio.sleep(SECONDS)
        yield "a proposal of mine " * 60 if prompt.role == "proposer" else f"read {size} bytes"
        yield said(
            "a proposal of mine " * 60 if prompt.role == "proposer" else f"read {size} bytes"
        )

    return Scripted(script)


@pytest.mark.parametrize(("most", "renderings"), [(100_000, 1), (5_000, 2), (100, 3)])
async def test_a_prompt_that_is_too_long_is_squeezed_until_it_fits(
    most: int, renderings: int
) -> None:
    async with Room() as room:
        await room.add("a", narrow(most))
        for name in "bcd":
            await room.add(name, narrow(100_000))
        await room.met()
        answer = await room["a"].ask("hello", mixture=Mixture(1, 3))
        assert answer.source == "aggregator"
        assert answer.completion.text.startswith("read ")
        unread = ("unread: 4 of 4 proposals did not fit",) if renderings == 3 else ()
        assert answer.trace.degraded == unread
        assert room.backends["a"].started == 1 + renderings
        assert answer.trace.seconds == pytest.approx(LAYER + SECONDS)
        assert room.idle


async def test_a_guests_prompt_is_squeezed_as_well() -> None:
    async with Room() as room:
        await room.add("a", narrow(100_000))
        await room.add("b", narrow(100))
        await room.met()
        answer = await room["a"].ask("hello", mixture=Mixture(2, 1))
        assert [job.outcome for job in answer.trace.jobs] == ["ok"] * 5
        assert room.backends["b"].started == 1 + 3


async def test_a_conversation_that_never_fits_is_refused() -> None:
    async with Room() as room:
        await room.add("a", narrow(2))
        with pytest.raises(ContextLengthError) as caught:
            await room["a"].ask("hello", mixture=ALONE)
        assert room.backends["a"].started == 3
        assert traced(caught.value).jobs[0].outcome == "failed"


# -- time runs out -----------------------------------------------------------------------


async def test_a_deadline_without_a_proposal_is_an_error_on_time() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", seconds=60.0)
        start = now()
        with pytest.raises(ExpiredError, match=r"deadline of 9 s") as caught:
            await room["a"].ask("hello", mixture=MIXED, deadline=9)
        assert now() - start == pytest.approx(9)
        trace = traced(caught.value)
        assert trace.seconds == pytest.approx(9)
        assert {job.outcome for job in trace.jobs} == {"late"}
        await asyncio.sleep(SOON)
        assert room.idle


async def test_a_deadline_with_a_proposal_brings_the_proposal_on_time() -> None:
    async with Room() as room:
        await room.add("a", seconds=60.0)
        await room.add("b")
        await room.met()
        answer = await room["a"].ask("hello", mixture=Mixture(1, 1), deadline=9)
        assert (answer.source, answer.completion.text) == ("proposal", "b heard: hello")
        assert answer.trace.seconds == pytest.approx(9)
        await asyncio.sleep(SOON)
        assert room.idle


@pytest.mark.parametrize("deadline", [0.0, -1.0])
async def test_a_deadline_that_has_passed_already_expires_at_once(deadline: float) -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        start = now()
        with pytest.raises(ExpiredError):
            await room["a"].ask("hello", mixture=MIXED, deadline=deadline)
        assert now() == start
        await asyncio.sleep(SOON)
        assert room.idle


async def test_tokens_up_to_the_deadline_were_streamed() -> None:
    async with Room() as room:
        await room_of(room, "a")
        items: list[Progress] = []
        with pytest.raises(ExpiredError):
            await pour(room["a"].follow("hello", mixture=ALONE, deadline=0.55), items)
        assert "a heard: hello".startswith(tokens(items))
        assert sum(isinstance(item, Token) for item in items) == 5


# -- anything may happen to anybody ------------------------------------------------------


def test_two_alike_rooms_have_alike_histories() -> None:
    async def history() -> list[tuple[float, Progress]]:
        async with Room() as room:
            await room_of(room, *"abcde")
            room.backends["c"].fail = "rubbish"
            asyncio.get_running_loop().call_later(0.5, lambda: room.kill("d", reset=True))
            return await timed(room["a"].follow("hello", mixture=Mixture(2, 3)))

    first = virtual.run(history())
    assert isinstance(first[-1][1], Answer)
    assert first == virtual.run(history())
