from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from room import (
    ALONE,
    LATENCY,
    MIXED,
    SECONDS,
    TOKENS,
    Room,
    Scripted,
    drafts,
    now,
    outcomes,
    room_of,
    said,
    timed,
    tokens,
    visits,
)

from dmoa.core.effects import Answer, Visit
from dmoa.core.job import Prompt, Sampling, Turn
from dmoa.core.mixture import Mixture
from dmoa.core.recipe import Recipe
from dmoa.core.usual import Defaults
from dmoa.runtime.ports import Tokens
from dmoa.runtime.streams import Draft, Token

# -- the mixtures ------------------------------------------------------------------------


async def test_without_layers_home_answers_alone() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        answer = await room["a"].ask("hello", mixture=ALONE)
        assert answer.completion.text == "a heard: hello"
        assert answer.source == "aggregator"
        trace = answer.trace
        assert (trace.home, trace.mixture, trace.degraded) == ("a", ALONE, ())
        assert trace.seconds == pytest.approx(SECONDS)
        (job,) = trace.jobs
        assert (job.layer, job.role, job.node, job.outcome) == (1, "aggregator", "a", "ok")
        assert (job.queued_seconds, job.service_seconds) == pytest.approx((0.0, SECONDS))
        assert (job.model, job.completion_tokens) == ("a", TOKENS)
        assert room.backends["b"].started == room.backends["c"].started == 0
        assert room.idle


async def test_one_layer_has_its_proposers_and_then_one_aggregator() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", "d")
        answer = await room["a"].ask("hello", mixture=MIXED)
        assert answer.completion.text == "a heard: hello"
        *proposers, aggregator = answer.trace.jobs
        assert [(job.layer, job.role) for job in proposers] == [(1, "proposer")] * 3
        assert proposers[0].node == "a"
        assert len({job.node for job in proposers}) == 3
        assert (aggregator.layer, aggregator.role, aggregator.node) == (2, "aggregator", "a")
        assert {job.outcome for job in answer.trace.jobs} == {"ok"}
        assert answer.trace.degraded == ()
        layer = SECONDS + 2 * LATENCY
        for job in proposers:
            assert job.sent == 0.0
            assert job.ended == pytest.approx(SECONDS if job.node == "a" else layer)
            assert (job.queued_seconds, job.service_seconds) == pytest.approx((0.0, SECONDS))
            assert job.model == job.node
        assert aggregator.sent == pytest.approx(layer)
        assert aggregator.ended == pytest.approx(layer + SECONDS)
        assert answer.trace.seconds == pytest.approx(layer + SECONDS)
        assert room.idle


async def test_the_aggregator_reads_what_the_proposers_wrote() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        await room["a"].ask("hello", mixture=MIXED)
        first, last = room.backends["a"].prompts
        assert (first.role, last.role) == ("proposer", "aggregator")
        assert [turn.role for turn in first.turns] == ["user"]
        system, user = last.turns
        assert user == Turn("user", "hello")
        assert all(f"{name} heard: hello" in system.content for name in "abc")
        for name in "bc":
            (prompt,) = room.backends[name].prompts
            assert (prompt.role, prompt.turns) == ("proposer", (Turn("user", "hello"),))


@pytest.mark.parametrize("speeds", [(1, 0.5, 3, 2), (5, 0.5, 3, 2), (0.1, 0.1, 0.1, 0.2)])
async def test_a_layer_takes_as_long_as_its_critical_path(speeds: tuple[float, ...]) -> None:
    async with Room() as room:
        for name, seconds in zip("abcd", speeds, strict=True):
            await room.add(name, seconds=seconds)
        await room.met()
        start = now()
        answer = await room["a"].ask("hello", mixture=Mixture(1, 3))
        slowest = max(speeds[0], max(speeds[1:]) + 2 * LATENCY)
        assert answer.trace.seconds == pytest.approx(slowest + speeds[0])
        assert now() - start == pytest.approx(answer.trace.seconds)


async def test_two_layers_of_four_are_nine_jobs() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", "d")
        answer = await room["b"].ask("hello", mixture=Mixture(2, 3))
        jobs = answer.trace.jobs
        assert [job.layer for job in jobs] == [1] * 4 + [2] * 4 + [3]
        assert {job.outcome for job in jobs} == {"ok"}
        for layer in (1, 2):
            assert {job.node for job in jobs if job.layer == layer} == set("abcd")
        assert jobs[-1].node == "b"
        assert answer.trace.seconds == pytest.approx(2 * (SECONDS + 2 * LATENCY) + SECONDS)
        assert sum(backend.started for backend in room.backends.values()) == 9
        assert room.idle


async def test_peers_are_drawn_afresh_for_each_layer() -> None:
    async with Room() as room:
        await room_of(room, *"abcdefgh", seconds=0.1)
        drawn = {
            tuple(job.node for job in answer.trace.jobs if job.layer == layer)[1:]
            for answer in [await room["a"].ask("?", mixture=Mixture(6, 2))]
            for layer in range(1, 7)
        }
        assert len(drawn) > 1
        assert all(len(set(pair)) == 2 and "a" not in pair for pair in drawn)


async def test_fewer_peers_than_wanted_are_enough() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        answer = await room["a"].ask("hello", mixture=Mixture(1, 5))
        assert outcomes(answer) == {"a": "ok", "b": "ok"}
        assert answer.trace.degraded == ("few: 1 of 5 peers were known in layer 1",)


async def test_who_is_alone_answers_alone() -> None:
    async with Room() as room:
        await room_of(room, "a")
        answer = await room["a"].ask("hello", mixture=MIXED)
        assert [job.role for job in answer.trace.jobs] == ["aggregator"]
        few = "few: 0 of 2 peers were known in layer 1; home went on alone"
        assert answer.trace.degraded == (few,)
        assert answer.trace.seconds == pytest.approx(SECONDS)


async def test_a_node_uses_its_own_mixture_unless_told() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        room["a"]._defaults = Defaults(Mixture(1, 1), Recipe(best=True))
        answer = await room["a"].ask("hello")
        assert (answer.trace.mixture, answer.trace.recipe.name) == (Mixture(1, 1), "best")
        assert (answer.source, len(answer.trace.jobs)) == ("chosen", 2)
        answer = await room["a"].ask("hello", mixture=Mixture(1, 1))
        assert (answer.source, len(answer.trace.jobs)) == ("aggregator", 3)


async def test_a_node_that_nobody_measured_answers_alone() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        room["a"]._defaults = Defaults(Mixture(1, 1), named=False)
        answer = await room["a"].ask("hello")
        assert (answer.trace.mixture.layers, room["a"].usual.why) == (0, "unmeasured")
        assert room["a"].shaped == (Mixture(1, 1), Recipe())


async def test_conversation_sampling_options_and_notes_go_where_they_belong() -> None:
    turns = (Turn("system", "be brief"), Turn("user", "hi"), Turn("assistant", "?"))
    turns = (*turns, Turn("user", "bye"))
    async with Room() as room:
        await room_of(room, "a", "b")
        items = await timed(
            room["a"].follow(
                turns,
                mixture=Mixture(1, 1),
                sampling=Sampling(temperature=0.5, max_tokens=4),
                options='{"top_k": 3}',
                notes=("a note",),
            )
        )
        answer = items[-1][1]
        assert isinstance(answer, Answer)
        assert answer.trace.degraded == ("a note",)
        assert answer.completion.finish == "length"
        assert answer.completion.completion_tokens == 4
        (guest,) = room.backends["b"].prompts
        assert guest.turns == turns
        assert (guest.options, guest.sampling.temperature) == ("", None)
        last = room.backends["a"].prompts[-1]
        assert (last.options, last.sampling.temperature) == ('{"top_k": 3}', 0.5)
        assert last.turns[1:] == turns[1:]


# -- many at once ------------------------------------------------------------------------


async def test_own_queries_are_served_one_after_another() -> None:
    async with Room() as room:
        await room_of(room, "a")
        start = now()
        ended: list[tuple[int, float]] = []

        async def one(number: int) -> None:
            answer = await room["a"].ask(f"number {number}", mixture=ALONE)
            assert answer.completion.text == f"a heard: number {number}"
            assert answer.trace.jobs[0].queued_seconds == pytest.approx(number * SECONDS)
            ended.append((number, now() - start))

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(one(number))
        assert [number for number, _ in ended] == list(range(5))
        assert [at for _, at in ended] == pytest.approx([1, 2, 3, 4, 5])
        assert room.idle


async def test_own_and_peers_jobs_share_one_queue() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        async with asyncio.TaskGroup() as group:
            own = group.create_task(room["b"].ask("own", mixture=ALONE))
            await asyncio.sleep(0.5)
            mixed = group.create_task(room["a"].ask("guest", mixture=Mixture(1, 1)))
            await asyncio.sleep(0.2)
            later = group.create_task(room["b"].ask("later", mixture=ALONE))
        guest = mixed.result().trace.jobs[1]
        assert guest.queued_seconds == pytest.approx(0.5 - LATENCY)
        assert own.result().trace.seconds == pytest.approx(SECONDS)
        assert later.result().trace.jobs[0].queued_seconds == pytest.approx(1.3)


async def test_many_homes_ask_at_once() -> None:
    async with Room() as room:
        await room_of(room, *"abcd", seconds=0.2)
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(room[name].ask(f"{name} {number}", mixture=Mixture(2, 2)))
                for name in "abcd"
                for number in range(4)
            ]
        for task in asked:
            answer = task.result()
            assert [job.outcome for job in answer.trace.jobs] == ["ok"] * 7
            assert answer.trace.degraded == ()
        assert len({task.result().trace.query for task in asked}) == 16
        assert sum(backend.finished for backend in room.backends.values()) == 16 * 7
        assert room.idle


async def test_a_node_with_more_slots_serves_as_many_at_once() -> None:
    async with Room() as room:
        await room.add("a", slots=1)
        await room.add("b", slots=3)
        await room.met()

        async def four(name: str) -> list[float]:
            start = now()
            asks = [room[name].ask("?", mixture=ALONE) for _ in range(4)]
            answers = await asyncio.gather(*asks)
            assert now() - start == pytest.approx(answers[-1].trace.seconds)
            return [answer.trace.seconds for answer in answers]

        assert await four("a") == pytest.approx([1, 2, 3, 4])
        assert await four("b") == pytest.approx([1, 1, 1, 2])
        slots = {digest.node: digest.slots for digest, _ in room["a"].peers}
        assert slots == {"b": 3}


async def test_the_queues_length_and_the_rates_are_told_to_peers() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(room["b"].ask("?", mixture=ALONE))
            await asyncio.sleep(1.5)
            ((digest, age),) = room["a"].peers
            assert (digest.length, digest.model) == (3, "b")
            assert 0 <= age < 1.0
        assert room["b"].digest.service_time == pytest.approx(SECONDS)
        assert room["b"].digest.length == 0
        assert room["b"].digest.arrival_rate > 0


# -- what a follower sees ----------------------------------------------------------------


async def test_a_follower_sees_jobs_drafts_tokens_and_last_the_answer() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c", "d")
        timeline = await timed(room["a"].follow("hello", mixture=MIXED))
        items = [item for _, item in timeline]
        *before, answer = items
        assert isinstance(answer, Answer)
        assert not any(isinstance(item, Answer) for item in before)
        # The three proposers are there from the first moment on.
        assert [(at, visit.outcome) for at, visit in timeline[:3] if isinstance(visit, Visit)] == [
            (0.0, "pending")
        ] * 3
        states = [(visit.layer, visit.role, visit.outcome) for visit in visits(items)]
        assert states == [
            *[(1, "proposer", "pending")] * 3,
            *[(1, "proposer", "ok")] * 3,
            (2, "aggregator", "pending"),
            (2, "aggregator", "ok"),
        ]
        # A draft comes after its job was shown and before it ended; tokens are the aggregator's.
        turn = items.index(next(visit for visit in visits(items) if visit.role == "aggregator"))
        assert not any(isinstance(item, Token) for item in items[:turn])
        assert not any(isinstance(item, Draft) for item in items[turn:])
        assert tokens(items) == answer.completion.text
        for job in answer.trace.jobs[:3]:
            assert drafts(items, job.node) == f"{job.node} heard: hello"
            of_job = [
                index
                for index, item in enumerate(items)
                if isinstance(item, Draft) and item.visit.job == job.job
            ]
            shown = [index for index, item in enumerate(items) if item == job]
            assert of_job[-1] < shown[0]
        assert {visit for visit in visits(items) if visit.outcome == "ok"} == set(answer.trace.jobs)


async def test_drafts_and_tokens_come_as_they_are_written() -> None:
    async with Room() as room:
        await room_of(room, "a", "b")
        timeline = await timed(room["a"].follow("hello", mixture=Mixture(1, 1)))
        beat = SECONDS / TOKENS
        own, guest = (
            [at for at, item in timeline if isinstance(item, Draft) and item.visit.node == name]
            for name in "ab"
        )
        assert own == pytest.approx([beat * (count + 1) for count in range(TOKENS)])
        # The last piece of a guest and its proposal are written in one moment.
        later = [beat * (count + 1) + 2 * LATENCY for count in range(TOKENS)]
        assert guest == pytest.approx(later[: len(guest)])
        layer = SECONDS + 2 * LATENCY
        written = [at for at, item in timeline if isinstance(item, Token)]
        assert written == pytest.approx([layer + beat * (count + 1) for count in range(TOKENS)])
        assert timeline[-1][0] == pytest.approx(layer + SECONDS)


async def test_a_stream_is_the_aggregators_text_in_time() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        start = now()
        async with aclosing(room["a"].stream("hello", mixture=MIXED)) as texts:
            heard = [(now() - start, text) async for text in texts]
        assert "".join(text for _, text in heard) == "a heard: hello"
        layer = SECONDS + 2 * LATENCY
        assert heard[0][0] == pytest.approx(layer + SECONDS / TOKENS)
        assert heard[-1][0] == pytest.approx(layer + SECONDS)
        assert len(heard) == TOKENS


async def test_a_slow_reader_misses_nothing_and_holds_up_nobody() -> None:
    async with Room() as room:
        await room_of(room, "a", "b", "c")
        slow: list[str] = []

        async def dawdle(texts: AsyncGenerator[str, None]) -> None:
            async with aclosing(texts):
                async for text in texts:
                    slow.append(text)
                    await asyncio.sleep(60)

        async with asyncio.TaskGroup() as group:
            group.create_task(dawdle(room["a"].stream("slowly", mixture=MIXED)))
            await asyncio.sleep(10)
            answer = await room["a"].ask("quickly", mixture=MIXED)
            assert answer.trace.seconds == pytest.approx(2 * SECONDS + 2 * LATENCY)
        assert "".join(slow) == "a heard: slowly"


async def test_a_model_that_does_not_stream_is_streamed_whole() -> None:
    async def whole(prompt: Prompt) -> Tokens:
        await asyncio.sleep(SECONDS)
        yield said(f"{prompt.role}: all at once")

    async with Room() as room:
        await room.add("a", Scripted(whole))
        async with aclosing(room["a"].stream("hello", mixture=ALONE)) as texts:
            assert [text async for text in texts] == ["aggregator: all at once"]
