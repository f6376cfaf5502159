"""The recipes of docs/clients.md, and what clients that we do not run ask of the API.

That for Python is run with that of README, by test_papers.py; all are by scripts/try_clients.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from dmoa.assemble import Ready, serve
from dmoa.config import load

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")
QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}


def block(heading: str, language: str) -> str:
    section = re.search(
        rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    assert section, heading
    found = re.search(rf"^```{language}\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert found, f"{heading} has no {language}"
    return found[1]


@asynccontextmanager
async def node() -> AsyncIterator[str]:
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    settings = load({"model": "fake:0.02#model", "port": 0}, environ={}, file=Path(os.devnull))
    running = asyncio.create_task(serve(settings, keys=None, ready=ready.set_result))
    try:
        yield (await asyncio.wait_for(ready, 20)).url
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def asked(**more: object) -> dict[str, object]:
    return {"model": "dmoa", "messages": QUESTION, **more}


# Fields as the sources and documentation of the clients have them, not as we would send them.
ASKED = {
    "Open WebUI, chat": asked(stream=True, stream_options={"include_usage": True}),
    "Open WebUI, title": asked(stream=False, max_completion_tokens=1000, model="local"),
    "Continue": asked(stream=True, max_tokens=2048, temperature=0.5, stop=["</s>"]),
    "Continue, agent": asked(stream=True, tools=[TOOL], parallel_tool_calls=False),
    "Home Assistant": asked(
        max_tokens=500, top_p=1, temperature=0.5, user="01J", tools=[TOOL], tool_choice="auto"
    ),
}


@pytest.mark.real
async def test_what_clients_ask_is_answered() -> None:
    headers = {"Authorization": "Bearer none"}
    async with node() as url, httpx2.AsyncClient(base_url=f"{url}/v1", headers=headers) as http:
        models = (await http.get("/models")).json()
        assert models["object"] == "list"
        assert {"dmoa", "local"} <= {each["id"] for each in models["data"]}
        lost = await http.post(url + "/chat/completions", json=asked())
        assert lost.status_code == 404
        assert lost.json()["error"]["message"] == (
            "POST /chat/completions: Not Found (hint: the base URL of clients ends in /v1)"
        )
        for who, body in ASKED.items():
            answer = await http.post("/chat/completions", json=body)
            assert answer.status_code == 200, f"{who}: {answer.text}"
            assert "sky blue" in said(answer.text, streamed=bool(body.get("stream"))), who


def said(text: str, *, streamed: bool) -> str:
    if not streamed:
        return json.loads(text)["choices"][0]["message"]["content"]
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events.pop() == "[DONE]"
    deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_the_files_of_clients_have_what_they_need() -> None:
    for model in yaml.safe_load(block("llm", "yaml")):
        assert model.keys() == {"model_id", "model_name", "api_base", "api_key_name"}
    (model,) = yaml.safe_load(block("Continue", "yaml"))["models"]
    assert (model["provider"], model["roles"]) == ("openai", ["chat"])
    bases = re.findall(r"http://[\w.]+:4747/?\w*", PAGE)
    assert len(bases) > 8
    assert {base.rpartition("/")[2] for base in bases} == {"v1"}


def test_the_other_recipes_can_be_read(tmp_path: Path) -> None:
    compile(block("LangChain", "python"), "langchain", "exec")
    if program := shutil.which("node"):
        file = tmp_path / "ask.mjs"
        file.write_text(block("openai, JavaScript", "js"))
        subprocess.run([program, "--check", file], check=True, timeout=30)


def test_the_script_knows_every_recipe() -> None:
    script = ROOT / "scripts" / "try_clients.py"
    told = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    headings = re.findall(r"^## (.+)$", PAGE.partition("## As documented")[0], re.MULTILINE)
    assert len(headings) == 4
    assert [name for name in headings if name not in " ".join(told.split())] == []
