"""The home's part of Algorithm 1: lead each query through its layers to one answer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from math import ceil
from random import Random

from dmoa.core.bench import Bench
from dmoa.core.effects import (
    Answer,
    Deliver,
    Fail,
    FailureCode,
    Outcome,
    Refusal,
    Report,
    Send,
)
from dmoa.core.events import Asked
from dmoa.core.job import Fault
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Proposal, Propose, Withdraw
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.policy import Policy, declines, ladder, needed, rung, spares
from dmoa.core.prompts import most_agreed
from dmoa.core.query import Query
from dmoa.core.queue import Entry
from dmoa.core.view import View
from dmoa.core.wants import Wants

_CODES: dict[str, FailureCode] = {
    "unavailable": "unavailable",
    "refused": "refused",
    "too_long": "too_long",
    "rubbish": "backend",
    "timeout": "backend",
    "stopped": "unavailable",
}


@dataclass(slots=True)
class Home:
    """The asking half of an agent: its user's queries, and the seats they wait for."""

    node: NodeId
    limits: Limits
    timing: Timing
    rng: Random
    view: View
    bench: Bench
    wants: Wants
    policy: Policy
    queries: dict[QueryId, Query] = field(default_factory=dict[QueryId, Query])
    seats: dict[JobId, QueryId] = field(default_factory=dict[JobId, QueryId])
    ladders: dict[Mixture, tuple[Mixture, ...]] = field(
        default_factory=dict[Mixture, tuple[Mixture, ...]]
    )

    # -- from the question on ---------------------------------------------------------

    def ask(self, event: Asked, now: float) -> None:
        """Take a query of the user, or refuse it at once."""
        if event.query in self.queries:
            return
        gauge, queue = self.bench.gauge, self.bench.queue
        gauge.queries.tick(now)
        deadline = self.timing.deadline if event.deadline is None else event.deadline
        query = Query(
            event, self.node, now, now + min(deadline, self.timing.deadline_max), self.limits
        )
        query.degraded.extend(event.notes)
        if (refused := self._beyond(query)) is not None:
            code, detail = refused
            self.wants.want(Fail(event.query, Refusal(code, detail, query.trace(now))))
        elif self._too_many() or not queue.reserve(event.query, query.size):
            gauge.declined += 1
            wait = len(queue) * gauge.service_time() / queue.slots
            detail = f"this node is full: its queue holds {len(queue)} jobs"
            if self._too_many():
                detail = f"this node is full: {len(self.queries)} of its user's queries wait"
            refusal = Refusal("overloaded", detail, query.trace(now), max(1.0, ceil(wait)))
            self.wants.want(Fail(event.query, refusal))
        else:
            self.queries[event.query] = query
            self.wants.wake(query.expires, "query", event.query)
            self.advance(query, now)

    def _too_many(self) -> bool:
        bound = self.policy.own_queries
        return declines(len(self.queries), -1 if bound is None else bound)

    def _beyond(self, query: Query) -> tuple[FailureCode, str] | None:
        """Tell which limit a query exceeds, if any."""
        mixture, limits = query.asked.mixture, self.limits
        if mixture.layers > limits.layers or mixture.fanout > limits.fanout:
            most = f"{limits.layers} layers and a fanout of {limits.fanout}"
            asked = f"{mixture.layers} and {mixture.fanout}"
            return "refused", f"a mixture may have {most} at most, not {asked}"
        if query.conversation > limits.conversation_bytes:
            most = limits.conversation_bytes
            return "too_long", f"the conversation has {query.conversation} of {most} bytes allowed"
        if query.size > limits.queue_bytes:
            return "too_long", f"with its proposals this query could grow to {query.size} bytes"
        return None

    def advance(self, query: Query, now: float) -> None:
        """End the layer under way, if any, and begin the next layer or the aggregation."""
        outcome: Outcome = "spared" if query.settled else "late"
        for job in list(query.pending):
            self._dismiss(query, job, outcome, now)
        query.turn_over()
        peers = [] if query.aggregating else self._draw(query, now)
        query.ends = now + query.patience(now)
        if query.aggregating:
            self.wants.unwake("layer", query.asked.query)
        else:
            self.wants.wake(query.ends, "layer", query.asked.query)
        for seat, node in enumerate([self.node, *peers]):
            self._seat(query, seat, node, now)

    def _seat(self, query: Query, seat: int, node: NodeId, now: float) -> None:
        job = query.job(seat, node, now)
        self.seats[job.id] = query.asked.query
        self.wants.want(Report(query.asked.query, query.visits[job.id]))
        if node == self.node:
            self.bench.enter(Entry(job, own=True, entered=now, expires=query.expires))
        else:
            self.wants.want(Send(node, Propose(job)))

    def _draw(self, query: Query, now: float) -> list[NodeId]:
        """Draw the peers of the layer that begins; without any, go on to the aggregation.

        Where peers were asked for and none is there, home has nobody to mix with: its
        model alone ends the query, with the proposals of earlier layers if there are some.
        """
        queue, crowd = self.bench.queue, 0.0
        if self.policy.adaptive or self.policy.spare:
            crowd = self.view.crowd(len(queue) / queue.slots, now)
        wanted = self._shrunk(query, crowd)
        if query.aggregating:
            return []
        peers = self._peers(wanted + spares(self.policy.spare, crowd) if wanted else 0, now)
        if peers and wanted < query.asked.mixture.fanout:
            query.degraded.append(
                f"narrow: the network holds {crowd:.1f} jobs per slot; "
                f"layer {query.layer} asks {wanted} of {query.asked.mixture.fanout} peers"
            )
        spare = max(0, len(peers) - wanted)
        query.needed = needed(1 + len(peers), spare, self.policy.missing)
        if len(peers) < wanted:
            query.degraded.append(
                f"few: {len(peers)} of {wanted} peers were known in layer {query.layer}"
                + ("" if peers else "; home went on alone")
            )
            if not peers:
                query.layer = query.layers + 1
        return peers

    def _peers(self, count: int, now: float, besides: Collection[NodeId] = ()) -> list[NodeId]:
        """Draw peers as the policy has it."""
        if self.policy.choice == "loaded":
            return self.view.lightest(count, now, self.rng, besides)
        return self.view.sample(count, now, self.rng, besides)

    def _shrunk(self, query: Query, crowd: float) -> int:
        """Tell the fanout of the layer that begins; in a crowd it shrinks, or is left out."""
        asked = query.asked.mixture
        if not self.policy.adaptive:
            return asked.fanout
        steps = self._ladder(asked)
        step = steps[rung([each.visits for each in steps], crowd)]
        if query.layer > step.layers:
            query.degraded.append(
                f"shallow: the network holds {crowd:.1f} jobs per slot; "
                f"home aggregates in place of layer {query.layer}"
            )
            query.layer = query.layers + 1
        return step.fanout

    def _ladder(self, asked: Mixture) -> tuple[Mixture, ...]:
        """Look a ladder up; there are no more than mixtures within the limits."""
        if asked not in self.ladders:
            self.ladders[asked] = ladder(asked)
        return self.ladders[asked]

    # -- what comes back ---------------------------------------------------------------

    def _seated(self, sender: NodeId, job: JobId) -> Query | None:
        """Find the query that waits for this job from this very node."""
        query = self.queries.get(self.seats.get(job, QueryId("")))
        return query if query is not None and query.pending[job] == sender else None

    def proposed(self, sender: NodeId, message: Proposal, now: float) -> None:
        """Take a proposal; the last that its layer waits for ends the layer."""
        query = self._seated(sender, message.job)
        if query is None:
            return
        if not message.completion.text.strip():
            self.ended(sender, message.job, "failed", now, "an empty proposal")
            return
        del self.seats[message.job]
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
        other: list[NodeId] = []
        if outcome == "declined" and query.retried < self.policy.retries:
            other = self._peers(1, now, query.seated)
        visit = query.end(job, outcome, now, detail, missed=not other)
        self.wants.want(Report(query.asked.query, visit))
        for node in other:
            query.retried += 1
            self._seat(query, len(query.seated), node, now)
        if query.settled:
            self.advance(query, now)

    def bereaved(self, peer: NodeId, now: float, detail: str) -> None:
        """A peer seems to be gone, and with it every job it had of ours.

        Where it is not, for such a hint may be false, it works for nobody: hence it is told.
        """
        for job, name in list(self.seats.items()):
            query = self.queries.get(name)
            if query is not None and query.pending.get(job) == peer:
                self._dismiss(query, job, "lost", now, detail)
                if not query.pending:
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
        answer = Answer(completion, "aggregator", query.trace(now))
        self.wants.want(Deliver(query.asked.query, answer))
        self._forget(query)

    def faltered(self, job: JobId, fault: Fault, now: float) -> None:
        """Go on without the own model's part: a proposal less, or no aggregation."""
        query = self._seated(self.node, job)
        if query is None:
            return
        if query.aggregating:
            self._unaggregated(query, job, fault, now)
        else:
            self.ended(self.node, job, "failed", now, fault.detail or fault.code)

    # -- how it ends -------------------------------------------------------------------

    def _unaggregated(self, query: Query, job: JobId, fault: Fault, now: float) -> None:
        del self.seats[job]
        visit = query.end(job, "failed", now, fault.detail or fault.code)
        self.wants.want(Report(query.asked.query, visit))
        self._settle(query, _CODES[fault.code], fault.detail or fault.code, now)

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
        self.wants.unwake("query", name)
        self.bench.queue.release(name)

    def check(self) -> None:
        """Assert that every query waits for something, and every seat belongs to one."""
        for name, query in self.queries.items():
            assert query.pending, f"{name} waits for nothing"
            assert all(self.seats[job] == name for job in query.pending)
        assert sum(len(query.pending) for query in self.queries.values()) == len(self.seats)
