"""The peers an agent knows, by their own words: suspicion, expiry, uniform choice.

Only a digest straight from a peer brings it to life; third parties never do. A hint
that it left takes it out at once, and its next digest brings it back: so a false hint
costs little, and a late digest from before the hint does not raise the dead.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dmoa.core.digest import Digest
from dmoa.core.names import NodeId


@dataclass(slots=True)
class Peer:
    """What is known of one peer; `heard` is when its newest digest came."""

    digest: Digest
    heard: float
    left: bool = False


class View:
    """At most `size` peers, each forgotten as a choice after `silence` seconds without word."""

    def __init__(self, *, size: int, silence: float) -> None:
        self._size = size
        self._silence = silence
        self._peers: dict[NodeId, Peer] = {}

    def hear(self, digest: Digest, now: float) -> bool:
        """Take a digest straight from its node; True when that node is a new incarnation."""
        known = self._peers.get(digest.node)
        if known is None:
            if len(self._peers) >= self._size and not self._forget(now):
                return False
            self._peers[digest.node] = Peer(digest, now)
            return False
        if not digest.supersedes(known.digest):
            return False
        reborn = digest.incarnation > known.digest.incarnation
        self._peers[digest.node] = Peer(digest, now)
        return reborn

    def _forget(self, now: float) -> bool:
        """Make room by forgetting the dead peer that is silent longest; False if all live."""
        dead = [node for node, peer in self._peers.items() if not self._alive(peer, now)]
        if not dead:
            return False
        del self._peers[min(dead, key=lambda node: (self._peers[node].heard, node))]
        return True

    def leave(self, node: NodeId) -> None:
        """Take a hint that a peer left."""
        if node in self._peers:
            self._peers[node].left = True

    def _alive(self, peer: Peer, now: float) -> bool:
        return not peer.left and now - peer.heard < self._silence

    def living(self, now: float) -> list[NodeId]:
        """List the peers that may be asked, by name."""
        return sorted(node for node, peer in self._peers.items() if self._alive(peer, now))

    def known(self, now: float) -> list[tuple[Digest, float]]:
        """List the digests of the living peers, by name, with their age in seconds."""
        return [
            (self._peers[node].digest, now - self._peers[node].heard) for node in self.living(now)
        ]

    def sample(self, count: int, now: float, rng: Random) -> list[NodeId]:
        """Draw `count` distinct living peers uniformly at random, or all if they are fewer."""
        living = self.living(now)
        return rng.sample(living, min(count, len(living)))

    def check(self) -> None:
        """Assert the bound."""
        assert len(self._peers) <= self._size
