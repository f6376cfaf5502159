"""Asking items of live nodes: once each, in order, and what becomes of those that meet trouble."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from stub_member import Json, Said, StubNode, asked, items, members, says
from stub_network import problem, refusal

from dmoa.errors import DmoaError, UnreachableError, UsageError
from dmoa.study.evals import asking, watch
from dmoa.study.evals.asking import Abandoned, Speakers, Standing, meet, perform
from dmoa.study.evals.folder import Folder
from dmoa.study.evals.plan import (
    Draft,
    Run,
    configurations,
    due_times,
    seed_of,
)
from dmoa.study.evals.records import Answer, Member

real = pytest.mark.real


def unheard(standing: Standing) -> None:
    assert 0 <= standing.done <= standing.total


def ask(
    place: Path, nodes: list[StubNode], draft: Draft, *, again: bool = False
) -> tuple[Abandoned, ...]:
    with Run(place) as run:
        urls = [each.url for each in nodes]
        return asyncio.run(perform(run, urls, draft, unheard, again=again))


def answers(place: Path) -> dict[tuple[str, str], Answer]:
    return Folder(place).answers()


def lines(place: Path, kind: str) -> list[dict[str, Any]]:
    rows = map(json.loads, (place / "answers.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


# -- what is asked ------------------------------------------------------------------------


@real
def test_every_item_is_asked_once_of_every_configuration(tmp_path: Path) -> None:
    with members(2) as nodes:
        assert ask(tmp_path, nodes, Draft("dmoa-m1k1", items(5))) == ()
        told = asked(nodes)
    questions = [each.turns[0] for each in items(5)]
    wanted = [("local", name, text) for name in ("n1", "n2") for text in questions]
    wanted += [("dmoa-m1k1", f"n{i % 2 + 1}", text) for i, text in enumerate(questions)]
    assert Counter(told) == Counter(wanted)
    folder = Folder(tmp_path)
    assert folder.items() == items(5)
    assert folder.plan().configurations == ("local@n1", "local@n2", "dmoa-m1k1")
    assert folder.plan().members == (Member("n1", "tiny-n1"), Member("n2", "tiny-n2"))
    found = answers(tmp_path)
    assert len(found) == 15
    assert {each.status for each in found.values()} == {"answered"}
    assert found["dmoa-m1k1", "item-3"].node == "n2"
    one = found["local@n1", "item-0"]
    assert one.outputs[0].startswith("n1 says ")
    assert (one.prompt_tokens, one.completion_tokens, one.jobs) == (20, 10, 2)
    assert (one.layers, one.fanout, one.source, one.queued_seconds) == (1, 1, "aggregator", 0.25)
    assert 0.0 <= one.lag <= one.seconds < 60.0
    # one configuration after the other: none begins before the one before is over
    order = [row["configuration"] for row in lines(tmp_path, "answer")]
    assert order == [name for name in folder.plan().configurations for _ in range(5)]


@real
def test_a_query_says_what_it_wants_and_no_more(tmp_path: Path) -> None:
    with members(1) as nodes:
        ask(tmp_path / "bare", nodes, Draft("local", items(1), seed=7))
        more = Draft("local", items(1), seed=7, deadline=20.0, max_tokens=64)
        ask(tmp_path / "more", nodes, more)
        bare, full = nodes[0].bodies
    messages = [{"role": "user", "content": "What is 0?"}]
    seed = seed_of(7, "local@n1", "item-0")
    assert bare == {"model": "local", "messages": messages, "seed": seed}
    assert full == bare | {"max_tokens": 64, "dmoa": {"deadline": 20.0}}
    assert 0 <= seed < 2**31
    assert len({seed, seed_of(8, "local@n1", "item-0"), seed_of(7, "dmoa", "item-0")}) == 3


@real
def test_turns_are_one_conversation_at_one_home(tmp_path: Path) -> None:
    with members(2) as nodes:
        ask(tmp_path, nodes, Draft("dmoa-m1k1", items(2, "And why?"), members=False))
        first, second = nodes[1].bodies
    said = says("n2", first)[1]["choices"][0]["message"]["content"]
    assert second["messages"] == [
        {"role": "user", "content": "What is 1?"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And why?"},
    ]
    one = answers(tmp_path)["dmoa-m1k1", "item-1"]
    assert (len(one.outputs), one.prompt_tokens, one.jobs, one.queued_seconds) == (2, 40, 4, 0.5)
    assert len(answers(tmp_path)["dmoa-m1k1", "item-0"].outputs) == 1


@real
@pytest.mark.parametrize(("slots", "given", "width"), [(1, 0, 2), (3, 0, 6), (1, 5, 5)])
def test_as_many_are_under_way_as_there_are_slots(
    tmp_path: Path, slots: int, given: int, width: int
) -> None:
    with members(2) as nodes:
        arrived = threading.Semaphore(0)
        most = threading.Event()
        for each in nodes:
            each.queue["jobs"]["slots"] = slots
            each.arrived = arrived
            each.gate.clear()

        def open_gates() -> None:
            for _ in range(width):
                assert arrived.acquire(timeout=30.0)
            # one more would be here by now or soon; it does not come before an answer went out
            if not arrived.acquire(timeout=0.1):
                most.set()
            for each in nodes:
                each.gate.set()

        thread = threading.Thread(target=open_gates)
        thread.start()
        ask(tmp_path, nodes, Draft("dmoa-m1k1", items(12), concurrency=given, members=False))
        thread.join()
    assert most.is_set()


@real
def test_a_rate_asks_when_due_and_counts_from_then(tmp_path: Path) -> None:
    with members(2) as nodes:
        begun = dict.fromkeys(("n1", "n2"), 0)
        draft = Draft("dmoa-m1k1", items(20), rate=100.0, members=False, seed=3)
        ask(tmp_path, nodes, draft)
        begun = {each.name: len(each.bodies) for each in nodes}
    assert begun == {"n1": 10, "n2": 10}
    found = [answers(tmp_path)["dmoa-m1k1", f"item-{number}"] for number in range(20)]
    due = due_times(20, (0, 1), 100.0, 3)
    for each, at in zip(found, due, strict=True):
        assert each.asked - found[0].asked == pytest.approx(at - due[0], abs=0.002)
        assert each.seconds >= each.lag >= 0.0


# -- going on ---------------------------------------------------------------------------------


@real
def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    draft = Draft("dmoa-m1k1", items(6))
    with members(2) as nodes:
        ask(tmp_path, nodes, draft)
        whole, file = answers(tmp_path), tmp_path / "answers.jsonl"
        kept = file.read_bytes().split(b"\n")
        gone = [json.loads(each) for each in kept[8:-1]]
        file.write_bytes(b"\n".join(kept[:8]) + b"\n" + kept[8][:20])
        for each in nodes:
            each.bodies.clear()
        ask(tmp_path, nodes, draft)
        again = [row for row in gone if row["kind"] == "answer"]
        assert len(asked(nodes)) == len(again) > 3
        for each in nodes:
            each.bodies.clear()
        ask(tmp_path, nodes, draft)
        assert asked(nodes) == []
    found = answers(tmp_path)
    assert {key: each.outputs for key, each in found.items()} == {
        key: each.outputs for key, each in whole.items()
    }
    assert max(Counter((a["configuration"], a["item"]) for a in lines(tmp_path, "answer")).values())


@real
@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Draft("dmoa-m1k1", items(3)), "configurations was"),
        (Draft("local", items(4)), "count was 3 and is 4"),
        (Draft("local", items(3), seed=2), "seed was 0 and is 2"),
        (Draft("local", items(3), rate=2.0), "rate was 0.0 and is 2.0"),
        (Draft("local", items(3), max_tokens=5), "max_tokens was 0 and is 5"),
        (Draft("local", items(3), deadline=5.0), "deadline was 0.0 and is 5.0"),
    ],
)
def test_another_plan_is_refused_by_name(tmp_path: Path, other: Draft, words: str) -> None:
    with members(2) as nodes:
        ask(tmp_path, nodes, Draft("local", items(3)))
        before = (tmp_path / "answers.jsonl").read_bytes()
        with pytest.raises(UsageError, match="another plan") as caught:
            ask(tmp_path, nodes, other)
        assert words in caught.value.message
        with pytest.raises(UsageError, match="members was"):
            ask(tmp_path, nodes[::-1], Draft("local@n1,local@n2", items(3), members=False))
    assert (tmp_path / "answers.jsonl").read_bytes() == before


@real
def test_files_that_were_changed_are_refused(tmp_path: Path) -> None:
    with members(1) as nodes:
        ask(tmp_path, nodes, Draft("local", items(2)))
    file = tmp_path / "items.jsonl"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"What is 1?", b"What is 2?"))
    with pytest.raises(UsageError, match=r"items\.jsonl was changed"), Run(tmp_path):
        pass
    file.write_bytes(before)
    file = tmp_path / "answers.jsonl"
    whole = file.read_bytes()
    rows = whole.split(b"\n")
    for changed in (
        b"\n".join([rows[1], rows[0], b""]),
        whole.replace(b'"kind": "answer"', b'"kind": "anther"', 1),
        whole.replace(b'"seconds": ', b'"seconds": "x', 1).replace(b"x0.", b'", "y": 0.', 1),
    ):
        assert changed != whole
        file.write_bytes(changed)
        with (
            pytest.raises(UsageError, match=r"answers\.jsonl, line \d+: was changed"),
            Run(tmp_path),
        ):
            pass


@real
def test_two_do_not_write_to_one_run(tmp_path: Path) -> None:
    with Run(tmp_path), pytest.raises(UsageError, match="being written"), Run(tmp_path):
        pass


def test_a_folder_that_cannot_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"), Run(tmp_path / "file" / "run"):
        pass


# -- trouble ------------------------------------------------------------------------------------


class Turns:
    """Says one thing after the other, and then answers."""

    def __init__(self, name: str, *said: Said) -> None:
        self.name = name
        self.said = list(said)

    def __call__(self, body: Json) -> Said:
        return self.said.pop(0) if self.said else says(self.name, body)


@real
def test_who_is_refused_comes_again_where_nothing_is_due(tmp_path: Path) -> None:
    with members(1) as nodes:
        nodes[0].say = Turns("n1", refusal("n1", 0.05), refusal("n1", 0.05))
        ask(tmp_path, nodes, Draft("local", items(1)))
        assert len(nodes[0].bodies) == 3
    one = answers(tmp_path)["local@n1", "item-0"]
    assert one.status == "answered"
    assert one.seconds >= one.lag >= 0.1


@real
def test_a_header_tells_when_to_come_again(tmp_path: Path) -> None:
    with members(1) as nodes:
        status, body, _ = problem(429, "overloaded")
        nodes[0].say = Turns("n1", (status, body, {"Retry-After": "0.05"}))
        ask(tmp_path, nodes, Draft("local", items(1)))
    assert 0.05 <= answers(tmp_path)["local@n1", "item-0"].lag < 1.0


@real
def test_refusals_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REFUSALS", 3)
    with members(1) as nodes:
        nodes[0].say = lambda _: refusal("n1", 0.01)
        ask(tmp_path, nodes, Draft("local", items(1)))
        assert len(nodes[0].bodies) == 4
    assert answers(tmp_path)["local@n1", "item-0"].status == "refused"


@real
def test_what_is_due_and_refused_stays_refused(tmp_path: Path) -> None:
    with members(1) as nodes:
        nodes[0].say = Turns("n1", refusal("n1", 0.05))
        ask(tmp_path, nodes, Draft("local", items(2), rate=50.0))
        assert len(nodes[0].bodies) == 2
    found = answers(tmp_path).values()
    assert sorted(each.status for each in found) == ["answered", "refused"]
    assert next(each for each in found if each.status == "refused").http == 429


@real
def test_failures_are_told_by_code_and_never_in_words(tmp_path: Path) -> None:
    ends = [problem(400, "context_length_exceeded"), problem(504, "deadline_exceeded")]
    ends += [(200, {"choices": []}, {}), (502, {}, {})]
    with members(1) as nodes:
        nodes[0].say = Turns("n1", *ends)
        draft = Draft("local", items(5))
        ask(tmp_path, nodes, draft)
        found = [answers(tmp_path)["local@n1", f"item-{i}"] for i in range(5)]
        told = [(each.status, each.http, each.detail) for each in found]
        assert told == [
            ("failed", 400, "context_length_exceeded"),
            ("expired", 504, "deadline_exceeded"),
            ("failed", 200, "no answer of a node"),
            ("failed", 502, ""),
            ("answered", 200, ""),
        ]
        assert b"secret" not in (tmp_path / "answers.jsonl").read_bytes()
        # they stay so, unless asked for
        nodes[0].bodies.clear()
        ask(tmp_path, nodes, draft)
        assert nodes[0].bodies == []
        ask(tmp_path, nodes, draft, again=True)
        assert [text for *_, text in asked(nodes)] == ["What is 0?", "What is 2?", "What is 3?"]
    statuses = [answers(tmp_path)["local@n1", f"item-{i}"].status for i in range(5)]
    assert statuses == ["answered", "expired", "answered", "answered", "answered"]


@real
def test_a_turn_that_fails_ends_its_item(tmp_path: Path) -> None:
    with members(1) as nodes:
        first = says("n1", {"model": "", "messages": [], "seed": 0})
        nodes[0].say = Turns("n1", first, problem(502, "backend_failed"))
        ask(tmp_path, nodes, Draft("local", items(2, "And?", "So?")[1:]))
        assert len(nodes[0].bodies) == 2
    one = answers(tmp_path)["local@n1", "item-1"]
    assert (one.status, len(one.outputs), one.completion_tokens) == ("failed", 1, 10)


@real
def test_a_model_that_nobody_has_ends_the_run(tmp_path: Path) -> None:
    with members(2) as nodes:
        nodes[0].say = lambda _: problem(404, "model_not_found")
        with pytest.raises(UsageError, match="n1 does not offer 'local'"):
            ask(tmp_path, nodes, Draft("local", items(50)))
        assert len(nodes[0].bodies) == 1
    assert answers(tmp_path) == {}


@real
@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(401, "invalid_api_key", "n1 wants a key"), (503, "key_file_broken", "n1 cannot read")],
)
def test_a_key_that_is_revoked_in_the_middle_fails_no_item(
    tmp_path: Path, status: int, code: str, words: str
) -> None:
    with members(1) as nodes:
        nodes[0].say = lambda _: problem(status, code)
        with pytest.raises(UsageError, match=words):
            ask(tmp_path, nodes, Draft("local", items(50)))
        assert len(nodes[0].bodies) == 1
    assert answers(tmp_path) == {}


class Mortal:
    """Answers so often, and then nothing more."""

    def __init__(self, node: StubNode, often: int) -> None:
        self.node = node
        self.left = often
        node.server.handle_error = lambda *_: None  # type: ignore[method-assign]

    def __call__(self, body: Json) -> Said:
        if not self.left:
            self.node.status = 500
            raise ConnectionResetError
        self.left -= 1
        return says(self.node.name, body)


@real
def test_a_node_that_is_gone_takes_its_configuration_with_it(tmp_path: Path) -> None:
    with members(3) as nodes:
        nodes[1].say = Mortal(nodes[1], 5)
        with Run(tmp_path) as run:
            urls = [each.url for each in nodes]
            left = asyncio.run(perform(run, urls, Draft("dmoa-m1k1", items(18)), unheard))
        assert len(nodes[1].bodies) == 5 + asking.GIVE_UP + 6
    # what met no node is not held against the member, and is asked another time
    assert left[0] == Abandoned("local@n2", 13)
    assert "local@n2 (13 items)" in asking.unanswered(left).message
    found = Counter((each.configuration, each.status) for each in answers(tmp_path).values())
    assert found["local@n1", "answered"] == found["local@n3", "answered"] == 18
    assert found["local@n2", "answered"] == 5
    # those of a mixture that others answer are failures of it, but for the last under way
    mixed = sum(each.left for each in left[1:])
    assert {each.configuration for each in left[1:]} <= {"dmoa-m1k1"}
    assert mixed <= 3
    assert found["dmoa-m1k1", "answered"] == 12
    assert found["dmoa-m1k1", "failed"] == 6 - mixed


@real
def test_once_nobody_is_there_the_run_ends(tmp_path: Path) -> None:
    with members(2) as nodes:
        urls = [each.url for each in nodes]
        dying = Mortal(nodes[0], 0)

        def end(body: Json) -> Said:
            nodes[1].status = 500  # the other is gone as well
            return dying(body)

        nodes[0].say = end
        with Run(tmp_path) as run, pytest.raises(UnreachableError, match="no node answers any"):
            asyncio.run(perform(run, urls, Draft("local", items(40)), unheard))
        assert len(nodes[0].bodies) == asking.GIVE_UP
        assert nodes[1].bodies == []
    assert answers(tmp_path) == {}


@real
def test_a_single_break_is_a_failure(tmp_path: Path) -> None:
    with members(1) as nodes:
        nodes[0].server.handle_error = lambda *_: None  # type: ignore[method-assign]

        def broken(body: Json) -> Said:
            if "2" in body["messages"][0]["content"]:
                raise ConnectionResetError
            return says("n1", body)

        nodes[0].say = broken
        ask(tmp_path / "middle", nodes, Draft("local", items(5)))
        ask(tmp_path / "last", nodes, Draft("local", items(3)))
    for place in ("middle", "last"):
        one = answers(tmp_path / place)["local@n1", "item-2"]
        assert (one.status, one.http) == ("failed", 0)
        assert one.detail.endswith("Error")


@real
def test_nodes_that_cannot_be_asked_are_told_before(tmp_path: Path) -> None:
    with members(2) as nodes:
        for urls, draft, words in (
            ([nodes[0].url] * 2, Draft("local", items(1)), "the same node, n1"),
            (["http://127.0.0.1:1"], Draft("local", items(1)), "no node answers at"),
            (["n1"], Draft("local", items(1)), "is no URL"),
            ([nodes[0].url], Draft("dmoa-m1k2", items(1)), "dmoa-m1k2 asks 2 peers"),
            ([nodes[0].url], Draft("local@n2", items(1)), "there is no node 'n2'"),
        ):
            with Run(tmp_path) as run, pytest.raises(DmoaError) as caught:
                asyncio.run(perform(run, urls, draft, unheard))
            assert words in caught.value.message
            assert caught.value.hint
        assert [each.bodies for each in nodes] == [[], []]
    assert (tmp_path / "answers.jsonl").read_bytes() == b""


@real
def test_an_interrupt_keeps_what_came(tmp_path: Path) -> None:
    draft = Draft("local", items(5))
    with members(1) as nodes:

        async def interrupted() -> None:
            with Run(tmp_path) as run:
                task = asyncio.create_task(perform(run, [nodes[0].url], draft, unheard))
                while len(run.answers) < 2:
                    await asyncio.sleep(0.001)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

        asyncio.run(interrupted())
        assert 2 <= len(answers(tmp_path)) < 5
        ask(tmp_path, nodes, draft)
        texts = Counter(text for *_, text in asked(nodes))
    assert len(answers(tmp_path)) == 5
    assert sum(texts.values()) <= 6  # one was under way, and is asked again


# -- queues -----------------------------------------------------------------------------------


@real
def test_queues_are_watched_from_begin_to_end(tmp_path: Path) -> None:
    with members(2) as nodes:
        nodes[0].queue["counters"]["seconds"] = 1000.0
        ask(tmp_path, nodes, Draft("dmoa-m1k1", items(4)))
        ask(tmp_path, nodes, Draft("dmoa-m1k1", items(4)))
    spans = Folder(tmp_path).spans()
    names = ("local@n1", "local@n2", "dmoa-m1k1")
    assert set(spans) == {(name, node, 0) for name in names for node in ("n1", "n2")}
    one = spans["local@n1", "n1", 0]
    # one look before and one after: a second, half of it at work, a quarter waiting
    assert (one.seconds, one.serving_job_seconds, one.waiting_job_seconds) == (1.0, 0.5, 0.25)


@real
async def test_a_node_that_was_started_anew_begins_a_leg(tmp_path: Path) -> None:
    with members(1) as nodes, Run(tmp_path) as run:
        async with Speakers([nodes[0].url]) as speakers:
            met = await meet(speakers)
            wanted = configurations("local", ["n1"], peers=0)
            run.begin(Draft("local", items(1)).plan(wanted, met.members), items(1))
            looks = watch.Watch(run, "local@n1", ["n1"], speakers)
            await looks.begin()
            await looks.look()
            nodes[0].queue["counters"]["seconds"] = 0.5 - nodes[0].looks
            await looks.look()
            await looks.look()
            nodes[0].status = 500  # it does not say
            await looks.look()
            assert run.legs["local@n1", "n1"] == 2
    spans = Folder(tmp_path).spans()
    assert {key[2]: each.seconds for key, each in spans.items()} == {0: 1.0, 1: 1.0}
