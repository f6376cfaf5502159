from __future__ import annotations

import asyncio
import threading

import pytest
from net_room import PATIENT

from dmoa.net.zenoh_bridge import LARGE_FRAME, Bridge, Sender

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
