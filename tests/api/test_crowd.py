"""The crowd at the door: how many, whose share, who gives way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmoa.api.crowd import Crowd, owner_of


class Someone:
    def __init__(self, owner: str = "", *, late: bool = False) -> None:
        self.owner, self.late, self.gone = owner, late, ""

    def is_overdue(self) -> bool:
        return self.late

    def expire(self) -> None:
        self.gone = "expired"

    def drop(self) -> None:
        self.gone = "dropped"


def test_the_oldest_that_never_asked_gives_way_first() -> None:
    crowd = Crowd(4)
    kept, old, young, busy = members = [Someone() for _ in range(4)]
    assert all(crowd.enter(each) for each in members)
    for each in (kept, busy):
        crowd.turn(each, busy=True)
    crowd.turn(kept, busy=False)
    for expected in (old, young):
        entering = Someone()
        assert crowd.enter(entering)
        crowd.turn(entering, busy=True)
        assert expected.gone == "dropped"
        assert not kept.gone
    last = Someone()
    assert crowd.enter(last)
    assert kept.gone == "dropped"
    crowd.turn(last, busy=True)
    assert not crowd.enter(Someone())
    assert not busy.gone
    assert (len(crowd), crowd.dropped, crowd.turned_away) == (4, 3, 1)


def test_one_address_has_half_and_this_machine_all() -> None:
    crowd = Crowd(8)
    far = [Someone("10.0.0.7") for _ in range(4)]
    for each in far:
        assert crowd.enter(each)
        crowd.turn(each, busy=True)
    assert not crowd.enter(Someone("10.0.0.7"))
    here = [Someone() for _ in range(4)]
    assert all(crowd.enter(each) for each in here)
    crowd.turn(far[1], busy=False)
    assert crowd.enter(Someone("10.0.0.7"))
    assert far[1].gone == "dropped"
    assert not any(each.gone for each in here)


def test_what_is_overdue_is_ended() -> None:
    crowd = Crowd(8)
    slow, quick = Someone(late=True), Someone()
    crowd.enter(slow)
    crowd.enter(quick)
    crowd.sweep()
    assert (slow.gone, quick.gone, crowd.expired) == ("expired", "", 1)
    crowd.close()
    assert quick.gone == "dropped"


def test_shares_are_those_of_houses() -> None:
    assert owner_of(None) == owner_of("127.0.0.1") == owner_of("::1") == owner_of("127.3.2.1") == ""
    assert owner_of("::ffff:127.0.0.1") == ""
    assert owner_of("::ffff:10.0.0.7") == owner_of("10.0.0.7") == "10.0.0.7"
    assert owner_of("2001:db8::1") == owner_of("2001:db8:0:0:ffff::9%eth0")
    assert owner_of("2001:db8::1") != owner_of("2001:db8:0:1::1")


steps = st.lists(st.tuples(st.sampled_from("eblx"), st.integers(0, 30)), max_size=80)


@given(st.integers(2, 6), steps)
def test_it_never_holds_more_than_it_may_and_forgets_whom_it_lost(
    most: int, told: list[tuple[str, int]]
) -> None:
    crowd = Crowd(most)
    members: list[Someone] = []
    for what, number in told:
        if what == "e":
            member = Someone(["", "a", "b"][number % 3])
            if crowd.enter(member):
                members.append(member)
        elif members:
            member = members[number % len(members)]
            match what:
                case "b" | "l":
                    crowd.turn(member, busy=what == "b")
                case _:
                    crowd.leave(member)
                    members.remove(member)
        members = [each for each in members if not each.gone]
        assert len(crowd) == len(members) <= most
        for owner in ("a", "b"):
            assert sum(each.owner == owner for each in members) <= max(1, most // 2)
    for each in members:
        crowd.leave(each)
    assert len(crowd) == 0
    assert not crowd._owned
