"""Whom a home asks for the proposals of a layer, how many, and what it learns of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from dmoa.core.effects import Outcome
from dmoa.core.names import JobId, NodeId
from dmoa.core.outlook import Outlook
from dmoa.core.policy import CANDIDATES, Policy, needed, spares
from dmoa.core.query import Query
from dmoa.core.view import View

READ = 0.6
"""Share of a call that is left where its prompt is read: what a peer that was shown the job is
taken to need, when it is weighed against others. Of a call that reads two proposals and writes
100 tokens 41 to 56 % is reading, of one with four half to two thirds (135 million parameters,
one thread of a CPU)."""
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
        early = [node for node in query.early if self.view.may_ask(node, now)]
        if self.policy.choice == "loaded":
            count *= CANDIDATES
        early = early[:count]
        drawn = early + self.view.sample(count - len(early), now, self.rng, early)
        if not drawn:
            self._tell_few(query, 0, now, "; home went on alone")
            query.layer = query.layers + 1
        return drawn

    def early(self, query: Query, now: float) -> dict[NodeId, int]:
        """Draw whom the layer after the one under way will likely ask, each with its seat there.

        As it will be drawn when that begins, were it now. Of peers chosen by load only those
        are kept that read ahead: the others will be chosen then, with younger digests.
        """
        asked, layer = query.asked.mixture, query.layer + 1
        if query.recipe.own or not any(map(self.view.reads, self.view.living(now))):
            return {}
        others = self.outlook.bench.queue.own - 1
        plan = self.outlook.plan(asked, layer, query.expires - now, now, others=others)
        wanted = plan.mixture.fanout
        if layer > plan.mixture.layers or not wanted:
            return {}
        count = wanted + spares(self.policy.spare, plan.crowd)
        if self.policy.choice != "loaded":
            drawn = self.view.sample(count, now, self.rng)
            return {node: seat for seat, node in enumerate(drawn, 1)}
        drawn = self.view.candidates(count, now, self.rng)
        chosen = self.view.lightest(drawn, count, now)
        return {node: seat for seat, (node, _) in enumerate(chosen, 1) if self.view.reads(node)}

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
            chosen = self._lightest(query, drawn, count, now)
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
        early, query.early = query.early, {}
        return seated(chosen, early) if early else chosen

    def _lightest(
        self, query: Query, drawn: list[NodeId], count: int, now: float
    ) -> list[tuple[NodeId, float]]:
        """Choose those with the least burden; that of who was shown the job counts for less."""
        if not query.early:
            return self.view.lightest(drawn, count, now)

        def burden(each: tuple[NodeId, float]) -> float:
            return each[1] * (READ if each[0] in query.early else 1.0)

        return sorted(self.view.lightest(drawn, len(drawn), now), key=burden)[:count]

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


def seated(
    chosen: list[tuple[NodeId, float]], early: dict[NodeId, int]
) -> list[tuple[NodeId, float]]:
    """Put the chosen in the order of their seats, from 1: that of who was shown one is kept."""
    places: dict[int, tuple[NodeId, float]] = {}
    rest: list[tuple[NodeId, float]] = []
    for each in chosen:
        seat = early.get(each[0], 0)
        if 0 < seat <= len(chosen):
            places[seat] = each
        else:
            rest.append(each)
    others = iter(rest)
    return [places.get(seat) or next(others) for seat in range(1, len(chosen) + 1)]
