"""Time that was lived already, or is only dreamt, let pass again on a real clock, at any speed."""

from __future__ import annotations

import asyncio
from typing import Final

PAUSE: Final = 5.0
"""Seconds of a real clock that a pause lasts at most; what is left of it is leapt over."""
_BEHIND = 0.5
"""Seconds that it may be late; then time passes more slowly, as it would only race after them."""
_TURN = 0.02
"""Seconds after which others get a turn, if nothing was to be waited for meanwhile."""


class Pace:
    """A clock of its own, of a loop: `speed` of its seconds pass in one of the loop's.

    It stands still at `at` (seconds) until it is begun, and again once it was ended. It never
    shows more than what is waited for, as that has not happened yet.
    """

    def __init__(self, at: float = 0.0, speed: float = 1.0) -> None:
        self.speed = speed
        self.began = at
        self.leapt = 0.0
        """Seconds of this clock that were leapt over."""
        self._at = at
        self._since = 0.0
        self._until = at
        self._runs = False
        self._turned = 0.0

    @property
    def runs(self) -> bool:
        """Tell whether time passes."""
        return self._runs

    @property
    def now(self) -> float:
        """What it shows (seconds)."""
        return min(self._passed(), self._until) if self._runs else self._at

    def begin(self) -> None:
        """Let time pass."""
        self._set(self._at)
        self._runs = True

    def end(self) -> None:
        """Let it stand still where it is."""
        self._at, self._runs = self.now, False

    async def until(self, at: float) -> None:
        """Wait until it is `at`, or for `PAUSE` and then leap there; not where that is past."""
        self._until = max(at, self._until)
        wait = (at - self._passed()) / self.speed
        if wait <= 0.0 and _loop_time() - self._turned <= _TURN:
            return
        await asyncio.sleep(min(max(wait, 0.0), PAUSE))
        self._turned = _loop_time()
        if wait > PAUSE:
            self.leapt += max(0.0, at - self._passed())
        if wait > PAUSE or wait < -_BEHIND:
            self._set(at)

    def _passed(self) -> float:
        return self._at + (_loop_time() - self._since) * self.speed

    def _set(self, at: float) -> None:
        self._at, self._since = at, _loop_time()


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
