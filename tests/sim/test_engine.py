"""The fast engine as a whole: what it measures, whichever way it is run."""

from __future__ import annotations

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.sim.engine import simulate
from dmoa.sim.setting import Setting


def test_a_calm_network_answers_all() -> None:
    setting = Setting(Network.alike(4, arrival_rate=0.1), Mixture(1, 2), queries=2000)
    outcome = simulate(setting)
    assert outcome.asked == outcome.answered == 1800
    assert outcome.refused == 0
    assert outcome.proposals == 3.0
    assert outcome.visits == 4.0
    assert outcome.jobs == 8000
    assert outcome.events == 10_000
    assert sum(outcome.utilisation) / 4 == pytest.approx(0.4, rel=0.1)
    assert abs(outcome.growth) < 0.001


def test_the_same_seed_gives_the_same_outcome() -> None:
    setting = Setting(Network.alike(4, arrival_rate=0.1), Mixture(1, 2), queries=500, seed=7)
    assert simulate(setting) == simulate(setting)
