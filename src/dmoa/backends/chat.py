"""The chat form of OpenAI, as both backends speak it: requests out, streamed chunks in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from dmoa.backends.refusals import as_object, read_refusal
from dmoa.core.job import Completion, Finish, Prompt, Turn
from dmoa.errors import BackendRefusedError, BackendRubbishError

_OURS: Final = frozenset(
    ("messages", "model", "stream", "stream_options", "n", "return_progress", "id_slot")
)
"""Request fields that are never taken from a prompt's options."""

_FINISHES: Final[dict[str, Finish]] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
_BYTES_PER_TOKEN: Final = 4


class Function(msgspec.Struct):
    """A piece of a function call; some servers give the arguments as an object."""

    name: str | None = None
    arguments: object = None


class ToolDelta(msgspec.Struct):
    """A piece of one tool call; `index` says of which, and some servers leave it out."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    """What a chunk adds. Thoughts come as one of two names, and are not the answer."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolDelta] | None = None


class Choice(msgspec.Struct):
    """One answer's part of a chunk; a server that does not stream sends `message`."""

    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    """Tokens, cached ones included; the details are a hint, and never make a chunk invalid.

    Counts below one are as good as none: some servers say 0 or -1 for what they did not count.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: object = None

    def __post_init__(self) -> None:
        """Forget what is no count."""
        self.prompt_tokens = max(0, self.prompt_tokens or 0) or None
        self.completion_tokens = max(0, self.completion_tokens or 0) or None


class Chunk(msgspec.Struct):
    """One piece of a streamed completion."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    timings: object = None
    error: object = None
    kind: str = msgspec.field(default="", name="object")
    message: str = ""


def read_chunk(data: str | dict[str, object]) -> Chunk:
    """Understand one chunk, as JSON or decoded; BackendRubbishError if it is none."""
    try:
        if isinstance(data, str):
            return msgspec.json.decode(data, type=Chunk)
        return msgspec.convert(data, Chunk)
    except msgspec.MsgspecError as error:
        raise BackendRubbishError(f"the model's server sent no valid chunk: {error}") from error


def read_cached(chunk: Chunk) -> int | None:
    """Tell how many tokens of the prompt were in the server's cache; None where it does not say.

    OpenAI's counter (vLLM, SGLang and llama.cpp have it too), else llama.cpp's own.
    """
    details = chunk.usage.prompt_tokens_details if chunk.usage else None
    for found, name in ((details, "cached_tokens"), (chunk.timings, "cache_n")):
        count = as_object(found).get(name)
        if isinstance(count, int) and count >= 0:
            return count
    return None


def request_fields(prompt: Prompt) -> dict[str, object]:
    """Make the fields of a request that every server knows, as far as the user said."""
    sampling = prompt.sampling
    fields: dict[str, object] = {
        key: value for key, value in _object(prompt.options).items() if key not in _OURS
    }
    said: dict[str, object] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
        "seed": sampling.seed,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
    }
    fields |= {key: value for key, value in said.items() if value is not None}
    fields["messages"] = [_message(turn) for turn in prompt.turns]
    return fields


def _message(turn: Turn) -> dict[str, object]:
    return {**_object(turn.extra), "role": turn.role, "content": turn.content}


def _object(text: str) -> dict[str, object]:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except msgspec.MsgspecError as error:
        raise BackendRefusedError(f"the request's extra fields are no object: {error}") from error


@dataclass(slots=True)
class _Call:
    """One tool call as it grows."""

    id: str
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Assembly:
    """Puts the chunks of one completion together.

    Where the server counts no tokens, they are estimated: the prompt's from its bytes,
    the completion's as the larger of its chunks and a quarter of its bytes.
    """

    prompt: Prompt
    model: str
    who: str
    reason: str | None = None
    texts: list[str] = field(default_factory=list[str])
    thought: bool = False
    usage: Usage | None = None
    cached: int | None = None
    calls: dict[int, _Call] = field(default_factory=dict[int, _Call])

    def take(self, chunk: Chunk) -> str:
        """Take one chunk and give the text it adds; BackendError if it carries an error."""
        if chunk.error is not None:
            raise read_refusal(0, {"error": chunk.error}, who=self.who)
        if chunk.kind == "error":
            raise read_refusal(0, {"message": chunk.message}, who=self.who)
        self.usage = chunk.usage or self.usage
        cached = read_cached(chunk)
        self.cached = self.cached if cached is None else cached
        for choice in chunk.choices or ():
            if choice.index == 0:
                return self._choice(choice)
        return ""

    def _choice(self, choice: Choice) -> str:
        self.reason = choice.finish_reason or self.reason
        delta = choice.delta or choice.message
        if delta is None:
            return ""
        self.thought = self.thought or bool(delta.reasoning_content or delta.reasoning)
        for piece in delta.tool_calls or ():
            self._tool(piece)
        if delta.content:
            self.texts.append(delta.content)
        return delta.content or ""

    def _tool(self, piece: ToolDelta) -> None:
        """Add to the call that is meant: by index, else by a new id, else the last one."""
        last = max(self.calls, default=-1)
        index = piece.index
        if index is None:
            new = not self.calls or (piece.id and piece.id != self.calls[last].id)
            index = last + 1 if new else last
        call = self.calls.setdefault(index, _Call(piece.id or f"call_{index}"))
        if piece.function is not None:
            call.name = call.name or piece.function.name or ""
            given = piece.function.arguments
            if isinstance(given, str):
                call.arguments += given
            elif given is not None:
                call.arguments += msgspec.json.encode(given).decode()

    def completion(self) -> Completion:
        """Give the whole; BackendRubbishError where it is empty, and nobody asked for that."""
        text = "".join(self.texts)
        if not text and not self.calls and not self.prompt.sampling.stop:
            raise self._empty()
        usage = self.usage or Usage()
        finish: Finish = "tool_calls" if self.calls else _FINISHES.get(self.reason or "", "stop")
        if finish == "tool_calls" and not self.calls:
            finish = "stop"
        prompt_bytes = sum(len(turn.content.encode()) for turn in self.prompt.turns)
        return Completion(
            text=text,
            model=self.model,
            prompt_tokens=usage.prompt_tokens or prompt_bytes // _BYTES_PER_TOKEN + 1,
            completion_tokens=usage.completion_tokens
            or max(len(self.texts), len(text.encode()) // _BYTES_PER_TOKEN),
            finish=finish,
            tool_calls=self._tool_calls(),
            cached_tokens=self.cached,
        )

    def _empty(self) -> BackendRubbishError:
        if self.thought:
            return BackendRubbishError(
                f"{self.who} only thought, and gave no answer",
                hint="let it write more: `?proposal=2048&answer=4096`, or switch thinking off",
            )
        return BackendRubbishError(f"{self.who} gave an empty answer")

    def _tool_calls(self) -> str:
        if not self.calls:
            return ""
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments or "{}"},
            }
            for _, call in sorted(self.calls.items())
        ]
        return msgspec.json.encode(calls).decode()
