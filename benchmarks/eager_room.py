"""A home with a real model among peers that play back what was written before.

So the proposals, and the moments at which they come, are the same however the home reads them. A
room is a network of its own: two of them, with models of their own, are asked in turn, so that no
prompt of one is found in the cache of the other.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from dmoa.core.effects import Answer, Visit
from dmoa.core.job import Completion, Profile, Prompt, Sampling
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import LIVE, Eager
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Backend, Tokens
from dmoa.runtime.streams import Token

PATIENCE = 600.0
"""Seconds for an answer; the machine may be busy."""
MEET_SECONDS = 10.0
AT_REST = 0.2
"""Seconds without a step, after which all that came has been read."""


@dataclass(frozen=True)
class Part:
    """What one proposer plays: `text`, word by word, from `begin` to `end` (s after it starts)."""

    text: str
    begin: float = 0.0
    end: float = 0.0


Plays = Mapping[str, Sequence[Part]]
"""By question, the part of each proposer."""


class Player:
    """A model that plays its part of what was written before: proposer `seat` (from 0).

    What takes time to be played ends no sooner than `follow`, a model that reads it, has come,
    and after the proposers before it have ended.
    """

    def __init__(self, plays: Plays, seat: int, *, follow: Recorded | None = None) -> None:
        self.profile = Profile("recorded")
        self._plays, self._seat, self._follow = plays, seat, follow

    async def open(self) -> None:
        """Be there."""

    async def close(self) -> None:
        """Be gone."""

    async def generate(self, prompt: Prompt) -> Tokens:
        """Play the part that belongs to the last question of the prompt, in time."""
        part = self._plays[prompt.turns[-1].content][self._seat]
        loop = asyncio.get_running_loop()
        start, words = loop.time(), re.findall(r"\s*\S+", part.text)
        for number, word in enumerate(words, 1):
            due = start + part.begin + (part.end - part.begin) * number / len(words)
            await asyncio.sleep(max(0.0, due - loop.time()))
            yield word
        if self._follow is not None and part.end > part.begin:
            for _ in range(max(1, self._seat)):  # after those before it were read
                await self._follow.has_read()
        yield Completion("".join(words), "recorded", 1, len(words))


class Recorded:
    """A real model whose proposals are played, so that only its aggregations are its own work."""

    def __init__(self, inner: Any, plays: Plays) -> None:
        self._inner, self._player = inner, Player(plays, 0)
        self._reading, self._rested = 0, 0.0
        self.asked = ""
        """What the last aggregation was asked, as a digest: the same for the same prompt."""
        self.open, self.close = inner.open, inner.close
        if hasattr(inner, "read"):
            self.read = self._read

    async def has_read(self) -> None:
        """Wait until it reads nothing, nor is about to."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._reading or loop.time() < max(begun, self._rested) + AT_REST:  # noqa: ASYNC110
            await asyncio.sleep(AT_REST / 4)

    async def _read(self, prompt: Prompt) -> int:
        self._reading += 1
        try:
            return await self._inner.read(prompt)
        finally:
            self._reading -= 1
            self._rested = asyncio.get_running_loop().time()

    @property
    def profile(self) -> Profile:
        """What the node must know of the model."""
        return self._inner.profile

    def generate(self, prompt: Prompt) -> Tokens:
        """Play a proposal, and leave anything else to the model."""
        if prompt.role == "proposer":
            return self._player.generate(prompt)
        turns = repr([(turn.role, turn.content) for turn in prompt.turns])
        self.asked = hashlib.sha256(turns.encode()).hexdigest()[:16]
        return self._inner.generate(prompt)


@dataclass(frozen=True)
class Heard:
    """One answer: seconds from the question, tokens of the aggregation's prompt, and its text.

    `last` is when the last proposal was here, `first` when the answer began. Of the prompt
    `early` tokens were read before it was asked for.
    """

    last: float
    first: float
    whole: float
    prompt: int
    early: int
    text: str

    @property
    def waited(self) -> float:
        """Seconds from the last proposal to the first token of the answer."""
        return self.first - self.last

    @property
    def left(self) -> int:
        """Tokens that were left to read."""
        return self.prompt - self.early


@asynccontextmanager
async def room(home: Backend, players: Sequence[Backend], eager: Eager) -> AsyncIterator[Node]:
    """Open a home and its peers, and give the home once it sees all of them."""
    hub = MemoryNetwork()
    # What is played is no measure of how long proposals take, and nobody is given up for it.
    policy = replace(LIVE, spare=0, learning=False, eager=eager)
    names = ["home", *(f"p{number}" for number in range(1, len(players) + 1))]
    nodes = [
        Node(hub.join(NodeId(name)), backend, policy=policy, rng=Random(name))
        for name, backend in zip(names, [home, *players], strict=True)
    ]
    try:
        for node in nodes:
            await node.open()
        async with asyncio.timeout(MEET_SECONDS):
            while len(nodes[0].peers) < len(players):  # noqa: ASYNC110  (nobody tells)
                await asyncio.sleep(0.01)
        yield nodes[0]
    finally:
        for node in nodes:
            await node.close()


async def ask(home: Node, question: str, mixture: Mixture, sampling: Sampling) -> Heard:
    """Ask, and note when what came; ValueError where the answer is of less than all proposals."""
    loop = asyncio.get_running_loop()
    start, last, first = loop.time(), 0.0, 0.0
    asked = home.follow(question, mixture=mixture, sampling=sampling, deadline=PATIENCE)
    async with aclosing(asked) as progress:
        async for item in progress:
            if isinstance(item, Visit) and item.role == "proposer" and item.outcome == "ok":
                last = loop.time() - start
            elif isinstance(item, Token):
                first = first or loop.time() - start
            elif isinstance(item, Answer):
                done = item
    whole, jobs = loop.time() - start, done.trace.jobs
    if done.trace.degraded or len(jobs) != mixture.visits or done.source != "aggregator":
        raise ValueError(f"an answer of less than all proposals: {done.trace.degraded}")
    final = jobs[-1]
    text = done.completion.text
    return Heard(last, first, whole, final.prompt_tokens, final.early_tokens, text)
