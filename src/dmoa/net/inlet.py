"""Where messages of one kind come in: how many, under whose seal, and who is to blame.

Three sieves, the cheapest first: a bucket for the name that a message bears, in Zenoh's own
thread; the seal, where there are seals; and a bucket for who it proved to be. Floods are held
against a peer only where nobody else can have made them up.
"""

from __future__ import annotations

from collections.abc import Callable

from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.errors import ForgedError
from dmoa.net.complaints import Complaints
from dmoa.net.flows import Flow, Rate
from dmoa.net.seals import (
    DIGEST,
    JOB,
    NOTICE,
    ROLL,
    SEAL_BYTES,
    STANDING,
    WITHDRAWAL,
    Seals,
)

RATES = {
    DIGEST: Rate(20, 200),
    JOB: Rate(500, 1000),
    WITHDRAWAL: Rate(500, 1000),
    STANDING: Rate(500, 1000),
    ROLL: Rate(5, 50),
    NOTICE: Rate(1, 20),
}
"""What one peer may send of each kind. A node gossips 4 times a second at most, and once more
for each newcomer; what it asks of one peer is bounded by its queue and the speed of its model."""
BYTES = {DIGEST: 64 * 1024, WITHDRAWAL: 4096, STANDING: 256, ROLL: 256}
"""Longest message of a kind, before its seal, where that is less than of messages at all."""
UNCHECKED = 2.0
"""So many times as much may come under a name before seals are checked: who sends too much is
then known by its seal."""


class Inlets(dict[str, "Inlet"]):
    """The inlets of one node, by kind; who is known at one is known at all."""

    def __init__(self, seals: Seals, complaints: Complaints, limits: Limits) -> None:
        for kind in RATES:
            self[kind] = Inlet(kind, seals, complaints, limits, self._introduce)

    def _introduce(self, caller: NodeId) -> None:
        for inlet in self.values():
            inlet.early.know(caller)


class Inlet:
    """Takes in the messages of one kind.

    `early` may be used by any thread, and all else on the loop only.
    """

    def __init__(
        self,
        purpose: str,
        seals: Seals,
        complaints: Complaints,
        limits: Limits,
        introduce: Callable[[NodeId], None],
    ) -> None:
        """Make one; `introduce` is told who proved to be somebody."""
        rate = RATES[purpose]
        early = Rate(UNCHECKED * rate.each, UNCHECKED * rate.burst) if seals.used else rate
        # A notice is good whoever brings it, and must get past those who flood.
        self.early = Flow(early, checked=seals.used and purpose != NOTICE)
        self._late = Flow(rate)
        self._purpose = purpose
        self._introduce = introduce
        self._seals = seals
        self._complaints = complaints
        self._most = BYTES.get(purpose, limits.message_bytes)

    def spilled(self, caller: NodeId) -> None:
        """Hear that messages under this name were dropped for being too many."""
        flaw = f"more of the kind {self._purpose} than can be taken"
        if self._seals.used:
            self._complaints.note(caller, flaw)
        else:
            self._complaints.hold(caller, "flood", flaw)

    def open(self, caller: NodeId, payload: bytes) -> bytes | None:
        """Open a message from `caller`; None where it is dropped, which is counted."""
        if len(payload) > self._most + SEAL_BYTES * self._seals.used:
            self._oversized(caller, len(payload), proven=not self._seals.used)
            return None
        try:
            data = self._seals.open(self._purpose, caller, payload)
        except ForgedError as error:
            self._complaints.note(caller, error)
            return None
        if self._seals.used:
            if not self.early.knows(caller):
                self._introduce(caller)
            if not self._late.enter(caller):
                if self._late.tell(caller):
                    flaw = f"more of the kind {self._purpose} than can be taken"
                    self._complaints.hold(caller, "flood", flaw)
                return None
        if len(data) > self._most:
            self._oversized(caller, len(data), proven=True)
            return None
        return data

    def _oversized(self, caller: NodeId, size: int, *, proven: bool) -> None:
        flaw = f"a message of {size} bytes, and the limit is {self._most}"
        if proven:
            self._complaints.hold(caller, "oversized", flaw)
        else:
            self._complaints.note(caller, flaw)
