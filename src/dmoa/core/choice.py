"""Whom a home asks for the proposals of a layer, how many, and what it learns of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dmoa.core.effects import Outcome
from dmoa.core.names import JobId, NodeId
from dmoa.core.outlook import Outlook
from dmoa.core.policy import Policy, needed, spares
from dmoa.core.query import Query
from dmoa.core.view import View

DOUBTFUL = 2.0
"""A peer doubted more than this is not a measure of how long proposals take."""


@dataclass(slots=True)
class Choice:
    """The choices of one home: as its policy has it, with its own dice."""

    policy: Policy
    view: View
    outlook: Outlook
    rng: Random

    def draw(self, query: Query, now: float) -> list[NodeId]:
        """Draw whom the layer that begins may ask; without anybody, go on to the aggregation.

        Where peers were asked for and none is there, home has nobody to mix with: its
        model alone ends the query, with the proposals of earlier layers if there are some.
        In a crowd, or short of time, the rest of the layers is left out.
        """
        asked = query.asked.mixture
        others = self.outlook.bench.queue.own - 1
        plan = self.outlook.plan(asked, query.layer, query.expires - now, now, others=others)
        query.plan = plan
        if query.layer > plan.mixture.layers:
            query.degraded.append(
                f"shallow: {plan.why}; home aggregates in place of layer {query.layer}"
            )
            query.layer = query.layers + 1
            return []
        wanted = plan.mixture.fanout
        if not wanted or query.recipe.own:
            return []
        count = wanted + spares(self.policy.spare, plan.crowd)
        if self.policy.choice == "loaded":
            drawn = self.view.candidates(count, now, self.rng)
        else:
            drawn = self.view.sample(count, now, self.rng)
        if not drawn:
            self._tell_few(query, 0, now, "; home went on alone")
            query.layer = query.layers + 1
        return drawn

    def _tell_few(self, query: Query, found: int, now: float, so: str = "") -> None:
        """Say that there were too few to ask, and who was there and left out."""
        shunned, strange = self.view.left_out(now)
        out = [f"{shunned} shunned"] * bool(shunned) + [f"{strange} not trusted"] * bool(strange)
        besides = f" ({', '.join(out)})" if out else ""
        wanted = query.plan.mixture.fanout
        query.degraded.append(
            f"few: {found} of {wanted} peers were known in layer {query.layer}{besides}{so}"
        )

    def unsure(self, drawn: list[NodeId], now: float) -> list[NodeId]:
        """List those of whom too little is known to choose between them."""
        if self.policy.choice != "loaded" or self.policy.probe is None:
            return []
        return self.view.stale(drawn, self.policy.probe, now)

    def choose(self, query: Query, drawn: list[NodeId], now: float) -> list[tuple[NodeId, float]]:
        """Choose whom to ask of those drawn, with the seconds that each is expected to take."""
        wanted = query.plan.mixture.fanout
        count = wanted + spares(self.policy.spare, query.plan.crowd) if wanted else 0
        if query.recipe.own:
            count = wanted  # a spare would take the slot of one that is wanted
            chosen = [(query.home, self.outlook.own(now))] * wanted
        elif self.policy.choice == "loaded":
            chosen = self.view.lightest(drawn, count, now)
        else:
            chosen = [(node, 0.0) for node in drawn]
        if chosen and wanted < query.asked.mixture.fanout:
            query.degraded.append(
                f"narrow: {query.plan.why}; layer {query.layer} asks {wanted} of "
                f"{query.asked.mixture.fanout} peers"
            )
        if len(chosen) < wanted:
            self._tell_few(query, len(chosen), now)
        spare = max(0, len(chosen) - wanted)
        query.needed = needed(1 + len(chosen), spare, self.policy.missing)
        return chosen

    def other(self, query: Query, now: float) -> list[tuple[NodeId, float]]:
        """Choose whom to ask in place of a peer that declined."""
        if self.policy.choice == "loaded":
            drawn = self.view.candidates(1, now, self.rng, query.seated)
            return self.view.lightest(drawn, 1, now)
        return [(node, 0.0) for node in self.view.sample(1, now, self.rng, query.seated)]

    def judge(self, query: Query, job: JobId, now: float, outcome: Outcome) -> None:
        """Learn from how long a proposal took, or was waited for in vain.

        To wait in vain for less than was expected teaches nothing: so it goes where the user
        leaves, the deadline is near, or enough others were quicker. To wait for longer does:
        a peer that is always the one to spare may well be hung.
        """
        expected, node = query.expected.get(job, 0.0), query.pending[job]
        if not self.policy.learning or expected <= 0.0 or query.aggregating:
            return
        ratio = (now - query.began - query.visits[job].sent) / expected
        if outcome != "ok" and ratio < 1.0:
            return
        if node != query.home:
            self.view.judge(node, ratio, now)
        if outcome == "ok" or (outcome == "late" and self.view.doubt(node, now) < DOUBTFUL):
            self.outlook.proposed(ratio)
