"""Bursts: drawn as the experiment draws them, replayed exactly, and read as its program reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.study.paper.burst import (
    AT_ONCE,
    NODES,
    QUERIES,
    Burst,
    Floats,
    Log,
    authors_queue,
    draw,
    latencies,
    loading,
    play,
    waiting,
)
from dmoa.theory.laws import Fixed, LogNormal

LAW = LogNormal(cv=0.4, common=1.0)


def run_of(mixture: Mixture, times: list[float], nodes: list[list[list[int]]]) -> Burst:
    """Make one run by hand; service times are 1."""
    served = np.array([nodes])
    homes = served[:, :, -1, 0]
    return Burst(mixture, np.array([times]), homes, served, np.ones(served.shape))


# -- draws -----------------------------------------------------------------------------


@pytest.mark.parametrize("mixture", [ALONE, Mixture(1, 1), Mixture(2, 0), Mixture(2, 3)])
def test_homes_propose_with_peers_and_aggregate_alone(mixture: Mixture) -> None:
    burst = draw(mixture, 30, LAW, 1)
    layers, seats = mixture.layers, mixture.fanout + 1
    assert burst.nodes.shape == (30, QUERIES, layers + 1, seats)
    assert (burst.nodes[..., 0] == burst.homes[:, :, None]).all()
    assert (burst.nodes[:, :, layers, 1:] == -1).all()
    proposers = np.sort(burst.nodes[:, :, :layers], axis=-1)
    assert (np.diff(proposers, axis=-1) > 0).all()
    assert proposers.size == 0 or (proposers.min(), proposers.max()) == (0, NODES - 1)
    assert (np.diff(burst.times, axis=1) > 0).all()


def test_peers_are_drawn_evenly() -> None:
    burst = draw(Mixture(1, 1), 2000, LAW, 1)
    counts = np.bincount((burst.nodes[:, :, 0, 1] - burst.homes).ravel() % NODES)
    assert counts[0] == 0
    assert counts[1:] / counts.sum() == pytest.approx([1 / 3] * 3, abs=0.01)


def test_lengths_follow_the_law_and_have_the_mean_of_one() -> None:
    common = draw(Mixture(1, 2), 500, LAW, 1).lengths
    assert common.mean() == pytest.approx(1.0, abs=1e-12)
    assert common.std() == pytest.approx(0.4, abs=0.02)
    assert (common == common[:, :, :1, :1]).all()
    own = draw(Mixture(1, 2), 500, LogNormal(cv=0.4), 1).lengths
    assert own.std() == pytest.approx(0.4, abs=0.02)
    assert np.corrcoef(own[:, :, 0, 0].ravel(), own[:, :, 0, 1].ravel())[0, 1] < 0.1


def test_a_seed_draws_the_same_again() -> None:
    first, again, other = (draw(Mixture(2, 2), 20, LAW, seed) for seed in (-7, -7, 8))
    assert (first.nodes == again.nodes).all()
    assert (first.lengths == again.lengths).all()
    assert (first.times != other.times).all()


# -- the kernel ------------------------------------------------------------------------


def test_runs_on_one_axis_of_time_are_as_each_by_itself() -> None:
    burst = draw(Mixture(2, 2), AT_ONCE + 3, LAW, 3)
    seconds = 46.0 * burst.lengths
    together = play(burst, seconds)
    for run in (0, 7, AT_ONCE - 1, AT_ONCE, AT_ONCE + 2):
        one = slice(run, run + 1)
        alone = replace(
            burst,
            times=burst.times[one],
            homes=burst.homes[one],
            nodes=burst.nodes[one],
            lengths=burst.lengths[one],
        )
        log = play(alone, seconds[one])
        assert together.ended[run] == pytest.approx(log.ended[0], abs=1e-6, nan_ok=True)
        assert together.entered[run] == pytest.approx(log.entered[0], abs=1e-6)


def test_a_burst_is_served_in_the_order_of_its_coming() -> None:
    # Both queries are of node 0. The second's proposal waits for the first's, and so does the
    # aggregation of the first for the second's proposal.
    burst = run_of(Mixture(1, 1), [0.0, 1.0], [[[0, 1], [0, -1]], [[0, 2], [0, -1]]])
    log = play(burst, 10.0 * burst.lengths)
    assert log.entered[0].tolist() == [[0.0, 10.0], [1.0, 20.0]]
    assert log.started[0, :, :, 0].tolist() == [[0.0, 20.0], [10.0, 30.0]]
    assert log.ended[0, :, 0, 1].tolist() == [10.0, 11.0]
    assert np.isnan(log.ended[0, :, 1, 1]).all()
    assert latencies(burst, log).tolist() == [(30.0 + 39.0) / 2]
    assert waiting(log).tolist() == [(9.0 + 10.0 + 10.0) / (NODES * 40.0)]


def test_every_part_that_is_played_is_told() -> None:
    burst = draw(ALONE, AT_ONCE + 1, Fixed(), 1)
    told: list[int] = []
    play(burst, burst.lengths, lambda: told.append(1))
    assert len(told) == 2


# -- loads -----------------------------------------------------------------------------


def test_a_model_is_loaded_where_it_is_not_the_one_before() -> None:
    nodes = np.array([[[[1, 0], [1, -1]], [[0, 3], [0, -1]], [[3, 1], [3, -1]]]])
    calls = loading(nodes, kept=False)
    # Layer 1: node 0 is there, node 1 is first called by query 0, node 3 by query 1.
    assert calls[0, :, 0].tolist() == [[True, False], [False, True], [False, False]]
    # The aggregations: 3 was the last, so that 0, 1 and 3 must all be loaded again.
    assert calls[0, :, 1].tolist() == [[True, False], [True, False], [True, False]]


def test_a_model_that_is_still_there_is_not_loaded_again() -> None:
    nodes = np.array([[[[0, 2], [2, -1]], [[1, 2], [2, -1]]]])
    assert loading(nodes, kept=False)[0, :, 1].tolist() == [[False, False], [False, False]]
    assert loading(nodes, kept=False, loaded=3)[0, 0, 0].tolist() == [True, True]


def test_a_model_that_is_kept_is_read_once() -> None:
    burst = draw(Mixture(2, 1), 200, LAW, 1)
    calls = loading(burst.nodes, kept=True)
    assert not (calls & ~loading(burst.nodes, kept=False)).any()
    for run in range(200):
        read = burst.nodes[run][calls[run]]
        assert sorted(read) == sorted({*burst.nodes[run].ravel()} - {-1, 0})


# -- the authors' metric ---------------------------------------------------------------


def log_of(entered: Floats, started: Floats, took: float) -> Log:
    return Log(entered, started, started + took)


def test_the_metric_counts_who_came_since_at_the_end_of_each_service() -> None:
    # Three queries at node 2 at 0, 1 and 12, 10 s each: two wait at 10 (the third comes
    # later), one at 20, none at 30. The true average is 9 + 8 seconds over 30.
    burst = run_of(ALONE, [0.0, 1.0, 12.0], [[[2]], [[2]], [[2]]])
    log = play(burst, 10.0 * burst.lengths)
    assert authors_queue(burst, log).tolist() == [(1 * 10.0 + 1 * 10.0) / (NODES * 30.0)]
    assert waiting(log).tolist() == [(9.0 + 8.0) / (NODES * 30.0)]


def test_the_metric_sees_later_layers_only_once_they_are_known() -> None:
    # The aggregation of query 0 enters at 20, while node 1 serves query 2 from 15 to 25. Its
    # first layer began at 0, before that of query 2: it is seen. That of query 1 enters at 22,
    # and its first layer began at 16, after query 2's: it is not.
    entered = np.array([[[0.0, 20.0], [16.0, 22.0], [15.0, 40.0]]])
    nodes = np.array([[[[0], [1]], [[2], [1]], [[1], [3]]]])
    started = np.array([[[[0.0], [30.0]], [[17.0], [31.0]], [[15.0], [40.0]]]])
    burst = Burst(Mixture(1, 0), entered[..., 0], nodes[:, :, 1, 0], nodes, np.ones(nodes.shape))
    log = log_of(entered, started, 10.0)
    # Besides, when query 0 aggregates from 30 to 40, query 1's aggregation came since: 1 more.
    assert authors_queue(burst, log).tolist() == [(10.0 + 10.0) / (NODES * 50.0)]


def test_the_metric_divides_by_the_end_of_who_began_last() -> None:
    burst = run_of(ALONE, [0.0, 1.0, 2.0], [[[0]], [[0]], [[3]]])
    log = play(burst, 10.0 * burst.lengths)
    # Query 2 begins last and ends at 12, long before query 1.
    assert authors_queue(burst, log).tolist() == [10.0 / (NODES * 12.0)]
    assert waiting(log).tolist() == [9.0 / (NODES * 20.0)]
