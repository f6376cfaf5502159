"""Settings: which source wins, what is refused, and in which words."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from dmoa.config import Settings, default_node_name, is_loopback, load
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import is_node_name
from dmoa.errors import ConfigError

BESIDE = {"sources", "membership"}
"""Fields that are no settings."""


@pytest.fixture(name="nowhere")
def _nowhere(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "dmoa.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refusal(**sources: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(**sources)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    return caught.value


def test_nothing_said_gives_the_defaults(nowhere: dict[str, str]) -> None:
    settings = load(environ=nowhere)
    assert Settings(node=settings.node) == settings
    assert is_node_name(settings.node)
    assert {each.name for each in fields(Settings)} - BESIDE == set(settings.sources)
    assert {"default"} == set(settings.sources.values())


def test_the_defaults_are_those_of_the_protocol(nowhere: dict[str, str]) -> None:
    settings = load(environ=nowhere)
    assert (Limits(), Timing(), Mixture()) == (settings.limits, settings.timing, settings.mixture)


def test_file_environment_and_flags_win_in_this_order(tmp_path: Path) -> None:
    file = written(tmp_path, "layers = 2\nfanout = 4\nport = 1\n")
    settings = load({"port": 3, "node": None}, file=file, environ={"DMOA_FANOUT": "5"})
    assert (settings.layers, settings.fanout, settings.port) == (2, 5, 3)
    assert str(file) == settings.sources["layers"]
    assert settings.sources["fanout"] == "DMOA_FANOUT"
    assert settings.sources["port"] == "--port"


def test_every_kind_of_value_is_read_from_a_file(tmp_path: Path) -> None:
    text = """
        node = "n1"
        model = " smollm2 "
        connect = ["tcp/[::1]:7447", "tcp/localhost:7448"]
        deadline = 20
        insecure = true
        log_level = "INFO"
    """
    settings = load(file=written(tmp_path, text), environ={})
    assert (settings.node, settings.model) == ("n1", "smollm2")
    assert settings.connect == ("tcp/[::1]:7447", "tcp/localhost:7448")
    assert (settings.deadline, settings.insecure, settings.log_level) == (20.0, True, "info")


def test_every_kind_of_value_is_read_from_the_environment(nowhere: dict[str, str]) -> None:
    environ = nowhere | {
        "DMOA_LISTEN": "tcp/127.0.0.1:1, tcp/127.0.0.2:2",
        "DMOA_DEADLINE": "2.5",
        "DMOA_MULTICAST": "no",
        "DMOA_REALM": "lab",
        "DMOA_URL": "http://127.0.0.1:9",
        "DMOA_CACHE": "elsewhere",
        "OTHER": "x",
    }
    settings = load(environ=environ)
    assert settings.listen == ("tcp/127.0.0.1:1", "tcp/127.0.0.2:2")
    assert (settings.deadline, settings.multicast, settings.realm) == (2.5, False, "lab")


def test_the_users_own_file_is_read_if_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "dmoa").mkdir()
    (tmp_path / "dmoa" / "config.toml").write_text("port = 5\n", encoding="utf-8")
    assert load(environ={"XDG_CONFIG_HOME": str(tmp_path)}).port == 5


def test_a_variable_names_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "port = 6\n")
    assert load(environ={"DMOA_CONFIG": str(file)}).port == 6


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    error = refusal(file=tmp_path / "none.toml", environ={})
    assert "none.toml: cannot be read: No such file or directory" in error.message


@pytest.mark.parametrize("text", ["port = ", "a = 1\na = 2", "\udcff"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "dmoa.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert "dmoa.toml: is not TOML" in refusal(file=file, environ={}).message


def test_an_unknown_key_is_refused_with_a_guess(tmp_path: Path) -> None:
    error = refusal(file=written(tmp_path, "fanuot = 2\n"), environ={})
    assert error.message.endswith("dmoa.toml: there is no setting 'fanuot'")
    assert error.hint == "did you mean `fanout`?"


def test_an_unknown_key_like_no_other_is_refused_with_the_list(tmp_path: Path) -> None:
    error = refusal(file=written(tmp_path, "zzz = 2\n"), environ={})
    assert error.hint is not None
    assert error.hint.startswith("known keys: certificate, ")


def test_an_unknown_variable_is_refused_with_a_guess(nowhere: dict[str, str]) -> None:
    error = refusal(environ=nowhere | {"DMOA_PROT": "1"})
    assert error.message == "DMOA_PROT: there is no such setting"
    assert error.hint == "did you mean `DMOA_PORT`?"


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("port = '80'", "a whole number from 0 to 65535, not '80'"),
        ("port = 65536", "a whole number from 0 to 65535, not 65536"),
        ("layers = true", "a whole number from 0 to 8, not True"),
        ("layers = 9", "a whole number from 0 to 8, not 9"),
        ("fanout = 1.5", "a whole number from 0 to 32, not 1.5"),
        ("deadline = 0", "seconds, more than 0 and at most 86400, not 0"),
        ("deadline = nan", "seconds, more than 0 and at most 86400, not nan"),
        ("insecure = 1", "true or false, not 1"),
        ("model = 1", "text, not 1"),
        ("node = 'No'", "1 to 32 of a-z, 0-9 and inner hyphens, not 'No'"),
        ("realm = 'a/b'", "1 to 32 of a-z, 0-9 and inner hyphens, not 'a/b'"),
        ("listen = 'tcp/127.0.0.1:1'", "a list of endpoints like tcp/127.0.0.1:7447"),
        ("listen = ['udp/127.0.0.1:1']", "a list of endpoints like tcp/127.0.0.1:7447"),
        ("listen = ['tcp/127.0.0.1:1#iface=eth0']", "a list of endpoints"),
        ("connect = ['tcp/127.0.0.1:0']", "a list of endpoints like tcp/127.0.0.1:7447"),
        ("connect = ['tcp/127.0.0.1:65536']", "a list of endpoints"),
        ("log_level = 'loud'", "one of debug, info, warning, error, not 'loud'"),
        ("log_format = 'xml'", "one of text, json, not 'xml'"),
        ("otlp = '127.0.0.1:4318'", "a URL like http://127.0.0.1:4318, not"),
        ("otlp = 'http://me:word@h'", "a URL like http://127.0.0.1:4318, not"),
        ("otlp = 'https://h?x=1'", "a URL like http://127.0.0.1:4318, not"),
    ],
)
def test_a_wrong_value_is_refused_by_what_it_should_be(
    tmp_path: Path, line: str, wanted: str
) -> None:
    message = refusal(file=written(tmp_path, line), environ={}).message
    key = line.partition(" ")[0]
    assert f"dmoa.toml: {key} must be {wanted}" in message


@pytest.mark.parametrize(
    ("variable", "text"),
    [("PORT", ""), ("PORT", "x"), ("DEADLINE", "1e9"), ("INSECURE", "maybe"), ("LISTEN", "here")],
)
def test_a_wrong_variable_is_refused(nowhere: dict[str, str], variable: str, text: str) -> None:
    error = refusal(environ=nowhere | {f"DMOA_{variable}": text})
    assert error.message.startswith(f"DMOA_{variable}: {variable.lower()} must be ")


@pytest.mark.parametrize("key", ["persona", "model", "node", "hosts", "listen"])
def test_bytes_that_are_no_text_are_refused(nowhere: dict[str, str], key: str) -> None:
    text = b"tcp/\xff:1".decode("utf-8", "surrogateescape")  # as the system hands it to us
    with pytest.raises(ConfigError, match=f"{key} must be text in UTF-8") as caught:
        load(environ={**nowhere, f"DMOA_{key.upper()}": text})
    caught.value.message.encode()
    with pytest.raises(ConfigError, match="no such setting") as caught:
        load(environ={**nowhere, f"DMOA_{text}": "x"})
    caught.value.message.encode()


def test_a_wrong_flag_is_refused(nowhere: dict[str, str]) -> None:
    error = refusal(flags={"log_level": "loud"}, environ=nowhere)
    assert error.message.startswith("--log-level: log_level must be one of ")


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("tcp/127.0.0.1:0", True),
        ("tcp/127.8.9.1:7", True),
        ("tcp/[::1]:0", True),
        ("tcp/localhost:1", True),
        ("tcp/0.0.0.0:1", False),
        ("tcp/[::]:1", False),
        ("tcp/192.168.1.7:1", False),
        ("tcp/example.org:1", False),
        ("nonsense", False),
    ],
)
def test_loopback_is_told_from_the_rest(endpoint: str, *, loopback: bool) -> None:
    assert loopback is is_loopback(endpoint)


@pytest.mark.parametrize(
    "flags",
    [
        {"listen": ("tcp/0.0.0.0:7447",)},
        {"connect": ("tcp/192.168.1.7:7447",)},
        {"multicast": True},
    ],
)
def test_other_machines_are_spoken_with_only_when_told(
    nowhere: dict[str, str], flags: dict[str, object]
) -> None:
    error = refusal(flags=flags, environ=nowhere)
    (key,) = flags
    assert error.message.startswith(f"--{key}: {key} ")
    assert "nothing is encrypted without a realm" in error.message
    assert error.hint is not None
    assert "--insecure" in error.hint
    assert load({**flags, "insecure": True}, environ=nowhere).insecure


def test_a_default_node_name_is_legal_whatever_the_host_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for host in ("", "...", "ÄÖ", "My_Mac-.local", "-" * 70, "x" * 70):
        monkeypatch.setattr("socket.gethostname", lambda host=host: host)
        assert is_node_name(default_node_name())
    monkeypatch.setattr("socket.gethostname", lambda: "My_Mac.local")
    assert default_node_name().startswith("my-mac-")
