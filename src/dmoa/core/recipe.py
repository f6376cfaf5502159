"""How the proposals of a mixture are made and used, where that differs from the paper.

A recipe is spelled as words joined by `+`, as in the model name `dmoa-m1k3-self+best`; the
empty one is the paper's. Each word is known to help some networks and to harm others, which is
why it can be switched, and measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from dmoa.errors import MixtureError


@dataclass(frozen=True, slots=True)
class Recipe:
    """The ways of one query; all off is the paper's Algorithm 1.

    `own`: home's model, sampled k+1 times, makes all proposals (Self-MoA, arXiv 2502.00674).
    `select`: only the better half of the proposals, rounded up, is read on (as in SMoA, arXiv
    2411.03284). `trim`: a proposal far less like the others than they are to one another is
    dropped first (`ranking.outliers`). `agree`: where the proposals of a layer say the same, the
    most agreed of them is the answer, and nothing more is asked. `rank`: home's model ranks the
    proposals before they are used; without it those most like the others come first. `best`: the
    best proposal is the answer, and none is written anew. `seed`: the aggregator finds the best
    proposal as its own first answer, to be improved, and the others beside the question; without
    it all stand in the system message.
    """

    own: bool = False
    select: bool = False
    trim: bool = False
    agree: bool = False
    rank: bool = False
    best: bool = False
    seed: bool = False

    @property
    def orders(self) -> bool:
        """Tell whether it matters which proposal is the best."""
        return self.select or self.best or self.seed

    @property
    def name(self) -> str:
        """The words that are on, joined by `+`; empty for the paper's."""
        return "+".join(word for word, key in WORDS.items() if getattr(self, key))

    @classmethod
    def parse(cls, name: str) -> Recipe:
        """Read words joined by `+`; MixtureError if one is unknown, doubled or idle."""
        words = name.split("+") if name else []
        for word in words:
            if word not in WORDS:
                raise MixtureError(
                    f"{word[:40]!r} is no way to mix", hint=f"known: {', '.join(WORDS)}"
                )
        if len(set(words)) < len(words):
            raise MixtureError(f"{name[:80]!r} has a word twice")
        recipe = cls(**{WORDS[word]: True for word in words})
        if recipe.best and recipe.seed:
            raise MixtureError(
                "`best` writes no answer, so that `seed` has nothing to improve",
                hint="leave one of them out",
            )
        return recipe


WORDS = {
    "self": "own",
    "select": "select",
    "trim": "trim",
    "agree": "agree",
    "rank": "rank",
    "best": "best",
    "seed": "seed",
}
"""The words, in the order they are written, and the field that each switches on."""

PAPER_RECIPE = Recipe()
"""The paper's way: peers propose, home's model aggregates all of it."""
