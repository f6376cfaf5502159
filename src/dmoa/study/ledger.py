"""A file of runs, one JSON line each, that a killed sweep goes on from.

Each line stands for itself: the version, a key (a hash of all that the result depends on),
the setting, and the outcome. Lines are written as the runs end, and are on the disk before
the next one is; of a sweep that was killed at most the last line is torn, and dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from importlib import import_module
from importlib.metadata import version
from math import isfinite, nan
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from dmoa.core.network import Costs
from dmoa.errors import UsageError
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Bursts, Recorded, Setting

FORMAT = 1
"""Of the lines; another one is not read."""
TOLD = 64
"""Numbers of a list that are written out; of a longer one its length and hash stand there."""
_BEGIN = '{"dmoa": '
"""How every line begins."""


@dataclass(frozen=True, slots=True)
class Run:
    """One replication of one setting, and the engine that is to simulate it."""

    setting: Setting
    engine: str = "auto"


def told(setting: Setting) -> dict[str, Any]:
    """Tell all that the result of a setting depends on, for JSON."""
    network, law = setting.network, setting.law
    graph = None if network.graph is None else [list(peers) for peers in network.graph]
    flat = [len(network.graph or ())] + [peer for peers in network.graph or () for peer in peers]
    return {
        "network": {
            "nodes": network.nodes,
            "arrival_rates": _short(network.arrival_rates),
            "service_times": _short(network.service_times),
            "slots": _short(network.slots),
            "costs": _costs(network.costs),
            "graph": graph if len(flat) <= TOLD else _digest(graph),
        },
        "mixture": asdict(setting.mixture),
        "law": {
            "name": type(law).__name__,
            "code": law.code,
            "numbers": list(law.numbers),
            "table": _short(law.table),
        },
        "policy": asdict(setting.policy),
        "arrivals": _arrivals(setting.arrivals),
        "queries": setting.queries,
        "warmup": setting.warmup,
        "gossip": setting.gossip,
        "deadline": _finite(setting.deadline),
        "seed": setting.seed,
    }


def key_of(setting: dict[str, Any], engine: str) -> str:
    """Name a run by all that its result depends on."""
    return _hash({"engine": engine, "setting": setting})[:16]


class Ledger:
    """The runs of one file; open it within a `with`.

    `done` has the outcomes by key. UsageError where the file is not of our making, of
    another version, or being written by somebody else; `torn` tells whether a torn last line
    is dropped (from the disk with the next one that is written).
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done: dict[str, Outcome] = {}
        self.torn = False
        self._end = 0
        self._open: IO[bytes] | None = None

    def __enter__(self) -> Self:
        """Read what is there, and keep others from writing to it."""
        try:
            self._open = self.file.open("a+b")
        except OSError as error:
            raise UsageError(
                f"{self.file} cannot be written: {error.strerror or error}",
                hint="name a file in a folder that exists",
            ) from None
        try:
            self._lock(self._open)
            self._open.seek(0)
            self._read(self._open.read())
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go of it; what was written is there already."""
        if self._open is not None:
            self._open.close()

    def write(self, run: Run, outcome: Outcome) -> None:
        """Add a run, and wait until the disk has it."""
        setting = told(run.setting)
        key = key_of(setting, run.engine)
        line = {
            "dmoa": version("dmoa"),
            "format": FORMAT,
            "key": key,
            "engine": run.engine,
            "setting": setting,
            "outcome": {name: _finite(value) for name, value in asdict(outcome).items()},
        }
        assert self._open is not None
        if self.torn:
            self._open.truncate(self._end)
            self.torn = False
        self._open.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._open.flush()
        os.fsync(self._open.fileno())
        self.done[key] = outcome

    def _lock(self, file: IO[bytes]) -> None:
        try:
            fcntl: Any = import_module("fcntl")
        except ImportError:  # not on this system
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{self.file} is being written by another sweep",
                hint="wait for it, or name another file",
            ) from None

    def _read(self, content: bytes) -> None:
        whole, newline, rest = content.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if newline else [], 1):
            self._take(number, line)
        self._end = len(whole) + len(newline)
        if rest:
            begin = _BEGIN.encode()
            if not (rest.startswith(begin) or begin.startswith(rest)):
                raise self._foreign(whole.count(b"\n") + 2 if newline else 1)
            self.torn = True

    def _take(self, number: int, line: bytes) -> None:
        try:
            found: object = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "dmoa" not in found:
            raise self._foreign(number)
        row = cast("dict[str, Any]", found)
        if (row["dmoa"], row.get("format")) != (version("dmoa"), FORMAT):
            raise UsageError(
                f"{self.file}, line {number}: was written by dmoa {row['dmoa']}, and this is "
                f"{version('dmoa')}, whose figures may differ",
                hint="name another file",
            )
        try:
            key, wanted = row["key"], key_of(row["setting"], row["engine"])
            outcome = _outcome(row["outcome"]) if key == wanted else None
        except (KeyError, TypeError, ValueError):
            outcome = None
        if outcome is None:
            raise UsageError(
                f"{self.file}, line {number}: was changed after it was written",
                hint="take the line out, and the run is made again",
            )
        self.done[row["key"]] = outcome

    def _foreign(self, number: int) -> UsageError:
        return UsageError(
            f"{self.file}, line {number}: is no run of dmoa", hint="name another file"
        )


def _costs(costs: Costs) -> dict[str, float]:
    """Tell the costs; an overlap only where there is one, as runs were named before it was."""
    found = asdict(costs)
    if not costs.overlap:
        del found["overlap"]
    return found


def _arrivals(arrivals: Bursts | Recorded | None) -> dict[str, Any] | None:
    if isinstance(arrivals, Recorded):
        return {"times": _short(arrivals.times), "homes": _short(arrivals.homes)}
    return None if arrivals is None else asdict(arrivals)


def _short(values: Sequence[float]) -> object:
    """Write a list as short as its content allows: one number where all are alike."""
    if len(values) > 1 and all(each == values[0] for each in values):
        return {"each": values[0]}
    return list(values) if len(values) <= TOLD else _digest(list(values))


def _digest(value: Any) -> dict[str, object]:
    return {"count": len(value), "sha256": _hash(value)}


def _hash(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return sha256(text.encode()).hexdigest()


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value


def _outcome(row: dict[str, Any]) -> Outcome:
    values: dict[str, Any] = {}
    for each in fields(Outcome):
        value = row[each.name]
        kind = str(each.type)
        if kind == "float":
            value = nan if value is None else float(value)
        elif kind.startswith("tuple"):
            value = tuple(float(share) for share in value)
        elif not isinstance(value, int if kind == "int" else str):
            raise TypeError(each.name)
        values[each.name] = value
    return Outcome(**values)
