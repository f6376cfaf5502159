"""The routes of responses: five of OpenAI's, and a list of our own."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from dmoa.api.responses import Order, Responses
from dmoa.api.responses_schema import ResponseRequest
from dmoa.api.shapes import Json
from dmoa.store.kept import PAGE

_Limit = Annotated[int, Query(ge=1, le=PAGE)]
_After = Annotated[str, Query(max_length=200)]


def mount(app: FastAPI, responses: Responses) -> None:
    """Serve the responses of a node.

    The list stands at /v1/dmoa/responses: OpenAI has none, and may give /v1/responses another one.
    """

    @app.post("/v1/responses")
    async def create_response(body: ResponseRequest, request: Request) -> Response:
        """Ask, and have the answer kept; in the background it also outlives the node."""
        return await responses.create(body, request)

    @app.get("/v1/responses/{response_id}")
    async def get_response(
        response_id: str,
        request: Request,
        stream: bool = False,  # noqa: FBT001, FBT002 - a parameter of the query
        starting_after: int = -1,
    ) -> Response:
        """Show a response, or stream the events of one of the background."""
        return await responses.get(response_id, request, stream=stream, after=starting_after)

    @app.post("/v1/responses/{response_id}/cancel")
    async def cancel_response(response_id: str, request: Request) -> Json:
        """End a response of the background, for good; what has ended stays as it is."""
        return await responses.cancel(response_id, request)

    @app.delete("/v1/responses/{response_id}")
    async def delete_response(response_id: str, request: Request) -> Json:
        """Delete a response, its input and its answer."""
        return await responses.delete(response_id, request)

    @app.get("/v1/responses/{response_id}/input_items")
    async def list_input_items(
        response_id: str,
        request: Request,
        order: Order = "desc",
        limit: _Limit = 20,
        after: _After = "",
    ) -> Json:
        """List the items of a response's own input."""
        return await responses.entries(response_id, request, order=order, limit=limit, after=after)

    @app.get("/v1/dmoa/responses")
    async def list_responses(request: Request, limit: _Limit = 20, after: _After = "") -> Json:
        """List responses, the newest first, without their texts."""
        return await responses.listed(request, limit=limit, after=after)

    _ = (create_response, get_response, cancel_response, delete_response)
    _ = (list_input_items, list_responses)
