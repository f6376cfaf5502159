"""Whoever leaves a query stops all work for it, at every node and at once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from room import (
    ALONE,
    LATENCY,
    MIXED,
    SECONDS,
    SOON,
    TOKENS,
    Room,
    Scripted,
    now,
    room_of,
    said,
)

from dmoa.core.effects import Answer
from dmoa.core.job import Prompt
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.runtime import virtual
from dmoa.runtime.ports import Tokens
from dmoa.runtime.streams import Draft, Token


async def settled() -> None:
    """Let the loop do what it can do in this very moment."""
    moment = now()
    for _ in range(20):
        await asyncio.sleep(0)
    assert now() == moment


async def test_leaving_in_a_layer() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", "d")
        async with aclosing(room["a"].follow("hello", mixture=Mixture(1, 3))) as items:
            async for item in items:
                if isinstance(item, Draft) and item.visit.node != "a":
                    break
            assert set(room.active) == set("abcd")
        await settled()
        assert room.active == {"b": 1, "c": 1, "d": 1}
        await asyncio.sleep(SOON)
        assert room.idle
        counts = [room.backends[name].cancelled for name in "abcd"]
        assert counts == [1, 1, 1, 1]


async def test_leaving_in_mid_stream() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        async with aclosing(room["a"].follow("hello", mixture=MIXED)) as items:
            async for item in items:
                if isinstance(item, Token):
                    break
            assert room.active == {"a": 1}
        await settled()
        assert room.idle
        assert room.backends["a"].cancelled == 1


async def test_leaving_a_stream() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        texts = room["a"].stream("hello", mixture=MIXED)
        assert await anext(texts) == "a"
        await texts.aclose()
        await settled()
        assert room.idle


async def test_a_query_that_nobody_began_to_follow_is_none() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        await room["a"].follow("hello").aclose()
        await settled()
        assert room.idle
        assert room["a"].digest.arrival_rate == 0.0


async def test_leaving_before_any_task_could_begin() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        items = room["a"].follow("hello", mixture=MIXED)
        await anext(items)  # is there at once: the loop has not turned
        await items.aclose()
        await asyncio.sleep(SOON)
        assert room.idle
        assert [room.backends[name].started for name in "abc"] == [0, 0, 0]


async def test_leaving_while_the_jobs_are_on_their_way() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        items = room["a"].follow("hello", mixture=MIXED)
        await anext(items)
        await asyncio.sleep(LATENCY / 2)
        await items.aclose()
        await asyncio.sleep(2 * LATENCY)
        assert room.idle


async def test_whoever_waits_for_an_answer_can_be_cancelled() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SECONDS / 2):
                await room["a"].ask("hello", mixture=MIXED)
        await asyncio.sleep(SOON)
        assert room.idle


async def test_a_generator_that_is_dropped_is_left() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        async for _ in room["a"].follow("hello", mixture=MIXED):
            break
        await asyncio.sleep(SOON)
        assert room.idle


async def test_a_job_that_waits_at_a_peer_is_taken_out_of_its_queue() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        async with asyncio.TaskGroup() as group:
            own = group.create_task(room["b"].ask("own", mixture=ALONE))
            await asyncio.sleep(0)
            items = room["a"].follow("hello", mixture=Mixture(1, 1))
            await anext(items)
            await asyncio.sleep(SECONDS / 2)
            assert room["b"].digest.length == 2
            await items.aclose()
            await asyncio.sleep(SOON)
            assert room["b"].digest.length == 1
            assert room.active == {"b": 1}
        assert own.result().trace.seconds == pytest.approx(SECONDS)
        assert room.backends["b"].started == 1


async def test_others_queries_go_on_undisturbed() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", slots=2)
        async with asyncio.TaskGroup() as group:
            stays = group.create_task(room["a"].ask("I stay", mixture=Mixture(1, 1)))
            leaves = group.create_task(room["a"].ask("I leave", mixture=Mixture(1, 1)))
            waits = group.create_task(room["a"].ask("I wait", mixture=Mixture(1, 1)))
            await asyncio.sleep(SECONDS / 2)
            leaves.cancel()
        assert stays.result().trace.seconds == pytest.approx(2 * SECONDS + 2 * LATENCY)
        assert stays.result().trace.degraded == waits.result().trace.degraded == ()
        # A place is free at once here, and one message later there.
        own, guest, _ = waits.result().trace.jobs
        assert own.queued_seconds == pytest.approx(SECONDS / 2)
        assert guest.queued_seconds == pytest.approx(SECONDS / 2)


async def test_a_slot_is_free_only_when_its_model_has_let_go() -> None:
    stopping = asyncio.Event()

    async def reluctant(prompt: Prompt) -> Tokens:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            await stopping.wait()
            raise
        yield said(prompt.turns[-1].content)

    async with Room() as room:
        await room.add("a", Scripted(reluctant))
        items = room["a"].follow("first", mixture=ALONE)
        await anext(items)
        await asyncio.sleep(0.1)
        await items.aclose()
        second = asyncio.create_task(room["a"].ask("second", mixture=ALONE))
        await asyncio.sleep(5)
        assert room.active == {"a": 1}
        assert room.backends["a"].started == 1
        stopping.set()
        answer = await second
        assert answer.completion.text == "second"
        assert answer.trace.jobs[0].queued_seconds == pytest.approx(5)


@pytest.mark.parametrize("last", ["completes", "fails"])
async def test_a_model_that_heeds_no_cancellation_costs_only_itself(last: str) -> None:
    async def deaf(prompt: Prompt) -> Tokens:
        try:
            await asyncio.sleep(SECONDS)
        except asyncio.CancelledError:
            yield "and yet"
            if last == "fails":
                raise LookupError from None
        yield said(prompt.turns[-1].content)

    async with Room() as room:
        await room.add("a", Scripted(deaf))
        items = room["a"].follow("first", mixture=ALONE)
        await anext(items)
        await asyncio.sleep(0.1)
        await items.aclose()
        answer = await room["a"].ask("second", mixture=ALONE)
        assert answer.completion.text == "second"
        assert room.idle


async def test_a_place_is_free_again_at_once() -> None:
    async with Room(limits=Limits(queue_jobs=1)) as room:
        await room_of(room, "a")
        for _ in range(5):
            items = room["a"].follow("hello", mixture=ALONE)
            await anext(items)
            await items.aclose()
        assert (await room["a"].ask("hello", mixture=ALONE)).source == "aggregator"


# -- at any moment -----------------------------------------------------------------------

Moments = st.one_of(
    st.floats(0, 3.2),
    # The very moments at which something happens.
    st.builds(
        lambda beats, ways: beats * SECONDS / TOKENS + ways * LATENCY,
        st.integers(0, 32),
        st.integers(0, 8),
    ),
)


@given(moments=st.lists(Moments, min_size=1, max_size=4), ways=st.lists(st.booleans(), min_size=4))
@example(moments=[SECONDS], ways=[True] * 4)
@example(moments=[SECONDS + 2 * LATENCY], ways=[True] * 4)
@example(moments=[SECONDS + 2 * LATENCY, SECONDS], ways=[False] * 4)
@settings(max_examples=40, deadline=None)
def test_leaving_at_any_moment_leaves_nothing(moments: list[float], ways: list[bool]) -> None:
    """Queries of two homes, each left at a moment of its own or ended before."""

    async def one(room: Room, home: str, leave: float, *, politely: bool) -> Any:
        query = room[home].ask("hello", mixture=Mixture(2, 2))
        task = asyncio.create_task(query)
        if politely:
            _, pending = await asyncio.wait([task], timeout=leave)
            for each in pending:
                each.cancel()
            await asyncio.wait([task])
        else:  # the cancellation comes first of all things of that moment
            asyncio.get_running_loop().call_at(now() + leave, task.cancel)
            await asyncio.wait([task])
        return None if task.cancelled() else task.result()

    async def main() -> None:
        async with Room() as room:
            await room_of(room, "a", "b", "c", slots=2)
            results = await asyncio.gather(
                *(
                    one(room, "ab"[number % 2], leave, politely=ways[number])
                    for number, leave in enumerate(moments)
                )
            )
            for result in results:
                assert result is None or isinstance(result, Answer)
            await asyncio.sleep(SOON)
            assert room.idle

    virtual.run(main())
