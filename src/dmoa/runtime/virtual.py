"""Asyncio on a virtual clock: hours of waiting take no time, and always run alike.

Where a real loop would sleep until its next timer, this one moves its clock there.
Everything that measures by `loop.time()` (sleeps, timeouts, `call_later`) runs on it
unchanged; the clock starts at 0. Threads and sockets belong to another world: their
results come at no virtual moment, so nothing under this loop may wait for one.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Clock(selectors.SelectSelector):
    """A selector that does not wait, but moves `now` on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                message = "deadlock: every task waits, and no timer is set"
                raise RuntimeError(message + _waiting())
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that sleeps no longer than it takes to say so.

    When every task waits and no timer is set, it raises RuntimeError, which names
    them; a real loop would hang.
    """

    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        """Tell the virtual time in seconds since the loop was made."""
        return self._clock.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a virtual loop of its own, as `asyncio.run` would."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def _waiting() -> str:
    """Name the tasks of the loop that is about to give up, and the lines they wait at."""
    lines: list[str] = []
    for task in asyncio.all_tasks(asyncio.get_running_loop()):
        frames = task.get_stack(limit=1)
        place = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "nowhere"
        lines.append(f"\n  {task.get_name()} waits at {place}")
    return "".join(sorted(lines))
