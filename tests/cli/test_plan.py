"""`dmoa plan`: what is said of a network, and the exit code where the answer is no."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dmoa.cli.main import cli

TEN = ("--nodes", "10", "--arrival-rate", "0.05", "--service-time", "2")
UNLIKE = ("--arrival-rate", "0.02", "--service-time", "1,1,1,4")


def plan(*args: str) -> Result:
    result = CliRunner().invoke(cli, ["plan", *args])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def words_of(text: str) -> list[list[str]]:
    """The words of all lines below the first."""
    return [line.split() for line in text.splitlines()[1:] if line.strip()]


def test_a_mixture_is_told_with_all_it_needs() -> None:
    result = plan(*TEN, "--layers", "2", "--fanout", "2")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "10 nodes, M=2, k=2: 7 jobs per query"
    assert lines[2].split() == [
        *("nodes", "asked", "service", "slots", "rho", "jobs", "waiting", "jobs", "there"),
        *("mean", "answer", "p95"),
    ]
    assert lines[3].split()[:6] == ["1-10", "0.05/s", "2", "s", "1", "0.7"]
    assert "stable: rho of the busiest node is 0.7" in lines
    assert (
        "room to grow: x1.43, from 0.5 to 0.714 queries/s in the whole network, "
        "0.0714 at each node" in lines
    )
    assert [line.split("  ")[0] or line.split()[0] for line in lines[-5:]] == [
        *("from question to answer", "all queries", "layer", "layer", "aggregation"),
    ]


def test_unlike_nodes_have_a_line_for_each_kind_and_gain_by_choice() -> None:
    result = plan(*UNLIKE, "--layers", "1", "--fanout", "2")
    rows = [row for row in words_of(result.stdout) if row[0] in {"1-3", "4"}]
    assert [row[:6] for row in rows] == [
        ["1-3", "0.02/s", "1", "s", "1", "0.08"],
        ["4", "0.02/s", "4", "s", "1", "0.32"],
    ]
    assert "if peers were drawn by their capacity: x2 as much, 0.5 queries/s" in result.stdout


def test_of_many_kinds_of_nodes_the_busiest_are_listed() -> None:
    times = ",".join(str(1 + node / 100) for node in range(30))
    result = plan(
        "--arrival-rate", "0.05", "--service-time", times, "--layers", "1", "--fanout", "2"
    )
    assert result.exit_code == 0
    assert "note: the busiest 20 of 30 kinds of nodes are listed" in result.stderr
    listed = [row[0] for row in words_of(result.stdout) if row[0].isdigit()]
    assert listed[:20] == [str(node) for node in range(30, 10, -1)]


def test_an_unstable_network_is_a_no() -> None:
    result = plan(
        "--nodes", "10", *TEN[2:], "--layers", "2", "--fanout", "3", "--arrival-rate", "1"
    )
    assert result.exit_code == 3
    assert result.stderr == "no: the network is not stable, rho is 18 at node 1\n"
    assert "not stable: rho of the busiest node is 18, at least 1" in result.stdout
    assert "0.556 instead of 10 queries/s" in result.stdout
    assert "first come, first served answers" in result.stdout
    assert "p95" not in result.stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--latency", "70"), 0, ""),
        (("--latency", "mean:32"), 0, ""),
        (("--latency", "60"), 3, "no: 60 s for the p95 is not reached, 65.2 s is predicted\n"),
        (("--latency", "p99:60"), 3, "no: 60 s for the p99 is not reached, 89 s is predicted\n"),
    ],
)
def test_a_latency_to_reach_decides(options: tuple[str, ...], code: int, words: str) -> None:
    result = plan(*TEN, "--layers", "2", "--fanout", "2", *options)
    assert (result.exit_code, result.stderr) == (code, words)


def test_where_it_does_not_know_it_says_so() -> None:
    result = plan(*TEN, "--layers", "1", "--fanout", "2", "--law", "fixed", "--latency", "100")
    assert result.exit_code == 3
    note, no = result.stderr.splitlines()
    assert note.startswith("note: service times that hardly vary (cv 0, below 0.3)")
    assert no == "no: nothing is predicted, so 100 s for the p95 is not known to be reached"
    assert "rho of the busiest node is 0.4" in result.stdout
    assert "p95" not in result.stdout


def test_without_a_mixture_all_are_compared_and_one_is_recommended() -> None:
    result = plan(*TEN)
    assert result.exit_code == 0
    rows = {tuple(row[:2]): row for row in words_of(result.stdout) if row[0].isdigit()}
    assert len(rows) == 1 + 4 * 5
    assert rows["0", "-"][2:4] == ["1", "0.1"]
    assert rows["3", "2"][-2:] == ["not", "stable"]
    assert rows["4", "1"][-3:] == ["deepest", "for", "k=1"]
    assert rows["1", "5"][-1] == "recommended"
    last = result.stdout.splitlines()[-1]
    assert last.startswith("recommended: M=1, k=5, the most jobs per query with a rho of at most")


def test_the_recommended_mixture_reaches_the_latency() -> None:
    result = plan(*TEN, "--latency", "mean:20", "--json")
    found = json.loads(result.stdout)
    best = found["recommended"]
    assert (best["layers"], best["fanout"]) == (1, 4)
    assert best["target"] == {"measure": "mean", "seconds": 20.0, "met": True}
    for row in found["mixtures"]:
        if row["visits"] > best["visits"]:
            assert not row["target"]["met"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--latency", "1"), "no: no mixture is predicted to have a p95 of at most 1 s"),
        (("--arrival-rate", "0.45"), "no: no mixture has a rho of at most 0.75"),
        (("--arrival-rate", "9"), "no: even a model alone is not stable, rho is 18"),
    ],
)
def test_no_mixture_will_do(options: tuple[str, ...], words: str) -> None:
    result = plan(*TEN, *options)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == words
    assert "recommended" not in result.stdout


def test_alone_only_the_own_model_can_refine() -> None:
    found = json.loads(plan("--nodes", "1", *TEN[2:], "--json").stdout)
    assert [(row["layers"], row["fanout"]) for row in found["mixtures"]] == [
        (layers, 0) for layers in range(5)
    ]


def test_json_has_everything_as_numbers() -> None:
    result = plan(*UNLIKE, "--layers", "1", "--fanout", "2", "--latency", "30", "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    found = json.loads(result.stdout)
    assert found["stable"] is True
    assert found["utilisation"] == pytest.approx(0.32)
    assert found["scale_max"] == pytest.approx(3.125)
    assert found["arrival_rate_max"] == pytest.approx(0.25)
    assert found["gossip_gain"] == pytest.approx(2.0)
    assert [each["utilisation"] for each in found["nodes"]] == pytest.approx([0.08] * 3 + [0.32])
    assert found["latency"]["mean"] < found["latency"]["p95"] < found["latency"]["p99"]
    assert len(found["latency_by_layer"]) == 2
    assert found["target"]["met"] is True


def test_json_of_an_unstable_network_has_no_latency() -> None:
    result = plan(*TEN, "--arrival-rate", "1", "--layers", "2", "--fanout", "2", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert found["latency"] is None
    assert found["nodes"][0]["waiting"] is None
    assert 0.0 < found["goodput"] < found["arrival_rate"]


def test_nobody_asking_has_endless_room() -> None:
    options = ("--nodes", "3", "--arrival-rate", "0", "--service-time", "1")
    result = plan(*options, "--layers", "1", "--fanout", "1")
    assert "stable: nobody asks" in result.stdout
    found = json.loads(plan(*options, "--layers", "1", "--fanout", "1", "--json").stdout)
    assert found["scale_max"] is None


def test_options_go_before_what_a_file_says(tmp_path: Path) -> None:
    file = tmp_path / "network.toml"
    file.write_text("service_time = [1, 2]\narrival_rate = 9.0\n[costs]\nlater = 2.0")
    found = json.loads(
        plan(
            "--network",
            str(file),
            "--arrival-rate",
            "0.1",
            "--layers",
            "2",
            "--fanout",
            "1",
            "--json",
        ).stdout
    )
    assert [each["service_time"] for each in found["nodes"]] == [1.0, 2.0]
    assert found["nodes"][0]["utilisation"] == pytest.approx(0.1 * (2 * (1 + 2) + 1))


def test_a_graph_that_is_unlike_is_asked_for_its_best_gossip(tmp_path: Path) -> None:
    file = tmp_path / "star.toml"
    file.write_text("graph = [[2, 3, 4], [1, 3], [1, 2], [1, 3]]\nservice_time = 1.0")
    result = plan("--network", str(file), "--arrival-rate", "0.1", "--layers", "1", "--fanout", "1")
    assert "if peers were drawn by their capacity: x" in result.stdout


def test_a_graph_without_scipy_has_a_note_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    file = tmp_path / "star.toml"
    file.write_text("graph = [[2, 3, 4], [1, 3], [1, 2], [1, 3]]\nservice_time = 1.0")
    result = plan("--network", str(file), "--arrival-rate", "0.1", "--layers", "1", "--fanout", "1")
    assert result.exit_code == 0
    assert "needs scipy" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TEN[:4], "the service time of the network is missing"),
        (TEN[2:], "how many nodes there are is missing"),
        ((*TEN, "--layers", "2"), "--fanout is missing"),
        ((*TEN, "--fanout", "2"), "--layers is missing"),
        ((*TEN, "--layers", "1", "--fanout", "10"), "a fanout of 10 needs as many peers"),
        ((*TEN, "--latency", "soon"), "'soon' is no latency to reach"),
        ((*TEN, "--latency", "max:3"), "'max:3' is no latency to reach"),
        ((*TEN, "--law", "normal"), "'normal' is no law of service"),
        ((*TEN, "--law", "pareto:1"), "has no mean"),
        ((*TEN, "--slots", "x"), "--slots must be a whole number"),
        ((*TEN, "--plot", "plan.doc"), "a plot is written as .png or .svg"),
        ((*TEN, "--network", "nothing.toml"), "nothing.toml: cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line(options: tuple[str, ...], words: str) -> None:
    result = plan(*options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in result.stderr.splitlines()[0]


@pytest.mark.parametrize("options", [(), ("--layers", "1", "--fanout", "2", "--latency", "20")])
def test_a_plot_is_drawn(tmp_path: Path, options: tuple[str, ...]) -> None:
    file = tmp_path / "plan.svg"
    result = plan(*TEN, *options, "--plot", str(file))
    assert f"drawn: {file}" in result.stderr
    assert "</svg>" in file.read_text("utf-8")


def test_what_is_not_predicted_is_not_drawn(tmp_path: Path) -> None:
    options = (*TEN, "--layers", "1", "--fanout", "2", "--plot", str(tmp_path / "plan.svg"))
    for more, words in ((("--law", "fixed"), "hardly vary"), (("--arrival-rate", "0"), "are 0")):
        result = plan(*options, *more)
        assert result.exit_code == 2
        assert "there is nothing to draw" in result.stderr
        assert words in result.stderr


def test_a_plan_loads_neither_the_simulator_nor_its_extras() -> None:
    heavy = ("numba", "scipy", "networkx", "matplotlib", "dmoa.sim.engine")
    code = (
        "import sys, dmoa.cli.main as m\n"
        f"try: m.cli.main(['plan', *{UNLIKE}])\n"
        f"finally: print(*[name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == ""


def test_what_is_read_ahead_is_told_and_answers_come_sooner() -> None:
    shape = ("--layers", "1", "--fanout", "2")
    before = json.loads(plan(*TEN, *shape, "--json").stdout)
    after = json.loads(plan(*TEN, *shape, "--overlap", "0.5", "--json").stdout)
    assert (before["overlap"], before["hidden"]) == (0.0, 0.0)
    assert after["overlap"] == 0.5
    assert 0.15 < after["hidden"] < 0.35
    assert after["latency"]["mean"] < 0.95 * before["latency"]["mean"]
    assert after["utilisation"] == before["utilisation"], "work is conserved"
    shown = plan(*TEN, *shape, "--overlap", "0.5").stdout.splitlines()[-1]
    assert shown == f"read ahead: {after['hidden']:.0%} of an aggregation; 50% of it is reading"
    assert "read ahead" not in plan(*TEN, *shape).stdout


def test_an_overlap_is_a_share(tmp_path: Path) -> None:
    assert plan(*TEN, "--overlap", "1").exit_code == 2
    file = tmp_path / "network.toml"
    file.write_text(
        "nodes = 10\narrival_rate = 0.05\nservice_time = 2\n[costs]\noverlap = 0.5\n",
        encoding="utf-8",
    )
    shape = ("--layers", "1", "--fanout", "2", "--json")
    assert (
        plan("--network", str(file), *shape).stdout == plan(*TEN, "--overlap", "0.5", *shape).stdout
    )
    file.write_text("nodes = 10\narrival_rate = 0.05\nservice_time = 2\n[costs]\noverlap = 1.5\n")
    refused = plan("--network", str(file), *shape)
    assert refused.exit_code == 2
    assert "the overlap cannot be 1.5" in refused.stderr
