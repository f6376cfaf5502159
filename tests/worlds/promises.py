"""What must hold: of each life, and of each query in the end. Of every moment: `watch`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf

from dmoa.core.agent import Agent
from dmoa.core.effects import (
    Answer,
    Cancel,
    Deliver,
    Effect,
    Fail,
    Refusal,
    Send,
    Serve,
    Trace,
    Visit,
)
from dmoa.core.events import Abandoned, Event, Faltered, Lost, Received, Served
from dmoa.core.history import Record
from dmoa.core.messages import (
    Decline,
    Failure,
    Gossip,
    Message,
    Preview,
    Probe,
    Proposal,
    Propose,
    Withdraw,
)
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId, previewed
from dmoa.core.prompts import SQUEEZES
from dmoa.core.query import DROPPED
from dmoa.core.recipe import Recipe
from dmoa.sim.world import End, World

from .watch import EPSILON


def rests(agent: Agent) -> None:
    """Nothing is left over in an agent whose users all left long ago."""
    assert not agent._previews.coming, f"{agent.node} still shows what will not come"
    assert not agent._shelf.held, f"{agent.node} still holds previews"
    assert agent.queries == 0, f"{agent.node} still has queries"
    assert not agent._home.seats, f"{agent.node} still waits for {list(agent._home.seats)}"
    assert len(agent.queue) == 0, f"{agent.node} still has jobs"
    assert agent.queue._places == {}, f"{agent.node} keeps places for nobody"
    assert agent.queue._bytes == 0, f"{agent.node} keeps {agent.queue._bytes} bytes for nobody"
    assert agent.queue._foreign == 0, f"{agent.node} counts jobs that are gone"
    assert list(agent._wants._due) == [("gossip", agent.node)], f"{agent.node} has timers left"


def ended_well(
    query: QueryId, mixture: Mixture, deadline: float, world: World, rate: float
) -> None:
    """A query ended once, in time, and tells how; `rate` is that of its home's clock."""
    end = world.queries[query]
    if end.abandoned:
        assert end.ends == 0, f"{query} ended after it was abandoned"
    elif end.orphaned:
        assert end.ends == 0, f"{query} ended without a home"
    else:
        assert end.ends == 1, f"{query} ended {end.ends} times"
        assert end.ended is not None
        slack = EPSILON if world.clocks else 0.0
        assert end.ended <= deadline + slack, f"{query} ended at {end.ended}, not by {deadline}"
        assert end.result is not None
        trace = end.result.trace
        assert (trace.query, trace.home, trace.mixture) == (query, query.split("/")[0], mixture)
        missed = sum(
            _layered_well(layer, trace, (deadline - end.asked) * rate, world)
            for layer in range(1, mixture.layers + 2)
        )
        assert len(trace.degraded) >= missed, f"{query} hides a loss: {trace.degraded}"
        _concluded_well(end, trace, missed, world)


def _layered_well(layer: int, trace: Trace, deadline: float, world: World) -> int:
    """One layer tells a story that can be true; count what it misses."""
    policy = world.policy
    probing = 0.0 if policy.probe is None else world.timing.probe
    mixture, final = trace.mixture, layer > trace.mixture.layers
    recipe = trace.recipe
    wanted = 1 if final else mixture.fanout + 1
    visits = [visit for visit in trace.jobs if visit.layer == layer]
    if not visits:
        return 0
    nodes = [visit.node for visit in visits]
    if final or recipe.own:
        assert set(nodes) == {trace.home}, f"layer {layer} asked {nodes}"
    else:
        assert len(set(nodes)) == len(nodes), f"layer {layer} asked {nodes}"
    ending = [visit.role for visit in visits if final]
    assert ending in ([], ["aggregator"], ["ranker"], ["ranker", "aggregator"])
    assert recipe.rank or "ranker" not in ending
    assert nodes[0] == trace.home, f"layer {layer} has no home"
    for visit in visits:
        assert (visit.role == "proposer") is not final
        assert visit.outcome != "pending", f"{visit.job} was forgotten"
        patience = (deadline - visit.sent) / (mixture.layers - layer + 2)
        assert visit.ended - visit.sent <= patience + probing + EPSILON, f"{visit.job} had too long"
    if final:
        return sum(visit.outcome != "ok" for visit in visits)
    _trimmed_well(layer, visits, recipe)
    outcomes = Counter(visit.outcome for visit in visits)
    lost = [visit for visit in visits if visit.outcome not in ("ok", "spared")]
    told = [visit for visit in lost if _is_told(visit, trace)]
    replaced = len(lost) - len(told)
    assert all(visit in told or visit.outcome == "declined" for visit in lost), "a loss is hidden"
    assert replaced <= policy.retries, f"layer {layer} asked {nodes}"
    narrow = [reason for reason in trace.degraded if f"; layer {layer} asks " in reason]
    assert len(narrow) <= policy.adaptive
    if narrow:
        wanted = 1 + int(narrow[0].split(" asks ")[1].split(" ")[0])
    spare = max(0, len(nodes) - replaced - wanted)
    assert spare <= (0 if recipe.own else policy.spare), f"layer {layer} asked {nodes}"
    if outcomes["spared"]:
        waited = max(1, len(nodes) - replaced - spare - policy.missing)
        assert outcomes["ok"] == waited, f"layer {layer} spared who was needed"
    last = max(visit.layer for visit in trace.jobs) == layer
    if last and probing and trace.seconds - visits[0].sent <= probing + EPSILON:
        wanted = 1  # it was over before anybody else was asked
    return len(told) + len(narrow) + (len(nodes) - replaced < wanted)


def _trimmed_well(layer: int, visits: list[Visit], recipe: Recipe) -> None:
    """Only a minority of what came in is dropped, where that is wanted, and it is told."""
    dropped = sum(visit.detail == DROPPED for visit in visits)
    came = sum(visit.outcome == "ok" for visit in visits)
    assert recipe.trim or not dropped, f"layer {layer} dropped what was to be read"
    assert 2 * dropped < max(came, 1), f"layer {layer} dropped {dropped} of {came}"


def _is_ranked(trace: Trace) -> bool:
    return any(visit.role == "ranker" for visit in trace.jobs)


def _is_told(visit: Visit, trace: Trace) -> bool:
    reason = f"{visit.outcome}: {visit.node} in layer {visit.layer}"
    return any(each == reason or each.startswith(f"{reason} (") for each in trace.degraded)


def _concluded_well(end: End, trace: Trace, missed: int, world: World) -> None:
    """The end follows from what went before."""
    mixture, limits = trace.mixture, world.limits
    proposed = any((visit.role, visit.outcome) == ("proposer", "ok") for visit in trace.jobs)
    match end.result:
        case Answer(source="aggregator"):
            last = trace.jobs[-1]
            assert (last.role, last.outcome) == ("aggregator", "ok")
            alone = [reason for reason in trace.degraded if reason.endswith("went on alone")]
            layers = sorted({visit.layer for visit in trace.jobs})
            proposing = range(1, len(layers))
            assert layers == [*proposing, mixture.layers + 1], "a layer was left out"
            shallow = [reason for reason in trace.degraded if reason.startswith("shallow")]
            assert len(shallow) <= world.policy.adaptive
            cut = bool(alone or shallow)
            assert (len(proposing) < mixture.layers) == cut, "layers vanished unsaid"
            assert not alone or mixture.fanout > 0, "who asks nobody is never alone"
            unread = [reason for reason in trace.degraded if reason.startswith("unread")]
            assert len(unread) <= 1
            assert not unread or proposed, "nothing was there to be read"
            unranked = [reason for reason in trace.degraded if reason.startswith("unranked")]
            assert len(unranked) <= trace.recipe.rank
            excused = len(alone) + len(shallow) + len(unread) + len(unranked)
            assert len(trace.degraded) == missed + excused
        case Answer(source="chosen", completion=completion):
            assert trace.recipe.best or trace.recipe.agree
            assert trace.jobs[-1].role == ("ranker" if _is_ranked(trace) else "proposer")
            assert proposed
            assert completion.text
        case Answer(source="proposal", completion=completion):
            assert any(reason.startswith("unaggregated") for reason in trace.degraded)
            assert proposed
            assert completion.text
            assert len(completion.text.encode()) <= limits.proposal_bytes
        case Refusal(code="overloaded", retry_after=seconds, position=position):
            assert seconds is not None
            assert 0.0 < seconds < inf
            assert position is not None
            assert position >= 1
            assert not trace.jobs
        case Refusal(code="refused", trace=Trace(jobs=())):
            crowd = trace.recipe.own and mixture.fanout + 1 > limits.queue_jobs
            assert mixture.layers > limits.layers or mixture.fanout > limits.fanout or crowd
        case _:
            assert not proposed, "a proposal was there, and not delivered"


@dataclass(slots=True)
class Life:
    """One life, read from its record: what it owes to its users, peers and model.

    `owed` are jobs that peers have of it, `shown` previews that they may have, `busy` the jobs its
    model has: True while wanted.
    """

    name: str
    owed: dict[JobId, NodeId] = field(default_factory=dict)
    shown: dict[JobId, NodeId] = field(default_factory=dict)
    busy: dict[JobId, bool] = field(default_factory=dict)
    serves: Counter[JobId] = field(default_factory=Counter)
    too_long: Counter[JobId] = field(default_factory=Counter)
    replies: Counter[JobId] = field(default_factory=Counter)
    foreign: set[JobId] = field(default_factory=set)

    def live(self, records: list[Record], *, remembered: int) -> None:
        """Live it again; `remembered` is how many names of peers' jobs it could keep."""
        for record in records:
            self._happened(record.event)
            self._told(record)
            gone = [record.event.query] if isinstance(record.event, Abandoned) else []
            for effect in record.effects:
                self._wanted(effect)
                if isinstance(effect, Deliver | Fail):
                    gone.append(effect.query)
            for query in gone:
                self._gone(query)
        if remembered >= len(self.foreign):
            for job, count in self.serves.items():
                most = 1 + min(self.too_long[job], SQUEEZES)
                assert count <= most, f"{self.name} served {job} {count} times"
            for job, count in self.replies.items():
                assert count == 1, f"{self.name} replied {count} times to {job}"

    def _told(self, record: Record) -> None:
        """Whoever asks how this node stands is told so at once."""
        if isinstance(record.event, Received) and isinstance(record.event.message, Probe):
            gossip = [
                effect.to
                for effect in record.effects
                if isinstance(effect, Send) and isinstance(effect.message, Gossip)
            ]
            assert gossip == [record.event.sender], f"{self.name} told {gossip} how it stands"

    def _happened(self, event: Event) -> None:
        match event:
            case Served(job=job):
                del self.busy[job]
            case Received(_, Propose(job=job)):
                self.foreign.add(job.id)
            case Received(_, Preview() as preview):
                self.foreign |= {preview.name, preview.job.id}
            case Received(_, Withdraw(job=job)):
                self.foreign.add(job)
            case Faltered(job=job, fault=fault):
                del self.busy[job]
                self.too_long[job] += fault.code == "too_long"
            case Received(peer, Proposal(job=job) | Decline(job=job) | Failure(job=job)) | Lost(
                peer, job
            ):
                if self.owed.get(job) == peer:
                    del self.owed[job]
                if self.shown.get(job) == peer:
                    del self.shown[job]
            case _:
                pass

    def _wanted(self, effect: Effect) -> None:
        match effect:
            case Serve(job=job):
                assert job.id not in self.busy, f"{self.name} serves {job.id} twice at once"
                self.busy[job.id] = True
                self.serves[job.id] += 1
            case Cancel(job=name):
                assert self.busy[name], f"{self.name} cancels {name} twice"
                self.busy[name] = False
            case Send(to, message):
                self._said(NodeId(to), message)
            case _:
                pass

    def _said(self, to: NodeId, message: Message) -> None:
        match message:
            case Probe():
                assert to != self.name.split("/")[0], f"{self.name} asks itself how it stands"
            case Propose(job=job):
                self.owed[job.id] = to
                mine = [name for name, peer in self.shown.items() if peer == to]
                for name in mine:  # it knows by itself that it need hold no more
                    if previewed(name) == job.id:
                        del self.shown[name]
            case Preview(job=job):
                assert job.id not in self.owed, f"{self.name} shows {job.id}, and it was asked"
                assert message.name not in self.shown, f"{self.name} shows {message.name} again"
                self.shown[message.name] = to
            case Withdraw(job=name) if previewed(name):
                assert self.shown.pop(name) == to, f"{self.name} takes {name} back from {to}"
            case Withdraw(job=name):
                assert self.owed.pop(name) == to, f"{self.name} withdraws {name} from {to}"
            case Proposal(job=name) | Decline(job=name) | Failure(job=name):
                self.replies[name] += 1
            case _:
                pass

    def _gone(self, query: QueryId) -> None:
        """Nobody may work on a query that is gone."""
        left = [job for job in self.owed if job.startswith(f"{query}/")]
        left += [job for job in self.shown if job.startswith(f"{query}/")]
        assert not left, f"{self.name} never withdrew {left}"
        wanted = [job for job, wanted in self.busy.items() if wanted]
        left = [job for job in wanted if job.startswith(f"{query}/")]
        assert not left, f"{self.name} still works on {left}"
