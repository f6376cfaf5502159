from __future__ import annotations

from dataclasses import fields, replace

from dmoa.core.events import Asked
from dmoa.core.job import Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Propose
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.query import Kept, Query, as_proposal
from dmoa.net import codec

from .room import completion

LIMITS = Limits()
WORST = "\x01"
"""A character that JSON writes as six."""


def largest(turns: tuple[Turn, ...]) -> bytes:
    """Encode the last layer's job of a query with the largest fanout."""
    mixture = Mixture(LIMITS.layers, LIMITS.fanout)
    query = Query(Asked(QueryId("x" * 32 + "/1/1"), turns, mixture), NodeId("x" * 32), 0, 1, LIMITS)
    assert query.conversation <= LIMITS.conversation_bytes
    long = as_proposal(completion(WORST * 10**6), LIMITS)
    assert len(long.text.encode()) == LIMITS.proposal_bytes
    query.kept = [
        Kept(NodeId(f"n{number}"), long, JobId("")) for number in range(LIMITS.fanout + 1)
    ]
    query.layer = LIMITS.layers
    return codec.encode(Propose(query.job(1, NodeId("b"), 0.0)), LIMITS)


def test_the_largest_query_fits_a_message_though_every_character_needs_an_escape() -> None:
    room = LIMITS.conversation_bytes - Turn("user", "").size
    data = largest((Turn("user", WORST * room),))
    assert 0.9 * LIMITS.message_bytes < len(data) <= LIMITS.message_bytes


def test_the_largest_query_fits_a_message_though_it_has_nothing_but_turns() -> None:
    count = LIMITS.conversation_bytes // Turn("user", "").size
    assert len(largest((Turn("user", ""),) * count)) <= LIMITS.message_bytes


def test_every_default_is_positive() -> None:
    for limits in (Limits(), Timing()):
        assert all(getattr(limits, field.name) > 0 for field in fields(limits))


def test_a_peer_falls_silent_only_after_several_digests() -> None:
    assert Timing().silence >= 3 * Timing().gossip
    assert replace(Timing(), gossip=2.0).gossip == 2.0
