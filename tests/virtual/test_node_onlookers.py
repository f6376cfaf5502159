"""Whoever watches a node sees each event with what was wanted, and changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from room import MIXED, Room

from dmoa.core.effects import Deliver, Effect
from dmoa.core.events import Asked, Event, Received, Served


class Looking:
    def __init__(self) -> None:
        self.seen: list[tuple[Event, tuple[Effect, ...], float]] = []

    def saw(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        self.seen.append((event, tuple(effects), now))


async def test_an_onlooker_sees_every_event_and_its_effects() -> None:
    async with Room() as room:
        node = await room.add("n1")
        await room.add("n2")
        await room.add("n3")
        await room.met()
        looking = Looking()
        node.onlookers.append(looking)
        answer = await node.ask("why?", mixture=MIXED)
    kinds = [type(event) for event, _, _ in looking.seen]
    assert kinds.count(Asked) == 1
    assert kinds.count(Served) == 2
    assert Received in kinds
    times = [now for _, _, now in looking.seen]
    assert times == sorted(times)
    delivered = [
        effect
        for _, effects, _ in looking.seen
        for effect in effects
        if isinstance(effect, Deliver)
    ]
    assert [each.answer for each in delivered] == [answer]
