"""The app of one node."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from dmoa.api import chat, feed, models, page, plan, probes, problems, queue
from dmoa.api.described import Described
from dmoa.api.errands import Errands
from dmoa.api.guard import Guard
from dmoa.api.reach import Reach
from dmoa.api.responses import Responses
from dmoa.api.responses_routes import mount
from dmoa.api.schema import ChatRequest
from dmoa.api.shapes import Json
from dmoa.config.keys import Doorkeeper
from dmoa.core.digest import Digest
from dmoa.runtime.node import Node
from dmoa.store.archive import Archive

BODY_FACTOR = 8
"""A request's body may be so many times the conversation it may hold: JSON escapes."""


def create_app(
    node: Node,
    keeper: Doorkeeper | None = None,
    hosts: frozenset[str] = frozenset(),
    errands: Errands | None = None,
) -> FastAPI:
    """Make the API of a node; it answers 503 until the node is open.

    Whom it answers at all is the `keeper`'s affair; without one it answers everybody. It may
    be addressed by the `hosts`, beside its own address. Its `errands` keep the responses;
    without them they end with the process.
    """
    app = Described(
        title="dmoa",
        version=version("dmoa"),
        description="Distributed mixture-of-agents, spoken to as one OpenAI model.",
        docs_url=None,  # its pages load scripts from elsewhere
        redoc_url=None,
    )
    problems.install(app)
    body_bytes = BODY_FACTOR * node.limits.conversation_bytes
    app.add_middleware(Guard, body_bytes=body_bytes, keeper=keeper, hosts=hosts)
    _tell_how_it_stands(app, node)
    probes.mount(app, node)
    _speak_openai(app, node)
    mount(app, Responses(node, errands or Errands(node, Archive()), keeper))
    page.install(app)
    feed.install(app, node)
    plan.install(app, node)
    return app


def _tell_how_it_stands(app: FastAPI, node: Node) -> None:
    """Serve what OpenAI has no words for."""

    @app.get("/health")
    async def health() -> Response:
        """Tell whether the node can be asked, and in short how it stands."""
        if not node.is_open:
            body = {"status": "loading", "node": node.id}
            return JSONResponse(body, status_code=503, headers={"Retry-After": "1"})
        digest = node.digest
        return JSONResponse(
            {
                "status": "ok",
                "node": digest.node,
                "model": digest.model,
                "peers": len(node.peers),
                "queue": digest.length,
                "utilisation": digest.utilisation,
                "version": version("dmoa"),
            }
        )

    @app.get("/v1/peers")
    async def list_peers() -> Json:
        """Tell how this node and every peer it knows stand."""

        def shaped(digest: Digest, age: float) -> Json:
            return {**asdict(digest), "age_seconds": age}

        return {
            "node": shaped(node.digest, 0.0),
            "peers": [
                shaped(digest, age) | {"standing": asdict(node.conduct(digest.node))}
                for digest, age in node.peers
            ],
        }

    @app.get("/v1/queue")
    async def show_queue() -> Json:
        """Tell who waits here, and for how long."""
        return queue.queue(node)

    reach = Reach(node)

    @app.get("/v1/reach")
    async def show_reach() -> Json:
        """Call on every peer, for its release, its clock and whom it hears."""
        return await reach.told()

    _ = (health, list_peers, show_queue, show_reach)


def _speak_openai(app: FastAPI, node: Node) -> None:
    """Serve what every client of OpenAI's API asks for."""
    born = int(time.time())

    @app.get("/v1/models")
    async def list_models() -> Json:
        """List the models of this node."""
        cards = [models.card(name, node, created=born) for name in models.names()]
        return {"object": "list", "data": cards}

    @app.get("/v1/models/{name:path}")
    async def get_model(name: str) -> Json:
        """Describe one model."""
        return models.card(name, node, created=born)

    @app.post("/v1/chat/completions")
    async def chat_completions(body: ChatRequest, request: Request) -> Response:
        """Ask the mixture, or the own model."""
        return await chat.complete(body, node, request)

    _ = (list_models, get_model, chat_completions)
