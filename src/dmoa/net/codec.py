"""Messages to bytes and back: versioned, strict, bounded.

```text
byte 0   WIRE_VERSION
byte 1   the kind, one letter of KINDS
rest     JSON: an object of the message's fields; of a piece, which is the most
         frequent by far, only [job, text]
```

What comes in is believed only when every type is exact, every field without a default
is there, every number is finite and within its bounds, and every name is one. Fields
that this version does not know are passed over, so that a release can add some; what
changes a meaning changes WIRE_VERSION. What goes out is held to the same bounds: this
node sends nothing that it would refuse. A `Probe` has no bytes: asking is all that it says.
The answer to a roll call, of the kind `R`, is no message of an agent's, and read apart.
"""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec

from dmoa.core.digest import Digest
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.messages import (
    Decline,
    Failure,
    Farewell,
    Gossip,
    Message,
    Piece,
    Preview,
    Probe,
    Proposal,
    Propose,
    Withdraw,
)
from dmoa.core.names import SPEAKERS, JobId, NodeId, is_node_name
from dmoa.errors import LocalProtocolError, RemoteProtocolError, VersionError
from dmoa.runtime.ports import Roll

WIRE_VERSION = 1

KINDS: dict[int, type] = {
    ord("J"): Propose,
    ord("V"): Preview,
    ord("p"): Piece,
    ord("P"): Proposal,
    ord("D"): Decline,
    ord("F"): Failure,
    ord("W"): Withdraw,
    ord("G"): Gossip,
    ord("B"): Farewell,
}

ID_CHARACTERS = 200
"""Longest id of a job or a query, and longest name of a model."""
TRACE_CHARACTERS = 64
"""Longest name of a span: W3C's have 55."""
URL_CHARACTERS = 2048
"""Longest address that a digest may carry."""
COUNT_LIMIT = 2**63
"""No count or number of a message reaches this."""
PROPOSAL_SLACK = 4
"""A proposal may come this many times longer than what is kept of it."""

ROLL_BYTES = 16 * 1024
"""Longest answer to a roll call: the names of a view, and room for more."""

_HEAD = 2
_ROLL_HEAD = bytes((WIRE_VERSION, ord("R")))
_ENCODER = msgspec.json.Encoder()
_PIECE = msgspec.json.Decoder(tuple[JobId, str])
_DECODERS: dict[int, msgspec.json.Decoder[Any]] = {
    code: msgspec.json.Decoder(kind) for code, kind in KINDS.items()
}
_ROLL = msgspec.json.Decoder(Roll)
_HEADS = {kind: bytes((WIRE_VERSION, code)) for code, kind in KINDS.items()}
_DEFAULT = Limits()
_DIGEST_COUNTS = (
    *("incarnation", "sequence", "slots", "length"),
    *("layers", "fanout", "refused", "declined"),
)
_DIGEST_MEASURES = (
    *("mean_length", "mean_waiting", "arrival_rate", "service_time"),
    *("proposer_time", "aggregator_time", "utilisation", "capacity"),
)


class _FlawError(Exception):
    """A message that has the right types and yet cannot be meant."""


def encode(message: Message | Piece, limits: Limits = _DEFAULT) -> bytes:
    """Put a message into bytes; LocalProtocolError when no peer would take it."""
    if isinstance(message, Probe):
        raise LocalProtocolError("a probe has no bytes: it is asked by Network.probe alone")
    head = _HEADS[type(message)]
    body = (message.job, message.text) if isinstance(message, Piece) else message
    try:
        _check(message, limits)
        data = head + _ENCODER.encode(body)
    except (_FlawError, msgspec.MsgspecError, TypeError, ValueError) as error:
        raise LocalProtocolError(f"{message.kind}: {error}") from error
    if len(data) > limits.message_bytes:
        raise LocalProtocolError(
            f"{message.kind}: {len(data)} bytes, and a message has at most {limits.message_bytes}"
        )
    return data


def decode(data: bytes, limits: Limits = _DEFAULT) -> Message | Piece:
    """Read a message; RemoteProtocolError names what is wrong with it.

    VersionError where it was written by another version of the protocol.
    """
    if len(data) > limits.message_bytes:
        raise RemoteProtocolError(
            f"a message of {len(data)} bytes, and the limit is {limits.message_bytes}"
        )
    if len(data) < _HEAD:
        raise RemoteProtocolError(f"a message of {len(data)} bytes has no head")
    if data[0] != WIRE_VERSION:
        raise VersionError(
            f"a message in version {data[0]} of the wire, and this node speaks {WIRE_VERSION}",
            hint="run the same release of dmoa on all nodes of a realm",
        )
    if data[1] not in KINDS:
        raise RemoteProtocolError(f"a message of the unknown kind {data[1]}")
    name = KINDS[data[1]].__name__.lower()
    try:
        message = _read(data)
        _check(message, limits)
    except (_FlawError, msgspec.MsgspecError, ValueError) as error:
        raise RemoteProtocolError(f"{name}: {error}") from error
    except RecursionError as error:
        raise RemoteProtocolError(f"{name}: nested too deeply") from error
    return message


def encode_roll(roll: Roll) -> bytes:
    """Put the answer to a roll call into bytes."""
    return _ROLL_HEAD + _ENCODER.encode(roll)


def decode_roll(peer: NodeId, data: bytes, limits: Limits = _DEFAULT) -> Roll:
    """Read what `peer` answered to a roll call; RemoteProtocolError where that is none."""
    if len(data) > ROLL_BYTES or not data.startswith(_ROLL_HEAD):
        raise RemoteProtocolError("no answer to a roll call, or one of another release")
    try:
        roll = _ROLL.decode(memoryview(data)[_HEAD:])
        _require(roll.node == peer, "an answer in another name")
        _require(len(roll.release) <= ID_CHARACTERS, "release is too long")
        _seconds("clock", roll.clock)
        _require(len(roll.peers) <= limits.view, "more peers than a view holds")
        for name in roll.peers:
            _node("peers", name)
    except (_FlawError, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"roll: {error}") from error
    return roll


def _read(data: bytes) -> Message | Piece:
    body = memoryview(data)[_HEAD:]
    if KINDS[data[1]] is Piece:
        return Piece(*_PIECE.decode(body))
    return cast("Message", _DECODERS[data[1]].decode(body))


def _check(message: Message | Piece, limits: Limits) -> None:
    match message:
        case Propose():
            _check_job(message.job, limits)
        case Preview():
            _check_job(message.job, limits)
            _identifier("preview", message.name)
            _require(message.number > 0, f"number is {message.number}")
            _require(bool(message.job.proposals), "a preview without proposals")
        case Piece() | Withdraw():
            _identifier("job", message.job)
        case Proposal():
            _identifier("job", message.job)
            _seconds("queued_seconds", message.queued_seconds)
            _seconds("service_seconds", message.service_seconds)
            _check_completion(message.completion, limits)
        case Decline():
            _identifier("job", message.job)
            _count("length", message.length)
        case Failure():
            _identifier("job", message.job)
            _text("detail", message.detail, limits.proposal_bytes)
        case Gossip():
            _check_digest(message.digest)
        case Farewell() | Probe():
            pass


def _check_job(job: Job, limits: Limits) -> None:
    _identifier("job.id", job.id)
    _identifier("job.query", job.query)
    _node("job.home", job.home)
    _require(1 <= job.layer <= limits.layers + 1, f"job.layer is {job.layer}")
    _require(len(job.proposals) <= limits.fanout + 1, f"{len(job.proposals)} proposals")
    for text in job.proposals:
        _text("job.proposals", text, PROPOSAL_SLACK * limits.proposal_bytes)
    for turn in job.turns:
        _check_turn(turn)
    _seconds("job.patience", job.patience)
    _seconds("job.age", job.age)
    _require(len(job.trace) <= TRACE_CHARACTERS, "job.trace is too long")
    _check_sampling(job.sampling)


def _check_turn(turn: Turn) -> None:
    _require(turn.role in SPEAKERS, "a turn's role is none of a chat")


def _check_sampling(sampling: Sampling) -> None:
    _seconds("temperature", sampling.temperature or 0.0)
    _require(0 <= (sampling.top_p or 0.0) <= 1, f"top_p is {sampling.top_p}")
    for name in ("presence_penalty", "frequency_penalty"):
        value: float | None = getattr(sampling, name)
        _require(value is None or math.isfinite(value), f"{name} is {value}")
    _require(sampling.max_tokens is None or sampling.max_tokens > 0, "max_tokens is not positive")
    _count("max_tokens", sampling.max_tokens or 0)
    _count("the size of seed", abs(sampling.seed or 0))


def _check_completion(completion: Completion, limits: Limits) -> None:
    _text("text", completion.text, PROPOSAL_SLACK * limits.proposal_bytes)
    _require(len(completion.model) <= ID_CHARACTERS, "model is too long a name")
    _count("prompt_tokens", completion.prompt_tokens)
    _count("completion_tokens", completion.completion_tokens)
    _count("cached_tokens", completion.cached_tokens or 0)
    early, whole = completion.early_tokens, completion.prompt_tokens
    _require(0 <= early <= whole, f"early_tokens is {early}, of a prompt of {whole}")


def _check_digest(digest: Digest) -> None:
    _node("digest.node", digest.node)
    for name in _DIGEST_COUNTS:
        _count(f"digest.{name}", getattr(digest, name))
    for name in _DIGEST_MEASURES:
        _seconds(f"digest.{name}", getattr(digest, name))
    _require(len(digest.model) <= ID_CHARACTERS, "digest.model is too long a name")
    # Pages show it as a link, so that another scheme could run a script there.
    web = digest.url == "" or digest.url.startswith(("http://", "https://"))
    _require(web and len(digest.url) <= URL_CHARACTERS, "digest.url is not an address of the web")


def _require(fine: bool, flaw: str) -> None:  # noqa: FBT001 - reads like an assertion
    if not fine:
        raise _FlawError(flaw)


def _node(name: str, value: str) -> None:
    _require(is_node_name(value), f"{name} is no name of a node")


def _identifier(name: str, value: str) -> None:
    _require(0 < len(value) <= ID_CHARACTERS, f"{name} is empty or too long")


def _count(name: str, value: int) -> None:
    _require(0 <= value < COUNT_LIMIT, f"{name} is {value}")


def _seconds(name: str, value: float) -> None:
    _require(math.isfinite(value) and value >= 0, f"{name} is {value}")


def _text(name: str, value: str, limit: int) -> None:
    _require(len(value.encode()) <= limit, f"{name} is longer than {limit} bytes")
