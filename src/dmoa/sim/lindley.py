"""The shortcut: with first come, first served, when a job ends is known as soon as it enters.

A slot is free from `free` on, so a job that enters at t ends at max(free, t) + S (Lindley's
recursion; with c slots it takes the one that is free first, as Kiefer and Wolfowitz do). So no
queues are kept and no ends of jobs are awaited: a query is in a heap once per layer. This is
exact where nothing can change what is ahead of a job: first come, first served, nothing
declined, spared, withdrawn or chosen by load. Where two queries begin a layer at the very same
instant, as fixed service times make them, the one that was asked first goes first here, which
the kernel may see otherwise.
"""

# ruff: noqa: PLR0913, PLR0917 - arguments are numbers and arrays, so that it can be compiled

from __future__ import annotations

from itertools import accumulate
from math import fsum, inf
from typing import NamedTuple

from dmoa.core.policy import Policy
from dmoa.errors import UsageError
from dmoa.sim.draws import dice
from dmoa.sim.kernel_heap import INDEX, INDEX_BITS, pop, push, sink, tag
from dmoa.sim.kernel_rules import (
    BEGIN,
    END,
    FANOUT,
    LAYERS,
    ROOMS,
    SAMPLES,
    SEED,
    STEP,
    Floats,
    Ints,
    Rules,
    blank,
    draw_peers,
    longer,
    scratch_size,
    service_seconds,
)
from dmoa.sim.tally import Sums

(DONE, OUT, ASKED, SIZE, USED, SPARE_PLACE, JOBS) = range(7)
"""Where `Line.counts` has what: arrivals of the chunk that are done, answers written, queries
asked, queries in the heap, places used, the first of those free again, jobs begun."""
(WAITED, SOON) = range(2)
"""Where `Line.sums` has what: seconds that jobs waited, and when the backlog is next sampled: a
job that ends until then is in no sample."""

MORE, FULL, CROWDED = range(3)
"""Why `advance` returns: it wants the next chunk, its answers taken, or more places."""


PLACES_MAX = 1 << (INDEX_BITS - 1)
"""Queries under way that are ever held: some 3 GB."""


class Line(NamedTuple):
    """The state of a run.

    `free` has for every slot from when on it is free, those of a node side by side. Queries
    under way have a place each in `homes` (times M+1, plus the layer under way) and `asked`.
    `busy` sums up the seconds of service of each node, `backlog` the changes of the jobs there
    between samples.
    `out_*` are the answers: which query, when asked, when ended, of how many proposals.
    """

    counts: Ints
    sums: Floats
    free: Floats
    busy: Floats
    backlog: Ints
    scratch: Ints
    times: Floats
    tags: Ints
    homes: Ints
    asked: Floats
    out_number: Ints
    out_asked: Floats
    out_ended: Floats
    out_proposals: Ints


def is_exact(policy: Policy) -> bool:
    """Tell whether the shortcut simulates a policy exactly."""
    return policy == Policy()


def start(rules: Rules, *, room: int, answers: int, arrays: bool) -> Line:
    """Begin a run with `room` for queries under way, `answers` before they are taken."""
    nodes = len(rules.slots)
    counts = blank(8, arrays=arrays)
    counts[SPARE_PLACE] = -1
    kept = [blank(room, arrays=arrays, whole=bool(whole)) for whole in (0, 1, 1, 0)]
    out = [blank(answers, arrays=arrays, whole=bool(whole)) for whole in (1, 0, 0, 1)]
    sums = blank(2, arrays=arrays, whole=False)
    sums[SOON] = -inf
    return Line(
        counts,
        sums,
        blank(nodes * rules.whole[ROOMS], arrays=arrays, whole=False),
        blank(nodes, arrays=arrays, whole=False),
        blank(SAMPLES + 2, arrays=arrays),
        blank(scratch_size(rules), arrays=arrays),
        *kept,
        *out,
    )


def grown(line: Line) -> Line:
    """Make room for half as many queries more."""
    if len(line.asked) >= PLACES_MAX:
        raise UsageError(
            f"more than {len(line.asked)} queries are under way: the network is overloaded "
            "beyond what can be held",
            hint="ask for fewer queries, or a lower arrival rate",
        )
    for name in ("times", "tags", "homes", "asked"):
        line = line._replace(**{name: longer(getattr(line, name), len(line.asked) // 2)})
    return line


def sums_of(rules: Rules, line: Line) -> Sums:
    """Sum up what was measured so far."""
    del rules  # as the kernel has it
    backlog = [float(each) for each in accumulate(line.backlog)][: SAMPLES + 1]
    return Sums(
        waiting=float(line.sums[WAITED]),
        length=float(line.sums[WAITED]) + fsum(line.busy),
        busy=line.busy,
        backlog=backlog,
        jobs=int(line.counts[JOBS]),
        ahead=int(backlog[-1]),
    )


def within(rules: Rules, start: float, end: float) -> float:
    """Tell how much of a span lies between `BEGIN` and `END` (seconds)."""
    left, right = max(start, rules.real[BEGIN]), min(end, rules.real[END])
    return right - left if right > left else 0.0


def sample_after(rules: Rules, time: float) -> int:
    """Find the first sample of the backlog that is not before `time`."""
    begin, step = rules.real[BEGIN], rules.real[STEP]
    if time <= begin:
        return 0
    if time > rules.real[END] or step <= 0.0:
        return SAMPLES + 1
    place = int((time - begin) / step)
    return place if begin + place * step >= time else min(place + 1, SAMPLES + 1)


def serve(rules: Rules, line: Line, node: int, now: float, seconds: float) -> float:
    """Let a job enter a node now; tell when it ends."""
    rooms, free = rules.whole[ROOMS], line.free
    slot = node * rooms
    if rooms > 1:
        for other in range(slot + 1, slot + rules.slots[node]):
            if free[other] < free[slot]:
                slot = other
    begun = max(free[slot], now)
    ended = begun + seconds
    free[slot] = ended
    if now >= rules.real[BEGIN] and ended <= rules.real[END]:
        line.busy[node] += seconds
        line.sums[WAITED] += begun - now
    else:
        line.busy[node] += within(rules, begun, ended)
        line.sums[WAITED] += within(rules, now, begun)
    if ended > line.sums[SOON]:
        line.backlog[sample_after(rules, now)] += 1
        line.backlog[sample_after(rules, ended)] -= 1
    return ended


def layer_end(rules: Rules, line: Line, number: int, home: int, layer: int, now: float) -> float:
    """Let the jobs of a layer, or the aggregation, enter now; tell when the last ends."""
    sums, real = line.sums, rules.real
    if now > sums[SOON]:  # then other samples of the backlog are ahead
        place = sample_after(rules, now)
        sums[SOON] = real[BEGIN] + place * real[STEP] if place <= SAMPLES else inf
    query = dice(rules.whole[SEED], number)
    last = serve(rules, line, home, now, service_seconds(rules, query, layer, 0, home))
    line.counts[JOBS] += 1
    if layer > rules.whole[LAYERS]:
        return last
    count = draw_peers(rules, line.scratch, query, layer, home, rules.whole[FANOUT], 0)
    line.counts[JOBS] += count
    for seat in range(count):
        peer = line.scratch[seat]
        seconds = service_seconds(rules, query, layer, seat + 1, peer)
        last = max(last, serve(rules, line, peer, now, seconds))
    return last


def answer(rules: Rules, line: Line, number: int, asked: float, ended: float) -> None:
    """Write down how a query ended."""
    place = line.counts[OUT]
    line.out_number[place] = number
    line.out_asked[place] = asked
    line.out_ended[place] = ended
    line.out_proposals[place] = rules.whole[LAYERS] * (rules.whole[FANOUT] + 1)
    line.counts[OUT] = place + 1


def ask(rules: Rules, line: Line, now: float, home: int) -> None:
    """Let a user ask a query now."""
    counts = line.counts
    number = counts[ASKED]
    counts[ASKED] += 1
    if rules.whole[LAYERS] == 0:
        answer(rules, line, number, now, layer_end(rules, line, number, home, 1, now))
        return
    place = counts[SPARE_PLACE]
    if place >= 0:
        counts[SPARE_PLACE] = line.homes[place]
    else:
        place = counts[USED]
        counts[USED] += 1
    line.homes[place] = home * (rules.whole[LAYERS] + 1) + 1
    line.asked[place] = now
    ended = layer_end(rules, line, number, home, 1, now)
    push(line.times, line.tags, counts[SIZE], ended, tag(number, place))
    counts[SIZE] += 1


def go_on(rules: Rules, line: Line) -> None:
    """Let the query that is due first begin its next layer, or its aggregation."""
    counts, size = line.counts, line.counts[SIZE]
    now, mark = line.times[0], line.tags[0]
    number, place = mark >> INDEX_BITS, mark & INDEX
    layers = rules.whole[LAYERS]
    home, layer = line.homes[place] // (layers + 1), line.homes[place] % (layers + 1) + 1
    ended = layer_end(rules, line, number, home, layer, now)
    if layer <= layers:
        line.homes[place] += 1
        sink(line.times, line.tags, size, ended, mark)
    else:
        pop(line.times, line.tags, size)
        counts[SIZE] = size - 1
        answer(rules, line, number, line.asked[place], ended)
        line.homes[place] = counts[SPARE_PLACE]
        counts[SPARE_PLACE] = place


def advance(rules: Rules, line: Line, times: Floats, homes: Ints, until: float) -> int:
    """Simulate the arrivals of a chunk, then what happens up to `until`; tell why it stopped.

    `Line.counts[DONE]` is where in the chunk it goes on.
    """
    counts = line.counts
    answers, places, arrivals = len(line.out_number), len(line.asked), len(times)
    while counts[OUT] < answers:
        arrival = times[counts[DONE]] if counts[DONE] < arrivals else until
        if counts[SIZE] > 0 and line.times[0] <= arrival:
            go_on(rules, line)
        elif counts[DONE] == arrivals:
            return MORE
        elif counts[SIZE] == places or (counts[USED] == places and counts[SPARE_PLACE] < 0):
            return CROWDED
        else:
            ask(rules, line, arrival, homes[counts[DONE]])
            counts[DONE] += 1
    return FULL
