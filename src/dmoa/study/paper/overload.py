"""Beyond rho = 1: how fast backlogs grow, and what is left of the goodput.

The paper says that queues then grow exponentially, and has no figure for it. They grow in
proportion to time, as more comes than is served, and what collapses is the goodput: the
answers per second. First come, first served spends itself on early layers of queries that are
never answered; an order that looks at the query does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, Order
from dmoa.core.stability import arrival_rate_max
from dmoa.sim.setting import Setting
from dmoa.study.paper.claim import Claim, Column, Finding, Progress, Value
from dmoa.study.paper.growth import (
    Course,
    Fit,
    best_exponential,
    best_line,
    course,
    lasting,
    replications,
)
from dmoa.study.plots import Mark, Panel, Series
from dmoa.study.statistics import Estimate, mean_of
from dmoa.theory.overload import Overload, fluid_overload

NODES = 10
CASES = (
    (Mixture(0, 0), 2.0),
    (Mixture(1, 3), 2.0),
    (Mixture(2, 3), 1.5),
    (Mixture(2, 3), 2.0),
    (Mixture(2, 3), 4.0),
    (Mixture(4, 1), 2.0),
    (Mixture(4, 1), 4.0),
)
"""The mixtures and rho of the table."""
ORDERS: tuple[Order, ...] = ("oldest", "later")
"""The orders of a queue that keep the goodput."""
NAMES = {"fcfs": "first come, first served", "oldest": "oldest first", "later": "later layer first"}
SECONDS = 1e5
"""Mean service times that a run takes, first come, first served."""
ORDERED_SECONDS = 6e3
"""The same in the other orders, which have no long beginning."""
REPLICATIONS = 5
CLOSE = 0.03
"""How far the goodput may be from what is told, as a share of the capacity."""
KEPT = 0.95
"""The share of the capacity that the other orders are to keep."""
COLLAPSED = 0.6
"""A goodput below this share of the capacity is one that collapsed."""
NEAR = 0.1
"""How far growth may be from what is told, relatively."""
STRAIGHT = 0.01
"""The share of variance that a line may leave of a backlog that grows linearly."""
_DRAWN = Mixture(2, 3)
_OVER = (0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
_PARTS = 12

_COLUMNS = (
    Column("layers", "M"),
    Column("fanout", "k"),
    Column("rho", "rho", form=".1f"),
    Column("goodput", "FCFS", "%", ".1f"),
    Column("half", "+-", "%", ".1f"),
    Column("told", "told", "%", ".1f"),
    Column("error", "error", "%", "+.1f"),
    Column("oldest", "oldest", "%", ".1f"),
    Column("later", "later", "%", ".1f"),
    Column("growth", "grows", "jobs/s", ".3f"),
    Column("told_growth", "told", "jobs/s", ".3f"),
    Column("line", "line", "%", ".2f"),
    Column("exponential", "exp.", "%", ".2f"),
)

_ASSUMED = (
    (
        "the paper says that queues grow exponentially beyond rho = 1, and has no figure for it or "
        "for the goodput; the law of overload, which tells both, is derived here"
    ),
    (
        f"{NODES} nodes alike, exponential service of a mean of 1 s, queues without bounds; "
        "FCFS (first come, first served), oldest first and later layer first are goodputs, in % "
        "of the capacity of 1 / (alpha ((k+1)M + 1)) answers per second and node"
    ),
    (
        f"runs begin empty and take {SECONDS:g} s ({ORDERED_SECONDS:g} s in the other orders); "
        "only the second half counts, when the goodput is steady, which runs half as long check; "
        f"+- is the 95 % interval of {REPLICATIONS} runs"
    ),
    (
        "line and exp. are the shares of variance that the best of them leaves unexplained, of the "
        "jobs per node in "
        f"{_PARTS} spans of a run of {ORDERED_SECONDS:g} s; both have two numbers to fit"
    ),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One mixture at one rho: shares of the capacity, and how the backlog went."""

    mixture: Mixture
    rho: float
    told: Overload
    goodput: Estimate
    earlier: Estimate
    ordered: dict[Order, Estimate]
    growth: Estimate
    jobs: Course

    @property
    def error(self) -> float:
        """What is measured above what is told."""
        return self.goodput.mean - self.told.share

    @property
    def line(self) -> Fit:
        """The line that fits the course of the backlog best."""
        return best_line(self.jobs.times, self.jobs.jobs)

    @property
    def exponential(self) -> Fit:
        """The exponential that does."""
        return best_exponential(self.jobs.times, self.jobs.jobs)

    @property
    def row(self) -> list[Value]:
        """The row of the table."""
        return [
            self.mixture.layers,
            self.mixture.fanout,
            self.rho,
            100.0 * self.goodput.mean,
            100.0 * self.goodput.half,
            100.0 * self.told.share,
            100.0 * self.error,
            *(100.0 * self.ordered[order].mean for order in ORDERS),
            self.growth.mean,
            self.told.growth,
            100.0 * self.line.misfit,
            100.0 * self.exponential.misfit,
        ]


def measure(*, effort: float, seed: int, progress: Progress) -> Claim:
    """Measure goodput and growth beyond rho = 1, in three orders of the queue."""
    total = len(CASES) + 2
    measured: list[Measured] = []
    for done, (mixture, rho) in enumerate(CASES):
        progress(done, total, f"M={mixture.layers}, k={mixture.fanout}, rho {rho:g}")
        measured.append(_measure(mixture, rho, effort, seed))
    progress(len(CASES), total, "goodput over rho")
    over = _over_rho(effort, seed)
    progress(len(CASES) + 1, total, "backlogs in time")
    in_time = _in_time(measured)
    progress(total, total, "")
    return Claim(
        name="overload",
        title="Overload",
        columns=_COLUMNS,
        rows=[each.row for each in measured],
        findings=findings(measured),
        assumed=_ASSUMED,
        panels=(over, in_time),
    )


def setting_at(mixture: Mixture, rho: float, order: Order, seconds: float, seed: int) -> Setting:
    """Ask `NODES` nodes alike at this rho for some seconds; the second half counts."""
    rate = rho * arrival_rate_max(mixture, service_time=1.0)
    network = Network.alike(NODES, arrival_rate=rate)
    setting = Setting(network, mixture, policy=replace(PAPER, order=order), warmup=0.5, seed=seed)
    return lasting(setting, seconds)


def told_at(mixture: Mixture, rho: float) -> Overload:
    """Tell what the law of overload says."""
    rate = rho * arrival_rate_max(mixture, service_time=1.0)
    return fluid_overload(mixture, arrival_rate=rate, service_time=1.0)


def _goodput(setting: Setting, count: int) -> tuple[Estimate, Estimate]:
    """Measure the goodput, as a share of the capacity, and the growth."""
    capacity = setting.network.nodes * arrival_rate_max(setting.mixture, service_time=1.0)
    outcomes = replications(setting, count)
    shares = [each.goodput / capacity for each in outcomes]
    return mean_of(shares), mean_of([each.growth for each in outcomes])


def _measure(mixture: Mixture, rho: float, effort: float, seed: int) -> Measured:
    setting = setting_at(mixture, rho, "fcfs", effort * SECONDS, seed)
    goodput, growth = _goodput(setting, REPLICATIONS)
    earlier, _ = _goodput(lasting(setting, effort * SECONDS / 2.0), REPLICATIONS)
    ordered: dict[Order, Estimate] = {}
    for order in ORDERS:
        other = setting_at(mixture, rho, order, effort * ORDERED_SECONDS, seed)
        ordered[order], _ = _goodput(other, REPLICATIONS)
    jobs = course(lasting(setting, effort * ORDERED_SECONDS), _PARTS)
    return Measured(mixture, rho, told_at(mixture, rho), goodput, earlier, ordered, growth, jobs)


# -- what is asked of them ------------------------------------------------------------


def findings(measured: list[Measured]) -> list[Finding]:
    """Judge what was measured."""
    by_case = {(each.mixture, each.rho): each for each in measured}
    double, fourfold = by_case[_DRAWN, 2.0].goodput, by_case[_DRAWN, 4.0].goodput
    alone = by_case[Mixture(0, 0), 2.0].goodput
    worst = max(abs(each.error) for each in measured)
    least = {order: min(each.ordered[order].mean for each in measured) for order in ORDERS}
    moved = max(abs(each.goodput.mean - each.earlier.mean) for each in measured)
    astray = max(abs(each.growth.mean / each.told.growth - 1.0) for each in measured)
    line = max(each.line.misfit for each in measured)
    exponential = min(each.exponential.misfit for each in measured)
    return [
        Finding(
            f"first come, first served the goodput is what the law of overload tells, within "
            f"{100 * CLOSE:.0f} % of the capacity (at worst {100 * worst:.1f} %)",
            worst <= CLOSE,
        ),
        Finding(
            f"with M=2, k=3 {100 * double.mean:.0f} % of the capacity is left at rho 2, and "
            f"{100 * fourfold.mean:.0f} % at rho 4: more load, fewer answers",
            fourfold.high < double.low < double.high < COLLAPSED,
        ),
        Finding(
            f"a model alone loses nothing: {100 * alone.mean:.1f} % of the capacity at rho 2",
            alone.mean >= KEPT,
        ),
        *(
            Finding(
                f"{NAMES[order]} keeps at least {100 * KEPT:.0f} % of the capacity (at worst "
                f"{100 * least[order]:.1f} %)",
                least[order] >= KEPT,
            )
            for order in ORDERS
        ),
        Finding(
            f"backlogs grow linearly, not exponentially: a line leaves at most {100 * line:.2f} % "
            f"of their variance, the best exponential at least {100 * exponential:.2f} %",
            line < STRAIGHT and line < exponential,
        ),
        Finding(
            f"they grow as fast as the law tells, within {100 * NEAR:.0f} % (at worst "
            f"{100 * astray:.1f} %)",
            astray <= NEAR,
        ),
        Finding(
            f"the runs are long enough: half the time changes the goodput by at most "
            f"{100 * moved:.1f} % of the capacity",
            moved <= CLOSE,
        ),
    ]


# -- pictures -------------------------------------------------------------------------


def _over_rho(effort: float, seed: int) -> Panel:
    finer = [_OVER[0] + 0.05 * step for step in range(round((_OVER[-1] - _OVER[0]) / 0.05) + 1)]
    told = [told_at(_DRAWN, rho) for rho in finer]
    law = [100.0 * each.share * min(rho, 1.0) for rho, each in zip(finer, told, strict=True)]
    series = [Series("told by the law of overload", finer, law, plain=True)]
    for order in ("fcfs", *ORDERS):
        seconds = effort * (SECONDS / 2.0 if order == "fcfs" else ORDERED_SECONDS)
        found = [
            _goodput(setting_at(_DRAWN, rho, order, seconds, seed), REPLICATIONS)[0]
            for rho in _OVER
        ]
        series.append(
            Series(NAMES[order], _OVER, [100.0 * each.mean for each in found], points=True)
        )
    return Panel(
        f"Goodput, M={_DRAWN.layers}, k={_DRAWN.fanout}",
        "rho",
        "goodput (% of capacity)",
        series,
        marks=(Mark(1.0, "rho = 1"),),
    )


def _in_time(measured: list[Measured]) -> Panel:
    each = next(each for each in measured if (each.mixture, each.rho) == (_DRAWN, 2.0))
    times = each.jobs.times
    told = [each.told.growth * time for time in times]
    return Panel(
        f"Backlog, M={_DRAWN.layers}, k={_DRAWN.fanout}, rho {each.rho:g}",
        "time (s)",
        "jobs per node",
        [
            Series(NAMES["fcfs"], times, each.jobs.jobs, points=True),
            Series("told by the law of overload", times, told, plain=True),
            Series("best exponential", times, each.exponential.values, plain=True),
        ],
    )
