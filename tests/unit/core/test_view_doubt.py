"""What a view makes of the words of peers: how old they are, and how much they are worth."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.digest import Digest
from dmoa.core.names import NodeId
from dmoa.core.view import DOUBT_MAX, LESSON, View

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
PARDON = 120.0


def standing(node: str, length: int = 0, seconds: float = 1.0, **words: object) -> Digest:
    usual: dict[str, object] = {"incarnation": 1, "sequence": 1, "slots": 1}
    return Digest(
        NodeId(node), model="toy", length=length, service_time=seconds, **{**usual, **words}
    )


def view_of(*digests: Digest, now: float = 0.0) -> View:
    view = View(size=9, silence=5.0, pardon=PARDON)
    for digest in digests:
        view.hear(digest, now)
    return view


# -- how old a word is -------------------------------------------------------------------


def test_a_word_is_stale_after_so_many_of_the_peers_service_times() -> None:
    view = view_of(standing("a", seconds=1.0), standing("b", seconds=0.1))
    assert view.stale([A, B], 2.0, 0.1) == []
    assert view.stale([A, B], 2.0, 0.3) == ["b"]
    assert view.stale([A, B], 2.0, 2.0) == ["b"]
    assert view.stale([A, B], 2.0, 2.01) == ["a", "b"]


def test_where_a_peer_has_measured_nothing_the_others_tell() -> None:
    view = view_of(standing("a", seconds=2.0), standing("b", seconds=0.0))
    assert view.stale([A, B], 1.0, 1.9) == []
    assert view.stale([A, B], 1.0, 2.1) == ["a", "b"]
    assert view.stale([B], 1.0, 0.1) == ["b"], "with nobody to compare, any age is too old"
    assert view.stale([B], 1.0, 0.0) == []


def test_a_decline_is_a_word_as_well() -> None:
    view = view_of(standing("a"))
    view.declined(A, 5, 3.0, bound=5)
    assert view.stale([A], 1.0, 3.5) == []


# -- how much there is -------------------------------------------------------------------


def test_the_backlog_is_the_mean_of_what_waits_anywhere() -> None:
    view = view_of(standing("a", 4, 2.0), standing("b", 8, 2.0, slots=4))
    assert view.backlog(3.0, 0.0) == pytest.approx((3.0 + 8.0 + 4.0) / 3)
    assert view.backlog(3.0, 5.0) == 3.0, "they fell silent"
    view.hear(standing("c", 6, 2.0, capacity=3.0, slots=2), 0.0)
    assert view.backlog(3.0, 0.0) == pytest.approx((3.0 + 8.0 + 4.0 + 2.0) / 4), "as it measured"


def test_the_time_of_a_proposer_is_the_mean_of_those_who_know() -> None:
    assert view_of().proposer_time(0.0) == 0.0
    view = view_of(
        standing("a", seconds=3.0, proposer_time=1.0),
        standing("b", seconds=2.0),
        standing("c", seconds=0.0),
    )
    assert view.proposer_time(0.0) == 1.5
    view.leave(A)
    assert view.proposer_time(0.0) == 2.0


def test_a_measured_capacity_is_believed_over_slots() -> None:
    wide = standing("a", 6, 1.0, slots=4, capacity=1.0)  # batching gains it nothing
    view = view_of(wide, standing("b", 6, 1.0, slots=4))
    assert view.lightest([A, B], 2, 0.0) == [("b", 1.75), ("a", 4.0)]


# -- whom to believe ---------------------------------------------------------------------


def test_a_peer_is_believed_at_first() -> None:
    view = view_of(standing("a"))
    assert view.doubt(A, 0.0) == view.doubt(NodeId("stranger"), 0.0) == 1.0


def test_a_peer_that_takes_as_long_as_it_says_is_never_doubted() -> None:
    view = view_of(standing("a"))
    for ratio in (1.0, 0.5, 1.0, 0.01):
        view.judge(A, ratio, 0.0)
    assert view.doubt(A, 0.0) == 1.0


def test_a_liar_is_doubted_by_as_much_as_it_lies() -> None:
    view = view_of(standing("a"))
    for _ in range(50):
        expected = view.lightest([A], 1, 0.0)[0][1]
        view.judge(A, 8.0 / expected, 0.0)  # it says 1 s, and takes 8
    assert view.doubt(A, 0.0) == pytest.approx(8.0, rel=1e-3)
    assert view.lightest([A], 1, 0.0)[0][1] == pytest.approx(8.0, rel=1e-3)
    view.check()


@pytest.mark.parametrize("said", [0.1, 1e-3, 1e-300])
def test_no_lie_is_too_great_to_be_found_out(said: float) -> None:
    view = view_of(standing("a", seconds=said, capacity=1.0 / said), standing("b"), standing("c"))
    assert view.lightest([A, B, C], 1, 0.0)[0][0] == "a", "its word is tempting"
    for _ in range(12):
        expected = dict(view.lightest([A, B, C], 3, 0.0))[A]
        view.judge(A, 6.0 / expected, 0.0)
    assert view.lightest([A, B, C], 3, 0.0)[2][0] == "a"


def test_who_is_much_quicker_is_believed() -> None:
    view = view_of(standing("a", 40, 0.02, capacity=50.0), standing("b"), standing("c"))
    assert view.lightest([A, B, C], 1, 0.0) == [("a", pytest.approx(0.82))]


def test_one_answer_is_a_lesson_among_many() -> None:
    view = view_of(standing("a"))
    view.judge(A, 16.0, 0.0)
    assert view.doubt(A, 0.0) == pytest.approx(16.0**LESSON)
    view.judge(A, 1.0 / view.doubt(A, 0.0), 0.0)
    assert view.doubt(A, 0.0) == pytest.approx(16.0 ** (LESSON * (1 - LESSON))), "and forgiven"


def test_half_of_the_doubt_is_forgotten_in_its_time() -> None:
    view = view_of(standing("a"))
    view.judge(A, 1e9, 0.0)
    assert view.doubt(A, 0.0) == pytest.approx(DOUBT_MAX**LESSON)
    assert view.doubt(A, PARDON) == pytest.approx(DOUBT_MAX ** (LESSON / 2))
    assert view.doubt(A, 2 * PARDON) == pytest.approx(DOUBT_MAX ** (LESSON / 4))
    assert view.doubt(A, 100 * PARDON) == pytest.approx(1.0)


def test_what_faded_is_not_learned_again() -> None:
    view = view_of(standing("a"))
    view.judge(A, 16.0, 0.0)
    later = view.doubt(A, PARDON)
    view.judge(A, 1.0, PARDON)
    assert view.doubt(A, PARDON) == pytest.approx(later), "it took as long as was expected by then"


def test_a_new_life_begins_without_doubt() -> None:
    view = view_of(standing("a"))
    view.judge(A, 16.0, 0.0)
    view.hear(standing("a", sequence=2), 1.0)
    assert view.doubt(A, 1.0) > 1.0, "a digest of the same life takes nothing away"
    view.hear(standing("a", incarnation=2), 1.0)
    assert view.doubt(A, 1.0) == 1.0


def test_one_is_doubted_and_not_another() -> None:
    view = view_of(standing("a"), standing("b"))
    view.judge(A, 16.0, 0.0)
    view.judge(NodeId("stranger"), 16.0, 0.0)
    assert view.doubt(B, 0.0) == 1.0
    assert view.lightest([A, B], 1, 0.0) == [("b", 1.0)]


def test_who_hides_its_queue_is_found_out_as_it_declines() -> None:
    view = view_of(standing("a", 0), standing("b", 4))
    assert view.lightest([A, B], 1, 0.0)[0][0] == "a"
    for sequence in range(2, 12):
        view.declined(A, 0, 0.0, bound=5)
        view.hear(standing("a", 0, sequence=sequence), 0.0)
    assert view.lightest([A, B], 1, 0.0)[0][0] == "b", "it takes up to five, and says it has none"


def test_the_bound_of_a_peer_is_one_per_slot() -> None:
    view = view_of(standing("a", 9, slots=2), standing("b", 9))
    view.declined(A, 9, 0.0, bound=5)
    view.declined(B, 9, 0.0, bound=5)
    assert view.doubt(A, 0.0) == pytest.approx((11.0 / 10.0) ** LESSON)
    assert view.doubt(B, 0.0) == 1.0


def test_the_decline_of_a_stranger_is_not_kept() -> None:
    view = view_of()
    view.declined(A, 5, 0.0, bound=5)
    assert view.known(0.0) == []


steps = st.lists(
    st.tuples(
        st.one_of(st.floats(1e-300, 1e300), st.sampled_from([0.0, -1.0, 1.0, float("inf")])),
        st.floats(0.0, 1000.0),
    ),
    max_size=40,
)


@given(steps)
def test_doubt_stays_within_its_bounds(steps: list[tuple[float, float]]) -> None:
    view, now = view_of(standing("a")), 0.0
    for ratio, seconds in steps:
        now += seconds
        view.judge(A, ratio, now)
        view.check()
        assert 1.0 <= view.doubt(A, now) <= DOUBT_MAX * (1 + 1e-9)
        assert view.doubt(A, now + 1.0) <= view.doubt(A, now), "it never grows by itself"


@given(steps, st.floats(0.01, 100.0), st.floats(1.0, 100.0))
def test_the_worse_the_answer_the_greater_the_doubt(
    steps: list[tuple[float, float]], ratio: float, more: float
) -> None:
    doubts = []
    for lesson in (ratio, ratio * more):
        view, now = view_of(standing("a")), 0.0
        for each, seconds in steps:
            now += seconds
            view.judge(A, each, now)
        view.judge(A, lesson, now)
        doubts.append(log(view.doubt(A, now)))
    assert doubts[0] <= doubts[1] + 1e-9
