"""The request of a chat completion, as OpenAI shapes it, and what dmoa adds to it.

What is not known at the top level is ignored, as other servers do, because clients send
many fields of their own; what is known and cannot be honoured is refused; and in our own
`dmoa` object a misspelt key is an error.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dmoa.core.job import Sampling, Turn

_PASSED_ON = ("tools", "tool_choice", "parallel_tool_calls", "response_format", "logit_bias")
_UNSUPPORTED = ("functions", "function_call", "audio", "web_search_options")


class TextPart(BaseModel):
    """A piece of text in a message; other kinds of parts are refused."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _has_content(self) -> ChatMessage:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content is missing")
        return self

    def turn(self) -> Turn:
        """Make the core's turn of it."""
        if isinstance(self.content, list):
            text = "".join(part.text for part in self.content)
        else:
            text = self.content or ""
        extra = self.model_dump(include={"name", "tool_calls", "tool_call_id"}, exclude_none=True)
        role = "system" if self.role == "developer" else self.role
        return Turn(role, text, json.dumps(extra) if extra else "")

    @property
    def uses_tools(self) -> bool:
        """Tell whether the turn belongs to a use of tools."""
        return self.role == "tool" or bool(self.tool_calls)


class StreamOptions(BaseModel):
    """What a stream contains beside the text."""

    include_usage: bool = False


class DmoaOptions(BaseModel):
    """What a request can say to dmoa alone (`extra_body` of the openai package)."""

    model_config = ConfigDict(extra="forbid")

    layers: Annotated[int, Field(ge=0, description="M: rounds of proposals")] | None = None
    fanout: Annotated[int, Field(ge=0, description="k: peers asked per layer")] | None = None
    deadline: Annotated[float, Field(gt=0, le=86400, description="seconds")] | None = None
    drafts: bool = Field(default=False, description="stream the proposals' text too")


class ChatRequest(BaseModel):
    """POST /v1/chat/completions."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: int | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logprobs: bool | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    logit_bias: dict[str, float] | None = None
    dmoa: DmoaOptions = DmoaOptions()

    model_config = ConfigDict(extra="allow")

    @field_validator("n")
    @classmethod
    def _one(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("only one choice is given: n must be 1")
        return value

    @field_validator("logprobs")
    @classmethod
    def _no_logprobs(cls, value: bool | None) -> bool | None:  # noqa: FBT001  (pydantic's call)
        if value:
            raise ValueError("logprobs are not given: an answer has many sources")
        return value

    @model_validator(mode="after")
    def _supported(self) -> ChatRequest:
        for key in _UNSUPPORTED:
            if (self.model_extra or {}).get(key):
                raise ValueError(f"{key} is not supported")
        return self

    @property
    def uses_tools(self) -> bool:
        """Tell whether the request is a step in a use of tools."""
        return bool(self.tools) or any(message.uses_tools for message in self.messages)

    def turns(self) -> tuple[Turn, ...]:
        """Make the core's conversation of it."""
        return tuple(message.turn() for message in self.messages)

    def sampling(self) -> Sampling:
        """Collect how the user wants tokens drawn."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=stop,
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
        )

    def options(self) -> str:
        """Collect, as JSON, what goes to the own model as it is."""
        given = self.model_dump(include=set(_PASSED_ON), exclude_none=True)
        return json.dumps(given) if given else ""
