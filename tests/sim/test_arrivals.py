"""Arrivals: as often as the network says, where it says, and always alike."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.errors import NetworkShapeError
from dmoa.sim.arrivals import CHUNK, Homes, Times, chunks, queries_of, window
from dmoa.sim.setting import Bursts, Recorded, Setting

NETWORK = Network((1.0, 0.0, 3.0, 0.0), (1.0,) * 4)


def a_setting(**others: object) -> Setting:
    fields = {"network": NETWORK, "mixture": Mixture(0, 0), "queries": 20_000, **others}
    return Setting(**fields)  # type: ignore[arg-type]


def arrivals(setting: Setting) -> tuple[Times, Homes]:
    times, homes = zip(*chunks(setting), strict=True)
    return np.concatenate(times), np.concatenate(homes)


def test_poisson_arrivals_come_as_often_as_the_rates_say() -> None:
    times, homes = arrivals(a_setting())
    gaps = np.diff(times, prepend=0.0)
    assert len(times) == 20_000
    assert gaps.min() >= 0.0
    assert gaps.mean() == pytest.approx(0.25, rel=4 / sqrt(20_000))
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.04)
    counts = np.bincount(homes, minlength=4)
    assert counts[1] == counts[3] == 0
    assert counts[2] / 20_000 == pytest.approx(0.75, abs=4 * sqrt(0.75 * 0.25 / 20_000))


def test_nodes_alike_are_asked_alike() -> None:
    _, homes = arrivals(a_setting(network=Network.alike(5, arrival_rate=0.1)))
    counts = np.bincount(homes, minlength=5)
    assert ((counts - 4000) ** 2 / 4000).sum() < 18.5  # chi2, 0.1 %


def test_bursts_change_the_rate_and_keep_the_mean() -> None:
    bursts = Bursts(0.5, 4.0, 300.0, 50.0)
    times, _ = arrivals(a_setting(arrivals=bursts))
    phase = times % 350.0
    cycles = times[-1] / 350.0
    assert (phase < 300.0).sum() / (cycles * 300.0) == pytest.approx(0.5 * 4.0, rel=0.05)
    assert (phase >= 300.0).sum() / (cycles * 50.0) == pytest.approx(4.0 * 4.0, rel=0.05)
    assert len(times) / times[-1] == pytest.approx(4.0 * bursts.mean, rel=0.05)
    assert (np.diff(times) >= 0.0).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (2.0, 0.0)])
def test_a_level_of_nothing_is_silence(low: float, high: float) -> None:
    times, _ = arrivals(a_setting(arrivals=Bursts(low, high, 10.0, 5.0)))
    phase = times % 15.0
    quiet = phase < 10.0 if low == 0.0 else phase > 10.0
    assert not quiet[(phase > 1e-6) & (phase < 15.0 - 1e-6) & (abs(phase - 10.0) > 1e-6)].any()


def test_a_trace_is_told_as_it_was() -> None:
    recorded = Recorded((0.0, 0.5, 0.5, 9.0), (3, 0, 1, 2))
    times, homes = arrivals(a_setting(arrivals=recorded))
    assert times.tolist() == list(recorded.times)
    assert homes.tolist() == list(recorded.homes)
    few = a_setting(arrivals=recorded, queries=2, warmup=0.5)
    assert queries_of(few) == 2
    assert arrivals(few)[1].tolist() == [3, 0]
    assert window(few) == (2, 1, 0.5, 0.5)


@pytest.mark.parametrize("law", [None, Bursts(0.5, 2.0, 30.0, 10.0)])
def test_the_window_is_what_the_arrivals_are(law: Bursts | None) -> None:
    setting = a_setting(arrivals=law, warmup=0.25)
    times, _ = arrivals(setting)
    assert window(setting) == (20_000, 5000, times[5000], times[-1])


def test_the_same_seed_gives_the_same_arrivals_and_more_are_the_same_first() -> None:
    times, homes = arrivals(a_setting())
    again, others = arrivals(a_setting(queries=20_000 + CHUNK))
    assert (again[: 2 * CHUNK] == times[: 2 * CHUNK]).all()
    assert (others[: 2 * CHUNK] == homes[: 2 * CHUNK]).all()
    other, _ = arrivals(a_setting(seed=2))
    assert not (other == times).any()


def test_where_nobody_asks_nothing_is_simulated() -> None:
    silent = Network((0.0, 0.0), (1.0, 1.0))
    setting = a_setting(network=replace(silent), arrivals=Bursts(1.0, 2.0, 1.0, 1.0))
    with pytest.raises(NetworkShapeError):
        window(setting)
    with pytest.raises(NetworkShapeError):
        window(a_setting(arrivals=Bursts(0.0, 0.0, 1.0, 1.0)))
