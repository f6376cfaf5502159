"""What models of a world read ahead: how much it saves, and that it is never more than was read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.effects import Read
from dmoa.core.job import Job, Sampling
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, job_name
from dmoa.core.network import Costs, Network
from dmoa.core.policy import PAPER, POLICIES
from dmoa.errors import NetworkShapeError, UsageError
from dmoa.sim.dream import dream
from dmoa.sim.engine import simulate
from dmoa.sim.reading import Readings
from dmoa.sim.setting import Setting
from dmoa.theory.laws import Fixed

HOME, QUERY = NodeId("n1"), QueryId("n1/1/1")
EAGER = POLICIES["eager"]
ONE = Mixture(1, 2)
LAST = JobId("n1/1/1/1.2")


def job_with(*proposals: str) -> Job:
    """Make the aggregation of these proposals."""
    return Job(
        *(job_name(QUERY, 2, 0), QUERY, HOME, "aggregator", 2, (), proposals, Sampling(), 9.0)
    )


def read(readings: Readings, now: float, *proposals: str, follow: tuple[JobId, ...] = ()) -> None:
    readings.read(HOME, Read(job_with(*proposals), follow), now)


def setting_of(load: float = 0.3, overlap: float = 0.5, mixture: Mixture = ONE, **more) -> Setting:
    rate = load / mixture.visits
    network = Network.alike(6, arrival_rate=rate, costs=Costs(overlap=overlap))
    return Setting(network, mixture, **{"policy": EAGER, "queries": 300, **more})


# -- one prompt -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "saved"),
    [(0.5, 0.5), (2.0, 2.0), (100.0, 4.0)],
    ids=["as long as was read", "and no longer", "but not more than is known"],
)
def test_what_is_known_is_read_a_second_per_second(seconds: float, saved: float) -> None:
    """The job takes 12 s, of which 6 s are reading three proposals, and two are known."""
    readings = Readings(0.5)
    read(readings, 0.0, "a", "b")
    assert readings.take(job_with("a", "b", "c"), 12.0, seconds) == pytest.approx(saved)
    assert len(readings) == 0


def test_what_is_followed_is_read_as_it_comes() -> None:
    readings = Readings(0.5)
    read(readings, 0.0, "a", "b", follow=(LAST,))
    assert readings.take(job_with("a", "b", "c"), 12.0, 100.0) == pytest.approx(6.0)


def test_what_was_followed_and_did_not_come_is_read_for_nothing() -> None:
    readings = Readings(0.5)
    read(readings, 0.0, "a", "b", follow=(LAST,))
    read(readings, 50.0, "a", "b")
    assert readings.take(job_with("a", "b", "c"), 12.0, 50.0) == pytest.approx(4.0)


def test_a_prompt_that_was_left_off_is_kept_and_gone_on_with() -> None:
    readings = Readings(0.5)
    read(readings, 0.0, "a")
    readings.rest(job_with("a").id, 1.0)
    readings.rest(job_with("a").id, 7.0)
    read(readings, 8.0, "a", "b")
    assert readings.take(job_with("a", "b", "c"), 12.0, 9.5) == pytest.approx(2.5)


def test_what_is_in_another_order_is_read_again() -> None:
    readings = Readings(0.5)
    read(readings, 0.0, "a", "b")
    assert readings.take(job_with("b", "a"), 12.0, 9.0) == 0.0
    read(readings, 0.0, "a", "b")
    read(readings, 9.0, "a", "c")
    assert readings.take(job_with("a", "c"), 12.0, 9.0) == pytest.approx(3.0)


def test_nothing_is_kept_of_a_query_that_ended_or_a_node_that_crashed() -> None:
    readings = Readings(0.5)
    read(readings, 0.0, "a")
    readings.forget(QUERY)
    assert len(readings) == 0
    assert readings.take(job_with("a"), 9.0, 9.0) == 0.0
    read(readings, 0.0, "a")
    readings.crash(NodeId("n2"))
    assert len(readings) == 1
    readings.crash(HOME)
    assert len(readings) == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 5.0), st.integers(0, 4), st.booleans(), st.booleans()), max_size=9
    ),
    st.floats(0.1, 20.0),
    st.floats(0.01, 0.99),
    st.integers(1, 4),
)
def test_never_more_is_saved_than_was_read_or_was_to_read(
    steps: list[tuple[float, int, bool, bool]], seconds: float, overlap: float, came: int
) -> None:
    readings, now, busy = Readings(overlap), 0.0, 0.0
    names = ("a", "b", "c", "d")
    for lasts, known, follows, rests in steps:
        read(readings, now, *names[:known], follow=(LAST,) if follows else ())
        now += lasts
        busy += lasts
        if rests:
            readings.rest(job_with().id, now)
            now += lasts
    saved = readings.take(job_with(*names[:came]), seconds, now)
    assert 0.0 <= saved <= overlap * seconds * (1.0 + 1e-12)
    assert saved <= busy + 1e-9


# -- whole worlds ---------------------------------------------------------------------


def test_reading_ahead_answers_sooner_and_the_same_queries() -> None:
    off, on = dream(setting_of(policy=PAPER)), dream(setting_of())
    assert on.answered == off.answered
    assert on.proposals == off.proposals
    assert 0.80 < on.mean / off.mean < 0.93
    assert sum(on.utilisation) < sum(off.utilisation)


def test_without_an_overlap_or_the_policy_nothing_changes() -> None:
    off = dream(setting_of(overlap=0.0, policy=PAPER, queries=100))
    assert dream(setting_of(overlap=0.0, queries=100)) == off
    assert dream(setting_of(policy=PAPER, queries=100)) == off


def test_it_lives_the_same_way_twice() -> None:
    wanted = setting_of(0.7, mixture=Mixture(2, 2), queries=80)
    assert dream(wanted) == dream(wanted)


def test_alone_and_in_no_hurry_all_of_the_reading_but_the_slowest_is_hidden() -> None:
    """All jobs take 1 s, so that all proposals come at once, and nothing can be read before."""
    off = dream(setting_of(0.02, law=Fixed(), policy=PAPER, queries=100))
    on = dream(setting_of(0.02, law=Fixed(), queries=100))
    assert on.mean == pytest.approx(off.mean, rel=0.02)
    slow = setting_of(0.02, law=Fixed(), queries=300)
    times = (1.0, *(5.0,) * 5)
    network = replace(slow.network, service_times=times, arrival_rates=(0.004, *(0.0,) * 5))
    off, on = (dream(replace(slow, network=network, policy=each)) for each in (PAPER, EAGER))
    assert off.p50 == pytest.approx(6.0)
    assert on.p50 == pytest.approx(6.0 - 0.5 * 2 / 3, abs=1e-9), "the own one, and one of equals"


def test_near_its_capacity_a_network_is_as_stable_as_without() -> None:
    """Work is conserved: it is read in idle time, and beyond rho 1 there is none."""
    off = dream(setting_of(1.3, policy=PAPER, queries=700))
    on = dream(setting_of(1.3, queries=700))
    assert on.growth == pytest.approx(off.growth, rel=0.1)
    assert on.growth > 0.0


def test_only_agents_read_ahead() -> None:
    with pytest.raises(UsageError, match="only agents read ahead"):
        simulate(setting_of(), engine="kernel", compiled=False)
    with pytest.raises(UsageError, match="only agents read ahead"):
        simulate(setting_of(), compiled=False)
    assert simulate(setting_of(overlap=0.0), compiled=False).engine == "kernel"
    assert simulate(setting_of(policy=PAPER), compiled=False).engine == "lindley"


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_an_overlap_is_a_share(overlap: float) -> None:
    with pytest.raises(NetworkShapeError, match="overlap cannot be"):
        Costs(overlap=overlap)
