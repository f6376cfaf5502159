"""Lives that are written down and read back: nothing is lost, and what differs is found."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from dmoa.core.agent import Agent
from dmoa.core.effects import Announce, Effect
from dmoa.core.events import Abandoned, Asked, Event, Received, Woke
from dmoa.core.history import Birth, Record, difference, replay
from dmoa.core.job import Profile, Sampling, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Message, Probe
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.core.policy import LIVE, PAPER
from dmoa.errors import UsageError
from dmoa.runtime.records import _EFFECTS, _EVENTS, _MESSAGES, Reader, head_line, step_line

BIRTH = Birth(
    NodeId("a"), Profile("toy"), 0.1, 7, Limits(), Timing(), LIVE, "http://a", Mixture(2, 3)
)


def written(file: Path, birth: Birth, rng: Random, records: list[Record]) -> Path:
    file.write_bytes(head_line(birth, rng) + b"".join(map(step_line, records)))
    return file


def lived(birth: Birth, rng: Random, events: list[tuple[float, Event]]) -> list[Record]:
    agent = birth.agent(rng)
    return [Record(now, event, tuple(agent.handle(event, now))) for now, event in events]


def asked(text: str = "hello", **other: Any) -> Asked:
    return Asked(QueryId("a/7/1"), (Turn("user", text),), Mixture(1, 1), **other)


def read(file: Path) -> list[Record]:
    with Reader(file) as reader:
        return list(reader.records())


def refusal(file: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read(file)
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return caught.value.message


def test_every_word_of_the_protocol_can_be_written() -> None:
    assert set(_EVENTS.values()) == set(get_args(Event))
    assert set(_EFFECTS.values()) == set(get_args(Effect))
    assert set(_MESSAGES.values()) == set(get_args(Message))


def test_a_fresh_agent_has_all_that_the_first_had(tmp_path: Path) -> None:
    rng = Random(3)
    rng.gauss(0, 1)  # keeps a second number back
    with Reader(written(tmp_path / "r", BIRTH, rng, [])) as reader:
        assert reader.birth == BIRTH
        assert reader.dice == rng.getstate()
        agent = reader.agent()
    assert agent.digest(0.1) == BIRTH.agent(rng).digest(0.1)
    assert {each.name for each in fields(Birth)} | {"rng", "view"} == {
        *Agent.__init__.__annotations__
    } - {"return"}


def test_numbers_without_an_end_and_odd_texts_come_back(tmp_path: Path) -> None:
    sampling = Sampling(temperature=math.inf, seed=10**30)
    events = [(0.1 + 0.2, asked("é \n\x00", sampling=sampling, deadline=math.inf))]
    records = lived(BIRTH, Random(1), [*events, (math.pi, Woke())])
    file = written(tmp_path / "r", BIRTH, Random(1), records)
    assert read(file) == records
    strange = [Record(1.0, asked("half of \ud800", deadline=math.nan), ())]
    back = read(written(file, BIRTH, Random(1), strange))
    assert repr(back) == repr(strange)


def test_what_is_not_a_number_is_no_difference() -> None:
    class Odd:
        def handle(self, event: Event, now: float) -> list[Effect]:
            del event
            return [Announce(replace(BIRTH.agent(Random()).digest(now), capacity=float("nan")))]

    record = Record(1.0, Woke(), tuple(Odd().handle(Woke(), 1.0)))
    assert replay([record], Odd()) is None


def test_an_agent_that_broke_off_must_break_off_alike(tmp_path: Path) -> None:
    class Broken:
        def handle(self, event: Event, now: float) -> list[Effect]:
            raise AssertionError(f"{event} at {now}")

    step = Record(1.0, Woke(), (), "AssertionError: Woke() at 1.0")
    assert read(written(tmp_path / "r", BIRTH, Random(1), [step])) == [step]
    assert replay([step], Broken()) is None
    assert replay([replace(step, raised="KeyError: 1")], Broken()) == 0
    assert replay([replace(step, raised="")], Broken()) == 0
    found = difference([step], BIRTH.agent(Random(1)))
    assert found is not None
    assert found.now.raised == ""


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    events: list[tuple[float, Event]] = [(1.0, Woke()), (2.0, Woke())]
    file = written(tmp_path / "r", BIRTH, Random(1), lived(BIRTH, Random(1), events))
    data = file.read_bytes()
    for cut in (1, 20):
        file.write_bytes(data[:-cut])
        with Reader(file) as reader:
            assert len(list(reader.records())) == 1
            assert reader.torn


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "r"
    file.write_bytes(b"")
    assert refusal(file) == f"{file} is empty"
    head = json.loads(head_line(BIRTH, Random(1)))
    for foreign in (
        *(b"\x00\xff", b"hello\n", b"[]\n", b"{}\n", b"[" * 100_000),
        json.dumps(head | {"dice": [3, [1], None]}).encode(),
        json.dumps(head | {"birth": {}}).encode(),
        json.dumps(head | {"birth": head["birth"] | {"usual": {"layers": -1}}}).encode(),
        head_line(BIRTH, Random(1))[:-200],
    ):
        file.write_bytes(foreign)
        assert refusal(file) == f"{file} is no record of a node"
    file.write_bytes(json.dumps(head | {"record": 2, "dmoa": "9.9"}).encode() + b"\n")
    assert refusal(file) == (
        f"{file} was written by dmoa 9.9 in format 2, and this one reads format 1"
    )
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        Reader(tmp_path / "none")


@pytest.mark.parametrize(
    "line",
    [
        *("{}", "[]", "0", "hello", '{"now":1.0,"event":["Woke",{}]}'),
        '{"now":"1","event":["Woke",{}],"effects":[]}',
        '{"now":1.0,"event":["Slept",{}],"effects":[]}',
        '{"now":1.0,"event":["Woke"],"effects":[]}',
        '{"now":1.0,"event":["Abandoned",{"query":1}],"effects":[]}',
        '{"now":1.0,"event":["Received",{"sender":1,"message":{"kind":"probe"}}],"effects":[]}',
        '{"now":1.0,"event":["Received",{"sender":"b","message":{"kind":[]}}],"effects":[]}',
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    steps = [
        Record(1.0, Received(NodeId("b"), Probe()), ()),
        Record(2.0, Abandoned(QueryId("q")), ()),
    ]
    file = written(tmp_path / "r", replace(BIRTH, policy=PAPER), Random(1), steps)
    assert read(file) == steps
    with file.open("a") as more:
        more.write(f"{line}\n")
    assert refusal(file) == f"{file}, line 4: is no step of a record"
