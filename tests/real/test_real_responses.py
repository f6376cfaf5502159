"""A home that is killed under background load loses nothing, and answers nothing twice."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from kills import run
from real_room import NodeProcess

from dmoa.cli.fleet import free_ports

pytestmark = pytest.mark.real

KILLS = 6
"""In CI; `python -m tests.real.kills --count 200` takes its time."""


def test_what_was_accepted_is_completed_once_whenever_home_is_killed() -> None:
    account = run(KILLS, seed=7)
    assert account.kills == KILLS
    assert len(account.accepted) > KILLS
    assert any(tries > 1 for tries in account.attempts)


def test_a_home_that_is_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = tmp_path / "home.toml"
    settings.write_text(f'store = "{tmp_path / "kept" / "store.db"}"\n', encoding="utf-8")
    words = ("--model", "fake:4", "--port", str(port), "--config", str(settings))
    node = NodeProcess("lone", *words, log=tmp_path / "log").ready()
    try:
        with node.http() as http:
            body = {"input": "why?", "background": True}
            made = http.post("/v1/responses", json=body).json()["id"]
            begun = time.monotonic() + 30.0
            while http.get(f"/v1/responses/{made}").json()["status"] == "queued":
                assert time.monotonic() < begun, "nobody begins it"
                time.sleep(0.02)
        node.process.terminate()
        assert node.finish() == 0
        node.revive()
        with node.http() as http:
            streamed = http.get(f"/v1/responses/{made}?stream=true&starting_after=2").text
        last = json.loads(streamed.rsplit("data: ", 1)[1])
        assert last["type"] == "response.completed"
        assert last["response"]["output"][0]["content"][0]["text"] == "fake heard: why?"
        assert last["response"]["dmoa"]["attempts"] == 2
    finally:
        node.process.kill()
        node.finish()
    assert "Traceback" not in (tmp_path / "log").read_text()
