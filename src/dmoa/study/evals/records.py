"""The records of an evaluation: what is asked, what came of it, and how it was judged."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Metric = Literal["", "exact", "contains", "numeric"]
"""How an answer is compared with what is right; empty where only a judge can tell."""

Status = Literal["answered", "refused", "expired", "failed"]
"""How asking ended: `refused` with a 429, `expired` with a 504."""

Verdict = Literal["judged", "rubbish", "refused", "timeout", "failed"]
"""How a judgement ended: only `judged` has a preference."""


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One task: its turns are asked one after the other, in one conversation.

    `answers` are what is right, any of them, by `metric`. `reference` is the answer that others
    are compared with (AlpacaEval's baseline), by the model `reference_model`. `index` is the
    official position in AlpacaEval 2.0, which its difficulties go by.
    """

    id: str
    dataset: str
    turns: tuple[str, ...]
    answers: tuple[str, ...] = ()
    metric: Metric = ""
    reference: str = ""
    reference_model: str = ""
    index: int | None = None

    @property
    def instruction(self) -> str:
        """The first turn, which is all of it in most sets."""
        return self.turns[0]


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one item asked of one configuration.

    `configuration` is as in `local@n1` or `dmoa-m1k2`, `node` the home that was asked. `outputs`
    has one text per turn, as far as it went. `seconds` counts from when it was due until the
    last turn was answered, `lag` from then until it was sent; `queued_seconds` sums the waits of
    the jobs that the answers waited for. Tokens and `jobs` (those that were served to their end)
    are summed over all turns and jobs; `layers`, `fanout` and `recipe` are what the query got.
    `source` tells where the last text comes from (aggregator, proposal, chosen), `asked` when it
    was due (seconds since 1970).
    """

    item: str
    configuration: str
    node: str
    status: Status
    outputs: tuple[str, ...] = ()
    seconds: float = 0.0
    lag: float = 0.0
    queued_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    jobs: int = 0
    layers: int = 0
    fanout: int = 0
    recipe: str = ""
    source: str = ""
    degraded: tuple[str, ...] = ()
    asked: float = 0.0
    http: int = 0
    detail: str = ""


class Span(msgspec.Struct, frozen=True):
    """How long one node was watched while one configuration was asked, and what stood there.

    Counted since the span began: `seconds`, and job seconds as sums over jobs. Written now and
    then; of the lines with the same `configuration`, `node` and `leg` the last one holds.
    """

    configuration: str
    node: str
    leg: int
    seconds: float
    waiting_job_seconds: float
    serving_job_seconds: float


class Member(msgspec.Struct, frozen=True):
    """A node of the run: its name, its model, and its settings where the run started it."""

    node: str
    model: str
    settings: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True):
    """All that the answers depend on; a run is only gone on with by the same.

    `items` is a hash of the items, `rate` the queries per second at each node (0 asks as many
    at once as `concurrency`), `deadline` in seconds.
    """

    configurations: tuple[str, ...]
    members: tuple[Member, ...]
    items: str
    count: int
    seed: int
    rate: float = 0.0
    concurrency: int = 0
    deadline: float = 0.0
    max_tokens: int = 0


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a judge said of one answer beside one reference, asked once.

    `preference` is the probability that the answer of `configuration` is better than that of
    `reference` (a configuration of the run, or a model's name); None unless `verdict` is
    `judged`. `swapped` tells that the reference stood first, `draw` counts replications.
    `graded` tells that it comes from log probabilities. `key` is a hash of all that the
    judgement depends on, the texts included.
    """

    item: str
    configuration: str
    reference: str
    judge: str
    swapped: bool
    draw: int
    verdict: Verdict
    key: str
    preference: float | None = None
    graded: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""
