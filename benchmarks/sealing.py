"""What a realm costs: the round trip of a job between two processes, sealed over TLS and plain.

Both ways are there at once, and jobs go by turns, so that the ratio says more than either time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from figures import Spread, machine, table

from dmoa.config.realms import read
from dmoa.core.digest import Digest
from dmoa.core.events import Offence
from dmoa.core.job import Completion, Job, Sampling, Turn
from dmoa.core.limits import Limits
from dmoa.core.messages import Gossip, Proposal, Propose
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.net import codec
from dmoa.net.desk import read_digest
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import ZenohSettings
from dmoa.realm import certificates, founding
from dmoa.realm.identity import RealmIdentity
from dmoa.runtime.ports import Frames

A, B = NodeId("a"), NodeId("b")
PATIENCE = 20.0
WARM_UP = 20
"""Rounds that are not measured."""
SIZES = (1_000, 100_000)


class Echo:
    """Answers every job at once with as many bytes as came."""

    def __init__(self) -> None:
        self.met = asyncio.Event()

    def heard(self, digest: Digest) -> None:
        """Note that the peer is there."""
        del digest
        self.met.set()

    def departed(self, peer: NodeId) -> None:
        """Take no notice."""

    def offended(self, peer: NodeId, offence: Offence) -> None:
        """Stop: nothing here breaks the protocol."""
        raise AssertionError((peer, offence))

    def probed(self, caller: NodeId) -> None:
        """Tell nothing."""

    def rolled(self, caller: NodeId) -> None:
        """Tell nothing."""

    async def serve(self, caller: NodeId, message: Propose) -> Frames:
        """Say the prompt back."""
        del caller
        text = message.job.turns[0].content
        yield Proposal(message.job.id, Completion(text, "echo", 1, 1), 0.0, 0.0)


def found(place: Path) -> None:
    """Make a realm of two members, whose papers lie in folders of their names."""
    home = founding.found("bench", A, environ={"DMOA_REALMS": str(place / "realms")})
    authority = certificates.read_certificate(home.authority_file)
    signer = certificates.read_key(home.authority_key_file)
    for node in (A, B):
        its = replace(home, folder=place / node, node=node)
        its.folder.mkdir()
        key = certificates.new_key()
        made = certificates.issue(authority, signer, node, key.public_key(), time.time())
        founding.put_papers(its, authority, made, key)


def identity(place: Path, node: NodeId) -> RealmIdentity:
    """Read the papers of a member."""
    return RealmIdentity(replace(read(place / node), name="bench"))


def networks(place: Path, node: NodeId, connect: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Make the ways of one node: plain, and in the realm."""
    return {
        link: ZenohNetwork(
            node,
            ZenohSettings(listen=(f"{link}/127.0.0.1:0",), connect=connect.get(link, ())),
            identity=identity(place, node) if link == "tls" else None,
        )
        for link in ("tcp", "tls")
    }


async def serve(place: Path) -> None:
    """Be the peer, until stdin ends."""
    ways = networks(place, B, {})
    for way in ways.values():
        await way.open(Echo())
    sys.stdout.write(json.dumps({link: way.endpoints for link, way in ways.items()}) + "\n")
    sys.stdout.flush()
    reading = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
    while not reading.done():
        for way in ways.values():
            way.announce(Digest(B, 1, 1, "echo", 1))
        await asyncio.wait({reading}, timeout=0.2)
    for way in ways.values():
        await way.close()


def job(number: int, size: int) -> Propose:
    """Write a job with a prompt of `size` bytes."""
    turns = (Turn("user", "x" * size),)
    name = JobId(f"a/1/{number}/1.1")
    query = QueryId(f"a/1/{number}")
    return Propose(Job(name, query, A, "proposer", 1, turns, (), Sampling(), PATIENCE))


async def ask(place: Path, peer: dict[str, list[str]], rounds: int) -> dict[str, Any]:
    """Ask by turns, and give the seconds and the CPU seconds of each way and size."""
    ways = networks(place, A, {link: tuple(ends) for link, ends in peer.items()})
    for way in ways.values():
        host = Echo()
        await way.open(host)
        await asyncio.wait_for(host.met.wait(), PATIENCE)
    taken: dict[str, list[float]] = {}
    number = 0
    for turn in range(rounds + WARM_UP):
        for size in SIZES:
            for link, way in ways.items():
                number += 1
                start = time.perf_counter()
                async for _ in way.propose(B, job(number, size), patience=PATIENCE):
                    pass
                if turn >= WARM_UP:
                    taken.setdefault(f"{link} {size}", []).append(time.perf_counter() - start)
    for way in ways.values():
        await way.close()
    return taken


def cost(function: Callable[[], object], times: int = 3000) -> float:
    """Measure the CPU microseconds of one call."""
    start = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - start) / times * 1e6


def digests(place: Path) -> dict[str, float]:
    """Measure what it costs to say a digest, and to hear one, in CPU microseconds."""
    a, b, limits = identity(place, A), identity(place, B), Limits()
    digest = Digest(A, 1, 1, "a model of some length", 1, mean_length=1.5, service_time=2.25)
    data = codec.encode(Gossip(digest))
    sealed = a.seal("digest", "", data)
    return {
        "say, plain": cost(lambda: codec.encode(Gossip(digest))),
        "say, sealed": cost(lambda: a.seal("digest", "", codec.encode(Gossip(digest)))),
        "hear, plain": cost(lambda: read_digest(A, data, limits)),
        "hear, sealed": cost(lambda: read_digest(A, b.open("digest", "", A, sealed), limits)),
    }


async def measure(place: Path, rounds: int) -> dict[str, Any]:
    """Start the peer, ask it, and end it."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, "--serve", str(place)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    try:
        return await ask(place, json.loads(await child.stdout.readline()), rounds)
    finally:
        child.stdin.close()
        await child.wait()


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.serve:
        asyncio.run(serve(wanted.serve))
        return
    with tempfile.TemporaryDirectory() as name:
        found(Path(name))
        taken = asyncio.run(measure(Path(name), wanted.rounds))
        costs = digests(Path(name))
    spreads = {
        key: Spread.of([second * 1e3 for second in seconds]) for key, seconds in taken.items()
    }
    if wanted.json:
        medians = {key: spread.median for key, spread in spreads.items()}
        print(json.dumps({"round_trip_ms": medians, "digest_us": costs}))
        return
    print(machine(), f"load {os.getloadavg()[0]:.1f}")
    rows = []
    for size in SIZES:
        plain, sealed = spreads[f"tcp {size}"], spreads[f"tls {size}"]
        ratio = sealed.median / plain.median
        rows.append([f"{size} bytes there and back", plain.text(2), sealed.text(2), f"{ratio:.2f}"])
    print(table(["median (quartiles), ms", "plain", "in a realm", "ratio"], rows))
    print(table(["a digest", "CPU, us"], [[key, f"{us:.0f}"] for key, us in costs.items()]))


if __name__ == "__main__":
    main()
