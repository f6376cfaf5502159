"""Keeps a membership good while a node runs: renews its certificate, and sees what changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from random import Random

from dmoa.errors import DmoaError
from dmoa.realm import errand
from dmoa.realm.certificates import LIFE
from dmoa.realm.identity import RealmIdentity

LOOK = 2.0
"""Seconds between two looks at the files, which other commands may have changed."""
RENEW = LIFE / 3
"""Seconds of life that are left when a certificate is renewed first."""
RETRY = 3600.0
"""Seconds until it is tried again, a quarter more or less by chance."""
WARN = 7 * 86_400.0
"""Seconds of life that are left when it is told that nothing came of it."""

_log = logging.getLogger(__name__)


def is_due(identity: RealmIdentity, now: float) -> bool:
    """Tell whether the own certificate should be renewed; `now` in Unix seconds."""
    return identity.ends - now < RENEW


async def keep(
    identity: RealmIdentity,
    changed: Callable[[], Awaitable[None]],
    *,
    renew: Callable[[RealmIdentity], Awaitable[None]] = errand.renew,
    clock: Callable[[], float] = time.time,
    rng: Random | None = None,
) -> None:
    """Look after a membership until cancelled.

    `changed` is awaited after certificate or revocations became others, also by a command in
    another process; the identity has taken them by then. What cannot be renewed is tried again
    each hour, and the log says so in the last seven days.
    """
    rng = rng or Random()
    again = clock()
    while True:
        if is_due(identity, clock()) and clock() >= again:
            again = clock() + RETRY * rng.uniform(0.75, 1.25)
            await _tried(identity, renew, clock())
        if identity.refresh():
            await changed()
        await asyncio.sleep(LOOK)


async def _tried(
    identity: RealmIdentity, renew: Callable[[RealmIdentity], Awaitable[None]], now: float
) -> None:
    left = identity.ends - now
    try:
        await renew(identity)
    except (DmoaError, OSError) as error:
        say = _log.warning if left < WARN else _log.info
        when = f"expires in {left / 86_400:.1f} days" if left > 0 else "has expired"
        say("the certificate of %s %s and was not renewed: %s", identity.node, when, error)
    else:
        _log.info("the certificate of %s was renewed", identity.node)
