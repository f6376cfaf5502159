"""Who is no member of a realm, or pretends to be another, against two live nodes of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import zenoh
from real_room import PATIENT, NodeProcess, clean_environment

from dmoa.cli.fleet import free_ports
from dmoa.config.realms import Membership, read
from dmoa.core.digest import Digest
from dmoa.core.events import Offence
from dmoa.core.messages import Gossip, Piece
from dmoa.core.names import JobId, NodeId
from dmoa.net import codec, keys
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import ZenohSettings
from dmoa.realm import certificates
from dmoa.realm.founding import put_papers
from dmoa.realm.identity import RealmIdentity
from dmoa.runtime.ports import Frames

pytestmark = pytest.mark.real

LIE = 77
"""The queue that an imposter says its victim has."""
MONTH = 31 * 86_400.0


@dataclass
class Town:
    """A realm of two live nodes, n1 and n2, and whoever else gets papers of it, or of another."""

    place: Path
    nodes: list[NodeProcess]
    home: Membership

    def stranger(self, name: str, *, issued: float = 0.0, foreign: bool = False) -> RealmIdentity:
        """Make papers, issued so long ago by the realm's own authority or by one like it."""
        its = replace(self.home, folder=self.place / f"{name}-{issued:g}-{foreign}", node=name)
        its.folder.mkdir()
        key, signer = certificates.new_key(), certificates.read_key(self.home.authority_key_file)
        authority = certificates.read_certificate(self.home.authority_file)
        now = time.time() - issued
        if foreign:
            signer = certificates.new_key()
            authority = certificates.make_authority(its.name, signer, now)
        made = certificates.issue(authority, signer, name, key.public_key(), now)
        put_papers(its, authority, made, key)
        return RealmIdentity(its)

    def settings(self) -> ZenohSettings:
        return ZenohSettings(
            realm=self.home.name,
            listen=("tls/127.0.0.1:0",),
            connect=(f"tls/127.0.0.1:{self.home.port}",),
        )

    def dmoa(self, *words: str) -> str:
        return dmoa(self.place / "n1", *words)

    def peers(self) -> dict[str, dict[str, Any]]:
        return {peer["node"]: peer for peer in self.nodes[0].told("/v1/peers")["peers"]}

    def answers(self) -> None:
        """Hold that n1 still serves, with a proposal of n2's."""
        with self.nodes[0].http() as http:
            asked = {"model": "dmoa", "messages": [{"role": "user", "content": "Well?"}]}
            answer = http.post("/v1/chat/completions", json=asked).json()
        assert '"n2"' in json.dumps(answer["dmoa"]), answer
        assert answer["choices"][0]["finish_reason"] == "stop"


def homes(place: Path) -> dict[str, str]:
    return {f"XDG_{kind}_HOME": str(place / kind) for kind in ("CONFIG", "DATA", "STATE")}


def dmoa(place: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dmoa", *words],
        env=clean_environment() | homes(place),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    place = tmp_path_factory.mktemp("town")
    first, second = free_ports(2, width=2)
    nodes: list[NodeProcess] = []

    def start(name: str) -> None:
        node = NodeProcess(
            name,
            *("--realm", "lab", "--model", "fake:0.01", "--default", "mixture"),
            log=place / f"{name}.log",
            env=homes(place / name),
        )
        nodes.append(node)
        node.ready()

    try:
        there = ("--host", "127.0.0.1")
        dmoa(place / "n1", "realm", "create", "lab", "--node", "n1", *there, "--port", f"{first}")
        start("n1")
        line = dmoa(place / "n1", "realm", "invite")
        dmoa(place / "n2", "realm", "join", line, "--node", "n2", *there, "--port", f"{second}")
        start("n2")
        yield Town(place, nodes, read(place / "n1" / "DATA" / "dmoa" / "realms" / "lab"))
    finally:
        for node in nodes:
            node.process.terminate()
            node.finish()
    for name in ("n1", "n2"):
        assert "Traceback" not in (place / f"{name}.log").read_text()


class Ear:
    """Hears digests, and keeps who asks it waiting."""

    def __init__(self) -> None:
        self.heard_of: list[NodeId] = []
        self.news = asyncio.Event()

    def heard(self, digest: Digest) -> None:
        self.heard_of.append(digest.node)
        self.news.set()

    def departed(self, peer: NodeId) -> None: ...

    def offended(self, peer: NodeId, offence: Offence) -> None: ...

    def probed(self, caller: NodeId) -> None: ...

    def rolled(self, caller: NodeId) -> None: ...

    async def serve(self, caller: NodeId, message: object) -> Frames:
        del caller, message
        await asyncio.sleep(PATIENT)
        yield Piece(JobId("never"), "")

    async def hears(self, node: str, times: int) -> None:
        async with asyncio.timeout(PATIENT):
            while self.heard_of.count(NodeId(node)) < times:
                self.news.clear()
                await self.news.wait()


def lie(node: str) -> Digest:
    return Digest(NodeId(node), 2**60, 1, "fake", 1, length=LIE)


async def test_strangers_hear_nothing_and_are_not_heard(town: Town) -> None:
    """Other authority, expired: at the same time, beside a member who does hear."""
    strangers = {
        "other": town.stranger("other", foreign=True),
        "n2": town.stranger("n2", foreign=True),
        "old": town.stranger("old", issued=MONTH),
    }
    ears = {name: Ear() for name in strangers}
    async with AsyncExitStack() as stack:
        for name, identity in strangers.items():
            network = ZenohNetwork(NodeId(name), town.settings(), identity=identity)
            await network.open(ears[name])
            stack.push_async_callback(network.close)
            network.announce(lie(name))
        member = ZenohNetwork(NodeId("member"), town.settings(), identity=town.stranger("member"))
        ear = Ear()
        await member.open(ear)
        stack.push_async_callback(member.close)
        await ear.hears("n1", 3)  # seconds in which the others had their chance
        await ear.hears("n2", 3)
        await asyncio.to_thread(town.answers)
        seen = await asyncio.to_thread(town.peers)
    assert {name: ear.heard_of for name, ear in ears.items()} == {name: [] for name in ears}
    assert "n2" in seen
    assert seen["n2"]["length"] != LIE
    assert not seen.keys() & {"other", "old"}


@pytest.mark.parametrize("how", ["in clear", "without a certificate"])
def test_who_has_no_certificate_gets_no_link(town: Town, how: str) -> None:
    link = "tcp" if how == "in clear" else "tls"
    config: dict[str, Any] = {
        "mode": "client",
        "connect": {"endpoints": [f"{link}/127.0.0.1:{town.home.port}"], "timeout_ms": 2000},
        "scouting": {"multicast": {"enabled": False}},
    }
    if link == "tls":
        tls = {"root_ca_certificate": str(town.home.authority_file)}
        tls["verify_name_on_connect"] = False  # type: ignore[assignment]
        config["transport"] = {"link": {"tls": tls}}
    with pytest.raises(zenoh.ZError):
        zenoh.open(zenoh.Config.from_json5(json.dumps(config))).close()
    town.answers()


async def test_a_member_in_the_name_of_another_is_not_believed(town: Town) -> None:
    """A right certificate with another's name, and digests that are forged."""
    mallory = town.stranger("mallory")
    imposter = ZenohNetwork(NodeId("n2"), town.settings(), identity=mallory)
    ear = Ear()
    await imposter.open(ear)
    try:
        await ear.hears("n1", 1)
        imposter.announce(lie("n2"))
        data = codec.encode(Gossip(lie("n2")))
        session = imposter._session
        assert session is not None
        for forged in (data, b"rubbish", mallory.seal("digest", "", data)):
            session.put(keys.digest(NodeId("n2")), forged)
        await ear.hears("n1", 3)
        seen = await asyncio.to_thread(town.peers)
        await asyncio.to_thread(town.answers)
    finally:
        await imposter.close()
    assert seen["n2"]["length"] != LIE
    assert "mallory" not in seen


async def test_who_is_revoked_is_shut_out_within_seconds(town: Town) -> None:
    """By `dmoa realm revoke` alone; the nodes that are up hear of it by themselves."""
    line = await asyncio.to_thread(town.dmoa, "realm", "invite", "--node", "eve")
    place, (port,) = town.place / "eve", free_ports(1, width=2)
    there = ("--host", "127.0.0.1", "--port", f"{port}")
    await asyncio.to_thread(dmoa, place, "realm", "join", line, "--node", "eve", *there)
    its = read(place / "DATA" / "dmoa" / "realms" / "lab")
    eve, ear = ZenohNetwork(NodeId("eve"), town.settings(), identity=RealmIdentity(its)), Ear()
    await eve.open(ear)
    try:
        await ear.hears("n1", 2)
        eve.announce(replace(lie("eve"), length=0))
        async with asyncio.timeout(PATIENT):
            while "eve" not in await asyncio.to_thread(town.peers):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(town.dmoa, "realm", "revoke", "eve")
        sequence = 2
        async with asyncio.timeout(20):  # 2 s until it is noticed, 5 s until it is silent
            while "eve" in await asyncio.to_thread(town.peers):
                eve.announce(replace(lie("eve"), length=0, sequence=sequence))
                sequence += 1
                await asyncio.sleep(0.2)
        async with asyncio.timeout(PATIENT):
            while "n2" not in await asyncio.to_thread(town.peers):
                await asyncio.sleep(0.05)
        await asyncio.to_thread(town.answers)
        count = len(ear.heard_of)
        await asyncio.to_thread(town.answers)
        eve.announce(replace(lie("eve"), length=0, sequence=sequence))
        assert "eve" not in await asyncio.to_thread(town.peers)
        assert len(ear.heard_of) == count
    finally:
        await eve.close()
