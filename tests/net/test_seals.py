"""Seals, with the papers of a true realm."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

import pytest
from net_realm import Realm
from net_room import A, B, C, make_digest

from dmoa.core.digest import Digest
from dmoa.core.limits import Limits
from dmoa.core.names import NodeId
from dmoa.errors import ForgedError
from dmoa.net import seals
from dmoa.net.complaints import Complaints
from dmoa.net.inlet import BYTES, RATES, Inlets
from dmoa.net.seals import DIGEST, JOB, ROLL, WITHDRAWAL, Reader, Replays, Seals

WRONG_ORDERS = [*[*permutations(range(3))][1:], (0, 0, 1), (1, 1, 2), (2,)]
ASKED = b"a job, as it was sealed and sent"


@dataclass
class Member:
    seals: Seals
    complaints: Complaints
    offences: list[tuple[NodeId, str]]


@pytest.fixture(scope="module")
def realm() -> Iterator[dict[NodeId, Member]]:
    place = Realm()
    members = {}
    for node in (A, B, C):
        complaints, offences = Complaints(node), []
        complaints.blame = lambda *evidence, into=offences: into.append(evidence)
        members[node] = Member(Seals(node, place.member(node), complaints), complaints, offences)
    yield members
    place.close()


class Answers:
    """A way back that remembers what went along it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def put(self, frame: bytes) -> None:
        self.frames.append(frame)

    async def send(self, frame: bytes) -> None:
        self.put(frame)

    def end(self) -> None:
        self.frames.append(b"end")


def frames(realm: dict[NodeId, Member], *texts: bytes, asked: bytes = ASKED) -> list[bytes]:
    """Seal an answer of b's to a."""
    answers = Answers()
    way = realm[B].seals.writer(A, asked, answers)
    for text in texts:
        way.put(text)
    return answers.frames


def reader(realm: dict[NodeId, Member], asked: bytes = ASKED) -> Reader:
    made = realm[A].seals.reader(B, asked)
    assert made is not None
    return made


def test_without_an_identity_nothing_changes() -> None:
    plain, answers = Seals(A, None, Complaints(A)), Answers()
    assert plain.seal(JOB, B, b"x") == b"x"
    assert plain.open(JOB, B, b"x") == b"x"
    assert plain.reader(B, b"x") is None
    assert plain.writer(B, b"x", answers) is answers


async def test_what_is_sealed_opens_for_its_listener_and_purpose_alone(
    realm: dict[NodeId, Member],
) -> None:
    sealed = realm[A].seals.seal(JOB, B, b"a job")
    assert realm[B].seals.open(JOB, A, sealed) == b"a job"
    for who, purpose, speaker in ((C, JOB, A), (B, WITHDRAWAL, A), (B, JOB, C), (B, DIGEST, A)):
        with pytest.raises(ForgedError):
            realm[who].seals.open(purpose, speaker, sealed)
    with pytest.raises(ForgedError):
        realm[B].seals.open(JOB, A, b"a job")


async def test_the_frames_of_an_answer_open_in_their_order(realm: dict[NodeId, Member]) -> None:
    opens = reader(realm)
    assert [opens.read(frame) for frame in frames(realm, b"0", b"1", b"2")] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("order", WRONG_ORDERS)
async def test_frames_in_another_order_or_repeated_are_passed_over(
    realm: dict[NodeId, Member], order: tuple[int, ...]
) -> None:
    sealed, opens, wanted = frames(realm, b"0", b"1", b"2"), reader(realm), 0
    for index in order:
        opened = opens.read(sealed[index])
        assert opened == (str(index).encode() if index == wanted else None)
        wanted += opened is not None
    assert wanted < 3


async def test_frames_of_another_call_are_passed_over(realm: dict[NodeId, Member]) -> None:
    (other,) = frames(realm, b"yes", asked=b"another question")
    (own,) = frames(realm, b"no")
    opens = reader(realm)
    assert opens.read(other) is None
    assert opens.read(own) == b"no"


async def test_rubbish_in_a_peers_name_is_counted_and_blamed_on_nobody(
    realm: dict[NodeId, Member],
) -> None:
    mallory = Answers()
    realm[C].seals.writer(A, ASKED, mallory).put(b"a lie")
    opens, before = reader(realm), realm[A].complaints.count
    for frame in (b"", b"rubbish", *mallory.frames):
        assert opens.read(frame) is None
    assert realm[A].complaints.count == before + 3
    assert opens.read(frames(realm, b"the truth")[0]) == b"the truth"
    assert realm[A].offences == []


async def test_a_caller_does_not_listen_to_rubbish_for_ever(realm: dict[NodeId, Member]) -> None:
    opens = reader(realm)
    for _ in range(seals.STRAY_FRAMES - 1):
        assert opens.read(b"rubbish") is None
    with pytest.raises(ForgedError, match="not its own"):
        opens.read(b"rubbish")


async def test_a_job_is_taken_once_within_the_life_of_its_seal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seals, "REPLAY_JOBS", 100)
    replays = Replays(nodes=4)
    replays.job(b"one")
    with pytest.raises(ForgedError, match="before"):
        replays.job(b"one")
    await asyncio.sleep(seals.REPLAY_SECONDS + 1)
    replays.job(b"one")
    for number in range(1000):
        replays.job(b"%d" % number)
    assert len(replays._jobs) == 100


async def test_a_digest_older_than_the_newest_is_dropped() -> None:
    replays = Replays(nodes=2)

    def older(digest: Digest) -> bool:
        try:
            replays.digest(digest, b"sealed")
        except ForgedError:
            return True
        return False

    assert [
        older(make_digest("a", sequence, incarnation=incarnation))
        for incarnation, sequence in ((1, 5), (1, 6), (1, 5), (1, 6), (2, 1), (1, 9), (2, 2))
    ] == [False, False, True, False, False, True, False]
    assert replays.repeats(A, b"sealed")
    assert not replays.repeats(A, b"other")
    for number in range(10):
        older(replace(make_digest("a"), node=NodeId(f"n{number}")))
    assert len(replays._newest) == len(replays._same) == 2


@pytest.mark.parametrize("who", [A, C])
async def test_a_flood_is_held_against_whom_its_seals_prove(
    realm: dict[NodeId, Member], who: NodeId
) -> None:
    """Only a itself can be blamed for a's flood, and c cannot make it up."""
    member = realm[B]
    member.offences.clear()
    inlet = Inlets(member.seals, member.complaints, Limits())[ROLL]
    sealed = realm[who].seals.seal(ROLL, B, b"")
    taken = sum(inlet.open(A, sealed) is not None for _ in range(int(RATES[ROLL].burst) + 100))
    inlet.spilled(A)
    if who == A:
        assert RATES[ROLL].burst <= taken < RATES[ROLL].burst + 100
        assert member.offences == [(A, "flood")]
    else:
        assert taken == 0
        assert member.offences == []


@pytest.mark.parametrize(("size", "blamed"), [(BYTES[DIGEST] + 1, True), (10**6, False)])
async def test_what_is_too_large_is_held_against_whom_its_seal_proves(
    realm: dict[NodeId, Member], size: int, *, blamed: bool
) -> None:
    """Far too large a message is not even opened."""
    member = realm[B]
    member.offences.clear()
    inlet = Inlets(member.seals, member.complaints, Limits())[DIGEST]
    assert inlet.open(A, realm[A].seals.seal(DIGEST, "", b"x" * size)) is None
    assert member.offences == ([(A, "oversized")] if blamed else [])


async def test_outside_a_realm_the_name_of_a_message_is_its_senders() -> None:
    complaints, offences = Complaints(B), list[tuple[NodeId, str]]()
    complaints.blame = lambda *evidence: offences.append(evidence)
    inlet = Inlets(Seals(B, None, complaints), complaints, Limits())[ROLL]
    inlet.spilled(A)
    assert inlet.open(A, b"x" * (Limits().message_bytes + 1)) is None
    assert offences == [(A, "flood"), (A, "oversized")]


async def test_who_proved_a_name_once_is_known_at_all_inlets(realm: dict[NodeId, Member]) -> None:
    inlets = Inlets(realm[B].seals, realm[B].complaints, Limits())
    assert inlets[DIGEST].open(A, realm[A].seals.seal(DIGEST, "", b"x")) == b"x"
    assert inlets[DIGEST].open(C, realm[A].seals.seal(DIGEST, "", b"x")) is None
    assert all(inlet.early.knows(A) and not inlet.early.knows(C) for inlet in inlets.values())
