"""What must hold at every moment, of every agent: looked at after each of its events."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, isfinite

from dmoa.core.agent import Agent
from dmoa.core.events import Asked, Event, Received
from dmoa.core.messages import Farewell, Gossip
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.outlook import ENOUGH, RARE, SLACK
from dmoa.core.policy import CANDIDATES, REACH
from dmoa.core.query import Query
from dmoa.core.queue import Entry
from dmoa.core.view import DOUBT_MAX

from .court import EPSILON, Ledger, is_malformed, read_no_rubbish

SLOWER = 1.01
"""Times as long as expected, from which on an answer must have left a doubt."""
LEARNT_FROM = ("ok", "late", "spared")
"""How the jobs end that tell how slow a peer is."""


@dataclass(slots=True)
class Seen:
    """A query as it was after the last event of its home; times in seconds."""

    query: Query
    layer: int = 0
    position: int = 0
    ends: float = 0.0
    probing: frozenset[NodeId] = frozenset()
    drawn: tuple[NodeId, ...] = ()
    probed: float = inf
    pending: dict[JobId, NodeId] = field(default_factory=dict)
    expected: dict[JobId, float] = field(default_factory=dict)


@dataclass(slots=True)
class Watch:
    """Remembers of all lives (`n1/2`) what it has seen last, so that it sees what changes."""

    seen: dict[tuple[str, QueryId], Seen] = field(default_factory=dict)
    ledgers: dict[str, Ledger] = field(default_factory=dict)

    def __call__(self, agent: Agent, event: Event) -> None:
        now, life = agent.gauge._now, f"{agent.node}/{agent._incarnation}"
        self.ledgers.setdefault(life, Ledger()).judge(agent, event, now)
        _bounded(agent, now)
        _in_order(agent)
        _seated(agent)
        _standing(agent, now)
        here = agent._home.queries
        before = {name: old for (of, name), old in self.seen.items() if of == life}
        if isinstance(event, Asked) and event.query in here and event.query not in before:
            _let_in(agent, here[event.query])
        moved = [
            name
            for name, query in here.items()
            if name not in before or query.ends != before[name].ends
        ]
        gone = [name for name in before if name not in here]
        for name, old in before.items():
            _learned(agent, old, now)
            read_no_rubbish(old.query, old.pending, event)
            if name in gone:
                del self.seen[life, name]
        for name, query in here.items():
            old = before.get(name) or Seen(query, position=query.position)
            _went_on(agent, old, event, now)
            if len(moved) == 1 and moved == [name] and not gone:
                _patient(agent, query, now)
            self.seen[life, name] = _look(agent, old, now)


def _look(agent: Agent, old: Seen, now: float) -> Seen:
    query = old.query
    again = old.layer == query.layer and old.probing
    return Seen(
        query,
        query.layer,
        agent.queue.position(query.first),
        query.ends,
        frozenset(query.probing),
        tuple(query.drawn),
        old.probed if again else now if query.probing else inf,
        dict(query.pending),
        dict(query.expected),
    )


# -- at any moment --------------------------------------------------------------------


def _bounded(agent: Agent, now: float) -> None:
    agent.check()
    assert agent.deadline > now, "a timer that is due was not acted on"
    for entry in [*agent.queue._waiting.values(), *agent.queue._serving.values()]:
        if not entry.stopping:
            assert entry.expires > now, f"{entry.job.id} outstayed its patience"
    assert len(agent.queue) <= agent.limits.queue_jobs + agent.queue.slots
    bound, most = agent.policy.peer_jobs, agent.policy.own_queries
    room = inf if bound is None else bound * agent.queue.slots
    assert agent.queue._foreign <= room, "more peers' jobs than the policy takes"
    assert most is None or agent.queries <= most, "more own queries than the policy takes"
    for peer in agent.view._peers:
        doubt = agent.view.doubt(peer, now)
        most = DOUBT_MAX if agent.policy.learning else 1.0
        assert 1.0 <= doubt <= most * (1.0 + EPSILON), f"{peer} is doubted {doubt} times"


def _in_order(agent: Agent) -> None:
    for entry in agent.queue._serving.values():
        for other in agent.queue._waiting.values():
            before = entry.started is not None and other.entered < entry.started
            assert not before or _order(agent, entry) < _order(agent, other), "the queue was jumped"


def _order(agent: Agent, entry: Entry) -> tuple[float, float]:
    """Whose turn comes first: worked out anew, not taken from the queue's own book."""
    asked = entry.entered - entry.job.age
    first = {"fcfs": 0.0, "oldest": asked, "later": -entry.job.layer}[agent.policy.order]
    return (first, entry.place[1])


def _seated(agent: Agent) -> None:
    entries = [*agent.queue._waiting.values(), *agent.queue._serving.values()]
    alive = {entry.job.id for entry in entries if entry.own and not entry.stopping}
    queries = agent._home.queries.values()
    seated = {job for query in queries for job, at in query.pending.items() if at == agent.node}
    assert seated == alive, "own jobs without a seat, or seats without a job"


def _standing(agent: Agent, now: float) -> None:
    """What is told of the queries under way is how they are."""
    queries, told = agent._home.queries, agent.standings(now)
    assert [each.query for each in told] == sorted(queries, key=lambda name: queries[name].began)
    for each in told:
        query = queries[each.query]
        entry = agent.queue._waiting.get(query.first or JobId(""))
        others = agent.queue._waiting.values() if entry else []
        ahead = [one for one in others if entry and _order(agent, one) < _order(agent, entry)]
        place = 1 + len(ahead) if entry else 0
        assert each.position == place, f"{each.query} is {place}., and told {each.position}."
        assert each.layer == query.layer
        assert abs(each.waited - (now - query.began)) < EPSILON
        assert each.mixture.layers <= query.asked.mixture.layers
        assert each.mixture.fanout <= query.asked.mixture.fanout
        assert each.position or not each.starts_in, f"{each.query} begins twice"
        for seconds in (each.starts_in, each.answers_in, each.expected):
            assert isfinite(seconds)
            assert seconds >= 0.0
    census = agent.census(now)
    assert (census.waiting, census.serving) == (agent.queue.waiting, agent.queue.serving)


# -- between two moments --------------------------------------------------------------


def _let_in(agent: Agent, query: Query) -> None:
    """B alpha (M+1) < deadline, of which the own queries have their share; one is always taken."""
    pace, beside = agent.gauge.pace, agent.queries
    if agent.policy.timely and beside > 1:
        needs = beside * pace * (query.plan.mixture.layers + 1)
        within = REACH * (query.expires - query.began)
        assert needs < within + EPSILON, f"{needs} s of own queries, where {within} s are"


def _went_on(agent: Agent, old: Seen, event: Event, now: float) -> None:
    """The query moved only as it may, since the event before."""
    query = old.query
    where, name = agent.queue.position(query.first), query.asked.query
    if agent.policy.order == "fcfs":
        assert where <= old.position, f"{name} fell back from {old.position}. to {where}."
    assert bool(query.probing) == (("probe", name) in agent._wants._due)
    most = CANDIDATES * (query.asked.mixture.fanout + agent.policy.spare)
    assert len(query.drawn) <= most, f"{name} asks {query.drawn}"
    assert query.probing <= set(query.drawn)
    if not old.probing or query.layer != old.layer:
        return
    told = isinstance(event, Received) and isinstance(event.message, Gossip | Farewell)
    teller = event.sender if told and not is_malformed(agent, event) else None
    if query.probing:
        assert now < old.probed + agent.timing.probe, f"{name} still asks {query.probing}"
        assert teller not in query.probing, f"{name} did not listen to {teller}"
    elif teller not in old.probing:
        _sent_without(agent, old, now)


def _sent_without(agent: Agent, old: Seen, now: float) -> None:
    """Who kept silent is asked only where too few others are there."""
    others = [node for node in old.drawn if node not in old.probing]
    living = sum(agent.view.may_ask(node, now) for node in others)
    asked = [old.query.pending[job] for job in old.query.pending if job not in old.pending]
    silent = old.probing.intersection(asked)
    most = max(0, old.query.plan.mixture.fanout - living)
    assert len(silent) <= most, f"{old.query.asked.query} asks {silent}, who did not answer"


def _learned(agent: Agent, old: Seen, now: float) -> None:
    """A peer that took longer than expected is doubted."""
    query = old.query
    if not agent.policy.learning:
        return
    for job, node in old.pending.items():
        visit, expected = query.visits[job], old.expected.get(job, 0.0)
        if node == agent.node or expected <= 0.0 or visit.outcome not in LEARNT_FROM:
            continue
        slow = visit.ended - visit.sent > SLOWER * expected
        if slow and agent.view.is_alive(node, now):
            assert agent.view.doubt(node, now) > 1.0, f"{node} was late with {job}, and is believed"


def _patient(agent: Agent, query: Query, now: float) -> None:
    """A layer is waited for as long as nearly all measured proposals took, and some more."""
    latest = sorted(agent._home.outlook._tardiness._latest)
    if not agent.policy.learning or query.aggregating or query.probing or len(latest) < ENOUGH:
        return
    expected = list(query.expected.values())
    if not expected or min(expected) <= 0.0:
        return
    own = agent._home.outlook.own(now) + agent.gauge.service_time() + agent.gauge.pace
    rare = latest[min(int(RARE * len(latest)), len(latest) - 1)]
    most = SLACK * rare * max(*expected, own)
    assert query.ends - now <= most + EPSILON, f"{query.asked.query} waits {query.ends - now} s"
