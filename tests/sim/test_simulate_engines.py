"""The fast engine as a whole: what it measures, whichever way it is run."""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from math import isnan

import numpy as np
import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.policy import POLICIES, Policy, burden
from dmoa.errors import MissingExtraError, UsageError
from dmoa.sim import compiled as compiler
from dmoa.sim import draws, engine, kernel, kernel_state, lindley
from dmoa.sim.engine import simulate
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.sim.tally import EXACT, Quantiles, growth
from dmoa.theory.laws import Law, LogNormal, Measured, Tokens, unit_time

CALM = Setting(Network.alike(4, arrival_rate=0.1), Mixture(1, 2), queries=2000)


def plain(setting: Setting) -> Outcome:
    return simulate(setting, compiled=False)


# -- what is measured ------------------------------------------------------------------


def test_a_calm_network_answers_all() -> None:
    outcome = plain(CALM)
    assert outcome.asked == outcome.answered == 1800
    assert outcome.refused == 0
    assert outcome.proposals == 3.0
    assert outcome.visits == 4.0
    assert outcome.jobs == 8000
    assert outcome.events == 10_000
    assert outcome.in_time == 1.0
    assert outcome.engine == "lindley"
    assert sum(outcome.utilisation) / 4 == pytest.approx(0.4, rel=0.1)
    assert abs(outcome.growth) < 0.001
    assert outcome.goodput == pytest.approx(outcome.offered, rel=0.01)
    assert outcome.p50 < outcome.mean < outcome.p95 < outcome.p99 < outcome.longest


def test_the_same_seed_gives_the_same_outcome() -> None:
    setting = replace(CALM, queries=500, seed=7)
    assert plain(setting) == plain(setting)
    assert plain(setting).mean != plain(replace(setting, seed=8)).mean


@pytest.mark.parametrize("by", ["kernel", "lindley"])
def test_an_overloaded_network_grows_as_the_fluid_law_says(by: engine.Engine) -> None:
    network = Network.alike(10, arrival_rate=2.0 / 9)
    setting = Setting(network, Mixture(2, 3), queries=4000)
    outcome = simulate(setting, engine=by, compiled=False)
    assert outcome.answered < outcome.asked
    assert outcome.growth == pytest.approx(0.48, rel=0.15)
    assert min(outcome.utilisation) > 0.99
    assert outcome.jobs < 4000 * 9
    assert outcome.goodput < 0.7 * 10 / 9


def test_a_trace_is_followed_to_its_end() -> None:
    trace = Recorded((0.0, 1.0, 2.0, 3.0), (0, 0, 0, 0))
    outcome = plain(Setting(CALM.network, Mixture(2, 3), arrivals=trace, warmup=0.0))
    assert outcome.asked == outcome.answered == 4
    assert outcome.span == 3.0
    assert outcome.goodput < outcome.offered


def test_a_trace_of_one_moment_has_no_rates() -> None:
    outcome = plain(Setting(CALM.network, ALONE, arrivals=Recorded((5.0,), (1,)), warmup=0.0))
    assert outcome.answered == 1
    assert outcome.span == outcome.goodput == outcome.growth == 0.0
    assert outcome.mean == outcome.p50 == outcome.p99 == outcome.longest > 0.0


def test_where_nothing_is_answered_nothing_is_claimed() -> None:
    policy = Policy(own_queries=1)
    trace = Recorded((0.0, 0.0), (0, 0))
    setting = Setting(CALM.network, Mixture(1, 1), policy=policy, arrivals=trace, warmup=0.5)
    outcome = plain(setting)
    assert (outcome.asked, outcome.answered, outcome.refused) == (1, 0, 1)
    assert all(isnan(each) for each in (outcome.mean, outcome.p95, outcome.proposals))
    assert outcome.in_time == 0.0


def test_a_deadline_cuts_nothing_off_and_is_counted() -> None:
    free, bound = plain(CALM), plain(replace(CALM, deadline=4.0))
    assert bound.mean == free.mean
    assert 0.3 < bound.in_time < 0.7


def test_bounds_turn_overload_into_smaller_mixtures() -> None:
    network = Network.alike(6, arrival_rate=2.0 / 9)
    setting = Setting(network, Mixture(2, 3), policy=POLICIES["steady"], queries=1500)
    outcome = plain(replace(setting, deadline=60.0))
    assert outcome.in_time > 0.95
    assert outcome.proposals < 6.0
    assert outcome.visits == outcome.proposals + 1.0


def test_looking_at_queues_beats_drawing_blindly_and_old_news_is_worth_less() -> None:
    network = Network.alike(10, arrival_rate=0.8 / 7)
    setting = Setting(network, Mixture(2, 2), queries=3000)
    blind = plain(setting).mean
    fresh, stale = (
        plain(replace(setting, policy=POLICIES["loaded"], gossip=age)).mean for age in (0.0, 8.0)
    )
    assert fresh < 0.7 * blind
    assert fresh < stale < 1.1 * blind


def test_spares_pay_in_a_calm_network() -> None:
    setting = Setting(Network.alike(8, arrival_rate=0.3 / 7), Mixture(2, 2), queries=2000)
    hedged = plain(replace(setting, policy=POLICIES["hedged"]))
    assert hedged.mean < 0.9 * plain(setting).mean
    assert hedged.proposals == 6.0


def test_the_caller_hears_of_progress() -> None:
    heard: list[tuple[int, int]] = []
    simulate(replace(CALM, queries=9000), progress=lambda *told: heard.append(told))
    assert heard == [(8192, 9000), (9000, 9000)]


def test_the_time_it_took_is_told_by_the_callers_clock() -> None:
    ticks = iter([3.0, 8.0])
    assert simulate(CALM, clock=lambda: next(ticks)).cpu_seconds == 5.0


def test_the_shortcut_is_refused_where_it_would_be_wrong() -> None:
    with pytest.raises(UsageError) as caught:
        simulate(replace(CALM, policy=POLICIES["hedged"]), engine="lindley")
    assert caught.value.hint


@pytest.mark.parametrize("by", ["kernel", "lindley"])
def test_what_cannot_be_held_is_an_error(
    by: engine.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_state, "JOBS_MAX", 1024)
    monkeypatch.setattr(lindley, "PLACES_MAX", 1024)
    network = Network.alike(4, arrival_rate=20.0)
    with pytest.raises(UsageError, match="overloaded"):
        simulate(Setting(network, Mixture(3, 1), queries=9000), engine=by, compiled=False)


def test_too_much_is_refused_before_it_begins() -> None:
    with pytest.raises(UsageError, match="at most"):
        simulate(replace(CALM, queries=10**12))
    patient = replace(CALM, policy=Policy(retries=5000))
    with pytest.raises(UsageError, match="seats"):
        simulate(patient)


# -- quantiles and growth --------------------------------------------------------------


def test_quantiles_of_many_are_within_half_a_percent() -> None:
    values = np.random.Generator(np.random.PCG64(1)).exponential(10.0, 3 * EXACT)
    many, half, rest = Quantiles(), Quantiles(), Quantiles()
    for place in range(0, len(values), 5000):
        many.add(values[place : place + 5000])
    half.add(values[: 2 * EXACT])
    rest.add(values[2 * EXACT :])
    half.join(rest)
    for each in (many, half):
        assert each.count == len(values)
        assert each.mean == pytest.approx(values.mean())
        assert each.longest == values.max()
        for share in (0.01, 0.5, 0.95, 0.99, 0.9999):
            assert each.quantile(share) == pytest.approx(np.quantile(values, share), rel=0.005)


def test_quantiles_of_few_are_exact() -> None:
    few, more = Quantiles(), Quantiles()
    few.add(np.array([3.0, 1.0]))
    more.add(np.array([2.0, 0.0]))
    few.join(more)
    assert [few.quantile(share) for share in (0.25, 0.5, 0.51, 1.0)] == [0.0, 1.0, 2.0, 3.0]
    assert isnan(Quantiles().quantile(0.5))


def test_growth_is_the_slope_of_the_backlog() -> None:
    assert growth([3.0, 5.0, 7.0, 9.0], 6.0) == pytest.approx(1.0)
    assert growth([4.0] * 10, 6.0) == 0.0
    assert growth([1.0], 6.0) == growth([1.0, 2.0], 0.0) == 0.0


# -- the compiler ----------------------------------------------------------------------


def assert_alike(one: Outcome, other: Outcome) -> None:
    """All the same; sums may differ by the order in which they were made."""
    told, seen = asdict(one), asdict(other)
    del told["engine"], seen["engine"]
    utilisation = told.pop("utilisation")
    assert seen.pop("utilisation") == pytest.approx(utilisation, rel=1e-12)
    assert seen == pytest.approx(told, rel=1e-12, nan_ok=True)


LAWS: list[Law] = [LogNormal(cv=0.9, common=0.4), Tokens(), Measured(samples=(1.0, 2.0, 4.0))]


@pytest.mark.skipif(not compiler.is_available(), reason="numba is not installed")
@pytest.mark.parametrize("by", ["kernel", "lindley"])
def test_compiled_and_plain_agree_to_the_last_bit(by: engine.Engine) -> None:
    known = [policy for policy in POLICIES.values() if not policy.lives]
    policies = known if by == "kernel" else [POLICIES["paper"]]
    graph = tuple(tuple((node + far) % 6 for far in (1, 2, 4, 5)) for node in range(6))
    for number, policy in enumerate(policies):
        network = Network.alike(
            6,
            arrival_rate=0.8 / 7,
            slots=1 + number % 2,
            costs=Costs(1.0, 1.5, 2.0),
            graph=graph if number % 3 else None,
        )
        law, gossip = LAWS[number % len(LAWS)], 0.5 * (number % 2)
        setting = Setting(network, Mixture(2, 2), law, policy, queries=400, gossip=gossip)
        told = simulate(setting, engine=by, compiled=True)
        assert told.engine == f"compiled {by}"
        assert_alike(told, simulate(setting, engine=by, compiled=False))


@pytest.mark.skipif(not compiler.is_available(), reason="numba is not installed")
def test_bursts_and_bounds_agree_as_well() -> None:
    network = Network.alike(6, arrival_rate=0.5 / 7)
    bursts = Bursts(0.3, 4.0, 100.0, 30.0)
    setting = Setting(network, Mixture(2, 2), policy=POLICIES["steady"], arrivals=bursts)
    setting = replace(setting, queries=600)
    told = simulate(setting, compiled=True)
    assert told.refused > 0
    assert_alike(told, simulate(setting, compiled=False))


def test_without_a_compiler_everything_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "is_available", lambda: False)
    monkeypatch.setattr(engine, "WORTH", 0)
    assert simulate(CALM).engine == "lindley"
    with pytest.raises(MissingExtraError) as caught:
        simulate(CALM, compiled=True)
    assert "dmoa[sim]" in str(caught.value.hint)


@pytest.mark.skipif(not compiler.is_available(), reason="numba is not installed")
def test_what_takes_long_is_told_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "WORTH", 0)
    heard: list[str] = []
    simulate(replace(CALM, queries=10), note=heard.append)
    told = len(heard)  # or it was compiled before
    monkeypatch.setattr(compiler, "is_kept", lambda _: False)
    simulate(replace(CALM, queries=10), note=heard.append)
    assert len(heard) == told + 1
    assert "once" in heard[-1]


@pytest.mark.skipif(not compiler.is_available(), reason="numba is not installed")
def test_a_compiler_that_is_switched_off_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("numba").config, "DISABLE_JIT", 1)
    assert simulate(replace(CALM, queries=10), compiled=True).engine == "lindley"


def test_what_is_compiled_is_the_kernel_and_the_cores_own_policies() -> None:
    parts = compiler.reached(kernel.advance)  # type: ignore[arg-type]
    assert {burden, unit_time, draws.mix, draws.toss, kernel.ask} <= set(parts)
    assert len({part.__module__ for part in parts}) >= 6
