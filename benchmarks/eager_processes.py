"""Three real nodes that share two cores: how much sooner is the whole answer there?

Two networks of three processes with the embedded model, one that reads ahead and one that does
not, are asked by turns; the one that is not asked costs no more than its memory. Here what is read
ahead takes cores away from those that still write; on machines of their own it would not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import figures
import wire
from eager_accuracy import ARMS, add, read
from eager_replay import QUESTIONS
from eager_replay import TOKENS as ANSWER

from dmoa.assemble import prepare
from dmoa.cli.fleet import Fleet
from dmoa.core.policy import Eager
from dmoa.study.statistics import change_of

Say = Callable[[str], None]

FANOUT = 2
PROPOSALS = (40, 70, 150)
"""Tokens of a proposal, at most, of home and of its peers: they end one after the other.

The nearer their ends, the longer all of them write at once on two cores, and there is nothing to
read in but the time of those that still write: (70, 110, 150) and (128, 128, 128) show that.
"""
BOUND = 0.85
"""The share of the cold answer's time that may be taken."""


@contextmanager
def fleets(models: Sequence[str], settings: dict[str, Any]) -> Iterator[dict[Eager, Fleet]]:
    """Run two networks until the block ends: one reads ahead, the other does not."""
    with ExitStack() as stack:
        found: dict[Eager, Fleet] = {}
        for arm in ARMS:
            each = [{**settings, "eager": arm, "store": ""}] * len(models)
            found[arm] = Fleet(models, settings=each)
            found[arm].realm += f"-{arm}"
            stack.enter_context(found[arm])
        for fleet in found.values():
            fleet.wait_ready(lambda _: None)
            fleet.wait_met()
        yield found


async def ask(fleet: Fleet, question: str, seed: int, tokens: int | None) -> wire.Reply:
    """Ask the first node, streamed; ValueError where a proposal is missing."""
    body: dict[str, Any] = {
        "model": f"dmoa-m1k{FANOUT}",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "seed": seed,
    }
    if tokens:
        body["max_tokens"] = tokens
    reply = await wire.chat(f"{fleet.members[0].url}/v1", body)
    if reply.extra["degraded"]:
        raise ValueError(f"not all jobs went well: {reply.extra['degraded']}")
    return reply


async def run(file: Path, rounds: int, lengths: Sequence[int], say: Say) -> None:
    """Ask three processes with the embedded model, in both ways by turns, what the file lacks."""
    prepare(["smollm2"], say)
    done = {(line["arm"], line["question"]) for line in read(file)}
    left = [each for each in range(1, rounds + 1) if any((arm, each) not in done for arm in ARMS)]
    if not left:
        return
    models = [f"smollm2?proposal={tokens}" for tokens in lengths]
    with fleets(models, {"hedge": 0, "deadline": 600.0}) as both:
        for question in (0, *left):
            for arm in ARMS if question % 2 else ARMS[::-1]:
                reply = await ask(both[arm], _asked(question), question, ANSWER)
                final = reply.extra["jobs"][-1]
                line = {
                    "arm": arm,
                    "question": question,
                    "whole": reply.seconds,
                    "first": reply.first,
                    "prompt": final["prompt_tokens"],
                    "early": final.get("early_tokens", 0),
                    "written": [each["completion_tokens"] for each in reply.extra["jobs"]],
                }
                if question:
                    add(file, line)
                say(f"{arm}, question {question}: {reply.seconds:.2f} s")


def _asked(number: int) -> str:
    """Give a question that was not asked before, however many there are."""
    again, which = divmod(number, len(QUESTIONS))
    return QUESTIONS[which] + (f" Write it in {again + 1} paragraphs." if again else "")


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sum up: medians and quartiles in seconds and tokens, and how whole answers changed."""
    told: dict[str, Any] = {}
    of = {arm: {line["question"]: line for line in lines if line["arm"] == arm} for arm in ARMS}
    both = sorted(of["off"].keys() & of["own"].keys())
    for arm in ARMS:
        some = [of[arm][each] for each in both]
        columns = {key: [line[key] for line in some] for key in ("whole", "first", "prompt")}
        columns["left"] = [line["prompt"] - line["early"] for line in some]
        told[arm] = {key: asdict(figures.Spread.of(value)) for key, value in columns.items()}
    whole = {arm: [of[arm][each]["whole"] for each in both] for arm in ARMS}
    change = change_of(whole["off"], whole["own"])
    told["pairs"] = len(both)
    told["median_ratio"] = told["own"]["whole"]["median"] / told["off"]["whole"]["median"]
    told["mean_change"] = [change.mean, change.low, change.high]
    told["bound"] = BOUND
    told["holds"] = told["median_ratio"] <= BOUND
    return told


def text(told: dict[str, Any]) -> str:
    """Lay it out."""
    spreads = {
        arm: {key: figures.Spread(**value) for key, value in told[arm].items()} for arm in ARMS
    }
    keys = {"prompt": 0, "left": 0, "first": 2, "whole": 2}
    rows = [
        [arm, *(each[key].text(digits) for key, digits in keys.items())]
        for arm, each in spreads.items()
    ]
    head = ("eager", "prompt, tokens", "left to read, tokens", "first token, s", "whole answer, s")
    middle, low, high = (f"{100 * each:+.1f}" for each in told["mean_change"])
    return (
        f"{figures.table(head, rows)}\n\n{told['pairs']} pairs; of medians"
        f" {told['median_ratio']:.2f} (<= {told['bound']}); mean {middle} % ({low} to {high}, 95 %)"
    )
