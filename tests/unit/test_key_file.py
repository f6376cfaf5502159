"""The file of keys: made, revoked, shared by writers, and never believed where it is broken."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.config import files, keys
from dmoa.config.keys import Doorkeeper, authorization, create, key_file, revoke
from dmoa.errors import ConfigError, KeyFileError, UsageError

POSIX = pytest.mark.skipif(os.name != "posix", reason="rights and pipes as POSIX has them")


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "dmoa" / "keys.json"


def test_a_key_opens_until_it_is_revoked(file: Path) -> None:
    keeper = Doorkeeper(file)
    assert keeper.admits(None)
    first, second = create(file)[0], create(file, "laptop")[0]
    assert [each.name for each in keys.load(file)] == ["key-1", "laptop"]
    assert [keeper.admits(key) for key in (first.encode(), second.encode())] == [True, True]
    assert [keeper.admits(key) for key in (None, b"", first[:-1].encode(), b"\xff")] == [False] * 4
    assert [each.name for each in revoke(file, "key-1")] == ["laptop"]
    assert [keeper.admits(key) for key in (first.encode(), second.encode())] == [False, True]
    assert Doorkeeper(file).asks
    assert revoke(file, "laptop") == ()
    assert keeper.admits(None)


def test_a_key_is_long_and_is_not_in_the_file(file: Path) -> None:
    secret, key = create(file)
    assert secret.startswith("dmoa-")
    assert len(secret) == len("dmoa-") + 43
    text = file.read_text("utf-8")
    assert secret not in text
    assert secret[5:-4] not in text
    assert key.sha256 == sha256(secret.encode()).hexdigest()
    assert key.last == secret[-4:]
    assert create(file)[0] != secret


@POSIX
def test_the_file_is_its_owners_alone(file: Path) -> None:
    create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)  # hashes may be seen
    create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o620)
    with pytest.raises(KeyFileError, match="others than its owner can write it") as caught:
        Doorkeeper(file)
    assert caught.value.hint == f"chmod 600 {file}"


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_every_name_that_is_taken_can_be_read_again(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    file = tmp_path_factory.mktemp("names") / "keys.json"
    create(file, name)
    assert [each.name for each in keys.load(file)] == [name]
    assert revoke(file, name) == ()


@given(st.text(min_size=1))
def test_a_name_is_taken_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    file = tmp_path_factory.mktemp("texts") / "keys.json"
    if keys._NAME.fullmatch(name):
        create(file, name)
        assert keys.load(file)[0].name == name
        return
    with pytest.raises(UsageError, match="is no name of a key") as caught:
        create(file, name)
    assert "\n" not in caught.value.message
    assert not file.exists()


def test_a_name_is_given_once(file: Path) -> None:
    create(file, "a")
    with pytest.raises(UsageError, match="there is a key 'a' already"):
        create(file, "a")
    with pytest.raises(UsageError, match="no key 'b' in") as caught:
        revoke(file, "b")
    assert caught.value.hint == "keys: a"
    create(file, "key-2")
    assert [create(file)[1].name for _ in range(2)] == ["key-1", "key-3"]


def test_there_is_an_end_of_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = keys.Key("x" * 64, create(file)[1].made, "abcd", "0" * 64)
    full = [{**json.loads(keys.msgspec.json.encode(made)), "name": f"{n:064}"} for n in range(100)]
    file.write_text(json.dumps({"format": 1, "keys": full}, indent=1), encoding="utf-8")
    assert file.stat().st_size < keys.FILE_BYTES
    with pytest.raises(UsageError, match="no more fit"):
        create(file, "one-more")
    assert len(revoke(file, f"{7:064}")) == 99
    assert create(file)[1].name == "key-1"
    monkeypatch.setattr(keys, "FILE_BYTES", 1000)
    with pytest.raises(KeyFileError, match="larger than 1000 bytes"):
        keys.load(file)


def test_two_writers_lose_nothing(file: Path) -> None:
    begin = threading.Barrier(6)

    def work(name: str) -> None:
        begin.wait()
        for n in range(4):
            create(file, f"{name}-{n}")
        revoke(file, f"{name}-0")

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    wanted = {f"w{n}-{m}" for n in range(6) for m in range(1, 4)}
    assert {each.name for each in keys.load(file)} == wanted


@POSIX
def test_a_writer_does_not_wait_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmoa.config.files.LOCK_SECONDS", 0.0)
    create(file)
    with keys._alone(file), pytest.raises(ConfigError, match="being written by another command"):
        create(file)
    create(file)


BROKEN = {
    "": "is no file of keys",
    "{": "is no file of keys",
    "[]": "is no file of keys",
    '{"format": 1}': "is no file of keys",
    '{"format": 2, "keys": []}': "has format 2",
    '{"format": 1, "keys": [], "more": 1}': "unknown field",
    '{"format": 1, "keys": [{"name": "a"}]}': "is no file of keys",
    '{"format": 1, "keys": [%s]}': "is no file of keys",
}
GOOD = {"name": "a", "made": "2026-11-22T00:00:00Z", "last": "abcd", "sha256": "0" * 64}
FLAWS = [
    {"name": "a\n"},
    {"name": "-a"},
    {"made": "yesterday"},
    {"made": "2026-11-22T00:00:00"},
    {"last": "abc"},
    {"sha256": "0" * 63},
    {"sha256": "G" * 64},
    {"secret": "x"},
]


def kept(*rows: dict[str, str]) -> str:
    return json.dumps({"format": 1, "keys": rows})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *BROKEN.items(),
        *((kept({**GOOD, **flaw}), "is no file of keys") for flaw in FLAWS),
        (kept(GOOD, GOOD), "two keys of one name"),
        ("\udcff", "is no file of keys"),
    ],
)
def test_a_broken_file_is_not_believed(file: Path, text: str, words: str) -> None:
    file.parent.mkdir()
    file.write_bytes(text.encode(errors="surrogateescape"))
    for work in (lambda: Doorkeeper(file), lambda: create(file), lambda: revoke(file, "a")):
        with pytest.raises(KeyFileError, match=words) as caught:
            work()
        assert "\n" not in caught.value.message
        assert caught.value.hint
    file.write_text(kept(GOOD), encoding="utf-8")
    assert Doorkeeper(file).asks


@POSIX
def test_what_is_no_ordinary_file_is_refused_without_waiting(file: Path) -> None:
    file.parent.mkdir()
    os.mkfifo(file, 0o600)
    with pytest.raises(KeyFileError, match="is no ordinary file"):
        Doorkeeper(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(KeyFileError, match="is no ordinary file"):
        Doorkeeper(file)


def test_a_file_that_breaks_or_vanishes_lets_nobody_in(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = create(file)[0].encode()
    keeper, whole = Doorkeeper(file), file.read_bytes()
    caplog.set_level(logging.INFO)
    for broken in (whole[:-9], None):
        caplog.clear()
        if broken is None:
            file.unlink()
        else:
            file.write_bytes(broken)
        for _ in range(3):
            for offered in (secret, None):
                with pytest.raises(KeyFileError):
                    keeper.admits(offered)
        assert [each.levelname for each in caplog.records] == ["ERROR"]  # once, not each time
        assert str(file) in caplog.text
        assert secret.decode() not in caplog.text
    create(file)  # another file, with another key
    assert not keeper.admits(secret)
    assert "can be read again" in caplog.text


def test_a_file_of_no_keys_opens_the_door(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(kept(), encoding="utf-8")
    assert not Doorkeeper(file).asks
    assert Doorkeeper(file).admits(None)


def test_a_write_that_fails_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(file)
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ConfigError, match="cannot be written: No space left"):
        create(file)
    assert file.read_bytes() == before
    assert sorted(each.name for each in file.parent.iterdir()) == [".keys.json.lock", "keys.json"]


def test_a_place_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        create(tmp_path / "file" / "keys.json")


def test_the_keys_lie_beside_the_configuration(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert key_file(environ=environ) == tmp_path / "dmoa" / "keys.json"
    assert key_file(tmp_path / "a.toml", environ) == tmp_path / "keys.json"
    assert key_file(environ={"DMOA_CONFIG": str(tmp_path / "b" / "a.toml")}) == (
        tmp_path / "b" / "keys.json"
    )
    assert key_file(Path(os.devnull), environ) is None  # so do the nodes of a fleet


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "https://far.example/x"])
def test_the_key_of_the_environment_is_sent(url: str) -> None:
    assert authorization(url, {"DMOA_KEY": " dmoa-x\n"}) == {"authorization": "Bearer dmoa-x"}
    assert authorization(url, {"DMOA_KEY": ""}) == {}
    assert authorization(url, {}) == {}


@pytest.mark.parametrize("key", ["a b", "kéy", "a\r\nX: y", "x" * 1025])
def test_what_cannot_be_a_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConfigError, match="DMOA_KEY: is no key") as caught:
        authorization("http://127.0.0.1:1", {"DMOA_KEY": key})
    assert key not in caught.value.message


def test_no_key_leaves_the_machine_in_clear_text() -> None:
    with pytest.raises(ConfigError, match=r"would go to far\.example in clear text") as caught:
        authorization("http://far.example:80", {"DMOA_KEY": "dmoa-secret"})
    assert "dmoa-secret" not in caught.value.message
    assert authorization("http://far.example:80", {}) == {}
