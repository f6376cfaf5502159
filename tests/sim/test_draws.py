"""Dice without memory: fair, independent, and the same for Python and for a compiler."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations
from math import sqrt
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.sim.arrivals import Window
from dmoa.sim.draws import BITS, dice, fold, mix, mix_compiled, normal, service, toss
from dmoa.sim.kernel_rules import Rules, draw_peers, rules_of, scratch_size, service_seconds
from dmoa.sim.setting import Setting
from dmoa.theory.laws import Exponential, Fixed, Law, LogNormal, Measured, Pareto, Tokens

names = st.integers(0, BITS)


@given(names, names)
def test_a_hash_is_what_it_is_for_a_machine(start: int, count: int) -> None:
    numpy = pytest.importorskip("numpy")
    with numpy.errstate(over="ignore"):
        machine = mix_compiled(numpy.uint64, numpy.int64)
        assert int(machine(start, count)) == mix(start, count) <= BITS


def test_a_hash_is_what_it_is_compiled() -> None:
    numba, numpy = pytest.importorskip("numba"), pytest.importorskip("numpy")
    machine, rng = numba.njit(mix_compiled(numpy.uint64, numpy.int64)), Random(1)
    for _ in range(200):
        start, count = rng.getrandbits(63), rng.getrandbits(63)
        assert machine(start, count) == mix(start, count)


def test_hashes_are_those_that_were() -> None:
    """Results that were published can be repeated, so these numbers never change."""
    assert mix(0, 1) == 1517046713075839355
    assert fold(1) == 4533873169916685415
    assert toss(dice(fold(1), 0), 1, 0, 1) == pytest.approx(0.5375096847121908)


@given(st.integers(-(2**200), 2**200))
def test_every_seed_fits(seed: int) -> None:
    assert 0 <= fold(seed) <= BITS


def test_seeds_differ() -> None:
    seeds = [*range(-50, 50), 2**63, 2**63 + 1, 2**64, 2**127]
    assert len({fold(seed) for seed in seeds}) == len(seeds)


def test_throws_are_uniform_and_independent() -> None:
    thrown = [
        [toss(dice(fold(7), number), layer, seat, purpose) for number in range(4000)]
        for layer in (0, 1, 2)
        for seat in (0, 1)
        for purpose in (1, 2)
    ]
    for each in thrown:
        assert all(0.0 <= value < 1.0 for value in each)
        assert fmean(each) == pytest.approx(0.5, abs=4 * sqrt(1 / 12 / 4000))
        assert pstdev(each) == pytest.approx(sqrt(1 / 12), rel=0.03)
        cells = Counter(int(value * 16) for value in each)
        assert sum((cells[cell] - 250) ** 2 / 250 for cell in range(16)) < 38  # chi2, 0.1 %
    for one in range(len(thrown)):
        for other in range(one):
            product = fmean(
                (a - 0.5) * (b - 0.5) for a, b in zip(thrown[one], thrown[other], strict=True)
            )
            assert abs(product) * 12 < 4.5 / sqrt(4000)
        ahead = fmean((a - 0.5) * (b - 0.5) for a, b in pairwise(thrown[one]))
        assert abs(ahead) * 12 < 4.5 / sqrt(4000)


def test_the_querys_own_number_is_normal() -> None:
    drawn = [normal(dice(fold(3), number)) for number in range(5000)]
    assert fmean(drawn) == pytest.approx(0.0, abs=4 / sqrt(5000))
    assert pstdev(drawn) == pytest.approx(1.0, rel=0.04)


# -- service times ---------------------------------------------------------------------

LAWS: list[Law] = [Fixed(), Exponential(), LogNormal(1.0, 0.8, 0.5), Pareto(1.0, 3.5)]
LAWS += [Tokens(1.0, 50.0, 0.6, 0.1), Measured.of([1.0, 2.0, 6.0])]
COUNTED = Window(1, 0, 0.0, 1.0)


def a_setting(law: Law) -> Setting:
    network = Network((1.0,) * 3, (1.0, 2.0, 8.0), costs=Costs(1.0, 1.5, 2.0))
    shape = law if law.mean == 1.0 else Measured(samples=(1.0, 2.0, 6.0))
    return Setting(network, Mixture(2, 1), shape, seed=5)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_service_times_follow_their_law(law: Law) -> None:
    seconds = service(a_setting(law))
    drawn = [seconds(number, 1, 0, 0) for number in range(4000)]
    cv = pstdev(drawn) / fmean(drawn)
    assert fmean(drawn) == pytest.approx(1.0, abs=0.005 + 4.5 * max(law.cv, 0.05) / sqrt(4000))
    assert cv == pytest.approx(law.cv, rel=0.25, abs=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_the_kernel_draws_what_everyone_draws(law: Law) -> None:
    setting = a_setting(law)
    rules, seconds = rules_of(setting, COUNTED, arrays=False), service(setting)
    for number in range(20):
        for layer in (1, 2, 3):
            for seat, node in ((0, 1), (1, 2)):
                query = dice(fold(setting.seed), number)
                drawn = service_seconds(rules, query, layer, seat, node)
                assert drawn == seconds(number, layer, seat, node)


def test_nodes_and_roles_have_their_pace() -> None:
    seconds = service(a_setting(Fixed()))
    assert [seconds(0, layer, 0, 0) for layer in (1, 2, 3)] == [1.0, 1.5, 2.0]
    assert [seconds(0, 1, 1, node) for node in (0, 1, 2)] == [1.0, 2.0, 8.0]


def test_a_share_of_the_spread_is_the_querys_own() -> None:
    seconds = service(a_setting(LogNormal(1.0, 0.8, 1.0)))
    assert seconds(0, 1, 0, 0) == seconds(0, 1, 1, 0) != seconds(1, 1, 0, 0)


# -- peers -----------------------------------------------------------------------------


def rules_for(nodes: int, graph: tuple[tuple[int, ...], ...] | None = None) -> Rules:
    network = Network.alike(nodes, arrival_rate=1.0, graph=graph)
    return rules_of(Setting(network, Mixture(1, min(3, nodes - 1))), COUNTED, arrays=False)


def drawn(rules: Rules, number: int, home: int, count: int, besides: tuple[int, ...] = ()):
    scratch = [0] * scratch_size(rules)
    for place, node in enumerate(besides):
        scratch[len(scratch) - 1 - place] = node
    found = draw_peers(rules, scratch, dice(1, number), 1, home, count, len(besides))
    return tuple(scratch[:found])


def test_every_ordered_choice_of_peers_is_as_likely() -> None:
    rules, home = rules_for(5), 2
    counts = Counter(drawn(rules, number, home, 2) for number in range(6000))
    assert set(counts) == set(permutations([0, 1, 3, 4], 2))
    assert sum((count - 500) ** 2 / 500 for count in counts.values()) < 31  # chi2, 0.1 %


def test_all_peers_are_drawn_where_all_are_wanted() -> None:
    for number in range(50):
        assert sorted(drawn(rules_for(4), number, 1, 6)) == [0, 2, 3]


def test_peers_on_a_graph_are_those_of_the_graph() -> None:
    graph = ((1, 4, 2, 3), (0, 3, 5, 2), (1, 3, 0, 5), (2, 0, 1, 4), (0, 3, 5, 1), (4, 1, 2))
    rules = rules_for(6, graph)
    for home in range(6):
        counts = Counter(peer for number in range(900) for peer in drawn(rules, number, home, 2))
        assert set(counts) == set(graph[home])
        assert min(counts.values()) > 0.8 * 1800 / len(graph[home])


def test_another_peer_is_none_of_those_that_were_asked() -> None:
    rules = rules_for(6)
    counts = Counter(drawn(rules, number, 0, 1, (0, 3, 5)) for number in range(900))
    assert set(counts) == {(1,), (2,), (4,)}
    assert min(counts.values()) > 240
    assert drawn(rules, 1, 0, 1, (0, 1, 2, 3, 4, 5)) == ()
