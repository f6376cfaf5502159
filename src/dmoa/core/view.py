"""The peers an agent knows, by their own words: suspicion, expiry, choice.

Only a digest straight from a peer brings it to life; third parties never do. A hint
that it left takes it out at once, and its next digest brings it back: so a false hint
costs little, and a late digest from before the hint does not raise the dead.

A peer's word is not all that is known of it. How long its answers took is measured, and
where they take longer than it said there is *doubt*, a factor of at least 1 on whatever it
says. A peer that is hung, slow, or says its queue is short when it is not is so chosen less,
and comes back as the doubt fades. Who breaks the rules is blamed (`core/reputation.py`), and
not asked at all while the blame lasts; nor is anybody whom the operator does not trust.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import exp, inf, log
from random import Random

from dmoa.core.digest import Digest
from dmoa.core.limits import Limits, Timing
from dmoa.core.names import NodeId
from dmoa.core.policy import CANDIDATES, burden
from dmoa.core.reputation import Conduct, Reputation

LESSON = 0.25
"""Weight of the latest answer in the doubt of a peer, which is a mean of logarithms."""
DOUBT_MAX = 1e4
"""Doubt beyond this would only take longer to forget."""
BELIEVED = 12.0
"""Jobs per slot that the word of one peer counts for, at most, where what is said is weighed: so
that one liar among many is hardly felt. Among four that are idle it still passes for a crowd of
three jobs a slot, and mixtures are shallower for it. Chosen, not measured: about twice what a
node holds that declines at five and has some queries of its own, so a full network shows."""
QUICK = 0.01
"""Share of the candidates' mean service time below which no word of a peer is believed: so
that doubt can make up for any lie."""
_LOG_MAX = log(DOUBT_MAX)
TIME_MAX = 86400.0
"""Seconds that no word of a peer exceeds, so that one with absurd words leaves means finite."""


@dataclass(slots=True)
class Peer:
    """What is known of one peer; times in seconds.

    `heard` is when its newest digest came, `length` how many jobs were there by its latest
    word, from `told` on. `doubt` is a logarithm, as it was at `judged`.
    """

    digest: Digest
    heard: float
    left: bool = False
    length: int = 0
    told: float = 0.0
    doubt: float = 0.0
    judged: float = 0.0

    def __post_init__(self) -> None:
        """Take the digest's word."""
        self.hear(self.digest, self.heard)

    def hear(self, digest: Digest, now: float) -> None:
        """Take a newer digest; a new life begins without doubt."""
        if digest.incarnation != self.digest.incarnation:
            self.doubt = 0.0
        self.digest, self.heard, self.left = digest, now, False
        self.length, self.told = digest.length, now

    @property
    def pace(self) -> float:
        """Seconds between two jobs that it completes when it is busy, as it says."""
        digest = self.digest
        if digest.capacity > 0.0:
            return min(1.0 / digest.capacity, TIME_MAX)
        return self.time / max(digest.slots, 1)

    @property
    def time(self) -> float:
        """Its mean service time, as it says; 0 where it has not measured any."""
        return min(self.digest.service_time, TIME_MAX)


class View:
    """At most `size` peers, each forgotten as a choice after `silence` seconds without word.

    Half of the doubt in a peer is forgotten in `pardon` seconds, half of its blame in
    `forgive`; of at most `blamed` names. Only the `trusted` are asked, or all where there are none.
    In means over the peers the word of one counts for `believed` jobs per slot at most.
    """

    def __init__(  # noqa: PLR0913  (what it knows, and for how long)
        self,
        *,
        size: int,
        silence: float,
        pardon: float = 120.0,
        forgive: float = 600.0,
        blamed: int = 256,
        trusted: Collection[NodeId] = (),
        believed: float = inf,
    ) -> None:
        self._size = size
        self._believed = believed
        self._silence = silence
        self._fading = log(2.0) / pardon
        self._peers: dict[NodeId, Peer] = {}
        self._trusted = frozenset(trusted)
        self.reputation = Reputation(size=blamed, forgive=forgive)

    @classmethod
    def within(
        cls, limits: Limits, timing: Timing, trusted: Collection[NodeId], *, wary: bool = False
    ) -> View:
        """Make the view of an agent; a `wary` one believes no peer more than `BELIEVED`."""
        return cls(
            size=limits.view,
            silence=timing.silence,
            pardon=timing.pardon,
            forgive=timing.forgive,
            blamed=limits.blamed,
            trusted=trusted,
            believed=BELIEVED if wary else inf,
        )

    # -- who is there -----------------------------------------------------------------

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
        known.hear(digest, now)
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

    def is_alive(self, node: NodeId, now: float) -> bool:
        """Tell whether a peer is there."""
        return node in self._peers and self._alive(self._peers[node], now)

    def living(self, now: float) -> list[NodeId]:
        """List the peers that are there, by name."""
        return sorted(node for node, peer in self._peers.items() if self._alive(peer, now))

    def may_ask(self, node: NodeId, now: float) -> bool:
        """Tell whether a peer may be asked: it is there, trusted, and not shunned."""
        return self.is_alive(node, now) and self._welcome(node, now)

    def _welcome(self, node: NodeId, now: float) -> bool:
        return self.trusts(node) and not self.reputation.shunned(node, now)

    def _welcomed(self, now: float) -> list[Peer]:
        """List what is known of those that may be asked, as they were first heard of."""
        there = [(node, peer) for node, peer in self._peers.items() if self._alive(peer, now)]
        return [peer for node, peer in there if self._welcome(node, now)]

    def reads(self, node: NodeId) -> bool:
        """Tell whether a peer says that it reads ahead what it is shown."""
        return node in self._peers and self._peers[node].digest.reads

    def trusts(self, node: NodeId) -> bool:
        """Tell whether the operator wants a peer to be asked."""
        return not self._trusted or node in self._trusted

    def left_out(self, now: float) -> tuple[int, int]:
        """Count the living peers that are not asked: those shunned, and those not trusted."""
        living = self.living(now)
        trusted = [node for node in living if self.trusts(node)]
        shunned = sum(self.reputation.shunned(node, now) for node in trusted)
        return shunned, len(living) - len(trusted)

    def known(self, now: float) -> list[tuple[Digest, float]]:
        """List the digests of the living peers, by name, with their age in seconds."""
        return [
            (self._peers[node].digest, now - self._peers[node].heard) for node in self.living(now)
        ]

    # -- whom to ask ------------------------------------------------------------------

    def sample(
        self, count: int, now: float, rng: Random, besides: Collection[NodeId] = ()
    ) -> list[NodeId]:
        """Draw `count` distinct peers that may be asked uniformly at random, or all of them."""
        living = self.living(now)
        there = [node for node in living if node not in besides and self._welcome(node, now)]
        return rng.sample(there, min(count, len(there)))

    def candidates(
        self, count: int, now: float, rng: Random, besides: Collection[NodeId] = ()
    ) -> list[NodeId]:
        """Draw twice as many peers as are wanted, to choose among."""
        return self.sample(CANDIDATES * count, now, rng, besides)

    def stale(self, drawn: Sequence[NodeId], ages: float, now: float) -> list[NodeId]:
        """List those whose latest word is older than so many of their service times."""
        usual = self._usual(drawn)

        def latest(peer: Peer) -> float:
            return now - ages * (peer.time or usual)

        return [node for node in drawn if self._peers[node].told < latest(self._peers[node])]

    def lightest(
        self, drawn: Sequence[NodeId], count: int, now: float
    ) -> list[tuple[NodeId, float]]:
        """Choose those with the least burden by what is known of them; with its seconds.

        Where no service time was measured yet, that of the other candidates stands in.
        """
        usual = self._usual(drawn)
        peers = [self._peers[node] for node in drawn]
        mean = sum(peer.length for peer in peers) / len(peers) if peers else 0.0
        loads = [self._load(peer, mean, usual, now) for peer in peers]
        chosen = sorted(range(len(drawn)), key=loads.__getitem__)[:count]
        return [(drawn[index], loads[index]) for index in chosen]

    def _usual(self, drawn: Sequence[NodeId]) -> float:
        """Tell the mean service time of some peers; 0 where none has measured any."""
        times = [self._peers[node].time for node in drawn]
        known = [time for time in times if time > 0.0]
        return sum(known) / len(known) if known else 0.0

    def _load(self, peer: Peer, mean: float, usual: float, now: float) -> float:
        slots, time, pace = peer.digest.slots, peer.time, peer.pace
        if time <= 0.0:
            time, pace = usual, usual / max(slots, 1)
        time = max(time, QUICK * usual)
        expected = burden(peer.length, mean, time, slots, pace, now - peer.told)
        return expected * exp(self._doubt(peer, now))

    def crowd(self, own: float, now: float) -> float:
        """Tell the mean number of jobs per slot: over those that may be asked, and `own` here."""
        alive = self._welcomed(now)
        others = sum(self._held(peer) for peer in alive)
        return (own + others) / (1 + len(alive))

    def backlog(self, own: float, now: float) -> float:
        """Tell the mean seconds of work that wait: at those that may be asked, and here."""
        alive = self._welcomed(now)
        others = sum(self._held(peer) * max(peer.digest.slots, 1) * peer.pace for peer in alive)
        return (own + others) / (1 + len(alive))

    def _held(self, peer: Peer) -> float:
        """Tell the jobs per slot at a peer, as far as its word is believed."""
        return min(peer.length / max(peer.digest.slots, 1), self._believed)

    def proposer_time(self, now: float) -> float:
        """Tell the mean service time of a proposer among those that may be asked; 0 if unknown."""
        alive = self._welcomed(now)
        times = [min(peer.digest.proposer_time, TIME_MAX) or peer.time for peer in alive]
        known = [time for time in times if time > 0.0]
        return sum(known) / len(known) if known else 0.0

    # -- whom to believe --------------------------------------------------------------

    def declined(self, node: NodeId, length: int, now: float, *, bound: int) -> None:
        """Take the queue length that a peer told as it declined.

        It declines at `bound` jobs per slot: where its word was that it holds fewer, that
        is a reason for doubt.
        """
        if (peer := self._peers.get(node)) is not None:
            least = max(length, bound * max(peer.digest.slots, 1))
            self.judge(node, (least + 1) / (peer.length + 1), now)
            peer.length, peer.told = length, now

    def judge(self, node: NodeId, ratio: float, now: float) -> None:
        """Learn that an answer took `ratio` times as long as was expected, doubt included."""
        if (peer := self._peers.get(node)) is not None and ratio > 0.0:
            before = self._doubt(peer, now)
            lesson = min(max(before + log(ratio), 0.0), _LOG_MAX)
            peer.doubt, peer.judged = before + LESSON * (lesson - before), now

    def doubt(self, node: NodeId, now: float) -> float:
        """Tell by how much a peer's word is doubted: a factor from 1 to `DOUBT_MAX`."""
        peer = self._peers.get(node)
        return exp(self._doubt(peer, now)) if peer is not None else 1.0

    def _doubt(self, peer: Peer, now: float) -> float:
        if peer.doubt == 0.0:
            return 0.0
        return peer.doubt * exp(self._fading * (peer.judged - now))

    def conduct(self, node: NodeId, now: float) -> Conduct:
        """Tell how a peer behaved, and whether it is asked."""
        known = self.reputation
        return Conduct(
            blame=known.level(node, now),
            shunned=known.shunned(node, now),
            trusted=self.trusts(node),
            offences={str(name): count for name, count in known.offences(node).items()},
        )

    def check(self) -> None:
        """Assert the bounds."""
        assert len(self._peers) <= self._size
        self.reputation.check()
        assert all(0.0 <= peer.doubt <= _LOG_MAX for peer in self._peers.values())
