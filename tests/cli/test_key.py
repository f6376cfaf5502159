"""`dmoa key`, and the key that other commands send."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from scripted_api import Dmoa, ScriptedNode, refused

from dmoa.assemble import Ready, serve
from dmoa.cli.client import Client
from dmoa.config import load
from dmoa.config.keys import Doorkeeper, create, revoke
from dmoa.errors import InvalidKeyError, KeyFileError
from dmoa.study.load.live import Nodes


@pytest.fixture(name="home", autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("DMOA_CONFIG", "DMOA_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "dmoa"


def test_a_key_is_made_listed_and_revoked(dmoa: Dmoa, home: Path) -> None:
    made = dmoa("key", "create", "laptop")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    assert made.stdout == f"{secret}\n"
    assert secret not in made.stderr
    assert Doorkeeper(home / "keys.json").admits(secret.encode())
    listed = dmoa("key", "list")
    assert ["laptop", f"...{secret[-4:]}"] == listed.stdout.splitlines()[1].split()[::2]
    told = json.loads(dmoa("key", "list", "--json").stdout)
    assert told["file"] == str(home / "keys.json")
    assert [(each["name"], each["last"]) for each in told["keys"]] == [("laptop", secret[-4:])]
    assert set(told["keys"][0]) == {"name", "made", "last"}
    gone = dmoa("key", "revoke", "laptop")
    assert (gone.exit_code, gone.stdout) == (0, "")
    assert "answers everybody on this machine" in gone.stderr
    assert dmoa("key", "list").stdout == ""
    assert json.loads(dmoa("key", "list", "--json").stdout)["keys"] == []


def test_keys_belong_to_a_configuration(dmoa: Dmoa, home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "node.toml"
    assert dmoa("key", "create", "--config", str(other)).exit_code == 0
    assert (other.parent / "keys.json").is_file()
    assert not home.exists()
    assert "key-1" in dmoa("key", "list", "--config", str(other)).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("create", "a b"), "'a b' is no name of a key"),
        (("revoke", "x"), "there is no key 'x'"),
        (("list", "--config", os.devnull), "is no ordinary file"),
        (("create", "--config", os.devnull), "is no ordinary file"),
    ],
)
def test_what_cannot_be_is_refused_with_a_hint(
    dmoa: Dmoa, words: tuple[str, ...], message: str
) -> None:
    result = dmoa("key", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "hint: " in result.stderr


def test_a_node_does_not_start_with_a_broken_file(dmoa: Dmoa, home: Path) -> None:
    home.mkdir()
    (home / "keys.json").write_text("{}", encoding="utf-8")
    for words in (("up", "--model", "fake:0", "--port", "0"), ("key", "list"), ("key", "create")):
        result = dmoa(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"error: {home / 'keys.json'}: is no file of keys" in result.stderr


def test_commands_send_the_key_of_the_environment(
    dmoa: Dmoa, node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.answers["/v1/peers"] = (200, b"{}", {})
    dmoa("peers")
    assert node.headers[-1]["authorization"] is None
    monkeypatch.setenv("DMOA_KEY", "dmoa-secret")
    shown = dmoa("peers")
    assert node.headers[-1]["authorization"] == "Bearer dmoa-secret"
    assert "secret" not in shown.output
    refusal = dmoa("peers", "--url", "http://far.example")
    assert (refusal.exit_code, "secret" in refusal.output) == (2, False)


@pytest.mark.parametrize("body", [refused("it wants a key", "invalid_api_key"), b"<html>"])
@pytest.mark.parametrize("words", [("peers",), ("ask", "why"), ("top", "--once")])
def test_a_node_that_wants_a_key_is_told_of_with_a_hint(
    dmoa: Dmoa, node: ScriptedNode, words: tuple[str, ...], body: bytes
) -> None:
    for path in ("/v1/peers", "/v1/queue", "/v1/chat/completions"):
        node.answers[path] = (401, body, {})
    result = dmoa(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "hint: set DMOA_KEY to a key of that node" in result.stderr


@pytest.mark.real
async def test_a_load_test_sends_the_key_and_says_where_it_is_wrong(
    node: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DMOA_KEY", "dmoa-secret")
    for path in ("/v1/peers", "/v1/queue", "/v1/chat/completions"):
        node.answers[path] = (401, refused("no", "invalid_api_key"), {})
    async with Nodes([node.url]) as nodes:
        with pytest.raises(InvalidKeyError, match="wants a key") as caught:
            await nodes.states()
        assert await nodes.sample(0) is None  # revoked in the middle: the rest goes on
        reply = await nodes.ask(0, b"{}", 5.0)
        for path in ("/v1/peers", "/v1/queue"):
            node.answers[path] = (503, refused("no", "key_file_broken"), {})
        with pytest.raises(KeyFileError, match="cannot read its keys"):
            await nodes.states()
        assert await nodes.sample(0) is None
    assert caught.value.hint is not None
    assert "secret" not in caught.value.message + caught.value.hint
    assert (reply.status, reply.detail) == ("failed", "invalid_api_key")
    assert {each["authorization"] for each in node.headers} == {"Bearer dmoa-secret"}


@pytest.mark.real
async def test_a_node_asks_for_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, ready = tmp_path / "keys.json", asyncio.get_running_loop().create_future()
    secret, _ = create(file, "laptop")
    settings = load({"model": "fake:0.02#model", "port": 0}, environ={}, file=Path(os.devnull))
    node = asyncio.create_task(serve(settings, keys=file, ready=ready.set_result))
    try:
        told: Ready = await asyncio.wait_for(ready, 20)
        assert told.keys == file

        def peers() -> str:
            with Client(told.url) as client:
                client.health()
                return client.peers().node.node

        with pytest.raises(InvalidKeyError):
            await asyncio.to_thread(peers)
        monkeypatch.setenv("DMOA_KEY", secret)
        assert await asyncio.to_thread(peers) == told.node
        create(file, "other")
        revoke(file, "laptop")
        with pytest.raises(InvalidKeyError):
            await asyncio.to_thread(peers)
    finally:
        node.cancel()
        await asyncio.gather(node, return_exceptions=True)
