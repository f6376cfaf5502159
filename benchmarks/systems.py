"""What is compared: how each is asked, what it costs at least, and whose CPU it uses."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fanout
import optillm_moa
import processes
import wire
from fake_server import SECONDS, TOKENS

from dmoa.cli.fleet import Fleet

NODES = 4
FANOUT = 3
JOBS = FANOUT + 2
"""Of one answer with M=1: the proposals of k peers and home, and the aggregation."""
FIRST_TOKEN = SECONDS / TOKENS

PROMPT = "Tell me how a paper clip is bent, step by step, and why it holds paper at all. " * 12
"""Long enough for a fake model, which echoes it, to cut it into hundreds of pieces."""
_FAKE_SERVER = Path(__file__).with_name("fake_server.py")


@dataclass(frozen=True, slots=True)
class System:
    """One thing to measure; times in seconds."""

    name: str
    ask: Callable[[], Awaitable[wire.Reply]]
    bound: float
    """The critical path: calls of the model that wait for each other."""
    first_bound: float | None = None
    """The same up to the first token, where the answer is streamed."""
    pids: tuple[int, ...] = ()
    jobs: int = 0


def _body(model: str, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": PROMPT}]
    return {"model": model, "messages": messages, "stream": stream}


@contextmanager
def model_server() -> Iterator[str]:
    """Run the fake model server; gives its URL."""
    with processes.running([sys.executable, str(_FAKE_SERVER)]) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"


@dataclass(frozen=True, slots=True)
class Nodes:
    """A running network of dmoa nodes, of which the first is asked."""

    url: str
    pids: tuple[int, ...]

    async def ask(self, model: str, *, stream: bool) -> wire.Reply:
        """Ask, and see that nothing was left out: a degraded answer would be a cheap one."""
        reply = await wire.chat(self.url, _body(model, stream=stream))
        outcomes = [job["outcome"] for job in reply.extra["jobs"]]
        jobs = 1 if model == "local" else JOBS
        assert outcomes == ["ok"] * jobs, reply.extra
        assert not reply.extra["degraded"], reply.extra
        return reply


@contextmanager
def nodes(backend: str) -> Iterator[Nodes]:
    """Run a network until the block ends; all nodes see each other before it begins."""
    with Fleet([backend] * NODES) as fleet:
        fleet.wait_ready(lambda _: None)
        fleet.wait_met()
        pids = tuple(member.process.pid for member in fleet.members)
        yield Nodes(f"{fleet.members[0].url}/v1", pids)


def of_dmoa(net: Nodes, kind: str) -> list[System]:
    """Name the ways of asking a network for M=1, k=3."""
    model, bound = f"dmoa-m1k{FANOUT}", 2 * SECONDS
    first = SECONDS + FIRST_TOKEN

    def whole() -> Awaitable[wire.Reply]:
        return net.ask(model, stream=False)

    def streamed() -> Awaitable[wire.Reply]:
        return net.ask(model, stream=True)

    return [
        System(f"dmoa, {kind}", whole, bound, None, net.pids, JOBS),
        System(f"dmoa, {kind}, streamed", streamed, bound, first, net.pids, JOBS),
    ]


def of_others(backend: str) -> list[System]:
    """Name what is only for reference: one call, and the floor."""
    return [
        System("one call", lambda: wire.chat(backend, _body("fake", stream=False)), SECONDS),
        System(
            "bare fan-out, streamed",
            lambda: fanout.ask(backend, PROMPT),
            2 * SECONDS,
            SECONDS + FIRST_TOKEN,
        ),
    ]


def of_optillm(server: optillm_moa.Server) -> list[System]:
    """Name the ways of asking optillm for its mixture: three drafts, a critique, an answer."""

    def system(name: str, model: str, calls: int, *, stream: bool = False) -> System:
        async def ask() -> wire.Reply:
            reply = await wire.chat(server.url, _body(f"moa-{model}", stream=stream))
            assert not reply.text.startswith("Error"), reply.text
            return reply

        bound = calls * SECONDS
        pids = (server.pid,)
        # It streams nothing before all is there, but its last call alone could be.
        first = bound - SECONDS + FIRST_TOKEN if stream else None
        return System(f"optillm moa, {name}", ask, bound, first, pids, 5)

    return [
        system("n honoured, streamed", "fake", 3, stream=True),
        system("n ignored", "fake-ignores-n", 3),
        system("n refused", "fake-refuses-n", 5),
    ]


@contextmanager
def all_systems(say: Callable[[str], None], *, optillm: bool) -> Iterator[list[System]]:
    """Start everything; `say` is told what is under way, and what cannot be had."""
    with ExitStack() as stack:
        backend = stack.enter_context(model_server())
        server = _begun(stack, backend, say) if optillm else None
        say(f"{2 * NODES} nodes are started")
        own = stack.enter_context(nodes(f"fake:{SECONDS}?tokens={TOKENS}"))
        same = stack.enter_context(nodes(f"openai:{backend}#fake"))
        compared = of_others(backend) + of_dmoa(own, "fake backends")
        compared += of_dmoa(same, "openai backends")[1:]
        if server is not None:
            try:
                server.wait()
                compared += of_optillm(server)
            except optillm_moa.MissingError as error:
                say(f"WITHOUT optillm: {error}")
        yield compared


def _begun(stack: ExitStack, backend: str, say: Callable[[str], None]) -> optillm_moa.Server | None:
    """Install optillm, the first time, and begin to start it."""
    say("optillm is installed if it is not yet, and started")
    try:
        optillm_moa.install()
        return stack.enter_context(optillm_moa.serving(backend))
    except (optillm_moa.MissingError, OSError) as error:
        say(f"WITHOUT optillm: {error}")
        return None
