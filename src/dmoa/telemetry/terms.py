"""Under which names metrics and traces tell of queries: few, and without any text of theirs."""

from __future__ import annotations

from dmoa.core.events import Asked

OTHER = "other"
"""Stands for all that has no name of its own."""


def model_of(event: Asked) -> str:
    """Name the model that a question asks, as the API does."""
    if not event.mixture.layers:
        return "local"
    return "-".join(filter(None, ("dmoa", event.mixture.name, event.recipe.name)))


def kind_of(degraded: str) -> str:
    """Tell the first word of a reason of degradation, without what it says of nodes and texts."""
    word = degraded.partition(":")[0]
    return word if word.isascii() and word.isalpha() else OTHER
