"""What watchers of a node are shown: small facts, without a word of any prompt or answer.

A scene comes first, then sights: what has changed, each from one event or effect of an agent.
Every sight names the node or the query that it is about, so that the sights of many agents
(a simulated network, a record) can be shown together. Times are seconds, `at` by the clock of
whoever lives; figures are rounded, as nobody sees the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dmoa.core.digest import Digest
from dmoa.core.effects import (
    Announce,
    Answer,
    Deliver,
    Effect,
    Fail,
    Read,
    Refusal,
    Report,
    Rest,
    Send,
    Serve,
    Standing,
    Trace,
    Visit,
)
from dmoa.core.events import Abandoned, Asked, Event, Faltered, Offended, Received, Served
from dmoa.core.job import Job
from dmoa.core.messages import Decline, Farewell, Gossip, Message, Propose, Withdraw
from dmoa.core.names import JobId, NodeId, previewed

PLACES = 4
"""Decimal places of what is shown: a tenth of a millisecond."""


class Sight(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """Something that has changed at `at`."""

    at: float = 0.0


class NodeSight(Sight, frozen=True, tag="node"):
    """How a node stands, by its digest; `age` is how old that was when it was shown.

    `barred` says why whoever shows it does not ask it: `shunned` or `untrusted`.
    """

    node: str = ""
    model: str = ""
    incarnation: int = 0
    sequence: int = 0
    slots: int = 1
    length: int = 0
    utilisation: float = 0.0
    arrival_rate: float = 0.0
    service_time: float = 0.0
    capacity: float = 0.0
    layers: int = 0
    fanout: int = 0
    refused: int = 0
    declined: int = 0
    url: str = ""
    age: float = 0.0
    barred: str = ""


class GoneSight(Sight, frozen=True, tag="gone"):
    """A node left, or seems to have."""

    node: str = ""


class BlamedSight(Sight, frozen=True, tag="blamed"):
    """A node misbehaved."""

    node: str = ""
    offence: str = ""


class AskedSight(Sight, frozen=True, tag="asked"):
    """A query was asked, or is under way; its home is the first part of its name."""

    query: str = ""
    layers: int = 0
    fanout: int = 0
    recipe: str = ""


class VisitSight(Sight, frozen=True, tag="visit"):
    """How a job of a query stands, as its home sees it; times since the query was asked."""

    query: str = ""
    job: str = ""
    layer: int = 0
    role: str = "proposer"
    node: str = ""
    outcome: str = "pending"
    sent: float = 0.0
    ended: float = 0.0
    queued: float = 0.0
    service: float = 0.0


class PlaceSight(Sight, frozen=True, tag="place"):
    """Where a query stands in the queue of its home, and when its answer is expected."""

    query: str = ""
    position: int = 0
    layer: int = 0
    layers: int = 0
    fanout: int = 0
    starts_in: float = 0.0
    answers_in: float = 0.0


class AnsweredSight(Sight, frozen=True, tag="answered"):
    """A query was answered; of each degradation the first word, as details may hold text."""

    query: str = ""
    source: str = "aggregator"
    seconds: float = 0.0
    degraded: tuple[str, ...] = ()


class FailedSight(Sight, frozen=True, tag="failed"):
    """A query has no answer."""

    query: str = ""
    code: str = ""
    seconds: float = 0.0


class AbandonedSight(Sight, frozen=True, tag="abandoned"):
    """Nobody waits for a query any more."""

    query: str = ""


class JobSight(Sight, frozen=True, tag="job"):
    """A job at the node that serves it: `waiting`, `serving`, or how it ended there.

    The ends are `served`, `failed`, `declined` and `withdrawn`; what is known of an end is
    only the name, whose first part is the job's home.
    """

    node: str = ""
    job: str = ""
    state: str = "waiting"
    role: str = ""
    layer: int = 0


class ReadSight(Sight, frozen=True, tag="read"):
    """A node reads the prompt of a job that will come there; so many proposals of it are known.

    It is shown again when there are more, and ends with a `rest`, or when that job is served.
    """

    node: str = ""
    job: str = ""
    role: str = ""
    layer: int = 0
    proposals: int = 0


class RestSight(Sight, frozen=True, tag="rest"):
    """A node reads no further for a job."""

    node: str = ""
    job: str = ""


class PaceSight(Sight, frozen=True, tag="pace"):
    """From here on so many seconds pass in one: 0 where it is over, and time stands still."""

    speed: float = 0.0


class GapSight(Sight, frozen=True, tag="gap"):
    """So many sights are missing here: the watcher was too slow for them."""

    missed: int = 0


class Scene(Sight, frozen=True, tag="scene"):
    """How everything stands as a watcher comes.

    `node` is whose network this is, empty where it is nobody's; `past` has for each node its
    points, oldest first: at, length (jobs), rho, queries/s, seconds per job, M in use, and
    own queries and peers' jobs that were not taken since the node's start. `gossip` and
    `silence` are seconds; after two of the one a node is late, after the other it is gone.
    What does not live now has an `origin`, `record` or `simulation`; a `speed`, the
    seconds that pass in one: 0 before it begins, and when it is over; and when it `began`.
    """

    node: str = ""
    version: str = ""
    origin: str = ""
    speed: float = 1.0
    began: float = 0.0
    mode: str = ""
    gossip: float = 1.0
    silence: float = 5.0
    layers_max: int = 8
    fanout_max: int = 32
    nodes: tuple[NodeSight, ...] = ()
    queries: tuple[AskedSight, ...] = ()
    visits: tuple[VisitSight, ...] = ()
    places: tuple[PlaceSight, ...] = ()
    past: dict[str, list[list[float]]] = {}


# -- from the core's values ----------------------------------------------------------------


def node_sight(digest: Digest, at: float, *, age: float = 0.0, barred: str = "") -> NodeSight:
    """Show a digest that is `age` seconds old, of a node that may be `barred`."""
    return NodeSight(
        at=_short(at),
        node=digest.node,
        model=digest.model,
        incarnation=digest.incarnation,
        sequence=digest.sequence,
        slots=digest.slots,
        length=digest.length,
        utilisation=_short(digest.utilisation),
        arrival_rate=_short(digest.arrival_rate),
        service_time=_short(digest.service_time),
        capacity=_short(digest.capacity),
        layers=digest.layers,
        fanout=digest.fanout,
        refused=digest.refused,
        declined=digest.declined,
        url=digest.url,
        age=_short(age),
        barred=barred,
    )


def visit_sight(query: str, visit: Visit, at: float) -> VisitSight:
    """Show how a job of a query stands."""
    return VisitSight(
        at=_short(at),
        query=query,
        job=visit.job,
        layer=visit.layer,
        role=visit.role,
        node=visit.node,
        outcome=visit.outcome,
        sent=_short(visit.sent),
        ended=_short(visit.ended),
        queued=_short(visit.queued_seconds),
        service=_short(visit.service_seconds),
    )


def place_sight(standing: Standing, at: float) -> PlaceSight:
    """Show where a query stands."""
    return PlaceSight(
        at=_short(at),
        query=standing.query,
        position=standing.position,
        layer=standing.layer,
        layers=standing.mixture.layers,
        fanout=standing.mixture.fanout,
        starts_in=_short(standing.starts_in),
        answers_in=_short(standing.answers_in),
    )


def trace_sights(trace: Trace, now: float) -> tuple[AskedSight, list[VisitSight]]:
    """Show a query that is under way, and all its jobs."""
    at = now - trace.seconds
    mixture = trace.mixture
    asked = AskedSight(_short(at), trace.query, mixture.layers, mixture.fanout, trace.recipe.name)
    return asked, [visit_sight(trace.query, each, now) for each in trace.jobs]


def sights_of(node: NodeId, event: Event, effects: Sequence[Effect], now: float) -> Iterator[Sight]:
    """Tell what an event at a node, and what its agent wanted then, looks like from outside."""
    yield from _of_event(node, event, effects, now)
    for effect in effects:
        yield from _of_effect(node, effect, now)
    if isinstance(event, Abandoned):  # after its jobs: it is the last that is told of a query
        yield AbandonedSight(_short(now), event.query)


def _of_event(node: NodeId, event: Event, effects: Sequence[Effect], now: float) -> Iterator[Sight]:
    at = _short(now)
    match event:
        case Asked():
            shape = event.mixture
            yield AskedSight(at, event.query, shape.layers, shape.fanout, event.recipe.name)
        case Served():
            yield JobSight(at, node, event.job, "served")
        case Faltered():
            stopped = event.fault.code == "stopped"
            yield JobSight(at, node, event.job, "withdrawn" if stopped else "failed")
        case Offended():
            yield BlamedSight(at, event.peer, event.offence)
        case Received():
            yield from _of_message(node, event.sender, event.message, effects, now)
        case _:
            pass  # what a home makes of it is in its reports


def _of_message(
    node: NodeId, sender: NodeId, message: Message, effects: Sequence[Effect], now: float
) -> Iterator[Sight]:
    at = _short(now)
    match message:
        case Gossip(digest=digest) if sender == digest.node != node:
            yield node_sight(digest, now)
        case Farewell() if sender != node:
            yield GoneSight(at, sender)
        case Propose(job=job) if sender == job.home != node and not _declined(job.id, effects):
            yield _job_sight(node, job, "waiting", at)
        case Withdraw(job=name) if name.startswith(f"{sender}/") and not previewed(name):
            yield JobSight(at, node, name, "withdrawn")
        case _:
            pass  # replies are in the reports of who asked for them


def _of_effect(node: NodeId, effect: Effect, now: float) -> Iterator[Sight]:
    at = _short(now)
    match effect:
        case Announce(digest=digest):
            yield node_sight(digest, now)
        case Serve(job=job):
            yield _job_sight(node, job, "serving", at)
        case Read(job=job):
            yield ReadSight(at, node, job.id, job.role, job.layer, len(job.proposals))
        case Rest(job=name):
            yield RestSight(at, node, name)
        case Send(message=Decline(job=name)) if not previewed(name):
            yield JobSight(at, node, name, "declined")
        case Report(query=query, visit=visit):
            yield visit_sight(query, visit, now)
        case Deliver(query=query, answer=answer):
            yield _answered(query, answer, at)
        case Fail(query=query, refusal=refusal):
            yield _failed(query, refusal, at)
        case _:
            pass  # a job that is sent or cancelled is reported as well


def _declined(job: JobId, effects: Sequence[Effect]) -> bool:
    return any(
        isinstance(each, Send) and isinstance(each.message, Decline) and each.message.job == job
        for each in effects
    )


def _job_sight(node: NodeId, job: Job, state: str, at: float) -> JobSight:
    return JobSight(at, node, job.id, state, job.role, job.layer)


def _answered(query: str, answer: Answer, at: float) -> AnsweredSight:
    trace = answer.trace
    words = tuple(each.partition(":")[0] for each in trace.degraded)
    return AnsweredSight(at, query, answer.source, _short(trace.seconds), words)


def _failed(query: str, refusal: Refusal, at: float) -> FailedSight:
    return FailedSight(at, query, refusal.code, _short(refusal.trace.seconds))


def _short(value: float) -> float:
    return round(value, PLACES)
