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
from dmoa.net.identity import Identity

WAIT_BEFORE_CLOSE = 1.0
"""Seconds for which a peer that takes no more bytes may hold up a sender; then it is cut."""
MULTICAST_GROUP = "224.0.0.224"
MULTICAST_PORTS = range(17447, 19447)
"""Each realm has one of these ports, so that strangers do not even connect."""

_MESSAGES = (
    *("put", "delete", "declare_subscriber", "query", "reply", "declare_queryable"),
    *("liveliness_token", "liveliness_query", "declare_liveliness_subscriber"),
)
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

    `port` is that of multicast; 0 takes the one that follows from the realm's name. A node
    that is `relayed` cannot be reached by others: it listens nowhere, and all that it says and
    hears passes through one of the peers in `connect`, and through another when that is gone.
    """

    realm: str = "home"
    listen: tuple[str, ...] = ("tcp/127.0.0.1:0",)
    connect: tuple[str, ...] = ()
    multicast: bool = False
    lease: float = 5.0
    port: int = 0
    relayed: bool = False

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where it is to listen: nowhere, if it is relayed."""
        return () if self.relayed else self.listen


def make_config(
    settings: ZenohSettings,
    listen: Sequence[str],
    limits: Limits,
    identity: Identity | None = None,
) -> zenoh.Config:
    """Write the configuration of one session that listens at `listen`.

    With an `identity` all links are mutual TLS. ConfigError where an endpoint is none, or is
    none of that kind, and where a node that is to be relayed is told of no peer.
    """
    for endpoint in (*listen, *settings.connect):
        check_endpoint(endpoint, secured=identity is not None)
    if settings.relayed and not settings.connect:
        raise ConfigError(
            "a node that is relayed needs a peer to connect to",
            hint="give `connect` two peers that it can reach, so that one may fail",
        )
    crc = zlib.crc32(settings.realm.encode())
    port = settings.port or MULTICAST_PORTS[crc % len(MULTICAST_PORTS)]
    multicast = settings.multicast and not settings.relayed
    block = {"wait_before_close": int(WAIT_BEFORE_CLOSE * 1e6)}
    config: dict[str, object] = {
        "mode": "client" if settings.relayed else "peer",
        "namespace": keys.namespace(settings.realm),
        "listen": {"endpoints": list(listen), "timeout_ms": 0, "exit_on_failure": True},
        "connect": {"endpoints": list(settings.connect)},
        "scouting": {
            "multicast": {"enabled": multicast, "address": f"{MULTICAST_GROUP}:{port}"},
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
                **({} if identity is None else _tls(identity)),
            },
        },
    }
    if identity is not None and identity.revoked:
        config["access_control"] = _deny(sorted(identity.revoked))
    return zenoh.Config.from_json5(json.dumps(config))


def _tls(identity: Identity) -> dict[str, object]:
    """Write that links are mutual TLS, with the papers of a realm, and nothing else."""
    papers = identity.papers
    certificate, key = str(papers.certificate), str(papers.key)
    return {
        "protocols": ["tls"],
        "tls": {
            "root_ca_certificate": str(papers.authority),
            "enable_mtls": True,
            # Peers are found at addresses, not names; seals say who speaks.
            "verify_name_on_connect": False,
            "close_link_on_expiration": True,
            "listen_certificate": certificate,
            "listen_private_key": key,
            "connect_certificate": certificate,
            "connect_private_key": key,
        },
    }


def _deny(names: list[str]) -> dict[str, object]:
    """Write that members of these names hear nothing, and are not heard."""
    rule = {
        "id": "nothing",
        "permission": "deny",
        "messages": list(_MESSAGES),
        "flows": ["ingress", "egress"],
        "key_exprs": ["**"],
    }
    return {
        "enabled": True,
        "default_permission": "allow",
        "rules": [rule],
        "subjects": [{"id": "revoked", "cert_common_names": names}],
        "policies": [{"rules": ["nothing"], "subjects": ["revoked"]}],
    }


def check_endpoint(endpoint: str, *, secured: bool = False) -> None:
    """Refuse what Zenoh would silently try for ever; ConfigError names the endpoint.

    What is `secured` by a realm has links of TLS only, and what is not has none.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match["port"]) > 65535:  # noqa: PLR2004 - the last port there is
        raise ConfigError(
            f"{endpoint!r} is no endpoint",
            hint="write it as tcp/HOST:PORT, as in tcp/10.0.0.7:7447",
        )
    if secured and match["link"] != "tls":
        raise ConfigError(
            f"{endpoint!r} is not encrypted, and this realm is",
            hint=f"write it as tls/{match['host']}:{match['port']}",
        )
    if not secured and match["link"] == "tls":
        raise ConfigError(
            f"{endpoint!r} needs the certificates of a realm",
            hint="`dmoa realm create`, or `dmoa realm join` with an invitation, makes them",
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


def explain(error: Exception, settings: ZenohSettings) -> NetworkError:
    """Say in one line why a session did not open."""
    reason = _PLACE_IN_SOURCE.sub("", str(error)).splitlines()[0][:300]
    hint = f"choose other endpoints to listen at than {', '.join(settings.listen)}"
    if settings.relayed:
        hint = f"start one of its peers: {', '.join(settings.connect)}"
    return NetworkError(f"the network did not open: {reason}", hint=hint)
