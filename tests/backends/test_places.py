"""Which slot of the embedded model a job gets, and what is remembered of chat templates."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dmoa.backends.heads import MARK, Heads
from dmoa.backends.places import Places
from dmoa.core.job import Prompt, Sampling, Turn
from dmoa.errors import BackendRefusedError, BackendUnavailableError


def prompt(text: str = "hello", job: str = "", at: int | None = None) -> Prompt:
    turns = (Turn("system", text), Turn("user", "why?"))
    return Prompt("aggregator", turns, Sampling(max_tokens=1), job=job, open=at)


async def through(places: Places, given: Prompt) -> int:
    """Let a job through, and tell its slot."""
    place = await places.take(given)
    places.give(place)
    return place.number


async def test_a_job_goes_where_its_prompt_was_read() -> None:
    places = Places(3)
    numbers = [await through(places, prompt("all alike", f"job{n}", 0)) for n in range(3)]
    assert sorted(numbers) == [0, 1, 2]
    for n in (2, 0, 1):
        assert await through(places, prompt("all alike, to the end", f"job{n}")) == numbers[n]
    assert [place.pinned for place in places._free] == ["", "", ""]


async def test_another_job_takes_the_slot_of_a_reading_only_if_there_is_no_other() -> None:
    places = Places(2)
    read = await through(places, prompt("the same text", "mine", 0))
    one = await places.take(prompt("the same text", "others"))
    assert one.number != read
    two = await places.take(prompt("something else", "third"))
    assert two.number == read
    places.give(one)
    last = await places.take(prompt("the same text", "mine"))
    assert last.number == one.number, "it does not wait for its own slot"


async def test_without_a_reading_it_goes_where_its_text_begins_alike() -> None:
    places = Places(3)
    for text in ("a long story", "another tale", "words"):
        await through(places, prompt(text))
    assert await through(places, prompt("another tale, and more")) == 1
    assert await through(places, prompt("a long story, and more")) == 0
    assert await through(places, prompt("quite different")) == 2, "the least recently used"


async def test_the_first_to_come_is_the_first_to_get_a_slot() -> None:
    places = Places(1)
    held = await places.take(prompt())
    assert not places.free
    order: list[int] = []

    async def wait(n: int) -> None:
        place = await places.take(prompt())
        order.append(n)
        places.give(place)

    tasks = [asyncio.create_task(wait(n)) for n in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    places.give(held)
    assert not places.free, "somebody waits for it"
    await asyncio.wait(tasks)
    assert order == [0, 2, 3]
    assert places.free


class Template:
    """Renders what `form` makes of the turns' texts."""

    def __init__(self, form: str = "<{0}><{1}>") -> None:
        self.form, self.count = form, 0

    async def __call__(self, given: Prompt) -> str:
        self.count += 1
        return self.form.format(*(turn.content for turn in given.turns))


async def test_a_head_is_rendered_once_for_all_steps() -> None:
    template = Template("first <{0}> then <{1}>")
    heads = Heads(template)
    for n in range(5):
        step = prompt("word " * n, f"job{n}", 0)
        step = replace(step, sampling=Sampling(max_tokens=100 - n))
        assert await heads.find(step) == "first <"
    assert template.count == 1
    assert await heads.find(prompt("x", at=1)) == "first <x> then <"


@pytest.mark.parametrize("form", ["{1}", "{0}{0}{1}", "{0!r}", "raised"])
async def test_a_template_that_does_not_keep_the_text_has_no_head(form: str) -> None:
    template = Template(form)
    heads = Heads(template)
    assert not await heads.can()
    before = template.count
    for _ in range(3):
        with pytest.raises(BackendRefusedError):
            await heads.find(prompt("x", at=0))
    assert template.count == before + 1, "it is not asked again and again"
    with pytest.raises(BackendRefusedError):
        await heads.find(prompt())


async def test_a_template_that_cannot_be_asked_now_is_asked_again() -> None:
    template = Template()
    down = True

    async def render(given: Prompt) -> str:
        if down:
            raise BackendUnavailableError("not yet")
        return await template(given)

    heads = Heads(render)
    assert not await heads.can()
    down = False
    assert await heads.can()


async def test_heads_are_few() -> None:
    template = Template()
    heads = Heads(template)
    for n in range(100):
        given = prompt(at=0)
        await heads.find(replace(given, turns=(given.turns[0], Turn("user", str(n)))))
    assert len(heads._known) == 16


def test_the_mark_holds_what_templates_are_known_to_change() -> None:
    assert all(part in MARK for part in ('"', "'", "<", "&", "\\", "\n\n", "{{", "{%", "\n   "))
    assert MARK.strip() == MARK
