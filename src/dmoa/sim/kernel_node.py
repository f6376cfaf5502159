"""A node of the kernel: its queue, its slots, and the clocks of the jobs in service."""

from __future__ import annotations

from dmoa.core.policy import rank
from dmoa.sim.draws import dice
from dmoa.sim.kernel_heap import push, sink, tag
from dmoa.sim.kernel_rules import (
    BEGIN,
    END,
    GOSSIP,
    LAYERS,
    ORDER,
    SEED,
    WIDTH,
    Rules,
    service_seconds,
)
from dmoa.sim.kernel_state import (
    AT_WORK,
    BEFORE,
    CAME,
    CONDITION,
    DIGEST,
    DUE,
    FIRST_JOB,
    FREE_JOB,
    GAP,
    HELD,
    HERE,
    JOBS_USED,
    LAST_JOB,
    LAYER,
    LOAD,
    LOAD_THEN,
    NEXT,
    NODE,
    NOW,
    NUMBER,
    ORDERS,
    OVER,
    PRESENT,
    QUERY,
    RANK,
    RECORD,
    ROOM,
    SEAT,
    SENT,
    SERVED,
    SERVING,
    STARTED,
    STOPPING,
    TAIL,
    THEN,
    TURN,
    WAITS,
    State,
)

(PROPOSE, PROPOSAL, DECLINE, WITHDRAW, STOPPED) = range(5)
"""What a message says; it is added to its job."""


def send(state: State, job: int, what: int) -> None:
    """Send a message without delay: it is taken after those sent before."""
    counts, ring = state.counts, state.ring
    tail = counts[TAIL]
    place = (2 * tail) & (len(ring) - 1)
    ring[place] = counts[ORDERS]
    ring[place + 1] = job + what
    counts[ORDERS] += 1
    counts[TAIL] = tail + 1
    state.jobs[job + HELD] += 1


def new_job(state: State, query: int, node: int, layer: int, seat: int) -> int:
    """Take a record for a job."""
    counts, jobs = state.counts, state.jobs
    job = counts[FREE_JOB]
    if job >= 0:
        counts[FREE_JOB] = jobs[job + NEXT]
    else:
        job = counts[JOBS_USED] * RECORD
        counts[JOBS_USED] += 1
    counts[ROOM] -= 1
    jobs[job + QUERY] = query
    jobs[job + NODE] = node
    jobs[job + LAYER] = layer
    jobs[job + SEAT] = seat
    jobs[job + CONDITION] = SENT
    jobs[job + HELD] = 0
    return job


def let_go(state: State, job: int) -> None:
    """Hold a job once less; its record is free when nothing holds it."""
    jobs = state.jobs
    jobs[job + HELD] -= 1
    if jobs[job + HELD] == 0:
        jobs[job + NEXT] = state.counts[FREE_JOB]
        state.counts[FREE_JOB] = job
        state.counts[ROOM] += 1


def change(rules: Rules, state: State, node: int, by: int) -> None:
    """Count a job that came to a node, or left; remember how it was when digests were made."""
    nodes, counts, sums = state.nodes, state.counts, state.sums
    place = node * RECORD
    gossip = rules.real[GOSSIP]
    if gossip > 0.0:
        turn = int(sums[NOW] / gossip)
        if nodes[place + TURN] != turn:
            nodes[place + TURN] = turn
            nodes[place + THEN] = nodes[place + HERE]
        if counts[DIGEST] != turn:
            counts[DIGEST] = turn
            sums[LOAD_THEN] = sums[LOAD]
    nodes[place + HERE] += by
    counts[PRESENT] += by
    sums[LOAD] += by / rules.slots[node]


def precedes(state: State, one: int, other: int) -> bool:
    """Tell whether a waiting job goes before another."""
    marks = state.marks
    a, b = one >> 1, other >> 1
    if marks[a + RANK] != marks[b + RANK]:
        return marks[a + RANK] < marks[b + RANK]
    return marks[a + CAME] < marks[b + CAME]


def meld(state: State, one: int, other: int) -> int:
    """Make one heap of two (a skew heap: children are swapped on the way); tell its root."""
    if one < 0 or other < 0:
        return max(one, other)
    jobs = state.jobs
    if precedes(state, other, one):
        one, other = other, one
    root = one
    while True:
        rest = jobs[one + NEXT]
        jobs[one + NEXT] = jobs[one + BEFORE]
        if rest < 0:
            jobs[one + BEFORE] = other
            return root
        if precedes(state, other, rest):
            rest, other = other, rest
        jobs[one + BEFORE] = rest
        one = rest


def enter(rules: Rules, state: State, job: int, asked: float) -> None:
    """Let a job wait at its node; `asked` is when its query was."""
    jobs, nodes, counts = state.jobs, state.nodes, state.counts
    node = jobs[job + NODE]
    place = node * RECORD
    jobs[job + CONDITION] = WAITS
    jobs[job + HELD] += 1
    jobs[job + NEXT] = jobs[job + BEFORE] = -1
    change(rules, state, node, 1)
    if rules.whole[ORDER] > 0:
        # a queue works out when a query was asked from its age, and rounds as it does so
        now = state.sums[NOW]
        state.marks[(job >> 1) + RANK] = rank(
            rules.whole[ORDER], now - (now - asked), jobs[job + LAYER]
        )
        state.marks[(job >> 1) + CAME] = counts[ORDERS]
        counts[ORDERS] += 1
        nodes[place + FIRST_JOB] = meld(state, nodes[place + FIRST_JOB], job)
    else:
        last = nodes[place + LAST_JOB]
        jobs[job + BEFORE] = last
        if last < 0:
            nodes[place + FIRST_JOB] = job
        else:
            jobs[last + NEXT] = job
        nodes[place + LAST_JOB] = job
    if len(state.log) > 1:
        note(rules, state, job, 0)


def unlink(state: State, job: int, node: int) -> None:
    """Take a job out of a queue that is a list."""
    jobs, nodes = state.jobs, state.nodes
    place = node * RECORD
    before, after = jobs[job + BEFORE], jobs[job + NEXT]
    if before < 0:
        nodes[place + FIRST_JOB] = after
    else:
        jobs[before + NEXT] = after
    if after < 0:
        nodes[place + LAST_JOB] = before
    else:
        jobs[after + BEFORE] = before


def take_first(rules: Rules, state: State, node: int) -> int:
    """Take the job whose turn it is out of the queue, and those that were withdrawn."""
    jobs, nodes = state.jobs, state.nodes
    place = node * RECORD
    job = nodes[place + FIRST_JOB]
    if rules.whole[ORDER] == 0:
        unlink(state, job, node)
        return job
    while True:
        nodes[place + FIRST_JOB] = meld(state, jobs[job + NEXT], jobs[job + BEFORE])
        if jobs[job + CONDITION] == WAITS:
            return job
        let_go(state, job)
        job = nodes[place + FIRST_JOB]


def seconds_of(rules: Rules, state: State, job: int) -> float:
    """Tell how long the service of a job takes: as the dice have it, or the trace."""
    jobs = state.jobs
    layer, seat = jobs[job + LAYER], jobs[job + SEAT]
    number = state.queries[jobs[job + QUERY] + NUMBER]
    if len(state.told_seconds) > 1:
        row = number * (rules.whole[LAYERS] + 1) + layer - 1
        return state.told_seconds[row * rules.whole[WIDTH] + seat]
    query = dice(rules.whole[SEED], number)
    return service_seconds(rules, query, layer, seat, jobs[job + NODE])


def fill(rules: Rules, state: State, node: int) -> None:
    """Give every free slot the job whose turn it is."""
    jobs, nodes, counts = state.jobs, state.nodes, state.counts
    place = node * RECORD
    while (
        nodes[place + SERVING] < rules.slots[node] and nodes[place + HERE] > nodes[place + SERVING]
    ):
        job = take_first(rules, state, node)  # held by the clock now, no more by the queue
        now = state.sums[NOW]
        jobs[job + CONDITION] = SERVED
        nodes[place + SERVING] += 1
        counts[AT_WORK] += 1
        state.marks[(job >> 1) + STARTED] = now
        ends = now + seconds_of(rules, state, job)
        mark = tag(counts[ORDERS], job // RECORD)
        if counts[GAP] > 0:
            sink(state.times, state.tags, counts[DUE], ends, mark)
            counts[GAP] = 0
        else:
            push(state.times, state.tags, counts[DUE], ends, mark)
            counts[DUE] += 1
        counts[ORDERS] += 1
        if len(state.log) > 1:
            note(rules, state, job, 1)


def leave(rules: Rules, state: State, job: int) -> None:
    """Free the slot of a job whose service ended."""
    jobs, nodes, counts = state.jobs, state.nodes, state.counts
    node, now = jobs[job + NODE], state.sums[NOW]
    jobs[job + CONDITION] = OVER
    nodes[node * RECORD + SERVING] -= 1
    counts[AT_WORK] -= 1
    change(rules, state, node, -1)
    begun = max(state.marks[(job >> 1) + STARTED], rules.real[BEGIN])
    ended = min(now, rules.real[END])
    if ended > begun:
        state.busy[node] += ended - begun
    if len(state.log) > 1:
        note(rules, state, job, 2)


def drop(rules: Rules, state: State, job: int) -> None:
    """Take out a job that nobody wants any more, or stop its service."""
    jobs = state.jobs
    if jobs[job + CONDITION] == WAITS:
        change(rules, state, jobs[job + NODE], -1)
        jobs[job + CONDITION] = OVER
        if rules.whole[ORDER] == 0:
            unlink(state, job, jobs[job + NODE])
            let_go(state, job)
    elif jobs[job + CONDITION] == SERVED:
        jobs[job + CONDITION] = STOPPING
        send(state, job, STOPPED)


def note(rules: Rules, state: State, job: int, what: int) -> None:
    """Log when a job entered (0), started (1) or ended (2)."""
    jobs = state.jobs
    number = state.queries[jobs[job + QUERY] + NUMBER]
    row = number * (rules.whole[LAYERS] + 1) + jobs[job + LAYER] - 1
    place = row * rules.whole[WIDTH] + jobs[job + SEAT]
    state.log[3 * place + what] = state.sums[NOW]
