"""What each policy gains over the paper's protocol, on the same users, questions and dice.

The paper has no policies, so there is no figure of its own to compare with. What stands beside
ours is what an earlier simulation, by another program, had found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dmoa.core.policy import POLICIES
from dmoa.sim.compiled import is_available
from dmoa.sim.engine import simulate
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting
from dmoa.study.paper import policies_cases as cases
from dmoa.study.paper.claim import Claim, Column, Progress
from dmoa.study.paper.policies_cases import Pair
from dmoa.study.paper.policies_gains import Compared, findings
from dmoa.study.paper.policies_panels import panels
from dmoa.study.statistics import change_of, mean_of

REPLICATIONS = 8
SEEDS = 1000
"""Replications have seeds of their own, and are fewer than this."""
WORTH = 2_000_000
"""Jobs in all from which on they are worth a compiler."""
IDLE_QUERIES = 20_000
_IDLE = 0.01
"""A share of what is carried at which hardly anybody waits."""
_COLUMNS = (
    Column("policy", "policy"),
    Column("load", "load"),
    Column("measure", "measure"),
    Column("unit", "unit"),
    Column("before", "paper", form=".2f"),
    Column("after", "policy", form=".2f"),
    Column("change", "change", "%", "+.1f"),
    Column("half", "+-", "%", ".1f"),
    Column("p95_change", "of p95", "%", "+.1f"),
    Column("p95_half", "+-", "%", ".1f"),
    Column("claimed", "claimed"),
)


def measure(*, effort: float, seed: int, progress: Progress) -> Claim:
    """Measure the gains again, each with the interval of its paired replications."""
    pairs = cases.pairs(POLICIES)
    compared: list[Compared] = []
    runs = Runs(pairs, effort, seed)
    for done, pair in enumerate(pairs):
        progress(done, len(pairs), f"{pair.name}, {pair.load}")
        compared.append(compare(pair, runs))
    idle = _idle(runs)
    progress(len(pairs), len(pairs), "")
    return Claim(
        name="policies",
        title="Policies",
        columns=_COLUMNS,
        rows=[each.row for each in compared],
        findings=findings(compared),
        assumed=(*_ASSUMED, _bound_of_choice(compared, idle)),
        panels=panels(compared),
        bars=True,
    )


class Runs:
    """What was simulated, so that a setting that many are compared with runs once."""

    def __init__(self, pairs: Sequence[Pair], effort: float, seed: int) -> None:
        settings = dict.fromkeys(each for pair in pairs for each in (pair.before, pair.after))
        jobs = sum(each.queries * each.mixture.visits for each in settings)
        many = effort * jobs * REPLICATIONS >= WORTH
        self._compiled = True if many and is_available() else None
        self._effort, self._seed = effort, seed
        self._done: dict[Setting, list[Outcome]] = {}

    def of(self, setting: Setting) -> list[Outcome]:
        """Simulate a setting, with seeds that are the same for all settings."""
        if setting not in self._done:
            queries = max(1, round(setting.queries * self._effort))
            first = self._seed * SEEDS
            self._done[setting] = [
                simulate(
                    replace(setting, queries=queries, seed=first + each), compiled=self._compiled
                )
                for each in range(REPLICATIONS)
            ]
        return self._done[setting]


def compare(pair: Pair, runs: Runs) -> Compared:
    """Compare the two of a pair, replication by replication."""
    first, second = runs.of(pair.before), runs.of(pair.after)
    before = [cases.gauge(pair.gauge, pair.before, each) for each in first]
    after = [cases.gauge(pair.gauge, pair.after, each) for each in second]
    base = mean_of(before)
    compares = pair.gauge in cases.RELATIVE and base.mean > 0.0
    late = pair.gauge == "mean"
    return Compared(
        pair,
        base,
        mean_of(after),
        change_of(before, after) if compares else None,
        change_of([each.p95 for each in first], [each.p95 for each in second]) if late else None,
    )


def _idle(runs: Runs) -> float:
    """Measure how long answers take among the ten unlike nodes when hardly anybody asks."""
    setting = cases.unlike(cases.TEN, cases.MIXTURE, _IDLE)
    setting = replace(setting, policy=POLICIES["loaded"], queries=IDLE_QUERIES)
    return mean_of([each.mean for each in runs.of(setting)]).mean


_ASSUMED = (
    "the paper has no policies; claimed is what an earlier simulation by another program found",
    (
        f"{cases.NODES} nodes alike, M=2, k=3, log-normal service of cv {cases.LAW.cv:g} and a "
        "mean of 1 s, even costs, messages without delay, where nothing else is said"
    ),
    (
        f"{REPLICATIONS} replications, of which both of a pair have the same users, questions and "
        "service times; +- is the 95 % interval of the change"
    ),
    (
        "half in common: half of the variance of the logarithm is the question's; the costs 1, "
        "1.5, 2 are those of proposals of layer 1, of later ones, and of aggregations"
    ),
    (
        "best is the capacity with the best probabilities of drawing peers, of which the policy "
        "knows nothing; growth is the share of arriving jobs by which all queues grow"
    ),
    (
        f"beyond rho 1 and in bursts there are {cases.FEW} nodes, answers count as in time within "
        f"{cases.DEADLINE:g} s, and shares are those of the queries asked; bursts are "
        "rho in calm/in burst, for "
        + ", ".join(f"{each.low_seconds:g}/{each.high_seconds:g} s" for each in cases.BURSTS)
    ),
    (
        "in bursts the paper's protocol has the same bound of own queries as the policy, beyond "
        "which a node refuses its user; the losses that were claimed for a bound of "
        f"{cases.MUCH} are those that we find with {cases.LITTLE}"
    ),
)


def _bound_of_choice(compared: Sequence[Compared], idle: float) -> str:
    unlike = [each for each in compared if each.pair.group == "unlike"]
    most = unlike[0].before.mean / idle
    return (
        f"with the best k of 2k the ten unlike nodes need {idle:.1f} s for an answer while nobody "
        f"else asks: at {unlike[0].pair.load} this choice alone could be x{most:.1f} better at the "
        "most, and more takes a hedge"
    )
