"""What is compared to tell the worth of a policy: pairs of settings that differ in nothing else.

Both of a pair have the same users, questions and service times, as the dice are named by what
they are thrown for. The mean service time is 1 s, so that seconds are service times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import fsum, nan
from typing import Literal

from dmoa.core.mixture import Mixture
from dmoa.core.network import EVEN, Costs, Network
from dmoa.core.policy import PAPER, Policy
from dmoa.core.stability import arrival_rate_scale_max
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Bursts, Setting
from dmoa.study.paper.growth import lasting
from dmoa.theory.capacity import capacity_scale
from dmoa.theory.laws import Law, LogNormal

Group = Literal["choice", "unlike", "capacity", "tail", "bounds", "bursts", "order", "steady"]
Gauge = Literal["mean", "goodput", "in time", "refused", "proposals", "growth"]

NODES = 20
MIXTURE = Mixture(2, 3)
LAW = LogNormal(cv=0.8)
"""What holds where nothing else is said."""
WIDE = LogNormal(cv=1.0)
COMMON = LogNormal(cv=0.8, common=0.5)
"""Laws for what is asked of the tail."""
HEAVY = Costs(1.0, 1.5, 2.0)
"""What layers and aggregations cost where prompts grow by the proposals in them."""
TEN = (1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 4.0, 4.0, 8.0)
"""The service times of ten unlike nodes (seconds)."""
UNLIKE = (
    ((1.0, 1.0, 1.0, 4.0), Mixture(1, 1)),
    ((1.0, 1.0, 1.0, 4.0), Mixture(1, 2)),
    ((1.0, 1.0, 1.0, 4.0), Mixture(2, 2)),
    ((1.0, 2.0, 4.0, 8.0), Mixture(1, 2)),
    ((1.0, 2.0, 4.0, 8.0), Mixture(2, 2)),
    (TEN, Mixture(1, 3)),
    (TEN, Mixture(2, 3)),
    ((1.0,) * 15 + (3.0,) * 5, Mixture(2, 3)),
)
"""Networks of which the policies are to carry nearly all that can be carried."""
NEARLY = 0.95
"""The share of it."""
DEADLINE = 60.0
"""Seconds after which an answer is late, in what follows."""
FEW = 10
"""Nodes where the load goes beyond what the network can carry."""
BURSTS = (
    Bursts(0.4, 2.0, 300.0, 100.0),
    Bursts(0.3, 4.0, 400.0, 60.0),
    Bursts(0.5, 6.0, 300.0, 60.0),
)
"""Traces: rho of M=2, k=3 in calm and in burst, and how long these last."""
LITTLE, MUCH = 10, 40
"""Own queries under way in bursts, at most: two bounds."""

SECONDS = 1e4
"""How long arrivals last, on average."""
_LONG, _GROWING = 6e5, 5e4
"""The same for slow nodes, which forget slowly, and where queues should grow."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two settings to compare, `after` that with the policy, and what was said of them before.

    `claimed` is in the words of the table; it is what an earlier simulation found.
    """

    group: Group
    name: str
    load: str
    before: Setting
    after: Setting
    gauge: Gauge = "mean"
    claimed: str = ""


# -- what is measured -----------------------------------------------------------------


def _growth(setting: Setting, outcome: Outcome) -> float:
    jobs = fsum(setting.network.arrival_rates) * setting.mixture.visits
    return 100.0 * outcome.growth * setting.network.nodes / jobs


_GAUGES: dict[Gauge, Callable[[Setting, Outcome], float]] = {
    "mean": lambda _, outcome: outcome.mean,
    "goodput": lambda _, outcome: 100.0 * outcome.goodput / outcome.offered,
    "in time": lambda _, outcome: 100.0 * outcome.in_time,
    "refused": lambda _, outcome: 100.0 * outcome.refused / outcome.asked,
    "proposals": lambda _, outcome: outcome.proposals,
    "growth": _growth,
}

UNITS: dict[Gauge, str] = {
    "mean": "s",
    "goodput": "%",
    "in time": "%",
    "refused": "%",
    "proposals": "",
    "growth": "%",
}
"""In what each is told: shares are those of the queries, and of growth those of the jobs."""

RELATIVE: tuple[Gauge, ...] = ("mean", "goodput", "proposals")
"""Those of which a relative change says something."""


def gauge(name: Gauge, setting: Setting, outcome: Outcome) -> float:
    """Read one figure off an outcome, in its unit."""
    return _GAUGES[name](setting, outcome) if outcome.offered > 0.0 else nan


# -- the networks ---------------------------------------------------------------------


def alike(
    rho: float,
    nodes: int = NODES,
    *,
    costs: Costs = EVEN,
    law: Law = LAW,
    arrivals: Bursts | None = None,
) -> Setting:
    """Ask nodes alike so often that `MIXTURE` keeps each busy for a share `rho` of the time."""
    one = Network.alike(nodes, arrival_rate=1.0, costs=costs)
    rate = rho * arrival_rate_scale_max(one, MIXTURE)
    network = Network.alike(nodes, arrival_rate=rate, costs=costs)
    setting = Setting(network, MIXTURE, law=law, arrivals=arrivals)
    return lasting(setting, SECONDS * (1.0 if arrivals is None else arrivals.mean))


def unlike(
    times: tuple[float, ...], mixture: Mixture, share: float, *, of_best: bool = False
) -> Setting:
    """Ask unlike nodes equally often, at a share of what is carried by uniform draws.

    With `of_best` it is a share of what is carried by the best probabilities of drawing.
    """
    one = Network((1.0,) * len(times), times)
    most = capacity_scale(one, mixture) if of_best else arrival_rate_scale_max(one, mixture)
    network = Network((share * most,) * len(times), times)
    return Setting(network, mixture, law=LAW)


# -- the pairs ------------------------------------------------------------------------


def pairs(policies: Mapping[str, Policy]) -> list[Pair]:
    """List all that is compared, with the policies of these names."""
    listed = (_choice, _unlike, _capacity, _tail, _orders, _steady, _bounds, _bursts)
    return [pair for group in listed for pair in group(policies)]


_AGED = {
    0.5: ("-34 %", "-28 %", "-20 %", "-2 %", "<= 0"),
    0.7: ("-50 %", "-45 %", "-36 %", "-14 %", "<= 0"),
    0.9: ("-75 %", "-73 %", "-69 %", "-56 %", "<= 0"),
}
AGES = (0.0, 1.0, 3.0, 10.0, 30.0)
"""Seconds between two digests."""


def _choice(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    for rho, claims in _AGED.items():
        before = alike(rho)
        for age, claimed in zip(AGES, claims, strict=True):
            after = replace(before, policy=policies["loaded"], gossip=age)
            name = f"loaded, digests every {age:g} s" if age else "loaded, fresh digests"
            yield Pair("choice", name, f"rho {rho:g}", before, after, claimed=claimed)


def _unlike(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    loaded = policies["loaded"]
    both = replace(loaded, spare=policies["hedged"].spare)
    for share in (0.9, NEARLY):
        load = f"{share:g} of uniform"
        before = lasting(unlike(TEN, MIXTURE, share), _LONG)
        for name, policy, claimed in (("loaded", loaded, "1/8"), ("loaded, hedged", both, "")):
            after = replace(before, policy=policy)
            yield Pair("unlike", f"{name}, 10 unlike nodes", load, before, after, claimed=claimed)


def _capacity(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    for times, mixture in UNLIKE:
        before = unlike(times, mixture, NEARLY, of_best=True)
        before = replace(lasting(before, _GROWING), warmup=0.5)
        after = replace(before, policy=policies["loaded"])
        kinds = " ".join(f"{times.count(each)}x{each:g}" for each in dict.fromkeys(times))
        name = f"loaded, {kinds}, M={mixture.layers}, k={mixture.fanout}"
        load = f"{NEARLY:g} of best"
        yield Pair("capacity", name, load, before, after, "growth", "flat")


def _tail(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    for law, name, claims in (
        (WIDE, "cv 1", ("-46 %", "no harm", "-59 %", "-82 %")),
        (COMMON, "half in common", ("-35 %", "no harm", "-49 %", "-78 %")),
    ):
        for policy, first in (("hedged", 0), ("quorum", 2)):
            for rho, claimed in zip((0.5, 0.85), claims[first : first + 2], strict=True):
                before = alike(rho, law=law)
                after = replace(before, policy=policies[policy])
                load = f"rho {rho:g}"
                yield Pair("tail", f"{policy}, {name}", load, before, after, claimed=claimed)


def _orders(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    for costs, name, claims in (
        (EVEN, "", ("-4 %", "-18 %", "-7 %", "-11 %")),
        (HEAVY, ", costs 1, 1.5, 2", ("+5 %", "+15 %", "+6 %", "+6 %")),
    ):
        for policy, first in (("oldest", 0), ("later", 2)):
            for rho, claimed in zip((0.7, 0.9), claims[first : first + 2], strict=True):
                before = alike(rho, costs=costs)
                after = replace(before, policy=policies[policy])
                yield Pair(
                    "order", f"{policy}{name}", f"rho {rho:g}", before, after, claimed=claimed
                )


def _steady(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    for rho in (0.7, 0.9):
        before = alike(rho)
        after = replace(before, policy=policies["steady"])
        yield Pair("steady", "steady", f"rho {rho:g}", before, after)


def _bounds(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    claims: dict[float, dict[Gauge, str]] = {
        1.5: {"goodput": "97 %", "in time": "97 %", "refused": "0", "proposals": "5.2"},
        2.0: {"goodput": "98 %", "in time": "98 %", "refused": "1 %", "proposals": "3.6"},
    }
    for rho, claimed in claims.items():
        before = replace(alike(rho, FEW), deadline=DEADLINE, warmup=0.5)
        after = replace(before, policy=policies["bounded"])
        for each, text in claimed.items():
            yield Pair("bounds", "bounded", f"rho {rho:g}", before, after, each, text)


def in_bursts(policy: str, own: int) -> str:
    """Name a policy with a bound of own queries."""
    return f"{policy}, up to {own} own queries"


_LOSSES: tuple[Gauge, ...] = ("refused", "in time")


def _bursts(policies: Mapping[str, Policy]) -> Iterator[Pair]:
    claims = ({"refused": "21 to 0 %", "in time": "34 to 100 %"},)
    claims += ({"refused": "40 to 0 %", "in time": "25 to 100 %"},)
    claims += ({"refused": "53 to 0 %", "in time": "19 to 100 %"},)
    for bursts, claimed in zip(BURSTS, claims, strict=True):
        load = f"rho {bursts.low:g}/{bursts.high:g}"
        for name, own in (("steady", LITTLE), ("steady", MUCH), ("adaptive", MUCH)):
            setting = replace(alike(1.0, FEW, arrivals=bursts), deadline=DEADLINE)
            before = replace(setting, policy=replace(PAPER, own_queries=own))
            after = replace(setting, policy=replace(policies[name], own_queries=own))
            for each in _LOSSES:
                yield Pair(
                    "bursts",
                    in_bursts(name, own),
                    load,
                    before,
                    after,
                    each,
                    claimed[each] if (name, own) == ("steady", MUCH) else "",
                )
