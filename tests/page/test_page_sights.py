"""What happens at a node looks the same to every watcher, and holds no word of what is asked."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from page_room import SECRET, kinds, nodes, taken, watching

from dmoa.core.digest import Digest
from dmoa.core.effects import Effect, Read, Rest, Send
from dmoa.core.events import Faltered, Offended, Received
from dmoa.core.job import Fault, Job, Sampling, Turn
from dmoa.core.messages import Decline, Farewell, Gossip, Propose, Withdraw
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.policy import LIVE
from dmoa.errors import ExpiredError
from dmoa.runtime.sights import JobSight, Scene, Sight, sights_of

ME, PEER, OTHER = NodeId("n1"), NodeId("n2"), NodeId("n3")


def job(home: NodeId = PEER) -> Job:
    turns = (Turn("user", SECRET),)
    name = JobId(f"{home}/1/1/1.2")
    return Job(name, QueryId(f"{home}/1/1"), home, "proposer", 1, turns, (SECRET,), Sampling(), 9.0)


def seen(event: Received | Faltered | Offended, *effects: Effect) -> list[Sight]:
    return list(sights_of(ME, event, effects, 3.00001))


async def test_the_life_of_a_query_is_seen_from_question_to_answer() -> None:
    async with nodes("n1", "n2", "n3") as (home, *_):
        watcher = watching(home).join()
        answer = await home.ask(SECRET, mixture=Mixture(2, 2))
        sights = taken(watcher)
    query = answer.trace.query
    own = [s for s in sights if s.get("query") == query]
    assert own[0]["kind"] == "asked"
    assert (own[0]["layers"], own[0]["fanout"]) == (2, 2)
    visits = kinds(own, "visit")
    jobs = [visit.job for visit in answer.trace.jobs]
    assert list(dict.fromkeys(visit["job"] for visit in visits)) == jobs
    for name in jobs:  # each is sent once, and ends once
        outcomes = [visit.get("outcome", "pending") for visit in visits if visit["job"] == name]
        assert outcomes == ["pending", "ok"]
    roles = {visit["job"]: visit.get("role", "proposer") for visit in visits}
    assert list(roles.values()).count("aggregator") == 1
    ended = kinds(own, "answered")
    assert len(ended) == 1
    assert ended[0]["seconds"] == pytest.approx(answer.trace.seconds, abs=1e-4)
    assert own[-1]["kind"] == "answered"
    places = kinds(own, "place")
    assert [place["layer"] for place in places] == [1, 2, 3]
    times = [s["at"] for s in sights if "at" in s and s["kind"] != "node"]
    assert times == sorted(times)


async def test_a_peers_job_is_seen_where_it_is_served() -> None:
    async with nodes("n1", "n2") as (home, peer):
        watcher = watching(peer).join()
        await home.ask(SECRET, mixture=Mixture(1, 1))
        sights = taken(watcher)
    foreign = [s for s in kinds(sights, "job") if s["job"].startswith("n1/")]
    assert [s.get("state", "waiting") for s in foreign] == ["waiting", "serving", "served"]
    assert {s["node"] for s in foreign} == {"n2"}


async def test_no_word_of_prompts_and_answers_is_in_any_sight() -> None:
    async with nodes("n1", "n2", "n3", policy=LIVE) as all_of_them:
        watches = [watching(node) for node in all_of_them]
        watchers = [watch.join() for watch in watches]
        async with asyncio.TaskGroup() as tasks:
            for node in all_of_them:
                tasks.create_task(node.ask(f"{SECRET}?", mixture=Mixture(2, 2)))
            await asyncio.sleep(1.5)
            watchers += [watch.join() for watch in watches]  # in the middle of it
        text = "".join(json.dumps(taken(watcher)) for watcher in watchers)
    assert '"visit"' in text
    assert '"asked"' in text
    assert SECRET not in text
    assert "heard" not in text  # what fake models say


async def test_the_last_that_is_seen_of_a_query_is_its_end() -> None:
    async with nodes("n1", "n2", "n3") as (home, *_):
        watcher = watching(home).join()
        followed = home.follow(SECRET, mixture=Mixture(2, 2))
        await anext(followed)
        await followed.aclose()
        with pytest.raises(ExpiredError):
            await home.ask(SECRET, mixture=Mixture(1, 1), deadline=0.5)
        await home.ask(SECRET, mixture=Mixture(1, 1))
        await asyncio.sleep(3)
        sights = taken(watcher)
    ends = {"abandoned", "failed", "answered"}
    queries = [sight["query"] for sight in kinds(sights, "asked")]
    last = [[s["kind"] for s in sights if s.get("query") == query] for query in queries]
    assert [each[-1] for each in last] == ["abandoned", "failed", "answered"]
    assert [sum(kind in ends for kind in each) for each in last] == [1, 1, 1]


def test_a_job_that_is_declined_was_never_waiting() -> None:
    declined = Send(PEER, Decline(job().id, 9))
    assert seen(Received(PEER, Propose(job())), declined) == [
        JobSight(3.0, ME, job().id, "declined")
    ]
    waiting = JobSight(3.0, ME, job().id, "waiting", "proposer", 1)
    assert seen(Received(PEER, Propose(job()))) == [waiting]


def test_what_a_node_reads_ahead_is_seen_without_a_word_of_it() -> None:
    shown = seen(Received(OTHER, Farewell()), Read(job(ME)), Rest(job(ME).id))[1:]
    assert [msgspec.to_builtins(each) for each in shown] == [
        {"kind": "read", "at": 3.0, "node": "n1", "job": "n1/1/1/1.2"}
        | {"role": "proposer", "layer": 1, "proposals": 1},
        {"kind": "rest", "at": 3.0, "node": "n1", "job": "n1/1/1/1.2"},
    ]


def test_who_speaks_for_others_is_not_believed() -> None:
    assert seen(Received(OTHER, Propose(job()))) == []
    assert seen(Received(OTHER, Withdraw(job().id))) == []
    assert seen(Received(OTHER, Gossip(Digest(PEER, 1, 1, "m", 1)))) == []
    assert seen(Received(ME, Gossip(Digest(ME, 1, 1, "m", 1)))) == []
    assert seen(Received(ME, Farewell())) == []


def test_ends_and_departures_have_their_words() -> None:
    words = [sight.state for sight in seen(Received(PEER, Withdraw(job().id)))]  # type: ignore[attr-defined]
    for code in ("stopped", "timeout"):
        words += [sight.state for sight in seen(Faltered(job().id, Fault(code, SECRET)))]  # type: ignore[attr-defined]
    assert words == ["withdrawn", "withdrawn", "failed"]
    shown = [*seen(Received(PEER, Farewell())), *seen(Offended(PEER, "flood"))]
    assert [msgspec.to_builtins(each) for each in shown] == [
        {"kind": "gone", "at": 3.0, "node": "n2"},
        {"kind": "blamed", "at": 3.0, "node": "n2", "offence": "flood"},
    ]


def test_a_scene_can_be_read_back() -> None:
    scene = Scene(node="n1", past={"n1": [[1.0, 2.0]]})
    assert msgspec.json.decode(msgspec.json.encode(scene), type=Scene) == scene
