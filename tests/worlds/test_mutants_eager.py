"""The worlds bite whoever reads too eagerly: each bug in what is read ahead is found."""

from __future__ import annotations

from functools import cache

import pytest

from dmoa.core.bench import Bench
from dmoa.core.effects import Rest
from dmoa.core.query import Query
from dmoa.core.reading import Reader

from .dream import LAYERS, ROOMY, draw_world, run_world
from .eager import Readers, may_read
from .planting import SEEDS, Plant, assert_found


def read_while_jobs_wait(patch: pytest.MonkeyPatch) -> None:
    """All slots count as free, whoever is served in them."""
    patch.setattr(Reader, "free", property(lambda self: self.queue.slots))


def give_way_too_late(patch: pytest.MonkeyPatch) -> None:
    """A job begins before the reading that has its slot is told to rest."""

    def give_way(self, job) -> None:
        self.under_way.pop(job, None)

    patch.setattr(Reader, "give_way", give_way)


def forget_to_rest(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reader, "_rest", lambda self, job: self.under_way.pop(job))


def rest_twice(patch: pytest.MonkeyPatch) -> None:
    """A reading whose job began is told to rest as well."""

    def give_way(self, job) -> None:
        if self.under_way.pop(job, None) is not None:
            self.wants.want(Rest(job))
        elif len(self.under_way) > self.free:
            self._rest(next(reversed(self.under_way)))

    patch.setattr(Reader, "give_way", give_way)


def read_on_for_queries_that_ended(patch: pytest.MonkeyPatch) -> None:
    """What is not wanted any more is read until somebody needs the slot."""

    def look(self, wanted) -> None:
        for read in wanted:
            known = self.under_way.get(read.job.id)
            if self.able and known is not read and (known or len(self.under_way) < self.free):
                self.under_way[read.job.id] = read
                self.wants.want(read)

    patch.setattr(Reader, "look", look)


def read_in_another_order(patch: pytest.MonkeyPatch) -> None:
    """Proposals are aggregated the last first, and read the first first."""
    turn_over = Query.turn_over

    def backwards(self) -> bool:
        self.fresh.reverse()
        return turn_over(self)

    patch.setattr(Query, "turn_over", backwards)


def put_the_own_proposal_first_always(patch: pytest.MonkeyPatch) -> None:
    """The order changes after reading has begun."""
    patch.setattr(Query, "reading", property(lambda _: False, lambda _self, _value: None))


def read_what_will_be_ordered(patch: pytest.MonkeyPatch) -> None:
    """Recipes that order, or drop, proposals before they are used are read ahead as any other."""
    patch.setattr(Query, "ordered", property(lambda _: True))


def read_the_same_again_and_again(patch: pytest.MonkeyPatch) -> None:
    ahead = Query.ahead

    def forgetful(self, reader, now: float):
        under_way, reader.under_way = reader.under_way, {}
        try:
            return ahead(self, reader, now)
        finally:
            reader.under_way = under_way

    patch.setattr(Query, "ahead", forgetful)


def miss_the_next_proposal(patch: pytest.MonkeyPatch) -> None:
    """What was read goes for what is known now, however much came since."""
    ahead = Query.ahead

    def content(self, reader, now: float):
        old = [read for read in reader.under_way.values() if read.job.query == self.asked.query]
        return old[0] if old and self.fresh else ahead(self, reader, now)

    patch.setattr(Query, "ahead", content)


def read_where_nothing_can(patch: pytest.MonkeyPatch) -> None:
    """A model that cannot read ahead, or is not to, is asked to all the same."""
    patch.setattr(Bench, "eager", property(lambda _: True))


def never_read(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reader, "look", lambda _self, _wanted: None)


EAGER = [
    read_while_jobs_wait,
    give_way_too_late,
    forget_to_rest,
    rest_twice,
    read_on_for_queries_that_ended,
    read_in_another_order,
    put_the_own_proposal_first_always,
    read_what_will_be_ordered,
    read_the_same_again_and_again,
    miss_the_next_proposal,
    never_read,
]
"""Bugs of what is read ahead, for worlds whose models can."""


@cache
def eager() -> dict[bool, list[int]]:
    """List worlds where much could be read ahead, in good weather: and whether it is."""
    told: dict[bool, list[int]] = {True: [], False: []}
    for seed in range(2 * SEEDS):
        world = draw_world(seed)
        faults, jobs = world.faults, world.limits.queue_jobs
        fair = not (faults.loss or faults.delay or faults.broken) and world.limits.layers == LAYERS
        if fair and world.nodes > 3 and 4 <= jobs < ROOMY:
            told[may_read(next(iter(world.agents.values())))].append(seed)
    return told


@pytest.mark.parametrize("plant", EAGER)
def test_a_bug_planted_in_what_is_read_ahead_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_found(plant, monkeypatch, eager()[True])


def test_who_reads_where_nothing_can_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_found(read_where_nothing_can, monkeypatch, eager()[False])


def test_in_those_worlds_much_is_read_ahead() -> None:
    told = [run_world(seed).show for seed in eager()[True]]
    assert all(isinstance(each, Readers) for each in told)
    assert sum(each.began for each in told) > 50
    assert sum(each.used for each in told) > 25
    assert sum(each.rested for each in told) > 5
