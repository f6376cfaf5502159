"""Live through many worlds: `python -m tests.worlds --count N [--start S]`, or `--seed S`.

For each world that breaks a promise, one line with the command that replays it.
"""

from __future__ import annotations

import argparse
import sys
import traceback

from .dream import run_world


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.worlds", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many worlds (1000)")
    parser.add_argument("--start", type=int, default=0, help="the first seed (0)")
    parser.add_argument(
        "--seed", type=int, help="this one world, with the whole story of a failure"
    )
    args = parser.parse_args()
    if args.seed is not None:
        world = run_world(args.seed)
        print(f"{world.fingerprint()}  seed {args.seed}: {world.events} events")  # noqa: T201
        return 0
    failed = 0
    for done, seed in enumerate(range(args.start, args.start + args.count), start=1):
        try:
            run_world(seed)
        except Exception as error:  # noqa: BLE001  (whatever breaks a world is what we look for)
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            why = str(error) or f"{where.name}: {where.line}"
            print(f"python -m tests.worlds --seed {seed}  # {type(error).__name__}: {why}")  # noqa: T201
        if done % 100 == 0:
            print(f"{done} worlds, {failed} failed", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
