"""A judge for tests: it knows what every text is worth, and how it misbehaves is up to the test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import exp, log
from pathlib import Path
from typing import Any

import httpx2

from dmoa.study.evals.folder import Folder, hash_of
from dmoa.study.evals.records import Answer, Item, Member, Plan
from dmoa.study.lines import Lines

Json = dict[str, Any]
Said = tuple[int, Json, dict[str, str]]
"""Status, body and headers of a response."""


def completion(text: str, top: Mapping[str, float] | None = None, **more: Any) -> Said:
    """A completion that says `text`, with the probabilities of its first token."""
    choice: Json = {"index": 0, "finish_reason": "length"} | more
    choice["message"] = {"role": "assistant", "content": text}
    if top is not None:
        tokens = [
            {"token": each, "logprob": log(p or 1e-300), "bytes": None} for each, p in top.items()
        ]
        first = {"token": text, "logprob": -0.1, "top_logprobs": tokens}
        choice["logprobs"] = {"content": [first]}
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "judge"}
    return 200, body | {"choices": [choice], "usage": usage}, {}


def refusal(status: int, message: str, **headers: str) -> Said:
    return status, {"error": {"message": message}}, headers


class FakeJudge:
    """Prefers the text of the higher worth, and by `bias` (in log odds) what stands first.

    `say` may be replaced; the usual one compares, with log probabilities where `logprobs` is.
    """

    def __init__(self, worth: Mapping[str, float], *, bias: float = 0.0, logprobs: bool = True):
        self.worth = worth
        self.bias = bias
        self.logprobs = logprobs
        self.bodies: list[Json] = []
        self.keys: list[str] = []
        self.say: Callable[[Json], Said] = self.compare
        self._lock = threading.Lock()

    def first(self, body: Json) -> float:
        """How probable it finds that the first of the two texts is better."""
        prompt = body["messages"][-1]["content"]
        places = {prompt.index(text): text for text in self.worth if text in prompt}
        first, second, *_ = [self.worth[places[at]] for at in sorted(places)] + [0.0, 0.0]
        return 1 / (1 + exp(second - first - self.bias))

    def compare(self, body: Json) -> Said:
        p = self.first(body)
        text = "m" if p > 0.5 else "M"
        if not self.logprobs or not body.get("logprobs"):
            return completion(text)
        return completion(text, {"m": 0.9 * p, "M": 0.9 * (1 - p), "The": 0.1})

    def answer(self, body: Json, key: str = "") -> Said:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
        return self.say(body)

    @property
    def transport(self) -> httpx2.MockTransport:
        """The way to this judge without a socket."""

        def handle(request: httpx2.Request) -> httpx2.Response:
            if request.url.path.endswith("/models"):
                return httpx2.Response(200, json={"data": [{"id": "found"}]})
            key = request.headers.get("authorization", "")
            status, body, headers = self.answer(json.loads(request.content), key)
            return httpx2.Response(status, json=body, headers=headers)

        return httpx2.MockTransport(handle)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve it on this machine; gives its URI."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                key = self.headers.get("authorization", "")
                status, body, headers = owner.answer(json.loads(data), key)
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

        with Server(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"openai:http://127.0.0.1:{server.server_port}/v1#judge"
            finally:
                server.shutdown()
                thread.join()


def make_run(
    place: Path, items: tuple[Item, ...], outputs: Mapping[str, tuple[str | Answer | None, ...]]
) -> Folder:
    """Write a run: for each item of a configuration a text, an answer, or None for none yet."""
    folder = Folder(place)
    folder.write_items(items)
    names = tuple(outputs)
    members = tuple(Member(name.partition("@")[2], "m") for name in names if "@" in name)
    with Lines(folder.answers_file) as log:
        log.add("plan", Plan(names, members, hash_of(items), len(items), seed=1))
        for name, texts in outputs.items():
            for item, text in zip(items, texts, strict=True):
                if isinstance(text, str):
                    log.add("answer", Answer(item.id, name, "n1", "answered", (text,)))
                elif text is not None:
                    log.add("answer", text)
    return folder
