"""`--watch` of `dmoa replay` and `dmoa simulate`: what is refused, and how it goes and ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from scripted_api import Dmoa
from test_replay import steps, written

ONE = ("simulate", "--nodes", "4", "--arrival-rate", "0.5rho", "--watch")


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((*ONE, "--layers", "0,1"), "--watch shows one point, and these are 2"),
        ((*ONE, "--out", "runs.jsonl"), "--watch keeps no runs"),
        ((*ONE, "--engine", "kernel"), "the engine kernel has no agents to watch"),
        ((*ONE[:-1], "--speed", "2"), "--speed and --port say how to watch"),
        (("simulate", "--nodes", "200", "--watch"), "128 nodes can be watched at most, not 200"),
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


class Watched:
    """A command that shows something, looked at until it is over."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dmoa", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        found = re.match(r"watch it at (http://127\.0\.0\.1:\d+): ", first)
        assert found, first + self.process.stderr.read()
        self.url, self.first = found[1], first

    def look(self, until: str) -> str:
        """Read the feed until something stands in it, or until somebody leaves."""
        text = ""
        with httpx2.stream("GET", f"{self.url}/v1/feed", timeout=30) as response:
            for piece in response.iter_text():
                text += piece
                if until in text:
                    break
        return text

    def end(self) -> tuple[int, str, str]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.real
def test_a_record_is_played_and_stays(tmp_path: Path) -> None:
    watched = Watched("replay", "--watch", written(tmp_path, steps()), "--speed", "10")
    assert "node a lives again, as recorded" in watched.first
    text = watched.look('"speed":0.0}]')
    assert '"kind":"answered"' in text
    assert "secret" not in text
    assert "an answer" not in text
    over = watched.process.stderr
    assert over is not None
    assert over.readline() == "it begins once somebody looks; Ctrl-C ends it\n"
    assert over.readline() == "the record is over: 3 steps in 2.2 s; Ctrl-C ends this\n"
    assert '"origin":"record"' in watched.look("}]")
    assert watched.end() == (0, "", "")


@pytest.mark.real
def test_a_simulation_is_played_and_says_what_came_of_it() -> None:
    small = (*ONE, "--layers", "1", "--queries", "60", "--speed", "100")
    watched = Watched(*small, "--json")
    assert '"kind":"visit"' in watched.look('"kind":"pace","at":')
    out = watched.process.stdout
    assert out is not None
    (row,) = json.loads(out.readline())["rows"]
    assert (row["nodes"], row["queries"], row["replications"]) == (4, 60, 1)
    code, _, told = watched.end()
    assert code in {0, 3}
    assert "1 run by world" in told
    assert "it is over, and stays to be looked at" in told


@pytest.mark.real
def test_a_simulation_that_is_stopped_has_no_result() -> None:
    watched = Watched(*ONE, "--queries", "5000")
    watched.look('"kind":"pace"')
    code, out, told = watched.end()
    assert (code, out) == (130, "")
    assert re.search(r"stopped after \d+ queries, and there is no result", told)
