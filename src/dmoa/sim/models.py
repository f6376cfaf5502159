"""The models of a world: how long they work on a job, what comes of it, what they read ahead."""

from __future__ import annotations

from random import Random
from typing import Literal

from dmoa.core.effects import Read, Rest, Serve
from dmoa.core.events import Faltered, Served
from dmoa.core.job import Completion, Fault, FaultCode
from dmoa.core.names import NodeId
from dmoa.sim.faults import Faults
from dmoa.sim.reading import Readings
from dmoa.sim.services import Services

_BREAKS: tuple[FaultCode | Literal["empty"], ...] = (
    "unavailable",
    "rubbish",
    "timeout",
    "too_long",
    "empty",
)
_TOKENS = 10
"""Of every prompt and every completion."""


class Models:
    """All models of a world; their faults draw from a stream of their own.

    `overlap` is the share of a job that reads proposals which is reading them, and may
    be done ahead (`reading`).
    """

    def __init__(self, times: Services, faults: Faults, rng: Random, overlap: float) -> None:
        """Take how long jobs take, and what goes wrong."""
        self.times, self._faults, self._rng = times, faults, rng
        self.reading = Readings(overlap)

    def read(self, node: NodeId, effect: Read | Rest, now: float) -> None:
        """Read a prompt ahead, or leave it off."""
        if isinstance(effect, Read):
            self.reading.read(node, effect, now)
        else:
            self.reading.rest(effect.job, now)

    def serve(
        self, name: NodeId, number: int, effect: Serve, now: float
    ) -> tuple[float, Served | Faltered]:
        """Tell how long a service takes from now on (seconds), and how it ends."""
        job = effect.job
        seconds = self.times.seconds(number, job)
        hidden = self.reading.take(job, seconds, now)
        broken = self._faults.broken and self._rng.random() < self._faults.broken
        code = self._rng.choice(_BREAKS) if broken else None
        if code is not None and code != "empty":
            return seconds - hidden, Faltered(job.id, Fault(code))
        text = "" if code == "empty" else f"{name} says {seconds:.6f}"
        early = int(_TOKENS * hidden / (self.reading.overlap * seconds)) if hidden else 0
        done = Completion(text, "law", _TOKENS, _TOKENS, early_tokens=early)
        return seconds - hidden, Served(job.id, done)

    def deaf(self) -> bool:
        """Tell whether a model does not hear that it is to stop."""
        return bool(self._faults.deaf) and self._rng.random() < self._faults.deaf
