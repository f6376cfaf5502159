from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from net_room import make_digest, make_job, make_preview, make_proposal

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
from dmoa.core.names import SPEAKERS
from dmoa.errors import LocalProtocolError, RemoteProtocolError, VersionError
from dmoa.net import codec

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
ids = text.filter(bool)
nodes = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
counts = st.integers(0, 2**63 - 1)
seconds = st.floats(0, allow_nan=False, allow_infinity=False)
signed = st.floats(allow_nan=False, allow_infinity=False)
samplings = st.builds(
    Sampling,
    temperature=st.none() | seconds,
    top_p=st.none() | st.floats(0, 1),
    max_tokens=st.none() | st.integers(1, 10**6),
    stop=st.lists(text, max_size=3).map(tuple),
    seed=st.none() | st.integers(-(2**63) + 1, 2**63 - 1),
    presence_penalty=st.none() | signed,
    frequency_penalty=st.none() | signed,
)
jobs = st.builds(
    Job,
    id=ids,
    query=ids,
    home=nodes,
    role=st.sampled_from(["proposer", "aggregator"]),
    layer=st.integers(1, 9),
    turns=st.lists(st.builds(Turn, st.sampled_from(SPEAKERS), text, text), max_size=3).map(tuple),
    proposals=st.lists(text, max_size=4).map(tuple),
    sampling=samplings,
    patience=seconds,
    age=seconds,
    options=text,
    trace=text.map(lambda each: each[: codec.TRACE_CHARACTERS]),
)
digests = st.builds(
    Digest,
    node=nodes,
    incarnation=counts,
    sequence=counts,
    model=text,
    slots=counts,
    length=counts,
    mean_length=seconds,
    mean_waiting=seconds,
    arrival_rate=seconds,
    service_time=seconds,
    proposer_time=seconds,
    aggregator_time=seconds,
    utilisation=seconds,
    capacity=seconds,
    layers=counts,
    fanout=counts,
    refused=counts,
    declined=counts,
    url=st.just("") | text.map("http://".__add__),
    reads=st.booleans(),
)
completions = st.tuples(counts, counts).flatmap(
    lambda two: st.builds(
        Completion,
        text=text,
        model=text,
        prompt_tokens=st.just(max(two)),
        completion_tokens=counts,
        finish=st.sampled_from(["stop", "length", "tool_calls"]),
        tool_calls=text,
        cached_tokens=st.none() | counts,
        early_tokens=st.just(min(two)),
    )
)
messages = st.one_of(
    st.builds(Propose, jobs),
    st.builds(Preview, jobs.filter(lambda job: bool(job.proposals)), st.integers(1, 2**31)),
    st.builds(Piece, ids, text),
    st.builds(Proposal, ids, completions, seconds, seconds),
    st.builds(Decline, ids, counts),
    st.builds(Failure, ids, text),
    st.builds(Withdraw, ids),
    st.builds(Gossip, digests),
    st.just(Farewell()),
)

EXAMPLES: list[Message | Piece] = [
    make_job(),
    make_preview(),
    Piece(make_job().job.id, "word"),
    make_proposal(make_job()),
    Decline(make_job().job.id, 3),
    Failure(make_job().job.id, "out of memory"),
    Withdraw(make_job().job.id),
    Gossip(make_digest("a")),
    Farewell(),
]


def test_a_node_that_does_not_say_so_reads_nothing_ahead() -> None:
    head, body = fields(Gossip(make_digest("a")))
    del body["digest"]["reads"]  # as an older one tells it
    message = codec.decode(head + json.dumps(body).encode())
    assert isinstance(message, Gossip)
    assert message.digest.reads is False


def fields(message: Message | Piece) -> tuple[bytes, dict[str, Any]]:
    data = codec.encode(message)
    return data[:2], json.loads(data[2:])


def forge(message: Message | Piece, **changes: object) -> bytes:
    """Encode a message, then change fields; a double underscore stands for a dot."""
    head, body = fields(message)
    for path, value in changes.items():
        *way, last = path.split("__")
        place = body
        for name in way:
            place = place[name]
        place[last] = value
    return head + json.dumps(body).encode()


@settings(deadline=None)
@given(messages)
def test_every_message_comes_back_as_it_was(message: Message | Piece) -> None:
    assert codec.decode(codec.encode(message)) == message


def test_every_kind_of_message_has_a_letter_and_an_example() -> None:
    assert set(codec.KINDS.values()) == {*get_args(Message), Piece} - {Probe}
    assert {type(message) for message in EXAMPLES} == set(codec.KINDS.values())


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x01")
@example(b"\x01J" + b"[" * 100_000)
@example(b'\x01B{"x":' + b"[" * 100_000)
@example(b'\x01p["\\ud800","x"]')
def test_random_bytes_are_only_ever_a_breach_of_the_protocol(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        codec.decode(data)


@settings(deadline=None)
@given(st.sampled_from(EXAMPLES), st.data())
def test_damaged_messages_are_only_ever_a_breach_of_the_protocol(
    message: Message | Piece, data: st.DataObject
) -> None:
    wire = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteProtocolError):
        codec.decode(bytes(wire))


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: message.kind)
def test_a_message_cut_short_is_refused(message: Message | Piece) -> None:
    data = codec.encode(message)
    for length in range(len(data)):
        with pytest.raises(RemoteProtocolError):
            codec.decode(data[:length])


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_named(version: int) -> None:
    data = bytes((version,)) + codec.encode(Farewell())[1:]
    with pytest.raises(VersionError, match=f"version {version} ") as caught:
        codec.decode(data)
    assert caught.value.hint


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="unknown kind 90"):
        codec.decode(bytes((codec.WIRE_VERSION, 90)) + b"{}")


def test_a_piece_is_short() -> None:
    piece = Piece(make_job().job.id, "word")
    assert len(codec.encode(piece)) <= len(piece.job) + len(piece.text) + 9


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (forge(make_job(), job__layer="1"), r"Expected `int`, got `str` - at `\$.job.layer`"),
        (forge(make_job(), job__layer=1.5), "int"),
        (forge(make_job(), job__layer=True), "int"),
        (forge(make_job(), job__layer=0), "layer is 0"),
        (forge(make_job(), job__layer=10), "layer is 10"),
        (forge(make_job(), job__role="judge"), "judge"),
        (forge(make_job(), job__home="no name"), "job.home"),
        (forge(make_job(), job__id=""), "job.id"),
        (forge(make_job(), job__id="x" * 201), "job.id"),
        (forge(make_job(), job__query="x" * 201), "job.query"),
        (forge(make_job(), job__patience=-1), "patience"),
        (forge(make_job(), job__age=-1), "age"),
        (forge(make_job(), job__trace="0" * 65), "trace"),
        (forge(make_job(), job__patience="5"), "float"),
        (forge(make_job(), job__patience=None), "float"),
        (forge(make_job(), job__proposals=["x"] * 34), "34 proposals"),
        (forge(make_job(), job__proposals=["x" * 131_073]), "longer than 131072"),
        (forge(make_job(), job__turns=[{"role": "", "content": ""}]), "role"),
        (forge(make_job(), job__turns=[{"role": "<|im_start|>", "content": ""}]), "role"),
        (forge(make_job(), job__turns=[{"role": "user"}]), "content"),
        (forge(make_job(), job__sampling__top_p=1.01), "top_p"),
        (forge(make_job(), job__sampling__temperature=-0.1), "temperature"),
        (forge(make_job(), job__sampling__max_tokens=0), "max_tokens"),
        (forge(make_job(), job__sampling__seed=2**63), "seed"),
        (forge(make_job(), kind="withdraw"), "withdraw"),
        (forge(make_proposal(make_job()), queued_seconds=-0.5), "queued_seconds"),
        (forge(make_proposal(make_job()), completion__text="x" * 131_073), "text is longer"),
        (forge(make_proposal(make_job()), completion__finish="bored"), "bored"),
        (forge(make_proposal(make_job()), completion__prompt_tokens=-1), "prompt_tokens"),
        (forge(make_proposal(make_job()), completion__cached_tokens=-1), "cached_tokens"),
        (forge(make_proposal(make_job()), completion__cached_tokens=2**63), "cached_tokens"),
        (forge(make_proposal(make_job()), completion__early_tokens=-1), "early_tokens is -1"),
        (forge(make_proposal(make_job()), completion__early_tokens=10**9), "of a prompt of"),
        (forge(make_proposal(make_job()), completion__model="x" * 201), "model"),
        (forge(Decline(make_job().job.id, 0), length=-1), "length is -1"),
        (forge(Failure(make_job().job.id, ""), detail="x" * 32_769), "detail"),
        (forge(Withdraw(make_job().job.id), job=7), "str"),
        (forge(Gossip(make_digest("a")), digest__node="A"), "digest.node"),
        (forge(Gossip(make_digest("a")), digest__incarnation=2**63), "incarnation"),
        (forge(Gossip(make_digest("a")), digest__utilisation=-1.0), "utilisation"),
        (forge(Gossip(make_digest("a")), digest__capacity=-0.1), "capacity is -0.1"),
        (forge(Gossip(make_digest("a")), digest__capacity="7"), "float"),
        (forge(Gossip(make_digest("a")), digest__layers=-1), "layers is -1"),
        (forge(Gossip(make_digest("a")), digest__fanout=2**63), "fanout"),
        (forge(Gossip(make_digest("a")), digest__refused=-1), "refused is -1"),
        (forge(Gossip(make_digest("a")), digest__refused=0.5), "int"),
        (forge(Gossip(make_digest("a")), digest__declined=-1), "declined is -1"),
        (forge(Gossip(make_digest("a")), digest__url="javascript:alert(1)"), "url"),
        (b"\x01G{}", "digest"),
        (b'\x01p["j"]', "length 2"),
        (b'\x01p["j","x","y"]', "length 2"),
        (b'\x01p["j",1]', "str"),
        (b"\x01B[]", "object"),
        (b"\x01B{} {}", "trailing"),
        (b'\x01D{"job":"j","length":1e999}', "decline"),
        (b'\x01D{"job":"j","length":NaN}', "decline"),
        (b'\x01W{"job":"\xff"}', "withdraw"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(data: bytes, flaw: str) -> None:
    with pytest.raises(RemoteProtocolError, match=flaw):
        codec.decode(data)


def test_a_field_of_a_later_release_is_passed_over() -> None:
    assert codec.decode(forge(make_job(), job__colour="blue")) == make_job()


def test_a_field_with_a_default_may_be_absent() -> None:
    head, body = fields(make_job())
    del body["job"]["options"], body["kind"]
    assert codec.decode(head + json.dumps(body).encode()) == make_job()


def test_a_digest_of_an_earlier_release_is_read() -> None:
    head, body = fields(Gossip(make_digest("a", 7)))
    for name in ("capacity", "layers", "fanout", "refused", "declined"):
        del body["digest"][name]
    assert codec.decode(head + json.dumps(body).encode()) == Gossip(make_digest("a", 7))


def test_a_proposal_of_an_earlier_release_was_not_read_ahead() -> None:
    head, body = fields(make_proposal(make_job()))
    del body["completion"]["cached_tokens"], body["completion"]["early_tokens"]
    read = codec.decode(head + json.dumps(body).encode())
    assert read == make_proposal(make_job())


def test_a_probe_is_never_put_into_bytes() -> None:
    with pytest.raises(LocalProtocolError, match="a probe has no bytes"):
        codec.encode(Probe())


def test_nothing_larger_than_the_limit_is_read() -> None:
    data = codec.encode(make_job(content="x" * 1000))
    assert codec.decode(data, Limits(message_bytes=len(data))) == make_job(content="x" * 1000)
    with pytest.raises(RemoteProtocolError, match="the limit is"):
        codec.decode(data, Limits(message_bytes=len(data) - 1))


def test_nothing_larger_than_the_limit_is_written() -> None:
    size = len(codec.encode(make_job(content="x" * 1000)))
    codec.encode(make_job(content="x" * 1000), Limits(message_bytes=size))
    with pytest.raises(LocalProtocolError, match="at most"):
        codec.encode(make_job(content="x" * 1000), Limits(message_bytes=size - 1))


@pytest.mark.parametrize(
    "message",
    [
        Propose(replace(make_job().job, patience=float("nan"))),
        Propose(replace(make_job().job, patience=float("inf"))),
        Propose(replace(make_job().job, turns=(Turn("user", "\ud800"),))),
        Propose(replace(make_job().job, sampling=Sampling(presence_penalty=float("nan")))),
        Propose(replace(make_job().job, sampling=Sampling(temperature=float("nan")))),
        replace(make_preview(), number=0),
        replace(make_preview(), job=make_job().job),
        Preview(replace(make_preview().job, id="x" * codec.ID_CHARACTERS), 1),  # type: ignore[arg-type]
        Piece(make_job().job.id, "\ud800"),
        Decline(make_job().job.id, -1),
        Gossip(replace(make_digest("a"), utilisation=float("inf"))),
        Gossip(replace(make_digest("a"), capacity=float("nan"))),
        Gossip(replace(make_digest("a"), refused=-1)),
        Gossip(replace(make_digest("a"), node="A B")),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_this_node_sends_nothing_that_it_would_refuse(message: Message | Piece) -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode(message)
