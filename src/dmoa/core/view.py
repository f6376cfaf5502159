"""The peers an agent knows, by their own words: suspicion, expiry, choice.

Only a digest straight from a peer brings it to life; third parties never do. A hint
that it left takes it out at once, and its next digest brings it back: so a false hint
costs little, and a late digest from before the hint does not raise the dead.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from dmoa.core.digest import Digest
from dmoa.core.names import NodeId
from dmoa.core.policy import CANDIDATES, burden


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

    def sample(
        self, count: int, now: float, rng: Random, besides: Collection[NodeId] = ()
    ) -> list[NodeId]:
        """Draw `count` distinct living peers uniformly at random, or all if they are fewer."""
        living = [node for node in self.living(now) if node not in besides]
        return rng.sample(living, min(count, len(living)))

    def lightest(
        self, count: int, now: float, rng: Random, besides: Collection[NodeId] = ()
    ) -> list[NodeId]:
        """Draw twice as many, and choose those with the least burden by what is known of them.

        Where no service time was measured yet, that of the other candidates stands in.
        """
        drawn = self.sample(CANDIDATES * count, now, rng, besides)
        peers = [self._peers[node] for node in drawn]
        times = [peer.digest.service_time for peer in peers if peer.digest.service_time > 0.0]
        usual = sum(times) / len(times) if times else 0.0
        mean = sum(peer.digest.length for peer in peers) / len(peers) if peers else 0.0

        def load(index: int) -> float:
            digest, age = peers[index].digest, now - peers[index].heard
            time = digest.service_time or usual
            return burden(digest.length, mean, time, digest.slots, age)

        chosen = sorted(range(len(drawn)), key=load)[:count]
        return [drawn[index] for index in chosen]

    def crowd(self, own: float, now: float) -> float:
        """Tell the mean number of jobs per slot: over the living peers, and `own` here."""
        alive = [peer.digest for peer in self._peers.values() if self._alive(peer, now)]
        others = sum(digest.length / max(digest.slots, 1) for digest in alive)
        return (own + others) / (1 + len(alive))

    def check(self) -> None:
        """Assert the bound."""
        assert len(self._peers) <= self._size
