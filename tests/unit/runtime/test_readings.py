"""How a prompt is fed to a backend that reads ahead, step by step, on virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from dmoa.core.effects import Read, Visit
from dmoa.core.job import Job, Profile, Prompt, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.prompts import render
from dmoa.errors import BackendRefusedError, BackendUnavailableError
from dmoa.runtime.reading import (
    FAILURES_MOST,
    RESTED_MOST,
    STEP_LEAST,
    STEP_MOST,
    STEP_PATIENCE,
    Readings,
)

PROFILE = Profile("scripted", layout="short", reads=True)
LETTERS = 4
"""Of a token of this backend."""
WORDS = "word " * 400
FINAL = JobId("a/1/1/2.0")
ONE, TWO = JobId("a/1/1/1.1"), JobId("a/1/1/1.2")


def now() -> float:
    return asyncio.get_running_loop().time()


class Reader:
    """A model that reads `pace` seconds a token, beyond what it read last; `fail` is raised."""

    def __init__(self, pace: float = 0.001) -> None:
        self.profile = PROFILE
        self.pace = pace
        self.fail: Exception | None = None
        self.texts: list[str] = []
        self.fresh: list[int] = []
        self.active = self.most = self.stopped = self.tries = 0
        self.stops_in = 0.0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def generate(self, prompt: Prompt):
        raise NotImplementedError

    async def read(self, prompt: Prompt) -> int:
        assert prompt.open is not None
        self.tries += 1
        if self.fail is not None:
            raise self.fail
        text = prompt.turns[prompt.open].content
        last = self.texts[-1] if self.texts else ""
        same = next((i for i, (a, b) in enumerate(zip(last, text, strict=False)) if a != b), None)
        known = min(len(last), len(text)) if same is None else same
        tokens = (len(text) - known) // LETTERS + 1
        self.active += 1
        self.most = max(self.most, self.active)
        try:
            await asyncio.sleep(tokens * self.pace)
        except asyncio.CancelledError:
            self.stopped += 1
            await asyncio.sleep(self.stops_in)
            raise
        finally:
            self.active -= 1
        self.texts.append(text)
        self.fresh.append(tokens)
        return len(text) // LETTERS


def job(*proposals: str, name: JobId = FINAL) -> Job:
    turns, sampling = (Turn("user", "why?"),), Sampling()
    return Job(
        name, QueryId("a/1/1"), NodeId("a"), "aggregator", 2, turns, proposals, sampling, 60.0
    )


def proposer(name: JobId = ONE) -> Job:
    return replace(job(name=name), role="proposer", layer=1)


def visit(name: JobId = ONE, outcome: str = "pending") -> Visit:
    return Visit(name, 1, "proposer", NodeId("b"), outcome)  # type: ignore[arg-type]


def make(reader: Reader, limits: Limits | None = None) -> Readings:
    readings = Readings(reader, limits or Limits(), draft=lambda *_: None)
    readings.profile = PROFILE
    for name in (ONE, TWO):
        readings.saw(visit(name))
    return readings


def whole(*proposals: str) -> str:
    return render(job(*proposals), PROFILE, Limits()).turns[0].content


async def idle(readings: Readings) -> None:
    """Wait until nothing more is read by itself."""
    del readings
    await asyncio.sleep(100)


async def test_what_is_there_is_read_in_steps_cut_at_words() -> None:
    reader = Reader()
    readings = make(reader)
    readings.read(Read(job(WORDS, "and one more")))
    await idle(readings)
    assert whole(WORDS, "and one more").startswith(reader.texts[-1])
    assert reader.texts[-1].endswith("2. and one more")
    assert all(b.startswith(a) for a, b in pairwise(reader.texts))
    assert all(fresh <= STEP_MOST + 1 for fresh in reader.fresh)
    assert len(reader.texts) < len(WORDS) / LETTERS / STEP_MOST + 5, "it took steps of full size"
    assert all(text.endswith("word") for text in reader.texts[3:-2])
    assert reader.most == 1
    assert await readings.settle(FINAL) == len(reader.texts[-1]) // LETTERS
    assert await readings.settle(FINAL) == 0


@pytest.mark.parametrize(("pace", "tokens"), [(0.001, 64), (0.25 / 32, 32), (0.1, 16)])
async def test_a_step_takes_as_long_as_a_job_may_wait(pace: float, tokens: int) -> None:
    reader = Reader(pace)
    readings = make(reader)
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(400 * pace)
    assert reader.fresh[2] == pytest.approx(tokens, abs=4)
    readings.cancel()


async def test_text_without_spaces_is_read_to_its_end_as_well() -> None:
    for pace in (0.001, 0.1):
        reader = Reader(pace=pace)
        readings = make(reader)
        text = "a word or two, and then " + 3000 * "x" + " and the end"
        readings.read(Read(job(text, "second")))
        await asyncio.sleep(10_000.0)
        assert whole(text, "second").startswith(reader.texts[-1])
        assert reader.texts[-1].endswith("second")
        assert reader.tries < 3000 / (STEP_LEAST * LETTERS) * 1.5
        assert all(len(one) < len(other) for one, other in pairwise(reader.texts))
        await asyncio.gather(*readings.cancel(), return_exceptions=True)


async def test_text_is_read_as_it_is_written_but_not_every_word() -> None:
    reader = Reader()
    readings = make(reader)
    readings.read(Read(job("mine"), follow=(ONE,)))
    for word in WORDS.split()[:200]:
        readings.draft(proposer(), f"{word} ")
        await asyncio.sleep(0.05)
    assert reader.texts[-1].endswith("word")
    assert whole("mine", WORDS).startswith(reader.texts[-1])
    left = len(whole("mine", "word " * 200)) - len(reader.texts[-1])
    assert left < (STEP_LEAST + 12) * LETTERS
    assert all(STEP_LEAST <= fresh <= STEP_LEAST + 4 for fresh in reader.fresh[1:])
    readings.saw(visit(outcome="ok"))
    readings.read(Read(job("mine", "word " * 200)))
    await idle(readings)
    assert reader.texts[-1] == whole("mine", "word " * 200).partition("\nUse them")[0]
    readings.cancel()


async def test_only_the_newest_counts_where_the_machine_is_slow() -> None:
    reader = Reader(0.02)
    readings = make(reader)
    readings.read(Read(job("mine"), follow=(ONE,)))
    readings.draft(proposer(), "word " * 150)
    await asyncio.sleep(1)
    assert reader.most == 1
    assert len(reader.texts) <= 4
    readings.draft(proposer(), "more " * 30)
    await idle(readings)
    assert "more more" in reader.texts[-1]


async def test_of_a_lost_proposer_only_the_suffix_is_read_again() -> None:
    reader = Reader()
    readings = make(reader)
    readings.read(Read(job(WORDS), follow=(ONE,)))
    readings.draft(proposer(), "lost " * 100)
    await idle(readings)
    assert "lost lost" in reader.texts[-1]
    readings.saw(visit(outcome="lost"))
    readings.draft(proposer(), "late " * 100)
    readings.read(Read(job(WORDS), follow=(TWO,)))
    readings.draft(proposer(TWO), "next " * 100)
    reader.fresh.clear()
    await idle(readings)
    assert "lost" not in reader.texts[-1]
    assert "late" not in reader.texts[-1]
    assert "next next" in reader.texts[-1]
    assert sum(reader.fresh) < 150, "what came before it was not read again"


async def test_of_two_one_is_followed_until_the_other_is_well_ahead() -> None:
    reader = Reader()
    readings = make(reader)
    readings.read(Read(job("mine"), follow=(ONE, TWO)))
    readings.draft(proposer(ONE), "one " * 50)
    await idle(readings)
    readings.draft(proposer(TWO), "two " * 90)
    await idle(readings)
    assert "two" not in reader.texts[-1]
    readings.draft(proposer(TWO), "two " * 90)
    await idle(readings)
    assert "one" not in reader.texts[-1]
    assert "two two" in reader.texts[-1]


async def test_a_job_waits_for_the_step_under_way_and_no_longer() -> None:
    reader = Reader(0.01)
    readings = make(reader)
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(1.0)
    steps, began = len(reader.texts), now()
    read = await readings.settle(FINAL)
    assert len(reader.texts) == steps + 1
    assert now() - began < 0.3
    assert read == len(reader.texts[-1]) // LETTERS
    await idle(readings)
    assert len(reader.texts) == steps + 1
    assert (reader.active, reader.stopped) == (0, 0)


async def test_a_step_that_hangs_does_not_keep_a_job() -> None:
    reader = Reader(1e6)
    readings = make(reader)
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(1)
    assert await readings.settle(FINAL) == 0
    assert now() == pytest.approx(1 + STEP_PATIENCE)
    await asyncio.sleep(0.001)
    assert (reader.active, reader.stopped) == (0, 1)


async def test_a_job_that_is_stopped_as_it_waits_stops_the_step() -> None:
    reader = Reader(1e6)
    readings = make(reader)
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(1)
    waiting = asyncio.create_task(readings.settle(FINAL))
    await asyncio.sleep(1)
    waiting.cancel()
    await asyncio.sleep(0.001)
    assert waiting.cancelled()
    assert (reader.active, reader.stopped) == (0, 1)


async def test_a_rest_stops_the_step_and_what_follows_waits_until_it_has_ended() -> None:
    reader = Reader(0.1)
    reader.stops_in = 0.5
    readings = make(reader)
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(2)
    readings.rest(FINAL)
    readings.read(Read(job("mine", name=JobId("a/1/2/2.0"))))
    await idle(readings)
    assert (reader.stopped, reader.most) == (1, 1)
    assert reader.texts[-1].endswith("1. mine")


async def test_reading_goes_on_where_it_was_after_a_rest() -> None:
    reader = Reader(0.01)
    readings = make(reader)
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(3)
    readings.rest(FINAL)
    far = reader.texts[-1]
    await idle(readings)
    assert reader.texts[-1] == far
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(1)
    assert len(reader.texts[-1]) > len(far)
    assert all(len(text) > len(far) for text in reader.texts[reader.texts.index(far) + 1 :])
    readings.rest(FINAL)
    assert await readings.settle(FINAL) == len(reader.texts[-1]) // LETTERS


async def test_what_is_remembered_of_rested_prompts_is_bounded() -> None:
    readings = make(Reader())
    for count in range(3 * RESTED_MOST):
        name = JobId(f"a/1/{count}/2.0")
        readings.read(Read(job("mine", name=name)))
        readings.rest(name)
    assert len(readings._rested) == RESTED_MOST
    assert not readings._readings


async def test_a_prompt_that_is_refused_is_not_tried_again() -> None:
    reader = Reader()
    readings = make(reader)
    reader.fail = BackendRefusedError("not this template")
    for count in range(5):
        readings.read(Read(job(WORDS, *map(str, range(count)))))
        await idle(readings)
    assert reader.tries == 1
    assert await readings.settle(FINAL) == 0


async def test_a_backend_without_room_is_tried_again_a_few_times_with_newer_text() -> None:
    reader = Reader()
    readings = make(reader)
    reader.fail = BackendUnavailableError("busy")
    readings.read(Read(job(WORDS)))
    await idle(readings)
    assert reader.tries == 1
    reader.fail = None
    readings.read(Read(job(WORDS, "more")))
    await idle(readings)
    assert reader.texts[-1].endswith("2. more")
    reader.fail = BackendUnavailableError("busy")
    for count in range(9):
        readings.read(Read(job(WORDS, *map(str, range(count)))))
        await idle(readings)
    assert reader.tries == len(reader.texts) + FAILURES_MOST + 1


@pytest.mark.parametrize("error", [ZeroDivisionError("one over zero"), TypeError("odd")])
async def test_anything_else_is_logged_and_ends_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader()
    readings = make(reader)
    reader.fail = error
    readings.read(Read(job(WORDS)))
    await idle(readings)
    assert str(error) in caplog.text
    assert "word" not in caplog.text.replace("test_readings", "")
    assert await readings.settle(FINAL) == 0


async def test_texts_are_kept_only_of_jobs_under_way_and_bounded() -> None:
    readings = make(Reader(), Limits(proposal_bytes=64))
    readings.draft(proposer(JobId("a/1/9/1.1")), "of nobody ")
    for _ in range(100):
        readings.draft(proposer(), "ten chars ")
    assert {name: len(text) for name, text in readings._texts.items()} == {ONE: 70, TWO: 0}
    readings.saw(visit(ONE, "late"))
    readings.draft(proposer(), "too late ")
    readings.saw(visit(TWO, "ok"))
    assert readings._texts == {}


async def test_nothing_is_kept_where_the_backend_cannot_read() -> None:
    reader = Reader()
    readings = Readings(reader, Limits(), draft=lambda *_: None)
    readings.profile = replace(PROFILE, reads=False)
    readings.saw(visit())
    readings.draft(proposer(), "some text ")
    assert readings._texts == {}


async def test_closing_stops_the_steps_and_forgets_everything() -> None:
    reader = Reader(1.0)
    readings = make(reader)
    readings.draft(proposer(), "some text ")
    readings.read(Read(job(WORDS)))
    await asyncio.sleep(1)
    tasks = readings.cancel()
    assert len(tasks) == 1
    await asyncio.wait(tasks)
    assert (reader.active, reader.stopped) == (0, 1)
    assert not readings._texts
    assert not readings._readings


async def test_a_language_of_dense_letters_gets_shorter_steps() -> None:
    class Dense(Reader):
        async def read(self, prompt: Prompt) -> int:
            await super().read(prompt)
            return len(self.texts[-1])  # a token for every letter

    reader = Dense()
    readings = make(reader)
    readings.read(Read(job("見 " * 500)))
    await idle(readings)
    steps = [len(b) - len(a) for a, b in pairwise(reader.texts)]
    assert max(steps) <= STEP_MOST + 2
