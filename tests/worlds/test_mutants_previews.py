"""The worlds bite whoever is careless with previews: each bug in what is shown early is found."""

from __future__ import annotations

from functools import cache

import pytest

from dmoa.core import preview
from dmoa.core.preview import Previews, Shelf
from dmoa.core.view import View

from .dream import draw_world, run_world
from .eager import Readers
from .planting import SEEDS, Plant, assert_found


def show_who_does_not_read(patch: pytest.MonkeyPatch) -> None:
    """Previews go to nodes that never said they know them."""
    patch.setattr(View, "reads", lambda _self, _node: True)


def show_the_same_again_and_again(patch: pytest.MonkeyPatch) -> None:
    show = Previews._show

    def forgetful(self, query, shown, now: float) -> None:
        show(self, query, shown, now)
        shown.known = 0

    patch.setattr(Previews, "_show", forgetful)


def show_without_a_bound(patch: pytest.MonkeyPatch) -> None:
    show = Previews._show

    def boundless(self, query, shown, now: float) -> None:
        shown.size = 0
        show(self, query, shown, now)

    patch.setattr(Previews, "_show", boundless)


def change_the_order_of_what_was_shown(patch: pytest.MonkeyPatch) -> None:
    show = Previews._show

    def loose(self, query, shown, now: float) -> None:
        before = query.reading
        show(self, query, shown, now)
        query.reading = before

    patch.setattr(Previews, "_show", loose)


def take_nothing_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Previews, "_take_back", lambda _self, _job, _shown: None)


def show_beyond_the_end(patch: pytest.MonkeyPatch) -> None:
    """A query that ended is still to show its next layer."""
    end = Previews._end

    def late(self, query, visits) -> None:
        if visits:
            end(self, query, visits)

    patch.setattr(Previews, "_end", late)


def hold_without_bounds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(preview, "fits", lambda *_: True)


def hold_what_was_taken_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shelf, "withdrawn", lambda _self, _name: None)


def hold_for_the_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shelf, "forsake", lambda _self, _home: None)


def hold_in_silence(patch: pytest.MonkeyPatch) -> None:
    """A preview that is not held is not declined."""
    patch.setattr(Shelf, "_decline", lambda _self, _preview: None)


def hold_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Shelf, "drop", lambda _self, _job: None)


PREVIEWS = [
    show_the_same_again_and_again,
    show_without_a_bound,
    change_the_order_of_what_was_shown,
    take_nothing_back,
    show_beyond_the_end,
    hold_without_bounds,
    hold_what_was_taken_back,
    hold_for_the_lost,
    hold_in_silence,
    hold_for_ever,
]


@cache
def showing() -> dict[bool, list[int]]:
    """List worlds whose nodes would show their peers what will come: and whether these read."""
    found: dict[bool, list[int]] = {True: [], False: []}
    for seed in range(6 * SEEDS):
        world = draw_world(seed)
        agent = next(iter(world.agents.values()))
        if agent.policy.eager == "all" and world.nodes > 1 and world.limits.layers > 1:
            found[agent.profile.reads].append(seed)
    return found


@pytest.mark.parametrize("plant", PREVIEWS)
def test_a_bug_planted_in_previews_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_found(plant, monkeypatch, showing()[True])


def test_who_shows_what_nobody_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_found(show_who_does_not_read, monkeypatch, showing()[False])


def test_in_those_worlds_peers_read_what_they_were_shown() -> None:
    told = [run_world(seed).show for seed in showing()[True][:30]]
    assert sum(each.foreign for each in told if isinstance(each, Readers)) > 5
