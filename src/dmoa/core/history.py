"""The record of an agent's life: what happened, when, and what it wanted.

An agent is a function of its events, so a record can be replayed: feed its events to a
fresh agent made alike, and it must want the same effects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Protocol

from dmoa.core.agent import Agent
from dmoa.core.effects import Effect
from dmoa.core.events import Event
from dmoa.core.job import Profile
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import Policy


@dataclass(frozen=True, slots=True)
class Birth:
    """All that an agent is made with but its dice; `now` in seconds of its clock."""

    node: NodeId
    profile: Profile
    now: float
    incarnation: int
    limits: Limits
    timing: Timing
    policy: Policy
    url: str
    usual: Mixture
    trusted: tuple[NodeId, ...] = ()

    def agent(self, rng: Random) -> Agent:
        """Make the agent."""
        return Agent(
            self.node,
            self.profile,
            rng=rng,
            now=self.now,
            incarnation=self.incarnation,
            limits=self.limits,
            timing=self.timing,
            policy=self.policy,
            url=self.url,
            usual=self.usual,
            trusted=self.trusted,
        )


@dataclass(frozen=True, slots=True)
class Record:
    """One step of one agent; `raised` names the error that broke it off, where one did."""

    now: float
    event: Event
    effects: tuple[Effect, ...]
    raised: str = field(default="", repr=False)


class Handler(Protocol):
    """What can be replayed: an agent."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take an event."""
        ...


@dataclass(frozen=True, slots=True)
class Difference:
    """The first step, counted from 0, at which an agent does not want what it wanted `then`."""

    index: int
    then: Record
    now: Record


def fault(error: Exception) -> str:
    """Name an error that an agent broke off with."""
    return f"{type(error).__name__}: {error}"


def fingerprint(records: Iterable[Record]) -> str:
    """Hash a history; equal histories, equal hashes, in any process."""
    digest = sha256()
    for record in records:
        digest.update(repr(record).encode())
    return digest.hexdigest()


def difference(records: Iterable[Record], agent: Handler) -> Difference | None:
    """Find the first record that `agent` would not repeat; None if it repeats all.

    An agent that broke off then has to break off alike now.
    """
    for index, then in enumerate(records):
        try:
            now = Record(then.now, then.event, tuple(agent.handle(then.event, then.now)))
        except Exception as error:  # noqa: BLE001  (to find it is what a replay is for)
            now = Record(then.now, then.event, (), fault(error))
        # Of what is not a number no two are equal, but they are written alike.
        if now != then and (repr(now) != repr(then) or now.raised != then.raised):
            return Difference(index, then, now)
    return None


def replay(records: Iterable[Record], agent: Handler) -> int | None:
    """Find the first record whose effects `agent` would not want; None if it wants all."""
    found = difference(records, agent)
    return None if found is None else found.index
