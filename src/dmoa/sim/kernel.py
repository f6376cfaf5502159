"""The event kernel: the protocol of the agents over arrays, for any policy.

It does what many agents do whose messages take no time (`core.agent`, dreamt by `sim.world`),
event by event in the same order, so that both give the same times to the last bit. Messages of
an instant are taken in the order they were sent. When a home's own job ends its query goes on
before the slot is filled again; when a peer's job ends the slot is filled first, as the home
has yet to hear of it. The policies are the core's own functions.
"""

from __future__ import annotations

from math import inf

from dmoa.core.policy import declines
from dmoa.sim.kernel_choice import choose, invite, told_peers
from dmoa.sim.kernel_heap import INDEX, INDEX_BITS, pop
from dmoa.sim.kernel_node import (
    DECLINE,
    PROPOSAL,
    PROPOSE,
    STOPPED,
    WITHDRAW,
    drop,
    enter,
    fill,
    leave,
    let_go,
    new_job,
    send,
)
from dmoa.sim.kernel_rules import (
    BEGIN,
    COUNTED,
    END,
    LAYERS,
    OWN_QUERIES,
    PEER_JOBS,
    RETRIES,
    SAMPLES,
    STEP,
    WIDTH,
    Floats,
    Ints,
    Rules,
)
from dmoa.sim.kernel_state import (
    ASKED,
    AT,
    AT_WORK,
    CONDITION,
    DONE,
    DUE,
    ENDED,
    FREE_QUERY,
    GAP,
    HEAD,
    HERE,
    HOME,
    MADE,
    NEEDS,
    NODE,
    NOW,
    NUMBER,
    OUT,
    OVER,
    OWN,
    PENDING,
    PRESENT,
    QUERIES_USED,
    QUERY,
    RECORD,
    REFUSED,
    RETRIED,
    ROOM,
    SAMPLE,
    SEAT,
    SEATED,
    SERVED,
    SOON,
    STAYED,
    STOPPING,
    TAIL,
    WAITED,
    State,
)

MORE, FULL, CROWDED = range(3)
"""Why `advance` returns: it wants the next chunk, its answers taken, or more room."""


# -- the layers of a query -------------------------------------------------------------


def seat(rules: Rules, state: State, query: int, node: int) -> int:
    """Give a node the next seat of the layer under way; tell its job."""
    queries = state.queries
    number = queries[query + SEATED]
    queries[query + SEATED] = number + 1
    queries[query + PENDING] += 1
    job = new_job(state, query, node, queries[query + AT], number)
    place = 2 * ((query // RECORD) * rules.whole[WIDTH] + number)
    state.seats[place] = job
    state.seats[place + 1] = node
    return job


def is_seated(rules: Rules, state: State, job: int) -> bool:
    """Tell whether its home waits for a job."""
    query, number = state.jobs[job + QUERY], state.jobs[job + SEAT]
    return state.seats[2 * ((query // RECORD) * rules.whole[WIDTH] + number)] == job


def rise(rules: Rules, state: State, job: int) -> int:
    """Free the seat of a job; tell its query."""
    query, number = state.jobs[job + QUERY], state.jobs[job + SEAT]
    state.seats[2 * ((query // RECORD) * rules.whole[WIDTH] + number)] = -1
    state.queries[query + PENDING] -= 1
    return query


def settled(state: State, query: int) -> int:
    """Tell the query if its layer waits for nothing more, else -1."""
    queries = state.queries
    if queries[query + PENDING] == 0 or queries[query + NEEDS] <= 0:
        return query
    return -1


def proposed(rules: Rules, state: State, job: int) -> int:
    """Take a proposal; tell its query if its layer is over, else -1."""
    query = rise(rules, state, job)
    state.queries[query + NEEDS] -= 1
    state.queries[query + MADE] += 1
    return settled(state, query)


def dismiss(rules: Rules, state: State, query: int) -> None:
    """Withdraw every job that the layer under way still waits for."""
    width = rules.whole[WIDTH]
    for number in range(state.queries[query + SEATED]):
        job = state.seats[2 * ((query // RECORD) * width + number)]
        if job >= 0:
            rise(rules, state, job)
            if number == 0:
                drop(rules, state, job)
            else:
                send(state, job, WITHDRAW)


def go_on(rules: Rules, state: State, query: int) -> None:
    """End the layer under way, if any, and begin the next layer or the aggregation."""
    queries, layers = state.queries, rules.whole[LAYERS]
    if queries[query + PENDING] > 0:
        dismiss(rules, state, query)
    layer = queries[query + AT] + 1
    queries[query + SEATED] = queries[query + RETRIED] = 0
    count = invite(rules, state, query, layer) if layer <= layers else -1
    queries[query + AT] = layer if count >= 0 else layers + 1
    asked = state.asked[query // RECORD]
    enter(rules, state, seat(rules, state, query, queries[query + HOME]), asked)
    for each in range(count):
        send(state, seat(rules, state, query, state.scratch[each]), PROPOSE)


def ask(rules: Rules, state: State, home: int) -> int:
    """Let a user ask a query now; tell it, or -1 where it is refused."""
    counts, queries, place = state.counts, state.queries, home * RECORD
    number = counts[ASKED]
    counts[ASKED] = number + 1
    if declines(state.nodes[place + OWN], rules.whole[OWN_QUERIES]):
        counts[REFUSED] += 1 if number >= rules.whole[COUNTED] else 0
        return -1
    query = counts[FREE_QUERY]
    if query >= 0:
        counts[FREE_QUERY] = queries[query + NUMBER]
    else:
        query = counts[QUERIES_USED] * RECORD
        counts[QUERIES_USED] += 1
    state.nodes[place + OWN] += 1
    queries[query + NUMBER] = number
    queries[query + HOME] = home
    queries[query + AT] = queries[query + PENDING] = queries[query + MADE] = 0
    state.asked[query // RECORD] = state.sums[NOW]
    return query


def answer(rules: Rules, state: State, job: int) -> None:
    """End a query: its aggregation is done."""
    counts, queries = state.counts, state.queries
    query = rise(rules, state, job)
    place = counts[OUT]
    counts[OUT] = place + 1
    state.out_number[place] = queries[query + NUMBER]
    state.out_asked[place] = state.asked[query // RECORD]
    state.out_ended[place] = state.sums[NOW]
    state.out_proposals[place] = queries[query + MADE]
    state.nodes[queries[query + HOME] * RECORD + OWN] -= 1
    queries[query + NUMBER] = counts[FREE_QUERY]
    counts[FREE_QUERY] = query


# -- what happens ----------------------------------------------------------------------


def served(rules: Rules, state: State, job: int) -> int:
    """A service ended, unless it was stopped before; tell the query that goes on, or -1."""
    jobs, condition, query = state.jobs, state.jobs[job + CONDITION], -1
    if condition in (SERVED, STOPPING):
        leave(rules, state, job)
        state.counts[ENDED] += 1
    if condition == SERVED:
        if jobs[job + SEAT] > 0:
            send(state, job, PROPOSAL)
        elif state.queries[jobs[job + QUERY] + AT] > rules.whole[LAYERS]:
            answer(rules, state, job)
        else:
            query = proposed(rules, state, job)
    return query


def invited(rules: Rules, state: State, job: int) -> None:
    """A peer is asked for a proposal: the job enters its queue, or is declined."""
    node = state.jobs[job + NODE]
    if declines(state.nodes[node * RECORD + HERE], rules.whole[PEER_JOBS] * int(rules.slots[node])):
        state.jobs[job + CONDITION] = OVER
        send(state, job, DECLINE)
    else:
        enter(rules, state, job, state.asked[state.jobs[job + QUERY] // RECORD])


def declined(rules: Rules, state: State, job: int) -> int:
    """A home hears that a peer declines: it asks another, or goes on without.

    Tells its query if the layer is over, else -1.
    """
    queries, scratch = state.queries, state.scratch
    query = rise(rules, state, job)
    if queries[query + RETRIED] < rules.whole[RETRIES]:
        layer, taken = queries[query + AT], queries[query + SEATED]
        count = 0
        if len(state.told_seats) > 1:
            count = told_peers(rules, state, query, layer, taken, 1)
        else:
            first = 2 * (query // RECORD) * rules.whole[WIDTH] + 1
            for number in range(taken):
                scratch[len(scratch) - 1 - number] = state.seats[first + 2 * number]
            count = choose(rules, state, query, layer, 1, taken)
        if count > 0:
            queries[query + RETRIED] += 1
            send(state, seat(rules, state, query, scratch[0]), PROPOSE)
    return settled(state, query)


def heard(rules: Rules, state: State, job: int, what: int) -> int:
    """A message came; tell the query that goes on, or -1."""
    if what == PROPOSE:
        invited(rules, state, job)
    elif what == WITHDRAW:
        drop(rules, state, job)
    elif what == STOPPED:
        if state.jobs[job + CONDITION] == STOPPING:
            leave(rules, state, job)
    elif is_seated(rules, state, job):
        return proposed(rules, state, job) if what == PROPOSAL else declined(rules, state, job)
    return -1


def sample(rules: Rules, state: State, now: float) -> None:
    """Sample the backlog as it was up to now."""
    counts, real = state.counts, rules.real
    due = real[BEGIN] + counts[SAMPLE] * real[STEP]
    while counts[SAMPLE] <= SAMPLES and due < now:
        state.backlog[counts[SAMPLE]] = counts[PRESENT]
        counts[SAMPLE] += 1
        due = real[BEGIN] + counts[SAMPLE] * real[STEP]
    state.sums[SOON] = due if counts[SAMPLE] <= SAMPLES else inf


def pass_time(rules: Rules, state: State, now: float) -> None:
    """Let time pass with the queues as they are."""
    counts, sums, real = state.counts, state.sums, rules.real
    if now > sums[SOON]:
        sample(rules, state, now)
    passed = min(now, real[END]) - max(sums[NOW], real[BEGIN])
    if passed > 0.0:
        sums[STAYED] += passed * counts[PRESENT]
        sums[WAITED] += passed * (counts[PRESENT] - counts[AT_WORK])
    sums[NOW] = now


def is_heard_first(state: State) -> bool:
    """Tell whether the next message comes before the next end of a service."""
    counts = state.counts
    if counts[DUE] == 0 or state.times[0] > state.sums[NOW]:
        return True
    sent = state.ring[(2 * counts[HEAD]) & (len(state.ring) - 1)]
    return sent < state.tags[0] >> INDEX_BITS


def advance(rules: Rules, state: State, times: Floats, homes: Ints, until: float) -> int:
    """Simulate the arrivals of a chunk, then what happens up to `until`; tell why it stopped.

    `State.counts[DONE]` is where in the chunk it goes on.
    """
    counts, jobs, ring = state.counts, state.jobs, state.ring
    answers, arrivals, width = len(state.out_number), len(times), rules.whole[WIDTH]
    while counts[OUT] < answers:
        if counts[ROOM] < width or counts[QUERIES_USED] * RECORD == len(state.queries):
            return CROWDED
        if counts[HEAD] != counts[TAIL] and is_heard_first(state):
            what = ring[((2 * counts[HEAD]) & (len(ring) - 1)) + 1] & (RECORD - 1)
            job = ring[((2 * counts[HEAD]) & (len(ring) - 1)) + 1] - what
            counts[HEAD] += 1
            if counts[HEAD] == counts[TAIL]:
                counts[HEAD] = counts[TAIL] = 0  # the begin of the ring is at hand
            node = jobs[job + NODE]
            if what in (PROPOSAL, DECLINE):
                node = state.queries[jobs[job + QUERY] + HOME]
            query = heard(rules, state, job, what)
            let_go(state, job)
        else:
            arrival = times[counts[DONE]] if counts[DONE] < arrivals else until
            if counts[DUE] > 0 and state.times[0] <= arrival:
                pass_time(rules, state, state.times[0])
                job = (state.tags[0] & INDEX) * RECORD
                counts[GAP] = 1  # mostly the node's next job takes the place
                node = jobs[job + NODE]
                query = served(rules, state, job)
                let_go(state, job)
            elif counts[DONE] == arrivals:
                return MORE
            else:
                pass_time(rules, state, arrival)
                node = homes[counts[DONE]]
                counts[DONE] += 1
                query = ask(rules, state, node)
        if query >= 0:
            go_on(rules, state, query)
        fill(rules, state, node)
        if counts[GAP] > 0:
            pop(state.times, state.tags, counts[DUE])
            counts[DUE] -= 1
            counts[GAP] = 0
    return FULL
