"""Where a span belongs: W3C's `traceparent`, as it comes over HTTP and travels with the jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

_TRACE_BITS, _SPAN_BITS = 128, 64
_PARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-[!-~]*)?"
)


@dataclass(frozen=True, slots=True)
class Context:
    """One span of one trace; neither is 0. What is not `sampled` is recorded by nobody."""

    trace: int
    span: int
    sampled: bool = True

    @property
    def text(self) -> str:
        """The `traceparent` of its children: 55 characters."""
        return f"00-{self.trace:032x}-{self.span:016x}-{int(self.sampled):02x}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a `traceparent`; None for what is none. Later versions may say more at the end."""
        match = _PARENT.fullmatch(text)
        if match is None or match["version"] == "ff":
            return None
        if match["version"] == "00" and match["more"] is not None:
            return None
        trace, span = int(match["trace"], 16), int(match["span"], 16)
        return cls(trace, span, bool(int(match["flags"], 16) & 1)) if trace and span else None

    def child(self, dice: Callable[[int], int]) -> Context:
        """Begin a span below this one; `dice` give so many random bits."""
        return Context(self.trace, _not_zero(dice, _SPAN_BITS), self.sampled)


def begin(dice: Callable[[int], int]) -> Context:
    """Begin a trace, which is sampled."""
    return Context(_not_zero(dice, _TRACE_BITS), _not_zero(dice, _SPAN_BITS))


def _not_zero(dice: Callable[[int], int], bits: int) -> int:
    return dice(bits) or 1


def incoming(values: Sequence[str]) -> str:
    """Read the `traceparent` headers of a request; empty unless there is just one, and whole."""
    parent = Context.parse(values[0].strip()) if len(values) == 1 else None
    return "" if parent is None else parent.text
