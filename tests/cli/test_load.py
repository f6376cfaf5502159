"""`dmoa load`: its report, its file, how it is stopped and gone on with, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from scripted_api import LAST, STANDING, TRACE, Dmoa, ScriptedNode, refused

from dmoa.cli import load as command
from dmoa.core.policy import PAPER

pytestmark = pytest.mark.real

Load = Callable[..., Result]
STANDS = {
    "node": "n1",
    "mode": "paper",
    "policy": asdict(PAPER),
    "queries": [],
    "jobs": {"waiting": 0, "serving": 1, "slots": 1},
    "limits": {"queries": 20, "jobs": 64},
    "counters": {"seconds": 10.0, "waiting_job_seconds": 1.0, "serving_job_seconds": 5.0}
    | {"queries": 1, "refused": 0, "declined": 0, "served": 2},
}
ALONE = ("--layers", "0")
"""A mixture that needs no peers."""
SOON = 60.0
"""Seconds within which a process has done its part, on however busy a machine."""


@pytest.fixture
def home(node: ScriptedNode) -> ScriptedNode:
    """A node that answers everything at once, with one job of a quarter of a second."""
    node.on("/v1/queue", STANDS)
    node.on("/v1/peers", {"node": STANDING, "peers": []})
    node.chats(answered())
    return node


def answered(**more: object) -> bytes:
    job = LAST | {"layer": 1, "service_seconds": 0.25, "outcome": "ok"}
    trace = TRACE | {"mixture": {"layers": 0, "fanout": 0}, "jobs": [job], "degraded": []} | more
    message = {"role": "assistant", "content": "Because."}
    return json.dumps({"choices": [{"message": message}], "dmoa": trace}).encode()


@pytest.fixture
def load(dmoa: Dmoa, home: ScriptedNode) -> Load:
    """Test the scripted node: 40 queries within a tenth of a second."""

    def run(*args: str) -> Result:
        usual = ("--url", home.url, "--rate", "400", "--seconds", "0.1", "--worlds", "0")
        return dmoa("load", *usual, *ALONE, *args)

    return run


def rows(file: Path, kind: str) -> list[dict[str, Any]]:
    lines = file.read_bytes().split(b"\n")[:-1]
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


# -- what is shown ------------------------------------------------------------------------


def test_what_was_measured_stands_beside_what_others_say(load: Load) -> None:
    result = load("--deadline", "60")
    assert result.exit_code == 0
    assert result.stdout.startswith("mode paper, 1 nodes, M=0, k=2: ")
    headings = re.search(
        r"^ +measured +replay +Theorem 1 +planner +worlds$", result.stdout, re.MULTILINE
    )
    assert headings is not None
    first = [line.split("  ")[0] for line in result.stdout.splitlines()]
    for name in ("offered", "goodput", "mean", "p50", "p95", "p99", "in time, 60 s", "busy, mean"):
        assert name in first
    assert re.search(r"^\d+ answered$", result.stdout, re.MULTILINE)
    assert re.search(r"^n1 .* 0\.25 s .* 1 of 64$", result.stdout, re.MULTILINE)
    assert "note: users waited however long" in result.stderr


def test_a_program_is_told_one_object(load: Load, home: ScriptedNode) -> None:
    result = load("--json", "--deadline", "60")
    told = json.loads(result.stdout)
    assert told["mode"] == "paper"
    assert told["policies"] == [asdict(PAPER)]
    assert (told["deadline_seconds"], told["deadline_sent_seconds"]) == (60.0, 86400.0)
    assert told["measured"]["counts"]["answered"] == told["measured"]["asked"] > 0
    assert told["measured"]["in_time"] == 1.0
    assert told["measured"]["nodes"][0]["service_time"] == 0.25
    assert told["beside"]["silent"]["world"] == "none was asked for"
    assert told["done"] is True
    assert {body["dmoa"]["deadline"] for body in home.bodies} == {86400.0}
    assert "NaN" not in result.stdout


def test_refusals_are_counted_and_nothing_answered_is_a_no(load: Load, home: ScriptedNode) -> None:
    home.chats(refused("the queue is full", "overloaded"), 429, retry_after="2")
    result = load()
    assert result.exit_code == command.NO
    assert re.search(r"^0 answered, \d+ refused$", result.stdout, re.MULTILINE)
    assert result.stderr.endswith("no: nothing was answered\n")


def test_worlds_are_asked_the_same(load: Load, home: ScriptedNode) -> None:
    home.on("/v1/queue", STANDS | {"mode": "steady"})
    result = load("--worlds", "2", "--rate", "600", "--json")
    told = json.loads(result.stdout)
    assert told["beside"]["world"]["offered"]["mean"] == pytest.approx(told["measured"]["offered"])
    assert told["beside"]["world"]["mean"]["mean"] > 0.2
    assert told["deadline_sent_seconds"] is None


def test_it_can_be_drawn(load: Load, tmp_path: Path) -> None:
    result = load("--plot", str(tmp_path / "run.svg"))
    assert f"drawn: {tmp_path / 'run.svg'}\n" in result.stderr
    assert "</svg>" in (tmp_path / "run.svg").read_text("utf-8")


def test_prompts_come_from_a_file(load: Load, home: ScriptedNode, tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "A?"}\n{"prompt": "B?"}\n', "utf-8")
    load("--prompts", str(file))
    asked = [body["messages"][0]["content"] for body in home.bodies]
    assert set(asked) == {"A?", "B?"}
    assert abs(asked.count("A?") - asked.count("B?")) <= 1


# -- the file -----------------------------------------------------------------------------


def test_a_test_that_is_over_is_summed_up_again(
    load: Load, home: ScriptedNode, tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    first = load("--out", str(file), "--json")
    asked, content = len(home.bodies), file.read_bytes()
    again = load("--out", str(file), "--json")
    assert again.stdout == first.stdout
    assert len(home.bodies) == asked
    assert file.read_bytes() == content
    assert f"{file} has all of the test; nothing is asked again\n" in again.stderr


def test_a_file_of_other_settings_is_refused(
    load: Load, home: ScriptedNode, tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    load("--out", str(file))
    asked = len(home.bodies)
    result = load("--out", str(file), "--seed", "2")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {file} is of a test with other settings: seed\n")
    assert len(home.bodies) == asked


class Bodies(list[Any]):
    """What a node was asked; with the tenth body something happens to who asks."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self.act = act

    def append(self, body: object) -> None:
        super().append(body)
        if len(self) == 10:
            self.act()


def started(home: ScriptedNode, file: Path, prompts: Path) -> subprocess.Popen[str]:
    words = ["--url", home.url, "--rate", "50", "--seconds", "4", "--worlds", "0", *ALONE]
    words += ["--out", str(file), "--prompts", str(prompts), "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "dmoa", "load", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A question of its own for every query."""
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(f'{{"prompt": "number {at}"}}\n' for at in range(1000)), "utf-8")
    return file


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)


def test_a_test_that_was_killed_goes_on(home: ScriptedNode, prompts: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    processes: list[subprocess.Popen[str]] = []
    home.bodies = Bodies(lambda: processes[0].send_signal(signal.SIGKILL))
    processes.append(started(home, file, prompts))
    assert processes[0].wait(SOON) == -signal.SIGKILL
    processes[0].communicate()
    file.write_bytes(file.read_bytes() + b'{"dmoa": "0.1.0", "ki')
    second = started(home, file, prompts)
    out, talk = second.communicate(timeout=SOON)
    assert second.returncode == 0, talk
    told = json.loads(out)
    assert (told["legs"], told["done"]) == (2, True)
    assert "the last line of the file was torn and is dropped" in told["notes"]
    assert re.search(r"has \d+ queries; the test goes on at \d+\.\d s", talk)
    asked = [body["messages"][0]["content"] for body in home.bodies]
    assert len(set(asked)) == len(asked)
    assert [each["number"] for each in rows(file, "sent")] == list(range(told["measured"]["sent"]))


def test_ctrl_c_ends_a_test_with_the_report_of_what_there_is(
    home: ScriptedNode, prompts: Path, tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    processes: list[subprocess.Popen[str]] = []
    home.bodies = Bodies(lambda: processes[0].send_signal(signal.SIGINT))
    process = started(home, file, prompts)
    processes.append(process)
    out, talk = process.communicate(timeout=SOON)
    assert process.returncode == 130, talk
    told = json.loads(out)
    assert told["done"] is False
    assert 10 <= told["measured"]["sent"] < 150  # of some 200
    assert "the test was stopped; this is what there is of it" in told["notes"]
    assert "Traceback" not in talk


# -- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "1"], "a load test needs nodes"),
        (["--url", "http://127.0.0.1:1"], "give --rate, --rho or a --trace"),
        (["--url", "127.0.0.1", "--rate", "1", *ALONE], "'127.0.0.1' is no URL of a node"),
        (["--local", "3", "--rho", "0.5"], "--local needs to know how long a job takes"),
        (["--local", "3", "--service", "1", "--rate", "0"], "--rate takes queries/s above 0"),
        (["--local", "2", "--service", "1", "--rate", "1"], "a fanout of 2 needs as many peers"),
        (["--local", "0"], "0 is not in the range"),
        (["--rho", "0"], "0.0 is not in the range"),
        (
            ["--local", "3", "--service", "1", "--rate", "1", "--prompts", "/no.jsonl"],
            "the prompts cannot be read: /no.jsonl",
        ),
        (
            ["--local", "3", "--service", "1", "--rate", "1", "--out", "run.csv"],
            "what happens is kept as .jsonl, not as 'run.csv'",
        ),
        (
            ["--local", "3", "--service", "1", "--rate", "1", "--plot", "run.gif"],
            "a plot is written as .png or .svg",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_a_hint(
    dmoa: Dmoa, arguments: list[str], words: str
) -> None:
    result = dmoa("load", *arguments)
    assert result.exit_code == 2
    error, blank, hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert blank == ""
    assert hint.startswith("hint: ")
    assert result.stdout == ""


def test_nodes_that_do_not_answer_are_named(dmoa: Dmoa) -> None:
    result = dmoa("load", "--url", "http://127.0.0.1:9", "--rate", "1", *ALONE)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no node answers at http://127.0.0.1:9\n")


def test_nodes_that_have_not_met_are_refused(load: Load) -> None:
    result = load("--layers", "1", "--fanout", "2")
    assert result.exit_code == 2
    assert "error: n1 knows 0 peers, and a fanout of 2 needs 2\n" in result.stderr


# -- with real nodes ------------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """List the processes that a process has started and that still run."""
    found: list[int] = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = each.read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid and words[0] != "Z":
            found.append(int(each.parent.name))
    return found


LOCAL = ("--local", "3", "--service", "0.05", "--rho", "0.3", "--worlds", "1", "--json")


@pytest.fixture
def local() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    made: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dmoa", "load", *LOCAL, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"DMOA_PORT": "refused if it came through"},
        )
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.communicate()


def test_own_nodes_are_started_asked_and_gone(
    local: Callable[..., subprocess.Popen[str]],
) -> None:
    process = local("--seconds", "3", "--deadline", "60")
    nodes: list[int] = []
    until(lambda: bool(nodes.extend(children(process.pid)) or len(set(nodes)) >= 3))
    out, talk = process.communicate(timeout=120)
    assert process.returncode == 0, talk
    told = json.loads(out)
    assert told["mode"] == "steady"
    assert told["measured"]["counts"]["answered"] == told["measured"]["asked"]
    assert {each["name"] for each in told["measured"]["nodes"]} == {"n1", "n2", "n3"}
    assert all(0.0 < each < 1e9 for each in told["memory_bytes"])
    assert told["beside"]["theorem1"] is not None
    assert told["beside"]["world"] is not None
    assert [pid for pid in nodes if alive(pid)] == []


def test_ctrl_c_leaves_no_node_behind(
    local: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    process = local("--seconds", "600", "--out", str(file))
    until(lambda: file.exists() and b'"kind": "query"' in file.read_bytes())
    nodes = children(process.pid)
    assert len(nodes) == 3
    process.send_signal(signal.SIGINT)
    out, talk = process.communicate(timeout=SOON)
    assert process.returncode == 130, talk
    assert json.loads(out)["done"] is False
    assert [pid for pid in nodes if alive(pid)] == []


def test_modes_are_tested_in_turn_and_compared(
    local: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    process = local("--seconds", "2", "--alternate", "paper,steady", "--out", str(file))
    out, talk = process.communicate(timeout=120)
    assert process.returncode == 0, talk
    told = json.loads(out)
    assert [each["mode"] for each in told["tests"]] == ["paper", "steady"]
    paper, steady = (each["measured"] for each in told["tests"])
    (change,) = told["change"]
    assert (change["mode"], change["against"]) == ("steady", "paper")
    assert change["mean"] == pytest.approx(steady["mean"] / paper["mean"] - 1.0)
    first, second = (tmp_path / f"run-{mode}.jsonl" for mode in ("paper", "steady"))
    assert [row["due"] for row in sorted(rows(first, "query"), key=lambda row: row["number"])] == [
        row["due"] for row in sorted(rows(second, "query"), key=lambda row: row["number"])
    ]
