"""Lets watchers see a node live: a scene first, then what changes, and never more than they read.

While nobody watches, nothing is made but the past: a few figures of each node, every other
second. A watcher that reads slowly keeps nobody waiting: what it did not read in time is
dropped, the oldest first, and it is told how much that was.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from dmoa.core.digest import Digest
from dmoa.core.effects import Announce, Effect, Standing, Trace
from dmoa.core.events import Event, Received
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Gossip
from dmoa.core.names import NodeId, QueryId
from dmoa.core.reputation import Conduct
from dmoa.errors import OverloadedError
from dmoa.runtime.pace import Pace
from dmoa.runtime.sights import (
    GapSight,
    NodeSight,
    PlaceSight,
    Scene,
    Sight,
    node_sight,
    place_sight,
    sights_of,
    trace_sights,
)

WATCHERS: Final = 16
"""That are shown something at once; the next is refused."""
HELD: Final = 1024
"""Sights that are kept for a watcher that has not read them; some 150 bytes each."""
PLACES_SECONDS: Final = 0.25
"""Between two looks where queries stand, which costs more than all the rest."""
PAST_NODES: Final = 129
"""Nodes of which a past is kept: as many as a view holds, and the own."""
PAST_SECONDS: Final = 2.0
"""Between two points of a node's past, at least."""
PAST_POINTS: Final = 150
"""Of a node, so that it goes back five minutes."""
SCENE_POINTS: Final = 2400
"""Of all nodes together, that a scene tells (and one of each); of more only every n-th is told."""
_RETRY: Final = 5.0
"""Seconds after which somebody may have stopped watching."""
_FIGURES = 7
"""Of one point; see `Scene`."""

_encode = msgspec.json.Encoder().encode


class Watched(Protocol):
    """Who is watched, as a scene needs it: a node is, and a record that is replayed can be."""

    limits: Limits
    timing: Timing

    @property
    def id(self) -> NodeId:
        """Its name."""
        ...

    @property
    def mode(self) -> str:
        """How it chooses."""
        ...

    @property
    def digest(self) -> Digest:
        """How it stands; BackendUnavailableError until it is open."""
        ...

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        """Whom it knows, with the age of what it knows in seconds."""
        ...

    def conduct(self, peer: NodeId) -> Conduct:
        """Tell whether a peer is asked, and why not."""
        ...

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How its queries stand."""
        ...

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What happened to its queries under way, so far."""
        ...


class Past:
    """The latest figures of each node; bounded in points and in nodes."""

    def __init__(self) -> None:
        self._lines: dict[NodeId, array[float]] = {}

    def take(self, digest: Digest, now: float) -> None:
        """Remember a digest, unless there is one of a moment before."""
        line = self._lines.get(digest.node)
        if line is not None and now - line[-_FIGURES] < PAST_SECONDS:
            return
        if line is None:
            if len(self._lines) >= PAST_NODES:  # who was heard of least recently gives way
                del self._lines[min(self._lines, key=lambda node: self._lines[node][-_FIGURES])]
            line = self._lines[digest.node] = array("d")
        elif len(line) >= _FIGURES * PAST_POINTS:
            del line[:_FIGURES]
        missed = digest.refused + digest.declined
        figures = (digest.length, digest.utilisation, digest.arrival_rate, digest.service_time)
        line.extend((now, *figures, digest.layers, missed))

    def told(self) -> dict[str, list[list[float]]]:
        """Tell the points of each node, thinned out evenly where there would be too many."""
        points = sum(len(line) for line in self._lines.values()) // _FIGURES
        step = -(-points // SCENE_POINTS) if points else 1
        return {
            node: [
                [round(figure, 4) for figure in line[place : place + _FIGURES]]
                for place in _places(len(line) // _FIGURES, step)
            ]
            for node, line in self._lines.items()
        }


def _places(points: int, step: int) -> list[int]:
    """List where every `step`-th point begins, so that the latest is among them."""
    return [_FIGURES * point for point in range((points - 1) % step, points, step)]


class Watcher:
    """What one watcher has not read yet, each sight as JSON."""

    def __init__(self, first: bytes, held: int) -> None:
        self._held = held
        self._sights: deque[bytes] = deque([first])
        self._missed = 0
        self._news = asyncio.Event()
        self._news.set()

    def put(self, sight: bytes) -> None:
        """Show a sight; where the watcher is too slow, the oldest is dropped for it."""
        if len(self._sights) >= self._held:
            self._sights.popleft()
            self._missed += 1
        self._sights.append(sight)
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until there is something to read, and tell whether there is, after some seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def take(self, now: float) -> bytes:
        """Read all there is as one JSON list; where sights are missing, it begins with a gap."""
        sights = list(self._sights)
        if self._missed:
            sights.insert(0, _encode(GapSight(round(now, 4), self._missed)))
        self._sights.clear()
        self._missed = 0
        self._news.clear()
        return b"[" + b",".join(sights) + b"]"


class Audience:
    """Those who watch: each is told the scene first, then whatever is shown.

    Time is that of the loop, or of the `pace` at which it is made to pass.
    """

    def __init__(self, *, pace: Pace | None = None, held: int = HELD) -> None:
        self.pace = pace
        self.came = asyncio.Event()
        """Set once somebody watches, or did."""
        self._held = held
        self._watchers: dict[Watcher, None] = {}

    def __len__(self) -> int:
        """Count the watchers."""
        return len(self._watchers)

    @property
    def now(self) -> float:
        """What time it is (seconds)."""
        return asyncio.get_running_loop().time() if self.pace is None else self.pace.now

    @property
    def speed(self) -> float:
        """How many of its seconds pass in one; 0 where time stands still."""
        return 1.0 if self.pace is None else self.pace.speed * self.pace.runs

    def scene(self) -> Scene:
        """Tell how everything stands now."""
        raise NotImplementedError

    def join(self) -> Watcher:
        """Begin to watch; OverloadedError where too many do, BackendUnavailableError too early."""
        if len(self._watchers) >= WATCHERS:
            raise OverloadedError(
                f"{WATCHERS} watch this node already", hint="close a page", retry_after=_RETRY
            )
        watcher = Watcher(_encode(self.scene()), self._held)
        self._watchers[watcher] = None
        self.came.set()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Watch no more."""
        self._watchers.pop(watcher, None)

    def show(self, sight: Sight) -> None:
        """Show something to all who watch."""
        encoded = _encode(sight)  # once, however many watch
        for watcher in self._watchers:
            watcher.put(encoded)


class Stage(Protocol):
    """What does not live here, and is played before those who watch: a record, a simulation."""

    limits: Limits
    """Of what may be planned."""

    @property
    def audience(self) -> Audience:
        """Who watches."""
        ...

    @property
    def is_open(self) -> bool:
        """Tell whether it is shown."""
        ...

    @property
    def digest(self) -> Digest:
        """How its node stands, or one of them."""
        ...

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        """How the others stand, with the age of what is known in seconds."""
        ...

    async def play(self) -> None:
        """Play it to its end."""
        ...

    def close(self) -> None:
        """Show it no longer."""
        ...


class Watch(Audience):
    """Whoever watches a node, and what they are shown; an `Onlooker` of that node.

    `origin` says what it is if it does not live now: `record`.
    """

    def __init__(
        self,
        node: Watched,
        *,
        version: str = "",
        held: int = HELD,
        pace: Pace | None = None,
        origin: str = "",
    ) -> None:
        super().__init__(pace=pace, held=held)
        self._node = node
        self._version = version
        self._origin = origin
        self._places: dict[QueryId, PlaceSight] = {}
        self._looked = -PLACES_SECONDS
        self._past = Past()

    def saw(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        """Show what happened to those who watch, and remember figures for those to come."""
        heard = event.message if isinstance(event, Received) else None
        if isinstance(heard, Gossip):
            self._past.take(heard.digest, now)
        for effect in effects:
            if isinstance(effect, Announce):
                self._past.take(effect.digest, now)
        if not self._watchers:
            return
        for sight in sights_of(self._node.id, event, effects, now):
            if isinstance(sight, NodeSight) and (why := self._barred(NodeId(sight.node))):
                self.show(msgspec.structs.replace(sight, barred=why))
            else:
                self.show(sight)
        if not isinstance(heard, Gossip) and now - self._looked >= PLACES_SECONDS:
            self._looked = now
            self._show_places(now)

    def scene(self) -> Scene:
        """Tell how everything stands now; BackendUnavailableError until the node is open."""
        node, now = self._node, self.now
        told = [trace_sights(trace, now) for trace in node.traces]
        return Scene(
            at=round(now, 4),
            node=node.id,
            version=self._version,
            origin=self._origin,
            speed=self.speed,
            began=0.0 if self.pace is None else round(self.pace.began, 4),
            mode=node.mode,
            gossip=node.timing.gossip,
            silence=node.timing.silence,
            layers_max=node.limits.layers,
            fanout_max=node.limits.fanout,
            nodes=(
                node_sight(node.digest, now),
                *(
                    node_sight(digest, now - age, age=age, barred=self._barred(digest.node))
                    for digest, age in node.peers
                ),
            ),
            queries=tuple(asked for asked, _ in told),
            visits=tuple(visit for _, visits in told for visit in visits),
            places=tuple(place_sight(each, now) for each in node.standings),
            past=self._past.told(),
        )

    def _barred(self, peer: NodeId) -> str:
        """Tell why a peer is not asked; nothing where it is, and of the own node."""
        conduct = self._node.conduct(peer) if peer != self._node.id else Conduct()
        return "untrusted" if not conduct.trusted else "shunned" if conduct.shunned else ""

    def _show_places(self, now: float) -> None:
        """Show where queries stand, where that has changed; the times alone are no news."""
        places: dict[QueryId, PlaceSight] = {}
        for standing in self._node.standings:
            place = places[standing.query] = place_sight(standing, now)
            before = self._places.get(standing.query)
            if before is None or (before.position, before.layer) != (place.position, place.layer):
                self.show(place)
        self._places = places
