"""Each border is fuzzed for a bounded while; `python -m tests.fuzz NAME` goes on without end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .__main__ import BORDERS, border

ROOT = Path(__file__).parents[2]
RUNS = {"record": 1500, "config": 1500, "keys": 1500, "environment": 2000, "sse": 2000}
"""Of those that take longer, such as by writing files, fewer."""
MOST = 5_000


def fuzz(*args: str) -> subprocess.CompletedProcess[str]:
    # Neither coverage nor settings of whoever runs this reach in: they change what is found.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COV", "DMOA"))}
    command = [sys.executable, "-m", "tests.fuzz", *args]
    return subprocess.run(
        command, cwd=ROOT, env=kept, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("name", BORDERS)
def test_what_we_write_ourselves_crosses(name: str) -> None:
    found = border(name)
    for seed in found.seeds():
        assert len(seed) < 4096
        found.cross(seed)
        found.cross(seed[: len(seed) // 2])
    found.cross(b"")


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not there for this Python")
@pytest.mark.parametrize("name", BORDERS)
def test_nothing_breaks_at_a_border(name: str) -> None:
    runs = RUNS.get(name, MOST)
    done = fuzz(name, "--runs", str(runs))
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-3000:]
    assert re.search(rf"Done {runs} runs", told)
    assert f"#{runs}" in told


def test_the_command_repeats_what_it_found() -> None:
    assert fuzz("--list").stdout.split() == list(BORDERS)
    assert fuzz("uri", "--input", b"fake:1".hex()).returncode == 0
