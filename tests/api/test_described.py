"""The API's own description: what it says of each route is so."""

from __future__ import annotations

import json
from typing import Any

from api_room import in_process, opened


def refs(told: Any) -> set[str]:
    if isinstance(told, dict):
        own = {told["$ref"]} if isinstance(told.get("$ref"), str) else set()
        return own.union(*map(refs, told.values()))
    return set().union(*map(refs, told)) if isinstance(told, list) else set()


async def test_each_route_says_how_it_fails() -> None:
    async with opened("n1") as room, in_process(room.home) as http:
        first = (await http.get("/openapi.json")).json()
        assert (await http.get("/openapi.json")).json() == first
    schemas = first["components"]["schemas"]
    assert "HTTPValidationError" not in json.dumps(first)
    for ref in refs(first):
        assert ref.removeprefix("#/components/schemas/") in schemas
    operations = [
        (method, path, operation)
        for path, methods in first["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) > 8
    for _, _, operation in operations:
        assert "422" not in operation["responses"]
        error = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert error == {"$ref": "#/components/schemas/Error"}
    streams = {
        f"{method} {path}"
        for method, path, operation in operations
        if "text/event-stream" in operation["responses"]["200"].get("content", {})
    }
    assert streams == {
        "post /v1/chat/completions",
        "post /v1/responses",
        "get /v1/responses/{response_id}",
    }
