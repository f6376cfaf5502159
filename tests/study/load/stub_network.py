"""Stub nodes: HTTP servers in threads that answer as nodes do, as soon as the test lets them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dmoa.core.policy import PAPER

Json = dict[str, Any]
Said = tuple[int, Json, dict[str, str]]
"""Status, body and headers of a response."""


def job(node: str, layer: int, role: str, seconds: float, outcome: str = "ok") -> Json:
    return {
        "job": f"{node}/{layer}",
        "layer": layer,
        "role": role,
        "node": node,
        "outcome": outcome,
        "queued_seconds": 0.25,
        "service_seconds": seconds,
    }


def trace(home: str, seconds: float = 0.5, **more: Any) -> Json:
    """A query of one layer: a proposal, and the aggregation."""
    return {
        "query": f"{home}/1",
        "home": home,
        "mixture": {"layers": 1, "fanout": 1},
        "degraded": [],
        "seconds": 2.0,
        "jobs": [job(home, 1, "proposer", seconds), job(home, 2, "aggregator", seconds)],
        "position": 0,
        "expected_seconds": 0.0,
        **more,
    }


def answer(home: str, **more: Any) -> Said:
    message = {"role": "assistant", "content": "Because."}
    return 200, {"choices": [{"message": message}], "dmoa": trace(home, **more)}, {}


def refusal(home: str, seconds: float = 4.5, position: int = 3) -> Said:
    told = trace(home, jobs=[], position=position, retry_after_seconds=seconds)
    error = {"message": "no", "code": "overloaded", "dmoa": told}
    return 429, {"error": error}, {"Retry-After": "5", "retry-after-ms": str(int(1e3 * seconds))}


def problem(status: int, code: str) -> Said:
    return status, {"error": {"message": "what was asked: secret", "code": code}}, {}


class PatientServer(ThreadingHTTPServer):
    """Lets many connect at once, however busy the machine is."""

    request_queue_size = 256


class StubNode:
    """One node: `say` tells what it answers to the body of a query, once `gate` is open."""

    def __init__(self, name: str, peers: Sequence[str], mode: str = "paper") -> None:
        self.name = name
        self.bodies: list[Json] = []
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        self.say: Callable[[Json], Said] = lambda _: answer(name)
        self.looks = 0
        self.status = 200
        self.digest: Json = {"node": name, "slots": 1, "service_time": 0.5, "utilisation": 0.4}
        self.digest |= {"layers": 1, "fanout": 1, "arrival_rate": 0.3, "age_seconds": 0.0}
        self.peers: list[Json] = [{**self.digest, "node": each} for each in peers]
        self.queue: Json = {
            "node": name,
            "mode": mode,
            "policy": asdict(PAPER),
            "queries": [],
            "jobs": {"waiting": 1, "serving": 1, "slots": 1},
            "limits": {"queries": 20, "jobs": 64},
            "counters": {"seconds": 10.0, "waiting_job_seconds": 0.0, "serving_job_seconds": 0.0}
            | {"queries": 0, "refused": 0, "declined": 0, "served": 0},
        }
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/v1/queue":
                    self._send(node.status, node.look(), {})
                elif self.path == "/v1/peers":
                    self._send(200, {"node": node.digest, "peers": node.peers}, {})
                else:
                    self._send(404, {}, {})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                node.bodies.append(body)
                node.arrived.release()
                node.gate.wait()
                self._send(*node.say(body))

            def _send(self, status: int, body: Json, headers: dict[str, str]) -> None:
                content = json.dumps(body).encode()
                with suppress(OSError):
                    self.send_response(status)
                    self.send_header("content-length", str(len(content)))
                    for key, value in headers.items():
                        self.send_header(key, value)
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = PatientServer(("127.0.0.1", 0), Handler)
        self.server.block_on_close = False  # connections are kept alive
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def look(self) -> Json:
        """Tell the queue; by every look another second passed, half of it at work."""
        counted = self.queue["counters"]
        step = {"seconds": 1.0, "serving_job_seconds": 0.5, "waiting_job_seconds": 0.25}
        passed = {key: value + self.looks * step.get(key, 0) for key, value in counted.items()}
        self.looks += 1
        return self.queue | {"counters": passed}


@contextmanager
def network(size: int, mode: str = "paper") -> Iterator[list[StubNode]]:
    """Run some nodes who know each other."""
    names = [f"n{number + 1}" for number in range(size)]
    nodes = [StubNode(name, [each for each in names if each != name], mode) for name in names]
    with ExitStack() as stack:
        for each in nodes:
            server = stack.enter_context(each.server)
            thread = threading.Thread(
                target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
            )
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            stack.callback(each.gate.set)
        yield nodes
