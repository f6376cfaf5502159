"""From what is kept of a response to OpenAI's objects and events.

The object of a response is its base (what was asked) and its outcome (what became of it), which
are kept as JSON. The events of a background response follow from these two alone: whoever comes
back to a stream finds the same numbers, also after the node was started anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dmoa.api import shapes
from dmoa.api.responses_schema import ResponseRequest
from dmoa.api.shapes import Json
from dmoa.core.effects import Answer, Trace
from dmoa.core.job import Turn
from dmoa.errors import ContextLengthError, DmoaError, OverloadedError, UsageError
from dmoa.store.kept import Kept, Status

BEGINNING = 3
"""Events of a background response before it has ended: created, queued, in progress."""


def base(request: ResponseRequest, identity: str) -> Json:
    """Shape what was asked."""
    return {
        "id": identity,
        "object": "response",
        "status": "queued",
        "model": request.model,
        "instructions": request.instructions,
        "previous_response_id": request.previous_response_id,
        "background": bool(request.background),
        "store": request.stored,
        "metadata": request.metadata or {},
        "max_output_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "text": {"format": {"type": "text"}},
        "truncation": "disabled",
    }


def entries(request: ResponseRequest, identity: str) -> list[Json]:
    """Shape the input, item by item."""
    name = identity.removeprefix("resp_")
    return [
        {
            "id": f"msg_in_{name}_{number}",
            "type": "message",
            "status": "completed",
            "role": item.role,
            "content": [
                _part(part.text, written=item.role == "assistant") for part in item.content
            ],
        }
        for number, item in enumerate(request.input)
    ]


def _part(text: str, *, written: bool) -> Json:
    if written:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "input_text", "text": text}


def message(identity: str, text: str | None, status: str) -> Json:
    """Shape the answer of a response; without a text yet it has no content."""
    return {
        "id": f"msg_{identity.removeprefix('resp_')}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if text is None else [_part(text, written=True)],
    }


def usage(trace: Trace) -> Json:
    """Sum the tokens of all jobs of a query."""
    counted = shapes.usage(trace)
    return {
        "input_tokens": counted["prompt_tokens"],
        "input_tokens_details": {**counted["prompt_tokens_details"], "cache_write_tokens": 0},
        "output_tokens": counted["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted["total_tokens"],
    }


# -- outcomes ----------------------------------------------------------------------------


def answered(identity: str, answer: Answer, default: Json | None) -> tuple[Status, Json]:
    """Tell what became of a response that was answered."""
    cut = answer.completion.finish == "length"
    status: Status = "incomplete" if cut else "completed"
    return status, {
        "output": [message(identity, answer.completion.text, status)],
        "usage": usage(answer.trace),
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "dmoa": shapes.outcome(answer, default),
    }


def failed(error: DmoaError) -> tuple[Status, Json]:
    """Tell what became of a response that has no answer."""
    outcome: Json = {"error": _problem(error), "dmoa": {"code": error.code}}
    if isinstance(error.trace, Trace):
        outcome["usage"] = usage(error.trace)
        outcome["dmoa"] |= shapes.trace(error.trace)
    return "failed", outcome


def left(identity: str, text: str = "") -> tuple[Status, Json]:
    """Tell what became of a response that was given up, with what was written of it."""
    output = [message(identity, text, "incomplete")] if text else []
    return "cancelled", {"output": output}


def _problem(error: DmoaError) -> Json:
    """Shape an error; OpenAI has three codes for all that can happen here."""
    code = "server_error"
    if isinstance(error, OverloadedError):
        code = "rate_limit_exceeded"
    elif isinstance(error, (UsageError, ContextLengthError)):
        code = "invalid_prompt"
    hint = f" (hint: {error.hint})" if error.hint else ""
    return {"code": code, "message": error.message + hint}


# -- objects -----------------------------------------------------------------------------


def shaped(  # noqa: PLR0913  (what a response consists of)
    about: Json,
    *,
    status: Status,
    created: float,
    ended: float | None = None,
    outcome: Json | None = None,
    attempts: int = 0,
) -> Json:
    """Shape a response as an object."""
    blank: Json = {
        "output": [],
        "error": None,
        "incomplete_details": None,
        "dmoa": None,  # and no usage before there is one: OpenAI's schema knows no empty one
    }
    filled = {**about, **blank, **(outcome or {})}
    if attempts > 1:
        filled["dmoa"] = {**(filled["dmoa"] or {}), "attempts": attempts}
    completed = int(ended) if status == "completed" and ended is not None else None
    first = {"id": about["id"], "object": "response", "created_at": int(created)}
    return {**first, **filled, **first, "status": status, "completed_at": completed}


def shaped_of(kept: Kept) -> Json:
    """Shape a response as it is kept."""
    return shaped(
        json.loads(kept.base),
        status=kept.status,
        created=kept.created,
        ended=kept.ended,
        outcome=json.loads(kept.outcome) if kept.outcome else None,
        attempts=kept.attempts,
    )


def summary(kept: Kept) -> Json:
    """Shape a response for a list, without its texts."""
    about = json.loads(kept.base)
    return {
        "id": kept.id,
        "object": "response",
        "status": kept.status,
        "model": about["model"],
        "background": kept.background,
        "created_at": int(kept.created),
        "ended_at": None if kept.ended is None else int(kept.ended),
        "attempts": kept.attempts,
        "metadata": about["metadata"],
    }


def text_of(outcome: Json) -> str | None:
    """Find the text of an outcome; None where nothing was written."""
    output: list[Json] = outcome.get("output") or []
    return output[0]["content"][0]["text"] if output else None


def conversation_of(chain: list[Kept]) -> list[Turn]:
    """Read the turns of a chain of responses back."""
    turns: list[Turn] = []
    for kept in chain:
        for entry in json.loads(kept.entries):
            role = "system" if entry["role"] == "developer" else entry["role"]
            turns.append(Turn(role, "".join(part["text"] for part in entry["content"])))
        turns.append(Turn("assistant", text_of(json.loads(kept.outcome)) or ""))
    return turns


# -- events ------------------------------------------------------------------------------


class Events:
    """Numbers the events of one response."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self._next = 0

    def told(self, kind: str, **fields: Any) -> Json:
        """Shape one event."""
        number, self._next = self._next, self._next + 1
        return {"type": f"response.{kind}", "sequence_number": number, **fields}

    def opened(self) -> Iterator[Json]:
        """Tell that a text begins."""
        item = message(self.identity, None, "in_progress")
        yield self.told("output_item.added", output_index=0, item=item)
        yield self.told("content_part.added", **self._place, part=_part("", written=True))

    def delta(self, text: str) -> Json:
        """Tell some more of the text."""
        return self.told("output_text.delta", **self._place, delta=text, logprobs=[])

    def closed(self, item: Json) -> Iterator[Json]:
        """Tell that the text has ended."""
        part = item["content"][0]
        yield self.told("output_text.done", **self._place, text=part["text"], logprobs=[])
        yield self.told("content_part.done", **self._place, part=part)
        yield self.told("output_item.done", output_index=0, item=item)

    @property
    def _place(self) -> Json:
        item = f"msg_{self.identity.removeprefix('resp_')}"
        return {"item_id": item, "output_index": 0, "content_index": 0}


def beginnings(response: Json) -> list[Json]:
    """List the first events of a background response; they say nothing that may change."""
    asked = {key: value for key, value in response.items() if key != "usage"}
    first = shaped(asked, status="queued", created=response["created_at"])
    events = Events(response["id"])
    return [
        events.told("created", response=first),
        events.told("queued", response=first),
        events.told("in_progress", response={**first, "status": "in_progress"}),
    ]


def endings(response: Json) -> list[Json]:
    """List the events of a background response that has ended, from its text on."""
    events = Events(response["id"])
    for _ in range(BEGINNING):
        events.told("")
    listed: list[Json] = []
    if (text := text_of(response)) is not None:
        listed += [*events.opened(), events.delta(text), *events.closed(response["output"][0])]
    return [*listed, events.told(response["status"], response=response)]
