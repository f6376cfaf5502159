"""The log of a node: lines on stderr, in which no prompt, answer or key stands unasked."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
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


def begin(level: str, *, prompts: bool) -> None:
    """Log from `level` on, one of debug, info, warning and error; texts only with `prompts`."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(_FORMAT) if prompts else Discreet(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def mishap(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody waited for; asyncio itself would write out all that had a part in it."""
    del loop
    error = context.get("exception")
    _log.error("%s", context["message"], exc_info=error)
