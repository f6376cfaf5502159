"""The fast engine: a setting in, what was measured out.

Where nothing but the paper's protocol is asked for the shortcut (`lindley`) gives the same
times as the event kernel (`kernel`) at a fraction of the work. Small settings run in plain
Python at once; large ones are compiled where numba is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Literal

import numpy as np

from dmoa.errors import MissingExtraError, UsageError
from dmoa.sim import compiled as compiler
from dmoa.sim import kernel, kernel_state, lindley
from dmoa.sim.arrivals import Homes, Times, Window, chunks, window
from dmoa.sim.kernel import CROWDED, MORE
from dmoa.sim.kernel_heap import ORDERS_MAX
from dmoa.sim.kernel_rules import check_setting, rules_of
from dmoa.sim.kernel_state import DONE, OUT
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting
from dmoa.sim.tally import Tally

Engine = Literal["auto", "kernel", "lindley"]
Progress = Callable[[int, int], None]
"""Told how many queries were asked so far, and of how many."""
Note = Callable[[str], None]
"""Told what takes long, in words for people."""

ANSWERS = 16_384
"""Answers that are kept until they are tallied."""
ROOM = 1024
"""Jobs, or queries, for which there is room in the beginning, in plain Python."""
ROOM_PER_NODE = 4
"""The same for each node, where it is compiled: room takes no memory until it is used."""
ROOM_MAX = 1 << 24
"""More room than that must turn out to be needed."""
JOBS_MAX = ORDERS_MAX // 8
"""Jobs of a run: each is scheduled a few times, and all of that is numbered."""
WORTH = 200_000
"""Jobs from which on a setting is worth a compiler."""


def still() -> float:
    """Tell no time: the clock of whom nobody gave one."""
    return 0.0


def simulate(  # noqa: PLR0913  (what to do, and whom to tell)
    setting: Setting,
    *,
    engine: Engine = "auto",
    compiled: bool | None = None,
    clock: Callable[[], float] = still,
    progress: Progress | None = None,
    note: Note | None = None,
) -> Outcome:
    """Simulate a setting; everything that is measured depends on it alone.

    `engine` "auto" is the shortcut where it is exact, else the kernel. `compiled` True wants
    numba, False plain Python, None the quicker of them. `clock` tells CPU seconds. UsageError
    where only agents can live through it (`Setting.lives`): `dream` simulates it.
    """
    began = clock()
    check_setting(setting)
    if setting.queries * setting.mixture.visits > JOBS_MAX:
        raise UsageError(f"a run has {JOBS_MAX:.0e} jobs at most", hint="ask for fewer queries")
    kept: list[Times] = []
    counted = window(setting, kept)
    run = _Run(setting, counted, engine, compiled, note)
    asked = 0
    for times, homes in chunks(setting, kept):
        run.ask(times, homes)
        asked += len(times)
        if progress is not None:
            progress(asked, counted.queries)
    run.follow(counted.end)
    sums = run.sums()
    followed = run.tally.follows(sums)
    if followed:
        run.follow(inf)
        sums = run.sums()
    name, tally = run.name, run.tally
    del run  # which may be large
    return tally.outcome(sums, engine=name, cpu_seconds=clock() - began, followed=followed)


class _Run:
    """One of the engines, with its state and its tally."""

    def __init__(
        self,
        setting: Setting,
        counted: Window,
        engine: Engine,
        compiled: bool | None,  # noqa: FBT001  (handed through)
        note: Note | None,
    ) -> None:
        exact = lindley.is_exact(setting.policy)
        if engine == "lindley" and not exact:
            raise UsageError(
                "the shortcut knows the paper's protocol only, and the policy is another",
                hint="leave the engine to auto, or take the kernel",
            )
        self.name = "lindley" if exact and engine != "kernel" else "kernel"
        self._module: Any = lindley if self.name == "lindley" else kernel_state
        self._advance: Any = lindley.advance if self.name == "lindley" else kernel.advance
        plain = self._advance
        if _is_worth(setting, counted, compiled):
            self._advance = compiler.compiled(plain)
        self._arrays = self._advance is not plain  # or the compiler is switched off
        if self._arrays:
            self.name = f"compiled {self.name}"
            if note is not None and not compiler.is_kept(self._advance):
                note("compiling the simulator, which is done once and takes a minute")
        self.tally = Tally(setting, counted)
        self._rules = rules_of(setting, counted, arrays=self._arrays)
        room = ROOM
        if self._arrays:
            wanted = min(ROOM_PER_NODE * setting.network.nodes, ROOM_MAX)
            room = max(ROOM, 1 << wanted.bit_length())
        self._state = self._module.start(
            self._rules, room=room, answers=ANSWERS, arrays=self._arrays
        )

    def ask(self, times: Times, homes: Homes) -> None:
        """Simulate a chunk of arrivals."""
        self._go_on(times, homes, 0.0)

    def follow(self, until: float) -> None:
        """Simulate what happens without further arrivals."""
        self._go_on(np.zeros(0), np.zeros(0, dtype=np.int64), until)

    def sums(self) -> Any:
        """Sum up what was measured so far."""
        return self._module.sums_of(self._rules, self._state)

    def _go_on(self, times: Times, homes: Homes, until: float) -> None:
        chunk: Any = (times, homes) if self._arrays else (times.tolist(), homes.tolist())
        self._state.counts[DONE] = 0
        why = CROWDED
        while why != MORE:
            why = self._advance(self._rules, self._state, *chunk, until)
            state = self._state
            size = state.counts[OUT]
            self.tally.take(
                state.out_number[:size],
                state.out_asked[:size],
                state.out_ended[:size],
                state.out_proposals[:size],
            )
            state.counts[OUT] = 0
            if why == CROWDED:
                self._state = self._module.grown(state)


def _is_worth(setting: Setting, counted: Window, compiled: bool | None) -> bool:  # noqa: FBT001
    """Tell whether to compile."""
    if compiled is None:
        return counted.queries * setting.mixture.visits >= WORTH and compiler.is_available()
    if compiled and not compiler.is_available():
        raise MissingExtraError(
            "the compiler of the simulator is not installed", hint="pip install 'dmoa[sim]'"
        )
    return compiled
