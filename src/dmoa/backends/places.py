"""The slots of a model by number: which job goes where, so that what was read is found there.

A slot keeps the text it saw last, so a job does well to go where it was read ahead, or where
most of that text is the beginning of its own, as in a conversation that goes on; and badly to
go where the prompt of another job is being read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from dmoa.core.job import Prompt
from dmoa.runtime.alike import common_length

_TEXT: Final = 8192
"""Characters kept of what a slot saw last, to compare with."""


@dataclass(slots=True)
class Place:
    """One slot: what it saw last, and the job whose prompt was read ahead in it, if any."""

    number: int
    pinned: str = ""
    text: str = ""


@dataclass(slots=True)
class Places:
    """Gives slots to jobs; a job waits only while none is free, the first to come first."""

    count: int
    _free: deque[Place] = field(init=False)
    """The least recently used first."""
    _turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        """All are free."""
        self._free = deque(Place(number) for number in range(self.count))
        self._turns = asyncio.Semaphore(self.count)

    @property
    def free(self) -> bool:
        """Tell whether a slot is free at once, and nobody waits for it."""
        return not self._turns.locked()

    async def take(self, prompt: Prompt) -> Place:
        """Take the slot that is best for a prompt; waits while none is free."""
        await self._turns.acquire()
        text = "\0".join(turn.content for turn in prompt.turns)[:_TEXT]
        job = prompt.job

        def worth(place: Place) -> tuple[bool, bool, int]:
            own = bool(job) and place.pinned == job
            alike = common_length(place.text, text)
            return own, not place.pinned, alike if 2 * alike > len(place.text) else 0

        best = max(self._free, key=worth)  # of equals the first: the least recently used
        self._free.remove(best)
        best.text, best.pinned = text, job if prompt.open is not None else ""
        return best

    def give(self, place: Place) -> None:
        """Give a slot back."""
        self._free.append(place)
        self._turns.release()
