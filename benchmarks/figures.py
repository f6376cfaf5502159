"""Numbers for people: quantiles, tables, and what machine they come from."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The quartiles of some measured values, and how many there are."""

    count: int
    low: float
    median: float
    high: float
    least: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up at least two values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(len(values), low, median, high, min(values))

    def text(self, digits: int = 1) -> str:
        """Write the median, and the quartiles in brackets."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a Markdown table: the first column left, the others right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        laid = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(laid) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def machine() -> str:
    """Say what this runs on, without saying where."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {python}"


def load() -> float:
    """Read how many processes wanted a core in the last minute."""
    return os.getloadavg()[0]
