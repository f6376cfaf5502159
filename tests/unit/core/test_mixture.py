from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.mixture import ALONE, Mixture
from dmoa.errors import MixtureError

small = st.integers(0, 999)


@pytest.mark.parametrize(
    ("layers", "fanout", "visits"),
    [(0, 0, 1), (0, 7, 1), (1, 0, 2), (1, 2, 4), (2, 3, 9), (3, 7, 25)],
)
def test_visits_are_those_of_theorem_1(layers: int, fanout: int, visits: int) -> None:
    assert Mixture(layers, fanout).visits == visits


@given(small, small)
def test_a_short_name_is_read_as_what_it_was(layers: int, fanout: int) -> None:
    mixture = Mixture(layers, fanout)
    assert Mixture.parse(mixture.name) == mixture


@pytest.mark.parametrize(
    "name", ["", "m1", "k2", "m1k", "m-1k2", "M1K2", "m1k2 ", "m1000k1", "m1k2x"]
)
def test_what_is_no_mixture_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(MixtureError, match="not a mixture"):
        Mixture.parse(name)


@pytest.mark.parametrize(("layers", "fanout"), [(-1, 0), (0, -1)])
def test_a_negative_shape_is_refused(layers: int, fanout: int) -> None:
    with pytest.raises(MixtureError, match="layers >= 0 and fanout >= 0"):
        Mixture(layers, fanout)


def test_alone_is_one_job_at_home() -> None:
    assert ALONE.visits == 1
    assert ALONE.name == "m0k0"
