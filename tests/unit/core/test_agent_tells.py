"""What an agent tells of itself: its digest, its census, and how often it gossips."""

from __future__ import annotations

import pytest

from dmoa.core.effects import Announce, Census
from dmoa.core.job import Profile
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Propose
from dmoa.core.mixture import Mixture
from dmoa.core.policy import LIVE, PAPER, STEADY, Policy

from .room import Room, make_job


def test_a_census_counts_who_is_here_and_was() -> None:
    room = Room("ab", limits=Limits(queue_jobs=3))
    assert room.agents["a"].census(0.0) == Census(0, 0, 1, -1, 0.0, 0.0, 0.0, 0, 0, 0, 0)
    room.ask("a")
    room.ask("a")
    room.hear("a", "b", Propose(make_job("b/1/1/1.1")))
    room.hear("a", "b", Propose(make_job("b/1/2/1.1")))  # declined
    room.ask("a")  # refused
    room.pass_time(2.0)
    room.serve("a")
    room.pass_time(1.0)
    assert room.agents["a"].census(room.now) == Census(
        waiting=1,
        serving=1,
        slots=1,
        bound=-1,
        seconds=3.0,
        waiting_seconds=5.0,
        serving_seconds=3.0,
        queries=3,
        refused=1,
        declined=1,
        served=1,
    )


def test_a_census_changes_nothing_and_adds_up() -> None:
    room = Room("a")
    room.ask("a")
    room.ask("a")
    for _ in range(3):
        room.now += 0.5
        room.agents["a"].census(room.now)
        room.agents["a"].census(room.now)
    census = room.agents["a"].census(room.now)
    assert (census.seconds, census.waiting_seconds, census.serving_seconds) == (1.5, 1.5, 1.5)


def test_a_census_tells_how_many_own_queries_are_taken() -> None:
    for policy, bound in ((PAPER, -1), (STEADY, 10), (LIVE, 14)):
        room = Room("a", policy=policy, timing=Timing(deadline=30.0))
        room.warm(1.0)
        room.ask("a")
        assert room.agents["a"].census(room.now).bound == bound, policy


def test_what_a_census_says_is_taken_is_taken() -> None:
    room = Room("a", policy=LIVE, timing=Timing(deadline=30.0))
    room.warm(1.0)
    room.ask("a")
    bound = room.agents["a"].census(room.now).bound
    for _ in range(bound - 1):
        room.ask("a")
    assert room.ends("a") == []
    room.ask("a")
    assert len(room.ends("a")) == 1


def test_a_digest_tells_capacity_and_counts() -> None:
    profile = Profile("toy", slots=2)
    room = Room("ab", limits=Limits(queue_jobs=4), profile=profile)
    for number in range(5):
        room.hear("a", "b", Propose(make_job(f"b/1/{number}/1.1")))
    room.ask("a")
    room.pass_time(4.0)
    room.serve("a")
    digest = room.agents["a"].digest(room.now)
    assert (digest.capacity, digest.refused, digest.declined) == (0.5, 1, 1)
    assert Room("a").agents["a"].digest(0.0).capacity == 0.0, "nothing was measured yet"


@pytest.mark.parametrize("policy", [PAPER, LIVE])
def test_a_digest_tells_what_a_query_would_get(policy: Policy) -> None:
    room = Room("ab", policy=policy)
    usual = Mixture()
    digest = room.agents["a"].digest(0.0)
    assert Mixture(digest.layers, digest.fanout) == usual
    room.ask("a", 2, 1)
    digest = room.agents["a"].digest(0.0)
    assert (digest.layers, digest.fanout) == (2, 1), "like the latest"


def announced(policy: Policy, seconds: float, timing: Timing | None = None) -> float:
    """Seconds between two digests of a node whose jobs take so long."""
    room = Room("a", policy=policy, timing=timing or Timing())
    room.warm(seconds)
    room.pass_time(5.0)
    room.effects["a"].clear()
    room.pass_time(20.0)
    digests = [effect for effect in room.effects["a"] if isinstance(effect, Announce)]
    return 20.0 / len(digests)


def test_quick_models_gossip_more_often() -> None:
    assert announced(LIVE, 0.5) == pytest.approx(0.5, rel=0.05)
    assert announced(LIVE, 0.01) == pytest.approx(0.25, rel=0.05), "but never more than so often"
    assert announced(LIVE, 9.0) == pytest.approx(1.0, rel=0.05)
    assert announced(PAPER, 0.01) == pytest.approx(1.0, rel=0.05)
    assert announced(STEADY, 0.01) == pytest.approx(1.0, rel=0.05), "as it was simulated"
    often = Timing(gossip=0.1)
    assert announced(LIVE, 0.01, often) == pytest.approx(0.1, rel=0.05), "never less than told to"
