from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from net_room import (
    A,
    B,
    C,
    RecordingHost,
    Serve,
    collect,
    echo,
    hang,
    make_digest,
    make_job,
    make_proposal,
)

from dmoa.core.limits import Limits
from dmoa.core.messages import Piece, Propose
from dmoa.core.names import NodeId
from dmoa.errors import NetworkError, PeerGoneError, PeerSilentError, UnreachableError
from dmoa.net.memory import MemoryEndpoint, MemoryNetwork, evenly
from dmoa.runtime import virtual
from dmoa.runtime.ports import Frames


async def enter(
    hub: MemoryNetwork, node: NodeId, serve: Serve = echo
) -> tuple[MemoryEndpoint, RecordingHost]:
    endpoint, host = hub.join(node), RecordingHost(serve)
    await endpoint.open(host)
    return endpoint, host


async def pair(hub: MemoryNetwork, serve: Serve = echo) -> tuple[MemoryEndpoint, RecordingHost]:
    """Open A, which is returned, and B, whose host is."""
    a, _ = await enter(hub, A)
    _, host = await enter(hub, B, serve)
    return a, host


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_message_travels_for_as_long_as_the_law_says() -> None:
    a, _ = await pair(MemoryNetwork(latency=lambda _: 0.25))
    await collect(a, B, make_job(content=""))
    assert now() == pytest.approx(0.5)


async def test_what_is_drawn_faster_does_not_overtake() -> None:
    async def count(caller: NodeId, message: Propose) -> Frames:
        del caller
        for number in range(500):
            yield Piece(message.job.id, str(number))
        yield make_proposal(message)

    a, _ = await pair(MemoryNetwork(latency=evenly(0, 3)), count)
    *pieces, _ = await collect(a, B, make_job())
    assert [piece.text for piece in pieces if isinstance(piece, Piece)] == [
        str(number) for number in range(500)
    ]


async def test_a_partition_is_silence() -> None:
    hub = MemoryNetwork()
    a, _ = await pair(hub)
    hub.partition(A, B)
    with pytest.raises(PeerSilentError):
        await collect(a, B, make_job(), patience=3)
    assert now() == pytest.approx(3)


async def test_a_partition_concerns_two_nodes_only() -> None:
    hub = MemoryNetwork()
    a, _ = await pair(hub)
    await enter(hub, C)
    hub.partition(A, B)
    assert await collect(a, C, make_job(content="")) == [make_proposal(make_job(), "")]


async def test_what_a_partition_broke_stays_broken_but_new_jobs_pass() -> None:
    hub = MemoryNetwork()
    goes_on = asyncio.Event()

    async def write(caller: NodeId, message: Propose) -> Frames:
        del caller
        yield Piece(message.job.id, "so")
        await goes_on.wait()
        yield make_proposal(message)

    a, _ = await pair(hub, write)
    async with aclosing(a.propose(B, make_job(), patience=9)) as frames:
        await anext(frames)
        hub.partition(A, B)
        hub.heal(A, B)
        goes_on.set()
        with pytest.raises(PeerSilentError):
            await anext(frames)
    assert len(await collect(a, B, make_job(name="2.1"))) == 2


async def test_heal_without_names_heals_all() -> None:
    hub = MemoryNetwork()
    a, _ = await pair(hub)
    await enter(hub, C)
    hub.partition(A, B)
    hub.partition(C, A)
    hub.heal()
    for node in (B, C):
        assert len(await collect(a, node, make_job(content=""))) == 1


async def test_what_is_under_way_is_lost_in_a_partition() -> None:
    hub = MemoryNetwork(latency=lambda _: 1.0)
    a, host = await pair(hub)
    a.announce(make_digest(A))
    await asyncio.sleep(0.5)
    hub.partition(A, B)
    await asyncio.sleep(5)
    assert host.digests == []


async def test_a_silent_death_is_noticed_only_by_patience() -> None:
    hub = MemoryNetwork()
    a, host = await pair(hub, hang)
    frames = a.propose(B, make_job(), patience=60, idle=7)
    await anext(frames)
    hub.kill(B)
    with pytest.raises(PeerSilentError):
        await anext(frames)
    assert now() == pytest.approx(7, abs=0.1)
    assert host.running == 0
    with pytest.raises(PeerSilentError):
        await collect(a, B, make_job(), patience=1)


async def test_a_death_with_reset_is_noticed_at_once() -> None:
    hub = MemoryNetwork()
    a, host = await enter(hub, A)
    await enter(hub, B, hang)
    frames = a.propose(B, make_job(), patience=60)
    await anext(frames)
    hub.kill(B, reset=True)
    with pytest.raises(PeerGoneError):
        await anext(frames)
    assert now() < 0.1
    assert host.gone == [B]
    with pytest.raises(UnreachableError):
        await collect(a, B, make_job())


async def test_what_a_killed_node_asks_ends_too() -> None:
    hub = MemoryNetwork()
    a, _ = await pair(hub, hang)
    asking = asyncio.create_task(collect(a, B, make_job(), patience=60))
    await asyncio.sleep(1)
    hub.kill(A)
    with pytest.raises(UnreachableError):
        await asking
    assert now() < 2


async def test_a_killed_node_can_be_started_again() -> None:
    hub = MemoryNetwork()
    a, _ = await pair(hub)
    hub.kill(B)
    await enter(hub, B)
    assert len(await collect(a, B, make_job(content=""))) == 1


async def test_a_name_is_taken_once() -> None:
    hub = MemoryNetwork()
    await pair(hub)
    with pytest.raises(NetworkError, match="called b"):
        await enter(hub, B)


async def test_digests_are_lost_as_often_as_told() -> None:
    hub = MemoryNetwork(digest_loss=0.3, seed=1)
    a, host = await pair(hub)
    for sequence in range(1000):
        a.announce(make_digest(A, sequence))
    await asyncio.sleep(1)
    assert 650 < len(host.digests) < 750


async def test_more_jobs_than_the_limit_are_turned_away() -> None:
    hub = MemoryNetwork(inbound=4)  # of which one peer has half
    a, host = await pair(hub, hang)
    streams = [a.propose(B, make_job(name=f"1.{seat}"), patience=60) for seat in range(2)]
    for stream in streams:
        await anext(stream)
    with pytest.raises(UnreachableError, match="busy"):
        await collect(a, B, make_job(name="1.9"))
    await streams[0].aclose()
    await host.closed.wait()
    await anext(a.propose(B, make_job(name="1.9"), patience=60))


async def test_a_digest_too_large_is_held_against_its_node() -> None:
    hub = MemoryNetwork()
    _, host = await pair(hub)
    hub.forge(A, B, b"x" * (hub.limits.message_bytes + 1))
    await asyncio.sleep(1)
    assert host.offences == [(A, "oversized")]


async def test_a_job_too_large_for_the_peer_is_refused() -> None:
    hub = MemoryNetwork()
    a, _ = await pair(hub)
    hub.limits = Limits(message_bytes=1000)
    small = hub.join(C)
    await small.open(RecordingHost())
    hub.limits = Limits()
    small._desk._limits = Limits(message_bytes=1000)  # type: ignore[union-attr]
    with pytest.raises(UnreachableError, match=r"refused.*limit is 1000"):
        await collect(a, C, make_job(content="x" * 2000))
    assert small.dropped == 1


def test_the_same_seed_gives_the_same_history() -> None:
    def story(seed: int) -> list[tuple[float, int]]:
        async def main() -> list[tuple[float, int]]:
            hub = MemoryNetwork(seed=seed, digest_loss=0.5, latency=evenly(0.1, 2))
            heard: list[tuple[float, int]] = []
            a, host = await pair(hub)
            host.heard = lambda digest: heard.append((now(), digest.sequence))  # type: ignore[method-assign]
            for sequence in range(40):
                a.announce(make_digest(A, sequence))
                await asyncio.sleep(0.1)
            await asyncio.sleep(10)
            return heard

        return virtual.run(main())

    assert story(1) == story(1)
    assert story(1) != story(2)


async def test_a_probe_is_told_how_its_peer_stands_when_it_arrives() -> None:
    a, host = await pair(MemoryNetwork(latency=lambda _: 0.25))
    loop = asyncio.get_running_loop()
    loop.call_later(0.2, setattr, host, "standing", make_digest("b", 2))
    loop.call_later(0.3, setattr, host, "standing", make_digest("b", 3))
    assert await a.probe(B, patience=1) == make_digest("b", 2)
    assert now() == pytest.approx(0.5)


@pytest.mark.parametrize("fault", ["loss", "partition", "death"])
async def test_a_probe_that_is_lost_is_silence(fault: str) -> None:
    hub = MemoryNetwork()
    a, host = await pair(hub)
    if fault == "loss":
        hub.digest_loss = 1.0
    elif fault == "partition":
        hub.partition(A, B)
    else:
        hub.kill(B)
    with pytest.raises(PeerSilentError):
        await a.probe(B, patience=3)
    assert now() == pytest.approx(3)
    assert host.probes == []


async def test_a_partition_on_the_way_back_of_a_probe_is_silence() -> None:
    hub = MemoryNetwork(latency=lambda _: 1.0)
    a, host = await pair(hub)
    host.standing = make_digest("b")
    asyncio.get_running_loop().call_later(1.5, hub.partition, A, B)
    with pytest.raises(PeerSilentError):
        await a.probe(B, patience=5)
    assert host.probes == [A]
    hub.heal()
    assert await a.probe(B, patience=5) == make_digest("b")


async def test_jobs_are_never_lost_as_digests_and_probes_are() -> None:
    a, _ = await pair(MemoryNetwork(digest_loss=1.0))
    assert await collect(a, B, make_job(content="")) == [make_proposal(make_job(), "")]


@pytest.mark.parametrize("act", ["close", "kill", "reset"])
async def test_nothing_is_left_running(act: str) -> None:
    hub = MemoryNetwork()
    a, _ = await enter(hub, A)
    b, host = await enter(hub, B, hang)
    asking = asyncio.create_task(collect(a, B, make_job(), patience=9))
    await host.started.wait()
    acts: dict[str, Callable[[], Awaitable[None] | None]] = {
        "close": b.close,
        "kill": lambda: hub.kill(B),
        "reset": lambda: hub.kill(B, reset=True),
    }
    done = acts[act]()
    if done is not None:
        await done
    await asyncio.wait([asking])
    assert isinstance(asking.exception(), NetworkError)
    await a.close()
    assert host.running == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
