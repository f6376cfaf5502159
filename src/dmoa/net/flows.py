"""How much may come in of each peer: what is beyond is dropped before it costs anything."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dmoa.core.names import NodeId

FLOW_NAMES = 256
"""Speakers with a measure of their own; more than a view holds."""
TELL_INTERVAL = 1.0
"""Seconds in which the flood of one peer is told of once, however many messages it is."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages a second of one peer that are taken for good, and as many more at once."""

    each: float
    burst: float


STRANGERS = Rate(20, 100)
"""For all together who have no measure of their own."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float
    told: float = -TELL_INTERVAL


class Flow:
    """Lets in what a token bucket for each speaker allows; any thread may use it.

    Anybody can claim a name where names are checked later. So with `checked`, only who was
    told to be known has a bucket of its own; all others share one. Of `FLOW_NAMES` names,
    the one unheard for longest makes room.
    """

    def __init__(
        self,
        rate: Rate,
        *,
        checked: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._checked = checked
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._strangers = _Bucket(STRANGERS.burst, clock())
        self._lock = threading.Lock()

    def enter(self, name: str) -> bool:
        """Tell whether one more message of this name is let in."""
        with self._lock:
            bucket, now = self._find(name), self._clock()
            rate = STRANGERS if bucket is self._strangers else self._rate
            earned = (now - bucket.filled) * rate.each
            bucket.tokens = min(rate.burst, bucket.tokens + earned)
            bucket.filled = now
            if bucket.tokens < 1.0:
                return False
            bucket.tokens -= 1.0
            return True

    def tell(self, name: str) -> bool:
        """Tell whether what was dropped of this name is to be told: once an interval."""
        with self._lock:
            bucket, now = self._find(name), self._clock()
            if now - bucket.told < TELL_INTERVAL:
                return False
            bucket.told = now
            return True

    def knows(self, name: NodeId) -> bool:
        """Tell whether a name has a bucket of its own."""
        return name in self._buckets

    def know(self, name: NodeId) -> None:
        """Give a name a bucket of its own: what came under it was its speaker's."""
        with self._lock:
            if name not in self._buckets:
                self._add(name)

    def _find(self, name: str) -> _Bucket:
        bucket = self._buckets.get(name)
        if bucket is not None:
            self._buckets.move_to_end(name)
            return bucket
        return self._strangers if self._checked else self._add(name)

    def _add(self, name: str) -> _Bucket:
        if len(self._buckets) >= FLOW_NAMES:
            self._buckets.popitem(last=False)
        bucket = self._buckets[name] = _Bucket(self._rate.burst, self._clock())
        return bucket
