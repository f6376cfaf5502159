"""How long a layer takes: until the last of its proposals, home's own and those of k peers.

With the distributions F_j of how long each node takes, home i and k peers drawn uniformly
from n, waiting independently, the layer takes at most t with the probability

    F_i(t) e_k(F_j(t), j a peer of i) / C(n, k)

where e_k is the elementary symmetric polynomial: the sum, over all draws, of the products.
Nodes of one kind have one F, so that a polynomial costs as many products as there are kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]
"""A distribution on the points of a grid."""


def last_of(own: Row, peers: Row, counts: Sequence[int], fanout: int) -> Row:
    """Tell the distribution of a layer; `counts` are the peers of each kind (row of `peers`)."""
    series = _one(fanout, own)
    for cdf, count in zip(peers, counts, strict=True):
        series = _times(series, cdf, count)
    return own * series[fanout] / comb(sum(counts), fanout)


def last_of_all(cdfs: Row, counts: Sequence[int], fanout: int) -> Row:
    """Do that where all know all: a row for each kind of home, of which one is no peer.

    The products of all kinds but one are shared by halves: K kinds take K log K steps.
    """
    rows = np.empty_like(cdfs)
    peers = sum(counts) - 1

    def descend(low: int, high: int, series: Row) -> None:
        if high - low == 1:
            others = _times(series, cdfs[low], counts[low] - 1)
            rows[low] = cdfs[low] * others[fanout] / comb(peers, fanout)
            return
        middle = (low + high) // 2
        for inside, outside in (((low, middle), (middle, high)), ((middle, high), (low, middle))):
            product = series
            for kind in range(*outside):
                product = _times(product, cdfs[kind], counts[kind])
            descend(*inside, product)

    descend(0, len(counts), _one(fanout, cdfs[0]))
    return rows


def _one(fanout: int, like: Row) -> Row:
    """Begin a product: the series 1 + 0 x + ... + 0 x^k at every point."""
    series = np.zeros((fanout + 1, like.shape[-1]))
    series[0] = 1.0
    return series


def _times(series: Row, cdf: Row, count: int) -> Row:
    """Multiply by (1 + F x)^count, up to x^k."""
    product = series.copy()
    power = np.ones_like(cdf)
    for chosen in range(1, min(count, len(series) - 1) + 1):
        power *= cdf
        product[chosen:] += comb(count, chosen) * power * series[: len(series) - chosen]
    return product
