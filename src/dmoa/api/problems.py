"""Errors as OpenAI's error object, with the right status; nothing else ever escapes."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dmoa.api import shapes
from dmoa.core.effects import Trace
from dmoa.errors import BackendUnavailableError, ContextLengthError, DmoaError, OverloadedError

_RETRY_SECONDS = 1
_STEP = 80
"""Characters repeated of a key that somebody made up."""
_TYPES = {400: "invalid_request_error", 404: "invalid_request_error", 429: "rate_limit_error"}


def body(
    message: str, *, status: int, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Shape an error."""
    usual = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    kind = _TYPES.get(status, usual)
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def body_of(error: DmoaError) -> dict[str, Any]:
    """Shape one of our errors; `Please reduce` is what clients look for in a long prompt."""
    message = error.message
    if isinstance(error, ContextLengthError):
        message += ". Please reduce the length of the messages."
    elif error.hint:
        message += f" (hint: {error.hint})"
    shaped = body(message, status=error.status, code=error.code)
    told = shapes.trace(error.trace) if isinstance(error.trace, Trace) else {}
    if isinstance(error, OverloadedError):
        if error.position is not None:
            told["position"] = error.position
        told["retry_after_seconds"] = round(error.retry_after, 4)
    if told:
        shaped["error"]["dmoa"] = told
    return shaped


def response(error: DmoaError) -> JSONResponse:
    """Answer with one of our errors."""
    headers: dict[str, str] = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(ceil(error.retry_after))
        headers["retry-after-ms"] = str(ceil(1000 * error.retry_after))
    elif isinstance(error, BackendUnavailableError):
        headers["Retry-After"] = str(_RETRY_SECONDS)
    return JSONResponse(body_of(error), status_code=error.status, headers=headers)


def _invalid(error: RequestValidationError) -> JSONResponse:
    """Say of a bad request what is wrong, and where."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        shaped = body(
            f"the body is not JSON: {first['ctx']['error']}", status=400, code="invalid_json"
        )
    else:
        where = _place(first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        shaped = body(
            f"{where}: {message}" if where else f"the body: {message}",
            status=400,
            code=str(first["type"]),
            param=where or None,
        )
    return JSONResponse(shaped, status_code=400)


def _place(path: Sequence[str | int]) -> str:
    """Write a place in the body as OpenAI does: `messages[0].content`."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step[:_STEP]}" for step in path[1:]]
    return "".join(steps).removeprefix(".")


def install(app: FastAPI) -> None:
    """Give every error of an app OpenAI's shape."""

    async def ours(request: Request, error: Exception) -> JSONResponse:
        del request
        assert isinstance(error, DmoaError)
        return response(error)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        del request
        assert isinstance(error, RequestValidationError)
        return _invalid(error)

    async def plain(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        text = f"{request.method} {request.url.path}: {error.detail}"
        if error.status_code == HTTPStatus.NOT_FOUND and not request.url.path.startswith("/v1"):
            text += " (hint: the base URL of clients ends in /v1)"
        return JSONResponse(
            body(text, status=error.status_code),
            status_code=error.status_code,
            headers=error.headers,
        )

    async def crash(request: Request, error: Exception) -> JSONResponse:
        del request, error  # the HTTP server logs it
        return JSONResponse(
            body("this node met a bug of its own; its log says more", status=500, code="internal"),
            status_code=500,
        )

    app.add_exception_handler(DmoaError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, crash)
