from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.effects import Announce, Deliver, Send, Serve
from dmoa.core.events import Abandoned, Faltered, Lost, Served, Woke
from dmoa.core.job import Fault
from dmoa.core.limits import Limits
from dmoa.core.messages import Decline, Failure, Farewell, Gossip, Propose, Withdraw
from dmoa.core.names import JobId, NodeId, QueryId

from .room import Room, completion, make_job

# -- peers that do not deliver ---------------------------------------------------------


def test_a_lost_proposer_costs_its_proposal_only() -> None:
    room = Room()
    query = room.ask("a", 1, 1)
    room.serve("a")
    room.tell("a", Lost(NodeId("b"), JobId(f"{query}/1.1"), "no route"))
    room.serve("a", "answer")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("lost: b in layer 1 (no route)",)


def test_a_late_proposer_is_withdrawn_and_left_behind() -> None:
    room = Room()
    query = room.ask("a", 1, 1, deadline=10.0)
    room.deliver()
    room.serve("a")
    room.pass_time(5.0)
    assert ("a", "b", Withdraw(JobId(f"{query}/1.1"))) in room.post
    assert [f"{query}/2.0"] == room.serving("a")
    room.deliver()
    assert [f"{query}/1.1"] == room.cancelled("b")
    assert room.serving("b") == []
    room.stop("b")
    room.serve("a", "answer")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("late: b in layer 1",)


def test_the_own_model_can_be_late_as_well() -> None:
    room = Room()
    query = room.ask("a", 1, 1, deadline=10.0)
    room.deliver()
    room.serve("b", "from b")
    room.deliver()
    room.pass_time(5.0)
    assert [f"{query}/1.0"] == room.cancelled("a")
    assert room.serving("a") == []
    room.stop("a")
    assert room.served("a")[-1].job.proposals == ("from b",)


def test_a_full_peer_declines_with_the_length_of_its_queue() -> None:
    room = Room(limits=Limits(queue_jobs=2))
    room.ask("b")
    room.ask("b")
    query = room.ask("a", 1, 1)
    room.hear("b", "a", room.invited("a")["b"] and Propose(room.invited("a")["b"]))
    assert ("b", "a", Decline(JobId(f"{query}/1.1"), 2)) in room.post
    room.deliver()
    room.serve("a")
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("declined: b in layer 1 (its queue holds 2 jobs)",)
    assert room.agents["b"].gauge.declined == 1


def test_a_peer_whose_model_fails_says_so_at_once() -> None:
    room = Room()
    query = room.ask("a", 1, 1)
    room.deliver()
    room.falter("b", "unavailable", "out of memory")
    assert room.post == [("b", "a", Failure(JobId(f"{query}/1.1"), "out of memory"))]
    room.deliver()
    room.serve("a")
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("failed: b in layer 1 (out of memory)",)


def test_an_empty_proposal_is_a_failed_one() -> None:
    room = Room()
    room.ask("a", 1, 1)
    room.deliver()
    room.serve("b", " \n")
    room.deliver()
    room.serve("a", "")
    assert room.served("a")[-1].job.proposals == ()
    room.serve("a", "answer")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert [visit.outcome for visit in end.answer.trace.jobs] == ["failed", "failed", "ok"]
    assert all("an empty proposal" in reason for reason in end.answer.trace.degraded)


def test_a_layer_without_proposals_leaves_those_before_in_force() -> None:
    room = Room()
    room.ask("a", 2, 1)
    room.deliver()
    room.serve("a", "one of a")
    room.serve("b", "one of b")
    room.deliver()
    room.falter("b")
    room.falter("a")
    room.deliver()
    assert room.served("a")[-1].job.proposals == ("one of a", "one of b")
    assert room.served("a")[-1].job.role == "aggregator"


# -- peers that come and go ------------------------------------------------------------


def test_a_farewell_ends_every_job_its_sender_had() -> None:
    room = Room("abc")
    room.ask("a", 1, 2)
    room.deliver()
    room.serve("a")
    room.serve("c", "from c")
    room.deliver()
    room.depart("b")
    assert room.served("a")[-1].job.proposals == ("yes", "from c")
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("lost: b in layer 1 (it left)",)
    assert room.agents["a"].view.living(room.now) == ["c"]


def test_who_only_seemed_to_leave_is_told_to_stop() -> None:
    room = Room("ab")
    query = room.ask("a", 1, 1)
    room.deliver()
    room.hear("a", "b", Farewell())
    assert room.post == [("a", "b", Withdraw(JobId(f"{query}/1.1")))]
    room.deliver()
    assert [f"{query}/1.1"] == room.cancelled("b")


def test_a_peer_born_anew_has_lost_its_jobs() -> None:
    room = Room("ab")
    room.ask("a", 1, 1)
    room.deliver()
    reborn = room.birth("b", incarnation=2)
    room.hear("a", "b", Gossip(reborn.digest(room.now)))
    room.serve("a")
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("lost: b in layer 1 (it started anew)",)
    assert room.agents["a"].view.living(room.now) == ["b"]


def test_the_next_digest_brings_back_who_seemed_to_leave() -> None:
    room = Room("ab")
    old = room.agents["b"].digest(0.0)
    room.hear("a", "b", Farewell())
    room.hear("a", "b", Gossip(old))
    assert room.agents["a"].view.living(0.0) == []
    room.now = 1.0
    [announce] = room.tell("b", Woke())
    assert isinstance(announce, Announce)
    room.hear("a", "b", Gossip(announce.digest))
    assert room.agents["a"].view.living(1.0) == ["b"]


def test_nobody_speaks_for_another() -> None:
    room = Room("ab")
    digest = replace(room.agents["b"].digest(0.0), node=NodeId("c"))
    room.hear("a", "b", Gossip(digest))
    assert room.agents["a"].view.living(0.0) == ["b"]


def test_every_agent_gossips_every_second() -> None:
    room = Room("a")
    room.pass_time(3.5)
    digests = [effect.digest for effect in room.effects["a"] if isinstance(effect, Announce)]
    assert [digest.sequence for digest in digests] == [1, 2, 3, 4]
    assert room.agents["a"].deadline == 4.0


def test_a_digest_tells_what_was_measured() -> None:
    room = Room("a")
    room.ask("a")
    room.pass_time(2.0)
    room.serve("a")
    room.ask("a")
    digest = room.agents["a"].digest(room.now)
    assert (digest.length, digest.slots, digest.model) == (1, 1, "toy")
    assert digest.service_time == digest.aggregator_time == 2.0
    assert digest.proposer_time == 0.0
    assert digest.mean_length == 1.0
    assert digest.arrival_rate > 0
    assert digest.utilisation == pytest.approx(digest.arrival_rate * 2.0)


# -- withdrawing -----------------------------------------------------------------------


def test_an_abandoned_query_stops_everywhere_at_once() -> None:
    room = Room("abc")
    query = room.ask("a", 1, 2)
    room.deliver()
    effects = room.tell("a", Abandoned(query))
    assert {"b", "c"} == {effect.to for effect in effects if isinstance(effect, Send)}
    room.deliver()
    for name in "abc":
        assert room.serving(name) == []
        room.stop(name)
        assert len(room.agents[name].queue) == 0
    assert room.ends("a") == []
    assert room.agents["a"].queries == 0


def test_what_was_never_asked_can_be_abandoned() -> None:
    room = Room("a")
    assert room.tell("a", Abandoned(QueryId("a/1/9"))) == []


def test_a_job_withdrawn_before_it_came_is_not_taken() -> None:
    room = Room()
    job = make_job("b/1/1/1.1")
    room.hear("a", "b", Withdraw(job.id))
    assert room.hear("a", "b", Propose(job)) == []


def test_a_withdrawn_job_that_waits_is_never_served() -> None:
    room = Room()
    room.ask("a")
    job = make_job("b/1/1/1.1")
    room.hear("a", "b", Propose(job))
    assert room.hear("a", "b", Withdraw(job.id)) == []
    room.serve("a")
    assert job not in [serve.job for serve in room.served("a")]
    assert room.serving("a") == []


def test_a_job_served_after_its_cancel_frees_its_slot_and_says_nothing() -> None:
    room = Room()
    job = make_job("b/1/1/1.1")
    room.hear("a", "b", Propose(job))
    room.hear("a", "b", Withdraw(job.id))
    assert room.hear("a", "b", Withdraw(job.id)) == []
    query = room.ask("a")
    assert room.serving("a") == []
    [serve] = room.tell("a", Served(job.id, completion()))
    assert isinstance(serve, Serve)
    assert query == serve.job.query


@pytest.mark.parametrize("code", ["too_long", "stopped", "unavailable"])
def test_a_job_that_falters_after_its_cancel_says_nothing(code: str) -> None:
    room = Room()
    job = make_job("b/1/1/1.1")
    room.hear("a", "b", Propose(job))
    room.hear("a", "b", Withdraw(job.id))
    assert room.tell("a", Faltered(job.id, Fault(code))) == []
    assert len(room.agents["a"].queue) == 0


def test_a_peers_job_is_dropped_when_its_patience_passes() -> None:
    room = Room("a")
    for number, patience in ((1, 9.0), (2, 3.0), (3, 1e9)):
        room.hear("a", "b", Propose(make_job(f"b/1/{number}/1.1", patience=patience)))
    room.pass_time(3.0)
    assert len(room.agents["a"].queue) == 2
    room.pass_time(6.0)
    assert room.cancelled("a") == ["b/1/1/1.1"]
    room.stop("a")
    assert room.serving("a") == ["b/1/3/1.1"]
    room.serve("a")
    assert room.agents["a"].deadline == 10.0


def test_a_peers_job_without_patience_is_not_begun() -> None:
    room = Room("a")
    room.hear("a", "b", Propose(make_job(patience=-1.0)))
    assert room.served("a") == []
    assert len(room.agents["a"].queue) == 0
