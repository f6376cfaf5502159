from __future__ import annotations

from collections import Counter
from random import Random

from dmoa.core.digest import Digest
from dmoa.core.names import NodeId
from dmoa.core.view import View


def digest(node: str, sequence: int = 1, incarnation: int = 1) -> Digest:
    return Digest(NodeId(node), incarnation, sequence, "toy", 1)


def view_of(nodes: str, size: int = 8) -> View:
    view = View(size=size, silence=5.0)
    for node in nodes:
        view.hear(digest(node), 0.0)
    view.check()
    return view


def test_who_was_heard_lives_until_it_is_silent_for_too_long() -> None:
    view = view_of("ba")
    assert view.living(4.999) == ["a", "b"]
    view.hear(digest("b", 2), 4.0)
    assert view.living(5.0) == ["b"]
    assert view.living(9.0) == []


def test_a_digest_comes_with_its_age() -> None:
    view = view_of("a")
    assert view.known(3.0) == [(digest("a"), 3.0)]


def test_an_old_digest_changes_nothing() -> None:
    view = view_of("a")
    view.hear(digest("a", 5), 1.0)
    for sequence in (5, 4, 1):
        assert not view.hear(digest("a", sequence), 4.0)
    assert view.living(6.0) == []
    assert view.known(5.0) == [(digest("a", 5), 4.0)]


def test_a_new_incarnation_is_told_once() -> None:
    view = view_of("a")
    assert not view.hear(digest("b", 1, 7), 0.0), "nobody knew it before"
    assert view.hear(digest("a", 0, 2), 1.0)
    assert not view.hear(digest("a", 1, 2), 2.0)
    assert not view.hear(digest("a", 99, 1), 3.0), "its former life is over"


def test_a_hint_takes_out_at_once_and_a_new_digest_brings_back() -> None:
    view = view_of("ab")
    view.leave(NodeId("a"))
    view.leave(NodeId("stranger"))
    assert view.living(0.0) == ["b"]
    view.hear(digest("a", 1), 0.5)
    assert view.living(0.5) == ["b"], "this one is from before the hint"
    view.hear(digest("a", 2), 1.0)
    assert view.living(1.0) == ["a", "b"]


def test_a_full_view_takes_no_newcomer_while_all_live() -> None:
    view = view_of("ab", size=2)
    assert not view.hear(digest("c"), 4.0)
    assert view.living(4.0) == ["a", "b"]


def test_a_full_view_forgets_who_is_silent_longest() -> None:
    view = View(size=2, silence=5.0)
    view.hear(digest("a"), 1.0)
    view.hear(digest("b"), 0.0)
    view.hear(digest("c"), 7.0)
    assert set(view._peers) == {"a", "c"}
    view.check()


def test_a_full_view_forgets_who_left_although_others_are_silent_for_longer() -> None:
    view = view_of("ab", size=2)
    view.hear(digest("b", 2), 1.0)
    view.leave(NodeId("b"))
    view.hear(digest("c"), 2.0)
    assert view.living(2.0) == ["a", "c"]
    view.check()


def test_a_sample_has_no_peer_twice_and_never_more_than_there_are() -> None:
    view = view_of("abcde")
    for seed in range(50):
        chosen = view.sample(3, 0.0, Random(seed))
        assert len(set(chosen)) == len(chosen) == 3
    assert sorted(view.sample(9, 0.0, Random(1))) == list("abcde")
    assert view.sample(0, 0.0, Random(1)) == []
    assert View(size=2, silence=1.0).sample(3, 0.0, Random(1)) == []


def test_every_peer_is_drawn_about_as_often_as_any() -> None:
    view, rng = view_of("abcdefg"), Random(2412)
    drawn = Counter(node for _ in range(7000) for node in view.sample(2, 0.0, rng))
    assert set(drawn) == set("abcdefg")
    assert all(abs(count - 2000) < 160 for count in drawn.values()), "four standard deviations"


def test_a_sample_depends_on_the_dice_alone() -> None:
    one, other = view_of("abcdef"), view_of("fedcba")
    assert one.sample(3, 0.0, Random(5)) == other.sample(3, 0.0, Random(5))


def standing(node: str, length: int, service_time: float, slots: int = 1) -> Digest:
    return Digest(NodeId(node), 1, 1, "toy", slots, length=length, service_time=service_time)


def lightest(view: View, drawn: list[NodeId], count: int, now: float = 0.0) -> list[NodeId]:
    return [node for node, _ in view.lightest(drawn, count, now)]


def test_the_lightest_of_twice_as_many_are_chosen() -> None:
    view = View(size=99, silence=5.0)
    for number in range(9):
        view.hear(standing(f"n{number}", number, 1.0), 0.0)
    for seed in range(50):
        drawn = view.candidates(2, 0.0, Random(seed))
        assert len(drawn) == 4
        assert lightest(view, drawn, 2) == sorted(drawn)[:2]
    assert lightest(view, view.candidates(9, 0.0, Random(1)), 9) == view.living(0.0)
    assert len(lightest(view, view.candidates(99, 0.0, Random(1)), 99)) == 9
    assert "n0" not in view.candidates(9, 0.0, Random(1), besides=[NodeId("n0")])


def test_a_fast_peer_with_a_queue_is_lighter_than_a_slow_one_without() -> None:
    view = View(size=99, silence=5.0)
    view.hear(standing("slow", 0, 9.0), 0.0)
    view.hear(standing("fast", 3, 1.0), 0.0)
    assert lightest(view, view.living(0.0), 1) == ["fast"]


def test_slots_share_the_burden() -> None:
    view = View(size=99, silence=5.0)
    view.hear(standing("narrow", 3, 1.0), 0.0)
    view.hear(standing("wide", 8, 1.0, slots=4), 0.0)
    assert lightest(view, view.living(0.0), 1) == ["wide"]


def test_an_unmeasured_peer_is_taken_to_be_as_fast_as_the_others() -> None:
    view = View(size=99, silence=5.0)
    view.hear(standing("known", 1, 2.0), 0.0)
    view.hear(standing("unknown", 2, 0.0), 0.0)
    assert lightest(view, view.living(0.0), 1) == ["known"]


def test_a_crowd_is_counted_per_slot_over_the_living() -> None:
    view = View(size=99, silence=5.0)
    assert view.crowd(2.0, 0.0) == 2.0
    view.hear(standing("a", 8, 1.0, slots=2), 0.0)
    assert view.crowd(2.0, 0.0) == 3.0
    assert view.crowd(2.0, 5.0) == 2.0, "it fell silent"


def test_the_word_of_one_peer_counts_for_so_much_in_means() -> None:
    naive, wary = View(size=99, silence=5.0), View(size=99, silence=5.0, believed=12.0)
    for view in (naive, wary):
        for name in ("a", "b"):
            view.hear(standing(name, 2, 1.0), 0.0)
        view.hear(standing("liar", 10**9, 1.0, slots=2), 0.0)
    assert naive.crowd(2.0, 0.0) > 10**8
    assert wary.crowd(2.0, 0.0) == (2.0 + 2.0 + 2.0 + 12.0) / 4
    assert wary.backlog(2.0, 0.0) == (2.0 + 2.0 + 2.0 + 12.0) / 4
