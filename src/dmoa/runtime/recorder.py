"""Writes down what a node's agent lives through, without ever holding up or ending the node.

Lines are put together where the agent works, and written by a thread of their own, every
second and at the end. What goes wrong ends the record, with one line in the log.
"""

from __future__ import annotations

import logging
import stat
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event as Bell
from threading import Lock, Thread
from typing import BinaryIO

from dmoa.core.agent import Agent
from dmoa.core.effects import Effect
from dmoa.core.events import Event
from dmoa.core.history import Birth, Record, fault
from dmoa.errors import ConfigError
from dmoa.runtime.records import LINE_BYTES, head_line, step_line

RECORD_BYTES = 256 * 1024 * 1024
"""Bytes of a record; then it ends."""
HELD_BYTES = 32 * 1024 * 1024
"""Bytes that wait to be written; a disk that takes less ends the record."""
FLUSH = 1.0
"""Seconds between two writes."""
GRACE = 5.0
"""Seconds that a disk is given at the end."""
_MODE = 0o600
"""Of the file: prompts are in it, which are for its owner alone."""

_log = logging.getLogger(__name__)


def _open(file: Path) -> BinaryIO:
    out = file.open("ab", buffering=0)
    if out.tell():
        out.close()
        raise OSError("another node writes to it")
    return out


class Recorder:
    """The record of one life, in a file that is new or empty; ConfigError where it cannot be.

    Of a node that is opened again, the first life is recorded. `size` bounds the file, in bytes.
    """

    def __init__(
        self,
        file: Path,
        *,
        size: int = RECORD_BYTES,
        held: int = HELD_BYTES,
        opened: Callable[[Path], BinaryIO] = _open,
    ) -> None:
        """Take the file, so that a wrong one is refused before a model is loaded."""
        self.file = file
        self._room = size
        self._most = held
        self._opened = opened
        self._lines: list[bytes] = []
        self._held = 0
        self._over = self._told = False
        self._lock = Lock()
        self._bell = Bell()
        self._thread: Thread | None = None
        try:
            if file.exists() and not stat.S_ISREG(file.stat().st_mode):
                raise _refused(file, "is no ordinary file")
            file.touch(_MODE)
            if file.stat().st_size:
                raise _refused(file, "is not empty")
            file.chmod(_MODE)
        except OSError as error:
            raise _refused(file, f"cannot be written: {error.strerror or error}") from None

    def begin(self, birth: Birth, rng: Random) -> None:
        """Write how the agent is made, before it throws its dice."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="record", daemon=True)
            self._put(lambda: head_line(birth, rng))
            self._thread.start()

    def handle(self, agent: Agent, event: Event, now: float) -> list[Effect]:
        """Let the agent take an event, and write down what it wants; its errors go on."""
        try:
            effects = agent.handle(event, now)
        except Exception as error:
            broken = Record(now, event, (), fault(error))
            self._put(lambda: step_line(broken))
            raise
        if not self._over:
            self._put(lambda: step_line(Record(now, event, tuple(effects))))
        return effects

    def close(self) -> None:
        """Write what is left, and end the record; waits for the disk, a few seconds at most."""
        self._over = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(GRACE)

    def _put(self, make: Callable[[], bytes]) -> None:
        if self._over:
            return
        try:
            line = make()
        except Exception as error:  # noqa: BLE001  (a node does not end because of its record)
            self._end(f"a step cannot be written down: {fault(error)}")
            return
        if len(line) > min(self._room, LINE_BYTES):
            self._end("it has reached its limit of bytes")
            return
        with self._lock:
            self._lines.append(line)
            self._held += len(line)
        self._room -= len(line)
        if self._held > self._most:
            self._end("the disk is too slow for it")

    def _end(self, why: str) -> None:
        """End the record; what was put into it before is still written."""
        self._over = True
        self._bell.set()
        if not self._told:
            self._told = True
            _log.warning("the record %s ends here: %s", self.file, why)

    def _run(self) -> None:
        """Write what there is, again and again, until the record is over."""
        try:
            with self._opened(self.file) as out:
                while not self._over:
                    self._write(out)
                    self._bell.wait(FLUSH)
                self._write(out)
        except OSError as error:
            self._lines.clear()
            self._end(error.strerror or str(error))

    def _write(self, out: BinaryIO) -> None:
        with self._lock:
            lines, self._lines, self._held = self._lines, [], 0
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[out.write(rest) :]


def _refused(file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"record: {file} {why}", hint="name a file that is not there yet: a record is one life"
    )
