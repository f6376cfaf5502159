"""The worlds bite liars' helpers: each bug in how peers that misbehave are met is found."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from dmoa.core import home, query, reputation
from dmoa.core.agent import Agent
from dmoa.core.messages import Proposal
from dmoa.core.names import NodeId
from dmoa.core.query import Query
from dmoa.core.reputation import Reputation
from dmoa.core.view import View
from dmoa.sim.world import World

from .dream import draw_world
from .planting import SEEDS, Plant, assert_found


def ask_whom_nobody_trusts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(View, "trusts", lambda _self, _node: True)


def ask_the_shunned(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(View, "_welcome", lambda self, node, _now: self.trusts(node))


def leave_the_shunned_their_jobs(patch: pytest.MonkeyPatch) -> None:
    """A peer that is shunned keeps what it was given before."""
    patch.setattr(Reputation, "blame", deafened(Reputation.blame))


def deafened(blame: Callable[..., bool]) -> Callable[..., bool]:
    def quiet(self, node, offence, now: float) -> bool:
        blame(self, node, offence, now)
        return False

    return quiet


def serve_the_shunned(patch: pytest.MonkeyPatch) -> None:
    """Jobs of a peer that is shunned are taken as those of any other."""
    invited = Agent._invited

    def meek(self, sender: NodeId, job, now: float) -> None:
        with pytest.MonkeyPatch.context() as blind:
            blind.setattr(Reputation, "shunned", lambda *_: False)
            invited(self, sender, job, now)

    patch.setattr(Agent, "_invited", meek)


def pardon_who_starts_anew(patch: pytest.MonkeyPatch) -> None:
    """A new life of a peer begins with a clean sheet."""
    hear = View.hear

    def forgiving(self, digest, now: float) -> bool:
        reborn = hear(self, digest, now)
        if reborn:
            self.reputation._files.pop(digest.node, None)
        return reborn

    patch.setattr(View, "hear", forgiving)


def never_forgive(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reputation, "_fade", lambda *_: 1.0)


def blame_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reputation, "MOST", 1e9)


def read_rubbish(patch: pytest.MonkeyPatch) -> None:
    """Whatever a peer's model wrote is a proposal, if it wrote anything."""
    patch.setattr(home, "weigh", lambda written, _turns: (None, "" if written.text else "empty"))


def believe_who_speaks_of_others(patch: pytest.MonkeyPatch) -> None:
    """A peer may withdraw and propose jobs in the name of another, and pass on its digest."""
    patch.setattr("dmoa.core.agent.is_its_own", lambda *_: True)


def blame_whoever_is_late(patch: pytest.MonkeyPatch) -> None:
    """A reply that comes too late is taken for one that nobody asked for."""
    received = Agent._received

    def harsh(self, sender: NodeId, message, now: float) -> None:
        if isinstance(message, Proposal) and message.job not in self._home.seats:
            self._blame(sender, "replayed", now)
        received(self, sender, message, now)

    patch.setattr(Agent, "_received", harsh)


def trim_the_majority(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(query, "outliers", lambda texts: [*range(1, len(texts))])


def trim_whatever_is_asked(patch: pytest.MonkeyPatch) -> None:
    """Outliers are dropped without being asked for, and one is always found."""
    patch.setattr(query, "outliers", lambda texts: [0] if len(texts) > 2 else [])
    turn_over = Query.turn_over

    def eager(self) -> bool:
        self._trim()
        return turn_over(self)

    patch.setattr(Query, "turn_over", eager)


WARY = [
    ask_whom_nobody_trusts,
    ask_the_shunned,
    leave_the_shunned_their_jobs,
    serve_the_shunned,
    pardon_who_starts_anew,
    never_forgive,
    blame_without_end,
    read_rubbish,
    believe_who_speaks_of_others,
    blame_whoever_is_late,
    trim_the_majority,
    trim_whatever_is_asked,
]
"""Bugs of how peers that misbehave are met, for worlds with liars, or with peers to trust."""


@pytest.mark.parametrize("plant", WARY)
def test_a_bug_planted_in_what_keeps_liars_out_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_found(plant, monkeypatch, wary())


@cache
def wary() -> list[int]:
    """List worlds where liars are heard well, or where not everybody trusts everybody."""
    drawn = ((seed, draw_world(seed)) for seed in range(2 * SEEDS))
    return [seed for seed, world in drawn if world.trusted or (world.liars and heard(world))]


def heard(world: World) -> bool:
    return not (world.faults.loss or world.faults.delay or world.faults.broken)
