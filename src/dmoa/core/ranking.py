"""Which of several proposals is the better: by how they agree, or as a model ranked them."""

from __future__ import annotations

import re
from collections.abc import Sequence

OUTLYING = 0.5
"""Share of the middle likeness of all proposals, below which one is no longer one of them."""
FAMILIAR = 0.1
"""Middle likeness from which on the others are a group at all: apart from one another, nobody
stands apart."""
AGREED = 0.75
"""Mean likeness of the most agreed proposal to the others from which on all say the same."""

_EDGES = ".,;:!?\"'`*_()[]{}<>«»\u201c\u201d\u2018\u2019"
"""Punctuation that says nothing about what a word is."""


def _words(text: str) -> frozenset[str]:
    """List the words of a text; marks alone count where there is nothing else."""
    bare = (word.strip(_EDGES) for word in text.lower().split())
    return frozenset(filter(None, bare)) or frozenset(text.split())


def likeness(texts: Sequence[str]) -> list[float]:
    """Tell how much each text is like the others: the mean Jaccard likeness of their words."""
    bags = [_words(text) for text in texts]
    sums = [0.0] * len(bags)
    for one in range(len(bags)):
        for other in range(one):
            either = bags[one] | bags[other]
            alike = len(bags[one] & bags[other]) / len(either) if either else 0.0
            sums[one] += alike
            sums[other] += alike
    return [each / max(len(bags) - 1, 1) for each in sums]


def by_agreement(texts: Sequence[str]) -> list[int]:
    """Order texts, by their indices: those most like the others first; ties: as they came."""
    alike = likeness(texts)
    return sorted(range(len(texts)), key=lambda index: -alike[index])


def most_agreed(texts: Sequence[str]) -> int:
    """Find the text most like the others; what is returned where no aggregator could judge."""
    return by_agreement(texts)[0]


def agree(texts: Sequence[str]) -> bool:
    """Tell whether several texts say the same: one of them is nearly like all others."""
    return len(texts) > 1 and max(likeness(texts)) >= AGREED


def outliers(texts: Sequence[str]) -> list[int]:
    """Find the texts, by their indices, that are far less like the others than those are.

    Of fewer than three none stands apart, and never more than a minority does; those least like
    the others go first.
    """
    if len(texts) <= 2:  # noqa: PLR2004  (of two, either is as far away as the other)
        return []
    alike = likeness(texts)
    middle = sorted(alike)[len(alike) // 2]
    if middle < FAMILIAR:
        return []
    apart = [index for index, each in enumerate(alike) if each < OUTLYING * middle]
    return sorted(apart, key=alike.__getitem__)[: (len(texts) - 1) // 2]


def better_half(count: int) -> int:
    """Count how many of so many proposals are read on: half of them, rounded up."""
    return (count + 1) // 2


def read_ranking(text: str, count: int) -> list[int] | None:
    """Read a ranking of `count` proposals, the best first: their indices, or None if it is none.

    The numbers from 1 to `count` count, in the order in which they are first named; those that
    are not named follow, as they came.
    """
    named = [int(each) - 1 for each in re.findall(r"(?<![\d.])\d{1,4}(?!\d|\.\d)", text)]
    order = list(dict.fromkeys(each for each in named if 0 <= each < count))
    if not order:
        return None
    return order + [each for each in range(count) if each not in order]
