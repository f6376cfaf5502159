"""The models that a node offers: names of mixtures, and its own model."""

from __future__ import annotations

import re

from dmoa.api.shapes import Json
from dmoa.core.limits import Limits
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.recipe import PAPER_RECIPE, WORDS, Recipe
from dmoa.errors import MixtureError, ModelNotFoundError
from dmoa.runtime.node import Node

DEFAULT = "dmoa"
LOCAL = "local"
_LADDER = (Mixture(1, 1), Mixture(1, 2), Mixture(1, 3), Mixture(2, 2), Mixture(2, 3))
"""The mixtures that are listed; any other within the limits can be asked for by its name."""

_MIXTURE = re.compile(rf"{DEFAULT}-(m\d{{1,3}}k\d{{1,3}})(?:-([a-z+]+))?")
_NAME = 80
"""Characters repeated of a name that somebody made up."""


def names() -> list[str]:
    """List the names a client may choose from."""
    return [DEFAULT, LOCAL, *(f"{DEFAULT}-{mixture.name}" for mixture in _LADDER)]


def mixture_of(name: str, node: Node) -> tuple[Mixture, Recipe]:
    """Read a model's name; ModelNotFoundError if it is none, MixtureError beyond the limits."""
    if name == DEFAULT:
        return node.usual.mixture, node.usual.recipe
    if name == LOCAL:
        return ALONE, PAPER_RECIPE
    if match := _MIXTURE.fullmatch(name):
        return within(Mixture.parse(match[1]), node.limits), Recipe.parse(match[2] or "")
    raise ModelNotFoundError(
        f"the model {name[:_NAME]!r} is not offered here",
        hint=f"use {DEFAULT}, {LOCAL}, or {DEFAULT}-mMkK such as {DEFAULT}-m2k3 or "
        f"{DEFAULT}-m1k2-self, with words of {', '.join(WORDS)} joined by +",
    )


def within(mixture: Mixture, limits: Limits) -> Mixture:
    """Refuse a mixture beyond the limits."""
    if mixture.layers > limits.layers or mixture.fanout > limits.fanout:
        raise MixtureError(
            f"{mixture.layers} layers with a fanout of {mixture.fanout} are too many",
            hint=f"at most {limits.layers} layers and a fanout of {limits.fanout} are allowed",
        )
    return mixture


def card(name: str, node: Node, *, created: int) -> Json:
    """Describe one model."""
    mixture, recipe = mixture_of(name, node)
    about: Json = {
        "layers": mixture.layers,
        "fanout": mixture.fanout,
        "recipe": recipe.name,
        "aggregator": node.profile.model,
    }
    if name == DEFAULT:
        about["default"] = default(node)
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "dmoa",
        "dmoa": about,
    }


def default(node: Node) -> Json:
    """Tell what the model `dmoa` stands for here, and why."""
    usual = node.usual
    model = LOCAL if usual.name == LOCAL else f"{DEFAULT}-{usual.name}"
    return {"model": model, "why": usual.why, "detail": usual.detail}
