"""A fleet of processes: what its nodes are told, what they cost, and how they meet."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dmoa.cli import fleet
from dmoa.cli.client import Client
from dmoa.cli.fleet import Fleet, Member
from dmoa.cli.told import End, Turn
from dmoa.errors import BackendUnavailableError, NetworkError, PeerSilentError

pytestmark = pytest.mark.real

STUB = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from scripted_api import ScriptedNode
words = sys.argv[1:]
name, model = (words[words.index(flag) + 1] for flag in ("--node", "--model"))
told = {{"words": words, "settings": [key for key in os.environ if key.startswith("DMOA_")]}}
told["config"] = Path(words[words.index("--config") + 1]).read_text(encoding="utf-8")
Path({place!r}, name).write_text(json.dumps(told))
if model == "broken":
    sys.exit("it is broken")
if model == "large":
    weights = bytearray(64 << 20)
    weights[::4096] = b"x" * len(weights[::4096])
    del weights
node = ScriptedNode()
peers = words.count("--connect")
node.on("/health", {{"node": name, "peers": peers - 1 if model == "shy" else peers}})
print(json.dumps({{"node": name, "url": node.url, "model": model, "listen": []}}), flush=True)
node.server.serve_forever(poll_interval=0.02)
"""


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Let stubs stand in for nodes; tell what one of them was told."""
    stub = STUB.format(here=str(Path(__file__).parent), place=str(tmp_path))
    monkeypatch.setattr(fleet, "PROGRAM", (sys.executable, "-c", stub))
    return lambda name: json.loads((tmp_path / name).read_text())


def ignore(member: Member) -> None:
    assert member.url


def values(words: list[str], flag: str) -> list[str]:
    return [words[i + 1] for i, word in enumerate(words) if word == flag]


def test_every_node_is_told_the_options(told: Callable[[str], dict[str, Any]]) -> None:
    options = ("--mode", "paper", "--deadline", "20")
    with Fleet(["one", "two"], options=options) as nodes:
        nodes.wait_ready(ignore)
    for name, model in (("n1", "one"), ("n2", "two")):
        words = told(name)["words"]
        assert values(words, "--mode") == ["paper"]
        assert values(words, "--deadline") == ["20"]
        assert values(words, "--node") == [name]
        assert values(words, "--model") == [model]


def test_without_options_nothing_is_added(told: Callable[[str], dict[str, Any]]) -> None:
    with Fleet(["one"]) as nodes:
        nodes.wait_ready(ignore)
    words = told("n1")["words"]
    assert words[0] == "up"
    assert {word for word in words if word.startswith("--")} == {
        "--json",
        "--config",
        "--node",
        "--realm",
        "--port",
        "--model",
        "--listen",
        "--stop-on-eof",
    }


@pytest.mark.parametrize("word", ["--port", "--port=5", "--model", "--connect", "--json"])
def test_what_the_fleet_decides_is_no_option(word: str) -> None:
    with pytest.raises(AssertionError, match=word.partition("=")[0]):
        Fleet(["fake:0"], options=("--layers", "2", word))


def test_options_are_words_and_not_a_text() -> None:
    with pytest.raises(AssertionError, match="words"):
        Fleet(["fake:0"], options="--layers 2")


def test_settings_of_the_caller_reach_no_node(
    told: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ("DMOA_CONFIG", "DMOA_KEY", "DMOA_URL")
    for key in ("DMOA_MODE", "DMOA_DEADLINE", *own, "DMOA_SOMETHING_NEW"):
        monkeypatch.setenv(key, "leaked")
    monkeypatch.setenv("DMOA_LOG_LEVEL", "error")
    monkeypatch.delenv("DMOA_CACHE", raising=False)
    with Fleet(["one"]) as nodes:
        nodes.wait_ready(ignore)
    assert told("n1")["settings"] == ["DMOA_LOG_LEVEL"]


def test_nodes_have_settings_and_names_of_their_own(told: Callable[[str], dict[str, Any]]) -> None:
    persona = 'You are "quick".\n\x7f\t\\ \U0001f600'
    settings = ({"persona": persona, "hedge": 0, "quorum": True}, {}, {"deadline": 20.5})
    with Fleet(["a", "b", "c"], settings=settings, names=("one", "two", "three")) as nodes:
        nodes.wait_ready(ignore)
        assert [each.name for each in nodes.members] == ["one", "two", "three"]
        files = [values(told(name)["words"], "--config")[0] for name in ("one", "two", "three")]
    assert files[1] == os.devnull
    assert not Path(files[0]).exists()  # gone with the fleet
    assert [tomllib.loads(told(name)["config"]) for name in ("one", "two", "three")] == [*settings]
    assert values(told("three")["words"], "--node") == ["three"]


def test_settings_are_those_that_the_fleet_does_not_decide() -> None:
    with pytest.raises(AssertionError, match="decides port"):
        Fleet(["fake:0"], settings=({"port": 4747},))
    with pytest.raises(AssertionError, match="every node"):
        Fleet(["fake:0", "fake:0"], settings=({},))
    with pytest.raises(AssertionError, match="named"):
        Fleet(["fake:0", "fake:0"], names=("one",))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_the_peak_of_memory_is_told_in_bytes_and_remembers(
    told: Callable[[str], dict[str, Any]],
) -> None:
    with Fleet(["small", "large"]) as nodes:
        nodes.wait_ready(ignore)
        small, large = nodes.memory()
        # Its 64 MiB were given back before it was ready.
        assert 4 << 20 < small < 256 << 20
        assert 64 << 20 < large - small + (8 << 20) < 80 << 20
        nodes.members[0].process.kill()
        nodes.members[0].process.wait()
        assert nodes.memory()[0] == 0
        assert nodes.memory()[1] >= large
    assert told("n1")
    assert nodes.memory() == [0, 0]


def test_memory_is_0_where_the_system_does_not_tell(
    told: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with Fleet(["one"]) as nodes:
        nodes.wait_ready(ignore)
        silent = tmp_path / "status"
        silent.write_text("Name:\tpython\n")
        for path in (tmp_path / "absent", silent):
            monkeypatch.setattr(fleet, "Path", lambda _, path=path: path)
            assert nodes.memory() == [0]
        monkeypatch.undo()
    assert told("n1")


def test_the_process_of_each_node_is_its_own(told: Callable[[str], dict[str, Any]]) -> None:
    with Fleet(["one", "two"]) as nodes:
        nodes.wait_ready(ignore)
        pids = [member.process.pid for member in nodes.members]
        assert len({os.getpid(), *pids}) == 3
    assert [member.process.poll() is not None for member in nodes.members] == [True, True]
    assert told("n2")


def test_a_broken_node_is_named(told: Callable[[str], dict[str, Any]]) -> None:
    with (
        pytest.raises(BackendUnavailableError, match="n2 ended with exit code 1") as caught,
        Fleet(["one", "broken"]) as nodes,
    ):
        nodes.wait_ready(ignore)
    assert caught.value.message.endswith("it said:\n  it is broken")
    assert told("n2")


def test_who_does_not_see_the_others_is_named(
    told: Callable[[str], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "MEET_SECONDS", 0.2)
    with Fleet(["one", "shy", "three"]) as nodes:
        nodes.wait_ready(ignore)
        with pytest.raises(PeerSilentError) as caught:
            nodes.wait_met()
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("n2 sees 1 of 2 others")
    assert told("n3")


def test_ports_are_free_and_of_those_that_no_system_hands_out() -> None:
    ports = fleet.free_ports(10)
    assert len(set(ports)) == 10
    assert all(port in fleet._PORTS for port in ports)
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
        assert not set(fleet.free_ports(10)) & set(ports)
    for port in fleet.free_ports(5, width=2):
        with socket.socket() as one, socket.socket() as next_one:
            one.bind(("127.0.0.1", port))
            next_one.bind(("127.0.0.1", port + 1))


def test_a_machine_without_ports_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        monkeypatch.setattr(fleet, "_PORTS", range(taken, taken + 1))
        with pytest.raises(NetworkError, match="no 2 free ports"):
            fleet.free_ports(2)


def test_real_nodes_meet_and_heed_their_options() -> None:
    models = [f"fake:0.02?cv=0.5&seed={i}&tokens=1&crowding=0.3#m{i}" for i in range(4)]
    with Fleet(models, options=("--layers", "2", "--fanout", "3")) as nodes:
        nodes.wait_ready(ignore)
        nodes.wait_met()
        assert [member.model for member in nodes.members] == ["m0", "m1", "m2", "m3"]
        with Client(nodes.members[0].url) as home:
            *_, end = home.chat([Turn("user", "Why?")])
        assert isinstance(end, End)
        assert end.trace is not None
        assert (end.trace.mixture.layers, end.trace.mixture.fanout) == (2, 3)
        assert {job.node for job in end.trace.jobs} == {"n1", "n2", "n3", "n4"}
        if Path("/proc/self/status").exists():
            assert all(10 << 20 < peak < 1 << 30 for peak in nodes.memory())
    assert all(member.process.poll() is not None for member in nodes.members)


def test_an_option_that_is_none_is_told_in_one_line() -> None:
    with (
        pytest.raises(BackendUnavailableError, match="n1 ended with exit code 2") as caught,
        Fleet(["fake:0"], options=("--no-such-option",)) as nodes,
    ):
        nodes.wait_ready(ignore)
    assert re.search(r"--no-such-option", caught.value.message)


def test_a_model_whose_law_cannot_be_is_told_in_one_line() -> None:
    command = [sys.executable, "-m", "dmoa", "up", "--config", os.devnull, "--model"]
    for model in ("fake:1?cv=-1", "fake:1?cv=nan", "smollm2?crowding=0.3"):
        done = subprocess.run(
            [*command, model], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        lines = done.stderr.strip().splitlines()
        assert lines[0].startswith("error: ")
        assert [line for line in lines[1:] if line and not line.startswith("hint: ")] == []
