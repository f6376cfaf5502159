"""Fuzz one border: `python -m tests.fuzz NAME --runs N [--seed S]`; `--list` names them.

It ends with 0 where nothing was found. What was found is printed with the input, and one more
line repeats it: `python -m tests.fuzz NAME --input HEX`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Protocol

BORDERS = {
    "codec": ("dmoa.net.codec",),
    "frames": ("dmoa.net.exchange", "dmoa.net.desk"),
    "config": ("dmoa.config", "dmoa.config.values"),
    "environment": ("dmoa.config", "dmoa.config.values"),
    "record": ("dmoa.runtime.records",),
    "keys": ("dmoa.config.keys",),
    "sse": ("dmoa.backends.sse",),
    "uri": ("dmoa.backends.uri",),
    "invitation": ("dmoa.realm.invitation", "dmoa.realm.notice"),
}
"""What is fuzzed, and which modules the fuzzer watches for new ways through them."""
LONGEST = {"sse": 512}
USUALLY = 4096
"""Bytes of an input."""
HANG_SECONDS = 10
MEMORY_MB = 1024


class Border(Protocol):
    def seeds(self) -> list[bytes]: ...

    def cross(self, data: bytes) -> None: ...


def border(name: str) -> Border:
    return import_module(f".border_{name}", __package__)


def fuzz(name: str, runs: int, seed: int) -> None:
    """Fuzz without end, or for so many runs; this process ends with it."""
    import atheris

    with atheris.instrument_imports(include=list(BORDERS[name])):
        found = border(name)

    def cross(data: bytes) -> None:
        try:
            found.cross(data)
        except BaseException:
            print(f"found: python -m tests.fuzz {name} --input {data.hex() or '-'}", flush=True)  # noqa: T201
            raise

    with tempfile.TemporaryDirectory() as place:
        for number, each in enumerate(found.seeds()):
            Path(place, f"{number}").write_bytes(each)
        limits = [f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST.get(name, USUALLY)}"]
        limits += [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MB}", "-len_control=0"]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={place}/", place], cross)
        atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BORDERS)
    parser.add_argument("--runs", type=int, default=-1, help="without it, until Ctrl-C")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", metavar="HEX", help="cross with this alone")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    if given.list or given.name is None:
        print(*BORDERS, sep="\n")  # noqa: T201
    elif given.input is not None:
        border(given.name).cross(bytes.fromhex(given.input.strip("-")))
    else:
        fuzz(given.name, given.runs, given.seed)


if __name__ == "__main__":
    main()
