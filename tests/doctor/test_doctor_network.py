from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dmoa.doctor.network import Roll, clocks, distances, meets, versions

NAMES = ("n1", "n2", "n3", "n4")


def roll(node: str, *hears: str, **more: object) -> Roll:
    return Roll(node, version="0.1.0", hears=hears, **more)  # type: ignore[arg-type]


def test_a_whole_network_is_one_line() -> None:
    [found] = meets("n1", ["n2", "n3"], [roll("n2", "n1", "n3"), roll("n3", "n2", "n1")])
    assert found.state == "ok"
    assert "3 nodes" in found.told
    assert "6 ways" in found.told


def test_one_deaf_direction_is_named_with_the_fix() -> None:
    [found] = meets("n1", ["n2", "n3"], [roll("n2", "n1"), roll("n3", "n2", "n1")])
    assert (found.state, found.told) == ("bad", "n2 does not hear n3")
    assert "`connect`" in found.fix


def test_a_peer_that_is_heard_and_does_not_answer_is_named_with_its_reason() -> None:
    rolls = [Roll("n2", flaw="n2 did not say within 2 s"), roll("n3", "n1", "n2")]
    [found] = meets("n1", ["n2", "n3"], rolls)
    assert found.state == "bad"
    assert "did not say within 2 s" in found.told


def test_a_node_alone_is_told_how_not_to_be() -> None:
    [found] = meets("n1", [], [])
    assert (found.state, found.told) == ("note", "n1 is alone")


@given(st.dictionaries(st.sampled_from(NAMES[1:]), st.sets(st.sampled_from(NAMES))))
def test_every_missing_way_is_found_once(said: dict[str, set[str]]) -> None:
    own = sorted(said)
    rolls = [roll(node, *(hears - {node})) for node, hears in said.items()]
    present = {"n1", *said}
    missing = {
        f"{one} does not hear {other}"
        for one in said
        for other in present - {one}
        if other not in said[one]
    }
    told = [each.told for each in meets("n1", own, rolls) if each.state == "bad"]
    assert sorted(told) == sorted(missing)


def test_a_clock_that_is_off_by_more_than_the_way_explains_is_bad() -> None:
    well, off = roll("n2", ahead=31.0, away=4.0), roll("n3", ahead=-90.0, away=0.1)
    found = clocks([well, off])
    assert isinstance(found, list)
    assert [each.told for each in found] == ["the clock of n3 is 90 s behind this node's"]
    near = clocks([well])
    assert not isinstance(near, list)
    assert near.state == "ok"
    assert clocks([]) == []


def test_other_releases_are_named() -> None:
    found = versions("0.2.0", [roll("n2"), Roll("n3", flaw="silent")])
    assert not isinstance(found, list)
    assert (found.state, "n2 0.1.0" in found.told, "n3" in found.told) == ("note", True, False)
    same = versions("0.1.0", [roll("n2")])
    assert not isinstance(same, list)
    assert same.state == "ok"


def test_far_peers_are_told() -> None:
    assert [each.told for each in distances([roll("n2", away=0.7), roll("n3", away=0.01)])] == [
        "n2 took 0.7 s to answer"
    ]
