"""`--watch` of `dmoa replay` and `dmoa simulate`: what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_api import Dmoa

ONE = ("simulate", "--nodes", "4", "--arrival-rate", "0.5rho", "--watch")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((*ONE, "--layers", "0,1"), "--watch shows one point, and these are 2"),
        ((*ONE, "--out", "runs.jsonl"), "--watch keeps no runs"),
        ((*ONE, "--engine", "kernel"), "the engine kernel has no agents to watch"),
        ((*ONE[:-1], "--speed", "2"), "--speed and --port say how to watch"),
        (
            ("simulate", "--nodes", "200", "--arrival-rate", "0.1", "--watch"),
            "128 nodes can be watched at most, not 200",
        ),
        (("replay", "x", "--port", "80"), "--speed and --port say how to watch"),
        (("replay", "x", "--watch", "--json"), "--watch shows a page, and no texts"),
        (("replay", "x", "--watch"), "x cannot be read"),
        (("replay", "x", "--watch", "--speed", "101"), "101.0 is not in the range 0<x<=100"),
    ],
)
def test_what_cannot_be_watched_is_refused_in_a_line(
    dmoa: Dmoa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = dmoa(*args)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []
