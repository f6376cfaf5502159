"""What `--watch` is: a page on this machine, on which a record or a simulation is played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dmoa.cli import render

if TYPE_CHECKING:
    from dmoa.runtime.replayed import Replayed
    from dmoa.runtime.watch import Stage
    from dmoa.sim.outcome import Outcome
    from dmoa.study.grid import Point

_MOST = 100.0
"""Seconds played in one: beyond, nobody sees anything."""
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Player:
    """How it is played: so many seconds in one, on a page at this port."""

    speed: float = 1.0
    port: int = 0


def watch_options(what: str) -> Callable[[_Command], _Command]:
    """Let the person watch, at any speed."""

    def decorate(function: _Command) -> _Command:
        for option in (
            click.option(
                "--port",
                type=click.IntRange(0, 65535),
                metavar="N",
                help="Of the page  [default: any free one]",
            ),
            click.option(
                "--speed",
                type=click.FloatRange(0, _MOST, min_open=True),
                metavar="X",
                help="Seconds played in one, with --watch  [default: 1]",
            ),
            click.option("--watch", is_flag=True, help=what),
        ):
            function = option(function)
        return function

    return decorate


def player(*, watch: bool, speed: float | None, port: int | None) -> Player | None:
    """Tell how it is played, None where it is not; UsageError for options that say nothing then."""
    from dmoa.errors import UsageError

    if watch:
        return Player(speed or 1.0, port or 0)
    if speed is not None or port is not None:
        raise UsageError("--speed and --port say how to watch", hint="add --watch")
    return None


# -- a record -----------------------------------------------------------------------------


def watch_record(replayed: Replayed, port: int) -> None:
    """Play a record on a page until Ctrl-C."""
    birth, reader = replayed.reader.birth, replayed.reader

    def over() -> None:
        steps = f"{replayed.steps} {'step' if replayed.steps == 1 else 'steps'}"
        render.talk(f"the record is over: {steps} in {replayed.seconds:.1f} s; Ctrl-C ends this")
        if replayed.pace.leapt:
            render.note(f"pauses were shortened, by {replayed.pace.leapt:.1f} s in all")
        if reader.torn:
            render.note("the last line was cut off, and is passed over")

    _play(replayed, port, f"node {birth.node} lives again, as recorded", over)
    if replayed.differs is not None:
        render.note(
            f"this release acts differently at step {replayed.differs}: "
            f"`dmoa replay {reader.file}` tells how"
        )


# -- a simulation ---------------------------------------------------------------------


def check_watched(points: Sequence[Point], engine: str, out: Path | None) -> None:
    """Refuse what cannot be watched: one point is, lived once by the product's own agents."""
    from dmoa.errors import UsageError

    if len(points) > 1:
        raise UsageError(
            f"--watch shows one point, and these are {len(points)}", hint="give no lists"
        )
    if out is not None:
        raise UsageError("--watch keeps no runs", hint="leave --out or --watch out")
    if engine not in {"auto", "world"}:
        raise UsageError(
            f"the engine {engine} has no agents to watch", hint="leave --engine or --watch out"
        )


def watch_point(point: Point, how: Player, show: Callable[[Outcome, float], bool]) -> bool:
    """Live through a point on a page until Ctrl-C; what `show` says of its outcome and seconds.

    KeyboardInterrupt where that was before its end.
    """
    import time

    from dmoa.study.dreamt import Dreamt

    stage = Dreamt(point.setting, how.speed)
    said, began = list[bool](), time.monotonic()

    def over() -> None:
        if stage.outcome is not None:
            said.append(show(stage.outcome, time.monotonic() - began))
        render.talk("it is over, and stays to be looked at; Ctrl-C ends this")

    lasts = f"{point.setting.network.nodes} nodes, for {_lasting(stage.seconds / how.speed)}"
    if not _play(stage, how.port, lasts, over):
        render.talk(f"stopped after {stage.asked} queries, and there is no result")
        raise KeyboardInterrupt
    return said[0]


def _lasting(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def _play(stage: Stage, port: int, what: str, over: Callable[[], None]) -> bool:
    import asyncio

    from dmoa.assemble import show

    def ready(url: str) -> None:
        render.talk(f"watch it at {url}: {what}")
        render.talk("it begins once somebody looks; Ctrl-C ends it")

    return asyncio.run(show(stage, port=port, ready=ready, over=over))
