"""Whom a home asks, and how many: what it knows of others, and the core's policies."""

# ruff: noqa: PLR0913, PLR0917 - arguments are numbers and arrays, so that it can be compiled

from __future__ import annotations

from math import inf

from dmoa.core.policy import CANDIDATES, burden, needed, rung, spares
from dmoa.sim.draws import dice
from dmoa.sim.kernel_rules import (
    ADAPTIVE,
    FANOUT,
    GOSSIP,
    GRAPH,
    LAYERS,
    LOADED,
    MISSING,
    NODES,
    SEED,
    SPARE,
    WIDTH,
    Rules,
    draw_peers,
)
from dmoa.sim.kernel_state import (
    DIGEST,
    HERE,
    HOME,
    LOAD,
    LOAD_THEN,
    NEEDS,
    NOW,
    NUMBER,
    RECORD,
    THEN,
    TURN,
    State,
)


def known_length(rules: Rules, state: State, node: int) -> int:
    """Tell how many jobs were at a node when it last told."""
    place, gossip = node * RECORD, rules.real[GOSSIP]
    if gossip > 0.0 and state.nodes[place + TURN] == int(state.sums[NOW] / gossip):
        return state.nodes[place + THEN]
    return state.nodes[place + HERE]  # fresh, or as it has been since before it told


def age_of(rules: Rules, state: State) -> float:
    """Tell how old all digests are (seconds)."""
    gossip, now = rules.real[GOSSIP], state.sums[NOW]
    return now - int(now / gossip) * gossip if gossip > 0.0 else 0.0


def crowd(rules: Rules, state: State, home: int) -> float:
    """Tell the mean number of jobs per slot over a home and the peers it knows."""
    own = state.nodes[home * RECORD + HERE] / rules.slots[home]
    if rules.whole[GRAPH] == 0:
        load = state.sums[LOAD]
        gossip = rules.real[GOSSIP]
        if gossip > 0.0 and state.counts[DIGEST] == int(state.sums[NOW] / gossip):
            load = state.sums[LOAD_THEN]
        others = load - known_length(rules, state, home) / rules.slots[home]
        return (own + others) / rules.whole[NODES]
    first, last = rules.row[home], rules.row[home + 1]
    for place in range(first, last):
        peer = rules.peers[place]
        own += known_length(rules, state, peer) / rules.slots[peer]
    return own / (1 + last - first)


def choose(rules: Rules, state: State, query: int, layer: int, count: int, excluded: int) -> int:
    """Choose up to `count` peers as the policy has it, into `State.scratch`; tell how many."""
    home, number = state.queries[query + HOME], state.queries[query + NUMBER]
    throws = dice(rules.whole[SEED], number)
    scratch = state.scratch
    if rules.whole[LOADED] == 0:
        return draw_peers(rules, scratch, throws, layer, home, count, excluded)
    drawn = draw_peers(rules, scratch, throws, layer, home, CANDIDATES * count, excluded)
    total = 0
    for each in range(drawn):
        total += known_length(rules, state, scratch[each])
    mean, age = total / max(drawn, 1), age_of(rules, state)
    for chosen in range(min(count, drawn)):  # the least burdened to the front, one by one
        best, least = chosen, inf
        for each in range(chosen, drawn):
            node = scratch[each]
            load = burden(
                known_length(rules, state, node),
                mean,
                rules.service_times[node],
                rules.slots[node],
                rules.service_times[node] / rules.slots[node],
                age,
            )
            if load < least:
                best, least = each, load
        node = scratch[best]
        for each in range(best, chosen, -1):  # the others keep their order
            scratch[each] = scratch[each - 1]
        scratch[chosen] = node
    return min(count, drawn)


def told_peers(rules: Rules, state: State, query: int, layer: int, first: int, count: int) -> int:
    """Read `count` peers of a layer from the trace, from seat `first` on; tell how many."""
    width = rules.whole[WIDTH]
    row = state.queries[query + NUMBER] * rules.whole[LAYERS] + layer - 1
    found = 0
    for seat in range(first, min(first + count, width)):
        peer = state.told[row * width + seat]
        if peer < 0:
            break
        state.scratch[found] = peer
        found += 1
    return found


def invite(rules: Rules, state: State, query: int, layer: int) -> int:
    """Choose the peers of a layer that begins, unless it is left out; tell how many.

    -1 tells that home aggregates instead.
    """
    whole, queries = rules.whole, state.queries
    if len(state.told_seats) > 1:
        row = queries[query + NUMBER] * whole[LAYERS] + layer - 1
        if state.told_seats[row] == 0:
            return -1
        count = told_peers(rules, state, query, layer, 1, state.told_seats[row] - 1)
        queries[query + NEEDS] = needed(1 + count, max(0, count - whole[FANOUT]), whole[MISSING])
        return count
    wanted, busy = whole[FANOUT], 0.0
    if whole[ADAPTIVE] > 0 or whole[SPARE] > 0:
        busy = crowd(rules, state, queries[query + HOME])
    if whole[ADAPTIVE] > 0:
        step = rung(rules.rungs, busy)
        if layer > rules.shapes[2 * step]:
            return -1
        wanted = min(rules.shapes[2 * step + 1], wanted)
    count = 0
    if wanted > 0:
        count = choose(rules, state, query, layer, wanted + spares(whole[SPARE], busy), 0)
    queries[query + NEEDS] = needed(1 + count, max(0, count - wanted), whole[MISSING])
    return count
