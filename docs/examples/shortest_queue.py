"""A new policy, tried: ask the peers with the shortest queues, however slow they are.

The protocol ranks peers by `burden`, a function of plain numbers. Here another takes its place,
and the product's own agents live through the same load three times: with the paper's draws, with
that ranking, and with ours. All three see the same users, questions and service times.
"""

import sys
from statistics import mean, stdev
from unittest.mock import patch

from dmoa import Mixture
from dmoa.core import view
from dmoa.core.network import Network
from dmoa.core.policy import POLICIES
from dmoa.sim.dream import dream
from dmoa.sim.setting import Setting
from dmoa.theory import arrival_rate_scale_max

MIXTURE = Mixture(layers=1, fanout=2)
UNLIKE = (1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0)  # seconds for a job, node by node


def shortest(length, mean_length, service_time, slots, pace, age):
    """Expect nothing but the queue: the jobs that wait at a peer or are served there."""
    return length


def seconds(policy: str, seed: int, queries: int) -> float:
    """Dream one run at a utilisation of 0.8; tell the mean time to an answer."""
    calm = Network(arrival_rates=(1.0,) * len(UNLIKE), service_times=UNLIKE)
    rate = 0.8 * arrival_rate_scale_max(calm, MIXTURE)
    network = Network(arrival_rates=(rate,) * len(UNLIKE), service_times=UNLIKE)
    setting = Setting(network, MIXTURE, policy=POLICIES[policy], queries=queries, seed=seed)
    return dream(setting).mean


def main(queries: int = 2000, runs: int = 5) -> None:
    """Compare the three, run by run."""
    paper = [seconds("paper", seed, queries) for seed in range(1, runs + 1)]
    with patch.object(view, "burden", shortest):
        mine = [seconds("loaded", seed, queries) for seed in range(1, runs + 1)]
    ours = [seconds("loaded", seed, queries) for seed in range(1, runs + 1)]
    for name, times in (("paper", paper), ("shortest queue", mine), ("loaded", ours)):
        changes = [100 * (each / base - 1) for each, base in zip(times, paper, strict=True)]
        print(f"{name:15} {mean(times):6.2f} s  {mean(changes):+5.0f} % ±{stdev(changes):.0f}")


main(*map(int, sys.argv[1:]))
