"""What a load test asks: when, where, and which question.

Due times and homes come from `sim.arrivals`, so that a simulation can be asked the very same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any, cast

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Network
from dmoa.core.stability import arrival_rate_scale_max
from dmoa.errors import UsageError
from dmoa.sim.arrivals import chunks
from dmoa.sim.setting import Bursts, Recorded, Setting

QUERIES_MAX = 1_000_000
"""Of one test; all of it is kept in memory."""
_ROLES = ("system", "user", "assistant")

QUESTIONS = (
    "Why is the sky blue by day and red in the evening?",
    "Name three uses of an empty glass jar.",
    "How does a refrigerator move heat out of a cold room?",
    "What should a person know before keeping bees?",
    "Explain compound interest to a ten-year-old.",
    "Which is heavier, a kilogram of feathers or a kilogram of iron, and why do people err?",
    "Describe how bread rises.",
    "Give two arguments for and two against school uniforms.",
    "What happens to a letter between the letter box and the door?",
    "Write a short note that thanks a neighbour for watering the plants.",
)
"""What is asked where no file of prompts is given."""

Turns = tuple[dict[str, str], ...]
"""The messages of one question."""


# -- when and where -------------------------------------------------------------------


def rates_for(
    rho: float, mixture: Mixture, service_times: Sequence[float], slots: Sequence[int]
) -> tuple[float, ...]:
    """Find the queries per second at each node at which the busiest has the utilisation `rho`.

    By the exact condition with peers drawn uniformly, which is Theorem 1 where all are alike.
    """
    alike = Network((1.0,) * len(service_times), tuple(service_times), tuple(slots))
    return (rho * arrival_rate_scale_max(alike, mixture),) * alike.nodes


def due(rates: Sequence[float], arrivals: Bursts | None, *, seconds: float, seed: int) -> Recorded:
    """Draw when which node is asked: a Poisson stream for each, from 0 to `seconds`."""
    nodes = len(rates)
    network = Network(tuple(rates), (1.0,) * nodes)
    endless = Setting(network, ALONE, arrivals=arrivals, queries=QUERIES_MAX + 1, seed=seed)
    times, homes = list[float](), list[int]()
    for some, where in chunks(endless):
        times += some.tolist()
        homes += where.tolist()
        if times[-1] > seconds:
            break
    return within(Recorded(tuple(times), tuple(homes)), seconds)


def within(recorded: Recorded, seconds: float = inf) -> Recorded:
    """Keep of some arrivals those of the first seconds."""
    kept = sum(each <= seconds for each in recorded.times)
    if not 1 <= kept <= QUERIES_MAX:
        raise UsageError(
            f"a load test asks 1 to {QUERIES_MAX} queries, and this one would ask {kept or 'none'}"
            if kept <= QUERIES_MAX
            else f"a load test asks {QUERIES_MAX} queries at most",
            hint="change --seconds or the rate",
        )
    return Recorded(recorded.times[:kept], recorded.homes[:kept])


# -- which question -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prompts:
    """Questions, asked in turn; `name` tells them from others without repeating them."""

    turns: tuple[Turns, ...]

    @property
    def name(self) -> str:
        """A hash of them all."""
        return sha256(json.dumps(self.turns).encode()).hexdigest()[:16]

    def of(self, number: int) -> Turns:
        """Find what query `number` (from 0) asks."""
        return self.turns[number % len(self.turns)]


def built_in() -> Prompts:
    """Take the questions that come with the program."""
    return Prompts(tuple(_asked(each) for each in QUESTIONS))


def read_prompts(file: Path) -> Prompts:
    """Read a file with `{"prompt": ...}` or `{"messages": [...]}` in each line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(
            f"the prompts cannot be read: {file}: {error.strerror or error}",
            hint="name a file with a JSON object in each line",
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"the prompts cannot be read: {file} is no text") from None
    found = [_turns(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UsageError(f"{file} has no prompts", hint='write {"prompt": "..."} in each line')
    return Prompts(tuple(found))


def _asked(text: str) -> Turns:
    return ({"role": "user", "content": text},)


def _turns(file: Path, number: int, line: str) -> Turns:
    try:
        row: object = json.loads(line)
    except ValueError:
        row = None
    if isinstance(row, dict):
        said = cast("dict[str, Any]", row)
        prompt, messages = said.get("prompt"), said.get("messages")
        if isinstance(prompt, str) and prompt.strip() and messages is None:
            return _asked(prompt)
        if isinstance(messages, list) and messages and prompt is None:
            turns = [_turn(each) for each in cast("list[object]", messages)]
            if None not in turns:
                return tuple(each for each in turns if each is not None)
    raise UsageError(
        f"{file}, line {number} is no prompt: {line.strip()[:60]!r}",
        hint='write {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}',
    )


def _turn(message: object) -> dict[str, str] | None:
    if not isinstance(message, dict):
        return None
    said = cast("dict[str, Any]", message)
    role, content = said.get("role"), said.get("content")
    if role not in _ROLES or not isinstance(content, str):
        return None
    return {"role": str(role), "content": content}
