"""A node as `dmoa up` makes it, which also writes down what it holds: for benchmarks/soak.py.

Every line of FILE is a JSON object: tasks of the loop, threads, open files, memory, and the ends
of exchanges with peers that are under way.

    uv run python benchmarks/soaked.py FILE --node n1 --port 4801 ...
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

from dmoa.config import load
from dmoa.net.exchange import Inquiry, Mailbox
from dmoa.net.zenoh_bridge import Question, Way

EVERY = 2.0
"""Seconds between two lines."""
COUNTED = {"questions": Question, "ways": Way, "mailboxes": Mailbox, "inquiries": Inquiry}
"""What holds a query of Zenoh, or waits for one."""


def held() -> dict[str, object]:
    """Count what this process holds now."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = {
        "at": time.time(),
        "tasks": len(asyncio.all_tasks()),
        "files": len(os.listdir("/proc/self/fd")),  # noqa: PTH208  (only counted)
        "threads": int(re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)[1]),  # type: ignore[index]
        "rss_mib": int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[1]) / 1024,  # type: ignore[index]
        "anonymous_mib": int(re.search(r"^RssAnon:\s+(\d+)", status, re.MULTILINE)[1]) / 1024,  # type: ignore[index]
    }
    gc.collect()  # what nobody can reach any more leaks nothing
    things = gc.get_objects()
    kinds = Counter(type(each) for each in things)
    found["objects"] = len(things)
    for name, kind in COUNTED.items():
        found[name] = sum(count for each, count in kinds.items() if issubclass(each, kind))
    return found


async def tell(file: Path) -> None:
    """Write a line now and then, for ever."""
    with file.open("a", encoding="utf-8") as lines:
        while True:
            lines.write(json.dumps(held()) + "\n")
            lines.flush()
            await asyncio.sleep(EVERY)


async def main(file: Path, flags: dict[str, object]) -> None:
    """Run a node until it is told to stop."""
    from dmoa.assemble import Ready, serve  # noqa: PLC0415  (settings are checked first)

    settings = load(flags, file=Path(os.devnull))

    def ready(told: Ready) -> None:
        print(json.dumps({"url": told.url}), flush=True)

    telling = asyncio.create_task(tell(file))
    try:
        await serve(settings, keys=None, ready=ready)
    finally:
        telling.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
