"""A realm's folder: whole or not there, its owner's alone, and what settings follow from it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from realm_room import Room

from dmoa import config
from dmoa.config import realms
from dmoa.errors import ConfigError, ConflictError, RealmError
from dmoa.realm import founding
from dmoa.realm.addresses import own_hosts, places_of


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_founder_has_all_that_a_realm_needs(room: Room) -> None:
    its = room.found()
    assert names(its.folder.parent) == ["lab"]
    assert {"authority.key", "authority.pem", "ledger.json", "node.key", "node.pem"} < set(
        names(its.folder)
    )
    assert realms.read(its.folder) == its
    assert its.multicast in founding.MULTICAST_PORTS
    assert realms.known(room.machine("here")) == ("lab",)


def test_a_realm_is_not_founded_twice(room: Room) -> None:
    before = (room.found().folder / "node.key").read_bytes()
    with pytest.raises(ConflictError, match="belongs to a realm lab already"):
        room.found()
    assert (realms.realms_folder(room.machine("here")) / "lab" / "node.key").read_bytes() == before


@pytest.mark.parametrize("step", range(1, 8))
def test_an_error_in_the_middle_leaves_nothing(
    room: Room, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, count = founding.replace, [0]

    def failing(*args: object, **more: object) -> None:
        count[0] += 1
        if count[0] == step:
            raise OSError(28, "No space left on device")
        done(*args, **more)  # type: ignore[arg-type]

    for module in ("founding", "ledger"):
        monkeypatch.setattr(f"dmoa.realm.{module}.replace", failing)
    monkeypatch.setattr(realms, "replace", failing)
    if step == 7:  # there are six files
        room.found()
        return
    with pytest.raises(RealmError, match="No space left on device"):
        room.found()
    assert names(realms.realms_folder(room.machine("here"))) == []


def test_a_death_in_the_middle_leaves_no_realm_and_is_swept_later(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
import os
from dmoa.realm import founding
with founding.making("lab"):
    os._exit(9)
"""
    environ = {**os.environ, **room.machine("here")}
    done = subprocess.run([sys.executable, "-c", script], env=environ, check=False)
    assert done.returncode == 9
    folder = realms.realms_folder(room.machine("here"))
    assert len(names(folder)) == 1
    assert realms.known(room.machine("here")) == ()
    assert realms.find("lab", room.machine("here")) is None
    monkeypatch.setattr(founding, "_FORGOTTEN", -1.0)
    room.found()
    assert names(folder) == ["lab"]


def test_who_leaves_leaves_nothing(room: Room) -> None:
    its = room.found()
    founding.leave(its)
    assert names(its.folder.parent) == []
    room.found()


def test_where_no_folder_can_be_it_is_said(room: Room) -> None:
    blocked = {"DMOA_REALMS": str(room.found().file / "x")}
    with pytest.raises(RealmError, match="cannot be written") as caught:
        founding.found("lab", "alice", environ=blocked)
    assert caught.value.hint == "name another folder with DMOA_REALMS"


def test_this_machine_has_addresses() -> None:
    assert own_hosts()
    assert places_of(("fd00::7", "desk.local"), 7448) == ("[fd00::7]:7448", "desk.local:7448")


# -- what is in realm.toml ----------------------------------------------------------------


def test_realms_lie_with_the_users_data(tmp_path: Path) -> None:
    assert realms.realms_folder({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "dmoa" / "realms"
    assert realms.realms_folder({}) == Path("~/.local/share/dmoa/realms").expanduser()
    assert realms.known({"XDG_DATA_HOME": str(tmp_path)}) == ()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("port = ", "prt = ", "lacks 'port', or should not have it"),
        ("port = ", "port = -", "port must be a port from 1 to 65534, not -"),
        ('node = "alice"', 'node = "Alice"', "node must be 1 to 32 of a-z"),
        ("seeds = []", 'seeds = ["x"]', "seeds must be a list of endpoints"),
        ("authority = []", 'authority = ["x"]', "authority must be a list of HOST:PORT"),
        ("authority = []", "authority = 1", "authority must be a list of HOST:PORT"),
        ("name = ", "name ", "is not TOML"),
    ],
)
def test_what_is_wrong_with_a_realm_is_named(room: Room, old: str, new: str, what: str) -> None:
    its = room.found()
    its.file.write_text(its.file.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=rf"realm\.toml: .*{what}"):
        config.load({"realm": "lab"}, environ=room.machine("here"))


def test_a_realm_without_its_file_is_not_taken_for_none(room: Room) -> None:
    its = room.found()
    its.file.unlink()
    with pytest.raises(ConfigError, match=r"realm\.toml: cannot be read"):
        config.load({"realm": "lab"}, environ=room.machine("here"))


# -- settings -----------------------------------------------------------------------------


def loaded(room: Room, its: realms.Membership, **flags: object) -> config.Settings:
    realms.write(its)
    environ = {**room.machine("here"), "XDG_CONFIG_HOME": str(room.path)}
    return config.load({"realm": "lab", **flags}, environ=environ)


def test_a_node_takes_its_name_and_doors_from_its_realm(room: Room) -> None:
    its = replace(room.found(), hosts=(), seeds=("tls/10.0.0.8:7447",), port=7600)
    found = loaded(room, its)
    assert (found.node, found.listen) == ("alice", ("tls/0.0.0.0:7600",))
    assert (found.connect, found.multicast) == (("tls/10.0.0.8:7447",), True)
    for key in ("node", "listen", "connect", "multicast"):
        assert found.sources[key] == str(its.file)
    assert found.membership == its


def test_a_realm_of_this_machine_alone_stays_on_it(room: Room) -> None:
    its = room.found()
    found = loaded(room, its)
    assert found.listen == (f"tls/127.0.0.1:{its.port}",)
    assert not found.multicast


def test_what_is_said_wins_where_it_can_be(room: Room) -> None:
    its = room.found()
    found = loaded(
        room, its, listen=("tls/10.0.0.7:9",), connect=("tls/a:1",), multicast=True, node="alice"
    )
    assert (found.listen, found.connect) == (("tls/10.0.0.7:9",), ("tls/a:1",))
    assert found.multicast


def test_who_is_relayed_listens_nowhere(room: Room) -> None:
    its = replace(room.found(), hosts=(), seeds=("tls/10.0.0.8:7447",))
    found = loaded(room, its, relayed=True)
    assert (found.listen, found.multicast) == ((), False)
    with pytest.raises(ConfigError, match="listen does not go with relayed"):
        loaded(room, its, relayed=True, listen=("tls/0.0.0.0:7447",))
    with pytest.raises(ConfigError, match="meets its realm through peers in connect"):
        loaded(room, replace(its, seeds=()), relayed=True)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"node": "bob"}, "--node: node is bob, and its certificate in realm lab says alice"),
        ({"insecure": True}, "--insecure: insecure changes nothing in realm lab"),
        ({"listen": ("tcp/127.0.0.1:7",)}, "listen names tcp/127.0.0.1:7, and realm lab speaks"),
        ({"connect": ("tcp/10.0.0.7:7",)}, "connect names tcp/10.0.0.7:7, and realm lab speaks"),
    ],
)
def test_what_its_certificate_does_not_say_is_refused(
    room: Room, flags: dict[str, object], what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(room, room.found(), **flags)
    assert what in caught.value.message
    assert caught.value.hint


def test_without_a_realm_there_is_no_tls(room: Room) -> None:
    with pytest.raises(ConfigError, match="there are no certificates of a realm lab here"):
        config.load({"realm": "lab", "listen": ("tls/127.0.0.1:7",)}, environ=room.machine("x"))
