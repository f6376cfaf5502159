"""Files of JSON lines, each of a named kind, that a killed run goes on from."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Self, cast

import msgspec

from dmoa.errors import UsageError
from dmoa.study.ledger import Ledger

FORMAT = 1
"""Of the lines; another one is not read."""


@lru_cache(maxsize=1)
def _version() -> str:
    """Look the release up once: it takes longer than to write a line."""
    return version("dmoa")


class Lines(Ledger):
    """The lines of a file, read and locked as those of a ledger are; open it within a `with`.

    `rows` are the objects that were there, in their order; each has a `kind`. UsageError where
    the file is not of our making, of another version, or being written by somebody else.
    """

    rows: list[dict[str, Any]]

    def __enter__(self) -> Self:
        """Read what is there, and keep others from writing to it."""
        self.rows = []
        return super().__enter__()

    def _take(self, number: int, line: bytes) -> None:
        try:
            found: object = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict) or "kind" not in found or "dmoa" not in found:
            raise self._foreign(number)
        row = cast("dict[str, Any]", found)
        if row.get("format") != FORMAT:
            raise UsageError(
                f"{self.file}, line {number}: was written by dmoa {row['dmoa']}, which this one "
                "does not read",
                hint="name another file",
            )
        self.rows.append(row)

    def add(self, kind: str, what: Any, *, sync: bool = False) -> None:
        """Add a line; the system has it, though not yet the disk, when this returns.

        To `sync`, that is to wait for the disk, would hold up queries that are due.
        """
        assert self._open is not None, "the file is open while lines are written"
        if self.torn:
            self._open.truncate(self._end)
            self.torn = False
        begin = {"dmoa": _version(), "format": FORMAT, "kind": kind}
        line = begin | cast("dict[str, Any]", msgspec.to_builtins(what))
        self._open.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        self._open.flush()
        if sync:
            os.fsync(self._open.fileno())
