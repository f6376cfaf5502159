"""How far two texts are alike from their beginning on: what a cache of prefixes goes by."""

from __future__ import annotations

from typing import AnyStr


def common_length(one: AnyStr, other: AnyStr) -> int:
    """Count the characters, or the bytes, with which both begin."""
    shorter = min(len(one), len(other))
    if one[:shorter] == other[:shorter]:
        return shorter
    return next(at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
