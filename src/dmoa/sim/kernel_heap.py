"""A binary heap over three arrays: of times, of the order among equals, and of what is due."""

# ruff: noqa: PLR0913, PLR0917 - a heap is its three arrays and its size

from __future__ import annotations

from dmoa.sim.kernel_rules import Floats, Ints


def push(
    times: Floats, orders: Ints, items: Ints, size: int, time: float, order: int, item: int
) -> None:
    """Add one to a heap of `size`; the caller counts it."""
    place = size
    while place > 0:
        above = (place - 1) >> 1
        if times[above] < time or (times[above] == time and orders[above] < order):
            break
        times[place] = times[above]
        orders[place] = orders[above]
        items[place] = items[above]
        place = above
    times[place] = time
    orders[place] = order
    items[place] = item


def sink(
    times: Floats, orders: Ints, items: Ints, size: int, time: float, order: int, item: int
) -> None:
    """Put one in the place of the first, which the caller has read, in a heap of `size`."""
    place, below = 0, 1
    while below + 1 < size:  # down to the end, where most belong that are due later than now
        left, right = times[below], times[below + 1]
        below += right < left  # no `if`: nobody can foresee it, and a wrong guess costs more
        if left == right and orders[below + 1] < orders[below]:
            below += 1
        times[place] = times[below]
        orders[place] = orders[below]
        items[place] = items[below]
        place = below
        below = 2 * place + 1
    if below < size:
        times[place] = times[below]
        orders[place] = orders[below]
        items[place] = items[below]
        place = below
    push(times, orders, items, place, time, order, item)


def pop(times: Floats, orders: Ints, items: Ints, size: int) -> None:
    """Take out the first of a heap of `size`, which the caller has read; the caller counts."""
    last = size - 1
    sink(times, orders, items, last, times[last], orders[last], items[last])
