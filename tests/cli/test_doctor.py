"""`dmoa doctor`: what it looks at, what it says of it, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripted_api import Dmoa, ScriptedNode, refused

from dmoa.config.keys import create
from dmoa.doctor import model

HERE = {"node": "n1", "version": "0.1.0"}


def peer(node: str, *hears: str, **more: object) -> dict[str, object]:
    usual = {"version": "0.1.0", "ahead_seconds": 0.1, "away_seconds": 0.01, "flaw": ""}
    return usual | {"node": node, "hears": hears} | more


@pytest.fixture(name="home", autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "DMOA_REALMS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("DMOA_CONFIG", "DMOA_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DMOA_MODEL", "fake:0.1")
    monkeypatch.setattr(model, "available", lambda: 1 << 34)
    return tmp_path / "xdg_config_home" / "dmoa"


def findings(text: str) -> dict[str, list[tuple[str, str]]]:
    told: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(text)["findings"]:
        told.setdefault(each["check"], []).append((each["state"], each["told"]))
    return told


def test_a_network_that_is_well_ends_with_0(dmoa: Dmoa, node: ScriptedNode) -> None:
    peers = [peer("n2", "n1", "n3"), peer("n3", "n1", "n2")]
    node.on("/v1/reach", HERE | {"peers": peers})
    result = dmoa("doctor", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["well"] is True
    told = findings(result.stdout)
    assert told["reach"] == [("ok", "3 nodes, all 6 ways between them are open")]
    assert told["API"] == [("ok", "a node of dmoa answers there")]
    assert "memory" not in told  # a node that runs has it
    assert {"python", "settings", "open files", "keys", "realm", "clocks", "versions"} <= set(told)


def test_what_is_bad_is_told_with_its_fix_and_ends_with_3(dmoa: Dmoa, node: ScriptedNode) -> None:
    peers = [peer("n2", "n1"), peer("n3", "n1", "n2", ahead_seconds=90.0)]
    node.on("/v1/reach", HERE | {"peers": peers})
    result = dmoa("doctor")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    deaf = next(at for at, line in enumerate(lines) if "n2 does not hear n3" in line)
    assert lines[deaf].startswith("bad")
    assert "-> let n2 `connect` to n3" in lines[deaf + 1]
    assert any("clock of n3 is 90 s ahead" in line for line in lines)
    assert "findings, 2 bad" in result.stderr


def test_settings_that_are_wrong_are_the_finding(dmoa: Dmoa, home: Path) -> None:
    home.mkdir(parents=True)
    (home / "config.toml").write_text("prot = 3\n")
    result = dmoa("doctor", "--json")
    assert result.exit_code == 3
    [found] = findings(result.stdout)["settings"]
    assert found[0] == "bad"
    assert "'prot'" in found[1]


def test_without_a_node_the_machine_is_looked_at_alone(
    dmoa: Dmoa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DMOA_URL")
    monkeypatch.setenv("DMOA_PORT", "0")
    result = dmoa("doctor", "--json")
    assert result.exit_code == 0
    told = findings(result.stdout)
    assert told["peers"][0][0] == "note"
    assert told["memory"][0][0] == "ok"


def test_a_node_that_was_named_and_does_not_answer_is_an_error(dmoa: Dmoa) -> None:
    result = dmoa("doctor", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no node answers" in result.stderr


def test_a_node_that_wants_a_key_is_there_all_the_same(
    dmoa: Dmoa, node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DMOA_URL")
    monkeypatch.setenv("DMOA_PORT", str(node.server.server_port))
    node.on("/v1/reach", refused("a key is wanted", "invalid_api_key"), status=401)
    told = findings(dmoa("doctor", "--json").stdout)
    assert told["API"] == [("ok", "a node of dmoa answers there")]
    assert told["peers"][0][0] == "note"
    assert "key" in told["peers"][0][1]


def test_keys_are_counted_and_their_lack_beyond_this_machine_is_bad(
    dmoa: Dmoa, home: Path, monkeypatch: pytest.MonkeyPatch, node: ScriptedNode
) -> None:
    node.on("/v1/reach", HERE)
    monkeypatch.setenv("DMOA_HOST", "0.0.0.0")  # noqa: S104
    assert findings(dmoa("doctor", "--json").stdout)["keys"][0][0] == "bad"
    home.mkdir(parents=True)
    create(home / "keys.json", "laptop")
    told = findings(dmoa("doctor", "--json").stdout)["keys"]
    assert told == [("ok", f"1 key in {home / 'keys.json'}: the API wants one")]
