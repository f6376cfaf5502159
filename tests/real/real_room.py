"""Real nodes: processes on loopback, and a language model server that counts who works."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2
import uvicorn
from openai import OpenAI

from dmoa.cli.fleet import free_ports

PATIENT = 90.0
"""Seconds after which a test has failed, on however slow a machine."""
AT_ONCE = 0.1
"""Seconds in which all work stops once nobody waits for it."""


def until(true: Callable[[], Any], *, within: float = PATIENT, what: str = "it") -> float:
    """Wait until something is so, and tell how many seconds that took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < within, f"{what} is not so within {within} s"
        time.sleep(0.005)
    return time.monotonic() - start


def clean_environment() -> dict[str, str]:
    """Leave out what a person has set for nodes of their own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("DMOA_")}
    if cache := os.environ.get("DMOA_CACHE"):
        kept["DMOA_CACHE"] = cache
    return kept


class CountingServer:
    """An OpenAI-compatible server that writes slowly, and knows who it writes for.

    `live` counts the generations under way by model. A completion has `tokens` tokens,
    `pace` seconds apart for a proposal, and `answer_pace` for an aggregation.
    """

    def __init__(self) -> None:
        self.live: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.tokens = 4
        self.pace = self.answer_pace = 0.0

    @property
    def busy(self) -> int:
        return self.live.total()

    def calm(self, *, tokens: int = 4, pace: float = 0.0, answer_pace: float = 0.0) -> None:
        """Begin anew, once nobody works any more."""
        until(lambda: not self.busy, what="an idle server")
        self.started.clear()
        self.tokens, self.pace, self.answer_pace = tokens, pace, answer_pace

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, as ASGI has it."""
        assert scope["type"] == "http"
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        streams = scope["path"].endswith("/chat/completions")
        media = b"text/event-stream" if streams else b"application/json"
        headers = [(b"content-type", media)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if not streams:
            listed = {"object": "list", "data": []}
            await send({"type": "http.response.body", "body": json.dumps(listed).encode()})
            return
        request = json.loads(body)
        model = request["model"]
        self.live[model] += 1
        self.started[model] += 1
        writing = asyncio.ensure_future(self._write(request, send))
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        self.live[model] -= 1
        for task in (writing, leaving):
            task.cancel()
        await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write(self, request: dict[str, Any], send: Any) -> None:
        aggregates = "responses from" in request["messages"][0]["content"]
        pace = self.answer_pace if aggregates else self.pace
        for number in range(self.tokens):
            await asyncio.sleep(pace)
            delta = {"content": f"{request['model']}.{number} "}
            await self._event(send, {"choices": [{"index": 0, "delta": delta}]})
        end = {"index": 0, "delta": {}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": self.tokens}
        await self._event(send, {"choices": [end], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _event(self, send: Any, event: dict[str, Any]) -> None:
        data = b"data: " + json.dumps(event).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": data, "more_body": True})


@contextmanager
def counting_server() -> Iterator[tuple[CountingServer, str]]:
    """Run a counting server in a thread; with its URL."""
    counting = CountingServer()
    config = uvicorn.Config(counting, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        try:
            until(lambda: server.started, what="the server")
            yield counting, url
        finally:
            server.should_exit = True
            thread.join()


class NodeProcess:
    """One `dmoa up` in a process of its own."""

    def __init__(self, name: str, *args: str, log: Path, env: dict[str, str] | None = None) -> None:
        """Start it, with `env` besides what the environment has."""
        self.name = name
        self._env = env or {}
        self._args = args
        self._log = log
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "dmoa", "up", "--json", "--config", os.devnull]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--node", self.name, "--port", "0", "--stop-on-eof", *self._args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment() | self._env,
            )
        self.url = ""

    def ready(self) -> Self:
        """Wait for the line that says where it is."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self.name} ended; it said:\n{self._log.read_text()}"
        self.url = json.loads(line)["url"]
        return self

    @property
    def sdk(self) -> OpenAI:
        return OpenAI(
            base_url=f"{self.url}/v1", api_key="none", max_retries=0, http_client=self.http()
        )

    def http(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=PATIENT, trust_env=False)

    def peers(self) -> list[str]:
        with self.http() as http:
            return [peer["node"] for peer in http.get("/v1/peers").json()["peers"]]

    def told(self, path: str) -> Any:
        with self.http() as http:
            return http.get(path).json()

    def queue(self) -> int:
        return self.told("/health")["queue"]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.finish()

    def finish(self) -> int:
        """Let it end, and tell its exit code."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return self.process.wait(PATIENT)

    def revive(self) -> None:
        """Start it again, under the same name."""
        self._start()
        self.ready()


class Fleet:
    """Four nodes, n1 to n4, each of which knows where the others listen."""

    def __init__(self, models: list[str], place: Path) -> None:
        names = [f"n{number}" for number in range(1, len(models) + 1)]
        ports = free_ports(len(models))
        self.nodes: dict[str, NodeProcess] = {}
        for name, model, port in zip(names, models, ports, strict=True):
            args = ["--realm", f"test-{os.getpid()}", "--model", model]
            args += ["--listen", f"tcp/127.0.0.1:{port}"]
            for other in ports:
                args += ["--connect", f"tcp/127.0.0.1:{other}"] if other != port else []
            self.nodes[name] = NodeProcess(name, *args, log=place / f"{name}.log")
        for node in self.nodes.values():
            node.ready()

    def __getitem__(self, name: str) -> NodeProcess:
        return self.nodes[name]

    def meet(self) -> Self:
        """Revive who is dead, and wait until all see each other and nobody works."""
        for node in self.nodes.values():
            if node.process.poll() is not None:
                node.revive()
        for node in self.nodes.values():
            others = sorted(self.nodes.keys() - {node.name})
            until(lambda node=node, others=others: node.peers() == others, what=f"met {node.name}")
            try:
                until(lambda node=node: node.queue() == 0, what=f"idle {node.name}")
            except AssertionError as error:
                error.add_note(f"its queue: {node.told('/v1/queue')}")
                raise
        return self

    def stop(self) -> None:
        for node in self.nodes.values():
            node.process.terminate()
        for node in self.nodes.values():
            node.finish()


@contextmanager
def fleet_of(models: list[str]) -> Iterator[Fleet]:
    """Run a fleet; nothing of it is left behind."""
    with tempfile.TemporaryDirectory() as place:
        fleet = Fleet(models, Path(place))
        try:
            yield fleet
        finally:
            fleet.stop()
            logs = {log.name: log.read_text() for log in Path(place).glob("*.log")}
    said = {name: text for name, text in logs.items() if "Traceback" in text or "ERROR" in text}
    assert said == {}
