"""A browser, and what it looks at: real nodes, or one of many that is only made up."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import sin
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response

from dmoa.api import page as page_files
from dmoa.api.feed import FeedStream
from dmoa.core.digest import Digest
from dmoa.core.effects import Announce, Effect, Read, Report, Rest, Standing, Trace, Visit
from dmoa.core.events import Received, Woke
from dmoa.core.job import Job, Sampling
from dmoa.core.limits import Limits, Timing
from dmoa.core.messages import Gossip
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.core.reputation import Conduct
from dmoa.runtime.watch import Watch

PATIENT = 20.0
"""Seconds after which something was not seen."""
CHROMIUM = os.environ.get("DMOA_CHROMIUM") or shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"]
LIVE = "#state[data-state=live]"


def until(true: Callable[[], Any], *, within: float = PATIENT, what: str = "it") -> Any:
    """Wait until something is so."""
    ends = time.monotonic() + within
    while not (found := true()):
        assert time.monotonic() < ends, f"{what} is not so within {within} s"
        time.sleep(0.02)
    return found


class Eyes:
    """One page in a browser, which holds itself to what every page must hold to."""

    def __init__(self, browser: Any, url: str, **settings: Any) -> None:
        usual = {"viewport": {"width": 1280, "height": 960}, "color_scheme": "dark"}
        self.url = url
        self.errors: list[str] = []
        self.foreign: list[str] = []
        self.bytes = 0
        self._context = browser.new_context(**(usual | settings))
        self.page = self._context.new_page()
        self.page.set_default_timeout(1000 * PATIENT)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(url)
        self.page.wait_for_selector(LIVE)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(self.url):
            self.foreign.append(request.url)

    def fits(self) -> bool:
        """Tell whether nothing is beyond the right edge."""
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def shoot(self, place: Path, name: str, *, whole: bool = False) -> None:
        """Take a picture, which is more than an empty page."""
        file = place / f"{name}.png"
        self.page.screenshot(path=str(file), full_page=whole)
        assert file.stat().st_size > 20_000

    def close(self) -> None:
        """End, with nothing to complain of."""
        self._context.close()
        assert self.errors == []
        assert self.foreign == []


@contextmanager
def serving(app: FastAPI, begun: Callable[[], Awaitable[Any]] | None = None) -> Iterator[str]:
    """Serve an app from a thread of its own; `begun` runs on its loop until the end."""
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))

        async def run() -> None:
            beside = asyncio.ensure_future(begun()) if begun else None
            await server.serve(sockets=[sock])
            if beside is not None:
                beside.cancel()
                await asyncio.gather(beside, return_exceptions=True)

        thread = threading.Thread(target=asyncio.run, args=(run(),))
        thread.start()
        try:
            until(lambda: server.started, what="the server")
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENT)
            assert not thread.is_alive()


def axe(place: Path) -> str:
    """Fetch axe-core from npm; its source."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, from which axe-core comes")
    command = [npm, "pack", "axe-core@4", "--silent"]
    told = subprocess.run(command, cwd=place, capture_output=True, timeout=60, check=False)
    found = list(place.glob("axe-core-*.tgz"))
    if told.returncode or not found:
        pytest.skip("axe-core could not be had from npm")
    with tarfile.open(found[0]) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode("utf-8")


# -- a network that is made up -----------------------------------------------------------

MODELS = ("smollm2-135m", "qwen3-0.6b", "gemma3-270m", "llama3.2-1b")


class MadeUp:
    """A node that knows many others, as `Watch` and the feed see it; it never answers anything."""

    def __init__(self, count: int) -> None:
        self.id = NodeId("n1")
        self.mode = "steady"
        self.limits, self.timing = Limits(), Timing()
        self.is_open = True
        self.standings: tuple[Standing, ...] = ()
        self.traces: tuple[Trace, ...] = ()
        self.dice = Random(7)
        self.count = count
        self.watch = Watch(self, version="0")
        self.sequence = 0
        self.silent = {NodeId(f"n{count - 8}"), NodeId(f"n{count - 20}")}

    @property
    def digest(self) -> Digest:
        return self._digest(0)

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        return [(self._digest(each), 0.0) for each in range(1, self.count)]

    def conduct(self, peer: NodeId) -> Conduct:
        return Conduct(shunned=peer == "n12", trusted=peer != "n33")

    def _digest(self, place: int, back: float = 0.0) -> Digest:
        """Make up how a node stands; `back` seconds ago it stood otherwise."""
        usual = (0.12, 0.3, 0.45, 0.58, 0.71, 0.86, 1.06)[place * 5 % 7]
        load = max(0.02, usual * (1 + 0.16 * sin(place + back / 40) + 0.06 * sin(back / 7)))
        slots = 1 + (place % 5 == 0) + 2 * (place % 11 == 0)
        waiting = min(load / max(1.1 - load, 0.12) * load, 9)
        return Digest(
            node=NodeId(f"n{place + 1}"),
            incarnation=1,
            sequence=self.sequence,
            model=MODELS[place % 4],
            slots=slots,
            length=round(slots * min(load, 1) + waiting * (0.8 + 0.4 * sin(back / 11 + place))),
            arrival_rate=0.02 + 0.004 * (place % 7) + 0.003 * sin(back / 23 + place),
            service_time=0.6 + 0.15 * (place % 8) + 0.05 * sin(back / 31 + place),
            utilisation=load,
            layers=2 if load < 0.9 else 1,
            fanout=3,
            refused=int((300 - back) / 40) * (load > 0.8),
        )

    def remember(self, now: float) -> None:
        """Make up five minutes of past."""
        for back in range(300, 0, -2):
            for place in range(self.count):
                digest = self._digest(place, float(back))
                self.watch.saw(Received(digest.node, Gossip(digest)), (), now - back)

    async def live(self) -> None:
        """Let digests come and jobs travel."""
        clock = asyncio.get_running_loop().time
        self.remember(clock())
        due: list[tuple[float, Visit]] = []
        asked = 0
        while True:
            await asyncio.sleep(0.25)
            self.sequence += 1
            now = clock()
            for place in range(self.sequence % 4, self.count, 4):
                digest = self._digest(place, -now)
                if not place:
                    self.watch.saw(Woke(), [Announce(digest)], now)
                elif digest.node not in self.silent:
                    self.watch.saw(Received(digest.node, Gossip(digest)), (), now)
            if self.sequence % 5 == 0:
                asked += 1
                due += [(now + 0.9 + 0.5 * seat, self._visit(asked, seat)) for seat in range(6)]
                begun = [self._report(visit) for _, visit in due[-6:]]
                ends = [Rest(self._next(asked - 1).id)] if asked > 1 else []
                self.watch.saw(Woke(), [*begun, *ends, Read(self._next(asked))], now)
            for ends, visit in [each for each in due if each[0] <= now]:
                due.remove((ends, visit))
                lost = self.dice.random() < 0.15
                ended = replace(visit, outcome="lost" if lost else "ok", ended=1.0)
                self.watch.saw(Woke(), [self._report(ended)], now)

    def _visit(self, asked: int, seat: int) -> Visit:
        layer = 1 + asked % 2
        node = NodeId(f"n{self.dice.randint(2, self.count)}") if seat else self.id
        return Visit(JobId(f"n1/1/{asked % 4}/{layer}.{asked}{seat}"), layer, "proposer", node)

    def _next(self, asked: int) -> Job:
        """Make up a job whose prompt is read ahead."""
        query = QueryId(f"n1/1/{asked}")
        name = JobId(f"{query}/9.0")
        return Job(name, query, self.id, "aggregator", 9, (), ("secret",), Sampling(), 9.0)

    def _report(self, visit: Visit) -> Effect:
        return Report(QueryId(visit.job.rsplit("/", 1)[0]), visit)


def app_of(made_up: MadeUp) -> FastAPI:
    """Serve the page and the feed of a network that is made up."""
    app = FastAPI()
    page_files.install(app)

    @app.get("/v1/feed")
    async def feed(request: Request) -> Response:
        return FeedStream(made_up, made_up.watch, request)  # type: ignore[arg-type]

    @app.get("/v1/plan")
    async def plan() -> dict[str, Any]:
        told = {"visits": 9, "service_time": 1.1, "utilisation": 0.42, "bottleneck": "n8"}
        return {**told, "arrival_rate_max": 0.07, "stable": True, "latency": None, "doubts": []}

    _ = (feed, plan)
    return app
