"""What Zenoh is told before it starts, and its complaints in plain words."""

from __future__ import annotations

import json
import re
import socket
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import zenoh

from dmoa.core.limits import Limits
from dmoa.errors import ConfigError, NetworkError
from dmoa.net import keys

WAIT_BEFORE_CLOSE = 1.0
"""Seconds for which a peer that takes no more bytes may hold up a sender; then it is cut."""
MULTICAST_GROUP = "224.0.0.224"
MULTICAST_PORTS = range(17447, 19447)
"""Each realm has one of these ports, so that strangers do not even connect."""

_ENDPOINT = re.compile(
    r"(?P<link>[a-z][a-z0-9_-]*)/(?P<host>[^?#\s]+?):(?P<port>\d{1,5})(?P<more>[?#]\S*)?"
)
_PLACE_IN_SOURCE = re.compile(r"\s+at /\S+\.rs:\d+\.?")


@dataclass(frozen=True, slots=True)
class ZenohSettings:
    """Where and how to meet peers; `lease` is the silence, in seconds, that ends a link.

    Endpoints read `tcp/HOST:PORT`; port 0 takes any free one. To come back together after
    the network was cut, nodes need multicast or two peers in `connect`: a peer that was
    learned from another peer is not called a second time.
    """

    realm: str = "home"
    listen: tuple[str, ...] = ("tcp/127.0.0.1:0",)
    connect: tuple[str, ...] = ()
    multicast: bool = False
    lease: float = 5.0


def make_config(settings: ZenohSettings, listen: Sequence[str], limits: Limits) -> zenoh.Config:
    """Write the configuration of one session that listens at `listen`."""
    for endpoint in (*listen, *settings.connect):
        check_endpoint(endpoint)
    crc = zlib.crc32(settings.realm.encode())
    port = MULTICAST_PORTS[crc % len(MULTICAST_PORTS)]
    block = {"wait_before_close": int(WAIT_BEFORE_CLOSE * 1e6)}
    config = {
        "mode": "peer",
        "namespace": keys.namespace(settings.realm),
        "listen": {"endpoints": list(listen), "timeout_ms": 0, "exit_on_failure": True},
        "connect": {"endpoints": list(settings.connect)},
        "scouting": {
            "multicast": {"enabled": settings.multicast, "address": f"{MULTICAST_GROUP}:{port}"},
            "gossip": {"enabled": True},
        },
        "transport": {
            # On by default, and then loses queries where a receiving thread stalls.
            "shared_memory": {"enabled": False},
            "link": {
                "tx": {
                    "lease": int(settings.lease * 1000),
                    "queue": {"congestion_control": {"block": block}},
                },
                "rx": {"max_message_size": 2 * limits.message_bytes},
            },
        },
    }
    return zenoh.Config.from_json5(json.dumps(config))


def check_endpoint(endpoint: str) -> None:
    """Refuse what Zenoh would silently try for ever; ConfigError names the endpoint."""
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - the last port there is
        raise ConfigError(
            f"{endpoint!r} is no endpoint",
            hint="write it as tcp/HOST:PORT, as in tcp/10.0.0.7:7447",
        )


def choose_ports(endpoints: Sequence[str]) -> tuple[str, ...]:
    """Put a free port in place of every port 0: Zenoh would not tell which one it took."""
    return tuple(_choose_port(endpoint) for endpoint in endpoints)


def _choose_port(endpoint: str) -> str:
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match["port"]) != 0:
        return endpoint
    host = match["host"].strip("[]")
    try:
        family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
            port = int(probe.getsockname()[1])
    except OSError as error:
        raise NetworkError(
            f"nothing can listen at {endpoint}: {error.strerror}",
            hint="listen at an address that this machine has",
        ) from error
    return f"{match['link']}/{match['host']}:{port}{match['more'] or ''}"


def explain(error: Exception, listen: Sequence[str]) -> NetworkError:
    """Say in one line why a session did not open."""
    reason = _PLACE_IN_SOURCE.sub("", str(error)).splitlines()[0][:300]
    return NetworkError(
        f"the network did not open: {reason}",
        hint=f"choose other endpoints to listen at than {', '.join(listen)}",
    )
