"""Where the API listens: sockets, addresses, TLS, file handles."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest
from papers import self_signed

from dmoa.api import listener
from dmoa.errors import ConfigError

EVERYWHERE = "0.0.0.0"  # noqa: S104
HAS_IPV6 = socket.has_ipv6 and Path("/proc/net/if_inet6").exists()


@pytest.mark.real
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_loopback_is_of_this_machine(host: str) -> None:
    with listener.bind(host, 0) as sock:
        assert listener.is_local(sock)
        address, port = sock.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        assert listener.url(sock, secure=False) == f"http://{shown}:{port}"


@pytest.mark.real
def test_everywhere_is_beyond_it_and_is_told_by_a_name_that_can_be_reached() -> None:
    with listener.bind(EVERYWHERE, 0) as sock:
        port = sock.getsockname()[1]
        assert not listener.is_local(sock)
        assert listener.url(sock, secure=True, names=("a.lan", "b")) == f"https://a.lan:{port}"
        told = listener.url(sock, secure=False)
        assert EVERYWHERE not in told
        with socket.create_connection((told.removeprefix("http://").split(":")[0], port), 5):
            pass


@pytest.mark.real
@pytest.mark.skipif(not HAS_IPV6, reason="this machine has no IPv6")
def test_both_families_are_served_at_once() -> None:
    with listener.bind("::1", 0) as sock:
        assert listener.is_local(sock)
        assert listener.url(sock, secure=False) == f"http://[::1]:{sock.getsockname()[1]}"
    with listener.bind("::", 0) as sock:
        assert not listener.is_local(sock)
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, sock.getsockname()[1]), 5):
                pass


@pytest.mark.real
def test_a_port_that_is_taken_and_an_address_that_is_not_ours_are_told() -> None:
    with listener.bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 cannot be used"):
            listener.bind("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"port 0 of 192\.0\.2\.1 cannot be used"):
        listener.bind("192.0.2.1", 0)
    with pytest.raises(ConfigError, match="host x\\.invalid cannot be found"):
        listener.bind("x.invalid", 0)


def test_tls_wants_a_chain_and_its_key(tmp_path: Path) -> None:
    certificate, key = map(str, self_signed(tmp_path))
    assert listener.tls("", "") is None
    context = listener.tls(certificate, key)
    assert context is not None
    assert context.minimum_version.name == "TLSv1_2"
    both = tmp_path / "both.pem"
    both.write_bytes(Path(certificate).read_bytes() + Path(key).read_bytes())
    assert listener.tls(str(both), "") is not None


def test_files_that_make_no_tls_are_told_in_one_line(tmp_path: Path) -> None:
    certificate, key = map(str, self_signed(tmp_path))
    rubbish, other = tmp_path / "rubbish", tmp_path / "other"
    rubbish.write_bytes(b"\x00rubbish")
    other.mkdir()
    stranger = str(self_signed(other)[1])
    locked = tmp_path / "locked"
    locked.mkdir()
    for given, words in [
        (("", key), "certificate_key is set, and certificate is not"),
        ((certificate, ""), "makes no TLS"),
        ((certificate, stranger), "KEY_VALUES_MISMATCH"),
        ((str(rubbish), key), "makes no TLS"),
        ((certificate, str(tmp_path / "none")), "certificate_key: .* cannot be read: No such"),
        ((str(tmp_path), key), "certificate: .* cannot be read: Is a directory"),
        (tuple(map(str, self_signed(locked, password=b"secret"))), "the key has a password"),
    ]:
        with pytest.raises(ConfigError, match=words) as caught:
            listener.tls(*given)
        assert "\n" not in caught.value.message


def test_files_are_raised_to_what_connections_need(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = [(1024, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    assert listener.room_for(512) == 512
    assert len(limits) == 1
    assert listener.room_for(2000) == 2000
    assert limits.pop() == (2000 + listener.SPARE_FILES, 4096)
    assert caplog.text == ""
    assert listener.room_for(65_536) == 4096 - listener.SPARE_FILES
    assert limits.pop() == (4096, 4096)
    assert "3840 connections of the API at most, not 65536" in caplog.text
