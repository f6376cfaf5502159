"""The request of a chat completion, as OpenAI shapes it, and what dmoa adds to it.

What is not known at the top level is ignored, as other servers do, because clients send
many fields of their own; what is known and cannot be honoured is refused; and in our own
`dmoa` object a misspelt key is an error.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from dmoa.core.job import Sampling, Turn

_PASSED_ON = ("tools", "tool_choice", "parallel_tool_calls", "response_format", "logit_bias")
_STOPS = 4
_INT64 = 2**63

T = TypeVar("T")


def _writable(value: T) -> T:
    """Refuse what JSON can say and nobody can write: halves of characters, and NaN."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "string_unicode", "it holds half a character (a lone surrogate)"
        ) from None
    except (ValueError, RecursionError):
        raise PydanticCustomError("json_value", "it holds a value that is no JSON") from None
    return value


Text = Annotated[str, AfterValidator(_writable)]
Object = Annotated[dict[str, Any], AfterValidator(_writable)]


class TextPart(BaseModel):
    """A piece of text in a message; other kinds of parts are refused."""

    type: Literal["text"]
    text: Text


def _parts(content: object) -> object:
    """Read plain text as its only part, so that no error speaks of a union's branches."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is not None and not isinstance(content, list):
        raise PydanticCustomError("text_type", "it should be a text or a list of parts")
    return cast("object", content)


def _stops(stop: object) -> object:
    """Read a single stop text as a list; an empty text stops nothing."""
    listed = [stop] if isinstance(stop, str) else stop
    if not isinstance(listed, list):
        raise PydanticCustomError("text_type", "it should be a text or a list of texts")
    return [text for text in cast("list[object]", listed) if text != ""]


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    name: Text | None = None
    tool_calls: list[Object] | None = None
    tool_call_id: Text | None = None
    content: Annotated[list[TextPart] | None, BeforeValidator(_parts)] = Field(
        default=None, validate_default=True
    )

    @field_validator("content")
    @classmethod
    def _there(cls, content: list[TextPart] | None, info: ValidationInfo) -> list[TextPart] | None:
        calls = info.data.get("role") == "assistant" and info.data.get("tool_calls")
        if content is None and not calls:
            raise ValueError("it is missing")
        return content

    def turn(self) -> Turn:
        """Make the core's turn of it."""
        text = "".join(part.text for part in self.content or ())
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
    recipe: Annotated[str, Field(max_length=80, description="how it is mixed")] | None = None
    private: bool = Field(default=False, description="no peer hears of it")
    drafts: bool = Field(default=False, description="stream the proposals' text too")

    @property
    def shapes(self) -> bool:
        """Tell whether the request says what mixture it wants."""
        return not (self.layers is None and self.fanout is None and self.recipe is None)


class ChatRequest(BaseModel):
    """POST /v1/chat/completions."""

    model: Text
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    n: int | None = None
    stop: Annotated[list[Text], Field(max_length=_STOPS), BeforeValidator(_stops)] | None = None
    seed: Annotated[int, Field(ge=-_INT64, lt=_INT64)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logprobs: Any = None
    top_logprobs: Any = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    web_search_options: Any = None
    tools: list[Object] | None = None
    tool_choice: Annotated[Any, AfterValidator(_writable)] = None
    parallel_tool_calls: bool | None = None
    response_format: Object | None = None
    logit_bias: Annotated[dict[str, float], AfterValidator(_writable)] | None = None
    dmoa: DmoaOptions = DmoaOptions()

    @field_validator("n")
    @classmethod
    def _one(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("only one choice is given: it must be 1")
        return value

    @field_validator(
        "logprobs", "top_logprobs", "functions", "function_call", "audio", "web_search_options"
    )
    @classmethod
    def _unsupported(cls, value: object) -> object:
        if value:
            raise ValueError("it is not supported")
        return value

    @field_validator("dmoa", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return {} if value is None else value

    @property
    def uses_tools(self) -> bool:
        """Tell whether the request is a step in a use of tools."""
        return bool(self.tools) or any(message.uses_tools for message in self.messages)

    def turns(self) -> tuple[Turn, ...]:
        """Make the core's conversation of it."""
        return tuple(message.turn() for message in self.messages)

    def sampling(self) -> Sampling:
        """Collect how the user wants tokens drawn."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=tuple(self.stop or ()),
            seed=self.seed,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
        )

    def options(self) -> str:
        """Collect, as JSON, what goes to the own model as it is."""
        given = self.model_dump(include=set(_PASSED_ON), exclude_none=True)
        return json.dumps(given) if given else ""
