"""What must hold of what is read ahead: looked at with every event, effect by effect.

Worked out anew from what an agent was told and wanted, and from its queries, not from its own
book of what it reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dmoa.core.agent import Agent
from dmoa.core.effects import Deliver, Effect, Fail, Read, Report, Rest, Send, Serve
from dmoa.core.events import Abandoned, Event, Faltered, Received, Served
from dmoa.core.job import Job
from dmoa.core.messages import Decline, Preview, Withdraw, is_its_own
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.query import Query


@dataclass(slots=True)
class Story:
    """One query, as far as reading goes.

    `came` are the jobs whose proposals are in, of `layer`, as they are to be read. `read` is what
    was read last, in the layer `during`, until home's own model is given what follows. Of the
    layer `fixed` peers were shown what came, so that its order stands.
    """

    layer: int = 0
    came: list[JobId] = field(default_factory=list)
    during: int = 0
    fixed: int = 0
    read: Job | None = None


@dataclass(slots=True)
class Desk:
    """One life: the jobs in service, what is being read, and the queries."""

    busy: set[JobId] = field(default_factory=set)
    reads: dict[JobId, Read] = field(default_factory=dict)
    stories: dict[QueryId, Story] = field(default_factory=dict)
    shown: dict[JobId, list[Job]] = field(default_factory=dict)
    sent: dict[tuple[NodeId, JobId], int] = field(default_factory=dict)
    """Bytes of the previews that a peer was sent of a job."""
    heard: set[JobId] = field(default_factory=set)
    """Names of previews that were shown here, or taken back."""


@dataclass(slots=True)
class Readers:
    """All lives (`n1/2`), watched; it counts, so that a test can tell that there was something."""

    desks: dict[str, Desk] = field(default_factory=dict)
    began: int = 0
    used: int = 0
    foreign: int = 0
    rested: int = 0

    def __call__(self, agent: Agent, event: Event, effects: Sequence[Effect]) -> None:
        desk = self.desks.setdefault(f"{agent.node}/{agent._incarnation}", Desk())
        _happened(desk, event)
        last: Effect | None = None
        for effect in effects:
            match effect:
                case Report():
                    _reported(agent, desk, effect)
                case Serve(job=job):
                    assert last != Rest(job.id), f"{job.id} begins, and what was read is given up"
                    read = desk.reads.pop(job.id, None) is not None
                    self.used += read
                    self.foreign += read and job.home != agent.node
                    desk.busy.add(job.id)
                    _served(desk, job)
                case Read():
                    self.began += 1
                    _began(agent, desk, effect)
                case Send(to=to, message=Preview(job=job)):
                    desk.stories[job.query].fixed = job.layer - 1
                    _sent(agent, desk, to, job)
                case Rest(job=name):
                    self.rested += 1
                    assert desk.reads.pop(name, None), f"{name} is to rest, and was not read"
                case _:
                    pass
            last = effect
            if len(desk.busy) + len(desk.reads) > agent.queue.slots:
                raise AssertionError(f"{[*desk.reads]} are read, beside {desk.busy}")
        gone = [effect.query for effect in effects if isinstance(effect, Deliver | Fail)]
        for name in [*gone, event.query] if isinstance(event, Abandoned) else gone:
            desk.stories.pop(name, None)
        _as_things_stand(agent, desk)
        _shelved(agent, desk, event, effects)


def may_read(agent: Agent) -> bool:
    """Tell whether anything is read ahead there."""
    return agent.profile.reads and agent.policy.eager != "off"


def _happened(desk: Desk, event: Event) -> None:
    match event:
        case Served(job=name) | Faltered(job=name):
            desk.busy.discard(name)
        case Received(message=Preview(job=job)):
            desk.shown.setdefault(job.id, []).append(job)
        case _:
            pass


# -- effect by effect -----------------------------------------------------------------


def _reported(agent: Agent, desk: Desk, effect: Report) -> None:
    """A proposal that came in is the last to be read; home's own is the first, if it still can."""
    story, visit = desk.stories.setdefault(effect.query, Story()), effect.visit
    if visit.role != "proposer" or visit.outcome != "ok":
        return
    if visit.layer != story.layer:
        story.layer, story.came, story.read = visit.layer, [], None
    own, begun = visit.job.endswith(f"/{visit.layer}.0"), visit.layer in (story.during, story.fixed)
    first = own and may_read(agent) and not begun
    story.came.insert(0 if first else len(story.came), visit.job)


def _began(agent: Agent, desk: Desk, effect: Read) -> None:
    job = effect.job
    assert may_read(agent), f"{job.id} is read where nothing is to be"
    assert agent.queue.waiting == 0, f"{job.id} is read while others wait"
    if job.home != agent.node:
        _shown(agent, desk, effect)
        return
    story = desk.stories[job.query]
    old, layer = desk.reads.get(job.id), agent._home.queries[job.query].layer
    again = old is not None and (old.job.proposals, old.follow) == (job.proposals, effect.follow)
    assert not again, f"{job.id} is read anew for nothing"
    if story.read is not None and story.during == layer:
        _goes_on(story.read, job)
    desk.reads[job.id], story.read, story.during = effect, job, layer


def _sent(agent: Agent, desk: Desk, to: NodeId, job: Job) -> None:
    """Of what is to come the peers that read are shown what they are to propose, within bounds."""
    assert agent.view._peers[to].digest.reads, f"{to} is shown {job.id}, and does not read"
    assert job.role == "proposer", f"{to} is shown what home does"
    asked = agent._home.queries[job.query].layers
    assert job.layer <= asked, f"{to} is shown layer {job.layer} of {asked}"
    sent = desk.sent[to, job.id] = desk.sent.get((to, job.id), 0) + job.size
    assert sent <= agent.limits.shown_bytes, f"{to} is shown {sent} bytes of {job.id}"


def _shelved(agent: Agent, desk: Desk, event: Event, effects: Sequence[Effect]) -> None:
    """Nobody has more than half of what is held, nor is held what was taken back or declined."""
    held = [each.preview for each in agent._shelf.held.values()]
    most, size = agent.limits.previews, agent.limits.preview_bytes
    for home in {each.job.home for each in held}:
        own = [each.job.size for each in held if each.job.home == home]
        assert len(own) <= max(1, most // 2), f"{home} has {len(own)} previews of {most} here"
        assert sum(own) <= size // 2, f"{home} has {sum(own)} bytes of previews here"
    if not isinstance(event, Received) or event.sender == agent.node:
        return
    if not is_its_own(event.message, event.sender, agent.node):
        return
    match event.message:
        case Withdraw(job=name):
            desk.heard.add(name)
            assert all(each.name != name for each in held), f"{name} is held, and was taken back"
        case Preview() as preview if preview.name not in desk.heard:
            desk.heard.add(preview.name)
            told = [each.message for each in effects if isinstance(each, Send)]
            declined = any(isinstance(each, Decline) and each.job == preview.name for each in told)
            assert (preview in held) != declined, f"{preview.name} is neither held nor declined"
        case _:
            pass


def _shown(agent: Agent, desk: Desk, effect: Read) -> None:
    """Of a peer's jobs that is read which its home showed, and nothing is waited for."""
    job = effect.job
    assert agent.policy.eager == "all"
    assert job in desk.shown[job.id], f"{job.id} was not shown so"
    old = desk.reads.get(job.id)
    assert old is None or old.job != job, f"{job.id} is read anew for nothing"
    assert not effect.follow
    desk.reads[job.id] = effect


def _served(desk: Desk, job: Job) -> None:
    """What was read for it is how the prompt begins, whoever's reading was broken off since."""
    story = desk.stories.get(job.query)
    if story is not None and story.read is not None and job.layer > story.during:
        _goes_on(story.read, job)
        story.read = None


def _goes_on(old: Job, new: Job) -> None:
    """What is read later begins with what was read before."""
    count = len(old.proposals)
    assert new.proposals[:count] == old.proposals, f"{new.id} reads its proposals in another order"
    if new.id == old.id:
        assert (new.role, new.layer, new.turns) == (old.role, old.layer, old.turns)
        assert (new.sampling, new.options, new.seed) == (old.sampling, old.options, old.seed)


# -- after each event -----------------------------------------------------------------


def _as_things_stand(agent: Agent, desk: Desk) -> None:
    """The oldest queries are read for, as far as there are slots, and as far as they came."""
    queries = agent._home.queries
    own = {name: read for name, read in desk.reads.items() if read.job.home == agent.node}
    assert desk.reads.keys() - own.keys() <= agent._shelf.held.keys()
    for name, read in own.items():
        assert read.job.query in queries, f"{name} is read for nobody"
        query = queries[read.job.query]
        assert read.job.layer > query.layer, f"{name} is read, and its layer is over"
        assert list(read.job.proposals) == [each.completion.text for each in query.fresh]
        assert set(read.follow) <= query.pending.keys(), f"{name} waits for whoever will not come"
        assert not query.recipe.trim
        assert not query.recipe.orders or read.job.role == "ranker", f"{name} is not known so far"
    for name, query in queries.items():
        came = desk.stories[name].came if query.fresh else []
        assert [each.job for each in query.fresh] == came, f"{name} has another order"
    if may_read(agent):
        _nothing_is_left_out(agent, desk)


def _nothing_is_left_out(agent: Agent, desk: Desk) -> None:
    reading = {read.job.query for read in desk.reads.values()}
    own = all(read.job.home == agent.node for read in desk.reads.values())
    free = agent.queue.slots - len(desk.busy) - len(desk.reads)
    unread: Query | None = None
    for name, query in agent._home.queries.items():
        assert name not in reading or unread is None, f"{name} goes before an older query"
        known = query.fresh and not (query.recipe.orders or query.recipe.trim)
        if known and name not in reading:
            unread = query
    assert unread is None or free == 0, "a slot idles, while something could be read"
    assert unread is None or own, "a peer's job is read, and an own one is not"
    held = agent._shelf.held.keys() - desk.reads.keys()
    assert not held or free == 0, f"a slot idles, while {held} could be read"
