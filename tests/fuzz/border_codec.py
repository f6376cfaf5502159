"""Messages of peers: what is read is written alike, and what is not read is refused."""

from __future__ import annotations

from contextlib import suppress

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.messages import (
    Decline,
    Failure,
    Farewell,
    Gossip,
    Message,
    Piece,
    Preview,
    Proposal,
    Propose,
    Withdraw,
)
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.errors import RemoteProtocolError
from dmoa.net import codec
from dmoa.runtime.ports import Roll

JOB = JobId("a/1/1/1.1")
MESSAGES: list[Message | Piece] = [
    Propose(
        Job(
            id=JOB,
            query=QueryId("a/1/1"),
            home=NodeId("a"),
            role="aggregator",
            layer=2,
            turns=(Turn("system", "be brief"), Turn("user", "why?", '{"name": "u"}')),
            proposals=("because", "so"),
            sampling=Sampling(0.5, 0.9, 7, ("stop",), 4, 0.1, -0.1),
            patience=2.5,
            age=0.5,
        )
    ),
    Preview(
        Job(
            id=JobId("a/1/1/2.1"),
            query=QueryId("a/1/1"),
            home=NodeId("a"),
            role="proposer",
            layer=2,
            turns=(Turn("user", "why?"),),
            proposals=("because",),
            sampling=Sampling(),
            patience=2.5,
        ),
        2,
    ),
    Piece(JOB, "some text"),
    Proposal(JOB, Completion("because", "m", 3, 4), 0.1, 0.2),
    Decline(JOB, 3),
    Failure(JOB, "the model failed"),
    Withdraw(JOB),
    Gossip(Digest(NodeId("a"), 1, 2, "m", 1, url="http://a")),
    Farewell(),
]


def seeds() -> list[bytes]:
    roll = Roll(node=NodeId("a"), release="0.1.0", clock=1.5, peers=(NodeId("b"),))
    return [*map(codec.encode, MESSAGES), codec.encode_roll(roll)]


def cross(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        message = codec.decode(data)
        assert codec.decode(codec.encode(message)) == message
    with suppress(RemoteProtocolError):
        roll = codec.decode_roll(NodeId("a"), data)
        assert codec.decode_roll(NodeId("a"), codec.encode_roll(roll)) == roll
