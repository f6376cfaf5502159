"""How long jobs wait at the nodes of a run while one configuration is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dmoa.study.evals.plan import Run
from dmoa.study.evals.records import Span
from dmoa.study.load.live import Nodes
from dmoa.study.load.records import NodeSample

WATCH_SECONDS = 5.0
"""Between two looks at the queues."""
_ALIVE = 0.5
"""Share of the time passed by which the clock of a node goes on at least, unless it ended."""


class Watch:
    """Looks at the queues of all nodes while one configuration is asked.

    A node that was started anew in between begins a new leg, and so does a run that goes on.
    """

    def __init__(self, run: Run, configuration: str, names: Sequence[str], nodes: Nodes) -> None:
        self._run = run
        self._configuration = configuration
        self._names = names
        self._nodes = nodes
        self._legs: list[int] = []
        self._first: list[NodeSample | None] = []
        self._last: list[tuple[NodeSample, float] | None] = []

    async def begin(self) -> None:
        """Look for the first time: what was counted before is not counted."""
        self._legs = [self._run.legs[self._configuration, name] for name in self._names]
        self._first = [None] * len(self._names)
        self._last = [None] * len(self._names)
        await self.look()

    async def go_on(self) -> None:
        """Look now and then."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Ask one node after the other how it stands, and keep it."""
        for node, name in enumerate(self._names):
            sample = await self._nodes.sample(node)
            if sample is None:
                continue
            if self._restarted(node, sample):
                # what it counted before its end is in the leg before
                self._legs[node] += 1
                self._first[node] = None
            first = self._first[node] = self._first[node] or sample
            self._last[node] = (sample, _now())
            if sample is not first:
                self._run.span(self._span(node, name, first, sample))

    def _restarted(self, node: int, sample: NodeSample) -> bool:
        last = self._last[node]
        if last is None:
            return False
        return sample.seconds < last[0].seconds + _ALIVE * (_now() - last[1])

    def _span(self, node: int, name: str, first: NodeSample, last: NodeSample) -> Span:
        return Span(
            configuration=self._configuration,
            node=name,
            leg=self._legs[node],
            seconds=round(last.seconds - first.seconds, 4),
            waiting_job_seconds=round(last.waiting_job_seconds - first.waiting_job_seconds, 4),
            serving_job_seconds=round(last.serving_job_seconds - first.serving_job_seconds, 4),
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
