"""What members of a realm can do to one another over the real network, and strangers cannot."""

from __future__ import annotations

import asyncio
import functools
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import pytest
import zenoh
from net_realm import Realm
from net_room import (
    PATIENT,
    A,
    B,
    C,
    RealmRoom,
    RecordingHost,
    Serve,
    collect,
    echo,
    hang,
    make_digest,
    make_job,
    make_proposal,
    wait_until,
)

from dmoa.core.messages import Gossip, Propose, Withdraw
from dmoa.core.names import NodeId
from dmoa.errors import ConfigError, ForgedError, PeerSilentError, UnreachableError
from dmoa.net import codec, exchange, keys, notices
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import ZenohSettings
from dmoa.runtime.ports import Frames

pytestmark = pytest.mark.real


@asynccontextmanager
async def three(serve: Serve = echo) -> AsyncIterator[RealmRoom]:
    """Open a, b and c, of which c is the bad one; nobody is ever blamed for what it does."""
    room = RealmRoom()
    try:
        for node in (A, B, C):
            await room.open(node, serve)
        await room.meet()
        yield room
        assert room.host(A).offences == room.host(B).offences == []
    finally:
        await room.close()


def network(room: RealmRoom, node: NodeId) -> ZenohNetwork:
    made = room.networks[node]
    assert isinstance(made, ZenohNetwork)
    return made


async def reach(asking: ZenohNetwork, asked: ZenohNetwork) -> None:
    """Have a job answered; whoever hears of a list joins anew, and cannot be asked meanwhile."""
    async with asyncio.timeout(PATIENT):
        for attempt in itertools.count(100):
            job = make_job(asking.node, name=f"{attempt}.1", content="")
            with suppress(UnreachableError):
                assert len(await collect(asking, asked.node, job)) == 1
                return
            await asyncio.sleep(0.05)


async def pass_for(room: RealmRoom, key: str, frames: list[bytes]) -> list[tuple[str, bytes]]:
    """Let c answer at a key that is another's, and never end; gives what it was asked."""
    asked: list[tuple[str, bytes]] = []
    held: list[zenoh.Query] = []

    def answer(query: zenoh.Query) -> None:
        asked.append((str(query.key_expr), bytes(query.payload or b"")))
        for frame in frames:
            query.reply(query.key_expr, frame)
        query.reply_err(b"busy")
        held.append(query)

    session = room.session(C)
    handler = zenoh.handlers.Callback(answer, indirect=False)
    session.declare_queryable(key, handler, complete=True)
    # Who would ask knows of it once a question of its own came there.
    every = zenoh.QueryTarget.ALL
    async with asyncio.timeout(PATIENT):
        while not asked:
            get = functools.partial(room.session(A).get, key.replace("*", "x"), target=every)
            await asyncio.to_thread(lambda get=get: list(get(timeout=0.1)))
    asked.clear()
    return asked


LIE = exchange.MESSAGE + codec.encode(make_proposal(make_job(), "a lie"))


async def test_who_answers_jobs_of_another_is_not_believed_nor_in_the_way() -> None:
    lied = asyncio.Event()

    async def after_the_lies(caller: NodeId, message: Propose) -> Frames:
        await lied.wait()
        async for frame in echo(caller, message):
            yield frame

    async with three(after_the_lies) as room:
        frames = [b"", b"rubbish", LIE, *[room.identities[C].seal("frame", A, LIE)] * 9]
        asked = await pass_for(room, keys.jobs(B), frames)
        asking = asyncio.create_task(collect(network(room, A), B, make_job(content="")))
        await wait_until(lambda: network(room, A).dropped > 0)
        assert asked
        lied.set()
        assert await asking == [make_proposal(make_job(), "")]


async def test_who_answers_probes_of_another_is_not_believed() -> None:
    async with three() as room:
        lie = codec.encode(Gossip(make_digest(B, 99)))
        await pass_for(room, keys.standing(B), [lie, room.identities[C].seal("standing", A, lie)])
        told = await network(room, A).probe(B, patience=PATIENT)
        assert told == make_digest(B)


async def test_who_answers_for_one_that_is_gone_is_silence() -> None:
    async with three() as room:
        await network(room, B).close()
        await pass_for(room, keys.jobs(B), [b"rubbish"] * 3)
        with pytest.raises(PeerSilentError):
            await collect(network(room, A), B, make_job(), patience=0.5)


async def test_too_much_rubbish_in_the_name_of_a_peer_ends_the_job() -> None:
    async with three() as room:
        await network(room, B).close()
        await pass_for(room, keys.jobs(B), [b"rubbish"] * 100)
        with pytest.raises(ForgedError):
            await collect(network(room, A), B, make_job(), patience=PATIENT)


async def test_a_digest_in_the_name_of_another_is_not_heard() -> None:
    async with three() as room:
        lie = codec.encode(Gossip(make_digest(B, 99)))
        for data in (lie, b"", room.identities[C].seal("digest", "", lie)):
            room.session(C).put(keys.digest(B), data)
        await wait_until(lambda: network(room, A).dropped == 3)
        network(room, B).announce(make_digest(B, 2))
        await room.host(A).until(lambda host: make_digest(B, 2) in host.digests)
        assert make_digest(B, 99) not in room.host(A).digests


async def test_what_was_said_once_is_not_heard_again() -> None:
    async with three() as room:
        heard: list[bytes] = []
        room.session(C).declare_subscriber(
            keys.DIGESTS,
            zenoh.handlers.Callback(lambda s: heard.append(bytes(s.payload)), indirect=False),
        )
        await asyncio.sleep(0.2)
        for sequence in (2, 3):
            network(room, B).announce(make_digest(B, sequence))
        await wait_until(lambda: len(heard) >= 2)
        await room.host(A).until(lambda host: make_digest(B, 3) in host.digests)
        room.session(C).put(keys.digest(B), heard[0])
        await wait_until(lambda: network(room, A).dropped == 1)
        assert room.host(A).digests.count(make_digest(B, 2)) == 1


async def test_a_job_that_is_sent_on_is_served_once() -> None:
    async with three() as room:
        asked = await pass_for(room, keys.jobs(B), [])
        await collect(network(room, A), B, make_job(content=""))
        await wait_until(lambda: asked)
        room.host(B).started.clear()
        before = network(room, B).dropped
        key, job = asked[0]
        replies = await asyncio.to_thread(
            lambda: list(room.session(C).get(key, payload=job, timeout=2))
        )
        assert not any(reply.ok for reply in replies)  # c's own are none
        assert network(room, B).dropped == before + 1
        assert not room.host(B).started.is_set()


async def test_nobody_withdraws_a_job_of_another() -> None:
    async with three() as room:
        room.host(B)._serve = hang
        async with aclosing(network(room, A).propose(B, make_job(), patience=PATIENT)) as frames:
            await anext(frames)
            data = codec.encode(Withdraw(make_job().job.id))
            for lie in (data, room.identities[C].seal("withdrawal", B, data)):
                room.session(C).put(keys.withdrawals(B, A), lie)
            await wait_until(lambda: network(room, B).dropped == 2)
            assert room.host(B).running == 1


async def test_the_token_of_another_takes_nobody_away() -> None:
    async with three() as room:
        token = room.session(C).liveliness().declare_token(keys.presence(B))
        token.undeclare()
        room.session(C).delete(keys.presence(B))
        assert len(await collect(network(room, A), B, make_job(content=""))) == 1
        assert room.host(A).gone == []


async def test_new_papers_are_taken_into_use_at_the_same_endpoints() -> None:
    async with three() as room:
        a = network(room, A)
        before, session = a.endpoints, room.session(A)
        await a.refresh()
        assert room.session(A) is session  # nothing was new
        room.identities[A].__dict__.update(room.realm.member(A).__dict__)
        lost = asyncio.create_task(collect(a, B, make_job(name="1.9")))
        await a.refresh()
        await asyncio.wait([lost])
        assert room.session(A) is not session
        assert a.endpoints == before
        a.announce(make_digest(A, 2))
        await room.host(B).until(lambda host: make_digest(A, 2) in host.digests)
        network(room, B).announce(make_digest(B, 2))
        await room.host(A).until(lambda host: make_digest(B, 2) in host.digests)
        assert len(await collect(a, B, make_job(name="2.1", content=""))) == 1
        assert len(await collect(network(room, B), A, make_job("b", content=""))) == 1


async def test_who_is_revoked_is_shut_out_by_all_that_hear_of_it() -> None:
    async with three() as room:
        notice = room.realm.revoke(C)
        room.host(B).digests.clear()
        assert room.identities[A].adopt(notice)
        await network(room, A).refresh()
        await wait_until(lambda: room.identities[B].revoked == {"c"})
        await wait_until(lambda: room.identities[B].notice == notice)
        network(room, A).announce(make_digest(A, 2))
        await room.host(B).until(lambda host: make_digest(A, 2) in host.digests)
        count = len(room.host(C).digests)
        with pytest.raises((UnreachableError, PeerSilentError)):
            await collect(network(room, C), B, make_job("c"), patience=1)
        network(room, C).announce(make_digest(C, 50))
        network(room, A).announce(make_digest(A, 3))
        await room.host(B).until(lambda host: make_digest(A, 3) in host.digests)
        assert make_digest(C, 50) not in room.host(B).digests + room.host(A).digests
        assert len(room.host(C).digests) == count
        await reach(network(room, A), network(room, B))


async def test_a_newcomer_hears_who_is_revoked() -> None:
    room = RealmRoom()
    try:
        await room.open(A)
        room.identities[A].adopt(room.realm.revoke(C))
        await network(room, A).refresh()
        await room.open(B)
        await wait_until(lambda: room.identities[B].revoked == {"c"})
        # b joins anew, and is met again
        network(room, B).announce(make_digest(B, 2))
        await room.host(A).until(lambda host: make_digest(B, 2) in host.digests)
    finally:
        await room.close()


async def test_a_network_that_cannot_join_again_goes_on_trying() -> None:
    async with three() as room:
        a = network(room, A)
        host, port = a.endpoints[0].removeprefix("tls/").rsplit(":", 1)
        room.identities[A].adopt(room.realm.revoke("nobody"))
        leaving = a._presence.leave

        async def leave(session: zenoh.Session | None) -> None:
            await leaving(session)
            taken.bind((host, int(port)))
            taken.listen()

        a._presence.leave = leave  # type: ignore[method-assign]
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await a.refresh()
            with pytest.raises(UnreachableError, match="not in the network"):
                await collect(a, B, make_job())
        a._presence.leave = leaving  # type: ignore[method-assign]
        await wait_until(lambda: a._session)
        await reach(network(room, B), a)


async def test_a_relayed_node_asks_and_is_asked_through_its_entry_peers() -> None:
    room = RealmRoom()
    try:
        a, b = await room.open(A), await room.open(B)
        await room.meet()
        settings = ZenohSettings(connect=(*a.endpoints, *b.endpoints), relayed=True)
        c = ZenohNetwork(C, settings, identity=room.realm.member(C))
        host = RecordingHost()
        await c.open(host)
        room.networks[C], room.hosts[C] = c, host
        host.standing = make_digest(C)
        c.announce(make_digest(C))
        await room.meet()
        assert c.endpoints == ()
        message = make_job(content="x" * 100_000)
        for asker, peer, home in ((c, A, "c"), (c, B, "c"), (a, C, "a"), (b, C, "b")):
            assert len(await collect(asker, peer, make_job(home, content="so it is"))) == 4
        assert await b.probe(C, patience=PATIENT) == make_digest(C)
        assert (await collect(a, C, message))[-1] is not None
        await a.close()
        c.announce(make_digest(C, 2))
        await room.host(B).until(lambda host: make_digest(C, 2) in host.digests)
        assert len(await collect(b, C, make_job("b", name="2", content=""))) == 1
        assert len(await collect(c, B, make_job("c", name="2", content=""))) == 1
    finally:
        await room.close()


async def test_a_relayed_node_waits_for_its_entry_peers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"tls/127.0.0.1:{free.getsockname()[1]}"
    room = RealmRoom()
    try:
        settings = ZenohSettings(connect=(endpoint,), relayed=True)
        c = ZenohNetwork(C, settings, identity=room.realm.member(C))
        room.networks[C] = c
        room.hosts[C] = RecordingHost()
        await c.open(room.hosts[C])
        with pytest.raises(UnreachableError, match="not in the network"):
            await collect(c, A, make_job("c"))
        entry = ZenohSettings(listen=(endpoint,))
        a = ZenohNetwork(A, entry, identity=room.realm.member(A))
        room.networks[A], room.hosts[A] = a, RecordingHost()
        await a.open(room.hosts[A])
        a.announce(make_digest(A))
        await room.hosts[C].knows(A)
        assert len(await collect(a, C, make_job(content=""))) == 1
    finally:
        await room.close()


@pytest.mark.parametrize(
    "settings",
    [
        ZenohSettings(),
        ZenohSettings(listen=("tls/127.0.0.1:0",), connect=("tcp/10.0.0.7:7447",)),
        ZenohSettings(listen=("tls/127.0.0.1:0",), relayed=True),
    ],
    ids=["listens in clear", "connects in clear", "relayed by nobody"],
)
async def test_what_is_not_safe_or_cannot_be_is_refused(settings: ZenohSettings) -> None:
    realm = Realm()
    with pytest.raises(ConfigError):
        await ZenohNetwork(A, settings, identity=realm.member(A)).open(RecordingHost())
    with pytest.raises(ConfigError, match="certificates of a realm"):
        await ZenohNetwork(A, ZenohSettings(listen=("tls/127.0.0.1:0",))).open(RecordingHost())
    realm.close()


async def test_who_missed_a_notice_hears_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "NOTICE_INTERVAL", 0.0)
    async with three() as room:
        assert room.identities[A].adopt(room.realm.revoke("eve"))  # told to nobody by itself
        for number in range(100):
            room.session(C).put(keys.notice(C), b"rubbish %d" % number)
        network(room, A).announce(make_digest(A, 2))
        await wait_until(lambda: room.identities[B].revoked == {"eve"})
