"""How far long work has come: a bar with the time left on a terminal, now and then a line else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from dmoa.cli import render

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_SILENCE = 30.0
"""Seconds between two lines, where there is no terminal to draw a bar on."""


class progress_bar:  # noqa: N801  (used like a function)
    """A bar on stderr, within a `with`; call it with what is done, of how much, and what is next.

    It is gone when the work ends, and nothing of it comes to stdout.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._bar: Progress | None = None
        self._row: TaskID | None = None
        self._told = time.monotonic()

    def __enter__(self) -> Self:
        """Begin, with nothing done yet."""
        screen = render.console(stderr=True)
        if screen.is_terminal:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
            from rich.progress import TimeRemainingColumn as Left

            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Left())
            self._bar = Progress(*columns, console=screen, transient=True, redirect_stdout=False)
            self._row = self._bar.add_task(self._title, total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """Tell how far it has come."""
        title = f"{self._title}: {what}" if what else self._title
        if self._bar is not None and self._row is not None:
            self._bar.update(self._row, completed=done, total=total, description=title)
        elif time.monotonic() - self._told > _SILENCE:
            self._told = time.monotonic()
            render.talk(f"{title}, {done / max(total, 1):.0%} done")

    def say(self, text: str) -> None:
        """Say something beside the bar."""
        if self._bar is not None:
            self._bar.console.print(render.plain(text), markup=False, soft_wrap=True)
        else:
            render.talk(text)
