"""`dmoa up`: what it makes of its flags, what it tells, and that it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from scripted_api import Dmoa

from dmoa.cli import up
from dmoa.config import Settings
from dmoa.core.usual import Usual


@dataclass(frozen=True)
class Ready:
    node: str
    url: str
    model: str
    listen: tuple[str, ...]
    usual: Usual = field(default_factory=Usual)
    keys: Path | None = None
    clear: bool = False
    store: Path | None = None


READY = Ready("n1", "http://127.0.0.1:5", "tiny", ("tcp/127.0.0.1:6",))


@pytest.fixture(autouse=True)
def _no_settings_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Stand in for the real thing: be ready at once, and over."""
    all_settings: list[Settings] = []

    async def serve(
        settings: Settings,
        *,
        keys: Path | None,
        ready: Callable[[Ready], None],
        progress: Callable[[str], None],
    ) -> None:
        await asyncio.sleep(0)
        all_settings.append(settings)
        progress("the model is fetched")
        ready(replace(READY, keys=keys) if keys is not None and keys.exists() else READY)

    stub = types.ModuleType("dmoa.assemble")
    stub.serve = serve
    monkeypatch.setitem(sys.modules, "dmoa.assemble", stub)
    return all_settings


def test_it_tells_the_person_where_it_is(dmoa: Dmoa, served: list[Settings]) -> None:
    result = dmoa("up")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "the model is fetched",
        "node n1 answers at http://127.0.0.1:5 with tiny",
        "its page: http://127.0.0.1:5",
        "OpenAI clients ask it at http://127.0.0.1:5/v1",
        "peers join it with `--connect tcp/127.0.0.1:6`",
        "the model dmoa is m1k2: the operator chose it",
        "responses end with this node: a fixed --port, or `store`, keeps them",
        "Ctrl-C stops it",
    ]
    (settings,) = served
    assert Settings(node=settings.node) == settings


def test_it_tells_a_program_where_it_is(dmoa: Dmoa, served: list[Settings]) -> None:
    result = dmoa("up", "--json")
    assert result.stderr == "the model is fetched\n"
    assert result.stdout.count("\n") == 1
    assert json.loads(result.stdout) == {
        "node": "n1",
        "url": "http://127.0.0.1:5",
        "model": "tiny",
        "listen": ["tcp/127.0.0.1:6"],
    }
    assert len(served) == 1


@pytest.mark.usefixtures("served")
def test_it_says_where_keys_are_asked_for(dmoa: Dmoa, tmp_path: Path) -> None:
    config, file = tmp_path / "some.toml", tmp_path / "keys.json"
    config.touch()
    assert "keys.json" not in dmoa("up", "--config", str(config)).stderr
    file.touch()
    told = dmoa("up", "--config", str(config)).stderr
    assert f"its API asks for a key of {file}; commands send DMOA_KEY" in told
    assert "keys.json" not in dmoa("up", "--config", os.devnull).stderr


def test_every_flag_becomes_a_setting(dmoa: Dmoa, served: list[Settings], tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("queue_jobs = 3\nport = 1\n")
    flags = "--model fake: --port 0 --listen tcp/0.0.0.0:1 --listen tcp/127.0.0.1:2 --realm r"
    flags += " --connect tcp/127.0.0.1:3 --node n --multicast --insecure --layers 2 --fanout 4"
    result = dmoa("up", *flags.split(), "--config", str(file))
    assert result.exit_code == 0, result.stderr
    assert served == [
        Settings(
            node="n",
            model="fake:",
            port=0,
            listen=("tcp/0.0.0.0:1", "tcp/127.0.0.1:2"),
            connect=("tcp/127.0.0.1:3",),
            multicast=True,
            realm="r",
            insecure=True,
            layers=2,
            fanout=4,
            queue_jobs=3,
        )
    ]


def test_a_record_is_a_setting_that_is_told(
    dmoa: Dmoa, served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "note: all that it lives through goes to life.jsonl, prompts and answers included"
    assert told in dmoa("up", "--record", "life.jsonl").stderr.splitlines()
    monkeypatch.setenv("DMOA_RECORD", "life.jsonl")
    assert told in dmoa("up", "--json").stderr.splitlines()
    assert [settings.record for settings in served] == ["life.jsonl", "life.jsonl"]


def test_a_file_that_holds_something_is_no_place_for_a_record(dmoa: Dmoa, tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    result = dmoa("up", "--model", "fake:0", "--port", "0", "--record", str(file))
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: record: {file} is not empty\n\n"
        "hint: name a file that is not there yet: a record is one life\n"
    )


def test_a_wrong_setting_ends_it_in_one_line(dmoa: Dmoa, tmp_path: Path) -> None:
    file = tmp_path / "some.toml"
    file.write_text("prot = 1\n")
    result = dmoa("up", "--config", str(file))
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {file}: there is no setting 'prot'\n\nhint: did you mean `port`?\n"
    )


def test_other_machines_need_a_word(dmoa: Dmoa) -> None:
    result = dmoa("up", "--listen", "tcp/0.0.0.0:7447")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "error: --listen: listen names tcp/0.0.0.0:7447, beyond this machine,"
    )
    assert (
        "\n\nhint: `dmoa realm create` makes one; in a network that you trust, `--insecure`"
        in result.stderr
    )


def test_it_stops_when_stdin_closes() -> None:
    code = "from dmoa.cli.up import stop_on_eof; stop_on_eof()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"not yet")
        process.stdin.close()
        assert process.wait(timeout=20) == -signal.SIGTERM


def test_it_ends_for_sure_when_stdin_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(os, "read", lambda *_: b"")
    monkeypatch.setattr(os, "kill", lambda _, number: done.append(number))
    monkeypatch.setattr(os, "_exit", done.append)
    monkeypatch.setattr(up, "_STOP_SECONDS", 0.0)
    up.stop_on_eof()
    assert done == [signal.SIGTERM, 1]
