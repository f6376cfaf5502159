"""Processes that are measured: starting and stopping them, their CPU time and memory."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_STOP_SECONDS = 5.0
_CPU_CLOCK = 2
"""CPUCLOCK_SCHED of Linux: the CPU time of a process to the nanosecond, ended threads too."""


@contextmanager
def running(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Keep a process while the block runs; its standard input ends with the block."""
    with Path(log or "/dev/null").open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if log is None else sink,
            stderr=sink,
            env=env,
            text=True,
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """Ask a process to stop, then make it."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def cpu_seconds(pids: Iterable[int]) -> float:
    """Sum the CPU time that processes have used; Linux only."""
    return sum(time.clock_gettime_ns((~pid << 3) | _CPU_CLOCK) for pid in pids) / 1e9


def memory_mb(pid: int) -> tuple[float, float]:
    """Read the RSS and PSS of a process in MB (10^6 bytes); Linux only."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]:
        name, size, _ = line.split()
        sizes[name.rstrip(":")] = int(size)
    return sizes["Rss"] * 1024 / 1e6, sizes["Pss"] * 1024 / 1e6
