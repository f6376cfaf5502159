"""What a node needs of its realm while it runs: papers in order, the desk, and the keeper."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from dmoa.config.realms import Membership
from dmoa.config.values import ENDPOINT
from dmoa.errors import RealmError
from dmoa.realm import errand, keeper
from dmoa.realm.desk import Desk
from dmoa.realm.identity import RealmIdentity

_log = logging.getLogger(__name__)


async def in_order(membership: Membership) -> RealmIdentity:
    """Have papers with which a node can start; RealmError where there are none.

    The founder renews its own where they have expired; others are told how to get new ones.
    """
    identity = RealmIdentity(membership)
    if membership.founds and keeper.is_due(identity):
        await errand.renew(identity)
        identity.refresh()
    check(identity)
    return identity


def check(identity: RealmIdentity) -> None:
    """RealmError where no member would believe these papers."""
    name, node = identity.membership.name, identity.node
    again = f"`dmoa realm leave {name}`, and join by another invitation"
    if identity.left <= 0:
        raise RealmError(
            f"the certificate of {node} in realm {name} expired", hint=f"{again}; or set the clock"
        )
    if node in identity.revoked:
        raise RealmError(
            f"{node} was revoked in realm {name}", hint=f"{again}, with another --node"
        )


@asynccontextmanager
async def residence(
    identity: RealmIdentity, listen: tuple[str, ...], changed: Callable[[], Awaitable[None]]
) -> AsyncGenerator[None]:
    """Keep a membership good meanwhile; at the founder's, with the desk open.

    `listen` are the node's endpoints, at the first of whose hosts the desk stands; `changed` is
    awaited after certificate or revocations became others. RealmError where the desk can't open.
    """
    async with AsyncExitStack() as stack:
        if identity.membership.founds:
            match = ENDPOINT.fullmatch(listen[0]) if listen else None
            host = match["host"].strip("[]") if match else "127.0.0.1"
            await stack.enter_async_context(Desk(identity.membership, host))
        keeping = asyncio.create_task(keeper.keep(identity, changed), name="keep the membership")
        keeping.add_done_callback(_mourn)
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


def _mourn(keeping: asyncio.Task[None]) -> None:
    """Say at once, not at the end, where a bug ended the keeper."""
    if not keeping.cancelled() and (error := keeping.exception()) is not None:
        _log.error("the membership is not looked after any more: %r", error)
