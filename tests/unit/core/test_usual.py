"""What a query gets that names no mixture."""

from __future__ import annotations

import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.recipe import Recipe
from dmoa.core.usual import WORDS, Defaults, Usual, Verdict, Word, spelled
from dmoa.errors import MixtureError

SELF = Recipe(own=True)
PAYS = Verdict(Mixture(2, 1), SELF, "pays", "tiny", "+4 points")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("model", ["", "tiny", "a model: with (marks)"])
@pytest.mark.parametrize("figures", ["", "+4 points, 95 % from 1 to 7 (n=300)"])
def test_a_verdict_is_read_as_it_is_written(word: Word, model: str, figures: str) -> None:
    verdict = Verdict(Mixture(1, 2), SELF, word, model, figures)
    assert Verdict.parse(verdict.text) == verdict


@pytest.mark.parametrize("text", ["", "pays", "m1k2 pays", "m1k2: perhaps", "local: pays"])
def test_other_lines_are_no_verdict(text: str) -> None:
    with pytest.raises(MixtureError):
        Verdict.parse(text)


def test_nobody_measured_and_nobody_chose() -> None:
    usual = Defaults(Mixture(1, 2), named=False).usual("tiny")
    assert (usual.mixture, usual.why, usual.name) == (ALONE, "unmeasured", "local")


def test_who_names_a_mixture_has_chosen_it() -> None:
    assert Defaults(Mixture(1, 2), SELF).usual("tiny") == Usual(Mixture(1, 2), SELF, "chosen")


@pytest.mark.parametrize("named", [False, True])
def test_a_mixture_that_pays_is_usual_with_its_recipe(*, named: bool) -> None:
    usual = Defaults(Mixture(1, 2), verdict=PAYS, named=named).usual("tiny")
    assert (usual.mixture, usual.recipe, usual.why) == (Mixture(2, 1), SELF, "measured")
    assert usual.detail == "m2k1-self with tiny: pays (+4 points)"


@pytest.mark.parametrize("word", ["does not pay", "can't tell"])
def test_one_that_does_not_is_not(word: Word) -> None:
    verdict = Verdict(Mixture(1, 2), SELF, word, "tiny")
    usual = Defaults(Mixture(1, 2), verdict=verdict).usual("tiny")
    assert (usual.mixture, usual.why) == (ALONE, "measured")


def test_what_was_measured_with_another_model_does_not_count() -> None:
    usual = Defaults(Mixture(1, 2), verdict=PAYS).usual("other")
    assert (usual.mixture, usual.why) == (ALONE, "unmeasured")
    assert "tiny" in usual.detail


@pytest.mark.parametrize("verdict", [None, PAYS])
def test_the_operators_word_comes_first(verdict: Verdict | None) -> None:
    local = Defaults(Mixture(1, 2), default="local", verdict=verdict)
    mixed = Defaults(Mixture(1, 3), default="mixture", verdict=verdict, named=False)
    assert (local.usual("tiny").mixture, local.usual("tiny").why) == (ALONE, "chosen")
    assert (mixed.usual("tiny").mixture, mixed.usual("tiny").why) == (Mixture(1, 3), "chosen")


def test_who_shapes_a_query_begins_from_a_mixture() -> None:
    assert Defaults(Mixture(1, 2), SELF, "local").shaped("tiny") == (Mixture(1, 2), SELF)
    assert Defaults(Mixture(1, 2), verdict=PAYS).shaped("tiny") == (Mixture(2, 1), SELF)


def test_the_own_model_alone_has_no_recipe() -> None:
    assert spelled(ALONE, SELF) == "local"
    assert spelled(Mixture(1, 2), Recipe()) == "m1k2"
