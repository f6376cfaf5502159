"""A binary heap over two arrays: of times, and of tags that say in which order and what.

A tag is one integer, an order among equal times before the index of what is due, so that
fewer numbers are moved and compared.
"""

from __future__ import annotations

from dmoa.sim.kernel_rules import Floats, Ints

INDEX_BITS = 27
INDEX = (1 << INDEX_BITS) - 1
"""What of a tag is the index."""
ORDERS_MAX = 1 << (63 - INDEX_BITS)
"""Orders that fit before it."""


def tag(order: int, index: int) -> int:
    """Make a tag of an order below 2^36 and an index below 2^27."""
    return (order << INDEX_BITS) | index


def push(times: Floats, tags: Ints, size: int, time: float, mark: int) -> None:
    """Add one, of tag `mark`, to a heap of `size`; the caller counts it."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if times[above] < time or (times[above] == time and tags[above] < mark):
            break
        times[place] = times[above]
        tags[place] = tags[above]
        place = above
    times[place] = time
    tags[place] = mark


def sink(times: Floats, tags: Ints, size: int, time: float, mark: int) -> None:
    """Put one in the place of the first, which the caller has read, in a heap of `size`."""
    place, below = 0, 1
    while below + 1 < size:  # down to the end, where most belong that are due later than now
        left, right = times[below], times[below + 1]
        below += right < left  # no `if`: nobody can foresee it, and a wrong guess costs more
        if left == right and tags[below + 1] < tags[below]:
            below += 1
        times[place] = times[below]
        tags[place] = tags[below]
        place = below
        below = 2 * place + 1
    if below < size:
        times[place] = times[below]
        tags[place] = tags[below]
        place = below
    push(times, tags, place, time, mark)


def pop(times: Floats, tags: Ints, size: int) -> None:
    """Take out the first of a heap of `size`, which the caller has read; the caller counts."""
    last = size - 1
    sink(times, tags, last, times[last], tags[last])
