from __future__ import annotations

import pytest

from dmoa.core.effects import Deliver, Fail
from dmoa.core.events import Woke
from dmoa.core.job import Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Decline, Failure, Propose, Withdraw
from dmoa.core.names import JobId

from .room import Room, make_job

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
    assert (end.refusal.code, end.refusal.retry_after) == ("overloaded", 4.0)
    assert end.refusal.position == 2, "one is served and one waits"
    assert end.refusal.trace.jobs == ()
    assert room.agents["a"].gauge.refused == 1


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
