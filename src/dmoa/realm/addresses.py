"""Under which addresses others may find this machine."""

from __future__ import annotations

import ipaddress
import socket

from dmoa.config.realms import PLACES

_ELSEWHERE = "192.0.2.1"
"""An address for examples (RFC 5737), which nothing is sent to."""


def own_hosts() -> tuple[str, ...]:
    """List the addresses by which this machine leaves for others; loopback where it has none.

    Those of IPv4 alone, for that is where nodes listen unless told otherwise.
    """
    found: list[str] = []
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE, 9))  # chooses the way, and sends nothing
            found.append(str(probe.getsockname()[0]))
    except OSError:
        pass
    try:
        listed = socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET, socket.SOCK_STREAM)
        found += [str(each[4][0]) for each in listed]
    except OSError:
        pass
    good = [each for each in dict.fromkeys(found) if _is_reachable(each)]
    return tuple(good[:PLACES]) or ("127.0.0.1",)


def places_of(hosts: tuple[str, ...], port: int) -> tuple[str, ...]:
    """Write HOST:PORT for each of these hosts, or for the addresses found where there are none."""
    return tuple(f"{bracketed(host)}:{port}" for host in (hosts or own_hosts())[:PLACES])


def bracketed(host: str) -> str:
    """Write a host as it stands before a port: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def _is_reachable(address: str) -> bool:
    """Whether others of the same network may reach it."""
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)
