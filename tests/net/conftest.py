"""All networks, as a fixture: what holds for one must hold for the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from net_room import MemoryRoom, Opens, RealmRoom, Room, ZenohRoom


@pytest.fixture(
    params=[
        pytest.param(MemoryRoom, id="memory"),
        pytest.param(ZenohRoom, id="zenoh", marks=pytest.mark.real),
        pytest.param(RealmRoom, id="realm", marks=pytest.mark.real),
    ]
)
def room(request: pytest.FixtureRequest) -> Opens:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Room]:
        made = request.param()
        try:
            yield made
        finally:
            await made.close()

    return opened
