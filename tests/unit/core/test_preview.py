"""Jobs that are shown to peers before they are asked for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.choice import READ, seated
from dmoa.core.effects import Effect, Read, Rest, Send, Serve
from dmoa.core.events import Abandoned, Lost, Offended, Received
from dmoa.core.job import Profile
from dmoa.core.limits import Limits
from dmoa.core.messages import Decline, Farewell, Gossip, Preview, Propose, Withdraw
from dmoa.core.names import JobId, NodeId, previewed
from dmoa.core.policy import Policy
from dmoa.core.recipe import Recipe

from .room import Room, make_job

ALL = Policy(eager="all")


def make_room(names: str = "abc", *, policy: Policy = ALL, **other: object) -> Room:
    return Room(names, profile=Profile("toy", reads=True), policy=policy, **other)


def previews(effects: list[Effect]) -> dict[str, Preview]:
    """The latest preview that each peer is sent."""
    sent = [each for each in effects if isinstance(each, Send)]
    return {each.to: each.message for each in sent if isinstance(each.message, Preview)}


def of(effects: list[Effect], *kinds: type) -> list[str]:
    """Name what is read, left off and served."""
    found = [each for each in effects if isinstance(each, kinds)]
    return [each.job if isinstance(each, Rest) else each.job.id for each in found]


def said(effects: list[Effect], kind: type) -> list[tuple[str, str]]:
    sent = [each for each in effects if isinstance(each, Send)]
    return [(each.to, each.message.job) for each in sent if isinstance(each.message, kind)]


def make_preview(job: str = "b/1/1/2.1", number: int = 1, *texts: str) -> Preview:
    return Preview(make_job(job, proposals=texts or ("so",)), number)


def first_is_in(room: Room) -> dict[str, Preview]:
    """Ask a query of two layers of which b proposes first; what peers are shown for that."""
    room.ask("a", layers=2, fanout=2)
    room.deliver()
    room.serve("b", "theirs")
    for effects in room.effects.values():
        effects.clear()
    room.deliver()
    return previews(room.effects["a"])


# -- from end to end -------------------------------------------------------------------


def test_a_peer_is_shown_what_it_will_be_asked_and_finds_it_read() -> None:
    room = make_room()
    shown = first_is_in(room)
    assert {preview.job.proposals for preview in shown.values()} == {("theirs",)}
    assert [preview.number for preview in shown.values()] == [1, 1]
    assert sorted(preview.job.id for preview in shown.values()) == ["a/1/1/2.1", "a/1/1/2.2"]
    assert of(room.effects["b"], Read) == [shown["b"].job.id]
    assert not of(room.effects["c"], Read), "it still writes"
    more = previews(room.serve("a", "mine"))
    assert {preview.job.proposals for preview in more.values()} == {("theirs", "mine")}
    assert [preview.number for preview in more.values()] == [2, 2]
    room.deliver()
    room.serve("c", "last")
    room.effects["a"].clear()
    room.effects["b"].clear()
    room.deliver()
    assert not previews(room.effects["a"]), "the last comes with the job"
    assert not of(room.effects["b"], Rest)
    [job] = of(room.effects["b"], Serve)
    assert job == shown["b"].job.id == room.invited("a").get("b", shown["b"].job).id
    assert ("a", f"{job}~2") in said(room.effects["b"], Decline), "it is shown nothing any more"
    for name in "abc":
        room.serve(name)
    room.deliver()
    room.serve("a", "answer")
    assert len(room.ends("a")) == 1
    assert not said(room.effects["a"], Withdraw)
    assert not any(agent._shelf.held or agent._previews.coming for agent in room.agents.values())


@pytest.mark.parametrize("choice", ["uniform", "loaded"])
def test_those_who_were_shown_a_job_get_it(choice: str) -> None:
    room = make_room("abcdefgh", policy=replace(ALL, choice=choice, spare=0))
    room.warm()
    room.ask("a", layers=2, fanout=3)
    room.deliver()
    busy = [name for name in "bcdefgh" if room.serving(name)]
    room.serve(busy[0], "theirs")
    room.effects["a"].clear()
    room.deliver()
    shown = previews(room.effects["a"])
    assert len(shown) == 3
    room.serve("a", "mine")
    room.deliver()
    for name in busy[1:]:
        room.serve(name, name)
    room.effects["a"].clear()
    room.deliver()
    asked = [each for each in room.effects["a"] if isinstance(each, Send)]
    jobs = {each.to: each.message.job.id for each in asked if isinstance(each.message, Propose)}
    assert jobs == {peer: preview.job.id for peer, preview in shown.items()}


def test_nothing_is_shown_to_who_does_not_read_nor_where_it_is_not_wanted() -> None:
    deaf, shy = Profile("toy"), replace(ALL, eager="own")
    for profile, policy in ((deaf, ALL), (replace(deaf, reads=True), shy)):
        room = Room("abc", profile=profile, policy=policy)
        assert first_is_in(room) == {}
    room = make_room()
    room.ask("a", layers=1, fanout=2)
    room.deliver()
    room.serve("b", "theirs")
    room.deliver()
    assert not previews(room.effects["a"]), "no layer follows"


def test_nothing_is_shown_of_what_is_ordered_before_it_is_read() -> None:
    room = make_room()
    room.ask("a", layers=2, fanout=2, recipe=Recipe(trim=True))
    room.deliver()
    room.serve("b", "theirs")
    room.deliver()
    assert not previews(room.effects["a"])


# -- what ends it ----------------------------------------------------------------------


def test_who_is_shown_a_job_in_vain_is_told() -> None:
    room = make_room()
    shown = first_is_in(room)
    room.deliver()
    query = next(iter(room.agents["a"]._home.queries))
    effects = room.tell("a", Abandoned(query))
    taken = [each for each in said(effects, Withdraw) if previewed(JobId(each[1]))]
    assert sorted(taken) == sorted((to, each.name) for to, each in shown.items())
    room.effects["b"].clear()
    room.deliver()
    assert of(room.effects["b"], Rest) == [shown["b"].job.id]
    assert not said(room.effects["b"], Decline), "nobody listens"


def test_a_peer_that_declines_is_shown_no_more() -> None:
    room = make_room()
    shown = first_is_in(room)
    room.hear("a", "b", Decline(shown["b"].name, 0))
    room.hear("a", "c", Decline(JobId(f"{shown['c'].job.id}~7"), 0))  # not the newest: no matter
    room.hear("a", "b", Decline(shown["c"].name, 0))  # not its own
    assert previews(room.serve("a", "mine")).keys() == {"c"}
    room.tell("a", Lost(NodeId("c"), JobId(f"{shown['c'].job.id}~2")))
    assert room.agents["a"]._previews.coming["a/1/1"].jobs == {}
    assert not room.ends("a")
    assert len(room.agents["a"]._home.seats) == 1, "of the query nothing is lost"


def test_each_preview_that_a_peer_may_hold_is_taken_back() -> None:
    room = make_room()
    shown = first_is_in(room)
    room.serve("a", "mine")  # a second preview each, of which one is lost
    room.post = [each for each in room.post if each[1] != "b"]
    room.deliver()
    query = next(iter(room.agents["a"]._home.queries))
    taken = said(room.tell("a", Abandoned(query)), Withdraw)
    assert {name for to, name in taken if to == "b" and "~" in name} == {
        f"{shown['b'].job.id}~{number}" for number in (1, 2)
    }
    assert {name for to, name in taken if to == "c" and "~" in name} == {f"{shown['c'].job.id}~2"}
    room.deliver()
    assert not any(agent._shelf.held for agent in room.agents.values())


def test_a_peer_that_left_is_shown_no_more_and_another_gets_the_job() -> None:
    room = make_room("abcd")
    shown = first_is_in(room) if room.names == "abcd" else {}
    gone = next(iter(shown))
    effects = room.hear("a", gone, Farewell())
    assert (gone, shown[gone].name) in said(effects, Withdraw)
    assert room.agents["a"]._previews.coming["a/1/1"].jobs.keys() == {
        preview.job.id for peer, preview in shown.items() if peer != gone
    }


def test_a_home_that_is_gone_is_read_for_no_more() -> None:
    anew = Gossip(replace(make_room().agents["b"].digest(0.0), incarnation=2))
    shunned = [Offended(NodeId("b"), "malformed")] * 9
    for events in ([Received(NodeId("b"), Farewell())], [Received(NodeId("b"), anew)], shunned):
        room = make_room()
        room.hear("a", "b", make_preview())
        room.effects["a"].clear()
        for event in events:
            room.tell("a", event)
        assert of(room.effects["a"], Rest) == ["b/1/1/2.1"]
        assert said(room.effects["a"], Decline) == [("b", "b/1/1/2.1~1")]


def test_a_preview_is_held_no_longer_than_its_home_said() -> None:
    room = make_room()
    room.hear("a", "b", make_preview())
    room.effects["a"].clear()
    room.pass_time(10.1)
    assert of(room.effects["a"], Rest) == ["b/1/1/2.1"]
    assert ("b", "b/1/1/2.1~1") in said(room.effects["a"], Decline)


# -- at the peer -----------------------------------------------------------------------


def test_the_newest_preview_counts_and_each_older_one_is_declined_once() -> None:
    room = make_room()
    told = [(2, [], True), (1, [1], False), (1, [], False), (2, [], False), (3, [2], True)]
    for number, declined, reads in [*told, (2, [], False)]:
        effects = room.hear("a", "b", make_preview("b/1/1/2.1", number, str(number)))
        assert said(effects, Decline) == [("b", f"b/1/1/2.1~{each}") for each in declined]
        assert bool(of(effects, Read)) == reads
    assert room.agents["a"]._shelf.held[JobId("b/1/1/2.1")].preview.number == 3


def test_a_preview_that_comes_after_its_job_or_its_end_is_not_read() -> None:
    room = make_room()
    room.hear("a", "b", Propose(make_job("b/1/1/2.1")))
    assert said(room.hear("a", "b", make_preview()), Decline) == [("b", "b/1/1/2.1~1")]
    room.serve("a")
    assert said(room.hear("a", "b", make_preview(number=2)), Decline) == [("b", "b/1/1/2.1~2")]
    room.hear("a", "b", Withdraw(JobId("b/1/2/2.1~1")))
    assert room.hear("a", "b", make_preview("b/1/2/2.1")) == []
    assert not room.agents["a"]._shelf.held


def test_a_withdrawal_takes_back_only_the_newest() -> None:
    room = make_room()
    room.hear("a", "b", make_preview())
    room.hear("a", "b", make_preview(number=2))
    assert room.hear("a", "b", Withdraw(JobId("b/1/1/2.1~1"))) == []
    room.hear("a", "c", Withdraw(JobId("b/1/1/2.1~2")))  # is not its own, and held against it
    assert of(room.hear("a", "b", Withdraw(JobId("b/1/1/2.1~2"))), Rest) == ["b/1/1/2.1"]


def test_who_shows_jobs_of_others_is_to_blame() -> None:
    room = make_room()
    assert room.hear("a", "c", make_preview()) == []
    assert room.agents["a"].view.reputation.level(NodeId("c"), room.now) > 0


@pytest.mark.parametrize(
    ("limits", "taken"),
    [
        (Limits(previews=4), ["b1", "b2", "c1", "c2"]),
        (Limits(previews=3), ["b1", "c1"]),
        (Limits(preview_bytes=2 * make_preview().job.size), ["b1", "c1"]),
        (Limits(preview_bytes=make_preview().job.size), []),
    ],
)
def test_there_is_room_for_some_and_half_of_it_for_one_home(
    limits: Limits, taken: list[str]
) -> None:
    room = make_room(limits=limits)
    for home in "bc":
        for number in (1, 2, 3):
            room.hear("a", home, make_preview(f"{home}/1/{number}/2.1"))
    held = [f"{name[0]}{name[4]}" for name in room.agents["a"]._shelf.held]
    assert held == taken
    declined = said(room.effects["a"], Decline)
    assert len(declined) == 6 - len(taken)
    if "b1" in taken:
        room.hear("a", "b", make_preview("b/1/1/2.1", 2))
        assert len(room.agents["a"]._shelf.held) == len(taken), "a newer one takes no more room"


def test_own_queries_are_read_for_before_those_of_peers_and_jobs_before_both() -> None:
    room = make_room()
    room.hear("a", "b", make_preview())
    room.ask("a", layers=1, fanout=2)
    assert of(room.effects["a"], Read, Rest, Serve) == ["b/1/1/2.1", "b/1/1/2.1", "a/1/1/1.0"]
    room.effects["a"].clear()
    room.serve("a", "mine")
    assert of(room.effects["a"], Read) == ["a/1/1/2.0"]
    room.deliver()
    room.serve("b", "theirs")
    room.serve("c", "last")
    room.effects["a"].clear()
    room.deliver()
    room.serve("a", "answer")
    assert of(room.effects["a"], Read)[-1] == "b/1/1/2.1"


# -- bounds and places -----------------------------------------------------------------


def test_no_more_is_shown_of_a_job_than_its_bytes_allow() -> None:
    room = make_room(limits=Limits(shown_bytes=200))
    shown = first_is_in(room)
    assert shown["b"].job.size < 200
    assert previews(room.serve("a", "m" * 200)) == {}


peers = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(peers, peers)
def test_whoever_was_shown_a_seat_keeps_it(chosen: list[str], early: list[str]) -> None:
    pairs = [(NodeId(name), 1.0) for name in chosen]
    seats = {NodeId(name): seat for seat, name in enumerate(early, 1)}
    found = seated(pairs, seats)
    assert sorted(found) == sorted(pairs)
    for seat, (node, _) in enumerate(found, 1):
        assert seats.get(node, 99) > len(found) or seats[node] == seat


@pytest.mark.parametrize(("length", "kept"), [(0, True), (1, False)])
def test_who_was_shown_the_job_is_asked_unless_it_is_much_busier(
    length: int, *, kept: bool
) -> None:
    assert 0.5 < READ < 1.0
    room = make_room("abc", policy=replace(ALL, choice="loaded"))
    room.warm()
    home = room.agents["a"]._home
    room.ask("a", layers=2, fanout=1)
    query = next(iter(home.queries.values()))
    query.plan = replace(query.plan, mixture=query.asked.mixture)
    for name, jobs in (("b", length), ("c", 0)):
        room.told("a", name, length=jobs)
    query.early = {NodeId("b"): 1}
    drawn = home.choice.draw(query, room.now)
    assert drawn[0] == "b"
    [(node, _)] = home.choice.choose(query, drawn, room.now)
    assert (node == "b") == kept
    assert query.early == {}
