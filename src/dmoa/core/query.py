"""One query on its way through its layers.

Theory of operation. A query is *proposing* in layer 1..M, then *aggregating*, then
ended. In a layer it has up to k+1 *seats*: seat 0 is home's own model, the others are
peers drawn afresh. A seat is pending until its job ends (ok, declined, lost, failed)
or the layer's patience does (late). The layer is over when no seat is pending, or when as
many proposals are in as the policy waits for (the rest is spared). Its proposals, in the
order of their arrival, are what the next layer reads; a layer that brings none leaves those
of the layer before in force. A recipe may want them ranked before they are used, by home's
model, and may end the query with the best of them, or with one that all agree with.

```text
asked -> layer 1 -> ... -> layer M -> (ranking) -> aggregating -> delivered
           |                   |          |             |
           +-------------------+----------+-------------+--> refused, degraded, abandoned
```
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from dmoa.core.effects import Outcome, Read, Trace, Visit
from dmoa.core.events import Asked
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, Role, job_name
from dmoa.core.outlook import NOTHING, Plan
from dmoa.core.prompts import cut_bytes
from dmoa.core.ranking import agree, better_half, by_agreement, outliers
from dmoa.core.reading import Reader
from dmoa.core.recipe import Recipe

_WHERE: dict[Role, str] = {"aggregator": "the aggregation", "ranker": "the ranking"}
"""Where a job was missed, if not in a layer."""
DROPPED = "dropped: unlike the others"
"""What is said of a proposal that came in and was not read on, as the recipe has it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A proposal that came in: by whom, what, and of which job."""

    node: NodeId
    completion: Completion
    job: JobId


def as_proposal(completion: Completion, limits: Limits) -> Completion:
    """Keep of a completion what a proposal is: text, up to its limit."""
    text = cut_bytes(completion.text, limits.proposal_bytes)
    if text is completion.text and not completion.tool_calls:
        return completion
    return replace(completion, text=text, tool_calls="")


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What was expected as a stage began: with so many layers to go, at, and how long.

    `naive` is the same by the formula alone; times in seconds.
    """

    layers: int
    at: float
    seconds: float
    naive: float


@dataclass(slots=True)
class Query:
    """The state of one query at its home.

    In the layer under way `probing` are those that were asked how they stand, of those that
    were `drawn`, and `expected` the seconds until each proposal. `first` is the first own
    job, `position` its place when it was asked; `ranked` tells that a ranking was asked for.
    `foreseen` holds what was expected at each
    stage, as far as it went as planned; `forecast` what was told when it was asked. With `eager`
    prompts are read ahead, and `reading` tells that one is, so that the order of the proposals
    in it stands. `early` are the peers that were shown the layer that comes next, each with its
    seat there.
    """

    asked: Asked
    home: NodeId
    began: float
    expires: float
    limits: Limits
    eager: bool = False
    layer: int = 0
    ends: float = 0.0
    needed: int = 1
    retried: int = 0
    probing: set[NodeId] = field(default_factory=set[NodeId])
    drawn: list[NodeId] = field(default_factory=list[NodeId])
    plan: Plan = NOTHING
    first: JobId | None = None
    position: int = 0
    forecast: float = 0.0
    expected: dict[JobId, float] = field(default_factory=dict[JobId, float])
    foreseen: list[Foreseen] = field(default_factory=list[Foreseen])
    ranked: bool = False
    reading: bool = False
    early: dict[NodeId, int] = field(default_factory=dict[NodeId, int])
    pending: dict[JobId, NodeId] = field(default_factory=dict[JobId, NodeId])
    visits: dict[JobId, Visit] = field(default_factory=dict[JobId, Visit])
    fresh: list[Kept] = field(default_factory=list[Kept])
    kept: list[Kept] = field(default_factory=list[Kept])
    degraded: list[str] = field(default_factory=list[str])

    @property
    def layers(self) -> int:
        """M."""
        return self.asked.mixture.layers

    @property
    def recipe(self) -> Recipe:
        """How its proposals are made and used."""
        return self.asked.recipe

    @property
    def aggregating(self) -> bool:
        """Tell whether all layers are over: home's own aggregation, or ranking, is under way."""
        return self.layer > self.layers

    @property
    def places(self) -> int:
        """Count the jobs that it may have waiting at home at once."""
        return self.asked.mixture.fanout + 1 if self.recipe.own and self.layers else 1

    def serial(self, mixture: Mixture) -> int:
        """Count the jobs that it brings its home, beside the last one, with such a mixture."""
        own = mixture.fanout + 1 if self.recipe.own else 1
        return own * mixture.layers + self.recipe.rank

    @property
    def conversation(self) -> int:
        """Bytes of what the user sent."""
        turns = sum(turn.size for turn in self.asked.turns)
        return turns + len(self.asked.options.encode())

    @property
    def size(self) -> int:
        """Bytes that the query may come to hold: its conversation and two layers' proposals."""
        proposals = 2 * (self.asked.mixture.fanout + 1) if self.layers else 0
        return self.conversation + proposals * self.limits.proposal_bytes

    @property
    def expects(self) -> float:
        """When the answer is expected, as it was last foreseen."""
        last = self.foreseen[-1] if self.foreseen else None
        return last.at + last.seconds if last else self.began

    def patience(self, now: float) -> float:
        """Share the seconds that are left among the layers and the aggregation that are left."""
        parts = self.layers - self.layer + 2
        return max(0.0, self.expires - now) / max(1, parts)

    @property
    def settled(self) -> bool:
        """Tell whether the layer under way waits for nothing more."""
        if self.probing:
            return False
        return not self.pending or len(self.fresh) >= self.needed

    @property
    def seated(self) -> list[NodeId]:
        """List who has, or had, a seat in the layer under way."""
        return [visit.node for visit in self.visits.values() if visit.layer == self.layer]

    def job(self, seat: int, node: NodeId, now: float) -> Job:
        """Seat a node in the layer under way, and make its job.

        Once all layers are over, home aggregates at seat 0, and ranks at any other.
        """
        job = self._job(self.layer, seat, node, self.kept, now)
        self.pending[job.id] = node
        self.visits[job.id] = Visit(
            job=job.id, layer=self.layer, role=job.role, node=node, sent=now - self.began
        )
        return job

    def _job(self, layer: int, seat: int, node: NodeId, kept: list[Kept], now: float) -> Job:
        """Make the job of a seat of a layer that reads what was kept."""
        role: Role = "proposer"
        if layer > self.layers:
            role = "ranker" if seat else "aggregator"
        return Job(
            id=job_name(self.asked.query, layer, seat),
            query=self.asked.query,
            home=self.home,
            role=role,
            layer=layer,
            turns=self._turns(node),
            proposals=tuple(each.completion.text for each in kept),
            sampling=self._sampling(role, layer, seat),
            patience=max(0.0, self.ends - now),
            options=self.asked.options if role == "aggregator" else "",
            age=now - self.began,
            seed=self.recipe.seed and role == "aggregator" and bool(kept),
            trace=self.asked.trace,
        )

    # -- what can be read ahead --------------------------------------------------------

    @property
    def followed(self) -> tuple[JobId, ...]:
        """List the jobs of which any one may bring the next proposal, so that it is read as it
        is written; none while home's own is to go first.
        """  # noqa: D205
        own = job_name(self.asked.query, self.layer, 0) in self.pending
        ends = len(self.pending) == 1 or len(self.fresh) + 1 == self.needed
        return () if self.probing or (own and not ends) else tuple(self.pending)

    @property
    def deepest(self) -> bool:
        """Tell whether the layer under way is the last one, as things stand."""
        return self.layer >= min(self.layers, max(self.plan.mixture.layers, 1))

    @property
    def ranks(self) -> bool:
        """Tell whether a ranking comes next: more than one proposal will be there."""
        more = self.probing or min(self.needed, len(self.fresh) + len(self.pending)) > 1
        return self.recipe.rank and self.deepest and bool(more)

    @property
    def ordered(self) -> bool:
        """Tell whether what comes next reads the proposals as they came, all of them.

        Where they are ordered before, which is only after the layer, nothing can be read ahead;
        a ranker reads them unordered, unless layers are left out before it.
        """
        ranked = self.ranks and self.layer == self.layers
        return not self.recipe.trim and (ranked or not self.recipe.orders)

    def ahead(self, reader: Reader, now: float) -> Read | None:
        """Tell what its home can read now for the job that comes next; None if nothing.

        The very same effect as before where nothing has changed.
        """
        known, follow = len(self.fresh), self.followed
        if not (known or follow) or not self.eager:
            return None
        if not 0 < self.layer <= self.layers or not self.ordered:
            return None
        layer, seat = self.layers + 1 if self.deepest else self.layer + 1, int(self.ranks)
        old = reader.under_way.get(job_name(self.asked.query, layer, seat))
        if old is not None and len(old.job.proposals) == known and old.follow == follow:
            return old
        return Read(self._job(layer, seat, self.home, self.fresh, now), follow)

    def preview(self, seat: int, node: NodeId, now: float) -> Job:
        """Make a job of the layer that comes next, with the proposals that are there by now."""
        return self._job(self.layer + 1, seat, node, self.fresh, now)

    def _turns(self, node: NodeId) -> tuple[Turn, ...]:
        """Give peers the words of the conversation, and only home what else its turns hold."""
        turns = self.asked.turns
        if node == self.home:
            return turns
        return tuple(replace(turn, extra="") if turn.extra else turn for turn in turns)

    def _sampling(self, role: Role, layer: int, seat: int) -> Sampling:
        """Give the aggregator what the user chose, and proposers their own way, for diversity.

        A user's seed still makes every proposer's draw repeatable, and different.
        """
        chosen = self.asked.sampling
        if role == "aggregator":
            return chosen
        seed = None if chosen.seed is None else (chosen.seed + 1000 * layer + seat) % 2**31
        return Sampling(seed=seed, temperature=0.0 if role == "ranker" else None)

    def end(
        self, job: JobId, outcome: Outcome, now: float, detail: str = "", *, missed: bool = True
    ) -> Visit:
        """Free a seat without a proposal, and say so where that is missed."""
        node = self.pending.pop(job)
        visit = replace(
            self.visits[job],
            outcome=outcome,
            ended=now - self.began,
            detail=detail[: self.limits.detail],
        )
        self.visits[job] = visit
        if missed:
            where = _WHERE.get(visit.role, f"layer {visit.layer}")
            self.degraded.append(
                f"{outcome}: {node} in {where}" + (f" ({visit.detail})" if detail else "")
            )
        return visit

    def take(
        self, job: JobId, completion: Completion, queued: float, service: float, now: float
    ) -> Visit:
        """Free a seat with its completion; a proposal is cut to the limit and kept."""
        node = self.pending.pop(job)
        seat = self.visits[job]
        visit = Visit(
            job=job,
            layer=seat.layer,
            role=seat.role,
            node=node,
            outcome="ok",
            model=completion.model,
            sent=seat.sent,
            ended=now - self.began,
            queued_seconds=queued,
            service_seconds=service,
            prompt_tokens=completion.prompt_tokens,
            completion_tokens=completion.completion_tokens,
            early_tokens=completion.early_tokens,
        )
        self.visits[job] = visit
        if visit.role == "proposer":
            kept = Kept(node, as_proposal(completion, self.limits), job)
            own = job == job_name(self.asked.query, self.layer, 0)
            first = own and self.eager and not self.reading
            self.fresh.insert(0 if first else len(self.fresh), kept)
        return visit

    def turn_over(self) -> bool:
        """End the layer: what it brought, if anything, is what the next job reads.

        True where that ends the query, as the recipe has it: all proposals say the same.
        """
        if self.recipe.trim:
            self._trim()
        over = bool(self.fresh) and self.recipe.agree and agree(self._texts(self.fresh))
        if self.fresh:
            self.kept, self.fresh = self.fresh, []
            if self.recipe.orders and not (self.recipe.rank and self.layer >= self.layers):
                self.arrange()
        self.layer += 1
        self.retried = 0
        self.reading = False
        self.probing.clear()
        self.drawn = []
        self.expected.clear()
        return over

    def _trim(self) -> None:
        """Drop the proposals of the layer under way that are not like the others, and say so."""
        out = outliers(self._texts(self.fresh))
        for index in out:
            job = self.fresh[index].job
            self.visits[job] = replace(self.visits[job], detail=DROPPED)
        self.fresh = [each for index, each in enumerate(self.fresh) if index not in out]

    @property
    def unranked(self) -> bool:
        """Tell whether a ranking has still to be asked for."""
        return self.recipe.rank and not self.ranked and len(self.kept) > 1

    def arrange(self, order: list[int] | None = None) -> None:
        """Put the kept proposals in an order, the best first, and keep what the recipe keeps.

        Without an order those go first that are most like the others.
        """
        order = by_agreement(self._texts(self.kept)) if order is None else order
        count = better_half(len(order)) if self.recipe.select else len(order)
        self.kept = [self.kept[index] for index in order[:count]]

    @staticmethod
    def _texts(kept: list[Kept]) -> list[str]:
        return [each.completion.text for each in kept]

    def trace(self, now: float) -> Trace:
        """Tell what happened so far."""
        return Trace(
            query=self.asked.query,
            home=self.home,
            mixture=self.asked.mixture,
            jobs=tuple(self.visits.values()),
            degraded=tuple(self.degraded),
            seconds=now - self.began,
            position=self.position,
            expected_seconds=self.forecast,
            recipe=self.recipe,
        )


def ahead(queries: Iterable[Query], reader: Reader, now: float) -> Iterator[Read]:
    """Tell what can be read now, the oldest query's first; what is taken counts as begun."""
    for query in queries:
        if (read := query.ahead(reader, now)) is not None:
            query.reading = True
            yield read
