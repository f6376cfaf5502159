"""Many runs, on all cores, kept as they end: a sweep that can be stopped and gone on with."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from dmoa.errors import UsageError
from dmoa.sim import kernel, lindley
from dmoa.sim.arrivals import queries_of
from dmoa.sim.compiled import compiled, is_available, is_kept
from dmoa.sim.dream import dream
from dmoa.sim.engine import WORTH, Engine, simulate
from dmoa.sim.kernel_rules import check_setting
from dmoa.sim.lindley import is_exact
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Setting
from dmoa.study.grid import Point
from dmoa.study.ledger import Ledger, Run, key_of, told

ENGINES = ("auto", "kernel", "lindley", "world")
"""What may simulate: the fast engine, chosen or not, or the agents of the product.

Policies that only agents can follow are simulated by them where nothing else was chosen."""
WORTH_COMPILING = 1_000_000
"""Jobs of a sweep from which on a compiler is worth its start, if no run is by itself (`WORTH`);
what was compiled before is worth it from `WORTH` on."""
WORTH_PROCESSES = 8.0
"""Seconds of work from which on further processes are worth theirs."""
_SPEED = {"compiled": 3e6, "plain": 1e5, "world": 5e3}
"""Jobs per second, about: only to decide how to begin."""

Progress = Callable[[int, int, str], None]
"""Told how many jobs are simulated, of about how many, and what is under way."""
Note = Callable[[str], None]
"""Told what a person may want to know."""


def quiet(_text: str) -> None:
    """Say nothing."""


def unwatched(_done: int, _total: int, _what: str) -> None:
    """Watch nothing."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The points of a grid, each replicated; how they are run, and where they are kept.

    Replication r of a point has the seed of its setting plus r: points share their dice, so
    that they can be compared pair by pair, and more replications go on from fewer. `jobs`
    counts processes. `file` keeps the runs (JSON lines), and those in it are not made again.
    """

    points: Sequence[Point]
    replications: int = 1
    engine: str = "auto"
    jobs: int = 1
    file: Path | None = None
    note: Note = field(default=quiet)
    progress: Progress = field(default=unwatched)

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if self.replications < 1 or self.jobs < 1:
            raise UsageError("a sweep needs a replication and a process at least")
        if self.engine not in ENGINES:
            raise UsageError(
                f"there is no engine {self.engine!r}", hint=f"choose of {', '.join(ENGINES)}"
            )
        if self.engine in {"kernel", "lindley"}:
            for point in self.points:
                check_setting(point.setting)
        if self.engine == "lindley" and not all(is_exact(p.setting.policy) for p in self.points):
            raise UsageError(
                "the shortcut knows the paper's protocol only, and a policy is another",
                hint="leave the engine to auto, or take the kernel",
            )

    def runs(self) -> list[Run]:
        """List all runs: of each point its replications."""
        return [
            Run(replace(point.setting, seed=point.setting.seed + each), self.engine)
            for point in self.points
            for each in range(self.replications)
        ]

    def measure(self) -> list[list[Outcome]]:
        """Make the runs that are missing; for each point the outcomes of its replications.

        KeyboardInterrupt is passed on, with all runs that ended in the file.
        """
        runs = self.runs()
        keys = [key_of(told(run.setting), run.engine) for run in runs]
        if self.file is None:
            found = self._found(runs, keys, {}, None)
        else:
            with Ledger(self.file) as ledger:
                self._tell(ledger, keys)
                found = self._found(runs, keys, ledger.done, ledger)
        size = self.replications
        outcomes = [found[key] for key in keys]
        return [outcomes[place : place + size] for place in range(0, len(outcomes), size)]

    def _tell(self, ledger: Ledger, keys: Sequence[str]) -> None:
        """Say what the file holds already; refuse one of another sweep altogether."""
        if ledger.torn:
            self.note(f"the last line of {ledger.file} was torn, and that run is made again")
        here = sum(key in ledger.done for key in dict.fromkeys(keys))
        if ledger.done and not here:
            raise UsageError(
                f"{ledger.file} holds {len(ledger.done)} runs, and none of this sweep",
                hint="name another file, or give the options it was begun with",
            )
        if here:
            others = len(ledger.done) - here
            rest = f"; {others} of other settings stay there" if others else ""
            self.note(f"{here} of {len(keys)} runs are in {ledger.file} already{rest}")

    def _tell_agents(self, missing: Collection[Run]) -> None:
        """Say it where the fast engine cannot do what is asked."""
        if self.engine != "world" and any(by_agents(run) for run in missing):
            names = [p.policy for p in self.points if p.setting.lives]
            which = " and ".join(dict.fromkeys(name.partition("+")[0] for name in names))
            self.note(f"{which}: simulated by the agents themselves, which is slower")

    def _found(
        self,
        runs: Sequence[Run],
        keys: Sequence[str],
        known: dict[str, Outcome],
        ledger: Ledger | None,
    ) -> dict[str, Outcome]:
        found = dict(known)
        missing = {key: run for key, run in zip(keys, runs, strict=True) if key not in found}
        self._tell_agents(missing.values())

        def take(key: str, outcome: Outcome) -> None:
            found[key] = outcome
            if ledger is not None:
                ledger.write(missing[key], outcome)

        _Work(self, missing, take).go()
        return found


def by_agents(run: Run) -> bool:
    """Tell whether a run is made by the agents of the product."""
    return run.engine == "world" or (run.engine == "auto" and run.setting.lives)


class _Work:
    """The runs to make, one after the other or in processes."""

    def __init__(
        self, sweep: Sweep, missing: dict[str, Run], take: Callable[[str, Outcome], None]
    ) -> None:
        self._sweep, self._missing, self._take = sweep, missing, take
        self._fast = [run for run in missing.values() if not by_agents(run)]
        self._done, self._total = 0, sum(_size(run.setting) for run in missing.values())
        self._compiled = True if self._is_worth() else None
        seconds = [_size(run.setting) / _SPEED[self._kind(run)] for run in missing.values()]
        worth = sum(seconds) - max(seconds, default=0.0) > WORTH_PROCESSES
        self._processes = min(sweep.jobs, len(missing)) if worth else 1

    def _kind(self, run: Run) -> str:
        """Tell whose speed it is that a run is made with."""
        if by_agents(run):
            return "world"
        return "compiled" if self._compiled else "plain"

    def _is_worth(self) -> bool:
        """Tell whether to compile."""
        sizes = [_size(run.setting) for run in self._fast]
        if sum(sizes) < WORTH or not is_available():
            return False
        if sum(sizes) >= WORTH_COMPILING or max(sizes) >= WORTH:
            return True
        return all(
            is_kept(compiled(lindley.advance if shortcut else kernel.advance))
            for shortcut in self._kinds()
        )

    def _kinds(self) -> dict[bool, Run]:
        """Tell whether the shortcut is taken, and the kernel, and by which run."""
        return {run.engine != "kernel" and is_exact(run.setting.policy): run for run in self._fast}

    def go(self) -> None:
        """Make them all."""
        if self._compiled:
            self._compile()
        if self._processes > 1:
            self._in_processes()
        else:
            self._in_turn()

    def _in_turn(self) -> None:
        for key, run in self._missing.items():
            step = self._step(run.setting)
            step(0, 0)
            self._take(key, _made(run, self._compiled, step, self._sweep.note))
            self._done += _size(run.setting)
        self._sweep.progress(self._total, self._total, "")

    def _step(self, setting: Setting) -> Callable[[int, int], None]:
        """Follow one run among all."""
        begun, words, visits = self._done, _words(setting), setting.mixture.visits

        def step(asked: int, _of: int) -> None:
            self._sweep.progress(begun + asked * visits, self._total, words)

        return step

    def _compile(self) -> None:
        """Have the compiler done first: its time is not that of a run, nor of each process."""
        for run in self._kinds().values():
            small = replace(run.setting, queries=1, warmup=0.0)
            _made(replace(run, setting=small), self._compiled, None, self._sweep.note)

    def _in_processes(self) -> None:
        before = multiprocessing.active_children()
        pool = ProcessPoolExecutor(
            self._processes, multiprocessing.get_context("spawn"), initializer=_begin
        )
        try:
            pending = {
                pool.submit(_made, run, self._compiled): key for key, run in self._missing.items()
            }
            self._sweep.progress(0, self._total, f"{self._processes} processes")
            for future in as_completed(pending):
                key = pending[future]
                self._take(key, future.result())
                setting = self._missing[key].setting
                self._done += _size(setting)
                self._sweep.progress(self._done, self._total, _words(setting))
            pool.shutdown()
        except BaseException as error:
            # what is under way would take as long as it takes; nobody waits for it any more
            for child in multiprocessing.active_children():
                if child not in before:
                    child.terminate()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise UsageError(
                    "a process of the sweep was killed, as when memory runs out",
                    hint="take fewer --jobs; with --out the same command goes on from there",
                ) from None
            raise


def _made(
    run: Run,
    compile_it: bool | None,  # noqa: FBT001  (handed through)
    progress: Callable[[int, int], None] | None = None,
    note: Note | None = None,
) -> Outcome:
    if by_agents(run):
        return dream(run.setting, clock=time.process_time, progress=progress)
    return simulate(
        run.setting,
        engine=cast("Engine", run.engine),
        compiled=compile_it,
        clock=time.process_time,
        progress=progress,
        note=note,
    )


def _begin() -> None:
    """Begin a process: Ctrl-C is its parent's affair, and with the parent it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)  # nobody is left to say anything to

    threading.Thread(target=follow, daemon=True).start()


def _size(setting: Setting) -> int:
    """Tell about how many jobs a run has."""
    return queries_of(setting) * setting.mixture.visits


def _words(setting: Setting) -> str:
    mixture = setting.mixture
    return f"M={mixture.layers}, k={mixture.fanout}, seed {setting.seed}"
