"""Clocks that differ, ways that are cut in one direction, and nodes that lie."""

from __future__ import annotations

from math import nextafter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, Job, Sampling
from dmoa.core.messages import Decline, Gossip, Message, Proposal, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.sim.faults import Clock
from dmoa.sim.liars import LIES, Liar, Lie
from dmoa.sim.links import Links, Partition
from dmoa.sim.world import World
from dmoa.theory.laws import Fixed

A, B = NodeId("n1"), NodeId("n2")
NAME = JobId("n2/1/1/1.1")
JOB = Job(NAME, QueryId("n2/1/1"), B, "proposer", 1, (), (), Sampling(), 9.0)
SAID: tuple[Message, ...] = (
    Gossip(Digest(A, 1, 1, "toy", 1)),
    Propose(JOB),
    Proposal(NAME, Completion("yes", "toy", 1, 1), 0.0, 0.0),
    Decline(NAME, 3),
)


@given(st.floats(0.0, 1e5), st.floats(0.9, 1.1), st.floats(0.0, 1e5))
def test_a_clock_shows_a_moment_at_that_moment_and_not_before(
    offset: float, rate: float, shown: float
) -> None:
    clock = Clock(offset, rate)
    at = clock.moment(shown)
    assert clock.shows(at) >= shown
    assert clock.shows(at) - shown < 1e-9
    assert clock.shows(nextafter(at, -1e9) - 1e-9) < shown


def test_all_is_as_slow_as_the_clock_of_its_home() -> None:
    world = World(1, Fixed(10.0), seed=1, clocks=(Clock(77.0, 0.5),))
    query = world.ask(A, Mixture(0, 0), deadline=3.0)
    world.run(20.0)
    assert world.queries[query].ended == pytest.approx(6.0)


def test_a_cut_in_one_direction_lets_the_others_be_heard() -> None:
    cut = Partition(0.0, 9.0, ((0,),), one_way=True)
    assert cut.cuts(0, 1, 1.0, 1.0)
    assert not cut.cuts(1, 0, 1.0, 1.0)
    world = World(2, Fixed(0.1), seed=1, links=Links(partitions=(cut,)))
    world.run(8.0)
    assert world.agents[A].view.living(8.0) == [B]
    assert world.agents[B].view.living(8.0) == []
    world.run(12.0)
    assert world.agents[B].view.living(12.0) == [A]


@pytest.mark.parametrize("kind", LIES)
def test_every_lie_changes_something_and_is_bounded(kind: Lie) -> None:
    liar = Liar((kind,), 1.0, Random(1))
    changed = 0
    for message in SAID * 50:
        told = liar.say(A, B, message)
        changed += told != [(B, message)]
        assert len(told) <= 8
    assert changed >= 50
    assert len(liar._before) <= 32


def test_a_liar_that_does_not_lie_says_what_was_said() -> None:
    liar = Liar(LIES, 0.0, Random(1))
    assert [liar.say(A, B, message) for message in SAID] == [[(B, each)] for each in SAID]
