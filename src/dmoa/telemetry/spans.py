"""From what a node lives through to the spans of a trace: its own queries, and each job it serves.

Theory of operation. A query is a span at its home. The `traceparent` of that span travels with
its jobs (`Job.trace`), and whoever serves one tells a span below it: no node needs to know of
the others' spans, or whether they tell any. A job's span begins when the job came, and has an
event where its service began, so that waiting and service can be told apart. Jobs that were
served by nobody are events of their query's span. Names are those of OpenTelemetry's
conventions for generative AI, where it has some; no text of a user or a model is ever in a span.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from secrets import randbits
from typing import Literal, Protocol

from dmoa.core.effects import Answer, Deliver, Effect, Fail, Serve, Trace
from dmoa.core.events import Abandoned, Asked, Event, Faltered, Served
from dmoa.core.job import Completion, Job, Sampling
from dmoa.core.limits import Limits, Timing
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.telemetry.context import Context, begin
from dmoa.telemetry.terms import kind_of, model_of

Value = str | int | float | bool | tuple[str, ...]
"""Of an attribute."""

_NANO = 1_000_000_000
_NO_ERRORS = ("ok", "abandoned", "stopped")
"""How work may end without anybody's fault: nobody wanted it any more."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened within a span; `at` is in nanoseconds since 1970."""

    name: str
    at: int
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(frozen=True, slots=True)
class Span:
    """One piece of work; `began` and `ended` are in nanoseconds since 1970.

    `error` is in one word why it failed, or empty.
    """

    name: str
    kind: Literal["server", "client"]
    context: Context
    parent: Context | None
    began: int
    ended: int
    attributes: Mapping[str, Value]
    moments: tuple[Moment, ...] = ()
    error: str = ""


class Export(Protocol):
    """Where spans go."""

    def send(self, span: Span) -> None:
        """Take a span that ended; must be quick, and must not raise."""
        ...

    async def close(self) -> None:
        """Let go of what is left, within seconds."""
        ...


@dataclass(slots=True)
class _Query:
    asked: Asked
    context: Context
    parent: Context | None
    at: float


@dataclass(slots=True)
class _Work:
    job: Job
    parent: Context
    entered: float
    started: float


class Spans:
    """Tells the spans of one node; an onlooker of it, and the `Tracer` of its queries.

    `model` tells the name of its model, `clock` the nanoseconds since 1970, `dice` random bits.
    """

    def __init__(  # noqa: PLR0913  (its parts)
        self,
        node: NodeId,
        model: Callable[[], str],
        export: Export,
        *,
        limits: Limits,
        timing: Timing,
        clock: Callable[[], int] = time.time_ns,
        dice: Callable[[int], int] = randbits,
    ) -> None:
        self._node = node
        self._model = model
        self._export = export
        self._most = limits.queue_jobs + 1
        self._patience = timing.deadline_max
        self._clock, self._dice = clock, dice
        self._begun: tuple[Context, Context | None] | None = None
        self._queries: dict[QueryId, _Query] = {}
        self._works: dict[JobId, _Work] = {}
        self._now = 0.0
        self._wall = 0

    def begin(self, parent: str) -> str:
        """Begin the span of a query that is asked next, below a `traceparent` if there is one."""
        above = Context.parse(parent)
        context = begin(self._dice) if above is None else above.child(self._dice)
        self._begun = context, above
        return context.text

    async def close(self) -> None:
        """End what is under way, and send it off."""
        for query in list(self._queries.values()):
            self._left(query.asked.query, "closed")
        self._queries.clear()
        self._works.clear()
        await self._export.close()

    # -- what happens ------------------------------------------------------------------

    def saw(self, event: Event, effects: Sequence[Effect], now: float) -> None:
        """Tell what ended, and remember what began."""
        self._now, self._wall = now, self._clock()
        match event:
            case Asked() if event.trace:
                self._asked(event)
            case Abandoned():
                self._left(event.query, "abandoned")
            case Served():
                self._served(event.job, event.completion)
            case Faltered():
                again = any(
                    isinstance(each, Serve) and each.job.id == event.job for each in effects
                )
                if not again:  # with less of the conversation
                    self._served(event.job, None, event.fault.code)
            case _:
                pass
        for effect in effects:
            match effect:
                case Serve():
                    self._began(effect)
                case Deliver(query, answer):
                    self._answered(query, answer)
                case Fail(query, refusal):
                    self._over(query, refusal.trace, {}, refusal.code)
                case _:
                    pass

    def _at(self, moment: float) -> int:
        """Tell the nanoseconds since 1970 of a moment on the loop's clock."""
        return self._wall - round((self._now - moment) * _NANO)

    def _asked(self, event: Asked) -> None:
        context, begun = Context.parse(event.trace), self._begun
        if context is None:
            return
        above = begun[1] if begun is not None and begun[0] == context else None
        if len(self._queries) >= self._most:
            del self._queries[next(iter(self._queries))]  # of a life that was cut off
        self._queries[event.query] = _Query(event, context, above, self._now)

    # -- jobs --------------------------------------------------------------------------

    def _began(self, wish: Serve) -> None:
        job = wish.job
        parent = Context.parse(job.trace)
        if parent is None or not parent.sampled or job.id in self._works:
            return
        query = self._queries.get(job.query) if job.home == self._node else None
        if query is not None:
            entered = query.at + job.age
        else:  # its patience began as it came, and is what is left of it now
            waited = min(job.patience, self._patience) - wish.patience
            entered = self._now - max(0.0, waited)
        if len(self._works) >= self._most:
            del self._works[next(iter(self._works))]
        self._works[job.id] = _Work(job, parent, entered, self._now)

    def _served(self, name: JobId, completion: Completion | None, outcome: str = "ok") -> None:
        work = self._works.pop(name, None)
        if work is None:
            return
        model = self._model()
        attributes = dict(_of_job(work.job, model))
        attributes |= _of_sampling(work.job.sampling)
        attributes["dmoa.outcome"], attributes["dmoa.node.id"] = outcome, self._node
        attributes["dmoa.queue.seconds"] = work.started - work.entered
        attributes["dmoa.service.seconds"] = self._now - work.started
        if completion is not None:
            attributes |= _of_completion(completion)
        error = "" if outcome in _NO_ERRORS else outcome
        if error:
            attributes["error.type"] = error
        self._export.send(
            Span(
                f"chat {model}",
                "client",
                work.parent.child(self._dice),
                work.parent,
                self._at(work.entered),
                self._wall,
                attributes,
                (Moment("service began", self._at(work.started)),),
                error,
            )
        )

    # -- queries -----------------------------------------------------------------------

    def _answered(self, query: QueryId, answer: Answer) -> None:
        attributes: dict[str, Value] = {
            "dmoa.source": answer.source,
            "gen_ai.response.finish_reasons": (answer.completion.finish,),
        }
        self._over(query, answer.trace, attributes)

    def _over(
        self, name: QueryId, trace: Trace, attributes: dict[str, Value], outcome: str = "ok"
    ) -> None:
        query = self._queries.pop(name, None)
        if query is None:
            return
        degraded = dict.fromkeys(kind_of(each) for each in trace.degraded)
        attributes["dmoa.degraded"] = tuple(degraded)
        attributes["dmoa.queue.position"] = trace.position
        attributes["gen_ai.usage.input_tokens"] = sum(each.prompt_tokens for each in trace.jobs)
        attributes["gen_ai.usage.output_tokens"] = sum(
            each.completion_tokens for each in trace.jobs
        )
        attributes["dmoa.usage.early_tokens"] = sum(each.early_tokens for each in trace.jobs)
        moments = tuple(
            Moment(
                f"job {visit.outcome}",
                self._at(query.at + visit.ended),
                {"dmoa.node.id": visit.node, "dmoa.job.id": visit.job, "dmoa.layer": visit.layer},
            )
            for visit in trace.jobs
            if visit.outcome not in {"ok", "pending"}
        )
        self._tell(query, attributes, outcome, moments)

    def _left(self, name: QueryId, outcome: str) -> None:
        query = self._queries.pop(name, None)
        if query is not None:
            self._tell(query, {}, outcome)

    def _tell(
        self,
        query: _Query,
        attributes: dict[str, Value],
        outcome: str,
        moments: tuple[Moment, ...] = (),
    ) -> None:
        if not query.context.sampled:
            return
        model = model_of(query.asked)
        told: dict[str, Value] = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.provider.name": "dmoa",
            "gen_ai.workflow.name": model,
            "dmoa.outcome": outcome,
            "dmoa.node.id": self._node,
            "dmoa.query.id": query.asked.query,
            "dmoa.layers": query.asked.mixture.layers,
            "dmoa.fanout": query.asked.mixture.fanout,
            "dmoa.recipe": query.asked.recipe.name,
            **_of_sampling(query.asked.sampling),
            **attributes,
        }
        error = "" if outcome in _NO_ERRORS else outcome
        if error:
            told["error.type"] = error
        self._export.send(
            Span(
                f"invoke_workflow {model}",
                "server",
                query.context,
                query.parent,
                self._at(query.at),
                self._wall,
                told,
                moments,
                error,
            )
        )


def _of_job(job: Job, model: str) -> Iterator[tuple[str, Value]]:
    yield "gen_ai.operation.name", "chat"
    yield "gen_ai.provider.name", "dmoa"
    yield "gen_ai.request.model", model
    yield "gen_ai.agent.name", job.role
    yield "dmoa.home.id", job.home
    yield "dmoa.query.id", job.query
    yield "dmoa.job.id", job.id
    yield "dmoa.layer", job.layer
    yield "dmoa.proposals", len(job.proposals)


def _of_sampling(sampling: Sampling) -> dict[str, Value]:
    """Tell how tokens are drawn, as far as that was said; never where they stop, which is text."""
    named = ("temperature", "top_p", "max_tokens", "seed", "presence_penalty", "frequency_penalty")
    values = {name: getattr(sampling, name) for name in named}
    return {f"gen_ai.request.{name}": each for name, each in values.items() if each is not None}


def _of_completion(completion: Completion) -> dict[str, Value]:
    told: dict[str, Value] = {
        "gen_ai.response.model": completion.model,
        "gen_ai.response.finish_reasons": (completion.finish,),
        "gen_ai.usage.input_tokens": completion.prompt_tokens,
        "gen_ai.usage.output_tokens": completion.completion_tokens,
        "dmoa.usage.early_tokens": completion.early_tokens,
    }
    if completion.cached_tokens is not None:
        told["gen_ai.usage.cache_read.input_tokens"] = completion.cached_tokens
    return told
