"""Between errors, which people read, and the values the core works with."""

from __future__ import annotations

from collections.abc import Sequence

from dmoa.core.effects import Refusal
from dmoa.core.job import Fault, FaultCode, Turn
from dmoa.core.names import SPEAKERS
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ContextLengthError,
    DmoaError,
    ExpiredError,
    OverloadedError,
    UsageError,
)

_CODES: tuple[tuple[type[BackendError], FaultCode], ...] = (
    (BackendUnavailableError, "unavailable"),
    (BackendTimeoutError, "timeout"),
    (BackendRefusedError, "refused"),
    (BackendRubbishError, "rubbish"),
)


def fault_of(error: BackendError) -> Fault:
    """Turn a backend's error into a value."""
    if isinstance(error, ContextLengthError):
        return Fault("too_long", error.message, error.prompt_tokens, error.context_tokens)
    for family, code in _CODES:
        if isinstance(error, family):
            return Fault(code, error.message)
    return Fault("rubbish", error.message)


def error_of(refusal: Refusal) -> DmoaError:
    """Turn the core's refusal of a query into an error, with its trace."""
    error: DmoaError
    match refusal.code:
        case "overloaded":
            error = OverloadedError(
                refusal.detail,
                retry_after=refusal.retry_after or 1.0,
                position=refusal.position,
                hint="wait as long as retry_after says, or ask another node",
            )
        case "expired":
            error = ExpiredError(
                refusal.detail, hint="allow a longer deadline, fewer layers or a smaller fanout"
            )
        case "unavailable":
            error = BackendUnavailableError(refusal.detail)
        case "refused":
            error = BackendRefusedError(refusal.detail)
        case "too_long":
            error = ContextLengthError(
                refusal.detail, hint="shorten the conversation, or use a model with more context"
            )
        case "backend":
            error = BackendError(refusal.detail)
    error.trace = refusal.trace
    return error


def conversation(prompt: str | Sequence[Turn]) -> tuple[Turn, ...]:
    """Make the core's turns of what was asked; UsageError for text that is none."""
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
    try:
        for turn in turns:
            (turn.content + turn.extra).encode()
    except UnicodeEncodeError:
        raise UsageError("the prompt holds half a character (a lone surrogate)") from None
    for turn in turns:
        if turn.role not in SPEAKERS:
            raise UsageError(
                f"no turn of a chat has the role {turn.role!r}", hint=f"use {', '.join(SPEAKERS)}"
            )
    return turns
