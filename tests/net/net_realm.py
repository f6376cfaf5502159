"""A realm for tests: an authority, and members with papers of their own in one folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dmoa.config.realms import Membership
from dmoa.realm import certificates, notice
from dmoa.realm.founding import put_papers
from dmoa.realm.identity import RealmIdentity


class Realm:
    """Gives out papers for any name, as good or as bad as a test wants them."""

    def __init__(self, folder: Path | None = None, *, name: str = "home") -> None:
        self._place = None if folder else tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.folder = folder or Path(self._place.name)  # type: ignore[union-attr]
        self.name = name
        self._key = certificates.new_key()
        self._authority = certificates.make_authority(name, self._key, time.time())
        self._serial = 0
        self._until: dict[str, float] = {}

    def close(self) -> None:
        if self._place is not None:
            self._place.cleanup()

    def membership(self, node: str) -> Membership:
        return Membership(
            folder=self.folder / node,
            name=self.name,
            node=node,
            founder="founder",
            port=7447,
            multicast=17447,
        )

    def member(
        self,
        node: str,
        *,
        issued: float = 0.0,
        place: str = "",
        clock: Callable[[], float] = time.time,
    ) -> RealmIdentity:
        """Make a member, whose certificate was issued so many seconds ago."""
        its = self.membership(node)
        if place:
            its = Membership(self.folder / place, its.name, node, "founder", 7447, 17447)
        its.folder.mkdir(exist_ok=True)
        self.certify(its, issued=issued)
        return RealmIdentity(its, clock=clock)

    def certify(self, its: Membership, *, issued: float = 0.0) -> None:
        """Write papers with a new key."""
        key = certificates.new_key()
        begins = time.time() - issued
        made = certificates.issue(self._authority, self._key, its.node, key.public_key(), begins)
        put_papers(its, self._authority, made, key)

    def revoke(self, *nodes: str) -> bytes:
        """Sign the next list of revocations."""
        self._serial += 1
        self._until.update(dict.fromkeys(nodes, time.time() + 86_400))
        return notice.sign(self.name, self._serial, self._until, self._key, time.time())
