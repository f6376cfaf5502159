"""GET /v1/reach: every peer is called on, once at a time."""

from __future__ import annotations

import asyncio

from api_room import in_process, opened

from dmoa.core.names import NodeId
from dmoa.errors import UnreachableError
from dmoa.runtime.ports import Roll


async def test_all_peers_say_whom_they_hear() -> None:
    async with opened("n1", "n2", "n3") as room, in_process(room.home) as client:
        told = (await client.get("/v1/reach")).json()
    assert (told["node"], sorted(each["node"] for each in told["peers"])) == ("n1", ["n2", "n3"])
    for each in told["peers"]:
        assert sorted(each["hears"]) == sorted({"n1", "n2", "n3"} - {each["node"]})
        assert (each["version"], each["flaw"]) == (told["version"], "")
        assert abs(each["ahead_seconds"]) < 1.0
        assert 0.0 <= each["away_seconds"] < 1.0


async def test_whoever_does_not_answer_is_told_with_the_reason() -> None:
    async with opened("n1", "n2", "n3") as room, in_process(room.home) as client:
        asked: list[str] = []

        async def roll(peer: NodeId, *, patience: float) -> Roll:
            assert patience > 0
            asked.append(peer)
            await asyncio.sleep(0)
            raise UnreachableError(f"{peer} cannot be reached")

        room.home._network.roll = roll
        both = await asyncio.gather(client.get("/v1/reach"), client.get("/v1/reach"))
    assert sorted(asked) == ["n2", "n3"], "two who ask at once are told the same"
    for response in both:
        flaws = [each["flaw"] for each in response.json()["peers"]]
        assert flaws == ["n2 cannot be reached", "n3 cannot be reached"]


async def test_a_node_that_still_loads_says_so() -> None:
    async with opened("n1", "n2") as room, in_process(room.home) as client:
        await room.home.close()
        assert (await client.get("/v1/reach")).status_code == 503
