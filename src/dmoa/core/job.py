"""What is served: a job, the prompt it becomes, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from dmoa.core.names import JobId, NodeId, QueryId, Role

OVERHEAD = 40
"""Bytes that count for a turn or a proposal beside its text: many empty ones are not free."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    `extra` is a JSON object with the fields of tool use (`tool_calls`,
    `tool_call_id`, `name`), or empty; only home's own model ever sees it.
    """

    role: str
    content: str
    extra: str = ""

    @property
    def size(self) -> int:
        """Bytes that this turn keeps in memory."""
        return OVERHEAD + sum(len(text.encode()) for text in (self.role, self.content, self.extra))


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw tokens, as far as the user said; None leaves it to the backend."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One visit of a query to one language model; what queues.

    `layer` counts from 1; the final aggregation has layer M+1. `proposals` are those
    of the layer before, empty in layer 1. `patience` is in seconds from the moment
    the job is sent, `age` the seconds since its query was asked: clocks of different
    machines are never compared. `options` is a JSON object of further request fields for
    the backend, or empty. `seed` lays the first proposal out as the model's own answer.
    `trace` is that of its query.
    """

    id: JobId
    query: QueryId
    home: NodeId
    role: Role
    layer: int
    turns: tuple[Turn, ...]
    proposals: tuple[str, ...]
    sampling: Sampling
    patience: float
    options: str = ""
    age: float = 0.0
    seed: bool = False
    trace: str = ""

    @property
    def size(self) -> int:
        """Bytes that this job keeps in memory."""
        proposals = sum(OVERHEAD + len(text.encode()) for text in self.proposals)
        return sum(turn.size for turn in self.turns) + proposals + len(self.options.encode())


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a backend is given: a chat, complete with instruction and proposals.

    `sampling.max_tokens` is always set. `unread` counts the proposals for which there was
    no room at all. `job` is whose prompt it is: what was read ahead for it has that name as well;
    older records have none, and no prompt differs by it.
    Of a prompt that is read ahead the text of the turn at the index `open` is not complete: how
    it goes on is not known, while all that follows that turn is.
    """

    role: Role
    turns: tuple[Turn, ...]
    sampling: Sampling
    options: str = ""
    unread: int = 0
    job: str = field(default="", compare=False)
    open: int | None = None


Finish = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Completion:
    """What a backend made of a prompt; counts in tokens.

    `tool_calls` is a JSON array of OpenAI's shape, or empty. Of the prompt's tokens
    `cached_tokens` were in the backend's cache as it began, None where it does not tell, and
    `early_tokens` had been read ahead for this very job.
    """

    text: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    finish: Finish = "stop"
    tool_calls: str = ""
    cached_tokens: int | None = None
    early_tokens: int = 0


FaultCode = Literal["unavailable", "refused", "too_long", "rubbish", "timeout", "stopped"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a backend gave no completion, as a value; counts in tokens, 0 where unknown.

    `stopped` means that it was told to.
    """

    code: FaultCode
    detail: str = ""
    prompt_tokens: int = 0
    context_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Profile:
    """What an agent knows of its own language model.

    `context_tokens` is the context of one slot. `proposal_tokens` and `answer_tokens`
    are the default lengths of a proposal and an answer. `layout` chooses the
    instruction of an aggregator: `full` is the paper's, `short` measured better for
    models below a billion parameters. `persona` is who the model is to be where it proposes,
    or answers alone: it opens the system message. `reads` tells whether the backend can read a
    prompt ahead, and finds it read when its job comes.
    """

    model: str
    context_tokens: int = 4096
    slots: int = 1
    proposal_tokens: int = 512
    answer_tokens: int = 1024
    layout: Literal["full", "short"] = "full"
    persona: str = ""
    reads: bool = False
