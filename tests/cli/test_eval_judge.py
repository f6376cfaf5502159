"""`dmoa eval judge`: its table, its JSON, what it keeps, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dmoa.cli import eval_judge as command
from dmoa.cli.main import Commands
from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.official import Official, Package
from dmoa.study.evals.records import Answer, Item, Member, Plan
from dmoa.study.lines import Lines

pytestmark = pytest.mark.real

SOON = 60.0
"""Seconds within which a process has done its part, on however busy a machine."""
NAMES = ("local@n1", "dmoa-m1k2")
COUNT = 6
RUN = """
import sys
from dmoa.cli.eval_judge import judge
from dmoa.cli.main import Commands
Commands(name="eval", commands=[judge]).main(["judge", *sys.argv[1:]])
"""


@dataclass
class Bench:
    """An endpoint that says `said`, or 401; after `hold` questions only once `gate` is open."""

    url: str = ""
    said: str = "m"
    status: int = 200
    asked: int = 0
    hold: int = 1_000_000
    gate: Event = Event()  # noqa: RUF009 - one for all tests, always open at their end


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            found.asked += 1
            if found.asked > found.hold:
                found.gate.wait(SOON)
            message = {"role": "assistant", "content": found.said}
            body: dict[str, Any] = {"choices": [{"message": message}], "error": {"message": "no"}}
            body["usage"] = {"prompt_tokens": 50, "completion_tokens": 1}
            content = json.dumps(body).encode()
            self.send_response(found.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        found.url = f"openai:http://127.0.0.1:{server.server_port}/v1#m"
        yield found
        found.gate.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two configurations; the first has an answer less."""
    folder = Folder(tmp_path / "run")
    items = tuple(
        Item(f"i{at}", "set", (f"Task {at}?",), reference=f"theirs {at}") for at in range(COUNT)
    )
    folder.write_items(items)
    with Lines(folder.answers_file) as log:
        log.add("plan", Plan(NAMES, (Member("n1", "m"),), hash_of(items), COUNT, seed=1))
        for name in NAMES:
            for item in items:
                text = f"{name} says {item.id}" * (1 + int(item.id[1:]))
                answer = Answer(item.id, name, "n1", "answered", (text,))
                if (name, item.id) == (NAMES[0], "i5"):
                    answer = Answer(item.id, name, "n1", "refused", http=429)
                log.add("answer", answer)
    return folder.place


Judge = Callable[..., Result]


@pytest.fixture
def judge(run: Path, bench: Bench) -> Judge:
    """Run the command as a shell would."""
    group = Commands(name="eval", commands=[command.judge])

    def call(*args: str, uri: str | None = None) -> Result:
        words = ("judge", str(run), "--judge", uri or bench.url, *args)
        result = CliRunner().invoke(group, words)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return call


def test_the_table_tells_wins_and_how_the_judge_leans(judge: Judge, bench: Bench) -> None:
    result = judge()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{bench.url}, against baseline"
    headings = "configuration judged win rate flips first length read"
    assert lines[2].split() == headings.split()
    assert lines[3].split()[:4] == [NAMES[0], "6", "of", "6"]
    assert "41.67 ±8.33 %" in lines[3]
    assert "100.0 %" in lines[3]
    assert "50.00 ±0.00 %" in lines[4]
    assert lines[4].endswith("600 tokens")
    assert lines[6] == "22 judgements asked for now, 0 known before"
    for what in (
        "1 items without an answer of local@n1 are losses",
        "contradicts itself on 100% of the items of dmoa-m1k2",
        "leans to what stands first: 100% of its preference (dmoa-m1k2)",
        "gives no log probabilities",
    ):
        assert what in result.stderr
    again = judge("--one-order")
    assert "0 judgements asked for now, 12 known before" in again.stdout


def test_what_is_to_be_taken_with_care_is_told(judge: Judge, run: Path) -> None:
    folder, longer = Folder(run), "and on " * 9000
    items = (*folder.items(), Item("i6", "set", ("More?",), reference="theirs"))
    items += (Item("i7", "set", ("No reference?",)), Item("i8", "set", ("Unasked?",)))
    folder.write_items(items)
    texts = {"i3": "theirs 3", "i4": longer, "i7": "a word"}
    with Lines(folder.answers_file) as log:
        for name in NAMES:
            for item, text in texts.items():
                log.add("answer", Answer(item, name, "n1", "answered", (text,)))
    result = judge()
    assert result.exit_code == 3  # one of seven items has no reference
    for what in (
        "2 items were not asked of local@n1 yet; go on with `dmoa eval run`",
        "1 items of local@n1 have nothing to be compared with",
        "1 answer is the reference's text (local@n1): a draw",
        "answers to 1 items of dmoa-m1k2 or the reference's were cut",
    ):
        assert what in result.stderr
    assert "2 of texts that were judged already" in result.stdout


def test_a_program_reads_the_same(judge: Judge, bench: Bench) -> None:
    result = judge("--json", "--configurations", " dmoa-m1k2,", "--draws", "2")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["judge"] == bench.url
    assert (found["asked"], found["known"], found["both_orders"]) == (24, 0, True)
    (row,) = found["configurations"]
    assert row["configuration"] == "dmoa-m1k2"
    assert (row["items"], row["judged"], row["win_rate"]) == (6, 6, 50.0)
    assert row["length"] is None
    assert row["verdicts"] == {"judged": 24}
    assert row["unjudged_share"] == 0.0
    assert len(found["notes"]) == 3


def test_too_much_rubbish_exits_with_3(judge: Judge, bench: Bench, run: Path) -> None:
    bench.said = "Both are fine."
    result = judge("--json")
    assert result.exit_code == 3
    assert "no: 6 of 6 items of dmoa-m1k2 (100.0%) could not be judged, and 5% may" in result.stderr
    assert json.loads(result.stdout)["configurations"][1]["win_rate"] is None
    assert "failed too often in a row" in json.loads(result.stdout)["notes"][0]
    bench.said = "M"
    result = judge("--concurrency", "1", "--reference", "local@n1")
    assert result.exit_code == 3
    assert "1 items of dmoa-m1k2 have nothing to be compared with" in result.stderr
    assert {each.verdict for each in Folder(run).judgements().values()} == {"judged", "rubbish"}


def test_a_wrong_key_ends_in_one_line(judge: Judge, bench: Bench, run: Path) -> None:
    bench.status = 401
    result = judge("--concurrency", "1")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: the judge at 127.0.0.1")
    assert "hint: check the API key" in result.stderr
    assert bench.asked == 1
    assert {each.detail for each in Folder(run).judgements().values()} == {"no answer"}


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--configurations", "dmoa-m9k9"), "no configuration 'dmoa-m9k9'"),
        (("--template", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("--draws", "0"), "--draws"),
    ],
)
def test_what_cannot_be_is_refused_with_2(judge: Judge, args: tuple[str, ...], why: str) -> None:
    result = judge(*args)
    assert result.exit_code == 2
    assert why in result.stderr
    assert judge(uri="fake:1").exit_code == 2


def test_a_template_of_somebody_else(judge: Judge, bench: Bench, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("<|im_start|>user\n{instruction} {output_1} {output_2}\n<|im_end|>")
    assert judge("--template", str(words), "--one-order").exit_code == 0
    assert bench.asked == 12  # the first of them twice: for log probabilities, and without


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_stopped_in_the_middle_it_goes_on(
    judge: Judge, bench: Bench, run: Path, sign: signal.Signals, code: int
) -> None:
    bench.hold = 9
    words = (str(run), "--judge", bench.url, "--concurrency", "1")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    until = time.monotonic() + SOON
    while bench.asked < 10 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(sign)
    _, said = process.communicate(timeout=SOON)
    assert process.returncode == code
    assert (b"the same command goes on from there" in said) is (code > 0)
    before = bench.asked
    kept = len(Folder(run).judgements())
    bench.gate.set()
    result = judge()
    bench.gate.clear()
    assert result.exit_code == 0
    assert kept == 8 + 2  # the first question was put twice, and two needed no judge
    # asked again is only what was under way, and once more whether there are log probabilities
    assert bench.asked == before + 22 - 8 + 1
    assert len(Folder(run).judgements()) == 24


def test_the_package_is_handed_the_run(
    judge: Judge, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(folder: Folder, wish: Any, package: Package) -> tuple[Official, ...]:
        assert folder.place == run
        assert wish.configurations == ("local@n1",)
        assert package.concurrency == 8
        missing = float("nan")
        return (Official("local@n1", 6, 41.67, 8.33, missing, missing, 41.0, 6, ("a remark",)),)

    monkeypatch.setattr("dmoa.study.evals.official.evaluate", evaluate)
    args = ("--annotator", "alpaca_eval", "--configurations", "local@n1")
    result = judge(*args)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == (
        ["local@n1", "6", "41.67", "±8.33", "%", "-", "41.0", "%"]
    )
    assert "note: local@n1: a remark" in result.stderr
    (row,) = json.loads(judge(*args, "--json").stdout)["configurations"]
    assert (row["win_rate"], row["length_controlled"]) == (41.67, None)


def test_help_is_quick_and_says_what_it_does() -> None:
    code = "import sys; from dmoa.cli import eval_judge; print('numpy' in sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ, timeout=SOON
    )
    assert ended.stdout.strip() == b"False"
    text = CliRunner().invoke(command.judge, ["--help"]).output
    assert text.index("Let a judge compare") < text.index("dmoa eval judge runs/one")
