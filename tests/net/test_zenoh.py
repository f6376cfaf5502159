"""What only the real network can get wrong; the contract itself is in test_conformance."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from net_room import (
    HELD_UP,
    PATIENT,
    A,
    B,
    C,
    RecordingHost,
    Serve,
    collect,
    echo,
    hang,
    longest_stall,
    make_digest,
    make_job,
    make_proposal,
    start_child,
)

from dmoa.core.messages import Piece, Propose
from dmoa.core.names import NodeId
from dmoa.errors import ConfigError, NetworkError, PeerSilentError, UnreachableError
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import ZenohSettings
from dmoa.runtime.ports import Frames

pytestmark = pytest.mark.real

HERE = str(Path(__file__).parent)


@asynccontextmanager
async def opened(
    node: NodeId, serve: Serve = echo, *, inbound: int = 256, **settings: object
) -> AsyncIterator[tuple[ZenohNetwork, RecordingHost]]:
    made = ZenohSettings(**settings)  # type: ignore[arg-type]
    network, host = ZenohNetwork(node, made, inbound=inbound), RecordingHost(serve)
    await network.open(host)
    try:
        network.announce(make_digest(node))
        yield network, host
    finally:
        await network.close()


async def test_endpoints_are_where_others_can_connect() -> None:
    async with opened(A) as (a, _):
        (endpoint,) = a.endpoints
        assert endpoint.startswith("tcp/127.0.0.1:")
        assert not endpoint.endswith(":0")
        async with opened(B, connect=(endpoint,)) as (_, host):
            await host.knows(A)


async def test_three_nodes_find_each_other_through_one() -> None:
    async with (
        opened(A) as (a, _),
        opened(B, connect=a.endpoints) as (_, host),
        opened(C, connect=a.endpoints) as (c, _),
    ):
        await host.knows(A, C)
        assert len(await collect(c, B, make_job("c", content=""))) == 1


async def test_realms_do_not_meet() -> None:
    async with opened(A) as (a, host), opened(A, connect=a.endpoints) as (_, twin):
        async with opened(B, realm="lab", connect=a.endpoints) as (b, stranger):
            # All links are up once these two have seen that they share a name.
            b.announce(make_digest(B, 2))
            with pytest.raises(UnreachableError):
                await collect(b, A, make_job("b"))
            with pytest.raises(UnreachableError):
                await collect(a, B, make_job("a"))
        assert stranger.digests == host.digests == twin.digests == []


async def test_a_second_node_of_the_same_name_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async with opened(A) as (a, host), opened(A, connect=a.endpoints) as (twin, _):
        async with asyncio.timeout(PATIENT):
            while not a.dropped:
                twin.announce(make_digest(A, 2, incarnation=2))
                await asyncio.sleep(0.05)
        assert "has this node's name" in caplog.text
        assert host.digests == []


async def test_of_two_nodes_of_one_name_one_answers() -> None:
    async def slowly(caller: NodeId, message: Propose) -> Frames:
        async for frame in echo(caller, message):
            await asyncio.sleep(0.05)
            yield frame

    async with (
        opened(C) as (c, host),
        opened(A, slowly, connect=c.endpoints) as (one, _),
        opened(A, slowly, connect=c.endpoints) as (other, _),
    ):
        one.announce(make_digest(A, incarnation=2))
        other.announce(make_digest(A, incarnation=3))
        await host.until(
            lambda host: {digest.incarnation for digest in host.digests} >= {2, 3},
        )
        message = make_job("c", content="so it is")
        words = [Piece(message.job.id, word) for word in ("so", "it", "is")]
        assert await collect(c, A, message) == [*words, make_proposal(message, "so it is")]


async def test_more_jobs_than_the_limit_are_turned_away() -> None:
    async with (
        opened(A) as (a, known),
        opened(B, hang, inbound=1, connect=a.endpoints),
    ):
        await known.knows(B)
        async with aclosing(a.propose(B, make_job(), patience=PATIENT)) as frames:
            await anext(frames)
            with pytest.raises(UnreachableError, match="busy"):
                await collect(a, B, make_job(name="1.2"))


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp/127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NetworkError, match="in use") as caught:
            async with opened(A, listen=(endpoint,)):
                pass
    assert endpoint in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint is not None
    assert endpoint in caught.value.hint


async def test_an_endpoint_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="'bogus'"):
        async with opened(A, connect=("bogus",)):
            pass


async def test_an_unknown_kind_of_link_is_a_network_error() -> None:
    with pytest.raises(NetworkError, match="pigeon"):
        async with opened(A, listen=("pigeon/127.0.0.1:7447",)):
            pass


async def test_a_seed_that_is_not_there_yet_keeps_nobody_from_opening() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tcp/127.0.0.1:{free.getsockname()[1]}"
    async with opened(A, connect=(endpoint,)) as (_, host), opened(B, listen=(endpoint,)):
        await host.knows(B)


async def test_an_opening_that_is_cancelled_leaves_nothing_behind() -> None:
    network = ZenohNetwork(A)
    opening = asyncio.create_task(network.open(RecordingHost()))
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    assert opening.cancelled()
    await network.close()


async def test_a_peer_that_takes_no_bytes_does_not_hold_up_the_loop() -> None:
    async with opened(A) as (a, host):
        child = await start_child(a.endpoints[0])
        try:
            await host.knows(B)
            os.kill(child.pid, signal.SIGSTOP)
            text = "x" * 200_000
            async with longest_stall() as worst:
                outcomes = await asyncio.gather(
                    *(
                        collect(a, B, make_job(name=f"1.{seat}", content=text), patience=2)
                        for seat in range(60)
                    ),
                    return_exceptions=True,
                )
                assert {type(each) for each in outcomes} <= {PeerSilentError, UnreachableError}
                a.announce(make_digest(A, 2))
        finally:
            child.kill()
            await child.wait()
    assert worst[0] < HELD_UP


ABANDONED = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from net_room import RecordingHost, make_digest
from dmoa.net.zenoh import ZenohNetwork

async def main():
    network = ZenohNetwork("a")
    await network.open(RecordingHost())
    network.announce(make_digest("a"))
    if sys.argv[2] == "close":
        await network.close()
    if sys.argv[2] == "raise":
        raise LookupError("as told")

asyncio.run(main())
"""


@pytest.mark.parametrize(("way", "code"), [("close", 0), ("forget", 0), ("raise", 1)])
def test_the_interpreter_exits_however_it_ends(way: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABANDONED, HERE, way],
        timeout=PATIENT,
        check=False,
        capture_output=True,
    )
    assert done.returncode == code
    assert (b"as told" in done.stderr) == (way == "raise")
    assert done.stdout == b""


async def test_a_reply_that_is_sent_while_its_job_is_withdrawn_does_no_harm() -> None:
    async with (
        opened(A) as (a, known),
        opened(B, connect=a.endpoints) as (b, host),
    ):
        await known.knows(B)
        for seat in range(20):
            message = make_job(name=f"1.{seat}", content="x" * 100_000)
            frames = a.propose(B, message, patience=PATIENT)
            await anext(frames)
            await frames.aclose()
        assert await collect(a, B, make_job(content="")) == [make_proposal(make_job(), "")]
        await host.until(lambda host: host.running == 0)
        assert (a.dropped, b.dropped) == (0, 0)
