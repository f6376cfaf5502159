from __future__ import annotations

from math import fsum, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Costs
from dmoa.core.stability import arrival_rate_max, utilisation
from dmoa.errors import NetworkShapeError
from dmoa.theory.overload import Overload, fluid_overload

MIXTURES = st.builds(Mixture, st.integers(0, 6), st.integers(0, 8))
COSTS = st.builds(Costs, *(st.floats(0.1, 10.0),) * 3)
TIMES = st.floats(0.01, 100.0)
HEAVY = st.floats(1.0, 1000.0)


def at(mixture: Mixture, rho: float, time: float = 1.0) -> Overload:
    rate = rho * arrival_rate_max(mixture, service_time=time)
    return fluid_overload(mixture, arrival_rate=rate, service_time=time)


@pytest.mark.parametrize(
    ("layers", "fanout", "growth"),
    [(0, 0, 0.2), (1, 3, 0.166), (2, 3, 0.117), (2, 2, 0.114), (3, 4, 0.091)],
)
def test_queues_grow_as_they_did_in_simulation(layers: int, fanout: int, growth: float) -> None:
    assert at(Mixture(layers, fanout), 1.2).growth == pytest.approx(growth, abs=5e-4)


@pytest.mark.parametrize(("rho", "share"), [(1.5, 0.71), (2, 0.53), (4, 0.24), (12, 0.05)])
def test_the_goodput_collapses(rho: float, share: float) -> None:
    assert at(Mixture(2, 3), rho).share == pytest.approx(share, abs=6e-3)


def test_alone_nothing_is_wasted() -> None:
    seen = fluid_overload(ALONE, arrival_rate=3.0, service_time=0.5)
    assert seen.utilisation == 1.5
    assert seen.theta == pytest.approx(2 / 3)
    assert seen.goodput == pytest.approx(2.0)
    assert seen.growth == pytest.approx(1.0)
    assert seen.share == pytest.approx(1.0)


def test_a_mixture_by_hand() -> None:
    """M=1, k=0, rate 1, time 1: theta + theta^2 = 1, the golden ratio."""
    seen = fluid_overload(Mixture(1, 0), arrival_rate=1.0, service_time=1.0)
    assert seen.theta == pytest.approx((5**0.5 - 1) / 2)
    assert seen.goodput == pytest.approx(1 - seen.theta)
    assert seen.growth == pytest.approx(1.0 + seen.theta - 1.0)


def test_costs_and_slots_by_hand() -> None:
    """A last job of 3: (2 theta + 3 theta^2) * 1 = 2 slots / (time 2 * rate 1)."""
    seen = fluid_overload(
        Mixture(1, 1), arrival_rate=1.0, service_time=2.0, slots=2, costs=Costs(1, 1, 3)
    )
    assert seen.utilisation == pytest.approx(5.0)
    assert seen.theta == pytest.approx(1 / 3)
    assert seen.capacity == pytest.approx(0.2)


def test_where_nobody_asks_all_is_well() -> None:
    assert fluid_overload(Mixture(2, 3), arrival_rate=0.0, service_time=1.0).share == 1.0


@given(MIXTURES, st.floats(0.0, 1.0), TIMES)
def test_what_can_be_served_is_served(mixture: Mixture, rho: float, time: float) -> None:
    rate = rho * arrival_rate_max(mixture, service_time=time) * (1 - 1e-12)
    seen = fluid_overload(mixture, arrival_rate=rate, service_time=time)
    assert (seen.theta, seen.growth, seen.goodput, seen.share) == (1.0, 0.0, rate, 1.0)
    assert seen.utilisation == pytest.approx(
        utilisation(mixture, arrival_rate=rate, service_time=time)
    )


@given(MIXTURES, TIMES, COSTS, st.integers(1, 4))
def test_it_begins_without_a_jump(mixture: Mixture, time: float, costs: Costs, slots: int) -> None:
    one = fluid_overload(mixture, arrival_rate=1.0, service_time=time, slots=slots, costs=costs)
    rate = (1.0 + 1e-9) / one.utilisation
    seen = fluid_overload(mixture, arrival_rate=rate, service_time=time, slots=slots, costs=costs)
    assert seen.theta == pytest.approx(1.0, abs=1e-6)
    assert seen.share == pytest.approx(1.0, abs=1e-6)
    assert seen.growth == pytest.approx(0.0, abs=1e-6 * mixture.visits * rate)


@given(MIXTURES, TIMES, HEAVY, COSTS, st.integers(1, 4))
def test_a_busy_node_is_busy_all_the_time(
    mixture: Mixture, time: float, rate: float, costs: Costs, slots: int
) -> None:
    """The equation itself; and what comes and is not served is what the queue grows by."""
    seen = fluid_overload(mixture, arrival_rate=rate, service_time=time, slots=slots, costs=costs)
    assert seen.goodput <= seen.capacity * (1 + 1e-9)
    if seen.utilisation <= 1.0:
        return
    layers = range(1, mixture.layers + 2)
    seats = [mixture.fanout + 1.0] * mixture.layers + [1.0]
    served = [n * rate * seen.theta**m for n, m in zip(seats, layers, strict=True)]
    came = [n * rate * seen.theta ** (m - 1) for n, m in zip(seats, layers, strict=True)]
    work = [n * costs.of(m, mixture.layers) for n, m in zip(served, layers, strict=True)]
    assert time / slots * fsum(work) == pytest.approx(1.0)
    assert seen.growth == pytest.approx(fsum(came) - fsum(served))


@given(MIXTURES, HEAVY, st.floats(1.0, 10.0))
def test_the_more_is_asked_the_less_is_answered(mixture: Mixture, rho: float, more: float) -> None:
    less, much = at(mixture, rho), at(mixture, rho * more)
    assert much.theta <= less.theta * (1 + 1e-9)
    assert much.goodput <= less.goodput * (1 + 1e-9)
    assert much.growth >= less.growth * (1 - 1e-9)
    if mixture.layers and rho > 1.01 and more > 1.1:
        assert much.goodput < less.goodput


@given(MIXTURES, HEAVY)
def test_slower_deeper_and_wider_answer_less(mixture: Mixture, rho: float) -> None:
    rate = rho * arrival_rate_max(mixture, service_time=1.0)
    goodput = at(mixture, rho).goodput * (1 + 1e-9)
    assert fluid_overload(mixture, arrival_rate=rate, service_time=1.1).goodput <= goodput
    deeper = Mixture(mixture.layers + 1, mixture.fanout)
    wider = Mixture(mixture.layers, mixture.fanout + 1)
    for other in (deeper, wider):
        assert fluid_overload(other, arrival_rate=rate, service_time=1.0).goodput <= goodput


@given(MIXTURES, HEAVY, st.floats(0.001, 1000.0))
def test_the_unit_of_time_does_not_matter(mixture: Mixture, rho: float, unit: float) -> None:
    one, other = at(mixture, rho), at(mixture, rho, unit)
    assert other.theta == pytest.approx(one.theta)
    assert other.goodput * unit == pytest.approx(one.goodput)
    assert other.growth * unit == pytest.approx(one.growth, abs=1e-9)


def test_far_beyond_reason_there_is_still_an_answer() -> None:
    seen = fluid_overload(Mixture(999, 999), arrival_rate=1e6, service_time=1e6)
    assert 0.0 < seen.theta < 1e-14
    assert seen.goodput == 0.0


@pytest.mark.parametrize(
    ("rate", "time", "slots"),
    [(-1.0, 1.0, 1), (nan, 1.0, 1), (1.0, -1.0, 1), (1.0, inf, 1), (1.0, 1.0, 0)],
)
def test_what_cannot_be_is_refused(rate: float, time: float, slots: int) -> None:
    with pytest.raises(NetworkShapeError) as refused:
        fluid_overload(ALONE, arrival_rate=rate, service_time=time, slots=slots)
    assert refused.value.hint
