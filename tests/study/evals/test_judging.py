"""Runs put before a judge: what is asked, kept, settled, repeated, and how it is summed up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from math import isnan, log
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fake_judge import FakeJudge, Json, Said, completion, make_run, refusal

from dmoa.errors import BackendRefusedError, UsageError
from dmoa.study.evals.docket import Wish, is_switched
from dmoa.study.evals.judge import Judge
from dmoa.study.evals.judged import UNJUDGED_MAX, Tally, tally
from dmoa.study.evals.judging import IN_A_ROW, judge_run
from dmoa.study.evals.records import Answer, Item, Judgement
from dmoa.study.evals.template import parse_template
from dmoa.study.lines import Lines

URI = "openai:http://127.0.0.1:9/v1#judge"
NAME = "local@n1"
WORTH = {f"mine{number}": log(3.0) for number in range(100)} | {"theirs": 0.0}
"""The judge prefers ours by 3 to 1."""


def items_of(count: int, **more: Any) -> tuple[Item, ...]:
    more = {"reference": "theirs", "reference_model": "baseline-model"} | more
    return tuple(Item(f"i{at}", "set", (f"Task {at}?",), **more) for at in range(count))


def texts(count: int) -> tuple[str, ...]:
    return tuple(f"mine{at:02}" if at > 9 else f"mine{at}" for at in range(count))


class Court:
    """A run of one configuration, and a judge; `sit` lets it judge, `tallies` has the result."""

    def __init__(self, place: Path, count: int = 6, **more: Any) -> None:
        self.fake = FakeJudge(WORTH, **more)
        self.folder = make_run(place, items_of(count), {NAME: texts(count)})
        self.told: list[tuple[int, int, str]] = []
        self.concurrency = 1

    async def sit(self, wish: Wish | None = None, **more: float) -> Tally:
        return (await self.all(wish, **more))[0]

    async def all(self, wish: Wish | None = None, **more: float) -> tuple[Tally, ...]:
        self.judge = Judge(URI, transport=self.fake.transport, **more)
        docket, self.bench = await judge_run(
            self.folder,
            self.judge,
            wish or Wish(),
            concurrency=self.concurrency,
            report=lambda *told: self.told.append(told),
        )
        return tally(docket, self.bench)

    @property
    def rows(self) -> list[Judgement]:
        return list(self.folder.rows(self.folder.judgements_file, "judgement", Judgement))


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return Court(tmp_path)


# -- both orders, or one ------------------------------------------------------------------


async def test_every_answer_is_judged_in_both_orders(court: Court) -> None:
    found = await court.sit()
    assert (found.items, found.judged, found.pairs, found.flips) == (6, 6, 6, 0)
    assert found.win_rate == pytest.approx(75.0)
    assert found.first == pytest.approx(0.5)
    assert found.graded == 1.0
    assert found.prompt_tokens == 1200
    assert court.told[0][:2] == (0, 12)
    assert court.told[-1] == (12, 12, "1212 tokens")
    assert len({each.key for each in court.rows}) == 12
    for each in court.rows:
        assert each.preference == pytest.approx(0.75)
        assert each.reference == "baseline-model"
    prompts = [each["messages"][-1]["content"] for each in court.fake.bodies]
    assert prompts[0].index("mine0") < prompts[0].index("theirs")
    assert prompts[1].index("mine0") > prompts[1].index("theirs")
    assert [each.swapped for each in court.rows[:2]] == [False, True]


async def test_one_order_is_that_of_alpaca_eval(court: Court) -> None:
    court.fake.bias = 50.0
    found = await court.sit(Wish(both=False))
    for each in court.rows:
        number = each.item[1:]
        first = random.Random(f"is_switched_outputsTask {number}?0").choices([False, True], k=1)[0]
        assert each.swapped is not first
        assert each.preference == pytest.approx(float(first))
    assert 0.0 < found.win_rate < 100.0
    assert {is_switched("Task 0?", seed) for seed in range(20)} == {False, True}


async def test_a_judge_that_looks_at_places_alone_flips_and_gives_no_wins(court: Court) -> None:
    court.fake.bias = 50.0
    found = await court.sit()
    assert found.flips == found.pairs == 6
    assert found.first == pytest.approx(1.0)
    assert found.win_rate == pytest.approx(50.0)


async def test_draws_are_asked_one_by_one(court: Court) -> None:
    answers = [completion("m", {"m": 0.9, "M": 0.1}), completion("m", {"m": 0.5, "M": 0.5})]
    court.fake.say = lambda _: answers[len(court.fake.bodies) % 2]
    found = await court.sit(Wish(draws=2, both=False))
    assert len(court.rows) == 12
    assert [each.draw for each in court.rows[:2]] == [0, 1]
    assert found.judged == 6
    assert abs(found.win_rate - 50.0) <= 20.0


# -- what needs no judge ------------------------------------------------------------------


async def test_missing_answers_lose_and_the_same_text_is_a_draw(tmp_path: Path) -> None:
    court = Court(tmp_path)
    refused = Answer("i1", NAME, "n1", "refused", http=429)
    cut_off = Answer("i2", NAME, "n1", "expired", ("half of",), http=504)
    blank = Answer("i3", NAME, "n1", "answered", (" \n",))
    outputs = ("mine0", refused, cut_off, blank, "theirs", None)
    court.folder = make_run(tmp_path / "run", items_of(6), {NAME: outputs})
    found = await court.sit()
    assert (found.items, found.judged, found.unasked) == (5, 5, 1)
    assert (found.no_answer, found.same_text) == (3, 1)
    assert found.win_rate == pytest.approx((75 + 0 + 0 + 0 + 50) / 5)
    assert len(court.fake.bodies) == 2
    lost = [each for each in court.rows if each.item == "i1"]
    assert [(each.verdict, each.preference, each.detail) for each in lost] == [
        ("judged", 0.0, "no answer")
    ] * 2
    assert found.first == pytest.approx(0.5)
    assert found.prompt_tokens == 200


async def test_an_answer_without_a_reference_is_not_judged(tmp_path: Path) -> None:
    court = Court(tmp_path)
    items = (*items_of(3), replace_item(items_of(4)[3], reference=""))
    court.folder = make_run(tmp_path / "run", items, {NAME: texts(4)})
    found = await court.sit()
    assert (found.items, found.judged, found.unreferenced) == (4, 3, 1)
    assert found.unjudged == 0.25


def replace_item(item: Item, **more: Any) -> Item:
    return Item(**{name: getattr(item, name) for name in item.__struct_fields__} | more)


async def test_items_with_a_metric_are_left_to_it_beside_a_baseline(tmp_path: Path) -> None:
    court = Court(tmp_path)
    known = Item("sum", "sums", ("1 + 1?",), answers=("2",), metric="numeric")
    court.folder = make_run(tmp_path / "run", (*items_of(1), known), {NAME: texts(2)})
    assert (await court.sit()).items == 1


async def test_a_configuration_may_be_the_reference(tmp_path: Path) -> None:
    court = Court(tmp_path)
    known = tuple(
        Item(f"i{at}", "sums", ("one", "two"), answers=("2",), metric="exact") for at in range(4)
    )
    both = tuple(Answer(i.id, "dmoa-m1k2", "n1", "answered", ("mine1", "mine1")) for i in known)
    half = Answer("i0", NAME, "n1", "answered", ("theirs",))
    theirs = (half, *(Answer(i.id, NAME, "n1", "answered", ("a", "theirs")) for i in known[1:]))
    court.folder = make_run(tmp_path / "run", known, {NAME: theirs, "dmoa-m1k2": both})
    (found,) = await court.all(Wish(reference=NAME))
    assert found.configuration == "dmoa-m1k2"
    assert (found.items, found.judged, found.unreferenced) == (4, 3, 1)
    prompt = court.fake.bodies[0]["messages"][-1]["content"]
    assert "(turn 1 of 2)\none\n\n(turn 2 of 2)\ntwo" in prompt
    assert "(answer 2 of 2)\nmine1" in prompt
    assert court.rows[0].reference == NAME


async def test_what_cannot_be_judged_is_refused_before_anybody_is_asked(court: Court) -> None:
    for wish, why in [
        (Wish(configurations=("nobody",)), "no configuration 'nobody'"),
        (Wish(reference="nobody"), "no configuration 'nobody'"),
        (Wish(reference=NAME), "nothing to judge"),
    ]:
        with pytest.raises(UsageError, match=why):
            await court.sit(wish)
    court.folder.write_items(items_of(6, reference=""))
    with pytest.raises(UsageError, match=r"no item .* has a baseline"):
        await court.sit()
    assert not court.fake.bodies
    assert not court.folder.judgements_file.exists()


# -- once and only once -------------------------------------------------------------------


async def test_nothing_is_judged_twice(court: Court) -> None:
    first = await court.sit()
    size = court.folder.judgements_file.stat().st_size
    assert await court.sit() == first
    assert len(court.fake.bodies) == 12
    assert (court.bench.asked, court.bench.known) == (0, 12)
    assert court.folder.judgements_file.stat().st_size == size
    await court.sit(Wish(both=False))
    assert len(court.fake.bodies) == 12


async def test_a_killed_run_goes_on(court: Court) -> None:
    await court.sit()
    lines = court.folder.judgements_file.read_bytes().splitlines(keepends=True)
    court.folder.judgements_file.write_bytes(b"".join(lines[:5]) + lines[5][:40])
    again = await court.sit()
    assert (court.bench.asked, court.bench.known) == (7, 5)
    assert again.judged == 6
    assert len(court.rows) == 12


async def test_what_changed_is_judged_anew_and_the_last_word_holds(tmp_path: Path) -> None:
    court = Court(tmp_path)
    await court.sit()
    before = court.folder.answers_file.read_bytes()
    with Lines(court.folder.answers_file) as log:
        log.add("answer", Answer("i0", NAME, "n1", "answered", ("mine77",)))
    await court.sit()
    assert (court.bench.asked, court.bench.known) == (2, 10)
    court.folder.answers_file.write_bytes(before)
    await court.sit()
    assert court.bench.asked == 0
    rows = [each for each in court.rows if each.item == "i0"]
    assert [each.key for each in rows[-2:]] == [each.key for each in rows[:2]]
    assert len(rows) == 6
    await court.sit()
    assert len([each for each in court.rows if each.item == "i0"]) == 6


async def test_another_judge_or_template_asks_anew(court: Court) -> None:
    await court.sit()
    words = "<|im_start|>user\n{instruction} {output_1} {output_2}\n<|im_end|>"
    await court.sit(Wish(template=parse_template(words, "mine")))
    assert court.bench.asked == 12


async def test_the_same_texts_of_two_configurations_are_judged_once(tmp_path: Path) -> None:
    court = Court(tmp_path)
    outputs = {NAME: texts(4), "dmoa-m1k2-best": (*texts(3), "mine9")}
    court.folder = make_run(tmp_path / "run", items_of(4), outputs)
    one, two = await court.all()
    assert (court.bench.asked, court.bench.copied) == (10, 6)
    assert (one.judged, two.judged) == (4, 4)
    assert (one.prompt_tokens, two.prompt_tokens) == (800, 200)
    assert len(court.folder.judgements()) == 16
    copied = [each for each in court.rows if each.detail]
    assert {each.detail for each in copied} == {f"as of {NAME}"}
    # and by a later start, of what an earlier one asked
    court.folder.judgements_file.write_bytes(
        b"".join(
            line
            for line in court.folder.judgements_file.read_bytes().splitlines(keepends=True)
            if b"as of" not in line
        )
    )
    await court.all()
    assert (court.bench.asked, court.bench.copied) == (0, 6)


async def test_many_are_asked_at_once_but_no_more(tmp_path: Path) -> None:
    court = Court(tmp_path, count=20)
    court.concurrency = 4
    under_way = most = 0

    async def slow(request: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(1)
        under_way -= 1
        return court.fake.transport.handler(request)

    judge = Judge(URI, transport=httpx2.MockTransport(slow))
    began = asyncio.get_running_loop().time()
    await judge_run(court.folder, judge, Wish(), concurrency=4, report=lambda *_: None)
    assert most == 4
    assert asyncio.get_running_loop().time() - began == pytest.approx(1 + 10)  # the first alone


# -- a judge's bad days -------------------------------------------------------------------


def sometimes(court: Court, every: int, said: Said) -> Callable[[Json], Said]:
    """Let every so-manieth question go wrong."""

    def say(body: Json) -> Said:
        return said if len(court.fake.bodies) % every == 0 else court.fake.compare(body)

    return say


@pytest.mark.parametrize(
    ("said", "verdict"),
    [(completion("Hm."), "rubbish"), (refusal(400, "no"), "refused"), ((200, {}, {}), "rubbish")],
)
async def test_what_is_no_judgement_is_nobodys_win(court: Court, said: Said, verdict: str) -> None:
    court.fake.say = sometimes(court, 3, said)
    found = await court.sit()
    assert found.verdicts == {"judged": 8, verdict: 4}
    assert found.judged == 2
    assert found.unjudged > UNJUDGED_MAX
    assert found.win_rate == pytest.approx(75.0)
    failed = [each for each in court.rows if each.verdict == verdict]
    assert [each.preference for each in failed] == [None] * 4
    # and is asked again by the next start, not by this one
    assert len(court.fake.bodies) == 12
    court.fake.say = court.fake.compare
    found = await court.sit()
    assert (court.bench.asked, found.judged) == (4, 6)
    assert {each.verdict for each in court.folder.judgements().values()} == {"judged"}


async def test_a_judge_that_never_answers_is_left_alone(tmp_path: Path) -> None:
    court = Court(tmp_path, count=40)
    court.fake.say = lambda _: refusal(400, "I do not judge")
    found = await court.sit()
    assert len(court.fake.bodies) == IN_A_ROW
    assert "I do not judge" in court.bench.gave_up
    assert (found.judged, found.unjudged) == (0, 1.0)
    assert isnan(found.win_rate)
    assert found.verdicts == {"refused": IN_A_ROW}


async def test_a_wrong_key_ends_at_once_and_keeps_what_there_is(court: Court) -> None:
    court.concurrency = 3

    def say(body: Json) -> Said:
        if len(court.fake.bodies) > 4:
            return refusal(401, "wrong key")
        return court.fake.compare(body)

    court.fake.say = say
    with pytest.raises(BackendRefusedError, match="wrong key"):
        await court.sit()
    assert len(court.rows) == 4
    assert len(court.fake.bodies) <= 7


async def test_a_changed_file_is_refused(court: Court) -> None:
    await court.sit()
    rows = court.folder.judgements_file.read_bytes()
    court.folder.judgements_file.write_bytes(rows.replace(b'"draw": 0', b'"draw": "x"', 1))
    with pytest.raises(UsageError, match="draw"):
        await court.sit()


# -- leanings -----------------------------------------------------------------------------


async def test_a_judge_that_loves_length_is_seen(tmp_path: Path) -> None:
    court = Court(tmp_path, count=20)
    outputs = tuple(f"mine{at:02}" + "!" * at for at in range(20))
    court.folder = make_run(tmp_path / "run", items_of(20), {NAME: outputs})
    court.fake.worth = {text: len(text) - 15.0 for text in outputs} | {"theirs": 0.0}
    found = await court.sit()
    assert found.length > 0.8
    court.fake.worth = dict.fromkeys((*outputs, "theirs"), 0.0)
    court.folder.judgements_file.unlink()
    assert isnan((await court.sit()).length)


async def test_one_identifier_alone_is_told(court: Court) -> None:
    answers = [completion("M", {"M": 0.9}), completion("M", {"m": 0.1, "M": 0.9})]
    court.fake.say = lambda _: answers[len(court.fake.bodies) % 2]
    found = await court.sit()
    assert (found.graded, found.lone) == (1.0, 0.5)
    assert [each.detail for each in court.rows[:2]] == ["", "only one identifier among the tokens"]


async def test_cut_answers_are_counted(tmp_path: Path) -> None:
    court = Court(tmp_path)
    court.folder = make_run(tmp_path / "run", items_of(2), {NAME: ("mine1", "mine2 " * 9000)})
    assert (await court.sit()).cut == 1
