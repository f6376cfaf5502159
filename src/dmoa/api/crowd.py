"""Who is at the door: all connections of the API, how many, whose, and which must go."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Protocol

from dmoa.api.guard import plain

SHARE = 2
"""One address beyond this machine has at most one part in so many of all connections."""
_PREFIX = 64
"""Bits of an IPv6 address that one house has; the rest it can choose."""


class Member(Protocol):
    """A connection, as the crowd sees it."""

    owner: str
    """Whose it is; see `owner_of`."""

    def is_overdue(self) -> bool:
        """Tell whether it was slower than it may be."""
        ...

    def expire(self) -> None:
        """End it as overdue."""
        ...

    def drop(self) -> None:
        """End it at once, without a word."""
        ...


def owner_of(address: str | None) -> str:
    """Tell to whose share a connection counts: an address, of IPv6 its first 64 bits.

    Empty for this machine, whose users and proxies share an address.
    """
    if not address:
        return ""
    try:
        found = ipaddress.ip_address(plain(address))
    except ValueError:
        return address
    if found.is_loopback:
        return ""
    if found.version == 6:  # noqa: PLR2004 - it is its name
        return str(ipaddress.ip_network((found, _PREFIX), strict=False))
    return str(found)


class Crowd:
    """Holds at most so many connections, and of each owner beyond this machine half of them.

    For a new one that finds no room the oldest goes that has no request under way: first those
    that never had one, then those that wait for a further one. Where all have one under way,
    the new one is not let in. One connection is in only one of the lists at a time.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.turned_away = self.dropped = self.expired = 0
        """Counted since the start."""
        self._busy: dict[Member, None] = {}
        self._fresh: dict[Member, None] = {}
        self._kept: dict[Member, None] = {}
        self._owned: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._busy) + len(self._fresh) + len(self._kept)

    def enter(self, member: Member) -> bool:
        """Let a connection in, and tell whether there was room, or could be made."""
        owner = member.owner
        if owner and self._owned[owner] >= max(1, self.most // SHARE):
            if not self._give_way(lambda each: each.owner == owner):
                return False
        elif len(self) >= self.most and not self._give_way():
            return False
        self._fresh[member] = None
        self._owned[owner] += 1
        return True

    def leave(self, member: Member) -> None:
        """Forget a connection; one that is not in is no matter."""
        there = [each.pop(member, 0) is None for each in (self._busy, self._fresh, self._kept)]
        if any(there):
            self._owned[member.owner] -= 1
            if not self._owned[member.owner]:
                del self._owned[member.owner]

    def turn(self, member: Member, *, busy: bool) -> None:
        """Hear that a connection's request began, or is over."""
        there = [each.pop(member, 0) is None for each in (self._busy, self._fresh, self._kept)]
        if any(there):
            (self._busy if busy else self._kept)[member] = None

    def sweep(self) -> None:
        """End the connections that are overdue."""
        for member in [each for each in self._all() if each.is_overdue()]:
            self.expired += 1
            member.expire()

    def close(self) -> None:
        """End those that have no request under way."""
        for member in [*self._fresh, *self._kept]:
            member.drop()

    def _all(self) -> Iterable[Member]:
        return chain(self._fresh, self._kept, self._busy)

    def _give_way(self, fits: Callable[[Member], bool] = lambda _: True) -> bool:
        found = next(filter(fits, chain(self._fresh, self._kept)), None)
        if found is None:
            self.turned_away += 1
            return False
        self.leave(found)
        self.dropped += 1
        found.drop()
        return True
