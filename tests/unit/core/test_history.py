from __future__ import annotations

from dataclasses import replace
from random import Random

from dmoa.core.agent import Agent
from dmoa.core.effects import Cancel, Effect
from dmoa.core.events import Abandoned, Asked, Event, Served, Woke
from dmoa.core.history import Record, fingerprint, replay
from dmoa.core.job import Profile
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId

from .room import HI, completion

EVENTS: list[tuple[float, Event]] = [
    (0.0, Woke()),
    (0.5, Asked(QueryId("a/1/1"), HI, Mixture(1, 0))),
    (1.0, Served(JobId("a/1/1/1.0"), completion("draft"))),
    (1.5, Asked(QueryId("a/1/2"), HI, Mixture(0, 0))),
    (2.0, Abandoned(QueryId("a/1/2"))),
    (3.0, Served(JobId("a/1/1/2.0"), completion("answer"))),
]


def make_agent(slots: int = 1) -> Agent:
    return Agent(NodeId("a"), Profile("toy", slots=slots), rng=Random(1), now=0.0)


def live() -> list[Record]:
    agent = make_agent()
    return [Record(now, event, tuple(agent.handle(event, now))) for now, event in EVENTS]


def test_a_life_can_be_lived_again() -> None:
    assert replay(live(), make_agent()) is None


def test_the_first_difference_is_found() -> None:
    records = live()
    records[3] = replace(records[3], effects=(Cancel(JobId("a/1/1/1.0")),))
    assert replay(records, make_agent()) == 3


def test_another_agent_would_want_other_things() -> None:
    assert replay(live(), make_agent(slots=2)) == 0


def test_equal_histories_have_equal_fingerprints() -> None:
    assert fingerprint(live()) == fingerprint(live())
    assert fingerprint(live()) != fingerprint(live()[:-1])
    assert fingerprint(live()) != fingerprint(reversed(live()))
    assert len(fingerprint([])) == 64


def test_who_looks_at_an_agent_changes_nothing() -> None:
    dice = Random(3)
    start = 0.1  # where the clock has finer steps than the sums of job seconds
    moments = sorted(start + dice.uniform(0.0, 100.0) for _ in range(300))
    seen = Agent(NodeId("a"), Profile("toy"), rng=Random(1), now=start)
    unseen = Agent(NodeId("a"), Profile("toy"), rng=Random(1), now=start)
    for number, now in enumerate(moments):
        seen.census(now)
        seen.standings(now)
        seen.digest(now)
        if number % 3 == 0:
            asked = Asked(QueryId(f"a/1/{number}"), HI, Mixture(1, 0))
            assert seen.handle(asked, now) == unseen.handle(asked, now)


def test_an_agent_that_broke_off_must_break_off_alike() -> None:
    class Broken:
        def handle(self, event: Event, now: float) -> list[Effect]:
            raise AssertionError(f"{event} at {now}")

    step = Record(1.0, Woke(), (), "AssertionError: Woke() at 1.0")
    assert replay([step], Broken()) is None
    assert replay([replace(step, raised="")], Broken()) == 0
    assert replay([step], make_agent()) == 0
