"""The home's part of Algorithm 1: lead each query through its layers to one answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from dmoa.core.bench import Bench
from dmoa.core.choice import Choice
from dmoa.core.door import beyond, enter
from dmoa.core.effects import (
    CODES,
    Answer,
    Deliver,
    Fail,
    FailureCode,
    Outcome,
    Refusal,
    Report,
    Send,
    Source,
)
from dmoa.core.events import Asked
from dmoa.core.evidence import weigh
from dmoa.core.job import Completion, Fault
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Decline, Probe, Proposal, Propose, Withdraw
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, job_name
from dmoa.core.outlook import Outlook
from dmoa.core.policy import Policy
from dmoa.core.query import Foreseen, Query
from dmoa.core.queue import Entry
from dmoa.core.ranking import most_agreed, read_ranking
from dmoa.core.view import View
from dmoa.core.wants import Wants

HASTE = 0.5
"""Share of a layer's time, at most, for peers to say how they stand."""


@dataclass(slots=True)
class Home:
    """The asking half of an agent: its user's queries, and the seats they wait for."""

    node: NodeId
    limits: Limits
    timing: Timing
    view: View
    bench: Bench
    wants: Wants
    policy: Policy
    outlook: Outlook
    choice: Choice
    usual: Mixture = field(default_factory=Mixture)
    queries: dict[QueryId, Query] = field(default_factory=dict[QueryId, Query])
    seats: dict[JobId, QueryId] = field(default_factory=dict[JobId, QueryId])

    # -- from the question on ---------------------------------------------------------

    def ask(self, event: Asked, now: float) -> None:
        """Take a query of the user, or refuse it at once."""
        if event.query in self.queries:
            return
        gauge, queue = self.bench.gauge, self.bench.queue
        gauge.queries.tick(now)
        deadline = self.timing.deadline if event.deadline is None else event.deadline
        seconds = min(deadline, self.timing.deadline_max)
        query = Query(event, self.node, now, now + seconds, self.limits, self.bench.eager)
        query.degraded.extend(event.notes)
        if (refused := beyond(query, self.limits)) is not None:
            code, detail = refused
            self.wants.want(Fail(event.query, Refusal(code, detail, query.trace(now))))
            return
        self.usual = event.mixture
        query.plan = self.outlook.plan(event.mixture, 1, seconds, now, others=queue.own)
        bound = self.outlook.bound(seconds, query.serial(query.plan.mixture))
        others = self.queries.values()
        refusal = enter(query, queue, others, bound, rest=gauge.rest, now=now)
        if refusal is not None:
            gauge.refused += 1
            self.wants.want(Fail(event.query, refusal))
            return
        self.queries[event.query] = query
        self.wants.wake(query.expires, "query", event.query)
        self.advance(query, now)

    def advance(self, query: Query, now: float) -> None:
        """End the layer under way, if any, and begin the next layer or the aggregation."""
        outcome: Outcome = "spared" if query.settled else "late"
        for job in list(query.pending):
            self._dismiss(query, job, outcome, now)
        agreed = query.turn_over()
        self.wants.unwake("layer", query.asked.query)
        if agreed:
            query.arrange()
            self._choose(query, now)
            return
        drawn = [] if query.aggregating else self.choice.draw(query, now)
        self._foresee(query, now)
        query.ends = now + query.patience(now)
        if query.aggregating and query.unranked:
            query.ranked = True
            self._seat(query, 1, self.node, now)
        elif query.aggregating:
            self._conclude(query, now)
        elif stale := self.choice.unsure(drawn, now):
            query.drawn, query.probing = drawn, set(stale)
            wait = min(self.timing.probe, HASTE * query.patience(now))
            self.wants.wake(now + wait, "probe", query.asked.query)
            self._seat(query, 0, self.node, now)
            for node in stale:
                self.wants.want(Send(node, Probe()))
        else:
            chosen = self.choice.choose(query, drawn, now)
            self._patient(query, chosen, now)
            self._seat(query, 0, self.node, now)
            self._invite(query, chosen, now)

    def _seat(self, query: Query, seat: int, node: NodeId, now: float) -> None:
        job = query.job(seat, node, now)
        self.seats[job.id] = query.asked.query
        self.wants.want(Report(query.asked.query, query.visits[job.id]))
        if node != self.node:
            self.wants.want(Send(node, Propose(job)))
            return
        query.expected[job.id] = self.outlook.own(now)
        self.bench.enter(Entry(job, own=True, entered=now, expires=query.expires))
        if not query.first:
            queue = self.bench.queue
            query.first = job.id
            query.position = 0 if queue.serving < queue.slots else queue.position(job.id)

    def _foresee(self, query: Query, now: float) -> None:
        """Expect when the answer will be there, from the stage that begins on."""
        layers = 0 if query.aggregating else query.plan.mixture.layers - query.layer + 1
        if query.foreseen and query.foreseen[-1].layers != layers + 1:
            query.foreseen.clear()  # it did not go as planned, and teaches nothing
        self.outlook.look(now)
        naive = self.outlook.naive(layers, now)
        seconds = naive * self.outlook.lean(layers)
        query.foreseen.append(Foreseen(layers, now, seconds, naive))
        if not query.first:
            query.forecast = seconds

    # -- whom to ask ------------------------------------------------------------------

    def _patient(self, query: Query, chosen: list[tuple[NodeId, float]], now: float) -> None:
        """Set how long the layer is waited for."""
        expected = [self.outlook.own(now), *(seconds for _, seconds in chosen)]
        query.ends = now + self.outlook.patience(query.patience(now), expected)
        self.wants.wake(query.ends, "layer", query.asked.query)

    def _invite(self, query: Query, chosen: list[tuple[NodeId, float]], now: float) -> None:
        """Ask the chosen peers for their proposals."""
        for seat, (node, seconds) in enumerate(chosen, 1):
            self._seat(query, seat, node, now)
            query.expected[job_name(query.asked.query, query.layer, seat)] = seconds

    def heard(self, peer: NodeId, now: float) -> None:
        """A peer told how it stands: whoever waited for that may go on."""
        for query in [each for each in self.queries.values() if peer in each.probing]:
            query.probing.discard(peer)
            if not query.probing:
                self.probed(query, now)

    def probed(self, query: Query, now: float) -> None:
        """Send the layer under way, with what is known of those drawn by now.

        Whoever did not answer in time is asked only where there are too few others.
        """
        self.wants.unwake("probe", query.asked.query)
        silent = query.probing
        living = [node for node in query.drawn if self.view.may_ask(node, now)]
        query.probing, query.drawn = set(), []
        told = [node for node in living if node not in silent]
        missing = max(0, query.plan.mixture.fanout - len(told))
        rest = [node for node in living if node in silent]
        told += [node for node, _ in self.view.lightest(rest, missing, now)]
        chosen = self.choice.choose(query, told, now)
        self._patient(query, chosen, now)
        self._invite(query, chosen, now)
        if query.settled:
            self.advance(query, now)

    # -- what comes back ---------------------------------------------------------------

    def _seated(self, sender: NodeId, job: JobId) -> Query | None:
        """Find the query that waits for this job from this very node."""
        query = self.queries.get(self.seats.get(job, QueryId("")))
        return query if query is not None and query.pending[job] == sender else None

    def proposed(self, sender: NodeId, message: Proposal, now: float) -> None:
        """Take a proposal; the last that its layer waits for ends the layer.

        A peer is judged by what it wrote before anybody else is asked. Home's own model is not:
        it is to say the same thing many times, where the user wants that.
        """
        query = self._seated(sender, message.job)
        if query is None:
            return
        offence, flaw = weigh(message.completion, query.asked.turns)
        shunned = False
        if sender == self.node:
            flaw = "" if message.completion.text.strip() else "an empty proposal"
        elif offence is None:
            self.view.reputation.credit(sender, now)
        else:
            shunned = self.view.reputation.blame(sender, offence, now)
        if flaw:
            self.ended(sender, message.job, "failed", now, flaw)
        else:
            self._take(query, message, now)
        if shunned:
            self.bereaved(sender, now, "it is shunned")

    def _take(self, query: Query, message: Proposal, now: float) -> None:
        del self.seats[message.job]
        self.choice.judge(query, message.job, now, "ok")
        visit = query.take(
            message.job, message.completion, message.queued_seconds, message.service_seconds, now
        )
        self.wants.want(Report(query.asked.query, visit))
        if query.settled:
            self.advance(query, now)

    def ended(
        self, sender: NodeId, job: JobId, outcome: Outcome, now: float, detail: str = ""
    ) -> None:
        """Go on without a proposer, or with another; the last of its layer ends the layer."""
        query = self._seated(sender, job)
        if query is None:
            return
        del self.seats[job]
        other: list[tuple[NodeId, float]] = []
        if outcome == "declined" and query.retried < self.policy.retries:
            other = self.choice.other(query, now)
        visit = query.end(job, outcome, now, detail, missed=not other)
        self.wants.want(Report(query.asked.query, visit))
        for node, seconds in other:
            query.retried += 1
            seat = len(query.seated)
            self._seat(query, seat, node, now)
            query.expected[job_name(query.asked.query, query.layer, seat)] = seconds
        if query.settled:
            self.advance(query, now)

    def declined(self, sender: NodeId, message: Decline, now: float) -> None:
        """A peer does not take a job: remember why, and go on without it, or with another."""
        bound = self.policy.peer_jobs
        if self.policy.learning and bound is not None and self._seated(sender, message.job):
            self.view.declined(sender, message.length, now, bound=bound)
        detail = f"its queue holds {message.length} jobs"
        self.ended(sender, message.job, "declined", now, detail)

    def bereaved(self, peer: NodeId, now: float, detail: str) -> None:
        """A peer seems to be gone, and with it every job it had of ours.

        Where it is not, for such a hint may be false, it works for nobody: hence it is told.
        """
        for job, name in list(self.seats.items()):
            query = self.queries.get(name)
            if query is not None and query.pending.get(job) == peer:
                self._dismiss(query, job, "lost", now, detail)
                if not query.pending and not query.probing:
                    self.advance(query, now)

    def aggregated(self, message: Proposal, unread: int, now: float) -> None:
        """Deliver what the own model made of the last layer, `unread` proposals of it left out."""
        job, completion = message.job, message.completion
        query = self._seated(self.node, job)
        if query is None:
            return
        if query.kept and not (completion.text.strip() or completion.tool_calls):
            self._unaggregated(query, job, Fault("rubbish", "an empty answer"), now)
            return
        del self.seats[job]
        if unread:
            query.degraded.append(f"unread: {unread} of {len(query.kept)} proposals did not fit")
        visit = query.take(job, completion, message.queued_seconds, message.service_seconds, now)
        self.wants.want(Report(query.asked.query, visit))
        self._answer(query, completion, "aggregator", now)

    def ranked(self, message: Proposal, unread: int, now: float) -> None:
        """Go on with the proposals as the own model ranked them, or else as they agree."""
        query = self._seated(self.node, message.job)
        if query is None:
            return
        del self.seats[message.job]
        visit = query.take(
            message.job, message.completion, message.queued_seconds, message.service_seconds, now
        )
        self.wants.want(Report(query.asked.query, visit))
        order = read_ranking(message.completion.text, len(query.kept))
        if order is None or unread:
            why = f"{unread} did not fit" if unread else "the own model gave no ranking"
            query.degraded.append(f"unranked: {why}; the proposals are ordered as they agree")
        query.arrange(None if unread else order)
        self._conclude(query, now)

    def faltered(self, job: JobId, fault: Fault, now: float) -> None:
        """Go on without the own model's part: a proposal less, or no aggregation."""
        query = self._seated(self.node, job)
        if query is None:
            return
        if query.visits[job].role == "ranker":
            del self.seats[job]
            visit = query.end(job, "failed", now, fault.detail or fault.code)
            self.wants.want(Report(query.asked.query, visit))
            query.arrange()
            self._conclude(query, now)
        elif query.aggregating:
            self._unaggregated(query, job, fault, now)
        else:
            self.ended(self.node, job, "failed", now, fault.detail or fault.code)

    # -- how it ends -------------------------------------------------------------------

    def _conclude(self, query: Query, now: float) -> None:
        """All layers are over: aggregate, or answer with the best proposal where that is wanted."""
        if query.recipe.best and query.kept:
            self._choose(query, now)
        else:
            self._seat(query, 0, self.node, now)

    def _choose(self, query: Query, now: float) -> None:
        self._answer(query, query.kept[0].completion, "chosen", now)

    def _answer(self, query: Query, completion: Completion, source: Source, now: float) -> None:
        """Deliver an answer that came as it was planned, and learn how long it took."""
        for each in query.foreseen:
            self.outlook.answered(each.layers, each.naive, now - each.at)
        answer = Answer(completion, source, query.trace(now))
        self.wants.want(Deliver(query.asked.query, answer))
        self._forget(query)

    def _unaggregated(self, query: Query, job: JobId, fault: Fault, now: float) -> None:
        del self.seats[job]
        visit = query.end(job, "failed", now, fault.detail or fault.code)
        self.wants.want(Report(query.asked.query, visit))
        self._settle(query, CODES[fault.code], fault.detail or fault.code, now)

    def expire(self, name: QueryId, now: float) -> None:
        """The deadline passed: answer with what there is, if there is anything."""
        query = self.queries[name]
        for job in list(query.pending):
            self._dismiss(query, job, "late", now)
        detail = f"the deadline of {query.expires - query.began:g} s passed"
        self._settle(query, "expired", detail, now)

    def _settle(self, query: Query, code: FailureCode, detail: str, now: float) -> None:
        """End a query without an aggregation: by its best proposal, or not at all."""
        proposals = query.fresh or query.kept
        if proposals:
            best = proposals[most_agreed([kept.completion.text for kept in proposals])]
            query.degraded.append(f"unaggregated: {detail}; this is the proposal of {best.node}")
            answer = Answer(best.completion, "proposal", query.trace(now))
            self.wants.want(Deliver(query.asked.query, answer))
        else:
            self.wants.want(Fail(query.asked.query, Refusal(code, detail, query.trace(now))))
        self._forget(query)

    def abandon(self, name: QueryId, now: float) -> None:
        """The user left: withdraw everything, everywhere."""
        query = self.queries.get(name)
        if query is not None:
            for job in list(query.pending):
                self._dismiss(query, job, "late", now)
            self._forget(query)

    def _dismiss(
        self, query: Query, job: JobId, outcome: Outcome, now: float, detail: str = ""
    ) -> None:
        """End a pending seat from here: nobody need work on it any more."""
        node = query.pending[job]
        if outcome in {"late", "spared"}:
            self.choice.judge(query, job, now, outcome)
        del self.seats[job]
        visit = query.end(job, outcome, now, detail, missed=outcome != "spared")
        self.wants.want(Report(query.asked.query, visit))
        if node == self.node:
            self.bench.drop(job)
        else:
            self.wants.want(Send(node, Withdraw(job)))

    def _forget(self, query: Query) -> None:
        name = query.asked.query
        del self.queries[name]
        self.wants.unwake("layer", name)
        self.wants.unwake("probe", name)
        self.wants.unwake("query", name)
        self.bench.queue.release(name)

    def check(self) -> None:
        """Assert that every query waits for something, and every seat belongs to one."""
        for name, query in self.queries.items():
            assert query.pending or query.probing, f"{name} waits for nothing"
            assert not (query.aggregating and query.probing), f"{name} asks whom it will not need"
            assert all(self.seats[job] == name for job in query.pending)
        assert sum(len(query.pending) for query in self.queries.values()) == len(self.seats)
