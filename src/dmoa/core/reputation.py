"""What peers did wrong: blame that is weighed, fades, and keeps the worst of them out.

Theory of operation. Each offence adds its weight to the *blame* of a peer, half of which is
forgotten in `forgive` seconds. From `SHUN` on the peer is *shunned*: not asked, not probed, and
its jobs declined, until its blame has faded to `RETURN`. Its digests are heard all the while,
so that it is back the moment it may be.

Blame for what a peer's model wrote is kept apart from blame for how the peer spoke. A model that
loops now and then is no liar; so each sound proposal takes `CREDIT` off the former. With one
answer a second (where little is forgotten in between) a peer is shunned after some 6 answers if
every second one is rubbish, 38 at 20 %, 410 at 10 %, 6,800 at 5 % and none of 300,000 at 2 %;
after 17 if every second one injects, 1,500 at 20 % and 299,000 at 10 %. Good answers never buy
off a flood.

The weights want repeated evidence: with the default 600 s four malformed messages, four
rubbish proposals in a row, or eight floods shun a peer for 10 minutes, and whatever it does in
all for no more than 20 minutes after its last offence. So whoever offends seldom is never shunned:
one point in 124 s, or two in 269 s, stays below the bound for ever.

A restart changes nothing of this: a new life frees of doubt in a peer's word (`core/view.py`),
but who lies would only restart. What is known is bound to the name; where no realm proves
names, a liar may take another one, and another's name be blackened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, log

from dmoa.core.events import Offence
from dmoa.core.names import NodeId

WEIGHTS: dict[Offence, float] = {
    "malformed": 2.0,
    "oversized": 2.0,
    "flood": 1.0,
    "replayed": 1.0,
    "rubbish": 2.0,
    "injection": 1.0,
}
"""Points of blame; injection has few, for honest answers may quote."""
WRITTEN: tuple[Offence, ...] = ("rubbish", "injection")
"""What a peer's model is blamed for, rather than the peer itself."""
SHUN = 7.5
"""Points from which on a peer is shunned: a fourth offence of 2 points, after some fading."""
RETURN = 3.75
"""Points at which it is back: half of that, so that nobody flutters."""
MOST = 15.0
"""Points of each kind that are kept, so that what is past can be forgiven: two half-lives."""
CREDIT = 0.1
"""Share of the blame for what was written that a sound proposal takes off."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a peer behaved, as it is told: points of blame now, and how often it did what.

    `shunned` peers and those that are not `trusted` are not asked.
    """

    blame: float = 0.0
    shunned: bool = False
    trusted: bool = True
    offences: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class _File:
    """What is known of one peer; points as they were `at` (seconds)."""

    at: float
    spoken: float = 0.0
    written: float = 0.0
    shunned: bool = False
    offences: dict[Offence, int] = field(default_factory=dict[Offence, int])


class Reputation:
    """The blame of at most `size` names; half of it is forgotten in `forgive` seconds.

    Where there are more, the one with the least blame is forgotten.
    """

    def __init__(self, *, size: int, forgive: float) -> None:
        self._size = size
        self._fading = log(2.0) / forgive
        self._files: dict[NodeId, _File] = {}

    def blame(self, node: NodeId, offence: Offence, now: float) -> bool:
        """Take an offence into account; True where it makes the peer one to shun."""
        before = self.shunned(node, now)
        if node not in self._files and not self._room(WEIGHTS[offence], now):
            return False
        known = self._faded(node, now)
        known.offences[offence] = known.offences.get(offence, 0) + 1
        if offence in WRITTEN:
            known.written = min(known.written + WEIGHTS[offence], MOST)
        else:
            known.spoken = min(known.spoken + WEIGHTS[offence], MOST)
        known.shunned = before or known.spoken + known.written >= SHUN
        return known.shunned and not before

    def credit(self, node: NodeId, now: float) -> None:
        """Take a sound proposal into account."""
        if node in self._files:
            self._faded(node, now).written *= 1.0 - CREDIT

    def level(self, node: NodeId, now: float) -> float:
        """Tell the points of blame of a peer: from 0 to twice `MOST`."""
        known = self._files.get(node)
        return (known.spoken + known.written) * self._fade(known, now) if known else 0.0

    def shunned(self, node: NodeId, now: float) -> bool:
        """Tell whether a peer is to be shunned; to look changes nothing."""
        known = self._files.get(node)
        return known is not None and known.shunned and self.level(node, now) > RETURN

    def offences(self, node: NodeId) -> dict[Offence, int]:
        """Count what a peer did wrong, as far as it is remembered."""
        known = self._files.get(node)
        return dict(known.offences) if known else {}

    def _fade(self, known: _File, now: float) -> float:
        return exp(self._fading * min(known.at - now, 0.0))

    def _faded(self, node: NodeId, now: float) -> _File:
        """Bring what is known of a peer up to now; whom nobody knew gets a clean sheet."""
        known = self._files.setdefault(node, _File(now))
        known.shunned = self.shunned(node, now)
        fade = self._fade(known, now)
        known.spoken, known.written, known.at = known.spoken * fade, known.written * fade, now
        return known

    def _room(self, weight: float, now: float) -> bool:
        """Make room for one more by forgetting the least blamed; False if it is that itself."""
        if len(self._files) < self._size:
            return True
        least = min(self._files, key=lambda node: (self.level(node, now), node))
        if self.level(least, now) > weight:
            return False
        del self._files[least]
        return True

    def check(self) -> None:
        """Assert the bounds."""
        assert len(self._files) <= self._size
        for known in self._files.values():
            assert 0.0 <= known.spoken <= MOST
            assert 0.0 <= known.written <= MOST
