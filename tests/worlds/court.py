"""What must hold of blame: who is blamed for what, how it fades, and who is left out for it.

Worked out anew from the events that an agent was told, not from its own book.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dmoa.core.agent import Agent
from dmoa.core.events import Event, Offended, Received
from dmoa.core.job import Completion
from dmoa.core.messages import Decline, Failure, Gossip, Preview, Proposal, Propose, Withdraw
from dmoa.core.names import JobId, NodeId
from dmoa.core.query import Query
from dmoa.core.reputation import MOST, RETURN, SHUN, WEIGHTS
from dmoa.sim.liars import INJECTED, RUBBISH

EPSILON = 1e-9
"""Seconds, and points: what floating point may lose."""


def is_malformed(agent: Agent, event: Event) -> bool:
    """Tell whether a peer says what only another can say, or answers what nobody asked."""
    if not isinstance(event, Received) or event.sender == agent.node:
        return False
    sender, message = event.sender, event.message
    match message:
        case Propose(job=job) | Preview(job=job):
            return {job.home, job.id.split("/")[0]} != {sender}
        case Withdraw(job=name):
            return name.split("/")[0] != sender
        case Proposal(job=name) | Decline(job=name) | Failure(job=name):
            return name.split("/")[0] != agent.node
        case Gossip(digest=digest):
            return digest.node != sender
        case _:
            return False


def read_no_rubbish(query: Query, pending: dict[JobId, NodeId], event: Event) -> None:
    """What nobody can use is no proposal; `pending` is what the query waited for."""
    match event:
        case Received(sender, Proposal(job=job, completion=Completion(text=text))):
            if text in RUBBISH and pending.get(job) == sender:
                outcome = query.visits[job].outcome
                assert outcome != "ok", f"{job} is rubbish, and was read"
        case _:
            pass


def _is_foul(message: object) -> bool:
    """Tell whether a proposal is what liars write."""
    assert isinstance(message, Proposal)
    text = message.completion.text
    return text in RUBBISH or INJECTED in text


@dataclass(slots=True)
class Account:
    """What was held against a peer after the event before."""

    at: float
    level: float
    count: int


@dataclass(slots=True)
class Ledger:
    """All accounts of one life, and the jobs that were there after the event before."""

    accounts: dict[NodeId, Account] = field(default_factory=dict)
    here: set[JobId] = field(default_factory=set)

    def judge(self, agent: Agent, event: Event, now: float) -> None:
        """Look at what became of everybody's blame with an event."""
        known = agent.view.reputation
        for peer in known._files.keys() | self.accounts.keys():
            before = self.accounts.get(peer, Account(now, 0.0, 0))
            level, count = known.level(peer, now), sum(known.offences(peer).values())
            faded = before.level * 0.5 ** ((now - before.at) / agent.timing.forgive)
            _held(agent, event, peer, (faded, level), count - before.count)
            shunned = known.shunned(peer, now)
            assert not (count > before.count and level >= SHUN) or shunned, f"{peer} goes free"
            assert not shunned or level > RETURN, f"{peer} has atoned, and is shunned"
            self.accounts[peer] = Account(now, level, count)
        offender = event.peer if isinstance(event, Offended) else None
        if is_malformed(agent, event):
            assert isinstance(event, Received)
            offender = event.sender
        assert offender in (None, agent.node) or offender in self.accounts, f"{offender} goes free"
        _left_out(agent, now)
        here = agent.queue._waiting.keys() | agent.queue._serving.keys()
        match event:
            case Received(sender, Propose(job=job)) if known.shunned(sender, now):
                assert job.id not in here - self.here, f"{sender} is shunned, and served"
            case Received(sender, Preview(job=job)) if known.shunned(sender, now):
                assert job.id not in agent._shelf.held, f"{sender} is shunned, and read"
            case _:
                pass
        self.here = here


def _held(agent: Agent, event: Event, peer: NodeId, levels: tuple[float, float], more: int) -> None:
    """Blame comes with offences, and goes by time, or by good answers alone."""
    faded, level = levels
    assert 0.0 <= level <= 2 * MOST, f"{peer} is blamed {level}"
    assert peer != agent.node, "nobody blames itself"
    wrote = isinstance(event, Received) and isinstance(event.message, Proposal)
    wrote = wrote and event.sender == peer
    due = isinstance(event, Offended) and event.peer == peer
    due = due or (is_malformed(agent, event) and event.sender == peer)
    if due:
        assert more == 1, f"{peer} is blamed for {more} offences at once"
        assert level > faded or level >= MOST - EPSILON, f"{peer} goes free"
        assert level <= faded + max(WEIGHTS.values()) + EPSILON
    elif wrote:
        assert 0 <= more <= _is_foul(event.message), f"{peer} is blamed for honest words"
        assert level <= faded + max(WEIGHTS.values()) * more + EPSILON
        assert level >= faded * 0.5 - EPSILON, "one good answer makes up for all"
    else:
        assert more == 0, f"{peer} is blamed for nothing"
        assert abs(level - faded) <= EPSILON * max(1.0, faded), f"{peer}: {level} is not {faded}"


def _left_out(agent: Agent, now: float) -> None:
    """Who is shunned or not trusted has no job of ours."""
    view = agent.view
    for query in agent._home.queries.values():
        for job, node in query.pending.items():
            trusted = not view._trusted or node in view._trusted
            wanted = node == agent.node or (trusted and not view.reputation.shunned(node, now))
            assert wanted, f"{node} has {job}, and is left out"
