"""Predicted latency: exact where a formula is, monotone elsewhere, and silent where it is weak."""

from __future__ import annotations

from itertools import combinations
from math import exp, inf, log, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Costs, Network
from dmoa.errors import LawError, NetworkShapeError
from dmoa.theory.barrier import last_of, last_of_all
from dmoa.theory.latency import Latency, Prediction, predict, quick_mean
from dmoa.theory.laws import Exponential, Fixed, Law, LogNormal, Measured, Pareto, Tokens
from dmoa.theory.waiting import erlang_c, limited

EXP = Exponential()


def alike(
    nodes: int, rho: float, mixture: Mixture, *, slots: int = 1, alpha: float = 1.0
) -> Network:
    """Equal nodes at a utilisation."""
    rate = rho * slots / (mixture.visits * alpha)
    return Network.alike(nodes, arrival_rate=rate, service_time=alpha, slots=slots)


def answer(network: Network, mixture: Mixture, law: Law = EXP) -> Latency:
    prediction = predict(network, mixture, law)
    assert prediction.latency is not None, prediction.doubts
    return prediction.latency


# -- exact results ---------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.8, 0.95])
def test_alone_with_exponential_service_a_node_is_an_mm1_queue(rho: float) -> None:
    prediction = predict(alike(4, rho, ALONE, alpha=2.0), ALONE, EXP)
    rate = (1.0 - rho) / 2.0
    assert prediction.latency is not None
    assert prediction.latency.mean == pytest.approx(1.0 / rate, rel=2e-3)
    for share, found in ((0.5, prediction.latency.p50), (0.99, prediction.latency.p99)):
        assert found == pytest.approx(-log(1.0 - share) / rate, rel=5e-3)
    assert prediction.waiting == pytest.approx((rho**2 / (1.0 - rho),) * 4)
    assert prediction.length == pytest.approx((rho / (1.0 - rho),) * 4)
    assert prediction.doubts == ()


@pytest.mark.parametrize("rho", [0.3, 0.7, 0.95])
def test_alone_with_fixed_service_a_node_is_an_md1_queue(rho: float) -> None:
    prediction = predict(alike(3, rho, ALONE), ALONE, Fixed())
    assert prediction.latency is not None
    assert prediction.latency.mean == pytest.approx(1.0 + rho / (2.0 * (1.0 - rho)), rel=2e-3)
    assert prediction.waiting[0] == pytest.approx(rho**2 / (2.0 * (1.0 - rho)))


@pytest.mark.parametrize(("law", "cv"), [(LogNormal(1.0, 0.8), 0.8), (Pareto(1.0, 4.0), 8**-0.5)])
def test_a_single_queue_waits_as_pollaczek_and_khinchine_say(law: Law, cv: float) -> None:
    mean = answer(alike(1, 0.6, ALONE), ALONE, law).mean
    assert mean == pytest.approx(1.0 + 0.6 * (1.0 + cv**2) / (2.0 * 0.4), rel=5e-3)


@pytest.mark.parametrize("slots", [2, 5])
def test_alone_with_slots_a_node_is_an_mmc_queue(slots: int) -> None:
    rho = 0.7
    prediction = predict(alike(2, rho, ALONE, slots=slots), ALONE, EXP)
    chance, rate = erlang_c(slots, slots * rho), slots * (1.0 - rho)
    assert prediction.latency is not None
    assert prediction.latency.mean == pytest.approx(1.0 + chance / rate, rel=2e-3)
    # A service and, with that chance, an exponential wait before it.
    late = prediction.latency.p95
    both = (rate * exp(-late) - exp(-rate * late)) / (rate - 1.0)
    tail = (1.0 - chance) * exp(-late) + chance * both
    assert tail == pytest.approx(0.05, rel=0.01)
    assert prediction.length[0] == pytest.approx(prediction.waiting[0] + slots * rho)


def test_erlang_knows_its_table() -> None:
    assert erlang_c(1, 0.3) == pytest.approx(0.3)
    assert erlang_c(3, 2.0) == pytest.approx(4.0 / 9.0)
    assert erlang_c(4, 0.0) == 0.0


@pytest.mark.parametrize(("layers", "fanout"), [(1, 0), (1, 1), (2, 3), (4, 2)])
def test_in_an_empty_network_a_layer_is_the_longest_of_its_proposals(
    layers: int, fanout: int
) -> None:
    network = Network.alike(8, arrival_rate=1e-9)
    longest = sum(1.0 / seat for seat in range(1, fanout + 2))
    prediction = predict(network, Mixture(layers, fanout), EXP)
    assert prediction.latency is not None
    assert prediction.latency.mean == pytest.approx(layers * longest + 1.0, rel=2e-3)
    assert [each.mean for each in prediction.layers] == pytest.approx(
        [longest] * layers + [1.0], rel=2e-3
    )
    assert quick_mean(Mixture(layers, fanout), utilisation=0.0) == pytest.approx(
        layers * longest + 1.0
    )


def test_kinds_of_jobs_cost_what_they_cost() -> None:
    network = Network.alike(6, arrival_rate=1e-9, service_time=2.0, costs=Costs(1.0, 1.5, 3.0))
    layers = predict(network, Mixture(3, 0), EXP).layers
    assert [each.mean for each in layers] == pytest.approx([2.0, 3.0, 3.0, 6.0], rel=2e-3)


def test_nobody_asking_waits_for_nothing() -> None:
    prediction = predict(Network.alike(3, arrival_rate=0.0), Mixture(1, 1), EXP)
    assert prediction.latency is not None
    assert prediction.latency.mean == pytest.approx(2.5, rel=2e-3)
    assert prediction.waiting == (0.0, 0.0, 0.0)
    assert prediction.goodput == 0.0


@pytest.mark.parametrize(
    "law", [EXP, LogNormal(1.0, 0.6), Pareto(1.0, 2.5), Tokens(), Fixed(), Measured.of([1, 2, 6])]
)
def test_what_is_limited_is_the_mean_in_the_end(law: Law) -> None:
    marks, values = limited(law)
    assert values[-1] == pytest.approx(1.0)
    assert np.all(np.diff(marks) >= 0.0)
    assert np.all(np.diff(values) >= 0.0)
    assert np.all(values <= marks + 1e-9)


def test_measured_times_are_limited_exactly() -> None:
    marks, values = limited(Measured(1.0, (1.0, 2.0, 6.0)))
    unit = [1.0 / 3.0, 2.0 / 3.0, 2.0]
    for at in (0.1, 1.0 / 3.0, 0.5, 1.0, 2.0, 5.0):
        expected = sum(min(each, at) for each in unit) / 3.0
        assert np.interp(at, marks, values) == pytest.approx(expected)


# -- the last of k + 1 -------------------------------------------------------------------


@given(
    chances=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6),
    fanout=st.integers(1, 5),
    home=st.integers(0, 5),
)
def test_the_last_is_the_mean_over_all_draws(chances: list[float], fanout: int, home: int) -> None:
    home, fanout = home % len(chances), min(fanout, len(chances) - 1)
    others = [each for node, each in enumerate(chances) if node != home]
    drawn = [prod(each) for each in combinations(others, fanout)]
    expected = chances[home] * sum(drawn) / len(drawn)
    cdfs = np.array(chances)[:, None]
    everyone = last_of_all(cdfs, [1] * len(chances), fanout)
    assert everyone[home, 0] == pytest.approx(expected, abs=1e-12)
    counts = [int(node != home) for node in range(len(chances))]
    assert last_of(cdfs[home], cdfs, counts, fanout)[0] == pytest.approx(expected, abs=1e-12)


def test_equal_nodes_are_counted_not_listed() -> None:
    cdfs = np.array([[0.3, 0.9], [0.5, 0.6]])
    kinds = last_of_all(cdfs, [3, 2], 2)
    nodes = last_of_all(cdfs[[0, 0, 0, 1, 1]], [1] * 5, 2)
    assert kinds == pytest.approx(nodes[[0, 3]])


# -- what must not matter, and what must ------------------------------------------------


def test_a_complete_graph_is_no_graph() -> None:
    rates, times = (0.02, 0.03, 0.04, 0.01), (1.0, 2.0, 1.0, 3.0)
    graph = tuple(tuple(peer for peer in range(4) if peer != node) for node in range(4))
    plain, drawn = (
        predict(Network(rates, times, graph=each), Mixture(2, 2), EXP) for each in (None, graph)
    )
    assert plain.latency is not None
    assert drawn.latency is not None
    assert drawn.latency.mean == pytest.approx(plain.latency.mean, rel=1e-6)
    assert drawn.latency.p95 == pytest.approx(plain.latency.p95, rel=1e-6)


def test_a_ring_with_more_neighbours_is_not_slower_than_its_load() -> None:
    ring = tuple(((node - 1) % 8, (node + 1) % 8) for node in range(8))
    network = Network.alike(8, arrival_rate=0.1, graph=ring)
    prediction = predict(network, Mixture(1, 1), EXP)
    assert prediction.utilisations == pytest.approx((0.3,) * 8)
    assert len({each.mean for each in prediction.homes}) == 1


def test_the_order_of_the_nodes_does_not_matter() -> None:
    rates, times = (0.02, 0.03, 0.04, 0.01), (1.0, 2.0, 1.0, 3.0)
    one = predict(Network(rates, times), Mixture(1, 2), EXP)
    other = predict(Network(rates[::-1], times[::-1]), Mixture(1, 2), EXP)
    assert one.latency is not None
    assert other.latency is not None
    assert other.latency.p95 == pytest.approx(one.latency.p95, rel=1e-9)
    assert [each.mean for each in other.homes] == pytest.approx(
        [each.mean for each in one.homes[::-1]]
    )


def test_many_kinds_of_nodes_are_predicted_on_a_coarser_grid() -> None:
    mixture = Mixture(2, 3)
    equal = alike(40, 0.7, mixture)
    rates = tuple(rate * (1.0 + node * 1e-5) for node, rate in enumerate(equal.arrival_rates))
    found = answer(Network(rates, equal.service_times), mixture)
    assert found.mean == pytest.approx(answer(equal, mixture).mean, rel=0.01)
    assert found.p95 == pytest.approx(answer(equal, mixture).p95, rel=0.01)


def test_a_slow_node_is_felt_most_at_its_own_home() -> None:
    prediction = predict(Network((0.02,) * 5, (1.0,) * 4 + (6.0,)), Mixture(1, 1), EXP)
    assert prediction.latency is not None
    slow, fast = prediction.homes[4], prediction.homes[0]
    assert slow.mean > prediction.latency.mean > fast.mean
    assert prediction.homes[:4] == (fast,) * 4
    assert prediction.waiting[4] > prediction.waiting[0]


@given(scale=st.floats(0.01, 100.0))
@settings(max_examples=10, deadline=None)
def test_only_the_unit_of_time_changes_with_it(scale: float) -> None:
    mixture = Mixture(2, 2)
    one = answer(alike(6, 0.6, mixture), mixture)
    other = answer(alike(6, 0.6, mixture, alpha=scale), mixture)
    assert other.mean == pytest.approx(scale * one.mean, rel=1e-6)
    assert other.p99 == pytest.approx(scale * one.p99, rel=1e-6)


networks = st.tuples(
    st.integers(2, 12), st.floats(0.05, 0.55), st.integers(0, 3), st.integers(0, 4)
)


@given(drawn=networks, more=st.floats(1.02, 1.5), cv=st.sampled_from([None, 0.5, 1.5]))
@settings(max_examples=25, deadline=None)
def test_more_questions_longer_service_and_larger_mixtures_take_longer(
    drawn: tuple[int, float, int, int], more: float, cv: float | None
) -> None:
    nodes, rho, layers, fanout = drawn
    mixture = Mixture(layers, min(fanout, nodes - 1))
    law = EXP if cv is None else LogNormal(1.0, cv)
    network = alike(nodes, rho, mixture)
    mean = answer(network, mixture, law).mean
    rate, time = network.arrival_rates[0], network.service_times[0]
    busier = Network.alike(nodes, arrival_rate=rate * more, service_time=time)
    slower = Network.alike(nodes, arrival_rate=rate, service_time=time * more)
    assert answer(busier, mixture, law).mean >= mean
    assert answer(slower, mixture, law).mean > mean
    for larger in (Mixture(layers + 1, mixture.fanout), Mixture(layers, mixture.fanout + 1)):
        if larger.fanout < nodes and larger.visits * rate * time < 0.85:
            assert answer(network, larger, law).mean >= mean * (1.0 - 1e-9)


@given(drawn=networks, cv=st.sampled_from([0.4, 1.0, 1.8]))
@settings(max_examples=25, deadline=None)
def test_quantiles_rise_and_layers_add_up(drawn: tuple[int, float, int, int], cv: float) -> None:
    nodes, rho, layers, fanout = drawn
    mixture = Mixture(layers, min(fanout, nodes - 1))
    prediction = predict(alike(nodes, rho, mixture), mixture, LogNormal(1.0, cv))
    found = prediction.latency
    assert found is not None
    assert 0.0 < found.p50 < found.p95 < found.p99 < inf
    assert found.mean < found.p95
    assert len(prediction.layers) == layers + 1
    assert sum(each.mean for each in prediction.layers) == pytest.approx(found.mean)
    assert prediction.goodput == pytest.approx(sum(alike(nodes, rho, mixture).arrival_rates))


@pytest.mark.parametrize("rho", [0.3, 0.7])
@pytest.mark.parametrize(("layers", "fanout"), [(0, 0), (1, 2), (2, 3), (3, 1)])
def test_the_closed_form_is_near(layers: int, fanout: int, rho: float) -> None:
    mixture = Mixture(layers, fanout)
    quick = quick_mean(mixture, utilisation=rho)
    assert quick == pytest.approx(answer(alike(30, rho, mixture), mixture).mean, rel=0.02)
    assert quick_mean(mixture, utilisation=1.0) == inf


def test_what_jobs_have_in_common_makes_layers_shorter_when_nobody_waits() -> None:
    network, mixture = Network.alike(9, arrival_rate=1e-9), Mixture(1, 4)
    apart = answer(network, mixture, LogNormal(1.0, 0.8))
    alike_ = answer(network, mixture, LogNormal(1.0, 0.8, 0.5))
    assert alike_.mean < apart.mean
    assert alike_.p99 / alike_.mean > apart.p99 / apart.mean
    assert answer(network, ALONE, LogNormal(1.0, 0.8, 0.9)) == answer(
        network, ALONE, LogNormal(1.0, 0.8)
    )


# -- where it is weak it says so ----------------------------------------------------------


def silent(prediction: Prediction) -> str:
    """Assert that nothing is predicted, and return why."""
    assert prediction.stable
    assert prediction.latency is None
    assert prediction.layers == prediction.homes == prediction.waiting == prediction.length == ()
    assert prediction.goodput is not None
    (doubt,) = prediction.doubts
    return doubt


@pytest.mark.parametrize(
    ("rho", "law", "words"),
    [
        (0.92, EXP, "above a rho of 0.9"),
        (0.5, Fixed(), "hardly vary"),
        (0.5, LogNormal(1.0, 0.2), "hardly vary"),
        (0.5, LogNormal(1.0, 2.5), "a few very long jobs"),
        (0.5, LogNormal(1.0, 1.0, 0.8), "too much alike"),
        (0.5, Pareto(1.0, 1.8), "infinite variance"),
    ],
)
def test_where_it_would_be_wrong_there_is_no_prediction(rho: float, law: Law, words: str) -> None:
    mixture = Mixture(1, 2)
    assert words in silent(predict(alike(8, rho, mixture), mixture, law))


def test_without_layers_only_infinite_variance_stops_it() -> None:
    assert "infinite" in silent(predict(alike(3, 0.4, ALONE), ALONE, Pareto(1.0, 1.5)))


@pytest.mark.parametrize(
    ("nodes", "law", "words"),
    [
        (4, LogNormal(1.0, 0.5), "more than 50% of the peers"),
        (9, LogNormal(1.0, 0.8, 0.4), "jobs of a query are alike"),
        (9, Pareto(1.0, 2.5), "heavy a tail"),
    ],
)
def test_a_rough_prediction_says_so(nodes: int, law: Law, words: str) -> None:
    mixture = Mixture(2, 2)
    prediction = predict(alike(nodes, 0.5, mixture), mixture, law)
    assert prediction.latency is not None
    (doubt,) = prediction.doubts
    assert words in doubt


def test_an_unstable_network_has_no_latency_but_a_goodput() -> None:
    mixture = Mixture(2, 3)
    network = alike(10, 2.0, mixture)
    prediction = predict(network, mixture, EXP)
    assert not prediction.stable
    assert prediction.latency is None
    assert prediction.goodput == pytest.approx(10 * 0.534 / mixture.visits, rel=2e-3)
    assert prediction.doubts == ("the network is not stable: queues and waiting grow without end",)


def test_of_unlike_nodes_no_goodput_is_known_beyond_their_capacity() -> None:
    prediction = predict(Network((0.5,) * 3, (1.0, 1.0, 5.0)), Mixture(1, 1), EXP)
    assert not prediction.stable
    assert prediction.goodput is None
    assert "equal nodes only" in prediction.doubts[1]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(LawError, match="mean of 1, not 2"):
        predict(Network.alike(3, arrival_rate=0.1), ALONE, Exponential(2.0))
    with pytest.raises(NetworkShapeError, match="needs as many peers"):
        predict(Network.alike(3, arrival_rate=0.1), Mixture(1, 3), EXP)
