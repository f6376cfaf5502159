"""The request of a response, as OpenAI's Responses API shapes it, and dmoa's part of it.

What it does not know is refused by its name, as OpenAI does: a setting that is passed over would
be a promise not kept. What changes nothing here (`user`, `safety_identifier`, keys of caches) is
taken and not looked at.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from dmoa.api.models import DEFAULT
from dmoa.api.schema import DmoaOptions, Text
from dmoa.core.job import Sampling, Turn

ITEMS = 1024
"""Items of one input."""
PARTS = 1024
"""Parts of one item."""
LEAST_TOKENS = 16
"""Of `max_output_tokens`, as OpenAI has it."""

_PLAIN = {"format": {"type": "text"}}
_OFF: dict[str, tuple[object, ...]] = {
    "conversation": (None,),
    "context_management": (None, []),
    "include": (None, []),
    "max_tool_calls": (None,),
    "moderation": (None,),
    "prompt": (None,),
    "reasoning": (None, {}),
    "service_tier": (None, "auto", "default"),
    "text": (None, {}, _PLAIN),
    "tool_choice": (None, "auto", "none"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "truncation": (None, "disabled"),
}
"""What is not supported, with what of it is as good as nothing."""


class Part(BaseModel):
    """A piece of text in an item; other kinds of parts are refused."""

    type: Literal["input_text", "output_text"]
    text: Text


def _parts(content: object) -> object:
    """Read plain text as its only part."""
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    if not isinstance(content, list):
        raise PydanticCustomError("text_type", "it should be a text or a list of parts")
    return cast("object", content)


def _items(given: object) -> object:
    """Read plain text as what the user says."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise PydanticCustomError("text_type", "it should be a text or a list of items")
    return cast("object", given)


class Item(BaseModel):
    """One message of the input; other kinds of items are refused."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[list[Part], Field(min_length=1, max_length=PARTS), BeforeValidator(_parts)]

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(part.text for part in self.content)


class StreamWishes(BaseModel):
    """What a stream contains; obfuscation is neither needed nor made."""

    model_config = ConfigDict(extra="forbid")

    include_obfuscation: bool | None = None


Key = Annotated[Text, Field(max_length=64)]
Value = Annotated[Text, Field(max_length=512)]


class ResponseRequest(BaseModel):
    """POST /v1/responses."""

    model_config = ConfigDict(extra="forbid")

    model: Text = DEFAULT
    input: Annotated[list[Item], Field(min_length=1, max_length=ITEMS), BeforeValidator(_items)]
    instructions: Text | None = None
    previous_response_id: Text | None = None
    max_output_tokens: Annotated[int, Field(ge=LEAST_TOKENS)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    stream: bool | None = None
    stream_options: StreamWishes | None = None
    store: bool | None = None
    background: bool | None = None
    metadata: Annotated[dict[Key, Value], Field(max_length=16)] | None = None
    dmoa: DmoaOptions = DmoaOptions()

    user: Text | None = None
    safety_identifier: Text | None = None
    prompt_cache_key: Text | None = None
    prompt_cache_retention: Text | None = None
    parallel_tool_calls: bool | None = None

    conversation: Any = None
    context_management: Any = None
    include: Any = None
    max_tool_calls: Any = None
    moderation: Any = None
    prompt: Any = None
    reasoning: Any = None
    service_tier: Any = None
    text: Any = None
    tool_choice: Any = None
    tools: Any = None
    top_logprobs: Any = None
    truncation: Any = None

    @field_validator(*_OFF)
    @classmethod
    def _unsupported(cls, value: object, info: Any) -> object:
        if value not in _OFF[info.field_name]:
            raise ValueError("it is not supported")
        return value

    @field_validator("dmoa", mode="before")
    @classmethod
    def _plain(cls, value: object) -> object:
        return {} if value is None else value

    @property
    def stored(self) -> bool:
        """Tell whether the response is to be kept, as it is where nothing else is said."""
        return self.store is not False

    def turns(self) -> tuple[Turn, ...]:
        """Make the core's turns of the input."""
        return tuple(
            Turn("system" if item.role == "developer" else item.role, item.text)
            for item in self.input
        )

    def sampling(self) -> Sampling:
        """Collect how the user wants tokens drawn."""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_output_tokens
        )

    def fingerprint(self) -> str:
        """Hash all that was asked, to know it again."""
        text = json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()
