from __future__ import annotations

import asyncio
import time

import pytest

from dmoa.runtime import virtual


async def test_tests_run_on_the_virtual_loop() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual.VirtualLoop)
    assert loop.time() == 0.0


@pytest.mark.real
async def test_marked_tests_run_on_a_real_loop() -> None:
    assert not isinstance(asyncio.get_running_loop(), virtual.VirtualLoop)


def test_a_day_passes_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(86400)
        return asyncio.get_running_loop().time()

    start = time.perf_counter()
    assert virtual.run(main()) == pytest.approx(86400)
    assert time.perf_counter() - start < 5


async def test_timers_fire_in_order_and_on_time() -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, float]] = []

    async def nap(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, round(loop.time(), 9)))

    await asyncio.gather(nap("c", 3), nap("a", 0.001), nap("b", 2.5))
    assert seen == [("a", 0.001), ("b", 2.5), ("c", 3.0)]


async def test_a_timeout_cuts_a_wait() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(7):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == pytest.approx(7)


def test_two_runs_are_alike() -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def nap(number: int) -> None:
            await asyncio.sleep(number % 3)
            order.append(number)

        await asyncio.gather(*(nap(number) for number in range(50)))
        return order

    assert virtual.run(main()) == virtual.run(main())


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    async def main() -> None:
        await asyncio.create_task(asyncio.Event().wait(), name="the-stuck-one")

    with pytest.raises(RuntimeError, match=r"deadlock(.|\n)*the-stuck-one waits at"):
        virtual.run(main())


def test_what_main_raises_comes_out() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise LookupError("me")

    with pytest.raises(LookupError, match="me"):
        virtual.run(main())


def test_the_loop_is_closed_behind_it() -> None:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert virtual.run(main()).is_closed()
