"""What chance decided in a dream, written down, so that the kernel can repeat it."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

from dmoa.core.effects import Report, Serve
from dmoa.core.history import Record
from dmoa.core.job import Job
from dmoa.core.names import JobId, NodeId, QueryId
from dmoa.sim.arrivals import chunks
from dmoa.sim.draws import service
from dmoa.sim.dream import Dream
from dmoa.sim.kernel_replay import Trace
from dmoa.sim.services import seat_of
from dmoa.sim.setting import Setting


class Recording(NamedTuple):
    """A trace, and what came of it.

    `sojourns` are the seconds from question to answer, nan for a query that was refused.
    `starts` tells of each job that was served, by query, layer and seat, at which node it
    was, and when its service began (seconds).
    """

    trace: Trace
    sojourns: list[float]
    starts: dict[tuple[int, int, int], tuple[int, float]]


def record(setting: Setting) -> Recording:
    """Dream a setting in calm weather to the last answer, and write down what happened."""
    dream = Dream(setting, record=True)
    dream.live()
    times, homes = list[float](), list[int]()
    for some, where in chunks(setting):
        times += some.tolist()
        homes += where.tolist()
    reading = _Reading(dream, setting, len(times))
    for life, history in dream.world.histories.items():
        here = dream.nodes.index(NodeId(life.partition("/")[0]))
        for each in history:
            reading.read(each, here)
    sojourns = [nan] * len(times)
    for number, asked, ended, _ in dream.told:
        sojourns[number] = ended - asked
    trace = Trace(times, homes, reading.choices, reading.seconds, reading.seats)
    return Recording(trace, sojourns, reading.starts)


class _Reading:
    """Histories being read: who was seated, and who was served."""

    def __init__(self, dream: Dream, setting: Setting, queries: int) -> None:
        layers = setting.mixture.layers + 1
        self._dream = dream
        self._dice = service(setting)
        self._first: dict[tuple[int, int], Record] = {}
        self.choices = [[list[int]() for _ in range(layers)] for _ in range(queries)]
        self.seconds = [[list[float]() for _ in range(layers)] for _ in range(queries)]
        self.seats = [[0] * layers for _ in range(queries)]
        self.starts: dict[tuple[int, int, int], tuple[int, float]] = {}

    def read(self, record: Record, here: int) -> None:
        """Read one step of the agent of node `here`."""
        for effect in record.effects:
            match effect:
                case Serve(job=Job(id=job, query=query)):
                    number, (layer, seat) = self._dream.numbers[query], seat_of(job)
                    self.starts[number, layer, seat] = here, record.now
                case Report(query, visit) if visit.outcome == "pending":
                    self._seat(query, visit.job, self._dream.nodes.index(visit.node), record)
                case _:
                    pass

    def _seat(self, query: QueryId, job: JobId, node: int, record: Record) -> None:
        number, (layer, seat) = self._dream.numbers[query], seat_of(job)
        asked = self.choices[number][layer - 1]
        assert seat == len(asked), "seats are given in their order"
        asked.append(node)
        self.seconds[number][layer - 1].append(self._dice(number, layer, seat, node))
        begun = self._first.setdefault((number, layer), record) is record
        self.seats[number][layer - 1] += begun
