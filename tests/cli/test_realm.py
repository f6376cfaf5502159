"""`dmoa realm`: two machines, which are folders, and the lines that people read."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner, Result

from dmoa.assemble import Ready, serve
from dmoa.cli.fleet import free_ports
from dmoa.cli.main import cli
from dmoa.config import load
from dmoa.config.edit import edited, value, write
from dmoa.errors import ConfigError


class Machine:
    """A machine: its own configuration and realms."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._monkeypatch = monkeypatch

    @property
    def environ(self) -> dict[str, str]:
        return {
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "XDG_DATA_HOME": str(self.path / "data"),
            "XDG_STATE_HOME": str(self.path / "state"),
        }

    @property
    def config(self) -> Path:
        return self.path / "config" / "dmoa" / "config.toml"

    @property
    def realms(self) -> Path:
        return self.path / "data" / "dmoa" / "realms"

    @contextmanager
    def here(self) -> Iterator[None]:
        with self._monkeypatch.context() as patch:
            for name in [each for each in os.environ if each.startswith("DMOA_")]:
                patch.delenv(name)
            for name, text in self.environ.items():
                patch.setenv(name, text)
            yield

    def run(self, *words: str, typed: str | None = None) -> Result:
        with self.here():
            result = CliRunner().invoke(cli, ("realm", *words), input=typed)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result


@pytest.fixture(name="desk")
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "desk", monkeypatch)


@pytest.fixture(name="laptop")
def _laptop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "laptop", monkeypatch)


def founded(desk: Machine) -> None:
    words = ("create", "lab", "--node", "desk", "--host", "127.0.0.1", "--port", str(_port()))
    assert desk.run(*words).exit_code == 0


def _port() -> int:
    """Find a port that is free, with the one after it: the authority's."""
    return free_ports(1, width=2)[0]


def test_a_realm_is_founded_and_says_what_comes_next(desk: Machine) -> None:
    result = desk.run("create", "lab", "--node", "desk")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "realm lab is founded, with node desk" in result.stderr
    assert "now `dmoa up`, and `dmoa realm invite`" in result.stderr
    assert desk.config.read_text() == 'realm = "lab"\n'
    with desk.here():
        settings = load()
    assert (settings.node, settings.realm, settings.listen) == (
        "desk", "lab", ("tls/0.0.0.0:7447",),
    )  # fmt: skip
    assert settings.multicast


def test_a_configuration_is_not_turned_round(desk: Machine) -> None:
    desk.config.parent.mkdir(parents=True)
    desk.config.write_text("# mine\nrealm = 'other'\nnode = 'tower'\n")
    result = desk.run("create", "lab")
    assert "the configuration names another realm, other" in result.stderr
    assert "now `dmoa up --realm lab`" in result.stderr
    assert desk.config.read_text() == "# mine\nrealm = 'other'\nnode = 'tower'\n"
    assert (desk.realms / "lab" / "realm.toml").read_text().count('"tower"') == 2


def test_members_are_listed(desk: Machine) -> None:
    founded(desk)
    table = desk.run("members").stdout.splitlines()
    assert table[0].split() == ["node", "state", "certificate", "ends", "place"]
    assert re.fullmatch(r"desk +member +20\S+Z \(30\.0 days\) +founder *", table[1])
    told = json.loads(desk.run("members", "--json").stdout)
    assert (told["realm"], told["node"], told["founder"]) == ("lab", "desk", "desk")
    assert [(each["node"], each["state"]) for each in told["members"]] == [("desk", "member")]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("members",), 2, "this machine belongs to no realm"),
        (("members", "--realm", "x"), 2, "this machine belongs to no realm x"),
        (("invite",), 2, "this machine belongs to no realm"),
        (("invite", "--expires", "soon"), 2, "'soon' is no span of time such as 30m"),
        (("create", "A b"), 2, "'A b' is no name of a realm"),
        (("create", "lab", "--node", "A"), 2, "'A' is no name of a node"),
        (("create", "lab", "--host", "a/b"), 2, "--host must be the name or the address"),
        (("create", "lab", "--port", "65535"), 2, "65535 is not in the range"),
        (("join", "hello"), 2, "that is no invitation"),
        (("join", "dmoa-join-hello"), 2, "the invitation is torn"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    desk: Machine, words: tuple[str, ...], code: int, message: str
) -> None:
    result = desk.run(*words)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr.splitlines()[0]
    assert not desk.realms.exists() or list(desk.realms.iterdir()) == []


def test_of_several_realms_one_is_named(desk: Machine) -> None:
    desk.run("create", "lab", "--node", "desk", "--config", os.devnull)
    assert desk.run("members").exit_code == 0
    desk.run("create", "attic", "--node", "desk", "--config", os.devnull)
    result = desk.run("members")
    assert result.exit_code == 2
    assert "hint: --realm NAME, one of: attic, lab" in result.stderr
    assert json.loads(desk.run("members", "--json", "--realm", "attic").stdout)["realm"] == "attic"
    assert "does not belong to realm x" in desk.run("members", "--realm", "x").stderr


def test_a_realm_is_not_ended_by_a_slip(desk: Machine) -> None:
    founded(desk)
    result = desk.run("leave")
    assert result.exit_code == 2
    assert "nobody can join, renew or be revoked any more" in result.stderr
    assert desk.run("leave", "--yes").exit_code == 0
    assert list(desk.realms.iterdir()) == []


def test_an_invitation_is_one_line_of_data(desk: Machine) -> None:
    founded(desk)
    result = desk.run("invite", "--expires", "30m", "--node", "laptop")
    assert re.fullmatch(r"dmoa-join-[A-Za-z0-9_-]+\n", result.stdout)
    assert result.stdout.strip() not in result.stderr
    assert "keep `dmoa up` running here, as desk" in result.stderr
    other = desk.run("join", result.stdout.strip(), "--node", "other")
    assert "the invitation is for laptop alone" in other.stderr


@pytest.mark.real
async def test_two_machines_meet(desk: Machine, laptop: Machine) -> None:
    """From nothing to an answer that both worked on, and the end of a membership."""
    founded(desk)
    async with up(desk) as first:
        line = (await away(desk, "invite")).stdout
        joined = await away(laptop, "join", "-", "--node", "laptop", "--port", str(_port()),
                            "--host", "127.0.0.1", typed=line)  # fmt: skip
        assert joined.exit_code == 0, joined.stderr
        assert "this machine is node laptop of realm lab" in joined.stderr
        assert "now `dmoa up` is all that is needed" in joined.stderr
        again = await away(laptop, "join", line)
        assert (again.exit_code, again.stdout) == (2, "")
        assert "belongs to a realm lab already" in again.stderr
        async with up(laptop) as second:
            assert (first.node, second.node) == ("desk", "laptop")
            await until(lambda: seen(first), ["laptop"])
            await until(lambda: seen(second), ["desk"])
            renewed = await away(laptop, "renew")
            assert "the certificate of laptop is good until 20" in renewed.stderr
            told = json.loads((await away(laptop, "members", "--json")).stdout)
            states = {each["node"]: each["state"] for each in told["members"]}
            assert states == {"desk": "unknown", "laptop": "member"}
            assert (await away(laptop, "revoke", "desk")).exit_code == 2
            assert (await away(desk, "revoke", "laptop")).exit_code == 0
            await until(lambda: seen(first), [])
            await until(lambda: seen(second), [])
    table = desk.run("members").stdout
    assert re.search(r"laptop +revoked ", table)


class up:  # noqa: N801 - reads as the command
    """A machine's node, running in this process."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def __aenter__(self) -> Ready:
        ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        with self._machine.here():
            settings = load({"model": "fake:0", "port": 0})
        self._node = asyncio.create_task(serve(settings, keys=None, ready=ready.set_result))
        await asyncio.wait({self._node, ready}, timeout=30, return_when="FIRST_COMPLETED")
        if self._node.done():
            self._node.result()
        return ready.result()

    async def __aexit__(self, *_: object) -> None:
        self._node.cancel()
        await asyncio.gather(self._node, return_exceptions=True)


async def away(machine: Machine, *words: str, typed: str | None = None) -> Result:
    """Run a command while nodes run here: it speaks with their desk."""
    return await asyncio.to_thread(machine.run, *words, typed=typed)


async def seen(ready: Ready) -> list[str]:
    async with httpx2.AsyncClient() as client:
        told = (await client.get(f"{ready.url}/v1/peers")).json()
    return sorted(each["node"] for each in told["peers"])


async def until(look, wanted: list[str]) -> None:
    async with asyncio.timeout(30):
        while await look() != wanted:
            await asyncio.sleep(0.1)


# -- one key of a file --------------------------------------------------------------------


def test_one_key_is_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "a" / "node.toml"
    assert value(file, "realm") is None
    write(file, "realm", 'a "b" \x7f\\')
    write(file, "node", "n1")
    assert value(file, "realm") == 'a "b" \x7f\\'
    assert value(file, "node") == "n1"


def test_a_key_is_not_taken_for_a_longer_one() -> None:
    assert edited('realm_x = "a"\n', "realm", "lab", "f") == 'realm_x = "a"\nrealm = "lab"\n'
    with pytest.raises(ConfigError, match="f: is not TOML"):
        edited("realm = ", "node", "x", "f")
