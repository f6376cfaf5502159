from __future__ import annotations

from functools import reduce
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.digest import Digest, newer
from dmoa.core.names import NodeId
from dmoa.core.view import View

SILENCE = 5.0


def digest_of(node: str, incarnation: int, sequence: int) -> Digest:
    """Make the one digest that a node sends with this incarnation and sequence."""
    length = 7 * incarnation + sequence
    return Digest(NodeId(node), incarnation, sequence, "toy", 1, length=length)


digests = st.builds(digest_of, st.just("a"), st.integers(1, 3), st.integers(0, 5))


@given(digests, digests)
def test_a_merge_does_not_depend_on_who_speaks_first(one: Digest, other: Digest) -> None:
    assert newer(one, other) == newer(other, one)


@given(digests, digests, digests)
def test_a_merge_does_not_depend_on_how_it_is_grouped(a: Digest, b: Digest, c: Digest) -> None:
    assert newer(newer(a, b), c) == newer(a, newer(b, c))


@given(digests, digests)
def test_a_merge_with_what_is_known_changes_nothing(one: Digest, other: Digest) -> None:
    assert newer(one, one) == one
    assert newer(newer(one, other), other) == newer(one, other)


@given(st.lists(digests, min_size=1, max_size=4))
def test_a_view_comes_to_the_same_whatever_the_order(heard: list[Digest]) -> None:
    known = []
    for order in permutations(heard):
        view = View(size=1, silence=SILENCE)
        for digest in order:
            view.hear(digest, 0.0)
        known.append(view.known(0.0)[0][0])
    assert set(known) == {reduce(newer, heard)}


steps = st.lists(
    st.tuples(
        st.sampled_from(["hear", "hear", "leave", "wait"]),
        st.sampled_from("abc"),
        st.integers(1, 2),
        st.integers(0, 6),
    ),
    max_size=60,
)


@settings(max_examples=200)
@given(steps)
def test_only_a_newer_digest_revives(steps: list[tuple[str, str, int, int]]) -> None:
    view, now = View(size=3, silence=SILENCE), 0.0
    newest: dict[str, tuple[int, int]] = {}
    alive: dict[str, float] = {}
    for what, node, incarnation, sequence in steps:
        if what == "wait":
            now += sequence
        elif what == "leave":
            view.leave(NodeId(node))
            alive.pop(node, None)
        else:
            reborn = view.hear(digest_of(node, incarnation, sequence), now)
            before = newest.get(node)
            assert reborn == (before is not None and incarnation > before[0])
            if before is None or (incarnation, sequence) > before:
                newest[node], alive[node] = (incarnation, sequence), now
        alive = {node: heard for node, heard in alive.items() if now - heard < SILENCE}
        assert view.living(now) == sorted(alive)
        assert all(0 <= age < SILENCE for _, age in view.known(now))
        view.check()


@settings(max_examples=100)
@given(steps, st.integers(1, 2))
def test_a_view_never_outgrows_its_size(steps: list[tuple[str, str, int, int]], size: int) -> None:
    view, now = View(size=size, silence=SILENCE), 0.0
    for what, node, incarnation, sequence in steps:
        before = view.living(now)
        if what == "wait":
            now += sequence
        elif what == "leave":
            view.leave(NodeId(node))
        else:
            view.hear(digest_of(node, incarnation, sequence), now)
            assert set(before) <= set(view.living(now)), "a newcomer pushed out a living peer"
            if len(before) < size:
                alive = view.living(now)
                known = view._peers.get(NodeId(node))
                assert node in alive or known is not None
        view.check()
