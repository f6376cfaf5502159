"""Stub nodes whose answers are functions of the request: a run that is disturbed gets the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from dmoa.study.evals.records import Item

sys.path.insert(0, str(Path(__file__).parents[1] / "load"))
from stub_network import Said, StubNode, job, network, trace

Json = dict[str, Any]


def says(name: str, body: Json, **more: Any) -> Said:
    """Answer as `name` would: other words for every request, and two jobs of 30 tokens."""
    told = json.dumps([body["model"], body["messages"], body["seed"]])
    text = f"{name} says {sha256(told.encode()).hexdigest()[:12]}"
    jobs = [job(name, 1, "proposer", 0.5), job(name, 2, "aggregator", 0.5)]
    jobs.append(job("n9", 1, "proposer", 0.0, "lost"))
    about = {"queued_seconds": 0.25, "source": "aggregator", "recipe": "", "degraded": []}
    answer = {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
        "dmoa": trace(name, jobs=jobs, **(about | more)),
    }
    return 200, answer, {}


@contextmanager
def members(size: int) -> Iterator[list[StubNode]]:
    """Run some nodes who know each other, each with a model of its own."""
    with network(size) as nodes:
        for each in nodes:
            # headers and body go out one after the other, and the second would be held back
            each.server.RequestHandlerClass.disable_nagle_algorithm = True
            each.digest["model"] = f"tiny-{each.name}"
            each.say = lambda body, name=each.name: says(name, body)
        yield nodes


def asked(nodes: list[StubNode]) -> list[tuple[str, str, str]]:
    """Tell what was asked of whom: model, node and last turn."""
    return [
        (body["model"], node.name, body["messages"][-1]["content"])
        for node in nodes
        for body in node.bodies
    ]


def items(count: int, *turns: str) -> tuple[Item, ...]:
    """Make some items; those with an odd number have the further `turns`."""
    return tuple(
        Item(
            id=f"item-{number}",
            dataset="stub",
            turns=(f"What is {number}?", *(turns if number % 2 else ())),
        )
        for number in range(count)
    )
