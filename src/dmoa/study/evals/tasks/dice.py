"""Dice whose throws follow from their name: the same on every machine and Python."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Throws numbered from 0, each a hash of the name and its number.

    The module `random` promises to repeat only its plain numbers from one Python to the next,
    and published results must not move with the interpreter.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thrown = 0

    def below(self, end: int) -> int:
        """Throw a whole number from 0 up to, but without, `end`."""
        found = sha256(f"{self._name}/{self._thrown}".encode()).digest()
        self._thrown += 1
        return int.from_bytes(found[:8], "big") % end

    def between(self, low: int, high: int) -> int:
        """Throw a whole number from `low` to `high`, both of them included."""
        return low + self.below(high - low + 1)

    def pick(self, some: Sequence[T]) -> T:
        """Take one of some."""
        return some[self.below(len(some))]

    def few(self, some: Sequence[T], count: int) -> list[T]:
        """Take `count` different places of `some`, in the order of the throws."""
        left = list(some)
        return [left.pop(self.below(len(left))) for _ in range(count)]

    def shuffled(self, some: Sequence[T]) -> list[T]:
        """Take all, in any order."""
        return self.few(some, len(some))

    def different(self, low: int, high: int, count: int) -> list[int]:
        """Throw `count` whole numbers from `low` to `high`, no two alike."""
        found: dict[int, None] = {}
        while len(found) < count:
            found[self.between(low, high)] = None
        return list(found)
