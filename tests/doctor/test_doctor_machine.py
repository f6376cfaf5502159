from __future__ import annotations

import os
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from dmoa.backends.gguf import read_header
from dmoa.backends.uri import parse_uri
from dmoa.config import Settings
from dmoa.doctor import Finding, examine, machine, model
from dmoa.errors import ConfigError

MIB = 1024 * 1024


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_what_a_check_raises_is_what_it_found_and_the_others_go_on() -> None:
    def refused() -> Finding:
        raise ConfigError("the setting is wrong", hint="write it so")

    def unreadable() -> Finding:
        raise PermissionError(13, "Permission denied")

    found = list(
        examine(
            [
                ("one", refused),
                ("two", unreadable),
                ("three", lambda: [Finding("three", "ok", "a"), Finding("three", "ok", "b")]),
            ]
        )
    )
    assert found == [
        Finding("one", "bad", "the setting is wrong", "write it so"),
        Finding("two", "note", "cannot be looked at: Permission denied", "look at it by hand"),
        Finding("three", "ok", "a"),
        Finding("three", "ok", "b"),
    ]


def test_a_flaw_without_a_fix_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="has no fix"):
        Finding("one", "bad", "broken")


def test_assertions_that_are_off_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.python().state == "ok"

    class Flags:
        optimize = 1

    monkeypatch.setattr(sys, "flags", Flags())
    found = machine.python()
    assert found.state == "bad"
    assert "-O" in found.fix


def test_too_few_open_files_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(node="n1", connections=512)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 700))
    found = machine.open_files(settings)
    assert found.state == "bad"
    assert "768" in found.told
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 768))
    assert machine.open_files(settings).state == "ok"


def test_a_disk_is_judged_by_the_nearest_folder_there_is(tmp_path: Path) -> None:
    found = machine.disk("store", tmp_path / "not" / "yet", need=1)
    assert found.state == "ok"
    assert machine.disk("store", tmp_path, need=1 << 60).state == "bad"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_bad(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert machine.disk("store", tmp_path, need=1).state == "bad"


def test_a_port_is_free_ours_or_somebody_elses(taken: int) -> None:
    settings = Settings(node="n1", port=taken)
    found = machine.port(settings, ours=False)
    assert found.state == "bad"
    assert str(taken) in found.told
    assert machine.port(settings, ours=True).state == "ok"
    assert machine.port(Settings(node="n1", port=0), ours=False).state == "ok"


def test_endpoints_of_peers_are_tried(taken: int) -> None:
    listen = (f"tcp/127.0.0.1:{taken}", "tcp/127.0.0.1:0", "tcp/192.0.2.1:7447")
    settings = Settings(node="n1", listen=listen)
    found = machine.endpoints(settings, ours=False)
    assert [each.state for each in found] == ["bad", "bad"]
    assert machine.endpoints(settings, ours=True) == []


def test_multicast_is_tried_only_where_it_is_wanted() -> None:
    assert machine.multicast(Settings(node="n1")) == []
    found = machine.multicast(Settings(node="n1", multicast=True))
    assert isinstance(found, Finding)
    assert found.check == "multicast"


def test_a_models_memory_is_its_weights_and_its_context(tmp_path: Path) -> None:
    short = model.needed(parse_uri("smollm2?context=1024"))
    long = model.needed(parse_uri("smollm2?context=5120"))
    assert short is not None
    assert long is not None
    assert (long - short) // MIB == 90  # 4096 tokens of 22.5 KiB
    assert model.needed(parse_uri("hub:a/b/c.gguf")) is None
    assert model.needed(parse_uri("fake:1")) == model.REMOTE
    with pytest.raises(ConfigError):
        model.present("nonsense:")
    del tmp_path


def gguf(path: Path, **fields: int) -> Path:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    known = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    known += [
        text("llama." + key.replace("__", ".")) + struct.pack("<II", 4, value)
        for key, value in fields.items()
    ]
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(known)) + b"".join(known) + bytes(64))
    return path


def test_a_token_takes_keys_and_values_in_every_layer(tmp_path: Path) -> None:
    path = gguf(
        tmp_path / "a.gguf",
        block_count=32,
        attention__head_count=32,
        attention__head_count_kv=8,
        embedding_length=4096,
        context_length=2048,
    )
    assert model.per_token(read_header(path)) == 2 * 32 * 8 * 128 * 2  # as of Llama 3.1 8B
    assert model.present(f"llama:{path}").state == "ok"
    assert model.needed(parse_uri(f"llama:{path}?context=1024")) == (
        path.stat().st_size + 1024 * 131072 + model.BESIDE
    )


@pytest.mark.parametrize(
    ("free", "state"), [(479 * MIB, "bad"), (500 * MIB, "note"), (5000 * MIB, "ok")]
)
def test_memory_is_compared_with_what_is_free(
    monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(model, "available", lambda: free)
    monkeypatch.setattr(model, "needed", lambda _: 480 * MIB)
    assert model.memory("").state == state


def test_the_smallest_of_machine_and_container_is_free() -> None:
    found = model.available()
    assert found is None or found > 0
