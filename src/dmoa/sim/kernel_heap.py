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
    while below < size:
        other = below + 1
        if other < size and (
            times[other] < times[below]
            or (times[other] == times[below] and orders[other] < orders[below])
        ):
            below = other
        if time < times[below] or (time == times[below] and order < orders[below]):
            break
        times[place] = times[below]
        orders[place] = orders[below]
        items[place] = items[below]
        place = below
        below = 2 * place + 1
    times[place] = time
    orders[place] = order
    items[place] = item


def pop(times: Floats, orders: Ints, items: Ints, size: int) -> None:
    """Take out the first of a heap of `size`, which the caller has read; the caller counts."""
    last = size - 1
    sink(times, orders, items, last, times[last], orders[last], items[last])
