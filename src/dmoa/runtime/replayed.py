"""A record played again, as its node showed itself then: to be watched, not to be asked."""

from __future__ import annotations

from dmoa.core.agent import Agent
from dmoa.core.digest import Digest
from dmoa.core.effects import Standing, Trace
from dmoa.core.history import Record, fault
from dmoa.core.names import NodeId
from dmoa.core.policy import PAPER
from dmoa.core.reputation import Conduct
from dmoa.runtime.pace import Pace
from dmoa.runtime.records import Reader
from dmoa.runtime.sights import PaceSight
from dmoa.runtime.watch import Watch


class Replayed:
    """A recorded node, `Watched` while its record is played.

    What is shown as it happens is what the record says. How the node stands as somebody comes,
    an agent says that is told the same: the same, unless this release acts otherwise. `steps`
    counts what was played, `differs` is the first step (from 1) at which the agent did so.
    """

    def __init__(self, reader: Reader, speed: float = 1.0) -> None:
        birth = reader.birth
        self.reader = reader
        self.limits, self.timing = birth.limits, birth.timing
        self.pace = Pace(birth.now, speed)
        self.audience = Watch(self, version=reader.release, pace=self.pace, origin="record")
        self.is_open = True
        self.steps = 0
        self.differs: int | None = None
        self._mode = "paper" if birth.policy == PAPER else "steady"
        self._agent: Agent = reader.agent()

    @property
    def seconds(self) -> float:
        """How far it came, in seconds of the record."""
        return self.pace.now - self.reader.birth.now

    async def play(self) -> None:
        """Play it to its end; UsageError where a line is no step."""
        self.pace.begin()
        self.audience.show(PaceSight(self.pace.now, self.pace.speed))
        try:
            for record in self.reader.records():
                await self.pace.until(record.now)
                self.take(record)
        finally:
            self.pace.end()
            self.audience.show(PaceSight(self.pace.now))

    def take(self, record: Record) -> None:
        """Live one step, and show it."""
        self.steps += 1
        try:
            wanted = tuple(self._agent.handle(record.event, record.now))
            raised = ""
        except Exception as error:  # noqa: BLE001  (as it did then, or as a difference)
            wanted, raised = (), fault(error)
        if self.differs is None and (raised != record.raised or wanted != record.effects):
            now = Record(record.now, record.event, wanted, raised)
            self.differs = self.steps if repr(now) != repr(record) else None
        if not record.raised:  # else nobody was shown it then
            self.audience.saw(record.event, record.effects, record.now)

    def close(self) -> None:
        """Show it no longer."""
        self.is_open = False

    # -- as a scene and a plan need it -------------------------------------------------

    @property
    def id(self) -> NodeId:
        """The name of the node."""
        return self.reader.birth.node

    @property
    def mode(self) -> str:
        """How it chose."""
        return self._mode

    @property
    def digest(self) -> Digest:
        """How it stands."""
        return self._agent.digest(self.pace.now)

    @property
    def peers(self) -> list[tuple[Digest, float]]:
        """Whom it knows, with the age of what it knows in seconds."""
        return self._agent.view.known(self.pace.now)

    def conduct(self, peer: NodeId) -> Conduct:
        """Tell whether a peer is asked, and why not."""
        return self._agent.view.conduct(peer, self.pace.now)

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How its queries stand."""
        return self._agent.standings(self.pace.now)

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What happened to its queries under way, so far."""
        return self._agent.traces(self.pace.now)
