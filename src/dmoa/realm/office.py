"""What a person does with realms: found, invite, join, look, revoke, renew, leave."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmoa.config import default_file, default_node_name, edit, realms
from dmoa.config.realms import PORT, Membership
from dmoa.config.values import PARSERS
from dmoa.errors import ConfigError, RealmError
from dmoa.realm import errand, founding
from dmoa.realm.authority import Authority
from dmoa.realm.identity import RealmIdentity
from dmoa.realm.invitation import Invitation
from dmoa.realm.ledger import Member

_GLANCE = 2.0
"""Seconds to see whether the own desk answers."""


@dataclass(frozen=True, slots=True)
class Known:
    """A member, as far as this machine knows."""

    node: str
    state: str
    """`member`, `revoked`, `expired`, or `unknown` where only the founder could tell."""
    ends: float = 0.0
    """Until when its certificate is good, in Unix seconds; 0 where that is not known."""
    place: str = ""
    """The endpoint where it was last seen to listen."""


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, and whether it can be used right now."""

    invitation: Invitation
    is_open: bool
    """Whether the founder's desk answers."""


class Office:
    """Realms on this machine, with the configuration `file` of its node."""

    def __init__(self, file: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        """Take the configuration that is named, or else that of `dmoa up`."""
        self._environ = os.environ if environ is None else environ
        self.file = file or default_file(self._environ)

    def create(
        self, name: str, node: str = "", *, port: int = PORT, hosts: tuple[str, ...] = ()
    ) -> Membership:
        """Found a realm; RealmError and ConflictError where that cannot be."""
        node = _name("node", node or self._setting("node") or default_node_name())
        return founding.found(
            _name("realm", name), node, port=port, hosts=_hosts(hosts), environ=self._environ
        )

    async def invite(self, realm: str, seconds: float, node: str = "") -> Invited:
        """Invite somebody to a realm that was founded here."""
        authority = Authority(self.chosen(realm))
        made = authority.invite(seconds, _name("node", node) if node else "")
        its = authority.membership
        near = (f"127.0.0.1:{its.desk}", *made.places)
        asked = [errand.answers(its, place, patience=_GLANCE) for place in dict.fromkeys(near)]
        return Invited(made, any(await asyncio.gather(*asked)))

    async def join(
        self, line: str, node: str = "", *, port: int = PORT, hosts: tuple[str, ...] = ()
    ) -> Membership:
        """Join a realm by the line of an invitation."""
        invitation = Invitation.parse(line)
        if node and invitation.node not in ("", node):
            raise RealmError(
                f"the invitation is for {invitation.node} alone", hint="leave out --node"
            )
        node = node or invitation.node or self._setting("node") or default_node_name()
        return await errand.join(
            invitation,
            _name("node", node),
            port=port,
            hosts=_hosts(hosts),
            environ=self._environ,
        )

    def members(self, realm: str) -> tuple[Membership, tuple[Known, ...]]:
        """List whom a realm has: all of them where it was founded, elsewhere who is known."""
        its, now = self.chosen(realm), time.time()
        identity = RealmIdentity(its)
        if its.founds:
            return its, tuple(_listed(each, now) for each in Authority(its).members())
        known = {each: Known(each, "revoked") for each in identity.revoked}
        known.setdefault(its.founder, Known(its.founder, "unknown"))
        if its.node not in known:
            state = "member" if identity.left > 0 else "expired"
            known[its.node] = Known(its.node, state, identity.ends)
        return its, tuple(known[each] for each in sorted(known))

    def revoke(self, realm: str, node: str) -> Membership:
        """End a membership in a realm that was founded here."""
        authority = Authority(self.chosen(realm))
        authority.revoke(node)
        return authority.membership

    async def renew(self, realm: str) -> RealmIdentity:
        """Renew the certificate of this machine's node, before it is due."""
        identity = RealmIdentity(self.chosen(realm))
        await errand.renew(identity)
        identity.refresh()
        return identity

    def leave(self, realm: str, *, sure: bool) -> Membership:
        """Forget a realm; the founder must be `sure`, for nobody can be invited any more."""
        its = self.chosen(realm)
        if its.founds and not sure:
            raise RealmError(
                f"realm {its.name} was founded here: with the authority's key gone nobody can "
                "join, renew or be revoked any more",
                hint="add --yes if that is what you want",
            )
        founding.leave(its)
        return its

    def settle(self, name: str) -> str:
        """Have `dmoa up` start in a realm: returns the realm that the configuration names.

        It is written there where none is named; empty where the configuration is no ordinary
        file. ConfigError where it cannot be read or written.
        """
        if self.file.exists() and not self.file.is_file():
            return self._setting("realm")
        if not self._setting("realm"):
            edit.write(self.file, "realm", name)
        return self._setting("realm")

    def chosen(self, named: str) -> Membership:
        """Find the realm that is named, or else configured, or else the only one here."""
        known = realms.known(self._environ)
        name = named or self._setting("realm")
        if not named and name not in known and len(known) == 1:
            name = known[0]
        found = realms.find(_name("realm", name), self._environ) if name else None
        if found is not None:
            return found
        if not known:
            raise RealmError(
                f"this machine belongs to no realm{f' {named}' if named else ''}",
                hint="`dmoa realm create NAME` founds one, `dmoa realm join LINE` joins one",
            )
        said = f"this machine does not belong to realm {named}" if named else "which realm?"
        raise RealmError(said, hint=f"--realm NAME, one of: {', '.join(known)}")

    def _setting(self, key: str) -> str:
        """Read one setting of the configuration; empty where it does not stand there."""
        found = self._environ.get(f"DMOA_{key.upper()}") or edit.value(self.file, key)
        return found if isinstance(found, str) else ""


def _listed(member: Member, now: float) -> Known:
    state = "revoked" if member.revoked else "member" if member.lives(now) else "expired"
    return Known(member.node, state, member.ends, member.place)


def _name(what: str, text: str) -> str:
    try:
        return str(PARSERS[what](text))
    except ValueError as wanted:
        raise RealmError(f"{text!r} is no name of a {what}: it is {wanted}") from None


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    if len(hosts) > realms.PLACES:
        raise ConfigError(f"--host: at most {realms.PLACES} of them")
    try:
        return tuple(str(PARSERS["host"](each)) for each in hosts)
    except ValueError as wanted:
        raise ConfigError(f"--host must be {wanted}") from None
