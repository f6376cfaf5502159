"""A room for tests of realms: folders of several machines, a clock that is set by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from dmoa.cli.fleet import free_ports
from dmoa.config.realms import Membership
from dmoa.realm import founding
from dmoa.realm.authority import Authority
from dmoa.realm.errand import join
from dmoa.realm.identity import RealmIdentity

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass
class Clock:
    """Unix seconds, which pass only when told."""

    now: float = field(default_factory=lambda: float(int(time.time())))

    def __call__(self) -> float:
        return self.now


@dataclass
class Room:
    """Machines are folders; each has its own realms."""

    path: Path
    clock: Clock = field(default_factory=Clock)

    def machine(self, name: str) -> dict[str, str]:
        return {"DMOA_REALMS": str(self.path / name / "realms")}

    def found(self, realm: str = "lab", node: str = "alice", at: str = "here") -> Membership:
        return founding.found(
            realm,
            node,
            port=free_ports(1, width=2)[0],
            hosts=("127.0.0.1",),
            environ=self.machine(at),
            now=self.clock.now,
        )

    def authority(self, membership: Membership) -> Authority:
        return Authority(membership, clock=self.clock)

    def identity(self, membership: Membership) -> RealmIdentity:
        return RealmIdentity(membership, clock=self.clock)

    async def member(self, authority: Authority, node: str = "bob") -> Membership:
        """Join another machine; the desk must be open."""
        invitation = authority.invite(HOUR)
        return await join(invitation, node, environ=self.machine(node), now=self.clock.now)

    def enlist(self, authority: Authority, node: str = "bob") -> Membership:
        """Join another machine without a desk, by carrying its papers there."""
        from dmoa.realm import certificates
        from dmoa.realm.founding import making, put_papers

        key = certificates.new_key()
        token = authority.invite(HOUR).token
        issued = authority.admit(token, certificates.ask(key, node), f"tls/10.0.0.7:{len(node)}")
        with making(authority.membership.name, self.machine(node)) as folder:
            its = Membership(folder, authority.membership.name, node, "alice", 7447, 18000)
            put_papers(its, authority.certificate, issued, key)
        target = Path(self.machine(node)["DMOA_REALMS"], its.name)
        return Membership(target, its.name, node, "alice", 7447, 18000)
