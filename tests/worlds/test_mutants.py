"""The worlds bite: each bug that is planted here breaks a promise within a few seeds."""

from __future__ import annotations

import pytest

from dmoa.core import bench, choice, door, outlook
from dmoa.core.agent import Agent
from dmoa.core.bench import Bench
from dmoa.core.choice import Choice
from dmoa.core.effects import Report, Send
from dmoa.core.events import Received, Served
from dmoa.core.home import Home
from dmoa.core.messages import Probe
from dmoa.core.names import NodeId
from dmoa.core.outlook import Outlook
from dmoa.core.query import Query
from dmoa.core.queue import Queue
from dmoa.core.view import View
from dmoa.core.wants import Wants

from .dream import draw_world
from .planting import SEEDS, Plant, assert_found


def forget_to_withdraw(patch: pytest.MonkeyPatch) -> None:
    """A seat that ends at home goes on at its peer."""

    def dismiss(self, query, job, *how) -> None:
        node = query.pending[job]
        del self.seats[job]
        self.wants.want(Report(query.asked.query, query.end(job, *how)))
        if node == self.node:
            self.bench.drop(job)

    patch.setattr(Home, "_dismiss", dismiss)


def forget_to_cancel_at_home(patch: pytest.MonkeyPatch) -> None:
    """A seat that ends at home is withdrawn from peers, and goes on here."""
    dismiss = Home._dismiss

    def careless(self, query, job, *how) -> None:
        if query.pending[job] != self.node:
            dismiss(self, query, job, *how)
        else:
            del self.seats[job]
            query.end(job, *how)
            self.bench.queue.withdraw(job)

    patch.setattr(Home, "_dismiss", careless)


def serve_a_doubled_message_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Agent, "_remember", lambda _self, _job: None)


def deliver_for_a_late_proposal(patch: pytest.MonkeyPatch) -> None:
    """A proposal whose layer is over counts in the layer under way."""
    proposed = Home.proposed

    def gullible(self, sender: NodeId, message, now: float) -> None:
        name, _, _ = message.job.rpartition("/")
        query: Query | None = self.queries.get(name)
        if query is not None and message.job not in self.seats:
            self.seats[message.job] = name
            query.pending[message.job] = sender
        proposed(self, sender, message, now)

    patch.setattr(Home, "proposed", gullible)


def drop_the_timer(kind: str) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        wake = Wants.wake

        def deaf(self, at: float, of, subject: str) -> None:
            if of != kind:
                wake(self, at, of, subject)

        patch.setattr(Wants, "wake", deaf)

    return plant


def leak_reservations(patch: pytest.MonkeyPatch) -> None:
    def release(self, query) -> None:
        self._places.pop(query)

    patch.setattr(Queue, "release", release)


def leak_places_of_peers(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "_left", lambda _self, entry: entry)


def jump_the_queue(patch: pytest.MonkeyPatch) -> None:
    def start(self, now: float):
        if not self._waiting or len(self._serving) >= self.slots:
            return None
        job = list(self._waiting)[-1]
        entry = self._waiting.pop(job)
        entry.started = now
        self._serving[job] = entry
        return entry

    patch.setattr(Queue, "start", start)


def ask_one_peer_twice(patch: pytest.MonkeyPatch) -> None:
    def sample(self, count: int, now: float, rng, besides=()) -> list[NodeId]:
        living = [node for node in self.living(now) if node not in besides]
        return [rng.choice(living) for _ in range(min(count, len(living)))]

    patch.setattr(View, "sample", sample)


def end_twice(patch: pytest.MonkeyPatch) -> None:
    """A passed deadline does not forget its query."""

    def expire(self, name, now: float) -> None:
        query = self.queries[name]
        self._settle(query, "expired", "", now)
        self.queries[name] = query

    patch.setattr(Home, "expire", expire)


def free_the_slot_too_early(patch: pytest.MonkeyPatch) -> None:
    """A cancelled job's slot is given away while its model still works on it."""
    drop = Bench.drop

    def hasty(self, job) -> None:
        drop(self, job)
        self.queue.finish(job)

    patch.setattr(Bench, "drop", hasty)


def answer_for_the_withdrawn(patch: pytest.MonkeyPatch) -> None:
    """A peer's job that was cancelled is answered all the same, and then once more."""
    handle = Agent.handle

    def chatty(self, event, now: float):
        effects = handle(self, event, now)
        if isinstance(event, Served):
            effects += [effect for effect in effects if isinstance(effect, Send)]
        return effects

    patch.setattr(Agent, "handle", chatty)


def hide_a_loss(patch: pytest.MonkeyPatch) -> None:
    end = Query.end

    def silent(self, *args, missed=True):  # noqa: ARG001
        return end(self, *args, missed=False)

    patch.setattr(Query, "end", silent)


def draw_dice_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """An agent whose choice depends on more than its own events cannot be replayed."""
    sample, dice = View.sample, iter(range(10**9))

    def drifting(self, count: int, now: float, rng, besides=()) -> list[NodeId]:
        peers = sample(self, count, now, rng, besides)
        turn = next(dice) % (len(peers) or 1)
        return peers[turn:] + peers[:turn]

    patch.setattr(View, "sample", drifting)


def forget_the_order(patch: pytest.MonkeyPatch) -> None:
    """Whatever the policy says, first come is first served."""
    begin = Queue.__init__
    patch.setattr(Queue, "__init__", lambda self, **how: begin(self, **{**how, "order": "fcfs"}))


def retry_without_end(patch: pytest.MonkeyPatch) -> None:
    seat = Home._seat

    def forgetful(self, query, *how) -> None:
        query.retried = 0
        seat(self, query, *how)

    patch.setattr(Home, "_seat", forgetful)


def spare_who_is_needed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        choice, "needed", lambda seats, spare, missing: max(1, seats - spare - missing - 1)
    )


def take_whoever_comes(patch: pytest.MonkeyPatch) -> None:
    """A peer never declines for its policy."""
    patch.setattr(bench, "declines", lambda _length, _bound: False)


def take_whatever_is_asked(patch: pytest.MonkeyPatch) -> None:
    """A home never refuses for its policy."""
    patch.setattr(door, "declines", lambda _length, _bound: False)


def shrink_in_silence(patch: pytest.MonkeyPatch) -> None:
    """A crowded home leaves layers out, and does not say so."""
    draw = Choice.draw

    def silent(self, query, now):
        before = list(query.degraded)
        drawn = draw(self, query, now)
        query.degraded[:] = before
        return drawn

    patch.setattr(Choice, "draw", silent)


def never_count_the_probed_down(patch: pytest.MonkeyPatch) -> None:
    """A layer always waits for the end of its probes, whoever answers."""
    patch.setattr(Home, "heard", lambda _self, _peer, _now: None)


def leave_probes_behind(patch: pytest.MonkeyPatch) -> None:
    """A query that ends while it asks how its peers stand is still woken for them."""
    unwake = Wants.unwake

    def careless(self, kind, subject: str) -> None:
        if kind != "probe":
            unwake(self, kind, subject)

    patch.setattr(Wants, "unwake", careless)


def tell_nobody_how_it_stands(patch: pytest.MonkeyPatch) -> None:
    handle = Agent.handle

    def silent(self, event, now: float):
        if isinstance(event, Received) and isinstance(event.message, Probe):
            handle(self, event, now)
            return []
        return handle(self, event, now)

    patch.setattr(Agent, "handle", silent)


def forget_the_deadline(patch: pytest.MonkeyPatch) -> None:
    """Own queries are taken as if each had for ever."""
    patch.setattr(outlook, "own_bound", lambda _deadline, _pace, _layers: -1)


def forget_the_bound_while_nothing_is_measured(patch: pytest.MonkeyPatch) -> None:
    bound = Outlook.bound

    def lax(self, deadline: float, layers: int) -> int:
        measured = self.bench.gauge.pace > 0.0
        return bound(self, deadline, layers) if measured or not self.policy.timely else -1

    patch.setattr(Outlook, "bound", lax)


def doubt_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(View, "judge", lambda _self, _node, _ratio, _now: None)


def doubt_without_end(patch: pytest.MonkeyPatch) -> None:
    def harsh(self, node, ratio: float, now: float) -> None:  # noqa: ARG001
        if (peer := self._peers.get(node)) is not None:
            peer.doubt += 5.0
            peer.judged = now

    patch.setattr(View, "judge", harsh)


def miscount_the_position(patch: pytest.MonkeyPatch) -> None:
    """The place in the queue is told as if it were first come, first served."""

    def position(self, job) -> int:
        return list(self._waiting).index(job) + 1 if job in self._waiting else 0

    patch.setattr(Queue, "position", position)


def count_who_is_served_as_waiting(patch: pytest.MonkeyPatch) -> None:
    position = Queue.position
    patch.setattr(
        Queue, "position", lambda self, job: position(self, job) or int(job in self._serving)
    )


def ask_the_seated_again(patch: pytest.MonkeyPatch) -> None:
    """In place of a peer that declined somebody is asked who has a seat already."""
    patch.setattr(Query, "seated", property(lambda _self: []))


def take_a_job_too_many_per_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bench, "declines", lambda length, bound: 0 <= bound <= length - 1)


PLANTS = [
    forget_to_withdraw,
    forget_to_cancel_at_home,
    serve_a_doubled_message_twice,
    deliver_for_a_late_proposal,
    pytest.param(drop_the_timer("layer"), id="drop_the_timer_of_a_layer"),
    pytest.param(drop_the_timer("query"), id="drop_the_timer_of_a_query"),
    pytest.param(drop_the_timer("job"), id="drop_the_timer_of_a_job"),
    leak_reservations,
    leak_places_of_peers,
    jump_the_queue,
    ask_one_peer_twice,
    end_twice,
    free_the_slot_too_early,
    answer_for_the_withdrawn,
    hide_a_loss,
    draw_dice_of_its_own,
    forget_the_order,
    retry_without_end,
    spare_who_is_needed,
    take_whoever_comes,
    take_whatever_is_asked,
    shrink_in_silence,
    miscount_the_position,
    count_who_is_served_as_waiting,
    ask_the_seated_again,
    take_a_job_too_many_per_slot,
]

LIVING = [
    pytest.param(drop_the_timer("probe"), id="drop_the_timer_of_a_probe"),
    never_count_the_probed_down,
    leave_probes_behind,
    tell_nobody_how_it_stands,
    forget_the_deadline,
    forget_the_bound_while_nothing_is_measured,
    doubt_nobody,
    doubt_without_end,
]
"""Bugs of what goes by what agents measure, which other worlds need not be asked for."""


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_found(plant, monkeypatch, range(SEEDS))


@pytest.mark.parametrize("plant", LIVING)
def test_a_bug_planted_in_what_is_measured_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = [seed for seed in range(SEEDS) if draw_world(seed).policy.lives]
    assert_found(plant, monkeypatch, lives)
