"""The glossary: every word is defined where it says."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from dmoa.core.effects import Outcome
from dmoa.core.names import Role

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "glossary.md").read_text("utf-8")
ROWS = re.findall(r"^\| ([^|`]+) \| ([^|]*?) ?\| (.+?) \| (`.+) \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_word_is_defined_where_it_says(row: tuple[str, str, str, str]) -> None:
    for path in re.findall(r"`([\w.]+)`", row[3]):
        names = path.split(".")
        found: Any = import_module("dmoa")
        for count, name in enumerate(names):
            if isinstance(found, type):
                known = getattr(found, "__dataclass_fields__", {}) | getattr(found, "__dict__", {})
                assert name in known, path
                break
            try:
                found = import_module(".".join(["dmoa", *names[: count + 1]]))
            except ModuleNotFoundError:
                found = getattr(found, name)


def test_no_word_is_told_twice_and_those_of_the_protocol_are_there() -> None:
    words = [word for word, *_ in ROWS]
    assert len(words) == len(set(words)) > 60
    assert {"query", "home", "peer", "layer", "fanout", "proposer", "aggregator"} <= set(words)
    assert {"job", "slot", "digest", "arrival_rate", "service_time", "utilisation"} <= set(words)


def test_every_outcome_and_role_is_told() -> None:
    told = next(about for word, _, about, _ in ROWS if word == "outcome")
    assert [each for each in get_args(Outcome) if each != "pending" and each not in told] == []
    assert set(get_args(Role)) <= {word for word, *_ in ROWS}
