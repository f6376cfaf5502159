"""What docs/install.md and docs/backends.md tell to type, and the files they tell to copy."""

from __future__ import annotations

import plistlib
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from dmoa.backends.uri import parse_uri
from dmoa.backends.weights import cache_directory
from dmoa.cli.main import cli
from dmoa.config import load
from dmoa.config.keys import key_file
from dmoa.config.realms import realms_folder
from dmoa.store.archive import default_file

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FILES = DOCS / "install"
UNIT = (FILES / "dmoa.service").read_text("utf-8")
PAGES = {name: (DOCS / f"{name}.md").read_text("utf-8") for name in ("install", "backends")}
PAGES["clients"] = (DOCS / "clients.md").read_text("utf-8")


def lines() -> Iterator[str]:
    """Every line that is to be typed into a shell."""
    for page in PAGES.values():
        for text in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
            yield from text.splitlines()
        # A cell of a table may hold several.
        yield from re.findall(r"`((?:sudo|git|uv) [^`]+)`", page)


def test_a_shell_can_read_every_line() -> None:
    shell = shutil.which("sh")
    assert shell
    script = "\n".join(lines())
    assert script.count("\n") > 25
    subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=10)


def test_every_command_of_ours_can_be_given() -> None:
    found = 0
    for line in lines():
        words = shlex.split(line)
        while words[:1] == ["sudo"]:
            words = words[4:] if words[1:4] == ["-u", "dmoa", "-H"] else words[1:]
        if not words or Path(words[0]).name != "dmoa":
            continue
        found += 1
        command: click.Command | None = cli
        rest = words[1:]
        while rest and isinstance(command, click.Group) and not rest[0].startswith("-"):
            command = command.get_command(click.Context(command), rest.pop(0))
        assert command is not None, line
        if not isinstance(command, click.Group):
            command.make_context(line, rest)
    assert found >= 4


def test_every_uri_is_one() -> None:
    page = PAGES["backends"]
    uris = re.findall(r"openai:http[^`'\"\s]+", page)
    assert len(uris) >= 5
    for uri in uris:
        parsed = parse_uri(uri)
        assert parsed.slots, f"{uri} does not say how much its server serves at once"
    for ends in ("11434", "8080", "8000", "1234"):
        assert any(f":{ends}/v1" in uri for uri in uris)


def test_the_settings_that_are_shown_are_settings(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGES["install"], re.MULTILINE | re.DOTALL)
    file = tmp_path / "config.toml"
    file.write_text(text)
    settings = load({}, environ={}, file=file)
    assert (settings.model, settings.default) == tuple(tomllib.loads(text).values())


def test_files_lie_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = re.findall(r"`~/([\w./]+)`", PAGES["install"].partition("## Where its files")[2])
    monkeypatch.setenv("HOME", "/var/lib/dmoa")
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    for name in ("DMOA_CONFIG", "DMOA_REALMS", "DMOA_CACHE"):
        monkeypatch.delenv(name, raising=False)
    home = Path("/var/lib/dmoa")
    keys = key_file(environ={})
    assert keys is not None
    places = (keys, realms_folder({}), default_file(4747, {}), cache_directory())
    for place, where in zip(places, told, strict=False):
        assert place.is_relative_to(home / where), f"{place} is told to be in {where}"
    assert f"{keys.parent}/config.toml" in PAGES["install"]


def test_the_unit_has_what_the_page_says_of_it() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT, re.MULTILINE))
    assert settings["ExecStart"] == "/opt/dmoa/bin/dmoa up"
    assert settings["Environment"] == "HOME=/var/lib/dmoa"
    assert settings["StateDirectory"] == settings["User"] == "dmoa"
    assert settings["ProtectSystem"] == "strict"
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["Restart"] == "on-failure"
    assert int(settings["LimitNOFILE"]) > 2 * load({}, environ={}).connections


def test_systemd_understands_the_unit() -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd here")
    done = subprocess.run(
        [program, "verify", FILES / "dmoa.service"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # The program is not installed here; whatever else it finds is wrong.
    told = [line for line in done.stderr.splitlines() if "dmoa.service" in line]
    assert [line for line in told if "is not executable" not in line] == []


def test_launchd_can_read_the_agent() -> None:
    file = FILES / "dev.dmoa.node.plist"
    agent = plistlib.loads(file.read_bytes())
    assert agent["Label"] == file.stem
    shell, option, script = agent["ProgramArguments"]
    assert (shell, option) == ("/bin/sh", "-c")
    subprocess.run(["/bin/sh", "-n", "-c", script], check=True, timeout=10)
    assert script.endswith('exec dmoa up 2>>"$HOME/Library/Logs/dmoa.log"')
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
