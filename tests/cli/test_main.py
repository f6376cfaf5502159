"""The `dmoa` command itself: help, exit codes, what it does not load, and `peers`."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest
from scripted_api import STANDING, Dmoa, ScriptedNode, answered

from dmoa.cli import render
from dmoa.cli.main import cli
from dmoa.core.limits import Limits

COMMANDS = sorted(cli.commands)
HEAVY = ("rich", "httpx2", "msgspec", "zenoh", "fastapi", "uvicorn", "numpy")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_purpose_and_an_example(dmoa: Dmoa, command: str) -> None:
    result = dmoa(command, "--help")
    assert result.exit_code == 0
    assert result.stderr == ""
    purpose = result.stdout.split("\n\n")[1].strip()
    assert purpose[0].isupper()
    assert not purpose.endswith(".")
    assert f"  Example:\n      dmoa {command}" in result.stdout
    assert "--help" in result.stdout


def test_every_option_is_explained() -> None:
    for command in cli.commands.values():
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.help, f"{command.name} {option.name}"


def test_help_lists_all_commands_under_their_heading(dmoa: Dmoa) -> None:
    result = dmoa("--help")
    _, _, below = result.stdout.partition("Run a network:\n")
    listed = [line.split()[0] for line in below.splitlines() if line.startswith("  ")]
    assert sorted(listed) == COMMANDS


def test_the_version_is_that_of_the_package(dmoa: Dmoa) -> None:
    assert dmoa("--version").stdout == "dmoa 0.1.0\n"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, dmoa.cli.main as m\n"
        "try: m.cli.main(['--help'])\n"
        f"finally: print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aks", "x"], "No such command 'aks'. Did you mean 'ask'?"),
        (["--what"], "No such option '--what'"),
        (["ask"], "Missing argument 'PROMPT'"),
        (["ask", "x", "--layers", "9"], "9 is not in the range 0<=x<=8"),
        (["ask", "x", "--fanout", "-1"], "-1 is not in the range 0<=x<=32"),
        (["demo", "--nodes", "0"], "0 is not in the range 1<=x<=32"),
        (["demo", "--prompt", ""], "the prompt is empty"),
        (["up", "--port", "x"], "'x' is not a valid integer"),
        (["peers", "too", "many"], "Got unexpected extra arguments (too many)"),
    ],
)
def test_a_wrong_use_is_one_line_and_a_hint(dmoa: Dmoa, arguments: list[str], words: str) -> None:
    result = dmoa(*arguments)
    error, blank, hint = result.stderr.splitlines()
    assert result.exit_code == 2
    assert error.startswith("error: ")
    assert words in error
    assert blank == ""
    assert hint.startswith("hint: ")


def test_the_limits_named_here_are_those_of_the_protocol() -> None:
    assert (Limits().layers, Limits().fanout) == (8, 32)


def test_nobody_reading_any_more_is_no_traceback(node: ScriptedNode) -> None:
    node.chats(answered(*(["word " * 1000] * 200)))
    with subprocess.Popen(
        [sys.executable, "-m", "dmoa", "ask", "Why?", "--url", node.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        talk = process.stderr.read()
    assert process.returncode == 1
    assert "Traceback" not in talk


def test_peers_are_a_table(dmoa: Dmoa, node: ScriptedNode) -> None:
    other = STANDING | {"node": "n2", "service_time": 0.0, "age_seconds": 0.75, "model": "[red]x"}
    node.on("/v1/peers", {"node": STANDING, "peers": [other]})
    result = dmoa("peers")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["node", "model", "queue", "slots", "rho", "arrivals/s", "service", "age"],
        ["n1", "tiny", "2", "1", "0.75", "0.125", "1.50", "s", "0.0", "s"],
        ["n2", "[red]x", "2", "1", "0.75", "0.125", "-", "0.8", "s"],
    ]
    assert result.stderr == ""


def test_peers_are_json(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.on("/v1/peers", {"node": STANDING, "peers": []})
    assert json.loads(dmoa("peers", "--json").stdout) == {"node": STANDING, "peers": []}
    assert dmoa("peers").stderr == "note: n1 is alone\n"


def test_nobodys_text_steers_the_terminal() -> None:
    assert render.plain("a\x1b[31mb\r\x9b2J\tc\n") == "a[31mb2J\tc\n"


def test_colour_is_left_out_when_told(dmoa: Dmoa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in dmoa("ask", "").stderr
    assert os.environ["NO_COLOR"] == "1"
