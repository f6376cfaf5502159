"""Live through many worlds: `python -m tests.worlds --count N [--start S]`, or `--seed S`.

For each world that breaks a promise, one line on stdout with the command that replays it. All
cores are used (`--jobs` takes fewer). Whoever breaks it off is told how to go on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from os import cpu_count

from dmoa.cli.progress import progress_bar

from .dream import run_world, trouble

FEW = 50
"""Worlds for which no further process is started."""
CHUNK = 20
"""Worlds that a process is given at once."""


@contextmanager
def troubles(seeds: range, jobs: int) -> Iterator[Iterator[str]]:
    """Live through worlds, on several cores, in the order of their seeds."""
    if jobs == 1 or len(seeds) <= FEW:
        yield map(trouble, seeds)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield pool.imap(trouble, seeds, chunksize=CHUNK)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.worlds", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many worlds (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--jobs", type=int, default=cpu_count() or 1, help="processes (all cores)")
    parser.add_argument(
        "--seed", type=int, help="this one world, with the whole story of a failure"
    )
    args = parser.parse_args()
    if args.seed is not None:
        world = run_world(args.seed)
        print(f"{world.fingerprint()}  seed {args.seed}: {world.events} events")  # noqa: T201
        return 0
    return live(range(args.start, args.start + args.count), args.jobs)


def live(seeds: range, jobs: int) -> int:
    """Live through worlds, and tell how far that came."""
    done = failed = 0
    began = time.monotonic()
    try:
        with troubles(seeds, jobs) as told, progress_bar("worlds") as bar:
            for line in told:
                done += 1
                failed += bool(line)
                if line:
                    print(line, flush=True)  # noqa: T201
                pace = done / (time.monotonic() - began)
                bar(done, len(seeds), f"{done} lived, {failed} failed, {pace:.1f} a second")
    except KeyboardInterrupt:
        rest = f"--start {seeds.start + done} --count {len(seeds) - done}"
        print(f"go on with: python -m tests.worlds {rest}", file=sys.stderr)  # noqa: T201
    pace = done / (time.monotonic() - began)
    print(f"{done} worlds, {failed} failed, {pace:.1f} a second", file=sys.stderr)  # noqa: T201
    return 1 if failed or done < len(seeds) else 0


if __name__ == "__main__":
    sys.exit(main())
