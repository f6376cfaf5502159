"""Where the API listens: its socket, its TLS, its addresses, and the file handles it takes."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from importlib import import_module
from pathlib import Path
from typing import Any

from dmoa.api.guard import plain
from dmoa.errors import ConfigError

SPARE_FILES = 256
"""File handles that a node needs beside the connections of its API."""
FEWEST = 8
"""Connections without which an API is none."""

_NOWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation (RFC 5737, RFC 3849); nothing is ever sent to them."""
_log = logging.getLogger(__name__)


def bind(host: str, port: int) -> socket.socket:
    """Take the API's port at an address or a name; ConfigError where that cannot be.

    `::` takes IPv4 as well.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(
            f"host {host} cannot be found: {error.strerror}",
            hint="name an address of this machine",
        ) from None
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
    try:
        sock.bind(address)
        sock.listen()  # now, for two that start at once may both bind
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"port {port} of {host} cannot be used: {error.strerror}",
            hint="use `--port 0` for any free one",
        ) from None
    return sock


def is_local(sock: socket.socket) -> bool:
    """Tell whether a socket can be reached from this machine alone."""
    return ipaddress.ip_address(plain(sock.getsockname()[0])).is_loopback


def url(sock: socket.socket, *, secure: bool, names: tuple[str, ...] = ()) -> str:
    """Write where the API of a bound socket is: by its first name, or by an address.

    Where it listens at all addresses, that is the one by which this machine reaches others.
    """
    address, port = sock.getsockname()[:2]
    name = names[0] if names else plain(address)
    if not names and ipaddress.ip_address(name).is_unspecified:
        name = _outward(sock.family)
    shown = f"[{name}]" if ":" in name else name
    return f"{'https' if secure else 'http'}://{shown}:{port}"


def _outward(family: int) -> str:
    """Find the address by which this machine reaches others; loopback where it reaches none."""
    for each in (socket.AF_INET, socket.AF_INET6):
        if each == socket.AF_INET6 and family != each:
            continue
        with socket.socket(each, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((_NOWHERE[each], 9))  # finds a route, and sends nothing
                return plain(probe.getsockname()[0])
            except OSError:
                continue
    return "127.0.0.1"


def tls(certificate: str, key: str) -> ssl.SSLContext | None:
    """Make what TLS needs of files in PEM, None where none is named; ConfigError else.

    The key may stand in the file of the certificate. TLS 1.2 is the oldest that is spoken.
    """
    if not certificate:
        if key:
            raise ConfigError(
                "certificate_key is set, and certificate is not",
                hint="name the file of the certificate chain as well",
            )
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    files = [Path(each).expanduser() for each in (certificate, key) if each]
    for name, file in zip(("certificate", "certificate_key"), files, strict=False):
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigError(f"{name}: {file} cannot be read: {error.strerror}") from None
    try:
        context.load_cert_chain(*files, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        raise ConfigError(
            f"certificate: {files[0]} makes no TLS with {files[-1]}: {why}",
            hint="a chain and its own key without a password are needed, both in PEM",
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")  # else OpenSSL asks the terminal for it


def room_for(connections: int) -> int:
    """Raise the limit of file handles to what so many connections need; tell how many fit."""
    try:
        resource: Any = import_module("resource")
    except ImportError:  # not on Windows, which has no such limit
        return connections
    needed = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= needed:
        return connections
    reach = needed if hard == endless else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reach, hard))
    except (OSError, ValueError):
        reach = soft
    if reach >= needed:
        return connections
    fit = max(FEWEST, reach - SPARE_FILES)
    _log.warning(
        "%d connections of the API at most, not %d: this process may open %d files",
        *(fit, connections, reach),
    )
    return fit
