"""What the benchmark of eager prefill measures with, and what it finds on virtual time."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from dmoa.backends.fake import FakeBackend
from dmoa.core.job import Completion, Prompt, Sampling, Turn
from dmoa.study.load.records import JobRecord, QueryRecord

WAYS = ("off", "own")
PLACE = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """Import the parts of the benchmark, which stand beside each other."""
    monkeypatch.syspath_prepend(str(PLACE))
    parts = ("accuracy", "load", "replay", "room", "rounding", "virtual", "virtual_load")
    return {part: import_module(f"eager_{part}") for part in parts}


# -- on virtual time ----------------------------------------------------------------------


@pytest.mark.parametrize(("fanout", "share"), [(2, 0.4), (4, 0.25)])
def test_an_aggregation_waits_for_little_but_its_tail(bench, fanout: int, share: float) -> None:
    off, own = bench["virtual"].run((1,), (fanout,), WAYS)
    assert own.waited <= share * off.waited
    assert own.left < 64 < off.left == off.prompt == own.prompt
    assert own.whole == pytest.approx(off.whole - (off.waited - own.waited))


def test_every_layer_gains_by_what_home_has_read(bench) -> None:
    off, own = bench["virtual"].run((2,), (1,), WAYS)
    assert own.whole < off.whole


# -- what is played -----------------------------------------------------------------------


async def test_a_part_is_played_word_by_word_in_time(bench) -> None:
    part = bench["room"].Part("one two  three four", 1.0, 3.0)
    player = bench["room"].Player({"q": [part]}, 0)
    loop, prompt = asyncio.get_running_loop(), Prompt("proposer", (Turn("user", "q"),), Sampling())
    heard = [(loop.time(), item) async for item in player.generate(prompt)]
    start = heard[0][0] - 1.5
    assert [(at - start, item) for at, item in heard[:-1]] == [
        (pytest.approx(at), word)
        for at, word in [(1.5, "one"), (2.0, " two"), (2.5, "  three"), (3.0, " four")]
    ]
    assert isinstance(heard[-1][1], Completion)
    assert heard[-1][1].text == part.text


def test_proposals_come_in_the_same_order_either_way(bench) -> None:
    for arm in bench["accuracy"].ARMS:
        parts = bench["accuracy"].played(["a", "b", "c"], arm)
        assert [part.text for part in parts] == ["a", "b", "c"]
        ends = [part.end for part in parts]
        assert ends == sorted(set(ends))


def test_a_recorded_model_reads_if_the_real_one_does(bench) -> None:
    recorded = bench["room"].Recorded
    assert hasattr(recorded(FakeBackend(prefill=0.1), {}), "read")
    assert not hasattr(recorded(bench["room"].Player({}, 0), {}), "read")


async def test_what_is_followed_ends_once_its_reader_has_come(bench) -> None:
    home = bench["room"].Recorded(FakeBackend(prefill=0.1), {})
    player = bench["room"].Player({"q": [bench["room"].Part("a b", 0.0, 0.5)]}, 0, follow=home)
    loop, prompt = asyncio.get_running_loop(), Prompt("proposer", (Turn("user", "q"),), Sampling())
    start = loop.time()
    reading = asyncio.create_task(
        home.read(Prompt("aggregator", (Turn("system", "word" * 20),), Sampling()))
    )
    await asyncio.sleep(0)
    async for _ in player.generate(prompt):
        pass
    assert reading.done()
    least = 2.0 + bench["room"].AT_REST
    assert least - 1e-6 <= loop.time() - start < least + bench["room"].AT_REST


def test_all_questions_have_what_is_played(bench) -> None:
    plays = bench["replay"].plays()
    assert plays.keys() == set(bench["replay"].QUESTIONS)
    most = max(bench["replay"].FANOUTS)
    assert {len(parts) for parts in plays.values()} == {most + 1}


# -- what is made of it -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "chance"), [(0, 0, 1.0), (0, 5, 1 / 16), (3, 3, 1.0), (1, 9, 22 / 1024)]
)
def test_mcnemar_is_that_of_a_fair_coin(bench, one: int, other: int, chance: float) -> None:
    assert bench["accuracy"].mcnemar(one, other) == pytest.approx(chance)
    assert bench["accuracy"].mcnemar(other, one) == pytest.approx(chance)


def test_only_tasks_that_were_answered_both_ways_count(bench) -> None:
    def line(
        item: str, arm: str, *, right: bool, text: str = "t", asked: str = "1"
    ) -> dict[str, object]:
        early = 60 if arm == "own" else 0
        return {
            "item": item,
            "arm": arm,
            "right": right,
            "text": text,
            "prompt": 80,
            "early": early,
            "asked": asked,
        }

    lines = [
        {"item": "a", "texts": ["x"]},
        line("a", "off", right=True),
        line("a", "own", right=True),
        line("b", "off", right=True),
        line("b", "own", right=False, text="another"),
        line("c", "own", right=True),
        line("d", "off", right=False, asked="2"),
        line("d", "own", right=True, asked="3"),
    ]
    found = bench["accuracy"].verdict(lines)
    counts = (found.items, found.cold, found.ahead, found.lost, found.won, found.same)
    assert counts == (2, 2, 1, 1, 0, 1)
    assert (found.difference, found.early, found.unlike) == (-50.0, 0.75, 1)
    with pytest.raises(ValueError, match="no task"):
        bench["accuracy"].verdict(lines[:2])


def test_texts_are_counted_that_rounding_left_alone(bench) -> None:
    ways = {"again": "a", "steps": "c"}
    lines = [{"item": "x", "texts": []}, {"item": "x", "cold": "a", **ways}]
    lines.append({"item": "y", "cold": "b", **ways})
    found = bench["rounding"].summary(lines)
    assert found == {"items": 2, "again": 1, "steps": 0}
    with pytest.raises(ValueError, match="nothing"):
        bench["rounding"].summary(lines[:1])


def test_who_plays_ends_after_those_before_it_were_read(bench) -> None:
    waits: list[str] = []

    class Reads:
        async def has_read(self) -> None:
            waits.append("")

    async def play(seat: int) -> None:
        room = bench["room"]
        part = room.Part("some words", 0.0, 0.001)
        player = room.Player({"q": [part] * 3}, seat, follow=Reads())
        prompt = Prompt("proposer", (Turn("user", "q"),), Sampling())
        waited = [len(waits) async for _ in player.generate(prompt)]
        assert waited == [0, 0, seat]

    for seat in (1, 2):
        waits.clear()
        asyncio.run(play(seat))


def test_a_load_on_virtual_time_is_the_same_both_ways_but_for_what_is_read(bench) -> None:
    line = bench["virtual_load"].one(0.3, 0, 40.0)
    assert line.asked > 30
    assert 0.05 < line.early < 0.9
    assert line.own < line.off
    middle, low, high = line.change
    assert low < middle < high
    assert f"{100 * middle:+.1f} % (" in bench["virtual_load"].text([asdict(line)])


def test_loads_are_compared_query_by_query(bench) -> None:
    def record(number: int, latency: float, status: str = "answered") -> QueryRecord:
        job = JobRecord("n1", 1, "proposer", "ok", 0.0, 0.5)
        return QueryRecord(number, 0, float(number), 0.0, latency, status, jobs=(job,))

    slow = [record(number, 2.0 + number % 2) for number in range(100)]
    quick = [record(number, 1.0 + 0.5 * (number % 2)) for number in range(100)]
    quick[50] = record(50, 9.0, "refused")
    told = bench["load"].compare({"off": slow, "own": quick})
    assert told["change"][0] == pytest.approx(-0.5, abs=0.01)
    assert (told["off"]["asked"], told["own"]["answered"], told["own"]["jobs"]) == (90, 89, 1.0)
    assert told["own"]["p95"] == 1.5
    assert told["enough"]
