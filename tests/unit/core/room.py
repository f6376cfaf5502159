"""A room in which agents meet: every message waits in the post until it is delivered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from dmoa.core.agent import Agent
from dmoa.core.effects import Cancel, Deliver, Effect, Fail, Send, Serve
from dmoa.core.events import Asked, Event, Faltered, Received, Served, Woke
from dmoa.core.job import Completion, Fault, FaultCode, Job, Profile, Sampling, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Farewell, Gossip, Message, Probe, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, Role
from dmoa.core.policy import PAPER, Policy

HI = (Turn("user", "hi"),)


def completion(text: str = "yes", **other: object) -> Completion:
    return Completion(text, "toy", 3, 5, **other)


def make_job(  # noqa: PLR0913
    id: str = "b/1/1/1.1",
    *,
    turns: tuple[Turn, ...] = HI,
    proposals: tuple[str, ...] = (),
    role: Role = "proposer",
    sampling: Sampling | None = None,
    patience: float = 10.0,
) -> Job:
    query, _, place = id.rpartition("/")
    return Job(
        id=JobId(id),
        query=QueryId(query),
        home=NodeId(id.split("/", maxsplit=1)[0]),
        role=role,
        layer=int(place.split(".")[0]),
        turns=turns,
        proposals=proposals,
        sampling=sampling or Sampling(),
        patience=patience,
    )


@dataclass
class Room:
    """Some agents that already know one another, at one moment."""

    names: str = "ab"
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)
    profile: Profile = field(default_factory=lambda: Profile("toy"))
    policy: Policy = PAPER
    seed: int = 0
    now: float = 0.0
    agents: dict[str, Agent] = field(default_factory=dict)
    post: list[tuple[str, str, Message]] = field(default_factory=list)
    effects: dict[str, list[Effect]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.names:
            self.birth(name)
        self.meet()

    def birth(self, name: str, incarnation: int = 1) -> Agent:
        self.agents[name] = Agent(
            NodeId(name),
            self.profile,
            rng=Random(f"{self.seed}/{name}"),
            now=self.now,
            incarnation=incarnation,
            limits=self.limits,
            timing=self.timing,
            policy=self.policy,
        )
        self.effects[name] = []
        return self.agents[name]

    def meet(self) -> None:
        """Everybody hears everybody's digest."""
        for name in self.agents:
            self.tell(name, Woke())
        for teller, agent in self.agents.items():
            for name in self.agents:
                if name != teller:
                    self.tell(name, Received(agent.node, Gossip(agent.digest(self.now))))

    def tell(self, name: str, event: Event) -> list[Effect]:
        """Tell one agent; its messages go to the post, and every invariant is asserted."""
        effects = self.agents[name].handle(event, self.now)
        self.effects[name] += effects
        self.post += [(name, effect.to, effect.message) for effect in effects if is_send(effect)]
        self.agents[name].check()
        return effects

    def hear(self, name: str, sender: str, message: Message) -> list[Effect]:
        """Let one agent hear something from another, or from a stranger."""
        return self.tell(name, Received(NodeId(sender), message))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and wake whoever wants it; digests are not carried."""
        end = self.now + seconds
        while (at := min(agent.deadline for agent in self.agents.values())) <= end:
            self.now = max(self.now, at)
            for name, agent in self.agents.items():
                if agent.deadline <= self.now:
                    self.tell(name, Woke())
        self.now = end

    def ask(self, name: str, layers: int = 0, fanout: int = 0, **other: object) -> QueryId:
        query = self.agents[name].mint()
        asked = {"turns": HI, **other}
        self.tell(name, Asked(query, mixture=Mixture(layers, fanout), **asked))
        return query

    def deliver(self) -> None:
        """Carry the post, and what is answered to it, until nothing is left."""
        while self.post:
            sender, to, message = self.post.pop(0)
            if to in self.agents:
                self.hear(to, sender, message)

    def lose(self) -> None:
        """Lose the whole post."""
        self.post.clear()

    def serving(self, name: str) -> list[JobId]:
        """Jobs that the agent's model has and that nobody cancelled, first come first."""
        entries = self.agents[name].queue._serving.values()
        return [entry.job.id for entry in entries if not entry.stopping]

    def serve(self, name: str, text: str = "yes", **other: object) -> list[Effect]:
        """Complete the first job in service."""
        return self.tell(name, Served(self.serving(name)[0], completion(text, **other)))

    def falter(self, name: str, code: FaultCode = "unavailable", detail: str = "") -> list[Effect]:
        """Let the first job in service fail."""
        return self.tell(name, Faltered(self.serving(name)[0], Fault(code, detail)))

    def stop(self, name: str) -> None:
        """End every service that was cancelled."""
        for entry in list(self.agents[name].queue._serving.values()):
            if entry.stopping:
                self.tell(name, Faltered(entry.job.id, Fault("stopped")))

    def depart(self, peer: str) -> None:
        """Take a peer out, and tell everybody."""
        del self.agents[peer]
        for name in self.agents:
            self.hear(name, peer, Farewell())

    def ends(self, name: str) -> list[Deliver | Fail]:
        """Answers and refusals that the agent gave."""
        return [effect for effect in self.effects[name] if isinstance(effect, Deliver | Fail)]

    def served(self, name: str) -> list[Serve]:
        """What the agent gave to its model."""
        return [effect for effect in self.effects[name] if isinstance(effect, Serve)]

    def cancelled(self, name: str) -> list[JobId]:
        return [effect.job for effect in self.effects[name] if isinstance(effect, Cancel)]

    def invited(self, sender: str) -> dict[str, Job]:
        """Jobs in the post from this sender, by peer."""
        return {
            to: message.job
            for origin, to, message in self.post
            if origin == sender and isinstance(message, Propose)
        }

    # -- what it knows -----------------------------------------------------------------

    def warm(self, seconds: float = 1.0) -> None:
        """Let everybody measure a service of so many seconds, and tell; then forget the story."""
        for name in self.agents:
            self.ask(name)
        self.pass_time(seconds)
        for name in self.agents:
            self.serve(name)
        self.meet()
        self.post.clear()
        for effects in self.effects.values():
            effects.clear()

    def told(self, name: str, peer: str, **words: object) -> None:
        """Let a peer tell an agent of itself whatever is said, besides what it told before."""
        known = self.agents[name].view._peers[NodeId(peer)].digest
        self.hear(name, peer, Gossip(replace(known, sequence=known.sequence + 1, **words)))

    def probed(self, sender: str) -> list[str]:
        """Peers that this sender asks how they stand, as far as the post has it."""
        return [to for origin, to, each in self.post if origin == sender and each == Probe()]


def is_send(effect: Effect) -> bool:
    return isinstance(effect, Send)
