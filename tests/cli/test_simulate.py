"""`dmoa simulate`: its table, its JSON, its files, its exit codes, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from dmoa.cli import progress, render
from dmoa.cli import simulate as command
from dmoa.cli import simulate_view as view
from dmoa.cli.main import cli
from dmoa.cli.simulate import NO
from dmoa.study import sweep as sweeps
from dmoa.study.plots import Panel
from dmoa.study.rows import Row, rows_of

Simulate = Callable[..., Result]
SMALL = ("--nodes", "4", "--queries", "400", "--replications", "2")


@pytest.fixture
def simulate() -> Simulate:
    def run(*args: str) -> Result:
        result = CliRunner().invoke(cli, ["simulate", *SMALL, *args])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run


def cells(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def rows(result: Result) -> list[dict[str, object]]:
    return json.loads(result.stdout)["rows"]


# -- what is shown --------------------------------------------------------------------


def test_one_point_is_a_table_of_one_row(simulate: Simulate) -> None:
    result = simulate("--arrival-rate", "0.5rho", "--layers", "1", "--fanout", "2")
    heading, row = cells(result)
    assert heading == [
        "M",
        "k",
        "asked/s",
        "rho",
        "mean",
        "p95",
        "waiting",
        "busy",
        "goodput",
        "verdict",
    ]
    assert row[:4] == ["1", "2", "0.125", "0.5"]
    assert row[-1] == "stable"
    assert result.exit_code == 0
    assert "2 runs by lindley: 4e+03 events" in result.stderr


def test_a_single_growing_network_is_a_no(simulate: Simulate) -> None:
    result = simulate("--arrival-rate", "2rho", "--queries", "1000")
    assert cells(result)[1][-1] == "growing"
    assert cells(result)[1][4].startswith(">")
    assert result.stderr.endswith("no: the queues grow, the network is not stable\n")
    assert "depend on how long" in result.stderr
    assert result.exit_code == NO


def test_a_growing_point_of_a_sweep_is_marked(simulate: Simulate) -> None:
    result = simulate("--arrival-rate", "0.5,2rho", "--queries", "1000")
    assert [row[-1] for row in cells(result)[1:]] == ["stable", "growing"]
    assert "the queues of 1 of 2 points grow" in result.stderr
    assert result.exit_code == 0


def test_a_sweep_has_a_row_for_every_combination(simulate: Simulate) -> None:
    result = simulate("--arrival-rate", "0.01,0.02", "--layers", "0:2", "--fanout", "1,3")
    shapes = [tuple(row[:3]) for row in cells(result)[1:]]
    mixtures = [("0", "-"), ("1", "1"), ("1", "3"), ("2", "1"), ("2", "3")]
    assert shapes == [(*each, rate) for each in mixtures for rate in ("0.01", "0.02")]


def test_policies_are_compared_with_the_first(simulate: Simulate) -> None:
    result = simulate(
        *("--arrival-rate", "0.8rho", "--policy", "paper,loaded", "--deadline", "20"),
        *("--set", "order=oldest"),
    )
    heading, first, second = result.stdout.splitlines()
    assert heading.split()[:3] == ["policy", "M", "k"]
    assert "in time" in heading
    assert "vs paper" in heading
    assert (first.split()[0], second.split()[0]) == ("paper", "loaded")
    assert [bool(re.search(r"-\d+% ±\d+%", row)) for row in (first, second)] == [False, True]
    assert "note: policies are simulated with order=oldest" in result.stderr


def test_columns_tell_what_varies(simulate: Simulate) -> None:
    result = simulate(
        *("--arrival-rate", "0.5rho", "--law", "exp,fixed", "--gossip", "0,2", "--policy"),
        *("loaded", "--set", "own_queries=1,missing=1"),
    )
    heading = result.stdout.splitlines()[0].split()
    assert heading[:2] == ["law", "gossip"]
    assert "refused" in heading
    assert "proposals" in heading


def test_rows_are_json(simulate: Simulate) -> None:
    (row,) = rows(simulate("--arrival-rate", "0.1", "--json"))
    assert (row["nodes"], row["layers"], row["fanout"], row["verdict"]) == (4, 1, 2, "stable")
    assert row["rho"] == pytest.approx(0.4)
    (row,) = rows(simulate("--arrival-rate", "0.1", "--json", "--replications", "1"))
    assert row["mean_half"] is None


def test_short_runs_are_pointed_out(simulate: Simulate) -> None:
    result = simulate("--arrival-rate", "0.9rho", "--queries", "100")
    assert "note: with 100 --queries for 4 nodes, queues may not have settled" in result.stderr
    assert "the intervals of 1 of 1 means are wide" in result.stderr
    result = simulate("--arrival-rate", "1rho", "--queries", "300")
    assert "unclear at M=1, k=2 and rho 1: growth is not seen yet" in result.stderr
    assert result.exit_code == 0


def on_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> StringIO:
    """Make both streams a terminal; what is drawn on it is returned."""
    screen = StringIO()

    def console(*, stderr: bool = False) -> Console:
        assert stderr in {True, False}
        return Console(file=screen, force_terminal=True, width=width, color_system=None)

    monkeypatch.setattr(render, "console", console)
    return screen


def test_a_narrow_terminal_shows_what_it_has_room_for(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = on_terminal(monkeypatch, 60)
    result = simulate("--arrival-rate", "0.5rho", "--deadline", "60")
    heading, _ = screen.getvalue().splitlines()[-2:]
    assert heading.split()[1:] == ["k", "asked/s", "rho", "mean", "p95", "in", "time", "verdict"]
    assert "note: there is no room for waiting, goodput, busy; --json" in result.stderr
    screen = on_terminal(monkeypatch, 200)
    result = simulate("--arrival-rate", "0.5rho", "--deadline", "60")
    assert "goodput" in screen.getvalue()
    assert "no room" not in result.stderr


def test_a_terminal_shows_a_bar(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_terminal(monkeypatch, 200)
    simulate("--arrival-rate", "0.5rho", "--queries", "100")
    assert "note: with 100 --queries" in screen.getvalue()
    assert "simulate" in screen.getvalue()


def test_without_a_terminal_there_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("dmoa.cli.progress.time.monotonic", lambda: now)
    with progress.progress_bar("count") as bar:
        for done in range(10):
            bar(done, 10, "more" if done % 2 else "")
            now += 12.0
        bar.say("that was it")
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "count: more, 30% done",
        "count, 60% done",
        "count: more, 90% done",
        "that was it",
    ]


# -- what is simulated ----------------------------------------------------------------


def test_networks_come_from_lists_files_and_graphs(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text(
        "service_time = [1.0, 1.0, 2.0, 4.0]\narrival_rate = 0.02\n[costs]\nlater = 2\n"
    )
    (row,) = rows(simulate("--network", str(file), "--json"))
    assert row["rho"] == pytest.approx(0.02 * 4 * 4)
    (row,) = rows(simulate("--network", str(file), "--arrival-rate", "0.5rho", "--json"))
    assert row["rho"] == pytest.approx(0.5)
    (row,) = rows(
        simulate(
            *(
                "--service-time",
                "1,1,1,2",
                "--slots",
                "2",
                "--costs",
                "1,1,2",
                "--topology",
                "ring",
            ),
            *("--arrival-rate", "0.05", "--json"),
        )
    )
    assert row["rho"] == pytest.approx(0.05 * 2 * (1 + 2 + 2) / 2)


def test_as_many_nodes_as_the_lists_say() -> None:
    def nodes(*args: str) -> object:
        words = ["simulate", "--queries", "20", "--replications", "1", "--json", *args]
        return json.loads(CliRunner().invoke(cli, words).stdout)["rows"][0]["nodes"]

    assert nodes("--arrival-rate", "0.1") == 10
    assert nodes("--arrival-rate", "0.1", "--service-time", "1,1,2") == 3
    assert nodes("--arrival-rate", "0.1", "--nodes", "7") == 7


def test_a_trace_is_simulated_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("time,node\n" + "".join(f"{5 * each},{each % 3 + 1}\n" for each in range(30)))
    words = ["simulate", "--arrivals", str(file), "--law", "fixed", "--json"]
    (row,) = json.loads(CliRunner().invoke(cli, words).stdout)["rows"]
    assert (row["nodes"], row["queries"]) == (3, 30)
    assert row["mean"] == pytest.approx(2.0)
    result = CliRunner().invoke(cli, [*words, "--arrival-rate", "1"])
    assert "a trace has its own arrivals" in result.stderr


def test_bursts_are_simulated(simulate: Simulate) -> None:
    (row,) = rows(simulate("--arrivals", "0.2/3:100/20", "--arrival-rate", "0.1", "--json"))
    assert row["verdict"] == "stable"


def test_measured_times_bring_their_mean(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("2 4\n6")
    law = ("--law", f"measured:{file}", "--arrival-rate", "0.01", "--json")
    assert rows(simulate(*law))[0]["rho"] == pytest.approx(0.16)
    assert rows(simulate(*law, "--service-time", "1"))[0]["rho"] == pytest.approx(0.04)


def test_the_agents_of_the_product_may_simulate(simulate: Simulate) -> None:
    result = simulate("--arrival-rate", "0.1", "--engine", "world", "--queries", "50")
    assert "by world" in result.stderr


def test_live_policies_are_simulated_by_the_agents_themselves(
    simulate: Simulate, tmp_path: Path
) -> None:
    file = tmp_path / "runs.jsonl"
    wanted = ("--arrival-rate", "0.1", "--policy", "paper,live", "--queries", "80")
    result = simulate(*wanted, "--deadline", "60", "--out", str(file), "--json")
    assert [row["policy"] for row in rows(result)] == ["paper", "live"]
    slower = "note: live: simulated by the agents themselves, which is slower"
    assert result.stderr.splitlines().count(slower) == 1
    assert "by lindley and world" in result.stderr
    again = simulate(*wanted, "--deadline", "60", "--out", str(file), "--json")
    assert rows(again) == rows(result)
    assert slower not in again.stderr
    assert "runs are in" in again.stderr


# -- files ----------------------------------------------------------------------------


def test_a_sweep_goes_on_in_its_file(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    first = simulate("--arrival-rate", "0.1,0.2", "--out", str(file))
    assert file.read_text().count("\n") == 4
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3])[:-5])
    again = simulate("--arrival-rate", "0.1,0.2", "--out", str(file))
    assert again.stdout == first.stdout
    assert f"note: the last line of {file} was torn" in again.stderr
    assert f"note: 2 of 4 runs are in {file} already" in again.stderr
    other = simulate("--arrival-rate", "0.3", "--out", str(file))
    assert "none of this sweep" in other.stderr
    assert other.exit_code == 2


def test_rows_are_written_as_csv(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    result = simulate("--arrival-rate", "0.1,0.2", "--out", str(file))
    assert f"written: {file}; the runs are in {tmp_path / 'rows.jsonl'}" in result.stderr
    with file.open(newline="") as opened:
        assert [row["arrival_rate"] for row in csv.DictReader(opened)] == ["0.1", "0.2"]


def test_an_interrupted_sweep_says_how_to_go_on(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeps.Sweep, "measure", stop)
    result = simulate("--arrival-rate", "0.1", "--out", str(tmp_path / "runs.jsonl"))
    assert "runs.jsonl has 0 of 2 runs, and the same command goes on there" in result.stderr
    assert result.exit_code == 130
    assert "would have been kept" in simulate("--arrival-rate", "0.1").stderr


def test_a_picture_is_drawn(simulate: Simulate, tmp_path: Path) -> None:
    file = tmp_path / "load.svg"
    result = simulate(
        *("--arrival-rate", "0.5,0.8,2rho", "--fanout", "1,2", "--plot", str(file)),
        *("--deadline", "30"),
    )
    assert f"drawn: {file}" in result.stderr
    text = file.read_text("utf-8")
    for word in (
        "Mean time to answer",
        "95th percentile",
        "M=1, k=2",
        "bound, rho = 1",
        "deadline",
    ):
        assert f"<!-- {word} -->" in text


def panels_of(*args: str) -> list[Panel]:
    found: list[Row] = []

    def keep(*what: object) -> list[Row]:
        found.extend(rows_of(*what))  # pyright: ignore[reportArgumentType]  (handed through)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dmoa.study.rows.rows_of", keep)
        words = ["simulate", *SMALL, "--arrival-rate", *args]
        assert CliRunner().invoke(cli, words).exit_code == 0
    return view.panels(found)


def test_what_varies_stands_below_the_picture() -> None:
    (mean, _, share) = panels_of("0.5,3rho", "--policy", "paper,loaded")
    assert mean.x == "utilisation rho of the busiest node"
    assert [each.label for each in mean.series] == ["paper", "loaded"]
    assert [str(each) for each in mean.series[0].y][1] == "nan"
    assert share.series[0].y[1] < 0.9
    (mean, *_) = panels_of("0.5rho", "--gossip", "0,1,5", "--policy", "loaded")
    assert (mean.x, list(mean.series[0].x)) == ("seconds between digests", [0.0, 1.0, 5.0])
    (mean, *_) = panels_of("0.5rho", "--nodes", "4,8")
    assert (mean.x, list(mean.series[0].x)) == ("nodes", [4.0, 8.0])
    (mean, *_) = panels_of("0.5rho")
    assert mean.series[0].points


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fanout", "4"], "a fanout of 4 needs as many peers, and node 1 has 3"),
        (["--arrival-rate", "-1"], "--arrival-rate must be above 0"),
        (["--arrival-rate", "0.5:0.1:0.1rho"], "is empty"),
        (["--nodes", "0"], "--nodes takes whole numbers of 1 or more"),
        (["--service-time", "1,2"], "nodes speaks of 4 nodes, service_time of 2"),
        (["--service-time", "-1"], "the service time of node 1 cannot be -1"),
        (["--law", "pareto:1"], "has no mean"),
        (["--law", "normal"], "'normal' is no law of service"),
        (["--policy", "fast"], "there is no policy 'fast'"),
        (["--set", "speed=3"], "--set 'speed=3' names no part of a policy"),
        (["--topology", "line"], "there is no topology 'line'"),
        (["--topology", "cut.json"], "the graph is disconnected"),
        (["--arrivals", "often"], "--arrivals 'often' is nothing that can be"),
        (["--costs", "1,2"], "--costs takes three numbers, not 2"),
        (["--deadline", "0"], "0.0 is not in the range x>0"),
        (["--engine", "lindley", "--policy", "loaded"], "the shortcut knows"),
        (["--engine", "kernel", "--policy", "live"], "only agents can follow it"),
        (["--set", "probe=soon"], "--set probe cannot be 'soon'"),
        (["--set", "probe=inf"], "--set probe cannot be 'inf'"),
        (["--set", "probe=-1"], "probe is an age in service times, 0 or more, not -1.0"),
        (["--out", "runs.txt"], "results are kept as .jsonl or .csv, not as 'runs.txt'"),
        (["--out", "none/runs.csv"], "cannot be written"),
        (["--plot", "load.pdf"], "a plot is written as .png or .svg"),
        (["--network", "none.toml"], "none.toml: cannot be read"),
        (["--law", "measured:none"], "cannot be read: none"),
    ],
)
def test_what_cannot_be_is_one_line_and_a_hint(
    simulate: Simulate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    graph = {"nodes": [{"id": each} for each in range(4)], "edges": [{"source": 0, "target": 1}]}
    Path("cut.json").write_text(
        json.dumps(graph | {"directed": False, "multigraph": False, "graph": {}})
    )
    result = simulate("--arrival-rate", "0.1", "--fanout", "1", *arguments)
    error, *rest = result.stderr.splitlines()
    assert result.exit_code == 2
    assert error.startswith("error: ")
    assert words in error
    assert result.stdout == ""
    assert not rest or (rest[0] == "" and rest[1].startswith("hint: "))


def test_an_arrival_rate_is_needed(simulate: Simulate) -> None:
    result = simulate()
    assert "the arrival rate of the network is missing" in result.stderr
    assert result.exit_code == 2


def test_cores_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command._cores() >= 1
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert command._cores() >= 1
