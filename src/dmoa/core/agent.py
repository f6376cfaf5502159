"""The whole protocol of one participant: events in, effects out (Algorithm 1).

Theory of operation. As a *home* the agent leads its user's queries through their layers
(`home`, `query`). As a *peer* it takes others' jobs. Both meet before its own model, in
one queue (`bench`, `queue`). What it knows of others are their digests (`view`); what
others know of it is its own (`gauge`). Time passes only through `now`; `deadline` says
when the agent wants to be woken if nothing else happens before (`wants`).
"""

from __future__ import annotations

from itertools import chain
from random import Random
from typing import assert_never

from dmoa.core import standing
from dmoa.core.bench import Bench
from dmoa.core.choice import Choice
from dmoa.core.digest import Digest
from dmoa.core.effects import Announce, Census, Effect, Send, Standing, Trace
from dmoa.core.events import (
    Abandoned,
    Asked,
    Event,
    Faltered,
    Lost,
    Offence,
    Offended,
    Received,
    Served,
    Woke,
)
from dmoa.core.gauge import Gauge
from dmoa.core.home import Home
from dmoa.core.job import Completion, Fault, Job, Profile
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import (
    Decline,
    Failure,
    Farewell,
    Gossip,
    Message,
    Preview,
    Probe,
    Proposal,
    Propose,
    Withdraw,
    is_its_own,
)
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, query_name
from dmoa.core.outlook import Outlook
from dmoa.core.policy import PAPER, Policy
from dmoa.core.preview import Previews, Shelf
from dmoa.core.query import ahead, as_proposal
from dmoa.core.queue import Entry, Queue
from dmoa.core.view import View
from dmoa.core.wants import Wants


class Agent:
    """The mind of one node.

    When a query is asked, exactly one of `Deliver` or `Fail` follows, by its deadline,
    whatever the network does and however many peers fall silent; unless it is abandoned.
    When a peer proposes a job, it is served in the order of the policy, that of arrival if
    it has none, or declined at once.
    When a proposer is lost, late, declines or fails, its layer goes on without it.
    When a proposal comes late, twice, or from a stranger, it changes nothing.
    When aggregation fails, the proposal most like the others is delivered, marked so.
    When a query ends or is abandoned, all its jobs are withdrawn, everywhere.
    When a peer breaks the rules again and again, it is shunned until that is forgotten.
    When `Serve` was wanted, the body owes exactly one `Served` or `Faltered`.
    """

    def __init__(  # noqa: PLR0913  (what makes two agents alike, for replay)
        self,
        node: NodeId,
        profile: Profile,
        *,
        rng: Random,
        now: float,
        incarnation: int = 1,
        limits: Limits | None = None,
        timing: Timing | None = None,
        policy: Policy = PAPER,
        url: str = "",
        view: View | None = None,
        usual: Mixture | None = None,
        trusted: tuple[NodeId, ...] = (),
    ) -> None:
        """Begin a life at `now` seconds; `incarnation` grows with every life of this node.

        `usual` is the mixture that its digest tells of until a query was asked. Only peers that
        are `trusted` are asked, or all where none is named. `view` is for whoever knows more of
        the peers than they tell.
        """
        self.node = node
        self.profile = profile
        self.limits = limits or Limits()
        self.timing = timing or Timing()
        self.policy = policy
        self._url = url
        self._incarnation = incarnation
        self._sequence = 0
        self._minted = 0
        self._wants = Wants()
        self._past: dict[JobId, None] = {}
        self.view = view or View.within(self.limits, self.timing, trusted, wary=policy.learning)
        self.gauge = Gauge(now, slots=profile.slots)
        self.queue = Queue(
            slots=profile.slots,
            jobs=self.limits.queue_jobs,
            size=self.limits.queue_bytes,
            order=policy.order,
        )
        self._bench = Bench(profile, self.limits, self.queue, self.gauge, self._wants, policy)
        outlook = Outlook(self.view, self._bench, policy)
        choice = Choice(policy, self.view, outlook, rng)
        every, bounds = policy.eager == "all", (self.limits, self.timing)
        self._shelf = Shelf(every and profile.reads, *bounds, self.queue, self._wants)
        self._previews = Previews(every, *bounds, self.view, choice, self._wants)
        self._home = Home(
            node,
            self.limits,
            self.timing,
            self.view,
            self._bench,
            self._wants,
            policy,
            outlook,
            choice,
            usual or Mixture(),
        )
        self._wants.wake(now, "gossip", node)

    # -- what can be asked of it -------------------------------------------------------

    @property
    def deadline(self) -> float:
        """When to tell `Woke`, at the latest."""
        deadline = self._wants.next
        assert deadline is not None, "there is always a next digest to send"
        return deadline

    @property
    def queries(self) -> int:
        """Own queries under way."""
        return len(self._home.queries)

    def mint(self) -> QueryId:
        """Make a name for the next query; no part of the state that `handle` works on."""
        self._minted += 1
        return query_name(self.node, self._incarnation, self._minted)

    def digest(self, now: float) -> Digest:
        """Tell how this node stands."""
        gauge = self.gauge
        mixture = standing.given(self._home, now)
        return Digest(
            node=self.node,
            incarnation=self._incarnation,
            sequence=self._sequence,
            model=self.profile.model,
            slots=self.profile.slots,
            length=len(self.queue),
            mean_length=gauge.mean_length,
            mean_waiting=gauge.mean_waiting,
            arrival_rate=gauge.queries.value(now),
            service_time=gauge.service_time(),
            proposer_time=gauge.service_time("proposer"),
            aggregator_time=gauge.service_time("aggregator"),
            utilisation=gauge.utilisation,
            capacity=gauge.capacity,
            layers=mixture.layers,
            fanout=mixture.fanout,
            refused=gauge.refused,
            declined=gauge.declined,
            url=self._url,
            reads=self._shelf.able,
        )

    def standings(self, now: float) -> tuple[Standing, ...]:
        """Tell how the own queries under way stand, the oldest first."""
        return standing.standings(self._home, now)

    def traces(self, now: float) -> tuple[Trace, ...]:
        """Tell what happened to the own queries under way, the oldest first."""
        return tuple(query.trace(now) for query in self._home.queries.values())

    def census(self, now: float) -> Census:
        """Count who is here, and what was counted since the start."""
        return standing.census(self._home, now)

    def check(self) -> None:
        """Assert every invariant."""
        self.queue.check()
        self.view.check()
        self._home.check()
        self._bench.reader.check()
        self._previews.check(self._home.queries)
        self._shelf.check()
        self._wants.check()
        assert len(self._past) <= self.limits.remembered

    # -- the door ----------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take what happened; tell what should be done, in this order. The only door."""
        self.gauge.advance(now)
        match event:
            case Asked():
                self._home.ask(event, now)
            case Received():
                self._received(event.sender, event.message, now)
            case Lost() if event.peer == self.node:
                pass
            case Lost():
                self._previews.ended(event.peer, event.job)
                self._home.ended(event.peer, event.job, "lost", now, event.detail)
            case Served():
                self._served(event.job, event.completion, now)
            case Faltered():
                self._faltered(event.job, event.fault, now)
            case Woke():
                pass
            case Abandoned():
                self._home.abandon(event.query, now)
            case Offended():
                self._blame(event.peer, event.offence, now)
            case _:
                assert_never(event)
        self._ring(now)
        self._bench.fill(now)
        self._read(event, now)
        self.gauge.level(self.queue.waiting, self.queue.serving)
        return self._wants.taken()

    def _read(self, event: Event, now: float) -> None:
        """Show peers what comes, and look what can be read ahead: for own queries first.

        Unless nothing has changed: most of what comes is gossip.
        """
        queries, reader = self._home.queries, self._bench.reader
        gossip = isinstance(event, Received) and isinstance(event.message, Gossip)
        if gossip and not self._wants.some:
            return
        self._previews.look(queries, now)
        if reader.able:
            reader.look(chain(ahead(queries.values(), reader, now), self._shelf.reads()))

    def _ring(self, now: float) -> None:
        """Act on every timer that is due."""
        for kind, subject in self._wants.due(now):
            match kind:
                case "gossip":
                    self._sequence += 1
                    self._wants.want(Announce(self.digest(now)))
                    self._wants.wake(now + self._gossip(), "gossip", subject)
                case "layer":
                    self._home.advance(self._home.queries[QueryId(subject)], now)
                case "probe":
                    self._home.probed(self._home.queries[QueryId(subject)], now)
                case "query":
                    self._home.expire(QueryId(subject), now)
                case "job":
                    self._bench.drop(JobId(subject))
                case "preview":
                    self._shelf.drop(JobId(subject))
                case _:
                    assert_never(kind)

    def _gossip(self) -> float:
        """Tell the seconds to the next digest: quick models have queues that change quickly."""
        timing, time = self.timing, self.gauge.service_time()
        if not self.policy.lives or time <= 0.0:
            return timing.gossip
        return min(timing.gossip, max(timing.gossip_least, time))

    # -- the own model -----------------------------------------------------------------

    def _served(self, job: JobId, completion: Completion, now: float) -> None:
        entry, queued, service = self._bench.served(job, now)
        if entry.stopping:
            return
        if not entry.own:
            proposal = as_proposal(completion, self.limits)
            self._wants.want(Send(entry.job.home, Proposal(job, proposal, queued, service)))
            return
        proposal = Proposal(job, completion, queued, service)
        if entry.job.role == "proposer":
            self._home.proposed(self.node, proposal, now)
        elif entry.job.role == "ranker":
            self._home.ranked(proposal, entry.unread, now)
        else:
            self._home.aggregated(proposal, entry.unread, now)

    def _faltered(self, job: JobId, fault: Fault, now: float) -> None:
        entry = self._bench.faltered(job, fault, now)
        if entry is None or entry.stopping:
            return
        if entry.own:
            self._home.faltered(job, fault, now)
        else:
            detail = (fault.detail or fault.code)[: self.limits.detail]
            self._wants.want(Send(entry.job.home, Failure(job, detail)))

    # -- peers -------------------------------------------------------------------------

    def _blame(self, peer: NodeId, offence: Offence, now: float) -> None:
        """A peer did wrong: whoever is shunned for it loses the jobs that it has of ours."""
        if peer != self.node and self.view.reputation.blame(peer, offence, now):
            self._home.bereaved(peer, now, "it is shunned")
            self._shelf.forsake(peer)

    def _received(self, sender: NodeId, message: Message, now: float) -> None:
        if sender == self.node:
            return  # an echo, or somebody who bears this name: no peer in either case
        if not is_its_own(message, sender, self.node):
            self._blame(sender, "malformed", now)
            return
        match message:
            case Propose():
                self._invited(sender, message.job, now)
            case Preview():
                self._shown(sender, message, now)
            case Proposal():
                self._home.proposed(sender, message, now)
            case Decline():
                self._previews.ended(sender, message.job)
                self._home.declined(sender, message, now)
            case Failure():
                self._home.ended(sender, message.job, "failed", now, message.detail)
            case Withdraw():
                self._withdrawn(message.job)
            case Probe() | Gossip() | Farewell():
                self._talked(sender, message, now)
            case _:
                assert_never(message)

    def _talked(self, sender: NodeId, message: Probe | Gossip | Farewell, now: float) -> None:
        """A peer tells of itself, or asks how this node stands."""
        match message:
            case Probe():
                self._sequence += 1
                self._wants.want(Send(sender, Gossip(self.digest(now))))
                return
            case Gossip():
                if self.view.hear(message.digest, now):
                    self._home.bereaved(sender, now, "it started anew")
                    self._shelf.forsake(sender)
            case Farewell():
                self.view.leave(sender)
                self._home.bereaved(sender, now, "it left")
                self._shelf.forsake(sender)
        self._home.heard(sender, now)

    def _invited(self, sender: NodeId, job: Job, now: float) -> None:
        """A peer proposes a job: take it, or decline it at once."""
        if job.id in self._past or job.id in self.queue:
            return
        self._remember(job.id)
        self._shelf.drop(job.id)
        expires = now + min(job.patience, self.timing.deadline_max)
        shunned = self.view.reputation.shunned(sender, now)
        self.gauge.declined += shunned
        if not shunned and self._bench.enter(Entry(job, own=False, entered=now, expires=expires)):
            self._wants.wake(expires, "job", job.id)
        else:
            self._wants.want(Send(sender, Decline(job.id, len(self.queue))))

    def _shown(self, sender: NodeId, preview: Preview, now: float) -> None:
        """A peer shows a job that may come: hold it to be read, or decline it."""
        if preview.name in self._past:
            return
        self._remember(preview.name)
        late = preview.job.id in self._past or preview.job.id in self.queue
        shunned = self.view.reputation.shunned(sender, now)
        self._shelf.put(preview, now, wanted=not (late or shunned))

    def _withdrawn(self, job: JobId) -> None:
        """A home wants its job no more; one that is still on its way will not be taken."""
        self._remember(job)
        self._bench.drop(job)
        self._shelf.withdrawn(job)

    def _remember(self, job: JobId) -> None:
        """Keep the name of a peer's job, so that a doubled message is not served twice."""
        self._past[job] = None
        if len(self._past) > self.limits.remembered:
            del self._past[next(iter(self._past))]
