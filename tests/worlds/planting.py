"""Bugs that are planted, to see whether the worlds find them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from .dream import run_world

SEEDS = 200
"""Worlds within which a planted bug must be found."""

Plant = Callable[[pytest.MonkeyPatch], None]


def assert_found(plant: Plant, patch: pytest.MonkeyPatch, seeds: Sequence[int]) -> None:
    plant(patch)
    for seed in seeds:
        try:
            run_world(seed)
        except (AssertionError, KeyError):
            return
    pytest.fail(f"{len(seeds)} worlds found nothing wrong")
