"""A scripted node: an HTTP server in a thread that answers as a node would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from click.testing import Result

VISIT = {
    "job": "n1/0/1/1.0",
    "layer": 1,
    "role": "proposer",
    "node": "n2",
    "model": "tiny",
    "outcome": "pending",
    "sent": 0.0,
    "ended": 0.0,
    "queued_seconds": 0.0,
    "service_seconds": 0.0,
    "prompt_tokens": 0,
    "completion_tokens": 0,
    "detail": "",
    "early_tokens": 0,
}
DONE = (
    VISIT
    | {"outcome": "ok", "queued_seconds": 0.25, "service_seconds": 1.5}
    | {"completion_tokens": 7}
)
LOST = VISIT | {"job": "n1/0/1/1.1", "node": "n3", "outcome": "lost", "detail": "it died"}
LAST = (
    DONE
    | {"job": "n1/0/1/2.0", "layer": 2, "role": "aggregator", "node": "n1"}
    | {"prompt_tokens": 187, "early_tokens": 112}
)
TRACE = {
    "query": "n1/0/1",
    "home": "n1",
    "mixture": {"layers": 1, "fanout": 1},
    "degraded": ["n3 was lost"],
    "source": "aggregator",
    "seconds": 3.25,
    "jobs": [DONE, LOST, LAST],
}
STANDING = {
    "node": "n1",
    "model": "tiny",
    "slots": 1,
    "length": 2,
    "mean_length": 0.5,
    "mean_waiting": 0.25,
    "arrival_rate": 0.125,
    "service_time": 1.5,
    "utilisation": 0.75,
    "capacity": 0.0,
    "layers": 0,
    "fanout": 0,
    "refused": 0,
    "declined": 0,
    "age_seconds": 0.0,
    "url": "http://127.0.0.1:1",
}

PLACE = {
    "query": "n1/0/1",
    "position": 3,
    "layer": 1,
    "layers": 1,
    "fanout": 2,
    "waited_seconds": 0.5,
    "starts_in_seconds": 4.2,
    "answers_in_seconds": 12.4,
}
QUEUE = {
    "node": "n1",
    "mode": "steady",
    "policy": {"choice": "loaded", "own_queries": None},
    "queries": [PLACE],
    "jobs": {"waiting": 3, "serving": 1, "slots": 1},
    "limits": {"queries": 20, "jobs": 64},
    "counters": {"seconds": 123.5, "waiting_job_seconds": 20.5, "queries": 40, "refused": 1},
}


def chunk(
    content: str | None = None, finish: str | None = None, dmoa: object = None
) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return body if dmoa is None else body | {"dmoa": dmoa}


def sse(*chunks: object, done: bool = True) -> bytes:
    text = "".join(f"data: {json.dumps(each, ensure_ascii=False)}\n\n" for each in chunks)
    return (text + ("data: [DONE]\n\n" if done else "")).encode()


def answered(*pieces: str, trace: object = None, finish: str = "stop") -> bytes:
    progress = [
        chunk(dmoa={"progress": VISIT}),
        chunk(dmoa={"draft": {"job": VISIT["job"], "node": "n2", "layer": 1, "text": "Because"}}),
        chunk(dmoa={"progress": DONE}),
        chunk(dmoa={"progress": LOST}),
    ]
    texts = [chunk(piece) for piece in pieces]
    return sse(*progress, *texts, chunk(finish=finish, dmoa=trace or TRACE))


def refused(message: str, code: str | None = None) -> bytes:
    problem = {"message": message, "type": "t", "param": None, "code": code}
    return json.dumps({"error": problem}).encode()


class PatientServer(ThreadingHTTPServer):
    """Lets many connect at once, however busy the machine is."""

    request_queue_size = 256


class ScriptedNode:
    """Answers each path with what the test put there; keeps the bodies and keys it got."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str | None]] = []
        self.pause = 0.0
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                node.headers.append({"authorization": self.headers["authorization"]})
                status, content, headers = node.answers.get(self.path, (404, b"nothing", {}))
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                node.bodies.append(json.loads(self.rfile.read(length)))
                time.sleep(node.pause)
                with suppress(ConnectionError):
                    self.do_GET()

            def log_message(self, *_: object) -> None: ...

        self.server = PatientServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.on("/health", {"status": "ok", "node": "n1", "peers": 2})

    def on(self, path: str, answer: object, status: int = 200, **headers: str) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, content, named)

    def chats(self, answer: bytes, status: int = 200, **headers: str) -> None:
        self.on("/v1/chat/completions", answer, status, **headers)


Dmoa = Callable[..., Result]
"""Runs a command, as a shell would, with the scripted node as its default."""
