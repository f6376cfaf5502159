"""Who may come in: the keys of the API and the papers of the realm; and room for what lasts."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dmoa.backends.weights import Q8_BYTES, cache_directory
from dmoa.config import Settings, realms
from dmoa.config import keys as kept
from dmoa.config.realms import Membership
from dmoa.config.values import is_loopback
from dmoa.doctor import Finding, machine
from dmoa.realm.certificates import LIFE
from dmoa.realm.identity import RealmIdentity
from dmoa.store.archive import default_file

SOON = LIFE / 3
"""Seconds before the end of a certificate at which it should have been renewed."""

_DAY = 86_400.0
_DIAL_SECONDS = 2.0


def keys(settings: Settings, file: Path | None) -> Finding:
    """Look at the keys of the API; KeyFileError where they cannot be relied on."""
    place = kept.key_file(file)
    found = kept.load(place) if place is not None else ()
    if found:
        count = f"{len(found)} key{'s' * (len(found) > 1)}"
        return Finding("keys", "ok", f"{count} in {place}: the API wants one")
    if is_loopback(f"tcp/{settings.host}:1"):
        return Finding("keys", "ok", "none: the API answers everybody on this machine, only there")
    told = f"the API is served at {settings.host}, and there is no key: no node will start so"
    return Finding("keys", "bad", told, "make one: `dmoa key create NAME`")


def realm(settings: Settings, *, clock: Callable[[], float] = time.time) -> Finding | list[Finding]:
    """Look at the papers of the realm; RealmError or ConfigError where they are broken."""
    membership = realms.find(settings.realm)
    if membership is None:
        if settings.insecure:
            fix = "make a realm: `dmoa realm create NAME`, then `dmoa realm invite`"
            told = "insecure: whoever is in reach can read, and pass for any node"
            return Finding("realm", "note", told, fix)
        return Finding("realm", "ok", f"{settings.realm}, on this machine alone")
    identity = RealmIdentity(membership, clock=clock)
    left = identity.ends - clock()
    found = [_certificate(identity, left)]
    if identity.node in identity.revoked:
        told = f"{identity.node} was revoked in realm {membership.name}"
        fix = "`dmoa realm leave`, and join by a new invitation under another name"
        found = [Finding("realm", "bad", told, fix)]
    elif not membership.founds:
        found.append(_desk(membership, urgent=left < SOON))
    return found


def _certificate(identity: RealmIdentity, left: float) -> Finding:
    """Judge how long the own certificate is still good."""
    who = f"{identity.node} in realm {identity.membership.name}"
    fix = "`dmoa realm renew`, while the founder's node runs; and look at this machine's clock"
    if left <= 0:
        return Finding("realm", "bad", f"the certificate of {who} expired", fix)
    told = f"the certificate of {who} is good for {left / _DAY:.0f} days"
    if left > LIFE + _DAY:
        return Finding("realm", "bad", f"{told}: this clock is far behind", "set the clock (NTP)")
    return Finding("realm", "note" if left < SOON else "ok", told, fix if left < SOON else "")


def _desk(membership: Membership, *, urgent: bool) -> Finding:
    """Try to reach the founder, without whom no certificate is renewed."""
    for place in membership.authority:
        host, _, port = place.rpartition(":")
        try:
            with closing(socket.create_connection((host.strip("[]"), int(port)), _DIAL_SECONDS)):
                return Finding("founder", "ok", f"{membership.founder} answers at {place}")
        except (OSError, ValueError):
            continue
    places = ", ".join(membership.authority) or "any place that is known"
    told = f"{membership.founder} does not answer at {places}"
    fix = f"start its node: certificates are renewed there ({membership.file} says where)"
    return Finding("founder", "bad" if urgent else "note", told, fix)


def room(settings: Settings) -> list[Finding]:
    """Look for room where responses, the embedded model and the record are kept."""
    found: list[Finding] = []
    if settings.store and not (settings.store == "auto" and settings.port == 0):
        own = settings.store != "auto"
        file = Path(settings.store).expanduser() if own else default_file(settings.port)
        found.append(machine.disk("responses", file.parent, settings.store_bytes))
    if not settings.model or settings.model.startswith("smollm2"):
        found.append(machine.disk("weights", cache_directory(), 3 * Q8_BYTES))
    if settings.record:
        found.append(machine.disk("record", Path(settings.record).expanduser().parent))
    return found
