"""`dmoa ask --background` and `dmoa responses`, against a node."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from scripted_api import Dmoa, ScriptedNode, refused

from dmoa.assemble import Ready, serve
from dmoa.config import load

pytestmark = pytest.mark.real

SECONDS = 0.3


@asynccontextmanager
async def live_node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Run a node that keeps its responses in memory, and speak with it by default."""
    ready = asyncio.get_running_loop().create_future()
    settings = load(
        {"model": f"fake:{SECONDS}#model", "port": 0}, environ={}, file=Path(os.devnull)
    )
    node = asyncio.create_task(serve(settings, keys=None, ready=ready.set_result))
    try:
        told: Ready = await asyncio.wait_for(ready, 20)
        assert told.store is None
        monkeypatch.setenv("DMOA_URL", told.url)
        yield
    finally:
        node.cancel()
        await asyncio.gather(node, return_exceptions=True)


async def test_a_question_of_the_background_is_followed_by_its_id(
    dmoa: Dmoa, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live_node(monkeypatch):
        await asyncio.to_thread(follow, dmoa)


def follow(dmoa: Dmoa) -> None:
    asked = dmoa("ask", "why?", "--background")
    assert asked.exit_code == 0
    assert asked.stderr == ""
    identity = asked.stdout.strip()
    shown = dmoa("responses", "show", identity)
    assert (shown.exit_code, shown.stdout) == (3, "")
    assert "has no answer yet" in shown.stderr
    while shown.exit_code == 3:
        shown = dmoa("responses", "show", identity)
    assert (shown.exit_code, shown.stdout) == (0, "model heard: why?\n")
    whole = json.loads(dmoa("responses", "show", identity, "--json").stdout)
    assert (whole["id"], whole["status"]) == (identity, "completed")
    ended = dmoa("responses", "cancel", identity)
    assert ended.stderr == f"{identity} is completed, and had ended before\n"

    other = json.loads(dmoa("ask", "why not?", "--background", "--json").stdout)
    assert other["status"] == "queued"
    gone = dmoa("responses", "cancel", other["id"])
    assert (gone.exit_code, gone.stdout) == (0, "")
    assert gone.stderr == f"{other['id']} is cancelled\n"
    shown = dmoa("responses", "show", other["id"])
    assert (shown.exit_code, shown.stdout) == (1, "")

    listed = dmoa("responses", "list")
    rows = listed.stdout.splitlines()
    assert rows[0].split() == ["id", "status", "asked", "took", "attempts", "model"]
    assert [row.split()[:2] for row in rows[1:]] == [
        [other["id"], "cancelled"],
        [identity, "completed"],
    ]
    told = json.loads(dmoa("responses", "list", "--limit", "1", "--json").stdout)
    assert told["has_more"] is True
    assert [each["id"] for each in told["responses"]] == [other["id"]]
    assert "why" not in listed.stdout + json.dumps(told)

    deleted = dmoa("responses", "delete", identity)
    assert deleted.stderr == f"{identity} is deleted\n"
    refusal = dmoa("responses", "show", identity)
    assert (refusal.exit_code, refusal.stdout) == (2, "")
    assert f"error: there is no response '{identity}'" in refusal.stderr
    assert "hint: " in refusal.stderr


def test_nothing_kept_is_said(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.on("/v1/dmoa/responses?limit=20", {"object": "list", "data": [], "has_more": False})
    told = dmoa("responses", "list")
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr == "note: no response is kept there\n"


def test_why_it_failed_is_an_error(dmoa: Dmoa, node: ScriptedNode) -> None:
    error = {"code": "server_error", "message": "the model died"}
    node.on("/v1/responses/resp_1", {"id": "resp_1", "status": "failed", "error": error})
    shown = dmoa("responses", "show", "resp_1")
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr == "error: the model died\n"


def test_a_name_with_odd_letters_goes_as_it_is(dmoa: Dmoa, node: ScriptedNode) -> None:
    node.answers["/v1/responses/..%2F..%2Fhealth"] = (404, refused("no such thing", "x"), {})
    shown = dmoa("responses", "show", "../../health")
    assert shown.exit_code == 2
    assert "no such thing" in shown.stderr
