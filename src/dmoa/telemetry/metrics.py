"""What is counted of a node's life, for Prometheus; under vLLM's names where vLLM has them.

`Metrics` watches a node and counts as things happen. How the node stands is read when
somebody looks (`gauges`). Labels are words of the protocol, or names of which only so many are
kept: whoever asks, or joins under ever new names, cannot make the list grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics

from dmoa.core.effects import (
    Answer,
    Deliver,
    Effect,
    Fail,
    FailureCode,
    Report,
    Send,
    Serve,
    Visit,
)
from dmoa.core.events import Abandoned, Asked, Event, Faltered, Offence, Offended, Served
from dmoa.core.job import Completion, FaultCode, Finish
from dmoa.core.messages import Proposal
from dmoa.core.names import JobId, NodeId, QueryId, Role
from dmoa.telemetry.gauges import Gauges, Watched
from dmoa.telemetry.terms import OTHER, kind_of, model_of

NAMESPACE = "dmoa"
QUERY_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0),
    *(30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
"""Seconds; vLLM's for a whole request, which reach the minutes that small machines take."""
JOB_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.2, *QUERY_BUCKETS)
"""Seconds of one job: quick models take less than any query."""
TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Seconds per token; vLLM's."""
NAMES = 64
"""Different names of mixtures, and kinds of degradation, that are told apart."""


class Words:
    """The values of a label that come from outside: the first so many, and the rest as one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, None] = {}

    def __call__(self, word: str) -> str:
        """Tell under which value a word is counted."""
        if word not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known[word] = None
        return word

    def forget(self, kept: Iterable[str]) -> list[str]:
        """Forget all but some, where there is no room for another one; returns the forgotten."""
        if len(self._known) < self._most:
            return []
        living = set(kept)
        gone = [word for word in self._known if word not in living]
        for word in gone:
            del self._known[word]
        return gone


class Metrics:
    """Counts what one node lives through; an `Onlooker` of it."""

    def __init__(self, node: Watched) -> None:
        self._node = node
        self._queries: dict[QueryId, tuple[str, float]] = {}
        self._serving: dict[JobId, tuple[Role, str]] = {}
        self._models, self._kinds = Words(NAMES), Words(NAMES)
        self._peers = Words(node.limits.view + 1)
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(Gauges(node))
        self._count_queries()
        self._count_jobs()
        self._begin_at_zero()

    def _count_queries(self) -> None:
        self._requests = self._counter(
            "requests", "Own queries that ended, by how.", "status", "finish_reason"
        )
        self._seconds = self._histogram(
            "e2e_request_latency_seconds",
            "Seconds from question to answer.",
            QUERY_BUCKETS,
            "model_name",
        )
        self._first = self._histogram(
            "time_to_first_token_seconds",
            "Seconds from question to the first of the answer.",
            QUERY_BUCKETS,
            "model_name",
        )
        self._pace = self._histogram(
            "request_time_per_output_token_seconds",
            "Mean seconds between the tokens of an answer, after the first.",
            TOKEN_BUCKETS,
        )
        self._degraded = self._counter(
            "degradations", "Reasons why answers are less than was asked for.", "kind"
        )
        self._proposals = self._counter(
            "gossip_proposals", "Proposals asked for, by who was asked.", "peer", "outcome"
        )
        self._offences = self._counter(
            "peer_offences", "Misbehaviour of peers, by what it was.", "offence"
        )

    def _count_jobs(self) -> None:
        self._jobs = self._counter(
            "jobs", "Jobs that the own model ended, by whose and how.", "role", "origin", "outcome"
        )
        self._queued = self._histogram(
            "request_queue_time_seconds", "Seconds a job served here waited.", JOB_BUCKETS, "role"
        )
        self._service = self._histogram(
            "request_inference_time_seconds",
            "Seconds a job was in service here.",
            JOB_BUCKETS,
            "role",
        )
        self._read = self._counter("prompt_tokens", "Tokens the own model read.", "role")
        self._cached = self._counter(
            "prompt_tokens_cached", "Of these, those in its cache as their job began.", "role"
        )
        self._early = self._counter(
            "prompt_tokens_early", "Of these, those that were read ahead for their job.", "role"
        )
        self._written = self._counter("generation_tokens", "Tokens the own model wrote.", "role")

    def _begin_at_zero(self) -> None:
        """Tell what never happened as 0, where that is known: else its first time is no rise."""
        for finish in get_args(Finish):
            for status in ("ok", "degraded"):
                self._requests.labels(status, finish)
        for status in ("abandoned", *get_args(FailureCode)):
            self._requests.labels(status, "")
        for role, origin in (("proposer", "peer"), ("proposer", "own"), ("aggregator", "own")):
            for outcome in ("ok", *get_args(FaultCode)):
                self._jobs.labels(role, origin, outcome)
        for role in ("proposer", "aggregator"):
            for each in (self._queued, self._service):
                each.labels(role)
            for each in (self._read, self._cached, self._early, self._written):
                each.labels(role)
        for offence in get_args(Offence):
            self._offences.labels(offence)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(name, told, labels, namespace=NAMESPACE, registry=self._registry)

    def _histogram(self, name: str, told: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(
            name, told, labels, namespace=NAMESPACE, registry=self._registry, buckets=buckets
        )

    # -- what happens ------------------------------------------------------------------

    def saw(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        """Count what happened, and what came of it."""
        self._happened(event, effects, now)
        for effect in effects:
            self._wanted(effect, now)

    def _happened(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        match event:
            case Asked():
                self._queries[event.query] = (self._models(model_of(event)), now)
                if len(self._queries) > self._node.limits.queue_jobs + 1:
                    del self._queries[next(iter(self._queries))]  # of a life that was cut off
            case Abandoned():
                if self._queries.pop(event.query, None) is not None:
                    self._requests.labels("abandoned", "").inc()
            case Served():
                self._ended(event.job, "ok", event.completion)
            case Faltered():
                again = any(
                    isinstance(each, Serve) and each.job.id == event.job for each in effects
                )
                if not again:  # with less of the conversation
                    self._ended(event.job, event.fault.code)
            case Offended():
                self._offences.labels(event.offence).inc()
            case _:
                pass

    def _wanted(self, effect: Effect, now: float) -> None:
        match effect:
            case Serve(job):
                origin = "own" if job.home == self._node.id else "peer"
                self._serving[job.id] = (job.role, origin)
            case Send(message=Proposal() as done):
                self._timed("proposer", done.queued_seconds, done.service_seconds)
            case Report(visit=visit) if visit.outcome != "pending":
                self._visited(visit)
            case Deliver(query, answer):
                self._answered(query, answer, now)
            case Fail(query, refusal):
                self._queries.pop(query, None)
                self._requests.labels(refusal.code, "").inc()
            case _:
                pass

    def _ended(self, job: JobId, outcome: str, completion: Completion | None = None) -> None:
        role, origin = self._serving.pop(job, ("proposer", "peer"))
        self._jobs.labels(role, origin, outcome).inc()
        if completion is not None:
            self._read.labels(role).inc(completion.prompt_tokens)
            self._cached.labels(role).inc(completion.cached_tokens or 0)
            self._early.labels(role).inc(completion.early_tokens)
            self._written.labels(role).inc(completion.completion_tokens)

    def _timed(self, role: Role, queued: float, service: float) -> None:
        self._queued.labels(role).observe(queued)
        self._service.labels(role).observe(service)

    def _visited(self, visit: Visit) -> None:
        if visit.node == self._node.id and visit.outcome == "ok":
            self._timed(visit.role, visit.queued_seconds, visit.service_seconds)
        if visit.role == "proposer":
            self._proposals.labels(self._peer(visit.node), visit.outcome).inc()

    def _peer(self, name: NodeId) -> str:
        """Tell under which name a peer is counted; peers long gone make room for others."""
        peer = self._peers(name)
        if peer == OTHER:
            living = [digest.node for digest, _ in self._node.peers]
            for gone in self._peers.forget([*living, self._node.id]):
                self._proposals.remove_by_labels({"peer": gone})
            peer = self._peers(name)
        return peer

    def _answered(self, query: QueryId, answer: Answer, now: float) -> None:
        model, asked = self._queries.pop(query, (OTHER, now - answer.trace.seconds))
        completion = answer.completion
        status = "degraded" if answer.trace.degraded else "ok"
        self._requests.labels(status, completion.finish).inc()
        for each in answer.trace.degraded:
            self._degraded.labels(self._kinds(kind_of(each))).inc()
        began = self._node.first_token(query)
        first = now if began is None else began
        self._seconds.labels(model).observe(answer.trace.seconds)
        self._first.labels(model).observe(first - asked)
        if began is not None and completion.completion_tokens > 1:
            self._pace.observe((now - first) / (completion.completion_tokens - 1))

    # -- who looks ---------------------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """Give all families, without the moments since when they are counted."""
        for family in self._registry.collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """Write all that is known, as OpenMetrics where that is accepted; with its media type."""
        if "application/openmetrics-text" in accept:
            write = cast("Callable[[object], bytes]", openmetrics.generate_latest)  # has no types
            return write(self), openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self), CONTENT_TYPE_PLAIN_0_0_4
