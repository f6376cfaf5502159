"""A replay: the kernel on a trace of arrivals, choices and service times instead of dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import NamedTuple, TypeVar

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.policy import PAPER, Policy
from dmoa.errors import UsageError
from dmoa.sim import kernel
from dmoa.sim.arrivals import Window
from dmoa.sim.kernel_rules import WIDTH, rules_of
from dmoa.sim.kernel_state import DONE, OUT, grown, start
from dmoa.sim.setting import Recorded, Setting

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that chance decides in a run.

    `times` (seconds) and `homes` are those of the queries, in the order they were asked.
    `choices[query][layer][seat]` is a node, for the layers 1..M; seat 0 is home, and peers
    that were asked instead of others that declined follow in the order they were asked. -1 is
    a seat that was not given. `seats[query][layer]` is how many seats the layer began with, 0
    where home aggregated instead; without it, all of `choices` but retries.
    `seconds[query][layer][seat]` are service times, for the layers 1..M+1 (the aggregation has
    seat 0).
    """

    times: Sequence[float]
    homes: Sequence[int]
    choices: Sequence[Sequence[Sequence[int]]]
    seconds: Sequence[Sequence[Sequence[float]]]
    seats: Sequence[Sequence[int]] | None = None


class Served(NamedTuple):
    """A job that was served or withdrawn; times in seconds, nan where that did not happen."""

    query: int
    layer: int
    seat: int
    node: int
    entered: float
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a trace: the seconds from question to answer, nan for queries refused.

    `jobs` is the log, by query, layer and seat: every job that entered a queue.
    """

    sojourns: tuple[float, ...]
    jobs: tuple[Served, ...]


def replay(
    network: Network, mixture: Mixture, trace: Trace, *, policy: Policy = PAPER, log: bool = False
) -> Replayed:
    """Follow a trace to the last answer."""
    if policy.adaptive and trace.seats is None:
        raise UsageError(
            "an adaptive policy chooses how many seats a layer has: the trace must tell"
        )
    queries, layers = len(trace.times), mixture.layers
    recorded = Recorded(tuple(trace.times), tuple(trace.homes))
    setting = Setting(network, mixture, policy=policy, arrivals=recorded, queries=max(1, queries))
    rules = rules_of(setting, Window(queries, 0, 0.0, 0.0), arrays=False)
    width = rules.whole[WIDTH]
    state = start(rules, room=1 << 10, answers=queries + 1, arrays=False)
    first = 1 + mixture.fanout + policy.spare
    told, seats, seconds = [-1], [0], [0.0]
    for query in range(queries):
        for layer in range(layers):
            row = trace.choices[query][layer]
            told += _wide(row, width, -1)
            given = sum(node >= 0 for node in row[:first])
            seats.append(given if trace.seats is None else trace.seats[query][layer])
        for layer in range(layers + 1):
            seconds += _wide(trace.seconds[query][layer], width, 0.0)
    size = 3 * queries * (layers + 1) * width
    state = state._replace(
        told=told[1:], told_seats=[*seats[1:], 0, 0], told_seconds=[*seconds[1:], 0.0, 0.0]
    )
    if log:
        state = state._replace(log=[nan] * (size + 2))
    times, homes = list(trace.times), list(trace.homes)
    state.counts[DONE] = 0
    while kernel.advance(rules, state, times, homes, inf) != kernel.MORE:
        state = grown(state)
    sojourns = [nan] * queries
    for place in range(state.counts[OUT]):
        took = state.out_ended[place] - state.out_asked[place]
        sojourns[state.out_number[place]] = took
    return Replayed(tuple(sojourns), _jobs(trace, layers, width, state.log) if log else ())


def _wide(row: Sequence[T], width: int, blank: T) -> list[T]:
    if len(row) > width:
        raise UsageError(f"a trace with {len(row)} seats in a layer does not fit {width} seats")
    return [*row, *[blank] * (width - len(row))]


def _jobs(trace: Trace, layers: int, width: int, log: Sequence[float]) -> tuple[Served, ...]:
    found: list[Served] = []
    for query, home in enumerate(trace.homes):
        for layer in range(layers + 1):
            for seat in range(width):
                place = 3 * ((query * (layers + 1) + layer) * width + seat)
                entered, started, ended = log[place : place + 3]
                if entered == entered:  # noqa: PLR0124  (not nan)
                    node = home if seat == 0 else trace.choices[query][layer][seat]
                    found.append(Served(query, layer + 1, seat, node, entered, started, ended))
    return tuple(found)
