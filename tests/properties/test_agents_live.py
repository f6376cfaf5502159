"""Agents under every policy, in any order of events: messages lost, doubled, and late; lies."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import isfinite
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.effects import Announce, Answer, Cancel, Deliver, Fail, Read, Rest, Send, Serve
from dmoa.core.events import Abandoned, Asked, Event, Faltered, Lost, Received, Served, Woke
from dmoa.core.job import Completion, Fault, FaultCode, Profile, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Farewell, Gossip, Message, Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.policy import LIVE, Policy

NAMES = tuple(NodeId(name) for name in "abcd")
LIMITS = Limits(queue_jobs=6, queue_bytes=10**6, layers=3, fanout=4)
TIMING = Timing(deadline=20.0, deadline_max=40.0, silence=6.0)

VARIANTS: dict[str, Policy] = {
    "live": LIVE,
    "first come": replace(LIVE, order="fcfs"),
    "quorum": replace(LIVE, missing=1, spare=0),
    "uniform": replace(LIVE, choice="uniform"),
    "narrow": replace(LIVE, peer_jobs=1, own_queries=2, retries=2, spare=2),
    "eager": replace(LIVE, probe=0.0, adaptive=False, timely=False),
}


@dataclass
class Mind:
    """One agent, and what its body does: it owes the end of every service, and of no reading."""

    agent: Agent
    working: list[JobId] = field(default_factory=list)
    stopping: list[JobId] = field(default_factory=list)
    reading: dict[JobId, Read] = field(default_factory=dict)


class Minds(RuleBasedStateMachine):
    """Users ask and leave; the post, the models and the clock do as they like."""

    policy = LIVE

    @initialize(slots=st.integers(1, 2), seed=st.integers(0, 99), reads=st.booleans())
    def begin(self, slots: int, seed: int, *, reads: bool) -> None:
        self.slots, self.seed, self.now, self.reads = slots, seed, 0.0, reads
        self.minds: dict[NodeId, Mind] = {}
        self.lives: dict[NodeId, int] = {}
        self.post: list[tuple[NodeId, NodeId, Message]] = []
        self.ends: dict[QueryId, float] = {}
        self.due: dict[QueryId, float] = {}
        self.places: dict[QueryId, int] = {}
        for name in NAMES:
            self.birth(name)
        while self.post:  # everybody has heard of everybody
            self.carry(0)
        self.now = 0.5

    def birth(self, name: NodeId) -> None:
        self.lives[name] = self.lives.get(name, 0) + 1
        agent = Agent(
            name,
            Profile("toy", slots=self.slots, reads=self.reads),
            rng=Random(f"{self.seed}/{name}/{self.lives[name]}"),
            now=self.now,
            incarnation=self.lives[name],
            limits=LIMITS,
            timing=TIMING,
            policy=self.policy,
        )
        self.minds[name] = Mind(agent)
        self.tell(name, Woke())

    def tell(self, name: NodeId, event: Event) -> None:
        """Tell an agent, and do what it wants."""
        mind = self.minds[name]
        for effect in mind.agent.handle(event, self.now):
            match effect:
                case Send():
                    self.post.append((name, effect.to, effect.message))
                case Announce():
                    others = [other for other in self.minds if other != name]
                    self.post += [(name, other, Gossip(effect.digest)) for other in others]
                case Serve():
                    assert effect.job.id not in mind.working + mind.stopping
                    mind.working.append(effect.job.id)
                    read = mind.reading.pop(effect.job.id, None)
                    known = read.job.proposals if read else ()
                    assert effect.job.proposals[: len(known)] == known, "read for nothing"
                case Cancel():
                    mind.working.remove(effect.job)
                    mind.stopping.append(effect.job)
                case Read():
                    assert self.reads
                    assert not mind.agent.queue.waiting
                    mind.reading[effect.job.id] = effect
                case Rest():
                    del mind.reading[effect.job]
                case Deliver() | Fail():
                    assert effect.query not in self.ends, "a query ended twice"
                    assert effect.query in self.due, "nobody waits for this answer"
                    self.ends[effect.query] = self.now
                    if isinstance(effect, Deliver):
                        mixed_or_says_why(effect.answer)
                case _:
                    pass
            busy = len(mind.working) + len(mind.stopping)
            assert busy + len(mind.reading) <= self.slots
        mind.agent.check()
        assert {each.job.query for each in mind.reading.values()} <= mind.agent._home.queries.keys()

    # -- what users do -----------------------------------------------------------------

    @rule(
        number=st.integers(0, 3),
        layers=st.integers(0, 3),
        fanout=st.integers(0, 4),
        deadline=st.sampled_from([0.1, 5.0, 20.0, None]),
        patient=st.sampled_from([True, True, False]),
    )
    def a_user_asks(
        self, number: int, layers: int, fanout: int, deadline: float | None, *, patient: bool
    ) -> None:
        name = list(self.minds)[number % len(self.minds)]
        query = self.minds[name].agent.mint()
        self.due[query] = self.now + (TIMING.deadline if deadline is None else deadline)
        turns = (Turn("user", "hi"),)
        self.tell(name, Asked(query, turns, Mixture(layers, fanout), deadline=deadline))
        if not patient and query not in self.ends:
            del self.due[query]
            self.tell(name, Abandoned(query))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def a_user_leaves(self, data: st.DataObject) -> None:
        query = data.draw(st.sampled_from(self.under_way))
        del self.due[query]
        self.tell(NodeId(query.split("/")[0]), Abandoned(query))

    @property
    def under_way(self) -> list[QueryId]:
        return [query for query in self.due if query not in self.ends]

    # -- what the post does ------------------------------------------------------------

    @precondition(lambda self: self.post)
    @rule(count=st.integers(1, 40))
    def messages_come(self, count: int) -> None:
        for _ in range(min(count, len(self.post))):
            self.carry(0)

    @precondition(lambda self: self.post)
    @rule(data=st.data(), fate=st.sampled_from(["late", "lost", "doubled"]))
    def one_message_goes_astray(self, data: st.DataObject, fate: str) -> None:
        index = data.draw(st.integers(0, len(self.post) - 1))
        if fate == "lost":
            sender, to, message = self.post.pop(index)
            if isinstance(message, Propose) and sender in self.minds:
                self.tell(sender, Lost(to, message.job.id))
        else:
            if fate == "doubled":
                self.post.append(self.post[index])
            self.carry(index)

    def carry(self, index: int) -> None:
        sender, to, message = self.post.pop(index)
        if to in self.minds:
            self.tell(to, Received(sender, message))

    @rule(number=st.integers(0, 3), sender=st.sampled_from(NAMES))
    def somebody_seems_to_leave(self, number: int, sender: NodeId) -> None:
        name = list(self.minds)[number % len(self.minds)]
        self.tell(name, Received(sender, Farewell()))

    @rule(
        number=st.integers(0, 3),
        sender=st.sampled_from(NAMES),
        length=st.sampled_from([0, 1, 9, 10**9]),
        seconds=st.sampled_from([0.0, 1e-9, 1.0, 1e9, 1.7e308]),
        capacity=st.sampled_from([0.0, 5e-324, 1.0, 1.7e308]),
    )
    def somebody_lies(
        self, number: int, sender: NodeId, length: int, seconds: float, capacity: float
    ) -> None:
        name = list(self.minds)[number % len(self.minds)]
        lie = Digest(
            sender,
            self.lives[sender],
            10**6 + len(self.due),
            "toy",
            self.slots,
            length=length,
            service_time=seconds,
            proposer_time=seconds,
            capacity=capacity,
        )
        self.tell(name, Received(sender, Gossip(lie)))

    # -- what models and clocks do -----------------------------------------------------

    @precondition(lambda self: any(mind.working for mind in self.minds.values()))
    @rule(count=st.integers(1, 9), text=st.sampled_from(["yes", "no", ""]))
    def services_are_completed(self, count: int, text: str) -> None:
        for name, job in self.jobs("working")[:count]:
            if job in self.minds[name].working:
                self.minds[name].working.remove(job)
                self.tell(name, Served(job, Completion(text, "toy", 1, 1)))

    @precondition(lambda self: any(mind.working for mind in self.minds.values()))
    @rule(data=st.data(), code=st.sampled_from(["unavailable", "too_long"]))
    def a_service_fails(self, data: st.DataObject, code: FaultCode) -> None:
        name, job = data.draw(st.sampled_from(self.jobs("working")))
        self.minds[name].working.remove(job)
        self.tell(name, Faltered(job, Fault(code)))

    @precondition(lambda self: any(mind.stopping for mind in self.minds.values()))
    @rule(data=st.data())
    def a_service_is_stopped(self, data: st.DataObject) -> None:
        name, job = data.draw(st.sampled_from(self.jobs("stopping")))
        self.minds[name].stopping.remove(job)
        self.tell(name, Faltered(job, Fault("stopped")))

    def jobs(self, what: str) -> list[tuple[NodeId, JobId]]:
        return [(name, job) for name, mind in self.minds.items() for job in getattr(mind, what)]

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := min(mind.agent.deadline for mind in self.minds.values())) <= end:
            self.now = max(self.now, at)
            for name, mind in list(self.minds.items()):
                if mind.agent.deadline <= self.now:
                    self.tell(name, Woke())
        self.now = end

    @rule(name=st.sampled_from(NAMES))
    def a_node_starts_anew(self, name: NodeId) -> None:
        for query in self.under_way:
            if query.startswith(f"{name}/"):
                del self.due[query]
        self.birth(name)

    # -- what holds --------------------------------------------------------------------

    @invariant()
    def who_waits_is_told_sense(self) -> None:
        for mind in getattr(self, "minds", {}).values():
            standings = mind.agent.standings(self.now)
            assert [each.query for each in standings] == list(mind.agent._home.queries)
            for each in standings:
                times = (each.waited, each.starts_in, each.answers_in, each.expected)
                assert all(isfinite(seconds) and seconds >= 0.0 for seconds in times), each
                assert 0 <= each.position <= mind.agent.queue.waiting
                if self.policy.order == "fcfs":
                    assert each.position <= self.places.get(each.query, each.position), "it grew"
                self.places[each.query] = each.position
            digest = mind.agent.digest(self.now)
            assert digest.layers <= LIMITS.layers
            assert mind.agent.census(self.now).waiting == mind.agent.queue.waiting

    @invariant()
    def home_aggregates_alone(self) -> None:
        for mind in getattr(self, "minds", {}).values():
            for query in mind.agent._home.queries.values():
                if query.aggregating:
                    assert list(query.pending.values()) == [mind.agent.node]

    def teardown(self) -> None:
        """However it went: all ends by its deadline, and nothing is left."""
        if not hasattr(self, "minds"):
            return
        for _ in range(12):
            self.time_passes(4.0)
            for name, job in self.jobs("stopping"):
                self.minds[name].stopping.remove(job)
                self.tell(name, Faltered(job, Fault("stopped")))
        for query, due in self.due.items():
            assert self.ends[query] <= due + 1e-9, f"{query} ended after its deadline"
        for mind in self.minds.values():
            agent = mind.agent
            kept = (agent._home.queries, agent._home.seats, agent.queue._places)
            assert not any(kept), kept
            assert len(agent.queue) == 0
            assert not mind.reading
            assert [kind for kind, _ in agent._wants._due] == ["gossip"]


def mixed_or_says_why(answer: Answer) -> None:
    """Peers were asked in every layer, unless the answer says that there were none to ask."""
    trace = answer.trace
    if trace.mixture.fanout == 0 or answer.source == "proposal":
        return
    peers = {visit.layer for visit in trace.jobs if visit.node != trace.home}
    why = {reason.split(":")[0] for reason in trace.degraded}
    assert peers >= set(range(1, trace.mixture.layers + 1)) or why & {"few", "shallow"}, trace


@pytest.mark.parametrize("variant", VARIANTS)
def test_minds(variant: str) -> None:
    machine = type(
        f"Minds{variant.title().replace(' ', '')}", (Minds,), {"policy": VARIANTS[variant]}
    )
    case = machine.TestCase
    case.settings = settings(
        max_examples=30, stateful_step_count=50, deadline=None, derandomize=True, database=None
    )
    case().runTest()
