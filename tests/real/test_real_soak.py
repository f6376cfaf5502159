"""The short form of the soak: two minutes of load and kills, nothing lost, nothing leaked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from real_room import clean_environment

ROOT = Path(__file__).parents[2]
SOAK = ROOT / "benchmarks" / "soak.py"


@pytest.mark.real
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
def test_two_minutes_of_load_and_kills_leave_nothing_behind() -> None:
    command = [sys.executable, str(SOAK), "--minutes", "2", "--kill-every", "20", "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=clean_environment(), check=False, timeout=600
    )
    assert done.stdout, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["flaws"] == []
    assert done.returncode == 0
    assert told["kills"] == 5
    # Else it would hold of a network that does nothing.
    assert told["chats"]["answered"] > 100
    assert told["background"]["completed"] > 100
