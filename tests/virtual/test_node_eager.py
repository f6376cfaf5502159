"""Nodes whose models read ahead, and take their time to read: exactly as long as the law says."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from room import LATENCY, Room, now

from dmoa.backends.fake import FakeBackend
from dmoa.backends.prefixes import common, text_of
from dmoa.core.effects import Answer, Visit
from dmoa.core.job import Prompt, Turn
from dmoa.core.mixture import Mixture
from dmoa.core.policy import PAPER, Eager
from dmoa.runtime.reading import STEP_MOST

PREFILL = 0.002
"""Seconds in which a token is read."""
QUESTION = "Why is the sky blue, and why is it red in the evening? " * 6
NAMES = "abcdef"


class Fresh(FakeBackend):
    """Says something else each time, as models do, so that no layer reads what another did."""

    def _text(self, prompt: Prompt) -> str:
        return f"{self.started} times {super()._text(prompt)}"


async def live(
    mixture: Mixture, eager: Eager, pieces: int
) -> tuple[float, Answer, dict[str, FakeBackend]]:
    """Ask home `a`, the quickest of all; seconds, answer, and all models."""
    async with Room(policy=replace(PAPER, eager=eager)) as room:
        for index, name in enumerate(NAMES[: mixture.fanout + 1]):
            model = Fresh(name, seconds=1.0 + index, tokens=pieces, prefill=PREFILL)
            await room.add(name, model)
        await room.met()
        start = now()
        answer = await room["a"].ask(QUESTION, mixture=mixture)
        assert room.idle
        return now() - start, answer, room.backends


def left(model: FakeBackend, index: int) -> int:
    """Count the tokens of one of a model's prompts that it had not read for the one before."""
    turns = model.prompts[index].turns
    before = text_of(model.prompts[index - 1].turns) if index else ()
    return tokens_of(turns) + 1 - common(before, text_of(turns)) // 4


def tokens_of(turns: tuple[Turn, ...]) -> int:
    return sum(len(turn.content.encode()) for turn in turns) // 4


def known_of(prompt: Prompt, proposals: int) -> int:
    """Count the tokens before the last of some proposals in the aggregator's prompt."""
    return len(prompt.turns[0].content.partition(f"\n{proposals}. ")[0].encode()) // 4


def last(answer: Answer) -> Visit:
    return answer.trace.jobs[-1]


@pytest.mark.parametrize(("layers", "fanout"), [(1, 1), (1, 2), (1, 5), (2, 3), (3, 2)])
async def test_what_is_read_before_the_last_proposal_came_is_saved_to_the_token(
    layers: int, fanout: int
) -> None:
    """Each writes all at once, at its end, so that all but the last proposal is read by then."""
    mixture = Mixture(layers, fanout)
    cold, plain, models = await live(mixture, "off", 1)
    home, slowest = models["a"], models[NAMES[fanout]]
    reading = sum(left(slowest, layer) for layer in range(layers)) + left(home, layers)
    assert cold == pytest.approx(
        PREFILL * reading + layers * (2 * LATENCY + 1.0 + fanout) + 1.0, abs=1e-6
    )
    assert last(plain).early_tokens == home.early == 0

    warm, eager, models = await live(mixture, "own", 1)
    assert eager.completion.text == plain.completion.text
    whole = home.prompts[-1].turns
    assert models["a"].prompts[-1].turns == whole
    known = known_of(home.prompts[-1], fanout + 1)
    assert last(eager).early_tokens == known > 50
    unread = tokens_of(whole) + 1 - known
    assert warm == pytest.approx(cold - PREFILL * (left(home, layers) - unread), abs=1e-6)
    assert last(eager).service_seconds == pytest.approx(PREFILL * unread + 1.0, abs=1e-6)


@pytest.mark.parametrize(("layers", "fanout"), [(1, 1), (1, 4), (2, 2)])
async def test_of_a_proposal_that_is_read_as_it_is_written_little_is_left(
    layers: int, fanout: int
) -> None:
    mixture = Mixture(layers, fanout)
    cold, plain, models = await live(mixture, "off", 64)
    saved = left(models["a"], layers)
    warm, eager, models = await live(mixture, "own", 64)
    assert eager.completion.text == plain.completion.text
    prompt = models["a"].prompts[-1]
    whole, early = tokens_of(prompt.turns) + 1, last(eager).early_tokens
    after = tokens_of(prompt.turns[1:])
    assert early > known_of(prompt, fanout + 1)
    assert whole - early - after < STEP_MOST < whole - known_of(prompt, fanout + 1) - after
    expected = cold - PREFILL * (saved - (whole - early))
    assert expected - 1e-6 <= warm <= expected + PREFILL * STEP_MOST


@pytest.mark.parametrize("pieces", [1, 64])
async def test_reading_delays_no_job(pieces: int) -> None:
    """With one slot, whoever asks while home reads is served at once: a step is broken off."""
    async with Room(policy=replace(PAPER, eager="own")) as room:
        for index, name in enumerate("abc"):
            await room.add(name, seconds=1.0 + 3 * index, tokens=pieces, prefill=PREFILL)
        await room.met()
        model = room.backends["a"]
        asked = asyncio.create_task(room["a"].ask(QUESTION, mixture=Mixture(1, 2)))
        while not model.early:
            await asyncio.sleep(LATENCY)
        start = now()
        await room["a"].ask("Between?", mixture=Mixture(0, 0))
        assert now() - start <= 1.0 + PREFILL * 3 + 1e-6
        answer = await asked
        assert last(answer).outcome == "ok"
        assert room.idle
