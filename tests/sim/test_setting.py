"""What cannot be simulated is refused with one line and a hint."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import pytest

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.errors import UsageError
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.theory.laws import Exponential

NETWORK = Network.alike(3, arrival_rate=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mixture": Mixture(1, 3)},
        {"law": Exponential(2.0)},
        {"queries": 0},
        {"warmup": 1.0},
        {"gossip": -1.0},
        {"gossip": nan},
        {"deadline": 0.0},
        {"network": Network.alike(3, arrival_rate=0.0)},
        {"arrivals": Recorded((), ())},
        {"arrivals": Recorded((1.0,), (3,))},
    ],
)
def test_a_setting_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        Setting(**{"network": NETWORK, "mixture": Mixture(1, 2), **wrong})
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "wrong", [(-1.0, 2.0, 1.0, 1.0), (0.1, inf, 1.0, 1.0), (0.1, 2.0, 0.0, 1.0), (nan, 2, 1, 1)]
)
def test_bursts_that_cannot_be_are_refused(wrong: tuple[float, float, float, float]) -> None:
    with pytest.raises(UsageError) as caught:
        Bursts(*wrong)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("times", "homes"),
    [((1.0,), ()), ((nan,), (0,)), ((-1.0,), (0,)), ((2.0, 1.0), (0, 0))],
)
def test_traces_that_cannot_be_are_refused(
    times: tuple[float, ...], homes: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError):
        Recorded(times, homes)


def test_the_mean_level_of_bursts_is_weighted_by_time() -> None:
    assert Bursts(0.3, 4.0, 400.0, 60.0).mean == pytest.approx((120.0 + 240.0) / 460.0)
