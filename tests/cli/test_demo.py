"""`dmoa demo`: processes that are all gone afterwards, whatever happened."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
DRIVER = (
    "import sys, dmoa.cli.fleet as fleet\n"
    f"fleet.PROGRAM = (sys.executable, {str(HERE / 'stub_node.py')!r})\n"
    "fleet.STOP_SECONDS, fleet.MEET_SECONDS = 1.0, 1.0\n"
    "from dmoa.cli.main import main\n"
    "main()"
)
Demo = Callable[..., subprocess.Popen[str]]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def pids(tmp_path: Path) -> Callable[[], list[int]]:
    return lambda: [int(each.name) for each in tmp_path.iterdir()]


@pytest.fixture
def demo(tmp_path: Path, pids: Callable[[], list[int]]) -> Iterator[Demo]:
    """Start a demo of stubs; at the end, whatever still runs is a failure, and killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, "demo", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"STUB_PIDS": str(tmp_path), "DMOA_PORT": "refused if it came through"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    left = [pid for pid in pids() if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def ended(pids: list[int], seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def until_asked(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if " is asked: " in line:
            return
    raise AssertionError("it ended before it asked")


def test_the_answer_and_the_tree_are_shown(demo: Demo, pids: Callable[[], list[int]]) -> None:
    process = demo("--nodes", "3", "--model", "fake:0#x", "--prompt", "Why?")
    out, talk = process.communicate(timeout=60)
    assert process.returncode == 0, talk
    assert out.splitlines() == [
        "Of scattering.",
        "",
        'query "Why?"  M=1, k=1',
        "├── aggregation",
        "│   └── n1  tiny  ok  queued 0.25 s  service 1.50 s  7 tokens",
        "│       112 of 187 prompt tokens were read while proposals were written",
        "└── answered by n1 after 3.25 s, 1 job",
    ]
    assert "3 nodes start on this machine\n" in talk
    assert "all see each other\nn1 is asked: Why?\n" in talk
    assert len(pids()) == 3
    assert ended(pids(), 0)


def test_json_is_one_object_and_nothing_else(demo: Demo, pids: Callable[[], list[int]]) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#x", "--json", "--fanout", "5")
    out, talk = process.communicate(timeout=60)
    told = json.loads(out)
    assert sorted(told) == ["answer", "dmoa", "nodes"]
    assert told["answer"] == "Of scattering."
    assert [each["node"] for each in told["nodes"]] == ["n1", "n2"]
    assert sorted(each["pid"] for each in told["nodes"]) == sorted(pids())
    assert told["dmoa"]["home"] == "n1"
    assert "note: a fanout of 5 needs 5 peers, and only 1 are here\n" in talk


def test_kept_nodes_outlive_the_demo(demo: Demo, pids: Callable[[], list[int]]) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#x", "--keep")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(alive(pid) for pid in pids())
    assert re.search(r"^see them at http://127\.0\.0\.1:\d+, the page of n1$", talk, re.MULTILINE)
    (line,) = [line for line in talk.splitlines() if line.startswith("stop them with `kill ")]
    for pid in line.removeprefix("stop them with `kill ").rstrip("`").split():
        os.kill(int(pid), signal.SIGTERM)
    assert ended(pids())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_all(
    demo: Demo, pids: Callable[[], list[int]], number: signal.Signals, code: int
) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#slow")
    until_asked(process)
    process.send_signal(number)
    assert process.wait(timeout=20) == code
    assert ended(pids(), 0)


def test_nodes_notice_the_death_of_their_demo(demo: Demo, pids: Callable[[], list[int]]) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#slow")
    until_asked(process)
    process.kill()
    assert ended(pids())


def test_a_node_that_will_not_stop_is_made_to(demo: Demo, pids: Callable[[], list[int]]) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#x", "--model", "fake:0#deaf")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert ended(pids(), 0)


def test_a_node_that_breaks_is_quoted(demo: Demo, pids: Callable[[], list[int]]) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#x", "--model", "fake:0#crash")
    out, talk = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "error: node n2 ended with exit code 1; it said:\n  the model is broken\n" in talk
    assert ended(pids(), 0)


def test_nodes_that_never_meet_are_not_waited_for(demo: Demo) -> None:
    process = demo("--nodes", "2", "--model", "fake:0#lonely")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: the nodes did not all meet within 1 s\n\nhint: a firewall" in talk


def test_a_model_that_is_none_is_refused_before_anything_starts(
    demo: Demo, pids: Callable[[], list[int]]
) -> None:
    process = demo("--model", "nonsense:")
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 2
    assert talk.startswith("error: ")
    assert pids() == []


def test_real_nodes_answer_over_a_real_network() -> None:
    command = [sys.executable, "-m", "dmoa", "demo", "--json", "--layers", "2", "--fanout", "3"]
    done = subprocess.run(
        [*command, "--model", "fake:0.05#a", "--model", "fake:0.05#b"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    jobs = told["dmoa"]["jobs"]
    assert [job["outcome"] for job in jobs] == ["ok"] * 9
    assert {job["node"] for job in jobs} == {"n1", "n2", "n3", "n4"}
    assert {job["model"] for job in jobs} == {"a", "b"}
    assert [each["model"] for each in told["nodes"]] == ["a", "b", "a", "b"]
    assert ended([each["pid"] for each in told["nodes"]], 0)
