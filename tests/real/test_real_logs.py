"""What live nodes log at the most talkative level: never a prompt, an answer or a key."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from real_room import NodeProcess, until

from dmoa.cli.fleet import free_ports
from dmoa.config.keys import create

pytestmark = pytest.mark.real
PROMPT, ANSWER, THEIRS = "marked-prompt-4711", "marked-answer-4712", "marked-key-4713"


async def model(scope: Any, receive: Any, send: Any) -> None:
    """Answer, or refuse in words that quote all that was sent, by what the prompt asks for."""
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    sent = (body + message.get("body", b"")).decode()
    keys = [value.decode() for name, value in scope["headers"] if name == b"authorization"]
    status, media = 200, b"application/json"
    told = json.dumps({"object": "list", "data": [{"id": "m"}]})
    if "refuse" in sent:
        status, told = 400, json.dumps({"error": {"message": f"{keys} {sent}"}})
    elif "rubbish" in sent:
        told = f"rubbish {keys} {sent}"
    elif sent:
        media = b"text/event-stream"
        chunk = {"choices": [{"index": 0, "delta": {"content": ANSWER}, "finish_reason": "stop"}]}
        told = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    headers = [(b"content-type", media)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": told.encode()})


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    config = uvicorn.Config(model, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        until(lambda: server.started, what="the server")
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        server.should_exit = True
        thread.join()


@contextmanager
def pair(place: Path, url: str, *, prompts: bool) -> Iterator[list[NodeProcess]]:
    """Run two nodes that log all they can."""
    config = place / "config.toml"
    config.write_text(
        f'log_level = "debug"\nlog_prompts = {str(prompts).lower()}\n'
        f'model = "openai:{url}#m?key_env=THEIR_KEY"\nrealm = "logs-{os.getpid()}"\n'
    )
    ports = free_ports(2)
    flags = ["--config", str(config), "--listen", f"tcp/127.0.0.1:{ports[0]}"]
    nodes = [NodeProcess("n1", *flags, log=place / "n1.log")]
    flags[-1] = f"tcp/127.0.0.1:{ports[1]}"
    flags += ["--connect", f"tcp/127.0.0.1:{ports[0]}"]
    nodes.append(NodeProcess("n2", *flags, log=place / "n2.log"))
    try:
        for node in nodes:
            node.ready()
        yield nodes
    finally:
        for node in nodes:
            node.process.terminate()
        for node in nodes:
            node.finish()


@pytest.mark.parametrize("prompts", [False, True])
def test_no_text_and_no_key_is_logged_unasked(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, *, prompts: bool
) -> None:
    monkeypatch.setenv("THEIR_KEY", THEIRS)
    key, _ = create(tmp_path / "keys.json")
    good = {"authorization": f"Bearer {key}"}
    with pair(tmp_path, url, prompts=prompts) as (home, _):
        http = httpx2.Client(base_url=home.url, headers=good, trust_env=False, timeout=60)
        until(lambda: http.get("/v1/peers").json()["peers"], what="a peer")
        said = []
        for words in ("answer", "refuse", "rubbish"):
            for stream in (False, True):
                turn = {"role": "user", "content": f"{PROMPT} {words} {key}"}
                asked = {"model": "dmoa-m1k1", "messages": [turn], "stream": stream}
                said.append(http.post("/v1/chat/completions", json=asked).text)
        broken = f'{{"messages": "{PROMPT}", "model": 5'
        for content in (broken, json.dumps({"messages": PROMPT, "model": PROMPT})):
            headers = {"content-type": "application/json"}
            said.append(http.post("/v1/chat/completions", content=content, headers=headers).text)
        http.get(f"/{PROMPT}", params={"api_key": key})
        http.get("/v1/models", headers={"authorization": f"Bearer {key}x"})
        http.close()
    assert ANSWER in said[0]
    assert ANSWER in said[1]
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("n1", "n2"))
    assert "DEBUG" in logs
    assert THEIRS not in logs
    for text in (PROMPT, ANSWER):
        assert (text in logs) == prompts
    if not prompts:
        assert key not in logs
