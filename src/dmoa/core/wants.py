"""What an agent wants: effects now, and to be woken later.

A timer is named by kind and subject, so that there is at most one of each, and it can
be taken back. The heap is lazy: what was taken back is skipped, and swept out before it
outnumbers what is live.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Literal

from dmoa.core.effects import Effect

Kind = Literal["gossip", "layer", "probe", "query", "job", "preview"]


class Wants:
    """The effects of one step, and the timers of a whole life (seconds)."""

    def __init__(self) -> None:
        self._effects: list[Effect] = []
        self._due: dict[tuple[Kind, str], tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Kind, str]] = []
        self._order = 0

    def want(self, effect: Effect) -> None:
        """Want one more thing done, after those before."""
        self._effects.append(effect)

    @property
    def some(self) -> bool:
        """Tell whether anything was wanted in this step."""
        return bool(self._effects)

    def taken(self) -> list[Effect]:
        """Hand over the effects of this step."""
        effects, self._effects = self._effects, []
        return effects

    def wake(self, at: float, kind: Kind, subject: str) -> None:
        """Want to be woken; replaces an earlier timer of the same kind and subject."""
        self._order += 1
        self._due[kind, subject] = (at, self._order)
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(*when, *name) for name, when in self._due.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (at, self._order, kind, subject))

    def unwake(self, kind: Kind, subject: str) -> None:
        """Take a timer back, if there is one."""
        self._due.pop((kind, subject), None)

    @property
    def next(self) -> float | None:
        """When the earliest timer is due; None without timers."""
        while self._heap:
            at, order, kind, subject = self._heap[0]
            if self._due.get((kind, subject)) == (at, order):
                return at
            heappop(self._heap)
        return None

    def due(self, now: float) -> Iterator[tuple[Kind, str]]:
        """Take out every timer that is due, in order; those set meanwhile as well."""
        while (at := self.next) is not None and at <= now:
            _, _, kind, subject = heappop(self._heap)
            del self._due[kind, subject]
            yield kind, subject

    def check(self) -> None:
        """Assert that every timer is in the heap, and that the step's effects were taken."""
        assert len(self._heap) >= len(self._due)
        assert not self._effects
