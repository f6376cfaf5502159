"""What the errors of language model servers mean, in the words of the BackendError family."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final, cast

from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendTimeoutError,
    BackendUnavailableError,
    ContextLengthError,
)

_TOO_LONG: Final = re.compile(
    r"context_length_exceeded|exceed_context_size_error|maximum context length"
    r"|context (?:size|length|window)|please reduce|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_CONTEXT: Final = re.compile(
    r"(?:context (?:length|size|window)(?: is| of)?(?: only)?|available context size) \(?(\d+)",
    re.IGNORECASE,
)
_PROMPT: Final = re.compile(
    r"resulted in (\d+) tokens|\((\d+) in the messages|has (\d+) input tokens"
    r"|request \((\d+) tokens\)",
    re.IGNORECASE,
)
_WORDS: Final = 500
"""Characters kept of a server's own words."""


def as_object(value: object) -> dict[str, object]:
    """Give a JSON object as it is, and anything else as an empty one."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def read_refusal(status: int, body: object, *, who: str) -> BackendError:
    """Say which error a server means; `body` is its decoded JSON, or its text.

    `status` is 0 where there is none: in a stream that started well.
    """
    error = _error(body)
    words = _words(error)
    status = status or _status(error)
    kind = f"{error.get('type', '')} {error.get('code', '')} {words}"
    message = f"{who} refused: {words or f'status {status}'}"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (
        status in (0, 400, 422, 500) and _TOO_LONG.search(kind)
    ):
        return ContextLengthError(
            message,
            prompt_tokens=_number(error, "n_prompt_tokens") or _found(_PROMPT, words),
            context_tokens=_number(error, "n_ctx") or _found(_CONTEXT, words),
            hint="shorten the prompt, or give the model more context",
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return BackendRefusedError(
            message, hint="check the API key, and the variable that `?key_env=NAME` names"
        )
    if status == HTTPStatus.REQUEST_TIMEOUT:
        return BackendTimeoutError(message)
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return BackendUnavailableError(message, hint="the server is busy or broken; try again")
    return BackendRefusedError(message)


def _error(body: object) -> dict[str, object]:
    """Find the error object in one of the shapes in use."""
    if isinstance(body, str):
        return {"message": body}
    found = as_object(body)
    inner = found.get("error", found.get("detail"))
    if isinstance(inner, dict):
        return as_object(cast("object", inner))
    return {**found, "message": inner} if inner is not None else found


def _words(error: dict[str, object]) -> str:
    message = error.get("message", "")
    text = message if isinstance(message, str) else repr(message)
    return " ".join(text.split())[:_WORDS]


def _status(error: dict[str, object]) -> int:
    """Take the status out of an error in a stream, where many put it as its code."""
    code = error.get("code")
    known = {status.value for status in HTTPStatus}
    return code if isinstance(code, int) and code in known and code >= 400 else 0  # noqa: PLR2004


def _number(error: dict[str, object], key: str) -> int:
    value = error.get(key)
    return value if isinstance(value, int) and value > 0 else 0


def _found(pattern: re.Pattern[str], words: str) -> int:
    match = pattern.search(words)
    return next((int(group) for group in match.groups() if group), 0) if match else 0
