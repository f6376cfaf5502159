"""Keeping out, tried against a live node: each is refused or cut, and others are served meanwhile.

The node runs as a person would run it, with its own limits, and is watched from outside.
"""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

import httpx2
import pytest
from real_room import PATIENT, NodeProcess, until

from dmoa.config.keys import create

pytestmark = pytest.mark.real
IDLE = 10_000
SPARE = 500
"""File handles of this process beside those connections."""
GROWTH = 96 * 1024 * 1024
"""Bytes that a node may grow by under all of this: far less than what is thrown at it."""
BODY = {"model": "local", "messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {{key}}\r\n"
HEAD += "Content-Type: application/json\r\n"


@pytest.fixture(name="config", scope="module")
def _config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door") / "config.toml"


@pytest.fixture(name="key", scope="module")
def _key(config: Path) -> str:
    return create(config.with_name("keys.json"))[0]


@pytest.fixture(name="node", scope="module")
def _node(config: Path, key: str) -> Iterator[NodeProcess]:
    assert key
    config.write_text('connections = 128\nmodel = "fake:0.01"\n')
    # "localhost" would be loopback: this is all addresses of this machine, keys and all.
    flags = ["--host", "0.0.0.0", "--config", str(config)]  # noqa: S104
    log = config.with_name("log")
    node = NodeProcess("n1", *flags, "--realm", f"door-{os.getpid()}", log=log).ready()
    yield node
    node.process.terminate()
    assert node.finish() == 0
    told = log.read_text()
    assert "Traceback" not in told
    assert told.count("travel in clear text; set certificate and certificate_key") == 1


@pytest.fixture(name="bodies", scope="module", autouse=True)
def _bodies(node: NodeProcess, key: str) -> Iterator[Drip]:
    """Send bodies byte by byte from the start, as they are given the most time."""
    begun = f"{HEAD.format(key=key)}Content-Length: 9000\r\n\r\n".encode()
    with Drip(node, 20, begun, b" ") as bodies:
        yield bodies


def port_of(node: NodeProcess) -> int:
    return int(node.url.rsplit(":", 1)[1])


def call(node: NodeProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(node)), PATIENT)


def memory(node: NodeProcess) -> int:
    """Read the resident memory of a node, in bytes."""
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


class Normal(threading.Thread):
    """A client with a key, which asks again and again, and is answered each time."""

    def __init__(self, node: NodeProcess, key: str) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{port_of(node)}"
        self.headers = {"authorization": f"Bearer {key}"}
        self.seconds: list[float] = []
        self.flaws: list[object] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.01):
            began = time.monotonic()
            try:  # each time on a connection of its own, for which there must be room
                answer = httpx2.post(
                    self.url + CHAT, json=BODY, headers=self.headers, timeout=PATIENT
                )
                if answer.status_code != 200:
                    self.flaws.append(answer.text)
            except httpx2.HTTPError as error:
                self.flaws.append(repr(error))
            self.seconds.append(time.monotonic() - began)


class Drip(threading.Thread):
    """Connections that send a byte each now and then, `repeated` without end."""

    def __init__(self, node: NodeProcess, count: int, begun: bytes, repeated: bytes) -> None:
        super().__init__()
        self.open = [call(node) for _ in range(count)]
        self.cut = 0
        self.over = threading.Event()
        self.repeated = repeated
        for each in self.open:
            each.sendall(begun)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()
        for each in self.open:
            each.close()

    def run(self) -> None:
        at = 0
        while self.open and not self.over.wait(0.25):
            byte = self.repeated[at % len(self.repeated) :][:1]
            at += 1
            for each in list(self.open):
                try:
                    each.sendall(byte)
                    cut = bool(select.select([each], [], [], 0)[0])
                except ConnectionError:
                    cut = True
                if cut:
                    self.open.remove(each)
                    each.close()
                    self.cut += 1


@contextmanager
def served_meanwhile(node: NodeProcess, key: str) -> Iterator[Normal]:
    """Hold that a normal client is answered throughout, and that the node does not grow."""
    client = Normal(node, key)
    before = memory(node)
    client.start()
    try:
        until(lambda: len(client.seconds) > 2, what="a first answer")
        yield client
        seen = len(client.seconds)
        until(lambda: len(client.seconds) > seen + 2, what="a further answer")
    finally:
        client.over.set()
        client.join()
    after = memory(node)
    middle = sorted(client.seconds)[len(client.seconds) // 2]
    print(  # noqa: T201 - figures for whoever runs this with -s
        f"\n{len(client.seconds)} answers, median {1000 * middle:.0f} ms, "
        f"longest {1000 * max(client.seconds):.0f} ms; "
        f"memory {before / 2**20:.0f} -> {after / 2**20:.0f} MiB"
    )
    assert not client.flaws
    assert after - before < GROWTH


def test_strangers_are_refused(node: NodeProcess, key: str) -> None:
    good = {"authorization": f"Bearer {key}"}
    own = f"127.0.0.1:{port_of(node)}"
    url = f"http://{own}"
    with served_meanwhile(node, key), httpx2.Client(base_url=url, trust_env=False) as http:
        for headers, status in [
            ({}, 401),
            ({"authorization": f"Bearer {key}x"}, 401),
            ({"authorization": "Bearer none"}, 401),
            ({**good, "host": "evil.example"}, 403),
            ({**good, "host": "10.1.2.3"}, 403),
            ({**good, "origin": "http://evil.example"}, 403),
            ({**good, "content-type": "text/plain"}, 415),
            ({**good, "host": own}, 200),
        ]:
            sent = {"content-type": "application/json", **headers}
            answer = http.post(CHAT, content=json.dumps(BODY), headers=sent)
            assert answer.status_code == status, headers
            assert key not in answer.text


def test_a_huge_body_is_refused_before_it_has_come(node: NodeProcess, key: str) -> None:
    size = 100 * 1024 * 1024
    head = HEAD.format(key=key)
    with served_meanwhile(node, key):
        with call(node) as told:
            told.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
            assert told.recv(100).startswith(b"HTTP/1.1 413")
        with call(node) as chunked:  # which does not tell how much will come
            chunked.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
            sent = 0
            with suppress(ConnectionError):
                while sent < size and not select.select([chunked], [], [], 0)[0]:
                    chunked.sendall(piece)
                    sent += 0x10000
            assert sent < size // 4, "it listened to a quarter of it"


def test_a_head_byte_by_byte_is_cut(node: NodeProcess, key: str) -> None:
    with served_meanwhile(node, key), Drip(node, 100, b"", HEAD.format(key=key).encode()) as heads:
        until(lambda: heads.cut == 100, what="the end of slow heads")


def test_ten_thousand_idle_connections_keep_nobody_out(node: NodeProcess, key: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = IDLE + SPARE
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"this process may open {hard} files, and {needed} are needed")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        with served_meanwhile(node, key) as client, ExitStack() as stack:
            for _ in range(IDLE):
                stack.enter_context(call(node))
            seen = len(client.seconds)
            until(lambda: len(client.seconds) > seen + 10, what="answers among the idle")
            handles = len(list(Path(f"/proc/{node.process.pid}/fd").iterdir()))
            assert handles < 128 + 256
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_body_byte_by_byte_is_cut(node: NodeProcess, key: str, bodies: Drip) -> None:
    with served_meanwhile(node, key):
        until(lambda: bodies.cut == 20, what="the end of slow bodies")
