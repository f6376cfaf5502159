"""Keeps a membership good while a node runs: renews its certificate, and sees what changed."""

from __future__ import annotations

import asyncio
import logging
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
"""Seconds of life that are left when the log begins to warn that it was not renewed."""

_log = logging.getLogger(__name__)


def is_due(identity: RealmIdentity) -> bool:
    """Tell whether the own certificate should be renewed."""
    return identity.left < RENEW


async def keep(
    identity: RealmIdentity,
    changed: Callable[[], Awaitable[None]],
    *,
    renew: Callable[[RealmIdentity], Awaitable[None]] = errand.renew,
    rng: Random | None = None,
) -> None:
    """Look after a membership until cancelled.

    `changed` is awaited after certificate or revocations became others, also by a command in
    another process; the identity has taken them by then. Where it fails, it is awaited again.
    What cannot be renewed is tried again each hour, and in the last seven days the log warns.
    """
    rng = rng or Random()
    loop = asyncio.get_running_loop()
    again, news = loop.time(), False
    while True:
        if is_due(identity) and loop.time() >= again:
            again = loop.time() + RETRY * rng.uniform(0.75, 1.25)
            await _tried(identity, renew)
        news = identity.refresh() or news
        if news:
            try:
                await changed()
                news = False
            except DmoaError as error:
                _log.warning("news of the realm could not be taken into use: %s", error.message)
        await asyncio.sleep(LOOK)


async def _tried(
    identity: RealmIdentity, renew: Callable[[RealmIdentity], Awaitable[None]]
) -> None:
    left = identity.left
    try:
        await renew(identity)
    except (DmoaError, OSError) as error:
        say = _log.warning if left < WARN else _log.info
        when = f"expires in {left / 86_400:.1f} days" if left > 0 else "has expired"
        say("the certificate of %s %s and was not renewed: %s", identity.node, when, error)
    else:
        _log.info("the certificate of %s was renewed", identity.node)
