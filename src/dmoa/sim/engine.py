"""The fast engine: a setting in, what was measured out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import inf
from typing import Any, Literal

from dmoa.sim import lindley
from dmoa.sim.arrivals import chunks, window
from dmoa.sim.kernel_rules import Rules, rules_of
from dmoa.sim.lindley import CROWDED, DONE, MORE, OUT, Line
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting
from dmoa.sim.tally import Sums, Tally

Engine = Literal["auto", "kernel", "lindley"]
Progress = Callable[[int, int], None]
"""Told how many queries were asked so far, and of how many."""

ANSWERS = 8192
"""Answers that are kept until they are tallied."""


def _still() -> float:
    return 0.0


def simulate(
    setting: Setting,
    *,
    engine: Engine = "auto",  # noqa: ARG001  (one engine so far)
    compiled: bool | None = None,  # noqa: ARG001  (so far plain)
    clock: Callable[[], float] = _still,
    progress: Progress | None = None,
) -> Outcome:
    """Simulate a setting."""
    began = clock()
    counted = window(setting)
    tally = Tally(setting, counted)
    rules = rules_of(setting, counted, arrays=False)
    line = lindley.start(rules, places=1024, answers=ANSWERS, arrays=False)
    asked = 0
    for times, homes in chunks(setting):
        line = _advance(rules, line, tally, times.tolist(), homes.tolist(), 0.0)
        asked += len(times)
        if progress is not None:
            progress(asked, counted.queries)
    line = _advance(rules, line, tally, [], [], counted.end)
    sums = _sums(line)
    followed = tally.follows(sums)
    if followed:
        line = _advance(rules, line, tally, [], [], inf)
    return tally.outcome(
        _sums(line), engine="lindley", cpu_seconds=clock() - began, followed=followed
    )


def _advance(  # noqa: PLR0913, PLR0917  (a chunk is two lists)
    rules: Rules, line: Line, tally: Tally, times: list[float], homes: list[int], until: float
) -> Line:
    line.counts[DONE] = 0
    while True:
        why = lindley.advance(rules, line, times, homes, until)
        size = line.counts[OUT]
        tally.take(
            line.out_number[:size],
            line.out_asked[:size],
            line.out_ended[:size],
            line.out_proposals[:size],
        )
        line.counts[OUT] = 0
        if why == MORE:
            return line
        if why == CROWDED:
            line = _grown(line, ("times", "orders", "items", "homes", "layers", "asked"))


def _grown(line: Line, names: tuple[str, ...]) -> Line:
    for name in names:
        each: Any = getattr(line, name)
        longer: Any = each + [0] * (len(each) // 2)
        line = line._replace(**{name: longer})
    return line


def _sums(line: Line) -> Sums:
    backlog = list(accumulate(line.backlog))[: lindley.SAMPLES + 1]
    return Sums(
        line.sums[lindley.WAITING],
        line.sums[lindley.LENGTH],
        line.busy,
        [float(each) for each in backlog],
        line.counts[lindley.JOBS],
    )
