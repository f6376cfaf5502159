"""The log of a node: lines on stderr, in which no prompt, answer or key stands unasked."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

_FORMAT = "%(levelname)s %(name)s: %(message)s"
_LONGEST_CHAIN = 16
_Raised = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
_log = logging.getLogger(__name__)


class Discreet(logging.Formatter):
    """Writes of an exception where it was raised and of what kind, but not what it says.

    That is often what somebody else wrote: a server that quotes the prompt it refuses, a value
    that could not be read.
    """

    def formatException(self, ei: _Raised) -> str:  # noqa: N802 - the name it is called by
        """Write an exception, after those that led to it."""
        lines: list[str] = []
        for error in reversed(list(_chain(ei[1]))):
            lines += traceback.format_tb(error.__traceback__)
            lines.append(f"{type(error).__qualname__} (log_prompts = true shows what it says)\n")
        return "".join(lines).rstrip("\n")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


class Lines(logging.Formatter):
    """Writes a record as one JSON object on one line, for programs.

    Its keys are `time` (UTC after RFC 3339, to the millisecond), `level`, `logger`, `node` and
    `message`; where something was raised, `exception` has what `inner` tells of it.
    """

    def __init__(self, inner: logging.Formatter, node: str) -> None:
        super().__init__()
        self._inner = inner
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; line ends inside of it are escaped."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": moment.removesuffix("+00:00") + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "node": self._node,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self._inner.formatException(record.exc_info)
        return json.dumps(line)


def begin(level: str, *, prompts: bool, node: str = "") -> None:
    """Log from `level` on, one of debug, info, warning and error; texts only with `prompts`.

    Where a `node` is named, each line is a JSON object that names it too.
    """
    handler = logging.StreamHandler()
    plain = logging.Formatter(_FORMAT) if prompts else Discreet(_FORMAT)
    handler.setFormatter(Lines(plain, node) if node else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def mishap(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody waited for; asyncio itself would write out all that had a part in it."""
    del loop
    error = context.get("exception")
    _log.error("%s", context["message"], exc_info=error)
