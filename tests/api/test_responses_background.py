"""Questions of the background: accepted, asked until they end, ended once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import httpx2
import pytest
from api_room import Room, error_of, opened, sdk, served, until

from dmoa.api import errands as module
from dmoa.api.app import create_app
from dmoa.api.errands import PATIENCE, TRIES, Errands
from dmoa.backends.fake import FakeBackend
from dmoa.core.limits import Limits
from dmoa.errors import StoreError
from dmoa.store.archive import Archive
from dmoa.store.kept import CRASHES

PATH = "/v1/responses"


def asked(**changes: Any) -> dict[str, Any]:
    return {"model": "local", "input": "hello there", "background": True, **changes}


@asynccontextmanager
async def background(
    room: Room, archive: Archive | None = None
) -> AsyncIterator[tuple[httpx2.AsyncClient, Errands]]:
    """Speak with a node whose errands live on the loop's clock."""
    clock = asyncio.get_running_loop().time
    errands = Errands(room.home, archive or Archive(clock=clock), clock=clock, rng=Random(1))
    transport = httpx2.ASGITransport(create_app(room.home, errands=errands))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield http, errands
    await errands.close()


async def ended(http: httpx2.AsyncClient, identity: str, *, within: float = 10.0) -> Any:
    """Wait until a response has ended."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    while True:
        found = (await http.get(f"{PATH}/{identity}")).json()
        if found["status"] not in ("queued", "in_progress"):
            return found
        assert loop.time() - start < within, found["status"]
        await asyncio.sleep(0.5)


def events_of(text: str) -> list[dict[str, Any]]:
    """Read a stream, whose events have names as OpenAI's have."""
    found = []
    for block in filter(None, text.split("\n\n")):
        if not block.startswith(":"):
            kind, data = block.split("\n")
            found.append(json.loads(data.removeprefix("data: ")))
            assert kind == f"event: {found[-1]['type']}"
    return found


async def test_a_question_is_acknowledged_at_once_and_answered_later() -> None:
    async with opened("n1", seconds=5.0) as room, background(room) as (http, _):
        made = (await http.post(PATH, json=asked())).json()
        assert (made["status"], made["output"]) == ("queued", [])
        assert "usage" not in made
        found = await ended(http, made["id"])
        assert (found["status"], found["background"]) == ("completed", True)
        assert found["output"][0]["content"][0]["text"] == "model-of-n1 heard: hello there"
        assert (found["id"], found["created_at"]) == (made["id"], made["created_at"])
        assert found["dmoa"]["home"] == "n1"


async def test_more_than_fit_wait_their_turn() -> None:
    limits = Limits(queue_jobs=2)
    async with opened("n1", seconds=1.0, limits=limits) as room, background(room) as (http, _):
        made = [(await http.post(PATH, json=asked())).json()["id"] for _ in range(8)]
        found = [await ended(http, each, within=120.0) for each in made]
        assert {each["status"] for each in found} == {"completed"}
        assert room.fakes["n1"].finished == 8


async def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmoa.store.table.OPEN_RESPONSES", 3)
    async with opened("n1", seconds=5.0) as room, background(room) as (http, _):
        for _ in range(3):
            assert (await http.post(PATH, json=asked())).status_code == 200
        refused = await http.post(PATH, json=asked())
        assert (refused.status_code, error_of(refused)["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1


async def test_a_cancelled_question_stops_and_stays_so() -> None:
    async with opened("n1", seconds=60.0) as room, background(room) as (http, _):
        one, two = [(await http.post(PATH, json=asked())).json()["id"] for _ in range(2)]
        await until(lambda: room.active)
        first = (await http.post(f"{PATH}/{one}/cancel")).json()
        again = (await http.post(f"{PATH}/{one}/cancel")).json()
        assert first == again
        assert (first["status"], first["output"]) == ("cancelled", [])
        await http.delete(f"{PATH}/{two}")
        await until(room.idle)
        assert (await http.get(f"{PATH}/{two}")).status_code == 404
        refused = await http.post(PATH, json=asked(previous_response_id=one))
        assert "is cancelled, and has no answer" in error_of(refused)["message"]
        done = (await http.post(PATH, json=asked(background=False))).json()["id"]
        refused = await http.post(f"{PATH}/{done}/cancel")
        assert refused.status_code == 400


async def test_a_question_that_ended_cannot_be_cancelled_any_more() -> None:
    async with opened("n1") as room, background(room) as (http, _):
        made = (await http.post(PATH, json=asked())).json()["id"]
        found = await ended(http, made)
        assert (await http.post(f"{PATH}/{made}/cancel")).json() == found


class Moody(FakeBackend):
    """A model that fails as often as it was told to, and then answers."""

    moods: tuple[str, ...] = ()

    def generate(self, prompt: Any) -> AsyncGenerator[Any, None]:
        self.fail, self.moods = (self.moods[0], self.moods[1:]) if self.moods else ("", ())
        return super().generate(prompt)


@pytest.mark.parametrize(
    ("moods", "status", "attempts"),
    [
        (("rubbish",), "completed", 2),
        (("rubbish",) * TRIES, "failed", TRIES),
        (("unavailable",) * 7, "completed", 8),  # a model that is away comes back
        (("refused",), "failed", 1),
    ],
)
async def test_what_fails_is_tried_again_where_that_helps(
    moods: tuple[str, ...], status: str, attempts: int
) -> None:
    model = Moody("moody", seconds=0.1)
    model.moods = moods
    async with opened("n1", fakes={"n1": model}) as room, background(room) as (http, _):
        made = (await http.post(PATH, json=asked())).json()["id"]
        found = await ended(http, made, within=500.0)
        assert found["status"] == status
        assert found["dmoa"].get("attempts", 1) == attempts
        if status == "failed":
            assert found["error"]["message"]
            assert found["dmoa"]["code"].startswith("backend_")
            assert found["output"] == []


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PATIENCE == 86400.0
    monkeypatch.setattr(module, "PATIENCE", 900.0)
    model = FakeBackend("gone", fail="unavailable")
    async with opened("n1", fakes={"n1": model}) as room, background(room) as (http, errands):
        clock = asyncio.get_running_loop().time
        start = clock()
        made = (await http.post(PATH, json=asked())).json()["id"]
        with errands.watch(made) as heard:
            while (await errands.archive.get(made, "")).ended is None:
                heard.clear()
                await heard.wait()
        found = (await http.get(f"{PATH}/{made}")).json()
        assert found["status"] == "failed"
        assert 900.0 - module.PAUSE_MOST * 1.25 < clock() - start <= 900.0


async def test_a_question_under_which_the_node_ends_is_given_up() -> None:
    async with opened("n1", seconds=60.0) as room:
        clock = asyncio.get_running_loop().time
        archive = Archive(clock=clock)
        async with background(room, archive) as (http, errands):
            made = (await http.post(PATH, json=asked())).json()["id"]
            for _ in range(CRASHES):
                await until(lambda: room.active)
                for _, running in errands._running.values():
                    running.cancel()  # as a kill: nothing is written down any more
                await until(room.idle)
                assert archive._table.begin_life(clock()) == 1
                errands.wake()
            found = await ended(http, made)
        assert found["status"] == "failed"
        assert f"the node ended {CRASHES} times" in found["error"]["message"]
        assert room.started == CRASHES


async def test_what_is_under_way_waits_for_the_next_life() -> None:
    async with opened("n1", seconds=5.0) as room:
        archive = Archive(clock=asyncio.get_running_loop().time)
        async with background(room, archive) as (http, _):
            made = (await http.post(PATH, json=asked())).json()["id"]
            await until(lambda: room.active)
        assert (await archive.get(made, "")).status == "queued"
        async with background(room, archive) as (http, errands):
            errands.wake()
            found = await ended(http, made)
            assert (found["status"], found["dmoa"]["attempts"]) == ("completed", 2)
        assert (await archive.get(made, "")).crashes == 0


async def test_an_answer_waits_for_a_disk_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened("n1") as room, background(room) as (http, errands):
        end, failures = errands.archive.end, [0]

        async def fickle(*words: Any) -> bool:
            failures[0] += 1
            if failures[0] < 4:
                raise StoreError("the disk is full")
            return await end(*words)

        monkeypatch.setattr(errands.archive, "end", fickle)
        made = (await http.post(PATH, json=asked())).json()["id"]
        found = await ended(http, made, within=10 * module.STORE_PAUSE)
        assert (found["status"], room.started) == ("completed", 1)


# -- streams -----------------------------------------------------------------------------


async def test_a_stream_can_be_come_back_to_from_any_event() -> None:
    async with opened("n1", seconds=3.0) as room, background(room) as (http, _):
        events = events_of((await http.post(PATH, json=asked(stream=True))).text)
        assert [each["type"].removeprefix("response.") for each in events] == [
            "created", "queued", "in_progress", "output_item.added", "content_part.added",
            "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
            "completed",
        ]  # fmt: skip
        assert [each["sequence_number"] for each in events] == list(range(10))
        final = events[-1]["response"]
        assert final["status"] == "completed"
        assert final == (await http.get(f"{PATH}/{final['id']}")).json()
        for after in range(-1, 10):
            path = f"{PATH}/{final['id']}?stream=true&starting_after={after}"
            assert events_of((await http.get(path)).text) == events[after + 1 :]
        foreground = (await http.post(PATH, json=asked(background=False))).json()["id"]
        refused = await http.get(f"{PATH}/{foreground}?stream=true")
        assert refused.status_code == 400


async def test_a_stream_ends_where_its_response_does() -> None:
    async with opened("n1", seconds=60.0) as room, background(room) as (http, _):
        streams = [asyncio.ensure_future(http.post(PATH, json=asked(stream=True))) for _ in "12"]
        await until(lambda: room.active)
        one, two = (await http.get("/v1/dmoa/responses")).json()["data"]
        await http.post(f"{PATH}/{one['id']}/cancel")
        await http.delete(f"{PATH}/{two['id']}")
        texts = [(await stream).text for stream in streams]
        ends = {events_of(text)[-1]["type"] for text in texts}
        assert ends == {"response.cancelled", "error"}
        assert all(": the response is under way" in text for text in texts) or room.idle()


@pytest.mark.real
async def test_the_sdk_polls_and_streams() -> None:
    async with opened("n1", "n2") as room, served(room.home) as http:
        client = sdk(http)
        made = await client.responses.create(model="dmoa-m1k1", input="why?", background=True)
        while made.status in ("queued", "in_progress"):
            await asyncio.sleep(0.01)
            made = await client.responses.retrieve(made.id)
        assert (made.status, made.output_text) == ("completed", "model-of-n1 heard: why?")
        stream = await client.responses.retrieve(made.id, stream=True, starting_after=3)
        kinds = [event.type async for event in stream]
        assert (kinds[0], kinds[-1]) == ("response.content_part.added", "response.completed")
        cancelled = await client.responses.create(model="local", input="x" * 9, background=True)
        assert (await client.responses.cancel(cancelled.id)).status in ("cancelled", "completed")
        async with client.responses.stream(model="local", input="why?") as live:
            texts = [event.delta async for event in live if event.type.endswith("text.delta")]
            final = await live.get_final_response()
        assert "".join(texts) == final.output_text == "model-of-n1 heard: why?"
        assert len(texts) == 16
