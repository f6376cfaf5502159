"""What a network may do beyond the paper's protocol; each policy is off in `PAPER`.

The choices themselves are functions of plain numbers, without state: the agent calls them,
and so does the fast kernel of the simulator (which compiles these very functions). So they
take codes instead of names, and loop instead of comprehending.

What each is worth was measured by simulation (`dmoa paper policies` measures it again), as
the change of the mean time to answer against the paper's protocol, 20 nodes, M=2, k=3:

- `choice="loaded"`: peers are the best k of 2k drawn at random. -50 % at rho 0.7, -73 % at
  0.9; ten unlike nodes at 0.9 of what uniform draws carry answer six times as soon, and at
  0.95 of what an optimal gossip could carry all networks tried were stable. With digests every
  ten service times it is -19 and -55 %, with older ones less, and never a loss (`STALE`).
- `order="oldest"`: the query asked first goes first. -3 % at rho 0.7 and -6 % at 0.9, but -10
  and -16 % of p95; `"later"` (the later layer first) -5 and -9 %. With aggregations of twice a
  proposal's length both cost 7 to 13 % instead. What they are for is overload: above rho 1
  they keep the goodput, which first come, first served loses. Own work is never put first: with
  long aggregations that is unstable even below rho 1.
- `spare=1`: one more proposer than needed, and the slowest is cancelled. -47 % at rho 0.5 (cv
  1); without the cancel, or at high load, it would do harm: so only while the network is
  calm, which leaves -5 % at 0.85.
- `missing=1`: a layer ends without its slowest proposal. -59 % at rho 0.5, -82 % at 0.85;
  the price is a proposal less, of the slowest, which often is the longest.
- `peer_jobs`, `own_queries`, `retries`: bounds at which a node declines; the mixture shrinks
  instead of the queue growing. At rho 2 99 % of the queries are answered, of 3.6 proposals
  instead of 8, where the paper's protocol answers 26 %. Goodput follows the load up to (k+1)M+1
  over M+1 times the paper's capacity.
- `probe`: a peer whose digest is older than so many service times is asked anew, right before
  a layer is sent; digests may then be as rare as one likes.
- `adaptive`: the busier the network, the smaller the mixture. In bursts of rho 2 to 6 nothing
  is lost and all is in time (within 60 service times; `STEADY` with 40 own queries, with 10 it
  refuses up to 13 %), where a fixed mixture loses 21 to 53 %, or with 40 answers 30 % in time
  at the most.
- `timely`: the mixture is what can be answered within the query's deadline, and own queries
  are taken only as far as the deadline reaches (`own_bound`).
- `learning`: a layer is waited for as long as measured answers take, not for a share of the
  time that is left; and a peer that takes longer than it says is believed less (`View`).
- `eager`: while a layer is under way, models with a free slot read what the next job will ask
  them (`core/reading.py`). -7 % at rho 0.3 and -5 % at 0.7, where half of an aggregation is
  reading (10 nodes, M=1, k=2 and 4), and ever less the nearer rho comes to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import Literal

from dmoa.core.mixture import ALONE, Mixture
from dmoa.errors import UsageError

Choice = Literal["uniform", "loaded"]
Order = Literal["fcfs", "oldest", "later"]

Eager = Literal["off", "own", "all"]

ORDERS: tuple[Order, ...] = ("fcfs", "oldest", "later")
"""The orders of a queue; `rank` takes the index."""
EAGER: tuple[Eager, ...] = ("off", "own", "all")
"""For whose jobs prompts are read ahead."""

CANDIDATES = 2
"""Peers drawn for each one that is chosen by load."""
CALM = 3.0
"""Jobs per slot, averaged over the network, up to which nothing is spared: what a queue with
random arrivals and service holds at a utilisation of 0.75."""
STALE = 7.0
"""Service times after which a peer's queue says nothing about now.

So choosing by load is never worse than not looking: with digests every 30 service times, which
most of the time are older, the mean time to answer still falls by 3 % at rho 0.5 and 38 % at
0.9. Believed however old, they would raise it by a third at 0.7 (nearly half in a network of
7 nodes), as everybody runs to where the queue was short; believed up to 10, by 1 % in the
small network at 0.5; and not beyond 5, less would be gained at 0.9. (20 nodes, M=2, k=3.)
"""


@dataclass(frozen=True, slots=True)
class Policy:
    """What differs from the paper's protocol; the default differs in nothing.

    `spare` counts further proposers per layer, `missing` proposals a layer does not wait for,
    `retries` the peers asked in place of declining ones per layer. `peer_jobs` is the length
    of the queue (jobs per slot, waiting and in service) from which on peers' jobs are
    declined, and `own_queries` the own queries under way from which on the user's are; None
    leaves it to the limits of the node. `probe` is an age in service times; None never asks.
    `eager` says for whose jobs prompts are read ahead: home's own, or those of all proposers.
    """

    choice: Choice = "uniform"
    order: Order = "fcfs"
    spare: int = 0
    missing: int = 0
    retries: int = 0
    peer_jobs: int | None = None
    own_queries: int | None = None
    adaptive: bool = False
    probe: float | None = None
    timely: bool = False
    learning: bool = False
    eager: Eager = "off"

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.choice not in ("uniform", "loaded") or self.order not in ORDERS:
            raise UsageError(
                f"there is no policy of choice {self.choice!r} and order {self.order!r}",
                hint="choices are uniform and loaded; orders are " + ", ".join(ORDERS),
            )
        if self.eager not in EAGER:
            raise UsageError(
                f"there is no policy of reading {self.eager!r} ahead",
                hint="eager is " + ", ".join(EAGER),
            )
        for name in ("spare", "missing", "retries"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} counts, and cannot be {getattr(self, name)}")
        for name in ("peer_jobs", "own_queries"):
            bound = getattr(self, name)
            if bound is not None and bound < 1:
                raise UsageError(f"{name} must let at least one in, not {bound}")
        if self.probe is not None and not self.probe >= 0.0:
            raise UsageError(f"probe is an age in service times, 0 or more, not {self.probe}")

    @property
    def lives(self) -> bool:
        """Tell whether only an agent can follow it: it depends on what agents measure."""
        return self.probe is not None or self.timely or self.learning


PAPER = Policy()
"""Algorithm 1 of arXiv 2412.21200 as it stands."""

STEADY = Policy(
    choice="loaded", order="oldest", retries=1, peer_jobs=5, own_queries=10, adaptive=True
)
"""What keeps a network steady under any load, with as many proposals as it can carry."""

LIVE = replace(
    STEADY, spare=1, own_queries=None, probe=1.0, timely=True, learning=True, eager="own"
)
"""What nodes do unless they are told otherwise: steady, by what they measure themselves."""

POLICIES: dict[str, Policy] = {
    "paper": PAPER,
    "loaded": Policy(choice="loaded"),
    "oldest": Policy(order="oldest"),
    "later": Policy(order="later"),
    "hedged": Policy(spare=1),
    "quorum": Policy(missing=1),
    "bounded": Policy(order="later", choice="loaded", retries=1, peer_jobs=5, own_queries=10),
    "adaptive": Policy(order="later", choice="loaded", adaptive=True),
    "eager": Policy(eager="own"),
    "steady": STEADY,
    "live": LIVE,
}
"""Policies by name."""


# -- which peers ----------------------------------------------------------------------


def burden(  # noqa: PLR0913, PLR0917  (numbers, for the compiler)
    length: float, mean_length: float, service_time: float, slots: float, pace: float, age: float
) -> float:
    """Expect the seconds until a job sent to a peer now is done.

    With one slot that is (length + 1) * service_time. With more, a job waits only for those
    that find no slot beside it, one every `pace` seconds, and then takes its own time.
    `length` is the peer's queue (jobs) as it was `age` seconds ago. The older that is, the
    less it counts, and the more the mean of the candidates does; what remains in the end is
    how fast the peer is.
    """
    trust = 1.0 - age / (STALE * service_time) if service_time > 0.0 else 1.0
    trust = max(trust, 0.0)
    expected = mean_length + trust * (length - mean_length)
    return max(expected + 1.0 - slots, 0.0) * pace + service_time


# -- which job ------------------------------------------------------------------------


def rank(order: int, asked: float, layer: float) -> float:
    """Rank a waiting job, the lowest first; equals keep the order in which they came.

    `order` is an index of `ORDERS`, `asked` when the query was asked (seconds).
    """
    if order == 1:
        return asked
    if order == 2:  # noqa: PLR2004  (the index of "later")
        return -layer
    return 0.0


# -- how many proposers ---------------------------------------------------------------


def spares(spare: int, crowd: float) -> int:
    """Count the further proposers of a layer: only while the network is calm.

    `crowd` is the mean number of jobs per slot in the network. Beyond a utilisation of some
    0.75 the further work costs more than the wait that it saves.
    """
    return spare if crowd < CALM else 0


def needed(seats: int, spare: int, missing: int) -> int:
    """Count the proposals that end a layer of `seats` seats, `spare` of them to spare."""
    return max(1, seats - spare - missing)


# -- how deep -------------------------------------------------------------------------


def ladder(mixture: Mixture) -> tuple[Mixture, ...]:
    """List the mixtures up to `mixture`, the costliest first, down to the own model alone.

    Of two that cost the same the wider is kept, as layers wait for each other.
    """
    by_cost: dict[int, Mixture] = {}
    for layers in range(mixture.layers, 0, -1):
        for fanout in range(mixture.fanout, 0, -1):
            each = Mixture(layers, fanout)
            by_cost[each.visits] = each
    by_cost[mixture.visits] = mixture
    by_cost.setdefault(ALONE.visits, ALONE)
    return tuple(by_cost[cost] for cost in sorted(by_cost, reverse=True))


def rung(costs: Sequence[int], crowd: float) -> int:
    """Find the first rung of a ladder that a network can carry: its index.

    `costs` are visits per query, falling. A calm network carries the first; one with twice
    `CALM` jobs per slot (`crowd`) what costs half of that, and so on.
    """
    budget = costs[0] * CALM / max(crowd, CALM)
    for index in range(len(costs)):
        if costs[index] <= budget:
            return index
    return len(costs) - 1


# -- whether at all -------------------------------------------------------------------

REACH = 0.5
"""Share of its deadline that a query may spend behind own queries; the rest is for the jobs
of peers, which stand in the same queue. With all of it, p95 would be 72 service times where
60 are allowed (n=10, M=2, k=3, rho 2: 20 own queries; with 10 it is 39)."""


def own_bound(deadline: float, pace: float, layers: int) -> int:
    """Count the own queries B that a deadline leaves room for: B pace (M+1) < REACH deadline.

    `deadline` in seconds; `pace` in seconds between two jobs that a busy node completes;
    each query brings its home M+1 jobs. One is always taken; -1 where nothing is measured.
    """
    if pace <= 0.0 or not isfinite(deadline):
        return -1
    return max(1, ceil(REACH * deadline / (pace * (layers + 1))) - 1)


def declines(length: int, bound: int) -> bool:
    """Tell whether a node with `length` jobs, or own queries, takes no more; -1 has no bound."""
    return 0 <= bound <= length
