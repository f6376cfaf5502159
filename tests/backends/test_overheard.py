"""A model that is overheard: the same to its node, and in the log."""

from __future__ import annotations

import logging

import pytest

from dmoa.backends.fake import FakeBackend
from dmoa.backends.overheard import Overheard
from dmoa.core.job import Completion, Profile, Prompt, Sampling, Turn
from dmoa.errors import BackendError
from dmoa.runtime.ports import Tokens


async def test_it_answers_alike_and_tells_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dmoa")
    inner = FakeBackend("model", seconds=0.1)
    model = Overheard(inner)
    await model.open()
    assert model.profile == inner.profile
    prompt = Prompt("local", (Turn("user", "marked-prompt"),), Sampling(max_tokens=9))
    alone = [token async for token in inner.generate(prompt)]
    assert caplog.text == ""
    assert [token async for token in model.generate(prompt)] == alone
    answer = alone[-1]
    assert isinstance(answer, Completion)
    assert "local reads (user): marked-prompt" in caplog.text
    assert f"local wrote: {answer.text}" in caplog.text
    stopped = model.generate(prompt)
    await anext(stopped)
    await stopped.aclose()
    assert inner.active == 0
    inner.fail = "refused"
    with pytest.raises(BackendError):
        _ = [token async for token in model.generate(prompt)]
    assert "local failed: " in caplog.text
    await model.close()


class Deaf:
    """A model that cannot read ahead."""

    def __init__(self) -> None:
        self.profile = Profile("deaf")

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def generate(self, prompt: Prompt) -> Tokens:
        yield Completion(prompt.job, "deaf", 1, 1)


async def test_it_reads_ahead_where_its_model_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "dmoa")
    prompt = Prompt("aggregator", (Turn("system", "marked words"),), Sampling(), open=0)
    model = Overheard(FakeBackend(prefill=0.1))
    assert model.profile.reads
    assert await model.read(prompt) == 3
    assert "marked" not in caplog.text
    with pytest.raises(BackendError):
        await Overheard(Deaf()).read(prompt)
