"""How recipes are spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.recipe import PAPER_RECIPE, WORDS, Recipe
from dmoa.errors import MixtureError


@given(st.sets(st.sampled_from(sorted(WORDS)), max_size=6))
def test_every_recipe_is_read_as_it_is_spelled(words: set[str]) -> None:
    if {"best", "seed"} <= words:
        return
    recipe = Recipe.parse("+".join(words))
    assert {word for word, key in WORDS.items() if getattr(recipe, key)} == words
    assert Recipe.parse(recipe.name) == recipe


def test_the_papers_way_has_no_name() -> None:
    assert PAPER_RECIPE.name == ""
    assert Recipe.parse("") == PAPER_RECIPE


@pytest.mark.parametrize("name", ["own", "self+", "self+self", "best+seed", "self best", "+"])
def test_other_words_are_refused(name: str) -> None:
    with pytest.raises(MixtureError):
        Recipe.parse(name)


def test_order_matters_where_something_is_left_out_or_chosen() -> None:
    assert [word for word in WORDS if Recipe.parse(word).orders] == ["select", "best", "seed"]
