from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest
import zenoh
from net_room import PATIENT, A, B

from dmoa.errors import PeerSilentError
from dmoa.net.exchange import Inquiry
from dmoa.net.zenoh_bridge import LARGE_FRAME, Bridge, Gate, Question, Sender, UrgentWay

pytestmark = pytest.mark.real


async def test_what_is_small_is_sent_at_once_on_the_loop() -> None:
    sender, threads = Sender(), list[threading.Thread]()
    assert sender.post("b", lambda: threads.append(threading.current_thread())) is None
    assert threads == [threading.main_thread()]
    await sender.close()


async def test_what_follows_a_large_frame_keeps_behind_it() -> None:
    sender, sent, goes_on = Sender(), list[str](), threading.Event()

    def large() -> None:
        goes_on.wait(PATIENT)
        sent.append("large")

    first = sender.post("b", large, LARGE_FRAME)
    last = sender.post("b", lambda: sent.append("small"))
    assert sender.post("c", lambda: sent.append("other peer")) is None
    goes_on.set()
    assert first is not None
    assert last is not None
    await asyncio.wait_for(asyncio.gather(first, last), PATIENT)
    assert sent == ["other peer", "large", "small"]
    await asyncio.sleep(0)
    assert sender.post("b", lambda: sent.append("direct")) is None
    await sender.close()


async def test_leaving_does_not_wait_long_for_a_peer_that_takes_nothing() -> None:
    sender, goes_on = Sender(), threading.Event()
    stuck = sender.post("b", lambda: goes_on.wait(PATIENT) and None, LARGE_FRAME)
    behind = sender.post("b", lambda: None)
    start = asyncio.get_running_loop().time()
    await sender.close()
    assert asyncio.get_running_loop().time() - start < PATIENT / 2
    assert stuck is not None
    assert behind is not None
    await asyncio.wait_for(asyncio.gather(stuck, behind), PATIENT / 2)
    assert sender.post("b", pytest.fail) is None
    goes_on.set()


def test_a_thread_may_call_a_loop_that_is_closed() -> None:
    async def make() -> Bridge:
        return Bridge()

    asyncio.run(make()).soon(pytest.fail)


class Session:
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get(self, key: str, *_: object, **__: Any) -> None:
        self.asked.append(key)


async def test_a_probe_given_up_behind_a_large_frame_is_never_sent() -> None:
    sender, session, goes_on = Sender(), Session(), threading.Event()
    sender.post("b", lambda: goes_on.wait(PATIENT) and None, LARGE_FRAME)
    inquiry = Inquiry(B, patience=0.05)
    question = Question(cast("zenoh.Session", session), Bridge(), sender, inquiry, urgent=True)
    await asyncio.wait_for(question.ask("standing/b/a", b"", 0.05), PATIENT)
    with pytest.raises(PeerSilentError):
        await inquiry.answer()
    question.drop()
    goes_on.set()
    await sender.close()
    assert session.asked == []


def test_a_gate_bounds_each_caller_and_all_of_them() -> None:
    gate = Gate(2, 3)
    assert [gate.enter(name) for name in ("a", "a", "a", "b", "b", "c")] == [
        *(True, True, False),
        *(True, False, False),
    ]
    gate.leave("a")
    assert gate.enter("b")
    assert not gate.enter("a")
    for name in ("a", "b", "b"):
        gate.leave(name)
    assert not gate._inside


def test_a_gate_remembers_nobody_whom_it_turned_away() -> None:
    gate = Gate(1, 1)
    assert gate.enter("a")
    assert not any(gate.enter(f"n{number}") for number in range(100))
    assert set(gate._inside) == {"a"}


class Query:
    """Remembers in which threads it was replied to and dropped."""

    key_expr = "standing/b/a"

    def __init__(self) -> None:
        self.done: list[tuple[str, bool]] = []

    def reply(self, key: str, payload: bytes, **_: Any) -> None:
        assert (key, payload) == (self.key_expr, b"so")
        self._note("reply")

    def drop(self) -> None:
        self._note("drop")

    def _note(self, act: str) -> None:
        self.done.append((act, threading.current_thread() is threading.main_thread()))


async def test_a_probe_is_answered_by_a_thread_and_then_leaves_the_gate() -> None:
    sender, gate, told, untold = Sender(), Gate(2, 2), Query(), Query()
    for query in (told, untold):
        assert gate.enter(A)
        way = UrgentWay(sender, A, cast("zenoh.Query", query), gate)
        if query is told:
            way.put(b"so")
        way.end()
    assert not gate.enter(A)
    await sender.close()
    assert told.done == [("reply", False), ("drop", False)]
    assert untold.done == [("drop", False)]
    assert not gate._inside
