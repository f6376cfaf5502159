"""An agent made to live: effects are carried out on a real network and a real model.

The node never decides what a query does next. It tells the agent what happened, in the
order in which it happened, and does what the agent wants. Tokens bypass the agent: they
flow from the backend to whoever follows the query, here or at its home.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from importlib.metadata import version
from random import Random
from types import TracebackType
from typing import Self, Unpack

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.effects import (
    Answer,
    Census,
    Standing,
    Trace,
)
from dmoa.core.events import Abandoned, Asked, Event, Offence, Offended, Received, Woke
from dmoa.core.history import Birth
from dmoa.core.job import Profile, Sampling, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import (
    Farewell,
    Gossip,
    Offer,
    Probe,
)
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.core.policy import LIVE, PAPER, Policy
from dmoa.core.recipe import PAPER_RECIPE, Recipe
from dmoa.core.reputation import Conduct
from dmoa.core.usual import Defaults, Usual
from dmoa.errors import (
    BackendUnavailableError,
    DmoaError,
)
from dmoa.runtime.calls import Calls
from dmoa.runtime.faults import conversation
from dmoa.runtime.hands import Hands
from dmoa.runtime.ports import Backend, Frames, Network, Onlooker, Roll, Tracer, Witness
from dmoa.runtime.reading import Readings
from dmoa.runtime.slots import Slots
from dmoa.runtime.streams import Followers, Guests, Progress, Wishes, pieces, whole

ROLL_PATIENCE = 2.0
"""Seconds in which a peer should answer a roll call."""


class Node:
    """One participant: an agent with a network and a backend.

    Made by `dmoa.start` or `dmoa.assemble`; an async context manager. All methods belong
    to the loop it was opened on. What a follower has not read yet is kept for it; the
    bound is the length of one answer and its drafts (`Limits.answer_tokens`).
    """

    def __init__(  # noqa: PLR0913  (its parts)
        self,
        network: Network,
        backend: Backend,
        *,
        mixture: Mixture | None = None,
        defaults: Defaults | None = None,
        persona: str = "",
        limits: Limits | None = None,
        timing: Timing | None = None,
        policy: Policy = LIVE,
        rng: Random | None = None,
        incarnation: int = 1,
        url: str = "",
        recorder: Witness | None = None,
        tracer: Tracer | None = None,
        trusted: Sequence[str] = (),
    ) -> None:
        self.policy = policy
        self._defaults = defaults or Defaults(mixture or Mixture())
        self._persona = persona
        self.limits = limits or Limits()
        self.timing = timing or Timing()
        self.url = url
        self.onlookers: list[Onlooker] = [] if tracer is None else [tracer]
        self._network = network
        self._backend = backend
        self._rng = rng or Random()
        self._incarnation = incarnation
        self._recorder = recorder
        self._tracer = tracer
        self._trusted = tuple(map(NodeId, trusted))
        self._agent: Agent | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._followers = Followers()
        self._guests = Guests()
        readings = self._readings = Readings(backend, self.limits, draft=self._followers.draft)
        calls = self._calls = Calls(network, tell=self._tell, draft=readings.draft)
        slots = self._slots = Slots(backend, readings, tell=self._tell)
        self._said: Digest | None = None
        self._hands = Hands(
            network, slots, calls, self._followers, self._guests, readings, self.timing
        )

    # -- life --------------------------------------------------------------------------

    async def open(self) -> None:
        """Load the model, join the peers, begin to gossip; BackendError, NetworkError."""
        await self._backend.open()
        try:
            birth = Birth(
                self.id,
                self.profile,
                now=asyncio.get_running_loop().time(),
                incarnation=self._incarnation,
                limits=self.limits,
                timing=self.timing,
                policy=self.policy,
                url=self.url,
                usual=self.usual.mixture,
                trusted=self._trusted,
            )
            if self._recorder is not None:
                self._recorder.begin(birth, self._rng)
            self._readings.profile = birth.profile
            self._agent = birth.agent(self._rng)
            await self._network.open(self)
            self._tell(Woke())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End everything under way, leave the peers, let go of the model."""
        self._agent = None
        self._incarnation += 1  # should it be opened again: a new life, with new names
        if self._alarm is not None:
            self._alarm.cancel()
        self._followers.end(f"node {self.id} is shutting down")
        calls, services = self._calls.cancel(), self._slots.cancel()
        readings = self._readings.cancel()
        async with AsyncExitStack() as parts:  # each is closed, whatever happens to the others
            if self._tracer is not None:
                parts.push_async_callback(self._tracer.close)
            parts.push_async_callback(self._backend.close)
            parts.push_async_callback(self._network.close)
            await asyncio.gather(*calls, return_exceptions=True)
            await asyncio.gather(*services, return_exceptions=True)
            await asyncio.gather(*readings, return_exceptions=True)
            if self._recorder is not None:
                self._recorder.close()

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()

    # -- what users see ----------------------------------------------------------------

    @property
    def id(self) -> NodeId:
        """Its name."""
        return self._network.node

    @property
    def is_open(self) -> bool:
        """Tell whether it can be asked."""
        return self._agent is not None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where peers can reach it; known once it is open."""
        return self._network.endpoints

    @property
    def profile(self) -> Profile:
        """Its model, and who that is to be."""
        return replace(self._backend.profile, persona=self._persona)

    @property
    def usual(self) -> Usual:
        """What a query gets that names no mixture, and why."""
        return self._defaults.usual(self.profile.model)

    @property
    def shaped(self) -> tuple[Mixture, Recipe]:
        """The mixture of a query that wants one, and does not say all of it."""
        return self._defaults.shaped(self.profile.model)

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        """The digests of the living peers, by name, with their age in seconds."""
        return self._mind.view.known(self._now)

    def conduct(self, peer: NodeId) -> Conduct:
        """Tell how a peer behaved, and whether it is asked."""
        return self._mind.view.conduct(peer, self._now)

    @property
    def digest(self) -> Digest:
        """How it stands now."""
        return self._mind.digest(self._now)

    @property
    def mode(self) -> str:
        """`paper` where it keeps to Algorithm 1, else `steady`."""
        return "paper" if self.policy == PAPER else "steady"

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How its own queries under way stand, the oldest first."""
        return self._mind.standings(self._now)

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What happened to its own queries under way, so far; the oldest first."""
        return self._mind.traces(self._now)

    @property
    def census(self) -> Census:
        """Who is here, and what was counted since it was opened."""
        return self._mind.census(self._now)

    def first_token(self, query: QueryId) -> float | None:
        """When the answer of a query that is followed began, by the loop's clock (seconds)."""
        return self._followers.first_token(query)

    async def ask(self, prompt: str | Sequence[Turn], **wishes: Unpack[Wishes]) -> Answer:
        """Ask, and wait for the whole answer; QueryError or BackendError without one."""
        return await whole(self.follow(prompt, drafts=False, **wishes))

    def stream(
        self, prompt: str | Sequence[Turn], **wishes: Unpack[Wishes]
    ) -> AsyncGenerator[str, None]:
        """Ask, and get the answer in pieces as they are written.

        An answer that was not written piece by piece, such as a proposal because
        aggregation failed before its first token, comes whole. Where it failed later, an
        error is raised, with the `trace`: what was streamed is not the answer.
        """
        return pieces(self.follow(prompt, drafts=False, **wishes))

    async def follow(  # noqa: PLR0913  (everything a question can have)
        self,
        prompt: str | Sequence[Turn],
        *,
        mixture: Mixture | None = None,
        recipe: Recipe | None = None,
        sampling: Sampling | None = None,
        deadline: float | None = None,
        options: str = "",
        notes: tuple[str, ...] = (),
        drafts: bool = True,
        standings: bool = False,
        tick: float | None = None,
        trace: str = "",
    ) -> AsyncGenerator[Progress | None, None]:
        """Ask, and see everything: jobs as they change, drafts, tokens, last the Answer.

        Without a `mixture` it gets what is usual here. Without `drafts`, the text of proposals
        is left out. With `standings`, what is expected of the query comes as it was accepted,
        when its place changes, and as a layer begins. After each `tick` seconds of silence
        comes None. `trace` names the span in which it is asked (W3C's `traceparent`).
        Closing the generator abandons the query: all its jobs stop, everywhere.
        Raises QueryError or BackendError, with a `trace`, where there is no answer;
        UsageError for a prompt that is no text.
        """
        turns = conversation(prompt)
        usual = Usual(mixture, recipe or PAPER_RECIPE) if mixture else self.usual
        query = self._mind.mint()
        line = self._followers.join(query, drafts=drafts, standings=standings, tick=tick)
        ended = False
        asked = Asked(
            query,
            turns,
            usual.mixture,
            sampling or Sampling(),
            deadline,
            options,
            notes,
            recipe or usual.recipe,
            self._tracer.begin(trace) if self._tracer else trace,
        )
        try:
            self._tell(asked)
            while not ended:
                item = await line.get()
                if isinstance(item, DmoaError):
                    ended = True
                    raise item
                ended = isinstance(item, Answer)
                yield item
        finally:
            self._followers.leave(query)
            if not ended:
                self._tell(Abandoned(query))

    async def roll(self, peer: NodeId, *, patience: float = ROLL_PATIENCE) -> Roll:
        """Call on a peer to say its release, its clock and whom it hears; NetworkError if not."""
        return await self._network.roll(peer, patience=patience)

    # -- what the network sees (Host) --------------------------------------------------

    def heard(self, digest: Digest) -> None:
        """Take a peer's digest."""
        self._tell(Received(digest.node, Gossip(digest)))

    def offended(self, peer: NodeId, offence: Offence) -> None:
        """Take the evidence that a peer misbehaved."""
        self._tell(Offended(peer, offence))

    def departed(self, peer: NodeId) -> None:
        """Take a hint that a peer left."""
        self._tell(Received(peer, Farewell()))

    def probed(self, caller: NodeId) -> Digest | None:
        """Tell a peer how this node stands right now; None when it is closed."""
        self._said = None
        self._tell(Received(caller, Probe()))
        return self._said

    def rolled(self, caller: NodeId) -> Roll | None:
        """Answer the roll call of a peer; None when it is closed."""
        del caller  # whoever may ask may hear it
        if self._agent is None:
            return None
        peers = tuple(self._agent.view.living(self._now))
        return Roll(self.id, version("dmoa"), time.time(), peers)

    async def serve(self, caller: NodeId, message: Offer) -> Frames:
        """Serve a peer's job, or hold a preview; closing the generator withdraws it."""
        async with aclosing(self._guests.serve(caller, message, self._tell)) as frames:
            async for frame in frames:
                yield frame

    # -- mind and hands ----------------------------------------------------------------

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def _mind(self) -> Agent:
        if self._agent is None:
            raise BackendUnavailableError(
                f"node {self.id} is not open: it is still loading, or closed",
                hint="try again in a moment",
            )
        return self._agent

    def _tell(self, event: Event) -> None:
        """Tell the agent, and do what it wants; a closed node hears nothing."""
        if self._agent is None:
            return
        mind, recorder = self._agent, self._recorder
        now = self._now
        wanted = recorder.handle(mind, event, now) if recorder else mind.handle(event, now)
        for effect in wanted:
            if (said := self._hands.do(effect)) is not None:
                self._said = said
        for onlooker in self.onlookers:
            onlooker.saw(event, wanted, now)
        if self._followers.wonder:
            self._followers.stand(self._agent.standings(self._now))
        self._set_alarm(self._agent.deadline)

    def _set_alarm(self, deadline: float) -> None:
        if self._alarm is not None:
            if not self._alarm.cancelled() and self._alarm.when() == deadline:
                return
            self._alarm.cancel()
        self._alarm = asyncio.get_running_loop().call_at(deadline, self._woke)

    def _woke(self) -> None:
        self._alarm = None
        self._tell(Woke())
