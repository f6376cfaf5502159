"""The API's own description (OpenAPI 3.1), as FastAPI writes it, made true where it is not."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

_STREAMS = frozenset(
    {
        ("/v1/chat/completions", "post"),
        ("/v1/responses", "post"),
        ("/v1/responses/{response_id}", "get"),
    }
)
"""What is answered by a stream of events, where that is asked for."""
_LOADING = {
    "type": "object",
    "properties": {"status": {"const": "loading"}, "node": {"type": "string"}},
    "required": ["status", "node"],
}
_ERROR = {
    "title": "Error",
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "dmoa": {"type": "object"},
            },
            "required": ["message", "type", "param", "code"],
            "additionalProperties": False,
        }
    },
    "required": ["error"],
    "additionalProperties": False,
}


class Described(FastAPI):
    """An app that says of each route how it fails: with OpenAI's error object."""

    def openapi(self) -> dict[str, Any]:
        """Describe the API; made once."""
        if self.openapi_schema is None:
            told = super().openapi()
            for path, operations in told["paths"].items():
                for method, operation in operations.items():
                    _mend(operation["responses"], streams=(path, method) in _STREAMS)
            told["paths"]["/health"]["get"]["responses"]["503"] = _answer("loading", _LOADING)
            schemas = told["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's, and not ours
                schemas.pop(name, None)
            schemas["Error"] = _ERROR
        return super().openapi()


def _mend(responses: dict[str, Any], *, streams: bool) -> None:
    responses.pop("422", None)
    error = {"$ref": "#/components/schemas/Error"}
    responses["default"] = _answer("what went wrong, as OpenAI shapes it", error)
    if streams:
        responses["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}


def _answer(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": schema}}}
