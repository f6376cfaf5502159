from __future__ import annotations

import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.stability import arrival_rate_max, utilisation


def test_utilisation_is_that_of_theorem_1() -> None:
    rho = utilisation(Mixture(2, 3), arrival_rate=0.1, service_time=0.5)
    assert rho == pytest.approx(0.5 * (4 * 2 + 1) * 0.1)


def test_alone_it_is_that_of_one_queue() -> None:
    assert utilisation(ALONE, arrival_rate=0.25, service_time=2.0) == 0.5


@pytest.mark.parametrize("mixture", [ALONE, Mixture(1, 2), Mixture(3, 7)])
def test_at_the_largest_arrival_rate_utilisation_is_one(mixture: Mixture) -> None:
    rate = arrival_rate_max(mixture, service_time=0.7)
    assert utilisation(mixture, arrival_rate=rate, service_time=0.7) == pytest.approx(1.0)
