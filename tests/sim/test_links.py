"""The ways between nodes: laws of delay, mishaps with dice of their own, cuts that heal."""

from __future__ import annotations

from math import inf, nan
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.errors import LawError
from dmoa.sim.faults import CALM, Faults
from dmoa.sim.links import INSTANT, Carrier, Links, Partition, Sum, Uniform, draw_partition
from dmoa.theory.laws import Fixed, LogNormal

MESSAGES = 2000


def carried(links: Links, *, seed: int = 1, messages: int = MESSAGES) -> list[list[float]]:
    carrier = Carrier(links, seed)
    return [carrier.carry(0, 1, float(now)) for now in range(messages)]


def test_links_without_anything_carry_at_once() -> None:
    assert carried(INSTANT, messages=3) == [[0.0]] * 3


def test_delays_follow_their_laws() -> None:
    assert carried(Links(Fixed(0.25)), messages=3) == [[0.25]] * 3
    uniform = [delay for (delay,) in carried(Links(Uniform(0.1, 0.3)))]
    assert 0.1 <= min(uniform) < 0.11
    assert 0.29 < max(uniform) <= 0.3
    skewed = [delay for (delay,) in carried(Links(LogNormal(0.2, cv=0.5)))]
    assert fmean(skewed) == pytest.approx(0.2, rel=0.05)
    both = [delay for (delay,) in carried(Links(Sum(Fixed(1.0), Uniform(0.0, 0.5))))]
    assert 1.0 <= min(both) <= max(both) <= 1.5


def test_shares_are_lost_and_doubled() -> None:
    lost = carried(Links(loss=0.25))
    assert fmean(not copies for copies in lost) == pytest.approx(0.25, abs=0.04)
    doubled = carried(Links(doubling=0.1))
    assert fmean(len(copies) == 2 for copies in doubled) == pytest.approx(0.1, abs=0.03)
    assert carried(Links(loss=1.0), messages=5) == [[]] * 5


def test_one_mishap_does_not_reshuffle_another() -> None:
    slow = Uniform(0.0, 1.0)
    delays = [delay for (delay,) in carried(Links(slow))]
    lossy = carried(Links(slow, loss=0.5))
    assert all(copies in ([], [delay]) for copies, delay in zip(lossy, delays, strict=True))
    lost = [not copies for copies in carried(Links(loss=0.5))]
    assert [not copies for copies in lossy] == lost


HALVES = Partition(10.0, 20.0, ((0, 1),))


@pytest.mark.parametrize(
    ("sent", "arrives", "lost"),
    [
        (9.0, 9.9, False),
        (9.0, 10.0, True),
        (9.0, 25.0, True),
        (15.0, 15.0, True),
        (19.9, 30.0, True),
        (20.0, 20.0, False),
    ],
)
def test_a_cut_way_loses_what_is_on_it(sent: float, arrives: float, *, lost: bool) -> None:
    assert HALVES.cuts(0, 2, sent, arrives) == lost
    assert HALVES.cuts(2, 1, sent, arrives) == lost
    assert not HALVES.cuts(0, 1, sent, arrives)
    assert not HALVES.cuts(2, 3, sent, arrives)


def test_groups_hear_only_themselves() -> None:
    three = Partition(0.0, inf, ((0, 3), (1,)))
    heard = [(a, b) for a in range(5) for b in range(5) if not three.cuts(a, b, 1.0, 1.0)]
    assert heard == [
        *[(0, 0), (0, 3), (1, 1), (2, 2), (2, 4)],
        *[(3, 0), (3, 3), (4, 2), (4, 4)],
    ]


def test_a_carrier_heeds_every_partition() -> None:
    links = Links(partitions=(HALVES, Partition(30.0, inf, ((2,),))))
    carrier = Carrier(links, 1)
    heard = [now for now in range(40) if carrier.carry(1, 2, float(now))]
    assert heard == [*range(10), *range(20, 30)]
    assert links.healed == inf
    assert Links(partitions=(HALVES,)).healed == 20.0
    assert INSTANT.healed == 0.0


def test_weather_comes_on_top_of_links() -> None:
    links = Links(Fixed(0.5), loss=0.5, partitions=(HALVES,))
    over = Faults(loss=0.5, delay=1.0, doubling=0.25).over(links)
    assert (over.loss, over.doubling, over.partitions) == (0.75, 0.25, (HALVES,))
    assert over.delay == Sum(Fixed(0.5), Uniform(0.0, 1.0))
    assert Faults(delay=1.0).over(INSTANT).delay == Uniform(0.0, 1.0)
    assert CALM.over(links) == links
    assert CALM.over(INSTANT) == INSTANT


@given(seed=st.integers(0, 1000), nodes=st.integers(1, 9))
def test_a_drawn_partition_divides_the_nodes_there_are(seed: int, nodes: int) -> None:
    drawn = draw_partition(Random(seed), nodes, 20.0)
    assert 0.0 <= drawn.since <= 20.0 < drawn.since + 20.1 <= drawn.until + 20.1
    assert set(drawn.groups[0]) <= set(range(nodes))


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (Uniform, (0.2, 0.1)),
        (Uniform, (-0.1, 0.1)),
        (Uniform, (0.0, inf)),
        (Links, (None, 1.5)),
        (Links, (None, 0.0, -0.1)),
        (Links, (None, nan)),
        (Partition, (5.0, 5.0, ((0,),))),
        (Partition, (nan, 5.0, ((0,),))),
        (Partition, (0.0, 5.0, ((0, 1), (1, 2)))),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(kind, numbers) -> None:
    with pytest.raises(LawError) as caught:
        kind(*numbers)
    assert "\n" not in str(caught.value)
