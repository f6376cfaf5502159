from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.effects import Standing, Visit
from dmoa.core.events import Received
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.messages import Decline, Failure, Message, Piece, Proposal, Propose, Reply, Withdraw
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.errors import BackendUnavailableError
from dmoa.runtime import virtual
from dmoa.runtime.streams import PIECE_INTERVAL, Draft, Followers, Guests, Token

HOME, QUERY, NAME = NodeId("a"), QueryId("a/1/1"), JobId("a/1/1/1.1")
JOB = Job(NAME, QUERY, HOME, "proposer", 1, (Turn("user", "?"),), (), Sampling(), patience=10.0)
DONE = Proposal(NAME, Completion("so it is", "fake", 1, 2), 0.0, 0.5)


def visit(outcome: str = "pending") -> Visit:
    return Visit(NAME, 1, "proposer", NodeId("b"), outcome=outcome)  # type: ignore[arg-type]


class Mind:
    """Hears what a guest's line tells, and can write on it at once."""

    def __init__(self, guests: Guests, *frames: Piece | Reply) -> None:
        self.heard: list[Message] = []
        self._guests = guests
        self._frames = frames

    def tell(self, event: Received) -> None:
        assert event.sender == HOME
        self.heard.append(event.message)
        if isinstance(event.message, Propose):
            for frame in self._frames:
                self._guests.write(frame)


async def collect(frames: AsyncGenerator[Piece | Reply, None]) -> list[Piece | Reply]:
    return [frame async for frame in frames]


# -- followers -------------------------------------------------------------------------


async def test_a_follower_sees_all_in_order() -> None:
    followers = Followers()
    line = followers.join(QUERY)
    followers.show(QUERY, visit())
    followers.draft(JOB, "so ")
    followers.show(QUERY, visit("ok"))
    followers.show(QUERY, Token("yes"))
    assert [line.get_nowait() for _ in range(4)] == [
        visit(),
        Draft(visit(), "so "),
        visit("ok"),
        Token("yes"),
    ]
    assert line.empty()


async def test_whoever_left_sees_nothing_and_breaks_nothing() -> None:
    followers = Followers()
    line = followers.join(QUERY)
    followers.leave(QUERY)
    followers.show(QUERY, visit())
    followers.draft(JOB, "so ")
    followers.end("the end")
    assert line.empty()


async def test_the_end_reaches_every_follower_with_an_error_of_its_own() -> None:
    followers = Followers()
    lines = [followers.join(QueryId(f"a/1/{number}")) for number in range(3)]
    followers.end("the end")
    errors = [line.get_nowait() for line in lines]
    assert all(isinstance(error, BackendUnavailableError) for error in errors)
    assert len(set(map(id, errors))) == 3


async def test_a_follower_that_wants_no_drafts_sees_none() -> None:
    followers = Followers()
    line = followers.join(QUERY, drafts=False)
    followers.show(QUERY, visit())
    followers.draft(JOB, "so ")
    followers.show(QUERY, Token("yes"))
    assert [line.get_nowait(), line.get_nowait()] == [visit(), Token("yes")]
    assert line.empty()


async def test_silence_is_told_after_each_tick_of_it() -> None:
    clock = asyncio.get_running_loop()
    followers = Followers()
    line = followers.join(QUERY, tick=1.0)
    clock.call_at(clock.time() + 2.5, followers.show, QUERY, Token("yes"))
    start = clock.time()
    seen = [(await line.get(), round(clock.time() - start, 6)) for _ in range(4)]
    assert seen == [(None, 1.0), (None, 2.0), (Token("yes"), 2.5), (None, 3.5)]
    followers.leave(QUERY)
    await asyncio.sleep(10)
    assert line.empty()


def standing(position: int, layer: int = 1, query: QueryId = QUERY, **other: float) -> Standing:
    times = {"waited": 0.0, "starts_in": 1.0, "answers_in": 2.0, "expected": 3.0, **other}
    return Standing(query, position, layer, Mixture(), **times)


async def test_whoever_wonders_is_shown_each_change_of_place_once() -> None:
    followers = Followers()
    line = followers.join(QUERY, standings=True)
    shown = [standing(2), standing(1), standing(1, 2), standing(1, 2, expected=4.0)]
    for each in shown:
        followers.stand([each])
        followers.stand([replace(each, waited=9.0, starts_in=0.5, answers_in=1.5)])
    assert [line.get_nowait() for _ in shown] == shown
    assert line.empty(), "that time passes is no news"


async def test_only_who_wonders_is_shown_places_and_only_its_own() -> None:
    followers = Followers()
    other = QueryId("a/1/2")
    calm, wondering = followers.join(QUERY), followers.join(other, standings=True)
    assert followers.wonder == 1
    followers.stand([standing(1), standing(2, query=other), standing(3, query=QueryId("a/1/3"))])
    assert calm.empty()
    assert wondering.get_nowait() == standing(2, query=other)
    assert wondering.empty()
    followers.leave(other)
    assert followers.wonder == 0
    followers.stand([standing(1, query=other)])
    followers.leave(QUERY)
    assert followers.wonder == 0


# -- guests ----------------------------------------------------------------------------


async def test_a_guest_is_told_of_and_ends_with_its_reply() -> None:
    guests = Guests()
    mind = Mind(guests, Piece(NAME, "so"), DONE)
    assert await collect(guests.serve(HOME, Propose(JOB), mind.tell)) == [Piece(NAME, "so"), DONE]
    assert mind.heard == [Propose(JOB)]
    assert not guests._lines


@pytest.mark.parametrize("reply", [DONE, Decline(NAME, 3), Failure(NAME, "no")])
async def test_any_reply_ends_it(reply: Reply) -> None:
    guests = Guests()
    mind = Mind(guests, reply)
    assert await collect(guests.serve(HOME, Propose(JOB), mind.tell)) == [reply]
    assert mind.heard == [Propose(JOB)]


async def test_a_frame_goes_home_at_once() -> None:
    guests = Guests()
    mind = Mind(guests)
    async with aclosing(guests.serve(HOME, Propose(JOB), mind.tell)) as frames:
        first = asyncio.create_task(anext(frames))
        await asyncio.sleep(2.0)
        guests.write(Piece(NAME, "so"))
        assert await first == Piece(NAME, "so")
        assert asyncio.get_running_loop().time() == 2.0


async def test_closing_withdraws_once() -> None:
    guests = Guests()
    mind = Mind(guests, Piece(NAME, "so"))
    frames = guests.serve(HOME, Propose(JOB), mind.tell)
    await anext(frames)
    await frames.aclose()
    assert mind.heard == [Propose(JOB), Withdraw(NAME)]
    assert not guests._lines
    guests.write(DONE)


async def test_cancelling_whoever_waits_withdraws_too() -> None:
    guests = Guests()
    mind = Mind(guests)
    task = asyncio.create_task(collect(guests.serve(HOME, Propose(JOB), mind.tell)))
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    assert mind.heard == [Propose(JOB), Withdraw(NAME)]
    assert not guests._lines


async def test_closing_after_the_reply_withdraws_nothing() -> None:
    guests = Guests()
    mind = Mind(guests, DONE)
    frames = guests.serve(HOME, Propose(JOB), mind.tell)
    assert await anext(frames) == DONE
    await frames.aclose()
    assert mind.heard == [Propose(JOB)]


async def test_one_that_was_never_begun_is_never_told_of() -> None:
    guests = Guests()
    mind = Mind(guests)
    await guests.serve(HOME, Propose(JOB), mind.tell).aclose()
    assert mind.heard == []


async def test_a_double_fails_and_leaves_the_first_alone() -> None:
    guests = Guests()
    mind = Mind(guests)
    first = asyncio.create_task(collect(guests.serve(HOME, Propose(JOB), mind.tell)))
    await asyncio.sleep(1)
    second = await collect(guests.serve(HOME, Propose(JOB), mind.tell))
    assert second == [Failure(NAME, "this job is already here")]
    guests.write(DONE)
    assert await first == [DONE]
    assert mind.heard == [Propose(JOB)]


async def test_a_job_that_nobody_waits_for_is_given_up() -> None:
    guests = Guests()
    mind = Mind(guests)
    frames = await collect(guests.serve(HOME, Propose(JOB), mind.tell))
    assert frames == [Failure(NAME, "nobody waits for this job any more")]
    assert asyncio.get_running_loop().time() == pytest.approx(JOB.patience + 1.0)
    assert not guests._lines


Bursts = st.lists(st.lists(st.text(max_size=5), max_size=6), max_size=6)


@settings(max_examples=40, deadline=None)
@given(bursts=Bursts, reply=st.sampled_from([DONE, Failure(NAME, "no")]), late=st.booleans())
def test_joined_pieces_keep_the_text_whole(
    bursts: list[list[str]], reply: Reply, *, late: bool
) -> None:
    async def main() -> None:
        guests = Guests()
        task = asyncio.create_task(collect(guests.serve(HOME, Propose(JOB), Mind(guests).tell)))
        await asyncio.sleep(0.1)
        for burst in bursts:
            for text in burst:
                guests.write(Piece(NAME, text))
            await asyncio.sleep(0.1)
        if late:
            await asyncio.sleep(1.0)
        guests.write(reply)
        *pieces, last = await task
        assert last == reply
        assert all(isinstance(piece, Piece) for piece in pieces)
        assert len(pieces) <= sum(map(bool, bursts)), "a burst costs one frame"
        texts = [piece.text for piece in pieces if isinstance(piece, Piece)]
        assert "".join(texts) == "".join(text for burst in bursts for text in burst)

    virtual.run(main())


async def test_a_burst_and_its_reply_are_two_frames() -> None:
    guests = Guests()
    mind = Mind(guests, *(Piece(NAME, letter) for letter in "gossip"), DONE)
    frames = await collect(guests.serve(HOME, Propose(JOB), mind.tell))
    assert frames == [Piece(NAME, "gossip"), DONE]


async def test_pieces_that_trickle_travel_together_but_the_first_and_the_reply_at_once() -> None:
    clock = asyncio.get_running_loop()
    guests, start = Guests(), clock.time()
    for number in range(200):
        piece = Piece(NAME, f"{number} ")
        clock.call_at(start + number * 0.002, guests.write, piece)
    clock.call_at(start + 0.4, guests.write, DONE)
    frames: list[tuple[Piece | Reply, float]] = []
    async with aclosing(guests.serve(HOME, Propose(JOB), Mind(guests).tell)) as coming:
        frames.extend([(frame, clock.time() - start) async for frame in coming])
    pieces = [frame.text for frame, _ in frames if isinstance(frame, Piece)]
    assert pieces[0] == "0 "
    assert "".join(pieces) == "".join(f"{number} " for number in range(200))
    assert 0.4 / PIECE_INTERVAL <= len(pieces) <= 0.4 / PIECE_INTERVAL + 2
    assert frames[-1] == (DONE, pytest.approx(0.4))
