"""What a fake model has read: one prompt in each slot, of which the next may find its beginning.

As in a real model's cache a prompt that begins as the one before it need only be read from
where they differ, and what followed there is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from dmoa.core.job import Turn
from dmoa.runtime.alike import common_length

BYTES_PER_TOKEN = 4
"""A fake model counts tokens by bytes."""

Text = tuple[tuple[str, bytes], ...]
"""A prompt as it is read: for each turn its role, and its words."""


def text_of(turns: Sequence[Turn]) -> Text:
    """Take the words of turns; of the last one they may go on."""
    return tuple((turn.role, turn.content.encode()) for turn in turns)


def size(text: Text) -> int:
    """Count the bytes of a text."""
    return sum(len(words) for _, words in text)


def begin(text: Text, length: int) -> Text:
    """Take the first `length` bytes of a text."""
    taken: list[tuple[str, bytes]] = []
    for role, words in text:
        if length <= 0:
            break
        taken.append((role, words[:length]))
        length -= len(words)
    return tuple(taken)


def common(one: Text, other: Text) -> int:
    """Count the bytes with which both begin."""
    total = 0
    for (role, words), (another, others) in zip(one, other, strict=False):
        if role != another:
            break
        same = common_length(words, others)
        total += same
        if same < max(len(words), len(others)):
            break
    return total


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one prompt. `job` names whose it was read ahead for, until that has come."""

    text: Text = ()
    job: str = ""
    busy: bool = False
    used: int = 0

    def known(self, text: Text) -> int:
        """Count the whole tokens of a text that are here."""
        return common(self.text, text) // BYTES_PER_TOKEN


class Prefixes:
    """The slots of a fake model, and what is in them."""

    def __init__(self, slots: int) -> None:
        self._slots = [Slot() for _ in range(slots)]
        self._turns = count(1)

    def take(self, text: Text, job: str) -> Slot | None:
        """Take a free slot: its own; else one that nothing was read ahead in; None if all work.

        Of several that with most of the text is taken, and then that which rested longest.
        """
        free = [slot for slot in self._slots if not slot.busy]
        if not free:
            return None

        def worth(slot: Slot) -> tuple[bool, bool, int, int]:
            own = bool(job) and slot.job == job
            return own, not slot.job, slot.known(text), -slot.used

        slot = max(free, key=worth)
        slot.busy = True
        return slot

    def leave(self, slot: Slot, job: str = "") -> None:
        """Give a slot back with what is in it; `job` is who will come for that."""
        slot.job, slot.busy, slot.used = job, False, next(self._turns)
