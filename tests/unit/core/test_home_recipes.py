"""Proposals made and used in other ways than the paper's."""

from __future__ import annotations

from typing import cast

import pytest

from dmoa.core.effects import Answer, Deliver, Fail, Serve
from dmoa.core.job import Job, Prompt
from dmoa.core.limits import Limits
from dmoa.core.policy import LIVE
from dmoa.core.recipe import Recipe

from .room import Room


def answer_of(room: Room) -> Answer:
    [found] = [each.answer for each in room.effects["a"] if isinstance(each, Deliver)]
    assert room.agents["a"].queries == 0
    assert len(room.agents["a"].queue) == 0
    return found


def code_of(room: Room) -> str:
    """Tell why the only refused query was not taken."""
    [found] = [each.refusal.code for each in room.effects["a"] if isinstance(each, Fail)]
    return found


def served(room: Room, name: str = "a") -> list[Serve]:
    return [each for each in room.effects[name] if isinstance(each, Serve)]


def last(room: Room) -> tuple[Job, Prompt]:
    wish = served(room)[-1]
    return wish.job, wish.prompt


def proposals(room: Room, **texts: str) -> None:
    """Let each serve its proposal; their order is that of arrival."""
    room.deliver()
    for name, text in texts.items():
        room.serve(name, text)
        room.deliver()


def roles(answer: Answer) -> list[str]:
    return [f"{visit.role}@{visit.node}" for visit in answer.trace.jobs]


def test_own_samples_stay_at_home() -> None:
    room = Room("abc")
    room.ask("a", 2, 2, recipe=Recipe(own=True))
    assert room.invited("a") == {}
    for text in ("one", "two", "three", "four", "five", "six"):
        assert len(room.agents["a"].queue) == {"one": 3, "two": 2, "three": 1}.get(
            text, {"four": 3, "five": 2, "six": 1}.get(text)
        )
        room.serve("a", text)
    job, _ = last(room)
    assert (job.role, job.proposals) == ("aggregator", ("four", "five", "six"))
    room.serve("a", "seven")
    answer = answer_of(room)
    assert (answer.text, answer.trace.degraded) == ("seven", ())
    assert roles(answer) == ["proposer@a"] * 6 + ["aggregator@a"]


def test_own_samples_take_their_places() -> None:
    room = Room("ab", limits=Limits(queue_jobs=4))
    room.ask("a", 1, 2, recipe=Recipe(own=True))
    room.ask("a", 1, 2)
    room.ask("a", 1, 2)
    assert code_of(room) == "overloaded"
    wide = Room("ab", limits=Limits(queue_jobs=4))
    wide.ask("a", 1, 4, recipe=Recipe(own=True))
    assert code_of(wide) == "refused"


def test_own_samples_need_no_peers_and_no_spare() -> None:
    room = Room("a", policy=LIVE)
    room.ask("a", 1, 1, recipe=Recipe(own=True))
    room.serve("a", "one")
    room.serve("a", "two")
    room.serve("a", "three")
    assert answer_of(room).trace.degraded == ()
    assert len(answer_of(room).trace.jobs) == 3


def test_the_best_proposal_is_the_answer() -> None:
    room = Room("abc")
    room.ask("a", 1, 2, recipe=Recipe(best=True))
    proposals(room, b="it is London", a="it is Paris", c="it is Paris now")
    answer = answer_of(room)
    assert (answer.text, answer.source) == ("it is Paris", "chosen")
    assert roles(answer) == ["proposer@a", "proposer@b", "proposer@c"] or len(roles(answer)) == 3
    assert "aggregator@a" not in roles(answer)


def test_those_that_agree_end_it_early() -> None:
    room = Room("abc")
    room.ask("a", 3, 2, recipe=Recipe(agree=True))
    proposals(room, b="It is Paris.", a="it is Paris", c="it is **Paris**")
    answer = answer_of(room)
    assert (answer.source, len(answer.trace.jobs)) == ("chosen", 3)


def test_those_that_do_not_go_on() -> None:
    room = Room("abc")
    room.ask("a", 1, 2, recipe=Recipe(agree=True))
    proposals(room, b="It is Rome.", a="it is Paris", c="London")
    room.serve("a", "Paris")
    assert (answer_of(room).source, answer_of(room).text) == ("aggregator", "Paris")


def test_one_proposal_alone_agrees_with_nobody() -> None:
    room = Room("a")
    room.ask("a", 1, 0, recipe=Recipe(agree=True, rank=True))
    room.serve("a", "one")
    room.serve("a", "two")
    assert (answer_of(room).source, len(answer_of(room).trace.jobs)) == ("aggregator", 2)


def test_the_better_half_is_read_on_in_every_layer() -> None:
    room = Room("abc")
    room.ask("a", 2, 2, recipe=Recipe(select=True))
    proposals(room, b="nonsense", a="it is Paris", c="it is Paris now")
    assert last(room)[0].proposals == ("it is Paris", "it is Paris now")
    proposals(room, b="x", a="it was Rome", c="it was Rome then")
    assert last(room)[0].proposals == ("it was Rome", "it was Rome then")


def test_the_own_model_ranks_what_is_aggregated() -> None:
    room = Room("abc")
    room.ask("a", 1, 2, recipe=Recipe(rank=True, select=True))
    proposals(room, b="one", a="two", c="three")
    job, prompt = last(room)
    assert (job.role, prompt.sampling.temperature) == ("ranker", 0.0)
    assert "1. one\n2. two\n3. three" in prompt.turns[-1].content
    assert "user: hi" in prompt.turns[-1].content
    room.serve("a", "3, 1, 2")
    assert last(room)[0].proposals == ("three", "one")
    room.serve("a", "four")
    answer = answer_of(room)
    assert roles(answer)[-2:] == ["ranker@a", "aggregator@a"]
    assert (answer.text, answer.trace.degraded) == ("four", ())


def test_the_best_of_a_ranking_is_the_answer() -> None:
    room = Room("abc")
    room.ask("a", 1, 2, recipe=Recipe(rank=True, best=True))
    proposals(room, b="one", a="two", c="three")
    room.serve("a", "2")
    assert (answer_of(room).text, answer_of(room).source) == ("two", "chosen")


@pytest.mark.parametrize("said", ["I cannot say", None])
def test_without_a_ranking_they_are_ordered_as_they_agree(said: str | None) -> None:
    room = Room("abc")
    room.ask("a", 1, 2, recipe=Recipe(rank=True, best=True))
    proposals(room, b="nonsense", a="it is Paris", c="it is Paris now")
    if said is None:
        room.falter("a", "rubbish", "it broke")
    else:
        room.serve("a", said)
    answer = answer_of(room)
    assert (answer.text, answer.source) == ("it is Paris", "chosen")
    [reason] = answer.trace.degraded
    assert reason.startswith("unranked: " if said else "failed: a in the ranking (it broke)")


def test_a_ranking_that_is_not_there_by_the_deadline_ends_with_a_proposal() -> None:
    room = Room("ab")
    room.ask("a", 1, 1, recipe=Recipe(rank=True), deadline=5.0)
    proposals(room, b="one", a="one")
    room.pass_time(6.0)
    [found] = [each.answer for each in room.effects["a"] if isinstance(each, Deliver)]
    assert (found.text, found.source) == ("one", "proposal")


def test_the_best_proposal_is_the_seed_of_the_answer() -> None:
    room = Room("abc")
    room.ask("a", 1, 2, recipe=Recipe(seed=True))
    proposals(room, b="nonsense", a="it is Paris", c="it is Paris now")
    job, prompt = last(room)
    assert (job.role, job.seed) == ("aggregator", True)
    assert [turn.role for turn in prompt.turns] == ["user", "assistant", "user"]
    assert prompt.turns[1].content == "it is Paris"
    assert "1. it is Paris now\n2. nonsense" in prompt.turns[2].content
    room.serve("a", "Paris")
    assert answer_of(room).text == "Paris"


@pytest.mark.parametrize("name", ["self", "best", "rank", "select", "agree", "seed"])
def test_without_layers_there_is_nothing_to_mix(name: str) -> None:
    room = Room("ab")
    room.ask("a", 0, 0, recipe=Recipe.parse(name))
    job, prompt = last(room)
    assert (job.role, len(prompt.turns)) == ("aggregator", 1)
    room.serve("a", "yes")
    assert (answer_of(room).source, len(answer_of(room).trace.jobs)) == ("aggregator", 1)


@pytest.mark.parametrize("name", ["best", "rank", "select", "agree", "seed", "rank+best"])
def test_without_any_proposal_home_answers_alone(name: str) -> None:
    room = Room("ab")
    room.ask("a", 1, 1, recipe=Recipe.parse(name))
    room.deliver()
    room.falter("a")
    room.falter("b")
    room.deliver()
    room.serve("a", "alone")
    assert (answer_of(room).text, answer_of(room).source) == ("alone", "aggregator")


def test_rankings_count_as_work_of_their_own() -> None:
    room = Room("ab")
    room.ask("a", 1, 1, recipe=Recipe(rank=True))
    proposals(room, b="one", a="two")
    room.now += 3.0
    room.serve("a", "1, 2")
    assert room.agents["a"].gauge.service_time("ranker") == 3.0
    room.serve("a", "done")
    path = answer_of(room).trace.path
    assert [cast("str", visit.role) for visit in path] == ["proposer", "ranker", "aggregator"]
    assert answer_of(room).trace.service_seconds == 3.0


def test_an_outlier_is_dropped_before_it_is_read_on_and_that_is_told() -> None:
    room = Room("abcd")
    room.ask("a", 1, 3, recipe=Recipe(trim=True))
    proposals(room, a="it is 7", b="it is 7", c="nine of course", d="it is 7")
    assert last(room)[0].proposals == ("it is 7",) * 3
    room.serve("a", "7")
    answer = answer_of(room)
    assert [(each.outcome, each.detail) for each in answer.trace.jobs if each.node == "c"] == [
        ("ok", "dropped: unlike the others")
    ]
    assert answer.trace.degraded == (), "it was asked for"


def test_of_two_proposals_none_is_dropped() -> None:
    room = Room("ab")
    room.ask("a", 1, 1, recipe=Recipe(trim=True))
    proposals(room, a="it is 7", b="nine of course")
    assert len(last(room)[0].proposals) == 2
