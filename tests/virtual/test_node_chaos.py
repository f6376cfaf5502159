"""Everything at once, at drawn moments: every query ends once, and nothing is left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import example, given, settings
from hypothesis import strategies as st
from room import LATENCY, SECONDS, TOKENS, Room, now, room_of

from dmoa.backends.uri import FAILURES
from dmoa.core.effects import Answer
from dmoa.core.mixture import Mixture
from dmoa.errors import BackendError, QueryError
from dmoa.runtime import virtual

DEADLINE = 12.0
BEAT = SECONDS / TOKENS

Moments = st.one_of(
    st.floats(0, 4),
    # The very moments at which something happens.
    st.builds(
        lambda beats, ways: beats * BEAT + ways * LATENCY, st.integers(0, 40), st.integers(0, 8)
    ),
)


@dataclass(frozen=True)
class Blow:
    """What befalls a node at one moment."""

    at: float
    node: Literal["b", "c", "d"]
    kind: Literal["close", "kill", "reset", "hint", "part", "fail", "anew"]
    fail: str = "unavailable"


@dataclass(frozen=True)
class Question:
    """What is asked of a node at one moment, and when whoever asked leaves."""

    at: float
    home: Literal["a", "b"]
    mixture: Mixture
    leaves: float | None = None


Blows = st.builds(
    Blow,
    Moments,
    st.sampled_from("bcd"),
    st.sampled_from(["close", "kill", "reset", "hint", "part", "fail", "anew"]),
    st.sampled_from(FAILURES),
)
Questions = st.builds(
    Question,
    Moments,
    st.sampled_from("ab"),
    st.builds(Mixture, st.integers(0, 2), st.integers(0, 3)),
    st.none() | Moments,
)


async def strike(room: Room, blow: Blow) -> None:
    await asyncio.sleep(blow.at)
    if blow.node not in room.nodes:
        return
    match blow.kind:
        case "close":
            await room.close(blow.node)
        case "kill" | "reset":
            room.kill(blow.node, reset=blow.kind == "reset")
        case "hint":
            room["a"].departed(room[blow.node].id)
        case "part":
            room.hub.partition(room["a"].id, room[blow.node].id)
        case "fail":
            room.backends[blow.node].fail = blow.fail
        case "anew":
            room.kill(blow.node)
            await room.add(blow.node, incarnation=2)


async def ask(room: Room, question: Question) -> None:
    await asyncio.sleep(question.at)
    node = room.nodes.get(question.home)
    if node is None:
        return
    start = now()
    task = asyncio.create_task(node.ask("hello", mixture=question.mixture, deadline=DEADLINE))
    if question.leaves is not None:
        asyncio.get_running_loop().call_later(question.leaves, task.cancel)
    await asyncio.wait([task])
    assert now() - start <= DEADLINE + 1e-6
    if task.cancelled():
        assert question.leaves is not None
        return
    error = task.exception()
    if error is None:
        answer = task.result()
        assert isinstance(answer, Answer)
        assert answer.completion.text.endswith("heard: hello")
        assert all(job.outcome != "pending" for job in answer.trace.jobs)
        missing = [job for job in answer.trace.jobs if job.outcome != "ok"]
        assert len(answer.trace.degraded) >= len(missing)
    else:
        assert isinstance(error, QueryError | BackendError), error


@given(questions=st.lists(Questions, min_size=1, max_size=4), blows=st.lists(Blows, max_size=4))
@example(
    questions=[Question(0, "a", Mixture(1, 3)), Question(0, "b", Mixture(1, 3))],
    blows=[Blow(SECONDS, "b", "close"), Blow(SECONDS + LATENCY, "c", "reset")],
)
@example(
    questions=[Question(0, "a", Mixture(2, 3)), Question(0, "b", Mixture(0, 0), 1.0)],
    blows=[Blow(0.5, "d", "anew"), Blow(1.0, "d", "hint"), Blow(1.0, "b", "anew")],
)
@settings(max_examples=40, deadline=None)
def test_whatever_happens_queries_end_once_and_nothing_is_left(
    questions: list[Question], blows: list[Blow]
) -> None:
    async def main() -> None:
        async with Room() as room:
            await room_of(room, *"abcd", slots=2)
            tasks: list[Any] = [ask(room, question) for question in questions]
            await asyncio.gather(*tasks, *(strike(room, blow) for blow in blows))
            # Jobs of homes that fell silent are here for as long as their patience.
            await asyncio.sleep(2 * DEADLINE)
            assert room.idle, room.active

    virtual.run(main())
