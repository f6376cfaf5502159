"""A question of a response: all that is needed to ask it, now or in a later life of the node."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dmoa.api.asking import usual, wanted
from dmoa.api.schema import DmoaOptions
from dmoa.api.shapes import Json
from dmoa.core.job import Sampling, Turn
from dmoa.runtime.node import Node
from dmoa.runtime.streams import Followed


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of which model, and how; the mixture is chosen when it is asked.

    `trace` names the span in which it is asked (W3C's `traceparent`), or is empty.
    """

    turns: tuple[Turn, ...]
    model: str
    sampling: Sampling
    asked: DmoaOptions
    trace: str = ""

    @property
    def size(self) -> int:
        """Bytes of its conversation."""
        return sum(turn.size for turn in self.turns)

    def follow(self, node: Node, *, tick: float | None = None) -> Followed:
        """Ask it; raises as `Node.follow`, and where its model or mixture cannot be."""
        mixture, recipe, notes = wanted(self.model, self.asked, node)
        return node.follow(
            self.turns,
            mixture=mixture,
            recipe=recipe,
            sampling=self.sampling,
            deadline=self.asked.deadline,
            notes=notes,
            drafts=False,
            tick=tick,
            trace=self.trace,
        )

    def default(self, node: Node) -> Json | None:
        """Tell what was usual here, where the question leaves its mixture to the node."""
        return usual(self.model, self.asked, node)

    def dump(self) -> str:
        """Write it as JSON."""
        shaped = {
            "turns": [[turn.role, turn.content] for turn in self.turns],
            "model": self.model,
            "sampling": asdict(self.sampling),
            "dmoa": self.asked.model_dump(exclude_none=True),
            "trace": self.trace,
        }
        return json.dumps(shaped, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Question:
        """Read what `dump` wrote."""
        shaped = json.loads(text)
        sampling: dict[str, Any] = shaped["sampling"]
        sampling["stop"] = tuple(sampling["stop"])
        return cls(
            tuple(Turn(role, content) for role, content in shaped["turns"]),
            shaped["model"],
            Sampling(**sampling),
            DmoaOptions(**shaped["dmoa"]),
            shaped.get("trace", ""),
        )
