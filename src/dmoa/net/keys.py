"""The key space: under which names nodes find each other.

```text
dmoa/<realm>/jobs/<peer>/<caller>        a query: a job for a peer, from its caller
dmoa/<realm>/withdraw/<peer>/<caller>    the caller no longer wants a job of that peer
dmoa/<realm>/standing/<peer>/<caller>    a query: how that peer stands right now
dmoa/<realm>/roll/<peer>/<caller>        a query: release, clock and peers of that peer
dmoa/<realm>/digest/<node>               how a node stands, once a second
dmoa/<realm>/revoked/<node>              the newest list of revocations that a node knows
dmoa/<realm>/alive/<node>                there while the node is, gone when it is gone
```

The first two chunks are the session's namespace, which Zenoh puts before every key. All
keys end with the name of who speaks, so that an access control list can hold each node
to its own.
"""

from __future__ import annotations

from dmoa.core.names import NodeId, is_node_name
from dmoa.errors import ConfigError

DIGESTS = "digest/*"
PRESENCES = "alive/*"
NOTICES = "revoked/*"


def is_realm_name(text: str) -> bool:
    """Tell whether `text` can name a realm: the alphabet is that of nodes."""
    return is_node_name(text)


def namespace(realm: str) -> str:
    """Name the part of the key space that belongs to a realm; ConfigError if none can."""
    if not is_realm_name(realm):
        raise ConfigError(
            f"{realm!r} cannot name a realm",
            hint="use 1 to 32 of a-z, 0-9 and inner hyphens",
        )
    return f"dmoa/{realm}"


def jobs(peer: NodeId, caller: NodeId | None = None) -> str:
    """Name the inbox of a peer for jobs of one caller, or of any."""
    return f"jobs/{peer}/{caller or '*'}"


def withdrawals(peer: NodeId, caller: NodeId | None = None) -> str:
    """Name the inbox of a peer for withdrawals of one caller, or of any."""
    return f"withdraw/{peer}/{caller or '*'}"


def standing(peer: NodeId, caller: NodeId | None = None) -> str:
    """Name where a peer tells one caller, or any, how it stands right now."""
    return f"standing/{peer}/{caller or '*'}"


def roll(peer: NodeId, caller: NodeId | None = None) -> str:
    """Name where a peer answers the roll call of one caller, or of any."""
    return f"roll/{peer}/{caller or '*'}"


def notice(node: NodeId) -> str:
    """Name the place of the list of revocations that a node knows."""
    return f"revoked/{node}"


def digest(node: NodeId) -> str:
    """Name the place of a node's digest."""
    return f"digest/{node}"


def presence(node: NodeId) -> str:
    """Name the token that is there while the node is."""
    return f"alive/{node}"


def speaker(key: str) -> NodeId | None:
    """Read who speaks from any of these keys; None when that is no node's name."""
    name = key.rpartition("/")[2]
    return NodeId(name) if is_node_name(name) else None
