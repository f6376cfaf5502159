"""`dmoa up` as a process of its own: how it begins, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from real_room import NodeProcess, clean_environment, until

pytestmark = pytest.mark.real


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    began = NodeProcess("lone", "--model", "fake:0.1", log=tmp_path / "log")
    yield began
    with suppress(OSError):
        began.process.kill()
    began.finish()
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "Task was destroyed" not in log


def test_a_node_tells_how_it_is_once_it_is_ready(node: NodeProcess) -> None:
    node.ready()
    with node.http() as http:
        health = http.get("/health").json()
    assert (health["status"], health["node"], health["model"]) == ("ok", "lone", "fake")


@pytest.mark.parametrize("how", ["stdin closes", "SIGTERM", "SIGINT"])
def test_it_ends_well_when_it_is_told_to(node: NodeProcess, how: str) -> None:
    node.ready()
    with node.http() as http:
        assert http.get("/v1/models").status_code == 200  # a connection stays open meanwhile
        if how == "stdin closes":
            assert node.process.stdin is not None
            node.process.stdin.close()
        else:
            node.process.send_signal(getattr(signal, how))
        assert node.process.wait(5) == 0


@pytest.mark.parametrize("model", ["fake:0.1", "smollm2"])
def test_it_ends_well_when_it_is_told_to_before_it_is_ready(tmp_path: Path, model: str) -> None:
    node = NodeProcess("early", "--model", model, "--port", "0", log=tmp_path / "log")
    pid = node.process.pid
    try:
        # It handles signals before it listens: a moment from which it must end well.
        until(lambda: listens(pid), what="a node that listens")
        node.process.terminate()
        assert node.process.wait(10) == 0
    finally:
        node.process.kill()
        node.finish()
    assert "Traceback" not in (tmp_path / "log").read_text()


def listens(pid: int) -> bool:
    """Tell whether a process has a listening socket."""
    inodes = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(descriptor.readlink().name.removeprefix("socket:[").removesuffix("]"))
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                return True
    return False


def test_a_port_that_is_taken_is_an_error_of_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "dmoa", "up", "--config", os.devnull, "--port", str(port)],
            capture_output=True,
            text=True,
            env=clean_environment(),
            timeout=20,
            check=False,
        )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr == (
        f"error: port {port} of 127.0.0.1 cannot be used: Address already in use\n"
        "\nhint: use `--port 0` for any free one\n"
    )
