"""The state of the event kernel: records in flat arrays, and where what is in them.

A job is known by the place of its record in `State.jobs` (a multiple of 8), and likewise a
query in `State.queries` and a node, its number times 8, in `State.nodes`. What is a number and
no count stands beside them: `marks` has half as many places, `asked` one for each query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from dmoa.errors import UsageError
from dmoa.sim.kernel_heap import INDEX, INDEX_BITS
from dmoa.sim.kernel_rules import (
    BEGIN,
    END,
    SAMPLES,
    WIDTH,
    Floats,
    Ints,
    Rules,
    blank,
    longer,
    scratch_size,
)
from dmoa.sim.tally import Sums

RECORD = 8
"""Places of a record."""
(QUERY, NODE, LAYER, SEAT, CONDITION, HELD, NEXT, BEFORE) = range(8)
"""A job: whose, where, which layer and seat, how it stands, how many messages, queues and
clocks still hold it, and its neighbours: behind and before it in a queue, or its right and left
child in a heap of waiting jobs. `NEXT` also links what is free."""
(SENT, WAITS, SERVED, STOPPING, OVER) = range(5)
"""How a job stands at its node; `STOPPING` is in a slot that will be free in this instant."""
(STARTED, RANK, CAME) = range(3)
"""Marks of a job: when its service began, and its place among the waiting."""
(NUMBER, HOME, AT, PENDING, NEEDS, SEATED, RETRIED, MADE) = range(8)
"""A query: its number, home, the layer under way, how many seats are pending, how many more
proposals the layer waits for, how many seats it gave, retries among them, and how many
proposals were made for it in all layers."""
(HERE, SERVING, FIRST_JOB, LAST_JOB, OWN, TURN, THEN) = range(7)
"""A node: how many jobs are here and how many of them in service, the first and last that wait
(or the root of their heap), own queries under way, and how many jobs were here when digest
number `TURN` was made."""

(DONE, OUT, ASKED, REFUSED, DUE, ORDERS, HEAD, TAIL, FREE_JOB, JOBS_USED, FREE_QUERY) = range(11)
(QUERIES_USED, ROOM, ENDED, PRESENT, AT_WORK, SAMPLE, DIGEST, GAP) = range(11, 19)
"""Counts: arrivals of the chunk that are done, answers written, queries asked and counted
refusals, entries of the heap, how often something was scheduled, the messages' begin and end,
records free and ever used, records left for jobs, services ended, jobs in the network and in
service, the next sample, the digest that `LOAD_THEN` is of, and 1 where the first in the heap
is gone already and its place may be taken."""
(NOW, WAITED, STAYED, LOAD, LOAD_THEN, SOON) = range(6)
"""Sums: the time, seconds that jobs waited and were here, jobs per slot, summed over all nodes,
now and when the last digests were made, and when the backlog is next sampled."""

JOBS_MAX = 1 << (INDEX_BITS - 1)
"""Records of jobs that are ever held: some 14 GB."""


class State(NamedTuple):
    """The state of a run. `ring` has messages, two places each: when scheduled, and what.

    In a replay `told` has the peers of each layer, `told_seats` how many seats it begins with,
    `told_seconds` the service times, and `log` takes when each job entered, started and ended.
    """

    counts: Ints
    sums: Floats
    nodes: Ints
    busy: Floats
    backlog: Floats
    scratch: Ints
    jobs: Ints
    marks: Floats
    queries: Ints
    asked: Floats
    seats: Ints
    times: Floats
    tags: Ints
    ring: Ints
    out_number: Ints
    out_asked: Floats
    out_ended: Floats
    out_proposals: Ints
    told: Ints
    told_seats: Ints
    told_seconds: Floats
    log: Floats


def start(rules: Rules, *, room: int, answers: int, arrays: bool) -> State:
    """Begin a run with `room` for jobs (a power of 2), `answers` before they are taken."""
    nodes = len(rules.slots)
    counts = blank(19, arrays=arrays)
    counts[FREE_JOB] = counts[FREE_QUERY] = counts[DIGEST] = -1
    counts[ROOM] = room
    places = blank(nodes * RECORD, arrays=arrays)
    for field in (FIRST_JOB, LAST_JOB, TURN):
        places[field::RECORD] = [-1] * nodes
    return State(
        counts=counts,
        sums=blank(6, arrays=arrays, whole=False),
        nodes=places,
        busy=blank(nodes, arrays=arrays, whole=False),
        backlog=blank(SAMPLES + 1, arrays=arrays, whole=False),
        scratch=blank(scratch_size(rules), arrays=arrays),
        jobs=blank(room * RECORD, arrays=arrays),
        marks=blank(room * RECORD // 2, arrays=arrays, whole=False),
        queries=blank(room * RECORD, arrays=arrays),
        asked=blank(room, arrays=arrays, whole=False),
        seats=blank(room * 2 * rules.whole[WIDTH], arrays=arrays),
        times=blank(room, arrays=arrays, whole=False),
        tags=blank(room, arrays=arrays),
        ring=blank(room * 8, arrays=arrays),
        out_number=blank(answers, arrays=arrays),
        out_asked=blank(answers, arrays=arrays, whole=False),
        out_ended=blank(answers, arrays=arrays, whole=False),
        out_proposals=blank(answers, arrays=arrays),
        told=blank(1, arrays=arrays),
        told_seats=blank(1, arrays=arrays),
        told_seconds=blank(1, arrays=arrays, whole=False),
        log=blank(1, arrays=arrays, whole=False),
    )


def grown(state: State) -> State:
    """Make room for twice as many jobs and queries under way; UsageError where it is hopeless."""
    jobs = len(state.times)
    if jobs >= JOBS_MAX:
        raise UsageError(
            f"more than {jobs} jobs wait: the network is overloaded beyond what can be held",
            hint="ask for fewer queries, a lower arrival rate, or a policy with bounds",
        )
    counts = state.counts
    counts[ROOM] += jobs
    size = len(state.ring)
    ring = longer(state.ring, size)
    head, tail = counts[HEAD], counts[TAIL]
    for place in range(2 * head, 2 * tail):  # a ring twice as large has other places
        ring[place % (2 * size)] = state.ring[place % size]
    names = ("jobs", "marks", "queries", "asked", "seats", "times", "tags")
    held = [(name, getattr(state, name)) for name in names]
    more: dict[str, Any] = {name: longer(values, len(values)) for name, values in held}
    return state._replace(ring=ring, **more)


def sums_of(rules: Rules, state: State) -> Sums:
    """Sum up what was measured so far; the backlog is from now on as it is now."""
    counts, sums, real = state.counts, state.sums, rules.real
    seen = [float(each) for each in state.backlog[: counts[SAMPLE]]]
    seen += [float(counts[PRESENT])] * (SAMPLES + 1 - len(seen))
    busy = state.busy.copy()
    for place in range(counts[DUE]):  # what is still in service
        job = (state.tags[place] & INDEX) * RECORD
        if state.jobs[job + CONDITION] in (SERVED, STOPPING):
            begun = max(state.marks[(job >> 1) + STARTED], real[BEGIN])
            busy[state.jobs[job + NODE]] += max(0.0, float(min(sums[NOW], real[END]) - begun))
    return Sums(
        waiting=float(sums[WAITED]),
        length=float(sums[STAYED]),
        busy=busy,
        backlog=seen,
        jobs=int(counts[ENDED]),
        refused=int(counts[REFUSED]),
    )
