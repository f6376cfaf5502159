"""The rules of a setting as arrays of numbers, and the draws that follow from them.

The functions here and in the other modules of the kernel are written for two readers: Python,
for which an array is a list, and the compiler, for which it is one of numpy's. So they keep to
numbers, arrays and loops, and write their results into arrays that they are given.
"""

# ruff: noqa: PLR0913, PLR0917 - arguments are numbers and arrays, so that it can be compiled

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from dmoa.core.policy import CANDIDATES, ORDERS, ladder
from dmoa.errors import UsageError
from dmoa.sim.arrivals import Window
from dmoa.sim.draws import PEERS, RETRIES_MAX, RETRY, SEATS_MAX, fold, toss, unit_service
from dmoa.sim.setting import Setting

Ints = list[int]
"""Integers in a row: a list in Python, an array of 64 bits for the compiler."""
Floats = list[float]
"""Numbers in a row, likewise."""

(LAYERS, FANOUT, NODES, SEED, LAW, GRAPH, WIDTH, LOADED, ORDER) = range(9)
(SPARE, MISSING, RETRIES, PEER_JOBS, OWN_QUERIES, ADAPTIVE, ROOMS, COUNTED) = range(9, 17)
"""Where `Rules.whole` has what. `WIDTH` is the seats that a layer can have, retries included;
`ROOMS` is the most slots of a node, `COUNTED` the first query that counts."""
(A, B, C, FIRST, LATER, AGGREGATION, GOSSIP, BEGIN, END, STEP) = range(10)
"""Where `Rules.real` has what: the law's numbers, the costs, seconds."""
SAMPLES = 512
"""How often the backlog is sampled between `BEGIN` and `END`."""


class Rules(NamedTuple):
    """What does not change in a run.

    `row` and `peers` are the graph, the peers of node i from `row[i]` up to `row[i + 1]`;
    `rungs` are the costs of the ladder's mixtures, `shapes` their layers and fanouts in turn.
    """

    whole: Ints
    real: Floats
    table: Floats
    service_times: Floats
    slots: Ints
    row: Ints
    peers: Ints
    rungs: Ints
    shapes: Ints


def check_setting(setting: Setting) -> None:
    """Refuse what only agents can live through (UsageError)."""
    hint = "leave the engine to auto, or take the world"
    if setting.policy.lives:
        raise UsageError(
            "the policy goes by what agents measure, and only agents can follow it", hint=hint
        )
    if setting.overlaps:
        raise UsageError("only agents read ahead, and the policy is eager", hint=hint)


def ints(values: Sequence[int], *, arrays: bool) -> Ints:
    """Lay out integers."""
    return cast("Ints", np.array(values, dtype=np.int64)) if arrays else list(values)


def floats(values: Sequence[float], *, arrays: bool) -> Floats:
    """Lay out numbers."""
    return cast("Floats", np.array(values, dtype=np.float64)) if arrays else list(values)


def blank(size: int, *, arrays: bool, whole: bool = True) -> Any:
    """Lay out zeros."""
    if arrays:
        return np.zeros(size, dtype=np.int64 if whole else np.float64)
    return [0] * size if whole else [0.0] * size


def longer(values: Any, more: int) -> Any:
    """Lay out the same, and `more` zeros behind."""
    if isinstance(values, list):
        return cast("list[Any]", values) + [0] * more
    wide = np.zeros(len(values) + more, dtype=values.dtype)  # whose end takes no memory yet
    wide[: len(values)] = values
    return wide


def rules_of(setting: Setting, counted: Window, *, arrays: bool) -> Rules:
    """Write a setting as numbers."""
    check_setting(setting)
    network, mixture, policy = setting.network, setting.mixture, setting.policy
    width = 1 + mixture.fanout + policy.spare + policy.retries
    if width > (RETRIES_MAX if policy.retries else SEATS_MAX):
        raise UsageError(f"a layer of {width} seats is more than can be simulated")
    whole = [0] * 17
    whole[LAYERS], whole[FANOUT] = mixture.layers, mixture.fanout
    whole[NODES], whole[SEED], whole[LAW] = network.nodes, fold(setting.seed), setting.law.code
    whole[GRAPH], whole[WIDTH] = int(network.graph is not None), width
    whole[LOADED], whole[ORDER] = int(policy.choice == "loaded"), ORDERS.index(policy.order)
    whole[SPARE], whole[MISSING], whole[RETRIES] = policy.spare, policy.missing, policy.retries
    whole[PEER_JOBS] = -1 if policy.peer_jobs is None else policy.peer_jobs
    whole[OWN_QUERIES] = -1 if policy.own_queries is None else policy.own_queries
    whole[ADAPTIVE], whole[ROOMS] = int(policy.adaptive), max(network.slots)
    whole[COUNTED] = counted.first
    costs, span = network.costs, counted.end - counted.begin
    real = [*setting.law.numbers, costs.first, costs.later, costs.aggregation]
    real += [setting.gossip, counted.begin, counted.end, span / SAMPLES]
    graph, row = network.graph or (), [0]
    for each in graph:
        row.append(row[-1] + len(each))
    steps = ladder(mixture)
    return Rules(
        ints(whole, arrays=arrays),
        floats(real, arrays=arrays),
        floats(setting.law.table, arrays=arrays),
        floats(network.service_times, arrays=arrays),
        ints(network.slots, arrays=arrays),
        ints(row, arrays=arrays),
        ints([peer for each in graph for peer in each] or [0], arrays=arrays),
        ints([step.visits for step in steps], arrays=arrays),
        ints([number for step in steps for number in (step.layers, step.fanout)], arrays=arrays),
    )


def scratch_size(rules: Rules) -> int:
    """Count the integers that `draw_peers` may need: three for each that it comes across."""
    width = rules.whole[WIDTH]
    return 4 * (CANDIDATES * width + width + 1)


def service_seconds(rules: Rules, query: int, layer: int, seat: int, node: int) -> float:
    """Draw how long a job takes (seconds); `query` are the dice of its query."""
    whole, real = rules.whole, rules.real
    layers = whole[LAYERS]
    cost = real[LATER]
    if layer > layers:
        cost = real[AGGREGATION] if layers > 0 else real[FIRST]
    elif layer == 1:
        cost = real[FIRST]
    unit = unit_service(whole[LAW], real[A], real[B], real[C], rules.table, query, layer, seat)
    return rules.service_times[node] * cost * unit


def draw_peers(  # noqa: C901  (one loop, as the compiler likes it)
    rules: Rules, scratch: Ints, query: int, layer: int, home: int, count: int, excluded: int
) -> int:
    """Draw up to `count` peers of `home` without replacement; tell how many there were.

    The peers are shuffled as far as needed (Fisher and Yates; what was moved is remembered
    beside, not in an array of all), and those found are written to the begin of `scratch`.
    Where `excluded` is more than 0, `scratch` ends with so many nodes that are passed over, and
    the throws are those of a retry.
    """
    whole = rules.whole
    known, first = whole[NODES] - 1, 0
    if whole[GRAPH] > 0:
        first = rules.row[home]
        known = rules.row[home + 1] - first
    purpose = PEERS if excluded == 0 else RETRY + excluded
    found, step = 0, 0
    while found < count and step < known:
        place = step + int(toss(query, layer, step, purpose) * (known - step))
        there, here = place, step
        moved = count  # pairs of (place, what is there now) follow the found
        for each in range(moved, moved + 2 * step, 2):
            if scratch[each] == place:
                there = scratch[each + 1]
            if scratch[each] == step:
                here = scratch[each + 1]
        scratch[moved + 2 * step] = place
        scratch[moved + 2 * step + 1] = here
        step += 1
        peer = there
        if whole[GRAPH] > 0:
            peer = rules.peers[first + there]
        elif there >= home:
            peer = there + 1
        fresh = True
        for each in range(len(scratch) - excluded, len(scratch)):
            if scratch[each] == peer:
                fresh = False
        if fresh:
            scratch[found] = peer
            found += 1
    return found
