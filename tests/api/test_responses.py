"""/v1/responses: answers now, kept answers, conversations, and what is refused."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_room import HELLO, Reciter, error_of, in_process, opened, sdk, served, until

from dmoa.api.app import create_app
from dmoa.api.errands import Errands
from dmoa.config.keys import Doorkeeper, create
from dmoa.core.job import Completion
from dmoa.core.limits import Limits
from dmoa.errors import StoreError
from dmoa.store.archive import Archive

PATH = "/v1/responses"


def asked(**changes: Any) -> dict[str, Any]:
    return {"model": "local", "input": "hello there", **changes}


@pytest.mark.real
async def test_the_sdk_asks_and_finds_the_answer_again() -> None:
    async with opened("n1", "n2") as room, in_process(room.home) as http:
        client = sdk(http)
        made = await client.responses.create(
            model="dmoa-m1k1", input="why?", metadata={"a": "b"}, temperature=0.5
        )
        assert (made.status, made.output_text) == ("completed", "model-of-n1 heard: why?")
        assert made.id.startswith("resp_")
        assert (made.metadata, made.temperature, made.model) == ({"a": "b"}, 0.5, "dmoa-m1k1")
        assert made.usage is not None
        assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
        assert made.usage.output_tokens == 48  # of all three jobs
        found = await client.responses.retrieve(made.id)
        assert found == made
        jobs = made.model_extra["dmoa"]["jobs"]
        assert {job["node"] for job in jobs} == {"n1", "n2"}
        items = (await client.responses.input_items.list(made.id)).data
        assert [(item.role, item.content[0].text) for item in items] == [("user", "why?")]
        await client.responses.delete(made.id)
        for path in (f"{PATH}/{made.id}", f"{PATH}/{made.id}/input_items"):
            refused = await http.get(path)
            assert (refused.status_code, error_of(refused)["code"]) == (404, "response_not_found")


async def test_a_conversation_goes_on_from_what_is_kept() -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        first = (await http.post(PATH, json=asked(instructions="be short"))).json()
        second = (
            await http.post(
                PATH,
                json=asked(
                    input=[{"role": "user", "content": [{"type": "input_text", "text": "and?"}]}],
                    instructions="be long",
                    previous_response_id=first["id"],
                ),
            )
        ).json()
        (prompt,) = list(room.fakes["n1"].prompts)[1:]
        said = [(turn.role, turn.content) for turn in prompt.turns]
        assert said[-3:] == [
            ("user", "hello there"),
            ("assistant", "model-of-n1 heard: hello there"),
            ("user", "and?"),
        ]
        assert "be long" in said[0][1]
        assert "be short" not in str(said)  # instructions are not inherited
        third = (await http.post(PATH, json=asked(previous_response_id=second["id"]))).json()
        assert third["status"] == "completed"
        assert len(room.fakes["n1"].prompts[-1].turns) == 5
        await http.delete(f"{PATH}/{first['id']}")
        broken = await http.post(PATH, json=asked(previous_response_id=second["id"]))
        assert broken.status_code == 404
        assert error_of(broken)["message"].startswith("previous_response_id: ")


async def test_output_items_can_be_sent_back_as_input() -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        first = (await http.post(PATH, json=asked())).json()
        sent = [*HELLO, *first["output"], {"role": "developer", "content": "be kind"}]
        assert (await http.post(PATH, json=asked(input=sent))).status_code == 200
        turns = room.fakes["n1"].prompts[-1].turns
        assert [turn.role for turn in turns if turn.role != "system"] == ["user", "assistant"]


async def test_a_cut_answer_is_incomplete() -> None:
    cut = Completion("it is", "tiny", 3, 2, "length")
    reciter = {"n1": Reciter("it ", "is", cut)}
    async with opened("n1", fakes=reciter) as room, in_process(room.home) as http:
        made = (await http.post(PATH, json=asked())).json()
    assert made["status"] == "incomplete"
    assert made["incomplete_details"] == {"reason": "max_output_tokens"}
    assert made["output"][0]["status"] == "incomplete"
    assert made["completed_at"] is None


async def test_what_is_not_to_be_stored_is_not() -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        made = (await http.post(PATH, json=asked(store=False))).json()
        assert (made["status"], made["store"]) == ("completed", False)
        assert (await http.get(f"{PATH}/{made['id']}")).status_code == 404
        assert (await http.get("/v1/dmoa/responses")).json()["data"] == []


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"truncation": "auto"}, "truncation"),
        ({"max_output_tokens": 3}, "max_output_tokens"),
        ({"metadata": {"a": "x" * 600}}, "metadata.a"),
        ({"wishes": 1}, "wishes"),
        ({"dmoa": {"layer": 1}}, "dmoa.layer"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content"),
        ({"input": "\ud800"}, "input[0].content"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_its_name(
    changes: dict[str, Any], where: str
) -> None:
    import json

    async with opened("n1") as room, in_process(room.home) as http:
        body = json.dumps(asked(**changes)).encode()
        refused = await http.post(PATH, content=body, headers={"content-type": "application/json"})
        assert refused.status_code == 400
        assert str(error_of(refused)["param"]).startswith(where)
        assert room.started == 0


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"model": "gpt"}, 404, "is not offered here"),
        ({"dmoa": {"layers": 1}}, 400, "do not go with the model 'local'"),
        ({"background": True, "store": False}, 400, "background"),
        ({"previous_response_id": "resp_x"}, 404, "previous_response_id"),
        ({"input": "x" * 300_000}, 400, "Please reduce the length"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(
    changes: dict[str, Any], status: int, message: str
) -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        for background in (False, True):
            refused = await http.post(PATH, json=asked(background=background) | changes)
            assert refused.status_code == status
            assert message in error_of(refused)["message"]


async def test_what_changes_nothing_is_taken() -> None:
    wishes = {"user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "tools": []}
    wishes |= {"text": {"format": {"type": "text"}}, "truncation": "disabled", "include": []}
    wishes |= {"tool_choice": "auto", "service_tier": "auto", "parallel_tool_calls": True}
    async with opened("n1") as room, in_process(room.home) as http:
        assert (await http.post(PATH, json=asked(**wishes))).status_code == 200


async def test_a_private_question_stays_at_home_and_is_kept_there() -> None:
    async with opened("n1", "n2") as room, in_process(room.home) as http:
        body = asked(model="dmoa-m1k1", dmoa={"private": True})
        made = (await http.post(PATH, json=body)).json()
        assert {job["node"] for job in made["dmoa"]["jobs"]} == {"n1"}
        assert (await http.get(f"{PATH}/{made['id']}")).json() == made


async def test_a_stream_tells_the_times_that_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(1_000_000_000)
    async with opened("n1") as room, in_process(room.home) as http:
        monkeypatch.setattr("dmoa.api.responses_live.time.time", lambda: float(next(ticks)))
        stream = await http.post(PATH, json=asked(stream=True))
        monkeypatch.undo()
        told = json.loads(stream.text.rsplit("data: ", 1)[1])["response"]
        kept = (await http.get(f"{PATH}/{told['id']}")).json()
    assert told == kept
    assert told["created_at"] < 1_000_000_100 < told["completed_at"], "asked before it ended"


async def test_a_question_is_asked_once_under_one_key() -> None:
    async with opened("n1") as room, in_process(room.home) as http:

        async def ask(key: str, **changes: Any) -> httpx2.Response:
            headers = {"idempotency-key": key}
            return await http.post(PATH, json=asked(**changes), headers=headers)

        at_once = await asyncio.gather(*(ask("k") for _ in range(5)))
        assert len({answer.json()["id"] for answer in at_once}) == 1
        assert room.started == 1
        other = await ask("k", input="something else")
        assert (other.status_code, error_of(other)["code"]) == (409, "conflict")
        assert (await ask("k2")).json()["id"] != at_once[0].json()["id"]
        stream = await ask("k3", stream=True)
        repeated = await ask("k3", stream=True)
        assert "response.completed" in stream.text
        assert stream.text.rsplit("data: ", 1)[1] == repeated.text.rsplit("data: ", 1)[1].replace(
            '"sequence_number":9', '"sequence_number":23'
        )
        for key, changes in (("x" * 300, {}), ("k", {"store": False})):
            assert (await ask(key, **changes)).status_code == 400


async def test_each_key_sees_its_own_responses(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    one, two = (create(file, name)[0] for name in ("one", "two"))
    async with opened("n1") as room, in_process(room.home, Doorkeeper(file)) as http:
        mine, theirs = ({"authorization": f"Bearer {key}"} for key in (one, two))
        made = (await http.post(PATH, json=asked(), headers=mine)).json()["id"]
        assert (await http.get(f"{PATH}/{made}", headers=mine)).status_code == 200
        for method, path in (
            ("GET", f"{PATH}/{made}"),
            ("GET", f"{PATH}/{made}/input_items"),
            ("POST", f"{PATH}/{made}/cancel"),
            ("DELETE", f"{PATH}/{made}"),
            ("GET", f"/v1/dmoa/responses?after={made}"),
        ):
            assert (await http.request(method, path, headers=theirs)).status_code == 404
        continued = asked(previous_response_id=made)
        assert (await http.post(PATH, json=continued, headers=theirs)).status_code == 404
        assert (await http.get("/v1/dmoa/responses", headers=theirs)).json()["data"] == []
        assert len((await http.get("/v1/dmoa/responses", headers=mine)).json()["data"]) == 1


async def test_lists_are_read_page_by_page() -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        made = [(await http.post(PATH, json=asked())).json()["id"] for _ in range(5)]
        found: list[str] = []
        while True:
            after = f"&after={found[-1]}" if found else ""
            page = (await http.get(f"/v1/dmoa/responses?limit=2{after}")).json()
            found += [each["id"] for each in page["data"]]
            assert (page["first_id"], page["last_id"]) == (found[-len(page["data"])], found[-1])
            if not page["has_more"]:
                break
        assert found == made[::-1]
        many = [{"role": "user", "content": str(number)} for number in range(5)]
        identity = (await http.post(PATH, json=asked(input=many))).json()["id"]
        page = (await http.get(f"{PATH}/{identity}/input_items?limit=2")).json()
        assert [item["content"][0]["text"] for item in page["data"]] == ["4", "3"]
        rest = f"{PATH}/{identity}/input_items?order=asc&after={page['last_id']}"
        texts = [item["content"][0]["text"] for item in (await http.get(rest)).json()["data"]]
        assert texts == ["4"]
        for bad in ("limit=0", "limit=101", "order=up", "after=nothing"):
            assert (await http.get(f"{PATH}/{identity}/input_items?{bad}")).status_code == 400


async def test_an_answer_is_given_where_it_cannot_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened("n1") as room, in_process(room.home) as http:

        async def broken(*_: object, **__: object) -> None:
            raise StoreError("the disk is full")

        monkeypatch.setattr(Archive, "keep", broken)
        monkeypatch.setattr(Archive, "accept", broken)
        made = await http.post(PATH, json=asked())
        assert (made.json()["status"], made.json()["store"]) == ("completed", False)
        stream = await http.post(PATH, json=asked(stream=True))
        assert '"store":false' in stream.text.rsplit("data: ", 1)[1]
        refused = await http.post(PATH, json=asked(background=True))
        assert (refused.status_code, error_of(refused)["code"]) == (503, "store_failed")
        assert room.started == 2


async def test_a_full_node_refuses_and_keeps_nothing() -> None:
    limits = Limits(queue_jobs=1)
    async with opened("n1", limits=limits, seconds=1.0) as room, in_process(room.home) as http:
        first = asyncio.ensure_future(http.post(PATH, json=asked()))
        await until(lambda: room.active)
        for stream in (False, True):
            refused = await http.post(PATH, json=asked(stream=stream))
            assert (refused.status_code, error_of(refused)["code"]) == (429, "overloaded")
            assert refused.headers["retry-after"]
        assert (await first).status_code == 200
        assert len((await http.get("/v1/dmoa/responses")).json()["data"]) == 1


@pytest.mark.real
@pytest.mark.parametrize("stream", [False, True])
async def test_an_asker_who_leaves_stops_the_work(*, stream: bool) -> None:
    async with opened("n1", seconds=30.0) as room, served(room.home) as http:
        if stream:
            async with http.stream("POST", PATH, json=asked(stream=True)) as response:
                assert response.status_code == 200
                await until(lambda: room.active)
        else:
            asking = asyncio.ensure_future(http.post(PATH, json=asked()))
            await until(lambda: room.active)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until(room.idle)
        found: list[dict[str, Any]] = []

        async def cancelled() -> bool:
            found[:] = (await http.get("/v1/dmoa/responses")).json()["data"]
            return bool(found)

        for _ in range(200):
            if await cancelled():
                break
            await asyncio.sleep(0.01)
        assert [each["status"] for each in found] == ["cancelled"]


async def test_a_node_that_loads_says_so() -> None:
    async with opened("n1", wait=False) as room, in_process(room.home) as http:
        refused = await http.post(PATH, json=asked(background=True))
        assert refused.status_code == 503
        assert (await http.get("/v1/dmoa/responses")).status_code == 200


async def test_an_app_can_be_given_its_errands() -> None:
    async with opened("n1") as room:
        archive = Archive()
        app = create_app(room.home, errands=Errands(room.home, archive))
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            made = (await http.post(PATH, json=asked())).json()
        assert (await archive.get(made["id"], "")).status == "completed"
        await archive.close()
