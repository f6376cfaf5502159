from __future__ import annotations

from dmoa.core.digest import Digest, newer
from dmoa.core.names import NodeId


def digest(incarnation: int, sequence: int) -> Digest:
    return Digest(NodeId("a"), incarnation, sequence, "toy", 1)


def test_a_later_digest_supersedes_an_earlier_one() -> None:
    assert digest(1, 2).supersedes(digest(1, 1))
    assert not digest(1, 1).supersedes(digest(1, 2))


def test_a_digest_does_not_supersede_itself() -> None:
    assert not digest(1, 1).supersedes(digest(1, 1))


def test_a_new_life_supersedes_an_old_one_however_long_it_was() -> None:
    assert digest(2, 0).supersedes(digest(1, 10**9))
    assert newer(digest(1, 10**9), digest(2, 0)) == digest(2, 0)
    assert newer(digest(2, 0), digest(1, 10**9)) == digest(2, 0)
