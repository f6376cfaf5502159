from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.effects import Cancel
from dmoa.core.names import JobId
from dmoa.core.wants import Wants

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["wake", "unwake", "due"]), st.integers(0, 9), st.sampled_from("abcdefgh")
    ),
    max_size=300,
)


def test_effects_are_taken_once_in_their_order() -> None:
    wants = Wants()
    first, second = Cancel(JobId("1")), Cancel(JobId("2"))
    assert not wants.some
    wants.want(first)
    wants.want(second)
    assert wants.some
    assert wants.taken() == [first, second]
    assert wants.taken() == []
    assert not wants.some
    wants.check()


def test_without_timers_nobody_need_wake() -> None:
    assert Wants().next is None
    assert list(Wants().due(1e9)) == []


def test_timers_are_due_in_order_and_those_of_one_moment_as_they_were_set() -> None:
    wants = Wants()
    for at, subject in ((2.0, "c"), (1.0, "b"), (1.0, "a"), (3.0, "d")):
        wants.wake(at, "job", subject)
    assert wants.next == 1.0
    assert [subject for _, subject in wants.due(2.0)] == ["b", "a", "c"]
    assert wants.next == 3.0


def test_a_later_timer_replaces_an_earlier_of_the_same_name() -> None:
    wants = Wants()
    wants.wake(1.0, "layer", "q")
    wants.wake(5.0, "layer", "q")
    wants.wake(2.0, "query", "q")
    assert list(wants.due(4.0)) == [("query", "q")]
    assert wants.next == 5.0


def test_a_timer_taken_back_is_never_due() -> None:
    wants = Wants()
    wants.wake(1.0, "job", "a")
    wants.unwake("job", "a")
    wants.unwake("job", "never")
    assert wants.next is None


def test_what_is_set_while_timers_are_due_is_due_as_well() -> None:
    wants = Wants()
    wants.wake(1.0, "job", "a")
    seen = []
    for _, subject in wants.due(3.0):
        seen.append(subject)
        if len(seen) < 3:
            wants.wake(float(len(seen) + 1), "job", subject + "a")
    assert seen == ["a", "aa", "aaa"]


def test_what_was_taken_back_is_swept_out() -> None:
    wants = Wants()
    wants.wake(1e9, "gossip", "me")
    for number in range(10_000):
        wants.wake(float(number), "job", str(number))
        wants.unwake("job", str(number))
    assert len(wants._heap) < 100
    assert wants.next == 1e9
    wants.check()


@given(STEPS)
def test_timers_are_those_of_a_plain_table(steps: list[tuple[str, int, str]]) -> None:
    wants, table = Wants(), {}
    for order, (what, at, subject) in enumerate(steps):
        if what == "wake":
            wants.wake(float(at), "job", subject)
            table[subject] = (float(at), order)
        elif what == "unwake":
            wants.unwake("job", subject)
            table.pop(subject, None)
        else:
            due = sorted((when, subject) for subject, when in table.items() if when[0] <= float(at))
            assert [subject for _, subject in wants.due(float(at))] == [one for _, one in due]
            for _, one in due:
                del table[one]
        assert wants.next == min((when[0] for when in table.values()), default=None)
        wants.check()
