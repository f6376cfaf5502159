"""What peers did wrong: counted, told of in the log, and held against them where it is theirs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from dmoa.core.events import Offence
from dmoa.core.names import NodeId
from dmoa.errors import ForgedError, RemoteProtocolError, VersionError

log = logging.getLogger(__name__)

COMPLAINT_INTERVAL = 60.0
"""Seconds between two warnings about one peer."""
COMPLAINT_PEERS = 256
"""Peers whose last warning is remembered."""

Blame = Callable[[NodeId, Offence], None]
"""Takes the evidence that a peer misbehaved, as `Host.offended` does."""


class Complaints:
    """Counts what broke the protocol, and warns of it at most once a minute and peer.

    Evidence goes to `blame`; what another could have made up is counted and blamed on nobody.
    """

    def __init__(self, node: NodeId) -> None:
        self.count = 0
        self.blame: Blame | None = None
        self._node = node
        self._warned: dict[str, float] = {}

    def note(self, peer: str, flaw: object) -> None:
        """Count one message that was dropped for its `flaw`, and that `peer` is said to send."""
        self.count += 1
        now = asyncio.get_running_loop().time()
        if now - self._warned.get(peer, -COMPLAINT_INTERVAL) < COMPLAINT_INTERVAL:
            return
        if len(self._warned) >= COMPLAINT_PEERS:
            self._warned.clear()
        self._warned[peer] = now
        log.warning("%s dropped a message from %.40s: %.200s", self._node, peer, flaw)

    def hold(self, peer: NodeId, offence: Offence, flaw: object) -> None:
        """Count one message that is `peer`'s beyond doubt, and hold its offence against it."""
        self.note(peer, flaw)
        if self.blame is not None:
            self.blame(peer, offence)

    def judge(
        self, peer: NodeId, error: RemoteProtocolError, offence: Offence = "malformed"
    ) -> None:
        """Count what `error` says of a message under the name of `peer`.

        It is held against that peer, unless the name was forged, or the peer merely runs
        another release.
        """
        if isinstance(error, ForgedError | VersionError):
            self.note(peer, error)
        else:
            self.hold(peer, offence, error)
