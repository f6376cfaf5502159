from __future__ import annotations

import asyncio
import logging

import pytest
from net_room import A, B, RecordingHost, hang, make_digest, make_job, make_proposal

from dmoa.core.limits import Limits
from dmoa.core.messages import Farewell, Gossip, Piece
from dmoa.core.names import NodeId
from dmoa.errors import PeerGoneError, PeerSilentError, RemoteProtocolError, UnreachableError
from dmoa.net import codec, complaints, exchange
from dmoa.net.complaints import Complaints
from dmoa.net.desk import Desk, read_digest
from dmoa.net.exchange import Inquiry, Mailbox

JOB = make_job().job.id


def mailbox(*, patience: float = 10, idle: float | None = None) -> Mailbox:
    return Mailbox(B, JOB, Limits(message_bytes=1000), patience=patience, idle=idle)


def frame(text: str = "x") -> bytes:
    return exchange.MESSAGE + codec.encode(Piece(JOB, text))


class Answers:
    """A way back that remembers what went along it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.ended = 0

    def put(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def send(self, frame: bytes) -> None:
        self.put(frame)

    def end(self) -> None:
        self.ended += 1


async def test_frames_before_the_end_are_read_before_it() -> None:
    box = mailbox()
    box.put(frame("a"))
    box.put(frame("b"))
    box.end()
    assert await box.next() == Piece(JOB, "a")
    assert await box.next() == Piece(JOB, "b")
    with pytest.raises(PeerGoneError):
        await box.next()


async def test_an_end_before_any_frame_means_that_nothing_ran() -> None:
    box = mailbox()
    box.end()
    assert box.settled
    with pytest.raises(UnreachableError):
        await box.next()


async def test_only_a_reply_or_the_end_settles_a_job() -> None:
    box = mailbox()
    box.put(frame())
    await box.next()
    assert not box.settled
    box.put(exchange.MESSAGE + codec.encode(make_proposal(make_job())))
    await box.next()
    assert box.settled


@pytest.mark.parametrize(
    ("tag", "error"),
    [
        (exchange.BUSY, UnreachableError),
        (exchange.REFUSED, UnreachableError),
        (exchange.BROKEN, PeerGoneError),
        (exchange.EXPIRED, PeerSilentError),
        (b"\x09", RemoteProtocolError),
    ],
)
async def test_every_tag_has_its_error(tag: bytes, error: type[Exception]) -> None:
    box = mailbox()
    box.put(tag + b"\xff why")
    with pytest.raises(error):
        await box.next()


async def test_a_peer_that_floods_its_reader_is_cut_off() -> None:
    box = mailbox()
    for _ in range(100):
        box.put(frame("x" * 900))
    with pytest.raises(RemoteProtocolError, match="faster than"):  # noqa: PT012 - where varies
        for _ in range(100):
            await box.next()


async def test_a_reader_that_keeps_up_may_read_any_amount() -> None:
    box = mailbox()
    for _ in range(100):
        box.put(frame("x" * 900))
        await box.next()


async def test_idle_counts_from_the_last_frame_and_patience_from_the_start() -> None:
    box = mailbox(patience=10, idle=4)
    loop = asyncio.get_running_loop()
    for second in (3, 6, 9):
        loop.call_at(second, box.put, frame())
        await box.next()
    with pytest.raises(PeerSilentError, match="within 10 s"):
        await box.next()
    assert loop.time() == pytest.approx(10)


async def test_patience_ends_a_flood_too() -> None:
    box = mailbox(patience=1)
    box.put(frame())
    await asyncio.sleep(2)
    with pytest.raises(PeerSilentError, match="within 1 s"):
        await box.next()


async def test_a_complaint_is_logged_once_a_minute_and_peer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Complaints(A)
    with caplog.at_level(logging.WARNING, "dmoa.net.complaints"):
        for _ in range(120):
            told.note("b", "nonsense")
            told.note("c", "nonsense")
            await asyncio.sleep(1)
    assert told.count == 240
    assert len(caplog.records) == 4
    assert caplog.messages[0] == "a dropped a message from b: nonsense"


async def test_complaints_about_any_number_of_names_take_bounded_memory() -> None:
    told = Complaints(A)
    for number in range(10 * complaints.COMPLAINT_PEERS):
        told.note(f"n{number}", "nonsense")
    assert len(told._warned) <= complaints.COMPLAINT_PEERS


async def test_every_job_ends_with_exactly_one_end() -> None:
    desk = Desk(RecordingHost(), Limits(), Complaints(B))
    answers = [Answers() for _ in range(4)]
    job = codec.encode(make_job())
    desk.take(A, job, answers[0])
    desk.take(A, job, answers[1])
    desk.take(A, codec.encode(Farewell()), answers[2])
    await asyncio.sleep(1)
    await desk.close()
    desk.take(A, job, answers[3])
    assert [answer.ended for answer in answers] == [1, 1, 1, 1]
    assert [answer.frames[-1:] for answer in answers[3:]] == [[]]
    assert [answer.frames[0][:1] for answer in answers[:3]] == [
        exchange.MESSAGE,
        exchange.REFUSED,
        exchange.REFUSED,
    ]


async def test_a_job_withdrawn_before_it_began_ends_as_well() -> None:
    host, answer = RecordingHost(), Answers()
    desk = Desk(host, Limits(), Complaints(B))
    desk.take(A, codec.encode(make_job()), answer)
    desk.withdraw(A, JOB)
    await asyncio.sleep(1)
    assert answer.ended == 1
    assert not host.started.is_set()


async def test_only_its_caller_can_withdraw_a_job() -> None:
    host, answer = RecordingHost(hang), Answers()
    desk = Desk(host, Limits(), Complaints(B))
    desk.take(A, codec.encode(make_job()), answer)
    await host.started.wait()
    desk.withdraw(NodeId("c"), JOB)
    desk.forsake(NodeId("c"))
    await asyncio.sleep(1)
    assert host.running == 1
    desk.forsake(A)
    await host.closed.wait()


async def test_a_handler_that_outlives_its_job_is_told_so() -> None:
    host, answer = RecordingHost(hang), Answers()
    desk = Desk(host, Limits(), Complaints(B))
    desk.take(A, codec.encode(make_job(patience=5)), answer)
    await host.closed.wait()
    await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    assert answer.frames[-1] == exchange.EXPIRED


async def test_the_first_that_comes_to_an_inquiry_counts() -> None:
    inquiry = Inquiry(B, patience=5)
    inquiry.put(codec.encode(Gossip(make_digest("b", 1))))
    inquiry.put(codec.encode(Gossip(make_digest("b", 2))))
    inquiry.end()
    inquiry.fail(PeerGoneError("too late"))
    await asyncio.sleep(9)
    assert read_digest(B, await inquiry.answer(), Limits()) == make_digest("b", 1)


async def test_what_comes_to_an_inquiry_that_was_given_up_is_no_matter() -> None:
    inquiry = Inquiry(B, patience=5)
    with pytest.raises(PeerSilentError, match="within 5 s"):
        await inquiry.answer()
    assert asyncio.get_running_loop().time() == pytest.approx(5)
    inquiry.put(b"")
    inquiry.end()


async def test_a_desk_tells_how_its_node_stands_until_it_is_closed() -> None:
    host, answers = RecordingHost(), [Answers() for _ in range(3)]
    desk = Desk(host, Limits(), Complaints(B))
    desk.stand(A, answers[0])
    host.standing = make_digest("b")
    desk.stand(A, answers[1])
    await desk.close()
    desk.stand(A, answers[2])
    assert [answer.frames for answer in answers] == [[], [codec.encode(Gossip(host.standing))], []]
    assert [answer.ended for answer in answers] == [1, 1, 1]
    assert host.probes == [A, A]
