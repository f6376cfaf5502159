from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.events import Offence
from dmoa.core.names import NodeId
from dmoa.core.reputation import CREDIT, MOST, RETURN, SHUN, WEIGHTS, WRITTEN, Reputation

A, B = NodeId("a"), NodeId("b")
FORGIVE = 600.0
OFFENCES: tuple[Offence, ...] = get_args(Offence)


def fresh(size: int = 8) -> Reputation:
    return Reputation(size=size, forgive=FORGIVE)


def blamed(offence: Offence, times: int, every: float = 1.0) -> Reputation:
    known = fresh()
    for number in range(times):
        known.blame(A, offence, number * every)
    return known


def test_every_offence_has_a_weight_that_needs_repeating() -> None:
    assert set(WEIGHTS) == set(OFFENCES)
    for offence, weight in WEIGHTS.items():
        assert 0.0 < weight <= SHUN / 3, f"two of {offence} would shun a peer"


@pytest.mark.parametrize(("offence", "most"), [("malformed", 3), ("rubbish", 3), ("flood", 7)])
def test_it_takes_repeated_evidence_to_shun(offence: Offence, most: int) -> None:
    known = blamed(offence, most)
    assert not known.shunned(A, float(most))
    assert known.blame(A, offence, float(most)), "this is told once"
    assert known.shunned(A, float(most))
    assert not known.blame(A, offence, float(most)), "it was shunned already"
    assert not known.shunned(B, float(most))


def test_what_comes_seldom_is_forgotten_in_between() -> None:
    known = blamed("malformed", 100, every=FORGIVE)
    assert not known.shunned(A, 100 * FORGIVE)
    assert known.offences(A) == {"malformed": 100}


def test_half_of_the_blame_is_forgotten_in_time() -> None:
    known = blamed("oversized", 1)
    assert known.level(A, 0.0) == WEIGHTS["oversized"]
    assert known.level(A, FORGIVE) == pytest.approx(WEIGHTS["oversized"] / 2)


def test_a_clock_that_went_back_adds_no_blame() -> None:
    assert blamed("flood", 1).level(A, -1e6) == WEIGHTS["flood"]


def test_who_is_shunned_is_back_when_half_of_what_it_takes_is_forgotten() -> None:
    known = blamed("malformed", 4, every=0.0)
    times = [0.0, 0.5 * FORGIVE, 1.5 * FORGIVE]
    assert [known.shunned(A, now) for now in times] == [True, True, False]
    assert known.level(A, 1.5 * FORGIVE) < RETURN


def test_it_takes_less_to_be_shunned_again() -> None:
    known = blamed("malformed", 4, every=0.0)
    back = 1.2 * FORGIVE
    assert not known.shunned(A, back)
    count = 1
    while not known.blame(A, "malformed", back):
        count += 1
    assert count < 4


@pytest.mark.parametrize("offence", OFFENCES)
def test_whatever_was_done_is_forgiven_within_two_half_lives(offence: Offence) -> None:
    known = blamed(offence, 10_000, every=0.0)
    assert known.shunned(A, 1.9 * FORGIVE)
    assert not known.shunned(A, 2.0 * FORGIVE + 1.0)


def share(offence: Offence, every: int, answers: int = 2000) -> bool:
    """Tell whether a peer of which each so-manieth answer offends is shunned, a second apart."""
    known = fresh()
    for number in range(answers):
        if number % every == 0:
            known.blame(A, offence, float(number))
        else:
            known.credit(A, float(number))
        if known.shunned(A, float(number)):
            return True
    return False


@pytest.mark.parametrize(
    ("offence", "most"), [("rubbish", 3), ("injection", 2), ("malformed", 100)]
)
def test_only_who_errs_often_is_shunned(offence: Offence, most: int) -> None:
    assert [every for every in (1, 2, 3, 4, 5, 10, 20, 100) if share(offence, every)] == [
        every for every in (1, 2, 3, 4, 5, 10, 20, 100) if every <= most
    ]


@given(st.lists(st.booleans(), max_size=60))
def test_good_answers_never_buy_off_a_flood(answers: list[bool]) -> None:
    known = fresh()
    floods = 0
    for good in answers:
        if good:
            known.credit(A, 0.0)
        else:
            known.blame(A, "flood", 0.0)
            floods += 1
    assert known.level(A, 0.0) == min(MOST, floods * WEIGHTS["flood"])


def test_a_good_answer_takes_off_its_share_of_what_was_written() -> None:
    known = blamed("rubbish", 1)
    known.credit(A, 0.0)
    known.credit(B, 0.0)
    assert known.level(A, 0.0) == pytest.approx((1.0 - CREDIT) * WEIGHTS["rubbish"])
    assert known.level(B, 0.0) == 0.0
    assert "rubbish" in WRITTEN


def test_of_too_many_the_least_blamed_is_forgotten() -> None:
    known = Reputation(size=2, forgive=FORGIVE)
    for _ in range(4):
        known.blame(A, "malformed", 0.0)
    known.blame(B, "flood", 0.0)
    known.blame(NodeId("c"), "malformed", 0.0)
    assert known.shunned(A, 0.0)
    assert known.level(B, 0.0) == 0.0
    assert known.offences(NodeId("c")) == {"malformed": 1}
    known.blame(NodeId("d"), "flood", 0.0)
    assert known.offences(NodeId("d")) == {}, "those there are worse"
    known.check()


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(OFFENCES), st.floats(0.0, 1e4)),
        max_size=80,
    )
)
def test_blame_is_bounded_whatever_happens_and_to_look_changes_nothing(
    happened: list[tuple[str, Offence, float]],
) -> None:
    known, other = (Reputation(size=3, forgive=FORGIVE) for _ in range(2))
    now = 0.0
    for name, offence, wait in happened:
        now += wait
        before = known.shunned(NodeId(name), now)
        assert known.blame(NodeId(name), offence, now) == other.blame(NodeId(name), offence, now)
        for node in map(NodeId, "abcdef"):
            assert 0.0 <= known.level(node, now) <= 2 * MOST
            known.shunned(node, now + 1e5)
        assert known.shunned(NodeId(name), now) >= before, "an offence frees nobody"
        known.check()
