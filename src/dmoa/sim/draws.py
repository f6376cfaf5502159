"""Dice that remember nothing: every throw is a hash of what it is thrown for.

A throw is named by the seed, the number of its query, the layer, the seat and a purpose. So it
is the same in every engine, in whatever order they come to it, and policies are compared on
the very same questions. Names and hashes are integers below 2^63, so that Python's and a
machine's are alike; `mix` is SplitMix64, kept to 63 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import cos, log, pi, sqrt
from typing import Any

from dmoa.sim.setting import Setting
from dmoa.theory.laws import LOG_NORMAL, TOKENS, unit_time

BITS = (1 << 63) - 1
UNIT = 2.0**-53
"""What makes 53 bits a number in [0, 1)."""

SERVICE, SERVICE_TOO, QUERY, QUERY_TOO, PEERS, RETRY = range(1, 7)
"""The purposes: two for a service time, two for the query's own normal, peers; from `RETRY` on
another peer, by how many were asked before."""
SEATS_MAX = 1 << 20
RETRIES_MAX = 1000
"""The seats of a layer that a name has room for, without retries and with them."""


def mix(start: int, count: int) -> int:
    """Hash two integers below 2^63 to one: number `count` of the stream that begins at `start`."""
    bits = (start + count * 0x1E3779B97F4A7C15) & BITS
    bits = ((bits ^ (bits >> 30)) * 0x3F58476D1CE4E5B9) & BITS
    bits = ((bits ^ (bits >> 27)) * 0x14D049BB133111EB) & BITS
    return bits ^ (bits >> 31)


def mix_compiled(word: Any, signed: Any) -> Callable[[int, int], int]:
    """Write `mix` for a compiler, whose signed integers must not overflow.

    `word` is np.uint64, whose products wrap around, and `signed` np.int64.
    """

    def mix(start: int, count: int) -> int:
        ones = word(0x7FFFFFFFFFFFFFFF)
        bits = (word(start) + word(count) * word(0x1E3779B97F4A7C15)) & ones
        bits = ((bits ^ (bits >> word(30))) * word(0x3F58476D1CE4E5B9)) & ones
        bits = ((bits ^ (bits >> word(27))) * word(0x14D049BB133111EB)) & ones
        return signed(bits ^ (bits >> word(31)))

    return mix


def dice(seed: int, number: int) -> int:
    """Make the dice of one query, from its number (from 0); `seed` is folded."""
    return mix(seed, number)


def toss(query: int, layer: int, seat: int, purpose: int) -> float:
    """Throw the dice `query` for one seat and purpose: uniform in [0, 1)."""
    return (mix(query, (((layer << 20) + seat) << 10) + purpose) >> 10) * UNIT


def normal(query: int) -> float:
    """Draw the standard normal that all jobs of a query have in common (Box and Muller)."""
    u, v = toss(query, 0, 0, QUERY), toss(query, 0, 0, QUERY_TOO)
    return sqrt(-2.0 * log(1.0 - u)) * cos(2.0 * pi * v)


def unit_service(  # noqa: PLR0913, PLR0917  (numbers only, so that it can be compiled)
    code: int,
    a: float,
    b: float,
    c: float,
    table: Sequence[float],
    query: int,
    layer: int,
    seat: int,
) -> float:
    """Draw the service time of one job in units of its mean; see `laws.unit_time`."""
    u, v, own = toss(query, layer, seat, SERVICE), 0.0, 0.0
    if code in (LOG_NORMAL, TOKENS):
        v = toss(query, layer, seat, SERVICE_TOO)
    if code == LOG_NORMAL and c > 0.0:
        own = normal(query)
    return unit_time(code, a, b, c, table, u, v, own)


def fold(seed: int) -> int:
    """Bring any seed below 2^63."""
    rest = abs(seed) * 2 + (seed < 0)
    folded = mix(1, rest & BITS)
    while rest := rest >> 63:
        folded = mix(folded, rest & BITS)
    return folded


def service(setting: Setting) -> Callable[[int, int, int, int], float]:
    """Tell how long jobs take in a setting: of (query, layer, seat, node), in seconds.

    Queries are numbered from 0 in the order they are asked, refused ones as well. Layers count
    from 1, the aggregation is layer M+1; seat 0 is home, the others as they were asked.
    """
    network, layers, law = setting.network, setting.mixture.layers, setting.law
    code, table, seed = law.code, law.table, fold(setting.seed)
    a, b, c = law.numbers

    def seconds(number: int, layer: int, seat: int, node: int) -> float:
        unit = unit_service(code, a, b, c, table, dice(seed, number), layer, seat)
        return network.service_times[node] * network.costs.of(layer, layers) * unit

    return seconds
