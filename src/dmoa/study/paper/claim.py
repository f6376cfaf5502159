"""What a reproduction says: its rows, what was assumed, and whether the claim holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dmoa.study.plots import Panel

Progress = Callable[[int, int, str], None]
"""Told how many parts are done, of how many, and what the one under way is."""

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its key in JSON, its heading, the unit of its numbers, and how they are written.

    `form` is a format specification such as `.2f`; `%` is a unit like any other: numbers are
    given in per cent there.
    """

    key: str
    heading: str
    unit: str = ""
    form: str = ".3g"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was asked of the measurements, in words, and whether it is so."""

    text: str
    holds: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim measured again.

    Each row has one value per column. `assumed` says what was fitted, taken or left out.
    `panels` are what `--plot` draws, as lines, or as bars where `bars` says so.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Value]]
    findings: Sequence[Finding]
    assumed: Sequence[str]
    panels: Sequence[Panel] = ()
    bars: bool = False

    @property
    def holds(self) -> bool:
        """Tell whether every finding is as claimed."""
        return all(finding.holds for finding in self.findings)
