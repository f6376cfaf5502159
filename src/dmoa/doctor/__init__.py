"""What can keep a node from running well on this machine, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dmoa.errors import DmoaError

State = Literal["ok", "note", "bad"]
"""`note` is worth knowing, and keeps nothing from running."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, in one line, and the `fix` where it is not well."""

    check: str
    state: State
    told: str
    fix: str = ""

    def __post_init__(self) -> None:
        """Hold that whoever is told of trouble is told what to do."""
        assert self.state == "ok" or self.fix, f"{self.check} has no fix"


Check = Callable[[], Finding | Sequence[Finding]]
"""Looks at one thing; may raise, which is then what it found."""


def examine(checks: Iterable[tuple[str, Check]]) -> Iterable[Finding]:
    """Go through checks by name, each whatever became of the others before."""
    for name, check in checks:
        try:
            found = check()
        except DmoaError as error:
            found = Finding(name, "bad", error.message, error.hint or "see the line above")
        except OSError as error:
            told = f"cannot be looked at: {error.strerror or error}"
            found = Finding(name, "note", told, "look at it by hand")
        yield from (found,) if isinstance(found, Finding) else found
