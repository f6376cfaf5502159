"""From the core's answers to OpenAI's objects, and the `dmoa` object beside them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from dmoa.core.effects import Answer, Trace, Visit
from dmoa.core.names import QueryId

Json = dict[str, Any]


def identity(query: QueryId) -> str:
    """Make the id of a completion from the name of its query."""
    return "chatcmpl-" + query.replace("/", "-")


def visit(item: Visit) -> Json:
    """Show one job; seconds are rounded to a tenth of a millisecond."""
    return {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in asdict(item).items()
    }


def trace(item: Trace) -> Json:
    """Show what happened to a query."""
    return {
        "query": item.query,
        "home": item.home,
        "mixture": {"layers": item.mixture.layers, "fanout": item.mixture.fanout},
        "recipe": item.recipe.name,
        "degraded": list(item.degraded),
        "seconds": round(item.seconds, 4),
        "position": item.position,
        "expected_seconds": round(item.expected_seconds, 4),
        "queued_seconds": round(item.queued_seconds, 4),
        "service_seconds": round(item.service_seconds, 4),
        "jobs": [visit(each) for each in item.jobs],
    }


def outcome(answer: Answer, default: Json | None = None) -> Json:
    """Show a trace with where its answer comes from, and what was usual where that decided."""
    about = {} if default is None else {"default": default}
    return {**trace(answer.trace), "source": answer.source, **about}


def usage(item: Trace) -> Json:
    """Sum the tokens of all jobs of a query; cached are those that were read ahead for them."""
    read = sum(each.prompt_tokens for each in item.jobs)
    written = sum(each.completion_tokens for each in item.jobs)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": sum(each.early_tokens for each in item.jobs)},
    }


def tool_calls(answer: Answer) -> list[Json]:
    """Read the tool calls of an answer."""
    text = answer.completion.tool_calls
    return json.loads(text) if text else []


def completion(answer: Answer, *, model: str, created: int, default: Json | None = None) -> Json:
    """Shape a whole answer as a chat completion."""
    calls = tool_calls(answer)
    message: Json = {
        "role": "assistant",
        "content": answer.completion.text or (None if calls else ""),
        "refusal": None,
    }
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": answer.completion.finish,
    }
    return {
        "id": identity(answer.trace.query),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage(answer.trace),
        "dmoa": outcome(answer, default),
    }


class Chunks:
    """Shapes the chunks of one streamed answer."""

    def __init__(
        self,
        identity: str,
        *,
        model: str,
        created: int,
        with_usage: bool,
        default: Json | None = None,
    ) -> None:
        self._default = default
        self._base: Json = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": created,
            "model": model,
        }
        self._with_usage = with_usage

    def chunk(self, delta: Json, *, finish: str | None = None, dmoa: Json | None = None) -> Json:
        """Shape one chunk; an empty delta is what ordinary clients pass over."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        shaped: Json = {**self._base, "choices": [choice]}
        if self._with_usage:
            shaped["usage"] = None
        if dmoa is not None:
            shaped["dmoa"] = dmoa
        return shaped

    def usage(self, answer: Answer) -> Json:
        """Shape the chunk that only counts; it is the last, so it tells what happened too."""
        counted = usage(answer.trace)
        return {**self._base, "choices": [], "usage": counted, "dmoa": self.outcome(answer)}

    def outcome(self, answer: Answer) -> Json:
        """Show what happened to the query."""
        return outcome(answer, self._default)
