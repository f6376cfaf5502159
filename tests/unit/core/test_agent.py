from __future__ import annotations

from dataclasses import replace

import pytest

from dmoa.core.effects import Cancel, Deliver, Report
from dmoa.core.events import Asked, Faltered, Lost, Received, Served
from dmoa.core.job import Completion, Fault, Profile, Sampling, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Decline, Failure, Farewell, Gossip, Proposal, Propose, Withdraw
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.names import JobId, NodeId

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


def test_without_peers_the_own_model_answers_alone_and_says_so() -> None:
    room = Room("a")
    room.ask("a", 2, 3)
    room.serve("a", "answer")
    [end] = room.ends("a")
    assert isinstance(end, Deliver)
    assert end.answer.completion.text == "answer"
    assert [job.role for job in end.answer.trace.jobs] == ["aggregator"]
    assert end.answer.trace.degraded == (
        "few: 0 of 3 peers were known in layer 1; home went on alone",
    )


def test_a_fanout_of_zero_goes_through_its_layers_with_or_without_peers() -> None:
    for nodes in ("a", "ab"):
        room = Room(nodes)
        room.ask("a", 2, 0)
        for text in ("draft", "better draft", "answer"):
            room.serve("a", text)
        [end] = room.ends("a")
        assert isinstance(end, Deliver)
        assert (end.answer.completion.text, end.answer.trace.degraded) == ("answer", ())


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
