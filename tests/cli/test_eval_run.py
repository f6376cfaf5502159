"""`dmoa eval run`: what it shows, how it is stopped and gone on with, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from dmoa.cli import main
from dmoa.cli.eval_run import run as command
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.records import Answer, Item

sys.path.insert(0, str(Path(__file__).parents[1] / "study" / "evals"))
from stub_member import Json, Said, StubNode, items, members, says
from stub_network import problem

pytestmark = pytest.mark.real

SOON = 60.0
"""Seconds within which a process has done its part, on however busy a machine."""
PROGRAM = """
import sys
from dmoa.cli import main
from dmoa.cli.eval_run import run
sys.exit(main._exit_code(lambda: run.main(sys.argv[1:], standalone_mode=False)))
"""


class Runs:
    """Runs the command on two stub nodes with the items of a file."""

    def __init__(self, place: Path, nodes: list[StubNode]) -> None:
        self.place = place
        self.nodes = nodes
        self.file = place / "items.jsonl"
        self.write(*items(12))

    def write(self, *asked: Item) -> None:
        self.file.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in asked))

    def words(self, out: str, *more: str) -> list[str]:
        urls = [word for each in self.nodes for word in ("--url", each.url)]
        usual = ["--items", str(self.file), *urls, "--out", str(self.place / out)]
        return [*usual, *(("--ask", "dmoa-m1k1") if "--ask" not in more else ()), *more]

    def __call__(self, out: str, *more: str) -> Result:
        return invoke(*self.words(out, *more))

    def process(self, out: str, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *self.words(out, *more)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stop_at(self, number: int) -> threading.Event:
        """Answer no query from one on, until the gates are opened; tell when that one is here."""
        reached, gate, count = threading.Event(), threading.Event(), 0
        lock = threading.Lock()

        def say(body: Json, name: str) -> Said:
            nonlocal count
            with lock:
                count += 1
                mine = count
            if mine >= number and not gate.is_set():
                reached.set()
                gate.wait(SOON)
            return says(name, body)

        for each in self.nodes:
            each.say = lambda body, name=each.name: say(body, name)
        self.go_on = gate.set
        return reached


def invoke(*words: str) -> Result:
    """Run the command as a shell would, with our words for what went wrong."""
    found = 0

    def inner() -> None:
        nonlocal found
        found = main._exit_code(lambda: command.main(list(words), standalone_mode=False))

    result = CliRunner().invoke(click.Command("eval", callback=inner), [])
    assert result.exception is None, result.exception
    result.exit_code = found
    return result


@pytest.fixture
def eval_run(tmp_path: Path) -> Iterator[Runs]:
    with members(2) as nodes:
        yield Runs(tmp_path, nodes)


def outputs(place: Path) -> dict[str, Any]:
    return {each.name: json.loads(each.read_text()) for each in (place / "outputs").iterdir()}


def answers(place: Path) -> list[Answer]:
    rows = (place / "answers.jsonl").read_text().splitlines()
    return [
        msgspec.json.decode(row, type=Answer) for row in rows if json.loads(row)["kind"] == "answer"
    ]


# -- what it shows ------------------------------------------------------------------------


def test_every_configuration_has_a_row_and_what_is_next_is_told(eval_run: Runs) -> None:
    result = eval_run("run")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert re.split(" {2,}", head.strip()) == [
        "configuration", "answered", "mean", "read", "written", "jobs",
    ]  # fmt: skip
    assert [row.split()[0] for row in rows] == ["local@n1", "local@n2", "dmoa-m1k1"]
    assert all(re.search(r" 12 +\d+\.\d\d s +240 tokens +120 tokens +24$", row) for row in rows)
    assert "12 items, 3 configurations: 720 tokens read and 360 written" in result.stderr
    assert f"next: dmoa eval judge {eval_run.place / 'run'}" in result.stderr
    assert set(outputs(eval_run.place / "run")) == {
        "local@n1.json", "local@n2.json", "dmoa-m1k1.json",
    }  # fmt: skip


def test_a_program_is_told_one_object(eval_run: Runs) -> None:
    eval_run.write(*(_known(each) for each in items(3)))
    eval_run.nodes[0].say = lambda _: problem(502, "backend_failed")
    result = eval_run("run", "--json")
    told = json.loads(result.stdout)
    assert told["items"] == 3
    assert told["seconds"] > 0
    one, two, mixed = told["configurations"]
    assert (one["configuration"], one["failed"], one["mean_seconds"]) == ("local@n1", 3, None)
    assert (two["answered"], two["left"], two["prompt_tokens"]) == (3, 0, 60)
    assert (mixed["answered"], mixed["failed"]) == (1, 2)
    assert "next: dmoa eval table" in result.stderr
    again = eval_run("run", "--retry-failed")
    heads = again.stdout.splitlines()[0]
    assert "failed" in heads
    assert "refused" not in heads


def _known(item: Item) -> Item:
    return msgspec.structs.replace(item, metric="exact", answers=("3",))


def test_without_members_it_says_what_is_missing(eval_run: Runs) -> None:
    result = eval_run("run", "--no-members")
    assert "nobody can tell which member is the best" in result.stderr
    assert [each.configuration for each in answers(eval_run.place / "run")] == ["dmoa-m1k1"] * 12


def test_nothing_answered_is_a_no(eval_run: Runs) -> None:
    for each in eval_run.nodes:
        each.say = lambda _: problem(502, "backend_failed")
    result = eval_run("run")
    assert result.exit_code == 3
    assert "no: nothing was answered" in result.stderr


# -- going on -------------------------------------------------------------------------------


def test_killed_and_started_again_it_asks_what_is_left_and_no_more(eval_run: Runs) -> None:
    eval_run.write(*items(24, "And why?"))
    whole = eval_run("whole", "--concurrency", "4")
    assert whole.exit_code == 0
    for each in eval_run.nodes:
        each.bodies.clear()

    reached = eval_run.stop_at(60)
    process = eval_run.process("run", "--concurrency", "4")
    try:
        assert reached.wait(SOON)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=SOON)
    eval_run.go_on()
    before = {(each.configuration, each.item) for each in answers(eval_run.place / "run")}
    assert 30 < len(before) < 60
    seen = Counter(_asked(eval_run))
    for each in eval_run.nodes:
        each.bodies.clear()

    # as if the disk had only half of the last line
    file = eval_run.place / "run" / "answers.jsonl"
    file.write_bytes(file.read_bytes() + b'{"dmoa": "0.')
    result = eval_run("run", "--concurrency", "4")
    assert result.exit_code == 0
    again = Counter(_asked(eval_run))
    found = answers(eval_run.place / "run")
    names = Folder(eval_run.place / "run").plan().configurations
    wanted = Counter((name, each.id) for name in names for each in items(24))
    assert Counter((each.configuration, each.item) for each in found) == wanted
    # what had an answer is not asked again; at most those under way are
    assert not {(name, item) for name, item, _ in again} & before
    assert sum((seen & again).values()) <= 2 * 4
    assert max((seen + again).values()) <= 2
    assert outputs(eval_run.place / "run") == outputs(eval_run.place / "whole")
    assert result.stdout.splitlines()[0] == whole.stdout.splitlines()[0]


def _asked(runs: Runs) -> list[tuple[str, str, int]]:
    """Tell configuration, item and turn of every query that came."""
    found: list[tuple[str, str, int]] = []
    for node in runs.nodes:
        for body in node.bodies:
            name = f"local@{node.name}" if body["model"] == "local" else body["model"]
            number = body["messages"][0]["content"].removeprefix("What is ").removesuffix("?")
            found.append((name, f"item-{number}", len(body["messages"])))
    return found


def test_stopped_it_says_how_to_go_on(eval_run: Runs) -> None:
    reached = eval_run.stop_at(8)
    process = eval_run.process("run")
    try:
        assert reached.wait(SOON)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SOON)
    finally:
        process.kill()
        eval_run.go_on()
    assert process.returncode == 130
    assert re.search(r"stopped; .*run keeps 7 of 36 answers", said)
    assert "the same command goes on from there" in said
    assert "Traceback" not in said


def test_what_is_done_is_not_asked_again_and_needs_no_items(eval_run: Runs) -> None:
    eval_run("run")
    for each in eval_run.nodes:
        each.bodies.clear()
    eval_run.file.unlink()
    words = eval_run.words("run")
    result = invoke(*words[2:])  # without --items
    assert result.exit_code == 0
    assert "has 36 answers" in result.stderr
    assert [each.bodies for each in eval_run.nodes] == [[], []]


# -- nodes it starts -------------------------------------------------------------------------


def test_nodes_are_started_with_settings_of_their_own(tmp_path: Path) -> None:
    file, asked, out = tmp_path / "nodes.toml", tmp_path / "asked.jsonl", tmp_path / "run"
    file.write_text(
        '[all]\nmode = "paper"\n[[node]]\nmodel = "fake:0?tokens=2#a"\n'
        '[[node]]\nname = "b"\nmodel = "fake:0?tokens=2#b"\ndeadline = 30\n'
    )
    asked.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in items(4)))
    words = ["--nodes", str(file), "--items", str(asked), "--ask", "local,dmoa-m1k1"]
    result = invoke(*words, "--out", str(out))
    assert result.exit_code == 0, result.stderr
    plan = Folder(out).plan()
    assert plan.configurations == ("local@n1", "local@b", "dmoa-m1k1")
    assert [each.model for each in plan.members] == ["a", "b"]
    assert plan.members[1].settings == {
        "mode": "paper",
        "model": "fake:0?tokens=2#b",
        "deadline": 30,
    }
    found = Folder(out).answers()
    assert found["local@b", "item-1"].outputs == ("b heard: What is 1?",)
    mixed = found["dmoa-m1k1", "item-1"]
    assert (mixed.node, mixed.status, mixed.layers, mixed.fanout, mixed.jobs) == (
        "b", "answered", 1, 1, 3,
    )  # fmt: skip
    # all is there, so that no node is started; and other settings are refused before one is
    again = invoke(*words, "--out", str(out))
    assert again.exit_code == 0
    assert "nothing is left to ask" in again.stderr
    assert "on this machine" not in again.stderr
    file.write_text(file.read_text().replace("30", "40"))
    other = invoke(*words, "--out", str(out))
    assert other.exit_code == 2
    assert "another plan: members was" in other.stderr


# -- what it refuses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--ask", "dmoa-m1k2"), "asks 2 peers, and there are 1"),
        (("--ask", "gpt"), "'gpt' is no configuration"),
        (("--ask", "local@n7"), "there is no node 'n7'"),
        (("--rate", "1", "--concurrency", "2"), "--rate asks when"),
        (("--nodes", "x.toml"), "--url and --nodes exclude each other"),
        (("--url", "http://127.0.0.1:1"), "no node answers at http://127.0.0.1:1"),
        (("--rate", "0"), "--rate"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    eval_run: Runs, more: tuple[str, ...], words: str
) -> None:
    result = eval_run("run", *more)
    assert result.exit_code in (1, 2)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert words in lines[0]
    assert [line for line in lines[1:] if line and not line.startswith("hint: ")] == []
    assert result.stdout == ""
    assert [each.bodies for each in eval_run.nodes] == [[], []]


def test_nodes_twice_or_none_are_refused(eval_run: Runs) -> None:
    twice = eval_run("run", "--url", eval_run.nodes[0].url)
    assert twice.exit_code == 2
    assert "are the same node, n1" in twice.stderr
    none = invoke("--ask", "local", "--out", str(eval_run.place / "run"))
    assert none.exit_code == 2
    assert "there are no nodes to ask" in none.stderr


def test_other_items_and_another_plan_are_refused(eval_run: Runs) -> None:
    assert eval_run("run").exit_code == 0
    eval_run.write(*items(11))
    other = eval_run("run")
    assert other.exit_code == 2
    assert "another plan: items was" in other.stderr
    assert "count was 12 and is 11" in other.stderr
    eval_run.write(*items(12))
    seeded = eval_run("run", "--seed", "5")
    assert "seed was 1 and is 5" in seeded.stderr


def test_a_folder_that_cannot_be_written_is_refused(eval_run: Runs) -> None:
    (eval_run.place / "run").touch()
    result = eval_run("run")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_a_node_that_went_away_is_told_at_the_end(eval_run: Runs) -> None:
    node = eval_run.nodes[1]
    node.server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def die(body: Json) -> Said:
        node.status = 500
        raise ConnectionResetError(body["model"])

    node.say = die
    eval_run.write(*items(20))
    result = eval_run("run")
    assert result.exit_code == 1
    assert "local@n2 (20 items)" in result.stderr
    assert "hint: see that all nodes answer" in result.stderr
    assert "local@n1" in result.stdout  # what there is, is shown
