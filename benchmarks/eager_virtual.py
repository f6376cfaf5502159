"""The same on virtual time, where figures are exact: any k and M, models that only take time.

Home writes for `WRITE` seconds, and each peer for `SLOWER` seconds more than the one before, so
that proposals end one after the other, home's own first; a token is read in `READ` seconds. One
query is asked in an idle network: what reading ahead saves is then all that can be saved.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import figures
from eager_room import ask, room

from dmoa.backends.fake import FakeBackend
from dmoa.core.job import Profile, Prompt, Sampling
from dmoa.core.mixture import Mixture
from dmoa.core.policy import Eager
from dmoa.runtime import virtual

LAYERS, FANOUTS = (1, 2, 3), (1, 2, 3, 4, 5, 6)
WRITE, SLOWER = 3.0, 2.0
READ = 0.0055
"""Seconds. The embedded model reads as fast on two cores, and writes as long as `WRITE`."""
TOKENS = 128
QUESTION = "How is a paper clip bent, and why does it hold paper at all?"
SAID = "So the wire is bent once more, and its end comes to lie beside the first turn of it. " * 6
"""Of 128 tokens, as a fake model counts them."""
WAYS: tuple[Eager, ...] = ("off", "own", "all")


@dataclass(frozen=True)
class Line:
    """One answer; times in seconds, `left` and `prompt` in tokens of the aggregation."""

    layers: int
    fanout: int
    eager: Eager
    waited: float
    whole: float
    prompt: int
    left: int


class Speaker(FakeBackend):
    """A fake model with something else to say to every prompt; else all layers would be alike."""

    def _text(self, prompt: Prompt) -> str:
        words = "".join(turn.content for turn in prompt.turns)
        return f"{self.name} says {crc32(words.encode())}: {SAID}"


def model(number: int) -> FakeBackend:
    """Make the model of a node, home being 0."""
    profile = Profile("fake", layout="short", context_tokens=8192)
    seconds = WRITE + SLOWER * number
    name = f"n{number}"
    return Speaker(name, seconds=seconds, tokens=TOKENS, prefill=READ, profile=profile)


async def one(layers: int, fanout: int, eager: Eager) -> Line:
    """Ask one question of a network of home and k peers."""
    mixture = Mixture(layers, fanout)
    async with room(model(0), [model(peer + 1) for peer in range(fanout)], eager) as home:
        heard = await ask(home, QUESTION, mixture, Sampling())
    return Line(layers, fanout, eager, heard.waited, heard.whole, heard.prompt, heard.left)


def run(
    layers: Sequence[int] = LAYERS,
    fanouts: Sequence[int] = FANOUTS,
    ways: Sequence[Eager] = WAYS,
    say: Callable[[str], None] | None = None,
) -> list[Line]:
    """Ask in all networks, in all ways."""
    found: list[Line] = []
    for m, k in itertools.product(layers, fanouts):
        found += [virtual.run(one(m, k, way)) for way in ways]
        if say is not None:
            say(f"m{m}k{k}")
    return found


def data(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Write lines as values."""
    return [asdict(line) for line in lines]


HEAD = ("mixture", "prompt, tokens", "left, tokens", "last proposal to first token, s")
HEAD += ("whole answer, s", "change")


def text(lines: Sequence[Line]) -> str:
    """Lay out one row for each mixture; off, own and all in each column."""
    found = {(line.layers, line.fanout, line.eager): line for line in lines}
    rows: list[list[str]] = []
    for layers, fanout in dict.fromkeys((line.layers, line.fanout) for line in lines):
        ways = [found[layers, fanout, way] for way in WAYS]
        off, *others = ways
        changes = [f"{each.whole / off.whole - 1.0:+.1%}" for each in others]
        rows.append(
            [
                f"m{layers}k{fanout}",
                f"{off.prompt}",
                ", ".join(f"{each.left}" for each in ways),
                ", ".join(f"{each.waited:.2f}" for each in ways),
                ", ".join(f"{each.whole:.2f}" for each in ways),
                ", ".join(changes),
            ]
        )
    return f"off, own, all\n\n{figures.table(HEAD, rows)}"
