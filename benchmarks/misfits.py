"""What one peer that is hung, slow or lying costs the others, on live processes over Zenoh.

Seven honest nodes with fake models of 0.2 s are asked; the eighth differs from run to run:
it is honest, its model hangs, it takes ten times as long as it says, or it says that its
queue is empty and its model quick, whatever is true, and takes few jobs.

    uv run python benchmarks/misfits.py
    uv run python benchmarks/misfits.py --seconds 30 --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from statistics import fmean, quantiles

from dmoa.backends.fake import FakeBackend
from dmoa.cli.fleet import Fleet
from dmoa.core.digest import Digest
from dmoa.core.job import Profile
from dmoa.core.limits import Limits
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import LIVE
from dmoa.net.zenoh import ZenohNetwork
from dmoa.net.zenoh_config import ZenohSettings
from dmoa.runtime.node import Node
from dmoa.sim.setting import Recorded
from dmoa.study.load.generator import Generator, Load
from dmoa.study.load.live import Nodes, NodeState
from dmoa.study.load.records import JobRecord, Log, QueryRecord
from dmoa.study.load.schedule import Prompts

HONEST = 7
SERVICE = 0.2
CV = 0.4
MIXTURE = Mixture(2, 3)
RHO = 0.5
"""Of the eight; where one does nothing, seven carry it all."""
KINDS = ("honest", "hung", "slow", "liar")
NAME = NodeId("misfit")
PARTS = 3
ASKED = Prompts(((({"role": "user", "content": "Why is the sky blue?"}),),))


class Liar(ZenohNetwork):
    """Says that nobody waits here and that the model is as quick as the others'."""

    def announce(self, digest: Digest) -> None:
        """Tell everybody a lie."""
        super().announce(lie(digest))


class LyingNode(Node):
    """Lies to those who ask, too."""

    def probed(self, caller: NodeId) -> Digest | None:
        """Tell a peer a lie."""
        digest = super().probed(caller)
        return None if digest is None else lie(digest)


def lie(digest: Digest) -> Digest:
    """Make it look idle and quick."""
    return replace(
        digest,
        length=0,
        service_time=SERVICE,
        proposer_time=SERVICE,
        aggregator_time=SERVICE,
        capacity=1 / SERVICE,
        utilisation=0.0,
    )


def eighth(kind: str, realm: str, endpoints: Sequence[str]) -> Node:
    """Make the node that differs."""
    meeting = ZenohSettings(
        realm=realm, listen=("tcp/127.0.0.1:0",), connect=tuple(endpoints), multicast=False
    )
    rng = Random(8)
    seconds = 10 * SERVICE if kind in ("slow", "liar") else SERVICE

    def law() -> float:
        return seconds * rng.lognormvariate(-0.0742, 0.3853)  # mean 1, cv 0.4

    fake = FakeBackend(
        NAME,
        law=law,
        tokens=1,
        fail="stall" if kind == "hung" else "",
        profile=Profile(model=NAME),
    )
    lying = kind in ("slow", "liar")
    network = (Liar if lying else ZenohNetwork)(NAME, meeting, limits=Limits())
    policy = replace(LIVE, peer_jobs=2) if kind == "liar" else LIVE
    return (LyingNode if lying else Node)(
        network, fake, policy=policy, rng=Random(9), incarnation=time.time_ns() // 1_000_000
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What one run measured; times in seconds.

    `shares` are the misfit's shares of the peers' jobs in each third of the run, where 1/7 is
    its fair share; `outcomes` what became of them.
    """

    kind: str
    answered: int
    asked: int
    mean: float
    p95: float
    longest: float
    shares: tuple[float, ...]
    outcomes: dict[str, int]


def found_of(kind: str, records: Sequence[QueryRecord]) -> Found:
    """Sum a run up."""
    ordered = sorted(records, key=lambda each: each.number)
    took = [each.latency for each in ordered if each.status == "answered"]
    shares: list[float] = []
    outcomes = Counter[str]()
    for part in range(PARTS):
        some = ordered[part * len(ordered) // PARTS : (part + 1) * len(ordered) // PARTS]
        jobs = [job for each in some for job in peers_of(each)]
        here = [job for job in jobs if job.node == NAME]
        shares.append(len(here) / max(len(jobs), 1))
        outcomes.update(job.outcome for job in here)
    p95 = quantiles(took, n=20)[-1]
    return Found(
        kind, len(took), len(ordered), fmean(took), p95, max(took), tuple(shares), dict(outcomes)
    )


def peers_of(record: QueryRecord) -> list[JobRecord]:
    """List the proposals that peers were asked for: all but the first job of each layer."""
    layers: set[int] = set()
    found: list[JobRecord] = []
    for job in record.jobs:
        if job.layer in layers:
            found.append(job)
        layers.add(job.layer)
    return found


async def run(kind: str, fleet: Fleet, seconds: float) -> Found:
    """Put the seven under load, with one eighth."""
    rng, at = Random(1), 0.0
    rate = RHO * (HONEST + 1) / (SERVICE * MIXTURE.visits)
    times: list[float] = []
    while (at := at + rng.expovariate(rate)) < seconds:
        times.append(at)
    arrivals = Recorded(tuple(times), tuple(rng.randrange(HONEST) for _ in times))
    node = eighth(kind, fleet.realm, [at for each in fleet.members for at in each.listen])
    async with node, Nodes([each.url for each in fleet.members]) as nodes:
        while len(node.peers) < HONEST or not all(  # noqa: ASYNC110  (processes tell by HTTP)
            NAME in each.peers for each in await nodes.states()
        ):
            await asyncio.sleep(0.1)
        log = Log()
        load = Load(arrivals, ASKED, MIXTURE, deadline=60.0, drain=60.0)
        await Generator(load, nodes, log, unheard).run()
    while any(NAME in each.peers for each in await states_of(fleet)):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return found_of(kind, list(log.queries.values()))


def unheard(at: float, answered: int, others: int) -> None:
    """Tell nobody how far it is."""
    del at, answered, others


async def states_of(fleet: Fleet) -> tuple[NodeState, ...]:
    """Ask the honest how they stand."""
    async with Nodes([each.url for each in fleet.members]) as nodes:
        return await nodes.states()


async def main(seconds: float, kinds: Sequence[str], *, as_json: bool) -> None:
    """Run all kinds in turn, on the same seven."""
    models = [f"fake:{SERVICE}?cv={CV}&tokens=1&seed={seed}" for seed in range(HONEST)]
    rows: list[Found] = []
    with Fleet(models) as fleet:
        fleet.wait_ready(lambda _: None)
        fleet.wait_met()
        for kind in kinds:
            rows.append(await run(kind, fleet, seconds))
            if not as_json:
                show(rows[-1])
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))


def show(row: Found) -> None:
    """Print one run."""
    shares = " ".join(f"{share:.1%}" for share in row.shares)
    outcomes = ", ".join(f"{count} {what}" for what, count in sorted(row.outcomes.items()))
    print(
        f"{row.kind:>7}: {row.answered} of {row.asked} answered, mean {row.mean:.2f} s, "
        f"p95 {row.p95:.2f} s, longest {row.longest:.2f} s; "
        f"its share of peers' jobs by thirds {shares} (fair: {1 / HONEST:.1%}); {outcomes}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of load per kind")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only some")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    sys.exit(asyncio.run(main(chosen.seconds, chosen.kind or KINDS, as_json=chosen.json)))
