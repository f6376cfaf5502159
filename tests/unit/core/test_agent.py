from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.effects import Announce, Cancel, Deliver, Fail, Report, Send, Serve
from dmoa.core.events import Abandoned, Asked, Faltered, Lost, Received, Served, Woke
from dmoa.core.job import Completion, Fault, Profile, Sampling, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Decline, Failure, Farewell, Gossip, Proposal, Propose, Withdraw
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.names import JobId, NodeId, QueryId

from .room import HI, Room, completion, make_job

# -- exactly one end -------------------------------------------------------------------


def test_without_layers_the_own_model_answers_alone() -> None:
    room = Room()
    query = room.ask("a")
    room.serve("a", "forty-two")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert query == end.query
    assert (end.answer.completion.text, end.answer.source) == ("forty-two", "aggregator")
    assert end.answer.trace.degraded == ()
    assert [visit.role for visit in end.answer.trace.jobs] == ["aggregator"]
    assert room.post == []


def test_a_layer_asks_home_and_k_peers_then_home_aggregates() -> None:
    room = Room("abc")
    room.ask("a", 1, 2)
    assert {"b", "c"} == set(room.invited("a"))
    room.deliver()
    room.serve("a", "from a")
    room.serve("b", "from b")
    room.serve("c", "from c")
    room.deliver()
    assert room.served("a")[-1].job.proposals == ("from a", "from b", "from c")
    room.serve("a", "all")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.text == "all"
    assert len(end.answer.trace.jobs) == Mixture(1, 2).visits
    assert {visit.outcome for visit in end.answer.trace.jobs} == {"ok"}


def test_each_layer_reads_the_proposals_of_the_one_before() -> None:
    room = Room()
    room.ask("a", 2, 1)
    for text in ("one", "two"):
        room.deliver()
        room.serve("a", f"{text} of a")
        room.serve("b", f"{text} of b")
        room.deliver()
    assert [serve.job.proposals for serve in room.served("b")] == [(), ("one of a", "one of b")]
    assert room.served("a")[-1].job.proposals == ("two of a", "two of b")


def test_a_fanout_of_none_makes_home_propose_to_itself() -> None:
    room = Room()
    room.ask("a", 2, 0)
    for text in ("draft", "better", "best"):
        room.serve("a", text)
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.text == "best"
    assert end.answer.trace.degraded == ()
    assert room.post == []


def test_fewer_peers_than_wanted_are_all_asked_and_it_is_said() -> None:
    room = Room("abc")
    room.ask("a", 1, 7)
    assert {"b", "c"} == set(room.invited("a"))
    room.deliver()
    for name in "abca":
        room.serve(name)
        room.deliver()
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.degraded == ("few: 2 of 7 peers were known in layer 1",)


def test_without_peers_home_goes_through_its_layers_alone() -> None:
    room = Room("a")
    room.ask("a", 1, 3)
    room.serve("a", "draft")
    room.serve("a", "answer")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.text == "answer"
    assert end.answer.trace.degraded == ("few: 0 of 3 peers were known in layer 1",)


def test_a_query_told_twice_is_asked_once() -> None:
    room = Room()
    query = room.ask("a")
    assert room.tell("a", Asked(query, HI, ALONE)) == []
    room.serve("a")
    assert len(room.ends("a")) == 1


def test_several_queries_go_their_ways_at_once() -> None:
    room = Room("abc", profile=Profile("toy", slots=2))
    queries = [room.ask(name, 1, 2) for name in "aab"]
    room.deliver()
    while any(room.serving(name) for name in "abc"):
        for name in "abc":
            if room.serving(name):
                room.serve(name)
        room.deliver()
    ended = [end.query for name in "ab" for end in room.ends(name)]
    assert sorted(queries) == sorted(ended)


def test_c_slots_serve_c_jobs_at_once() -> None:
    room = Room(profile=Profile("toy", slots=2))
    for _ in range(3):
        room.ask("a")
    assert len(room.serving("a")) == 2
    room.serve("a")
    assert len(room.serving("a")) == 2


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


# -- what changes nothing --------------------------------------------------------------


def test_a_late_proposal_changes_nothing() -> None:
    room = Room()
    query = room.ask("a", 1, 1, deadline=10.0)
    room.serve("a")
    room.pass_time(5.0)
    late = Proposal(JobId(f"{query}/1.1"), completion("late"), 0.0, 1.0)
    assert room.hear("a", "b", late) == []
    room.serve("a", "answer")
    assert room.hear("a", "b", late) == []
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.trace.jobs[1].outcome == "late"


def test_a_doubled_proposal_changes_nothing() -> None:
    room = Room("abc")
    room.ask("a", 1, 2)
    room.deliver()
    room.serve("b")
    [(_, _, proposal)] = room.post
    room.hear("a", "b", proposal)
    assert room.hear("a", "b", proposal) == []


def test_a_doubled_job_is_served_once_and_never_answered_twice() -> None:
    room = Room()
    room.ask("a", 1, 1)
    job = Propose(room.invited("a")["b"])
    room.hear("b", "a", job)
    assert room.hear("b", "a", job) == []
    room.serve("b")
    assert room.hear("b", "a", job) == []
    assert len(room.served("b")) == 1


def test_a_stranger_changes_nothing() -> None:
    room = Room("abc")
    query = room.ask("a", 1, 1)
    [chosen] = room.invited("a")
    job = JobId(f"{query}/1.1")
    for sender in ({"b", "c"} - {chosen}) | {"z"}:
        for message in (
            Proposal(job, completion("mine"), 0.0, 0.0),
            Decline(job, 1),
            Failure(job, "no"),
            Proposal(JobId(f"{query}/1.0"), completion("mine"), 0.0, 0.0),
            Proposal(JobId("z/1/1/1.0"), completion("mine"), 0.0, 0.0),
            Withdraw(job),
        ):
            assert room.hear("a", sender, message) == []
    assert set(room.agents["a"]._home.queries[query].pending) == {job, f"{query}/1.0"}


def test_nobody_asks_or_withdraws_in_anothers_name() -> None:
    room = Room("abc")
    query = room.ask("b", 1, 0)
    room.hear("b", "a", Propose(make_job("c/1/1/1.1")))
    room.hear("b", "a", Propose(replace(make_job("b/1/1/1.0"), home=NodeId("a"))))
    room.hear("b", "a", Withdraw(JobId(f"{query}/1.0")))
    assert [f"{query}/1.0"] == room.serving("b")
    assert len(room.agents["b"].queue) == 1


def test_a_namesake_is_no_peer() -> None:
    room = Room("ab")
    agent = room.agents["a"]
    query = room.ask("a", 1, 1)
    own = JobId(f"{query}/1.0")
    digest = replace(agent.digest(0.0), incarnation=9)
    for message in (
        Gossip(digest),
        Farewell(),
        Propose(make_job(own)),
        Withdraw(own),
        Failure(own, "no"),
        Proposal(own, completion(), 0.0, 0.0),
    ):
        assert room.hear("a", "a", message) == []
    assert room.tell("a", Lost(NodeId("a"), own)) == []
    assert agent.view.living(room.now) == ["b"]


def test_a_doubled_job_whose_name_was_forgotten_is_not_taken_twice_while_it_is_here() -> None:
    room = Room(limits=Limits(remembered=1))
    for number in (1, 2):
        room.hear("a", "b", Propose(make_job(f"b/1/{number}/1.1")))
    room.hear("a", "b", Propose(make_job("b/1/1/1.1")))
    assert len(room.agents["a"].queue) == 2
    room.serve("a")
    room.serve("a")
    assert len(room.served("a")) == 2


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


# -- deadlines -------------------------------------------------------------------------


def test_without_any_proposal_a_passed_deadline_is_a_failure() -> None:
    room = Room()
    room.ask("a", 0, 0, deadline=7.0)
    room.pass_time(7.0)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert (end.refusal.code, end.refusal.detail) == ("expired", "the deadline of 7 s passed")
    assert len(room.cancelled("a")) == 1


def test_with_proposals_a_passed_deadline_is_the_best_of_them() -> None:
    room = Room("abc")
    room.ask("a", 1, 2, deadline=8.0)
    room.deliver()
    room.serve("a", "the sky is green")
    room.serve("b", "the sky is blue")
    room.serve("c", "the sky is blue today")
    room.deliver()
    room.pass_time(8.0)
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert (end.answer.source, end.answer.completion.text) == ("proposal", "the sky is blue")
    assert end.answer.trace.degraded == (
        "late: a in the aggregation",
        "unaggregated: the deadline of 8 s passed; this is the proposal of b",
    )


@pytest.mark.parametrize("deadline", [0.0, -1.0])
@pytest.mark.parametrize(("layers", "fanout"), [(0, 0), (2, 1)])
def test_a_deadline_of_nothing_ends_at_once(deadline: float, layers: int, fanout: int) -> None:
    room = Room()
    room.ask("a", layers, fanout, deadline=deadline)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "expired"
    assert room.served("a") == []
    room.deliver()
    assert room.serving("b") == []


def test_a_deadline_is_bounded() -> None:
    room = Room(timing=Timing(deadline=3.0, deadline_max=5.0, gossip=1.0))
    room.ask("a", deadline=1e9)
    room.ask("a")
    assert room.served("a")[0].patience == 5.0
    room.pass_time(3.0)
    assert len(room.ends("a")) == 1
    room.pass_time(2.0)
    assert len(room.ends("a")) == 2


def test_layers_share_the_time_that_is_left() -> None:
    room = Room()
    room.ask("a", 2, 1, deadline=9.0)
    assert room.invited("a")["b"].patience == 3.0
    room.deliver()
    room.now = 1.0
    room.serve("a")
    room.serve("b")
    room.deliver()
    assert room.served("b")[-1].job.patience == 4.0


def test_a_layer_and_its_query_may_run_out_in_one_step() -> None:
    room = Room()
    room.ask("a", 1, 1, deadline=2.0)
    room.now = 50.0
    room.tell("a", Woke())
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "expired"


# -- the aggregation -------------------------------------------------------------------


def test_a_failed_aggregation_delivers_the_best_proposal_and_says_so() -> None:
    room = Room()
    room.ask("a", 1, 1)
    room.deliver()
    room.serve("a", "one")
    room.serve("b", "two")
    room.deliver()
    room.falter("a", "unavailable", "out of memory")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert (end.answer.source, end.answer.completion.text) == ("proposal", "one")
    assert end.answer.trace.jobs[-1].outcome == "failed"
    assert end.answer.trace.degraded == (
        "failed: a in the aggregation (out of memory)",
        "unaggregated: out of memory; this is the proposal of a",
    )


def test_an_empty_aggregation_is_a_failed_one() -> None:
    room = Room()
    room.ask("a", 1, 0)
    room.serve("a", "draft")
    room.serve("a", "  ")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert (end.answer.source, end.answer.completion.text) == ("proposal", "draft")


def test_an_answer_may_be_nothing_but_calls_of_tools() -> None:
    room = Room()
    room.ask("a", 0, 0, notes=("tools: only the own model was asked",))
    room.serve("a", "", tool_calls="[{}]", finish="tool_calls")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.tool_calls == "[{}]"
    assert end.answer.trace.degraded == ("tools: only the own model was asked",)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("unavailable", "unavailable"),
        ("refused", "refused"),
        ("rubbish", "backend"),
        ("timeout", "backend"),
        ("stopped", "unavailable"),
    ],
)
def test_a_failed_model_without_proposals_is_a_failure(fault: str, code: str) -> None:
    room = Room()
    room.ask("a")
    room.falter("a", fault)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert (code, fault) == (end.refusal.code, end.refusal.detail)


def test_a_prompt_found_too_long_is_tried_smaller_then_believed() -> None:
    room = Room()
    room.ask("a", 1, 0)
    room.serve("a", "word " * 400)
    sizes = []
    for _ in range(3):
        sizes.append(len(room.served("a")[-1].prompt.turns[0].content))
        room.falter("a", "too_long")
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[1] > sizes[2] == len("hi")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.source == "proposal"
    assert room.serving("a") == []


def test_an_answer_says_which_proposals_were_not_read() -> None:
    room = Room()
    room.ask("a", 1, 0)
    room.serve("a", "word " * 400)
    room.falter("a", "too_long")
    room.falter("a", "too_long")
    room.serve("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.source == "aggregator"
    assert end.answer.trace.degraded == ("unread: 1 of 1 proposals did not fit",)


def test_a_retry_counts_as_one_service() -> None:
    room = Room()
    room.ask("a")
    room.pass_time(1.0)
    room.falter("a", "too_long")
    room.pass_time(2.0)
    room.serve("a")
    assert room.agents["a"].gauge.service_time() == 3.0
    assert room.agents["a"].gauge.jobs.count == 1
    assert len(room.ends("a")) == 1


def test_a_conversation_that_never_fits_is_too_long() -> None:
    room = Room()
    room.ask("a")
    for _ in range(3):
        room.falter("a", "too_long")
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "too_long"


# -- limits ----------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "fanout"), [(9, 1), (1, 33), (10**6, 10**6)])
def test_a_mixture_beyond_the_limits_is_refused(layers: int, fanout: int) -> None:
    room = Room()
    room.ask("a", layers, fanout)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "refused"
    assert "8 layers and a fanout of 32" in end.refusal.detail
    assert len(room.agents["a"].queue) == 0


def test_a_conversation_beyond_the_limits_is_too_long() -> None:
    room = Room(limits=Limits(conversation_bytes=1000))
    room.ask("a", turns=(Turn("user", "x" * 500), Turn("user", "y" * 501)))
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.code == "too_long"
    assert room.agents["a"].deadline == 1.0


def test_a_query_that_no_queue_could_hold_is_not_told_to_come_again() -> None:
    room = Room(limits=Limits(queue_bytes=100_000))
    room.ask("a", 1, 2)
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert (end.refusal.code, end.refusal.retry_after) == ("too_long", None)


def test_a_full_node_refuses_its_user_and_says_when_to_come_again() -> None:
    room = Room(limits=Limits(queue_jobs=2))
    room.ask("a")
    room.pass_time(4.0)
    room.serve("a")
    room.ask("a")
    room.ask("a")
    room.ask("a")
    end = room.ends("a")[-1]
    assert isinstance(end, Fail)
    assert (end.refusal.code, end.refusal.retry_after) == ("overloaded", 8)
    assert end.refusal.trace.jobs == ()
    assert room.agents["a"].gauge.declined == 1


def test_a_node_that_has_served_nothing_asks_for_a_second() -> None:
    room = Room(limits=Limits(queue_jobs=1))
    room.ask("a")
    room.ask("a")
    [end] = room.ends("a")
    assert isinstance(end, Fail)
    assert end.refusal.retry_after == 1.0


def test_an_accepted_query_keeps_its_place_through_all_its_layers() -> None:
    room = Room("ab", limits=Limits(queue_jobs=2))
    query = room.ask("a", 2, 1)
    room.hear("a", "b", Propose(make_job("b/1/1/1.1")))
    room.hear("a", "b", Propose(make_job("b/1/2/1.1")))
    assert room.post[-1][2] == Decline(JobId("b/1/2/1.1"), 2)
    room.lose()
    room.serve("a")
    room.hear("a", "b", Failure(JobId(f"{query}/1.1"), "no"))
    room.hear("a", "b", Propose(make_job("b/1/3/1.1")))
    assert room.post[-1][2] == Decline(JobId("b/1/3/1.1"), 2)
    room.serve("a")
    room.hear("a", "b", Failure(JobId(f"{query}/2.1"), "no"))
    room.serve("a")
    room.serve("a", "answer")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.text == "answer"
    room.hear("a", "b", Propose(make_job("b/1/4/1.1")))
    assert room.serving("a") == ["b/1/4/1.1"]


def test_names_of_ended_jobs_are_remembered_up_to_a_limit() -> None:
    room = Room(limits=Limits(remembered=3))
    for number in range(10):
        room.hear("a", "b", Withdraw(JobId(f"b/1/{number}/1.1")))
    assert [f"b/1/{number}/1.1" for number in (7, 8, 9)] == list(room.agents["a"]._past)


# -- order and visibility --------------------------------------------------------------


def test_own_jobs_and_those_of_peers_are_served_in_the_order_they_came() -> None:
    room = Room()
    first = room.ask("a")
    room.hear("a", "b", Propose(make_job("b/1/1/1.1")))
    second = room.ask("a")
    room.hear("a", "b", Propose(make_job("b/1/2/1.1")))
    for _ in range(4):
        room.serve("a")
    assert [f"{first}/1.0", "b/1/1/1.1", f"{second}/1.0", "b/1/2/1.1"] == [
        serve.job.id for serve in room.served("a")
    ]


def test_every_change_of_a_job_is_reported() -> None:
    room = Room()
    query = room.ask("a", 1, 1)
    room.deliver()
    room.pass_time(1.5)
    room.serve("b")
    room.deliver()
    room.serve("a")
    room.serve("a")
    reports = [effect for effect in room.effects["a"] if isinstance(effect, Report)]
    assert [
        (report.visit.job.removeprefix(f"{query}/"), report.visit.outcome) for report in reports[:4]
    ] == [("1.0", "pending"), ("1.1", "pending"), ("1.1", "ok"), ("1.0", "ok")]
    visit = reports[2].visit
    assert (visit.node, visit.model, visit.prompt_tokens, visit.completion_tokens) == (
        "b",
        "toy",
        3,
        5,
    )
    assert (visit.sent, visit.ended, visit.queued_seconds, visit.service_seconds) == (
        0.0,
        1.5,
        0.0,
        1.5,
    )


def test_only_the_aggregator_gets_what_the_user_chose() -> None:
    room = Room()
    chosen = Sampling(temperature=0.1, max_tokens=7, seed=5, stop=("x",))
    room.ask("a", 1, 1, sampling=chosen, options='{"logit_bias": {}}')
    peer = room.invited("a")["b"]
    own = room.served("a")[0].job
    assert (peer.options, own.options) == ("", "")
    assert peer.sampling == Sampling(seed=1006)
    assert own.sampling == Sampling(seed=1005)
    room.deliver()
    room.serve("a")
    room.serve("b")
    room.deliver()
    last = room.served("a")[-1].job
    assert (chosen, '{"logit_bias": {}}') == (last.sampling, last.options)


def test_peers_are_drawn_afresh_for_each_layer() -> None:
    drawn: set[tuple[str, str]] = set()
    for seed in range(60):
        room = Room("abc", seed=seed)
        room.ask("a", 2, 1)
        [first] = room.invited("a")
        room.deliver()
        room.serve("a")
        room.serve(first)
        [(_, _, message)] = room.post
        room.lose()
        room.hear("a", first, message)
        drawn.add((first, next(iter(room.invited("a")))))
    assert drawn == {("b", "b"), ("b", "c"), ("c", "b"), ("c", "c")}


def test_names_of_queries_are_never_the_same_in_two_lives() -> None:
    room = Room("a")
    names = [room.agents["a"].mint() for _ in range(3)]
    names += [room.birth("a", incarnation=2).mint() for _ in range(1)]
    assert names == ["a/1/1", "a/1/2", "a/1/3", "a/2/1"]


def test_it_is_always_known_when_to_wake() -> None:
    room = Room("a", timing=Timing(gossip=100.0))
    assert room.agents["a"].deadline == 100.0
    room.ask("a", 1, 0, deadline=10.0)
    assert room.agents["a"].deadline == 5.0
    room.serve("a")
    assert room.agents["a"].deadline == 10.0
    room.serve("a")
    assert room.agents["a"].deadline == 100.0


def test_a_service_that_was_never_wanted_is_the_bodys_fault() -> None:
    room = Room("a")
    with pytest.raises(AssertionError, match="without being in service"):
        room.tell("a", Served(JobId("a/1/1/1.0"), completion()))
    with pytest.raises(AssertionError, match="without being in service"):
        room.tell("a", Faltered(JobId("a/1/1/1.0"), Fault("refused")))


def test_what_a_peer_sends_is_cut_to_the_limit_and_stripped_of_tools() -> None:
    room = Room(limits=Limits(proposal_bytes=20))
    query = room.ask("a", 1, 1)
    room.deliver()
    room.serve("b", "word " * 20, tool_calls="[{}]")
    [(_, _, sent)] = room.post
    assert isinstance(sent, Proposal)
    assert len(sent.completion.text.encode()) <= 20
    assert sent.completion.tool_calls == ""
    huge = Completion("other " * 20, "toy", 1, 1, tool_calls="[{}]")
    room.hear("a", "b", Proposal(JobId(f"{query}/1.1"), huge, 0.0, 0.0))
    room.falter("a")
    room.falter("a")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.text == "other other […]"
    assert end.answer.completion.tool_calls == ""


def test_peers_never_see_what_tools_said() -> None:
    room = Room()
    turns = (Turn("user", "hi"), Turn("assistant", "", '{"tool_calls": []}'))
    room.ask("a", 1, 1, turns=turns)
    assert [turn.extra for turn in room.invited("a")["b"].turns] == ["", ""]
    assert room.served("a")[0].job.turns == turns


def test_what_was_received_is_told_by_whom() -> None:
    room = Room()
    event = Received(NodeId("b"), Farewell())
    assert room.tell("a", event) == []
    assert Cancel not in {type(effect) for effect in room.effects["a"]}
