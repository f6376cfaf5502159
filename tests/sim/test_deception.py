"""One deceptive node of four, with models of models: the defences are worth what is told."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "deception.py"
ITEMS = 45


@pytest.fixture(scope="module")
def deception() -> ModuleType:
    spec = spec_from_file_location("deception", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["deception"] = module
    spec.loader.exec_module(module)
    return module


def right(module: ModuleType, attack: str, name: str) -> tuple[int, int]:
    """Count the right answers, and the jobs that the liar was given."""
    [defence] = [each for each in module.DEFENCES if each.name == name]
    score = module.measure(attack, defence, items=ITEMS, right=0.7, seed=0)
    assert score.asked == ITEMS
    return score.right, score.jobs


def test_where_nobody_lies_the_defences_change_nothing(deception: ModuleType) -> None:
    assert right(deception, "none", "none") == right(deception, "none", "all")


@pytest.mark.parametrize("attack", ["injects", "forges", "controls"])
def test_as_shipped_more_is_right_than_without_defences(deception: ModuleType, attack: str) -> None:
    before, _ = right(deception, attack, "none")
    after, _ = right(deception, attack, "as shipped")
    assert after >= before + ITEMS // 9


def test_a_node_that_is_only_wrong_is_outvoted_and_not_found_out(deception: ModuleType) -> None:
    assert right(deception, "wrong", "none") == right(deception, "wrong", "as shipped")


@pytest.mark.parametrize("attack", ["injects", "controls", "rubbish"])
def test_who_is_found_out_is_asked_no_more(deception: ModuleType, attack: str) -> None:
    assert right(deception, attack, "none")[1] == ITEMS
    assert right(deception, attack, "reputation")[1] < ITEMS * 0.8
