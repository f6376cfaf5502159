"""Fixtures of the command line: a scripted node, and a way to run a command against it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from scripted_api import Dmoa, ScriptedNode

from dmoa.cli.main import cli


@pytest.fixture
def node() -> Iterator[ScriptedNode]:
    scripted = ScriptedNode()
    with scripted.server as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield scripted
        server.shutdown()
        thread.join()


@pytest.fixture
def dmoa(monkeypatch: pytest.MonkeyPatch, node: ScriptedNode) -> Dmoa:
    """Run a command, as a shell would, with the scripted node as its default."""
    monkeypatch.setenv("DMOA_URL", node.url)

    def run(*args: str, typed: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(cli, args, input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    return run
