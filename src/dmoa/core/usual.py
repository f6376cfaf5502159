"""What a query gets that names no mixture: the mixture only where it was measured to pay.

A mixture of weak models can be worse than its best member, and nobody knows beforehand. So a
node answers such queries with its own model alone, unless its operator wants the mixture, or a
verdict says that one pays here. A verdict is one line, as `dmoa eval gate` writes it:

```text
m1k2 with some-model: pays (+4.2 points, 95 % from +1.1 to +7.3, over n2, 300 items, 2026-11-22)
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, cast

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.recipe import PAPER_RECIPE, Recipe
from dmoa.errors import MixtureError

Word = Literal["pays", "does not pay", "can't tell"]
"""What a measurement says of a mixture, beside the best member alone."""
WORDS: tuple[Word, ...] = ("pays", "does not pay", "can't tell")

Why = Literal["chosen", "measured", "unmeasured"]
"""Who decided: the operator, a measurement, or nobody yet."""

_VERDICT = re.compile(
    r"(?P<name>m\d{1,3}k\d{1,3})(?:-(?P<recipe>[a-z+]+))?(?: with (?P<model>\S(?:.*?\S)?))?"
    rf": (?P<word>{'|'.join(WORDS)})(?: \((?P<figures>.+)\))?",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was measured of one mixture; `model` is that of the home it was measured at."""

    mixture: Mixture
    recipe: Recipe
    word: Word
    model: str = ""
    figures: str = ""

    @property
    def text(self) -> str:
        """The line that says it, as it is parsed."""
        figures = f" ({self.figures})" if self.figures else ""
        with_model = f" with {self.model}" if self.model else ""
        return f"{spelled(self.mixture, self.recipe)}{with_model}: {self.word}{figures}"

    @classmethod
    def parse(cls, text: str) -> Verdict:
        """Read a line; MixtureError if it is no verdict."""
        match = _VERDICT.fullmatch(text.strip())
        if match is None:
            raise MixtureError(
                "a verdict is written like `m1k2 with MODEL: pays (FIGURES)`",
                hint="`dmoa eval gate` writes it",
            )
        return cls(
            Mixture.parse(match["name"]),
            Recipe.parse(match["recipe"] or ""),
            cast("Word", match["word"]),
            match["model"] or "",
            match["figures"] or "",
        )


def spelled(mixture: Mixture, recipe: Recipe) -> str:
    """Spell a mixture with its recipe, as in `m1k2-self`; the own model alone is `local`."""
    if not mixture.layers:
        return "local"
    return f"{mixture.name}-{recipe.name}" if recipe.name else mixture.name


@dataclass(frozen=True, slots=True)
class Usual:
    """What a node gives where nothing is asked for, and why; in words in `detail`."""

    mixture: Mixture = field(default_factory=Mixture)
    recipe: Recipe = PAPER_RECIPE
    why: Why = "chosen"
    detail: str = "the operator chose it"

    @property
    def name(self) -> str:
        """Its short name."""
        return spelled(self.mixture, self.recipe)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an operator, and what was measured, say about queries that name no mixture.

    `mixture` and `recipe` are those of the settings, and `named` tells that the operator set
    one of them. `default` is the operator's word: `mixture`, `local`, or `auto`, which goes by
    the verdict, or without one by whether a mixture was named.
    """

    mixture: Mixture = field(default_factory=Mixture)
    recipe: Recipe = PAPER_RECIPE
    default: str = "auto"
    verdict: Verdict | None = None
    named: bool = True

    def usual(self, model: str) -> Usual:
        """Decide for a home with this model; what was measured with another does not count."""
        verdict = self.verdict
        if self.default == "local":
            return Usual(ALONE, PAPER_RECIPE, "chosen", "the operator wants the own model alone")
        if self.default == "mixture" or (verdict is None and self.named):
            return Usual(self.mixture, self.recipe)
        if verdict is None:
            why = "nobody has measured that a mixture pays here"
            return Usual(ALONE, PAPER_RECIPE, "unmeasured", why)
        if verdict.model not in ("", model):
            why = f"what was measured was measured with {verdict.model}, and this is {model}"
            return Usual(ALONE, PAPER_RECIPE, "unmeasured", why)
        if verdict.word == "pays":
            return Usual(verdict.mixture, verdict.recipe, "measured", verdict.text)
        return Usual(ALONE, PAPER_RECIPE, "measured", verdict.text)

    def shaped(self, model: str) -> tuple[Mixture, Recipe]:
        """Tell what a query begins from that wants a mixture, and does not say all of it."""
        found = self.usual(model)
        return (
            (found.mixture, found.recipe) if found.mixture.layers else (self.mixture, self.recipe)
        )
