"""The open-loop generator: every query goes out when it is due, whatever became of the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dmoa.core.mixture import Mixture
from dmoa.errors import NetworkShapeError, UsageError
from dmoa.sim.setting import Recorded
from dmoa.study.load.live import Nodes, NodeState, Reply
from dmoa.study.load.records import Log, QueryRecord, Sample
from dmoa.study.load.schedule import Prompts

ENDLESS = 86_400.0
"""The deadline of a query whose user would wait however long: the longest there is (seconds)."""
USUAL = 300.0
"""Seconds after which a node gives up where no deadline is given; it may be set otherwise."""

Told = Callable[[float, int, int], None]
"""Told how far a test is (seconds), how many were answered, and how many were not."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: which queries when and where, and how they are asked; times in seconds.

    `deadline` goes with every query; None leaves it to the node. At most `in_flight` queries
    are under way at once, and what is due beyond is dropped. Every `poll` seconds the nodes are
    asked how they stand, and also at the moments `marks`. After the last query was sent,
    answers are awaited for `drain` seconds.
    """

    arrivals: Recorded
    prompts: Prompts
    mixture: Mixture
    deadline: float | None = None
    in_flight: int = 10_000
    poll: float = 0.5
    drain: float = 60.0
    marks: Sequence[float] = ()

    def body(self, number: int) -> bytes:
        """Write what is sent of a query."""
        wishes: dict[str, float] = {"layers": self.mixture.layers, "fanout": self.mixture.fanout}
        if self.deadline is not None:
            wishes["deadline"] = self.deadline
        turns = self.prompts.of(number)
        return json.dumps({"model": "dmoa", "messages": turns, "dmoa": wishes}).encode()


async def greet(nodes: Nodes, mixture: Mixture) -> tuple[NodeState, ...]:
    """See that all nodes answer and know enough peers for the mixture; tell how they stand."""
    states = await nodes.states()
    names = [each.name for each in states]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise UsageError(
                f"{nodes.urls[names.index(name)]} and {nodes.urls[at]} are the same node, {name}",
                hint="name each node once",
            )
    wanted = mixture.fanout if mixture.layers else 0
    for state in states:
        if len(state.peers) < wanted:
            raise NetworkShapeError(
                f"{state.name} knows {len(state.peers)} peers, and a fanout of {wanted} needs "
                f"{wanted}",
                hint="wait until the nodes have met, start more, or ask for less --fanout",
            )
    return states


class Generator:
    """One run of a load test, or what is left of one that was begun before."""

    def __init__(self, load: Load, nodes: Nodes, log: Log, told: Told) -> None:
        self._load = load
        self._nodes = nodes
        self._log = log
        self._told = told
        self._leg = log.leg
        self._from = log.left
        self._zero = 0.0
        self._under_way: set[asyncio.Task[None]] = set()
        self._answered = sum(each.status == "answered" for each in log.queries.values())
        self._others = len(log.queries) - self._answered

    async def run(self) -> bool:
        """Ask all that is left; False where it was stopped (by cancelling) before its end.

        A test that is stopped keeps what is known so far; queries under way are given up.
        """
        self._zero = asyncio.get_running_loop().time() - self._from
        done = True
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._watch())
                await self._send(group)
                if self._under_way:
                    await asyncio.wait(self._under_way, timeout=self._load.drain)
                for each in (watch, *self._under_way):
                    each.cancel()
        except asyncio.CancelledError:
            done = False
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
        except BaseExceptionGroup as trouble:
            raise trouble.exceptions[0] from None
        await self._sample(self._now())
        return done

    def _now(self) -> float:
        return asyncio.get_running_loop().time() - self._zero

    async def _send(self, group: asyncio.TaskGroup) -> None:
        times, homes = self._load.arrivals.times, self._load.arrivals.homes
        for number in range(self._log.asked, len(times)):
            # even when late, so that answers are read meanwhile
            await asyncio.sleep(max(0.0, times[number] - self._now()))
            self._log.send(number)
            if len(self._under_way) >= self._load.in_flight:
                self._end(number, Reply("dropped"), 0.0)
                continue
            task = group.create_task(self._ask(number, homes[number]))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _ask(self, number: int, home: int) -> None:
        body = self._load.body(number)
        lag = self._now() - self._load.arrivals.times[number]
        patience = self._load.deadline or USUAL
        self._end(number, await self._nodes.ask(home, body, patience), lag)

    def _end(self, number: int, reply: Reply, lag: float) -> None:
        due, trace = self._load.arrivals.times[number], reply.trace
        record = QueryRecord(
            number=number,
            node=self._load.arrivals.homes[number],
            due=due,
            lag=lag,
            latency=self._now() - due,
            status=reply.status,
            http=reply.http,
            retry_after=reply.retry_after,
            position=trace.position,
            expected_seconds=trace.expected_seconds,
            degraded=trace.degraded,
            layers=trace.mixture.layers,
            fanout=trace.mixture.fanout,
            jobs=trace.jobs,
            letters=reply.letters,
            detail=reply.detail,
        )
        self._log.query(record)
        self._answered += reply.status == "answered"
        self._others += reply.status != "answered"

    # -- how the nodes stand -------------------------------------------------------------

    async def _watch(self) -> None:
        """Ask the nodes now and then, and at the marks, how they stand."""
        at = self._from
        marks = sorted(each for each in self._load.marks if each > at)
        while True:
            await asyncio.sleep(max(0.0, at - self._now()))
            await self._sample(self._now())
            self._told(self._now(), self._answered, self._others)
            at = max(at + self._load.poll, self._now())
            while marks and marks[0] <= self._now():
                marks.pop(0)
            at = min(at, marks[0]) if marks else at

    async def _sample(self, at: float) -> None:
        """Ask one node after the other: all at once would hold up the queries that are due."""
        found = [await self._nodes.sample(node) for node in range(len(self._nodes.urls))]
        self._log.sample(Sample(at, self._leg, tuple(found)))
