"""How a request is to be answered: its mixture, its recipe, and what must be said of them."""

from __future__ import annotations

from dataclasses import replace

from fastapi import Request

from dmoa.api import models
from dmoa.api.schema import DmoaOptions
from dmoa.api.shapes import Json
from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.recipe import PAPER_RECIPE, Recipe
from dmoa.errors import MixtureError
from dmoa.runtime.node import Node
from dmoa.telemetry.context import incoming

Wanted = tuple[Mixture, Recipe, tuple[str, ...]]
"""A mixture, how it is mixed, and what must be said of the answer."""


def wanted(model: str, asked: DmoaOptions, node: Node, *, uses_tools: bool = False) -> Wanted:
    """Choose the mixture for a model's name, and how it is mixed.

    ModelNotFoundError for a model that is not offered, MixtureError for one that cannot be.
    """
    mixture, recipe = models.mixture_of(model, node)
    if asked.shapes:
        if model == models.LOCAL:
            raise MixtureError(
                "dmoa.layers, dmoa.fanout and dmoa.recipe do not go with the model 'local'",
                hint="ask the model 'dmoa'",
            )
        if model == models.DEFAULT:  # who shapes it wants one, whatever is usual
            mixture, recipe = node.shaped
        mixture = replace(
            mixture,
            layers=mixture.layers if asked.layers is None else asked.layers,
            fanout=mixture.fanout if asked.fanout is None else asked.fanout,
        )
        recipe = recipe if asked.recipe is None else Recipe.parse(asked.recipe)
        models.within(mixture, node.limits)
    if uses_tools and mixture.layers:
        return ALONE, PAPER_RECIPE, ("tools: calls of tools go to the own model alone",)
    if asked.private:
        recipe = replace(recipe, own=True)
    return mixture, recipe, ()


def usual(model: str, asked: DmoaOptions, node: Node) -> Json | None:
    """Tell what was usual here, where a request leaves its mixture to the node."""
    return models.default(node) if model == models.DEFAULT and not asked.shapes else None


def parent_of(connection: Request) -> str:
    """Tell in which span a request is made, as its `traceparent` says; empty where it does not."""
    return incoming(connection.headers.getlist("traceparent"))
