"""The record of an agent's life: what happened, when, and what it wanted.

An agent is a function of its events, so a record can be replayed: feed its events to a
fresh agent made alike, and it must want the same effects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from dmoa.core.effects import Effect
from dmoa.core.events import Event


@dataclass(frozen=True, slots=True)
class Record:
    """One step of one agent."""

    now: float
    event: Event
    effects: tuple[Effect, ...]


class Handler(Protocol):
    """What can be replayed: an agent."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event."""
        ...


def fingerprint(records: Iterable[Record]) -> str:
    """Hash a history; equal histories, equal hashes, in any process."""
    digest = sha256()
    for record in records:
        digest.update(repr(record).encode())
    return digest.hexdigest()


def replay(records: Iterable[Record], agent: Handler) -> int | None:
    """Find the first record whose effects `agent` would not want; None if it wants all."""
    for index, record in enumerate(records):
        if tuple(agent.handle(record.event, record.now)) != record.effects:
            return index
    return None
