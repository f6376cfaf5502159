"""Remark 1, measured: which node decides, where nodes are not alike.

Three questions. Is the exact condition's rho what each node of an unlike network is really
busy? Does the slowest node decide where the paper says so, and only its queue grow? And who
decides where users or slots are unlike, of which the remark does not think?
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum, inf
from random import Random

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.stability import (
    arrival_rate_scale_max,
    utilisation_of_slowest,
    utilisations,
)
from dmoa.sim.setting import Setting
from dmoa.study.paper.claim import Claim, Column, Finding, Progress, Value
from dmoa.study.paper.growth import lasting, replications
from dmoa.study.plots import Mark, Panel, Series
from dmoa.study.statistics import Estimate, mean_of
from dmoa.theory.laws import Exponential, Fixed, Law, LogNormal
from dmoa.theory.overload import fluid_overload

RANDOM = 8
"""Random unlike networks."""
RANDOM_RHO = 0.9
"""The rho of their busiest node."""
SECONDS = 2e6
"""How long each is simulated (s)."""
LONG = 5e5
"""The same of the others, in service times of the node that decides, `REPLICATIONS` times."""
REPLICATIONS = 5
CLOSE = 0.02
"""How far the busy share of a node may be from its rho."""
SHARE = 1.0 / 3.0
"""Of the work that is too much, or to spare, at the node that decides: what grows by less than
this share does not count as growing."""
IDLE, BUSY = 0.5, 0.99
"""Busy shares of a node with time to spare, and of one without."""
NEAR = 0.2
"""How far growth may be from what is told, relatively."""
ONE = Mixture(1, 1)
SLOW = (1.0, 1.0, 1.0, 4.0)
"""Four nodes, the last of which is slow."""
_COUPLED = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.05)
_LAWS: tuple[Law, ...] = (Exponential(), Fixed(), LogNormal(cv=0.8, common=0.5))

_COLUMNS = (
    Column("network", "network"),
    Column("layers", "M"),
    Column("fanout", "k"),
    Column("remark", "paper", "rho", ".3f"),
    Column("exact", "exact", "rho", ".3f"),
    Column("node", "at"),
    Column("busy", "busy", form=".3f"),
    Column("difference", "error", form=".3f"),
    Column("growth", "grows", "jobs/s", "z.4f"),
    Column("half", "+-", "jobs/s", ".4f"),
    Column("mean", "mean", "s", ".0f"),
    Column("median", "median", "s", ".1f"),
)

_ASSUMED = (
    (
        "Remark 1 says to put the slowest node's alpha into Theorem 1; its lambda is taken as the "
        "mean of the users', as it knows only one"
    ),
    (
        "exact is the largest rho of the exact condition, which is derived here, and at tells the "
        "node whose it is; busy is the share of time that its slots are, and error that of the "
        "worst node"
    ),
    (
        "random networks have 4 to 10 nodes, M 1 to 3, arrival rates of 1 to 3, service times "
        "of 1 to 4 s, 1 to 3 slots, unequal costs of layers, one in two a graph of peers; their "
        f"rates are scaled to a largest rho of {RANDOM_RHO}"
    ),
    (
        "slow node: service times of 1, 1, 1 and 4 s, all else alike. Four slots: the last has as "
        "many. Busy user: 1, 1, 1 and 1.5 s, and user 1 asks six times as often. Star: six nodes "
        "alike, of which one is the only peer of all others. Fast users: 1, 1, 1 and 8 s, and "
        "nobody asks at the last"
    ),
    (
        "a node that is not always busy empties its queue again and again, so its queue does not "
        "grow"
    ),
    (
        f"growth is of all nodes together, its interval 95 % over {REPLICATIONS} runs; it counts "
        "from a third of the jobs that the rho beyond 1 brings the node that decides"
    ),
    (
        "runs begin empty, and their second half counts (nine tenths in random networks); mean "
        "and median are the times to answer, of those answered by then"
    ),
)


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and the mixture that it is asked for."""

    name: str
    network: Network
    mixture: Mixture
    law: Law = _LAWS[0]

    def at(self, rho: float) -> Case:
        """Scale all arrival rates until the exact rho of the busiest node is this."""
        factor = rho * arrival_rate_scale_max(self.network, self.mixture)
        rates = tuple(factor * rate for rate in self.network.arrival_rates)
        return replace(self, network=replace(self.network, arrival_rates=rates))


def measure(*, effort: float, seed: int, progress: Progress) -> Claim:
    """Measure how busy the nodes of unlike networks are, and whose queue grows."""
    total = RANDOM + len(NAMED) + len(_COUPLED)
    drawn: list[Measured] = []
    for number in range(RANDOM):
        case = random_case(number, seed)
        progress(number, total, case.name)
        drawn.append(_measured(case, effort, seed, 1))
    named: list[Measured] = []
    for done, case in enumerate(NAMED, start=RANDOM):
        progress(done, total, case.name)
        named.append(_measured(case, effort, seed, REPLICATIONS))
    coupled: list[Measured] = []
    for done, rho in enumerate(_COUPLED, start=RANDOM + len(NAMED)):
        progress(done, total, f"{SPARED.name}, rho {rho:g}")
        coupled.append(_measured(SPARED.at(rho), effort / 4.0, seed, REPLICATIONS))
    progress(total, total, "")
    return Claim(
        name="remark1",
        title="Remark 1",
        columns=_COLUMNS,
        rows=[each.row for each in (*drawn, *named, coupled[1], *coupled[-2:])],
        findings=findings(drawn, named, coupled),
        assumed=_ASSUMED,
        panels=(_shares(drawn), _latency(coupled)),
    )


# -- networks -------------------------------------------------------------------------


def random_case(number: int, seed: int) -> Case:
    """Draw an unlike network; it follows from its number and the seed."""
    rng = Random(f"{seed} {number}")
    nodes = rng.randint(4, 10)
    graph = _graph(nodes, rng) if number % 2 else None
    known_to_all = min(map(len, graph)) if graph else nodes - 1
    mixture = Mixture(rng.randint(1, 3), rng.randint(1, min(known_to_all, 4)))
    network = Network(
        tuple(rng.uniform(1.0, 3.0) for _ in range(nodes)),
        tuple(rng.uniform(1.0, 4.0) for _ in range(nodes)),
        tuple(rng.randint(1, 3) for _ in range(nodes)),
        Costs(1.0, rng.uniform(1.0, 1.5), rng.uniform(0.5, 2.0)),
        graph,
    )
    case = Case(f"random {number + 1}", network, mixture, _LAWS[number % len(_LAWS)])
    return case.at(RANDOM_RHO)


def _graph(nodes: int, rng: Random) -> tuple[tuple[int, ...], ...]:
    """Draw a ring, so that it is connected, and as many further links as there are nodes."""
    links = [(node, (node + 1) % nodes) for node in range(nodes)]
    links += [(one, other) for one, other in (rng.sample(range(nodes), 2) for _ in range(nodes))]
    both = [*links, *((other, one) for one, other in links)]
    return tuple(tuple(sorted({to for at, to in both if at == node})) for node in range(nodes))


_STAR = (tuple(range(1, 6)), *((0,) for _ in range(5)))

SLOW_NODE = Case("slow node", Network((1, 1, 1, 1), SLOW), ONE)
"""As Remark 1 has it: all alike but for the service times."""
BUSY_USER = Case("busy user", Network((6, 1, 1, 1), (1, 1, 1, 1.5)), ONE)
"""The user of a fast node asks six times as often as the others."""
HUB = Case("star", Network.alike(6, arrival_rate=1.0, graph=_STAR), ONE)
"""Nodes alike, but one is drawn by all others."""
SLOTTED = Case("four slots", Network((1, 1, 1, 1), SLOW, (1, 1, 1, 4)), ONE)
"""The slow node has as many slots as it is slow."""
SPARED = Case("fast users", Network((1, 1, 1, 0), (1, 1, 1, 8)), ONE)
"""Only users of fast nodes, so that latencies are theirs; the nodes have time to spare."""
NAMED = (
    SLOW_NODE.at(0.95),
    SLOW_NODE.at(1.05),
    BUSY_USER.at(1.05),
    HUB.at(1.05),
    SLOTTED.at(0.95),
)
"""Two of which Remark 1 is right, and three of which it is not."""


# -- what was measured ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """A network beside what the exact condition and Remark 1 say of it."""

    case: Case
    rho: tuple[float, ...]
    busy: tuple[float, ...]
    growth: Estimate
    mean: float
    median: float

    @property
    def node(self) -> int:
        """The node that decides, by the exact condition."""
        return self.rho.index(max(self.rho))

    @property
    def remark(self) -> float:
        """The rho of Remark 1."""
        return utilisation_of_slowest(self.case.network, self.case.mixture)

    @property
    def others(self) -> float:
        """The largest busy share of another node."""
        return max(share for node, share in enumerate(self.busy) if node != self.node)

    @property
    def difference(self) -> float | None:
        """How far a busy share is from its rho at worst; None where a queue is to grow."""
        if max(self.rho) >= 1.0:
            return None
        return max(abs(share - rho) for share, rho in zip(self.busy, self.rho, strict=True))

    @property
    def bar(self) -> float:
        """What parts growth from none: jobs per second in the whole network."""
        network, node = self.case.network, self.node
        speed = network.slots[node] / network.service_times[node]
        return SHARE * abs(self.rho[node] - 1.0) * speed

    @property
    def grows(self) -> bool | None:
        """Whether the backlog grows; None where that is not known."""
        if self.growth.low > self.bar:
            return True
        return False if self.growth.high < self.bar else None

    @property
    def row(self) -> list[Value]:
        """The row of the table."""
        case, exact = self.case, self.rho[self.node]
        known_well = self.growth.half < inf
        return [
            case.name,
            case.mixture.layers,
            case.mixture.fanout,
            self.remark,
            exact,
            self.node + 1,
            self.busy[self.node],
            self.difference,
            self.growth.mean if known_well else None,
            self.growth.half if known_well else None,
            self.mean,
            self.median,
        ]


def _measured(case: Case, effort: float, seed: int, count: int) -> Measured:
    """Simulate a network `count` times; once, if only busy shares are asked, which settle soon."""
    rho = utilisations(case.network, case.mixture)
    node = rho.index(max(rho))
    seconds = effort * (SECONDS if count == 1 else LONG * case.network.service_times[node])
    warmup = 0.1 if count == 1 else 0.5
    setting = Setting(case.network, case.mixture, law=case.law, warmup=warmup, seed=seed)
    outcomes = replications(lasting(setting, seconds), count)
    nodes = range(case.network.nodes)
    return Measured(
        case,
        rho,
        tuple(fsum(each.utilisation[node] for each in outcomes) / count for node in nodes),
        mean_of([each.growth * case.network.nodes for each in outcomes]),
        fsum(each.mean for each in outcomes) / count,
        fsum(each.p50 for each in outcomes) / count,
    )


def findings(
    drawn: list[Measured], named: list[Measured], coupled: list[Measured]
) -> list[Finding]:
    """Judge what was measured of random networks, of `NAMED`, and of `SPARED` at rising rho."""
    stable, growing, *wrong = named
    worst = max(each.difference or 0.0 for each in drawn)
    rate = growing.case.network.arrival_rates[-1]
    alone = fluid_overload(ONE, arrival_rate=rate, service_time=SLOW[-1]).growth
    calm, beyond = coupled[1], coupled[-1]
    nodes = sum(len(each.busy) for each in drawn)
    return [
        Finding(
            f"in {len(drawn)} random networks each of {nodes} nodes is as busy as the exact rho "
            f"says, within {CLOSE} (at worst {worst:.4f})",
            worst < CLOSE,
        ),
        Finding(
            f"the slowest node decides where the rest is alike: stable at rho "
            f"{stable.remark:.2f}, growing at {growing.remark:.2f}, as Remark 1 says",
            stable.grows is False and growing.grows is True and stable.remark < 1 < growing.remark,
        ),
        Finding(
            f"only its queue grows: the others are busy {growing.others:.2f} of the time, and the "
            f"backlog grows by {growing.growth.mean:.4f} jobs/s in all, of which one such node "
            f"alone explains {alone:.4f}",
            growing.others < IDLE < BUSY < growing.busy[growing.node]
            and abs(growing.growth.mean / alone - 1.0) < NEAR,
        ),
        *(
            Finding(
                f"Remark 1 errs with {each.case.name}: it says rho {each.remark:.2f}, the exact "
                f"condition {each.rho[each.node]:.2f} at node {each.node + 1}, and the backlog "
                f"{_WORDS[each.grows]}",
                each.grows is (max(each.rho) > 1.0) and (each.remark > 1.0) is not each.grows,
            )
            for each in wrong
        ),
        Finding(
            f"all wait for the slow node: users of the others, whose nodes are busy "
            f"{beyond.others:.2f} of the time at most, are answered after {calm.mean:.1f} s on "
            f"average where its rho is {max(calm.rho):.2f}, and after {beyond.mean:.0f} s where it "
            f"is {max(beyond.rho):.2f}",
            beyond.others < IDLE and beyond.mean > 10.0 * calm.mean,
        ),
        Finding(
            f"but those whose layers do not draw it do not: half are answered within "
            f"{beyond.median:.1f} s even then ({calm.median:.1f} s before)",
            beyond.median < 2.0 * calm.median,
        ),
    ]


_WORDS = {True: "grows", False: "does not grow", None: "may grow or not"}


# -- pictures -------------------------------------------------------------------------


def _shares(drawn: list[Measured]) -> Panel:
    series = [Series("as busy as the exact rho says", [0.0, 1.0], [0.0, 1.0], plain=True)]
    rho = [each for network in drawn for each in network.rho]
    busy = [each for network in drawn for each in network.busy]
    series.append(Series("a node of a random network", rho, busy, points=True))
    return Panel(
        "Busy nodes", "exact rho of the node", "share of time that its slots are busy", series
    )


def _latency(coupled: list[Measured]) -> Panel:
    rho = [max(each.rho) for each in coupled]
    return Panel(
        "Users of fast nodes, M=1, k=1",
        "rho of the slow node",
        "time to answer (s)",
        [
            Series("mean", rho, [each.mean for each in coupled]),
            Series("median", rho, [each.median for each in coupled]),
        ],
        marks=(Mark(1.0, "rho = 1"),),
        log_y=True,
    )
