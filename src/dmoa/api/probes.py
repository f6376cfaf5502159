"""GET /livez, /readyz, /version and /metrics: what those ask who watch over many nodes."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from dmoa.api.shapes import Json
from dmoa.runtime.node import Node
from dmoa.telemetry.metrics import Metrics


def mount(app: FastAPI, node: Node) -> None:
    """Serve them, and count from now on what the node lives through."""
    metrics = Metrics(node)
    node.onlookers.append(metrics)

    @app.get("/livez")
    async def live() -> Json:
        """Tell that the process answers: where it does not, it should be started anew."""
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"description": "It loads its model."}})
    async def ready() -> Response:
        """Tell whether the node can be asked: until then, nothing should be sent here."""
        if not node.is_open:
            headers = {"Retry-After": "1"}
            return JSONResponse({"status": "loading"}, status_code=503, headers=headers)
        return JSONResponse({"status": "ok"})

    @app.get("/version")
    async def tell_version() -> Json:
        """Tell which release runs here."""
        return {"version": version("dmoa")}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def show_metrics(request: Request) -> Response:
        """Tell Prometheus what was counted, and how the node stands."""
        page, kind = metrics.page(request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": kind})

    _ = (live, ready, tell_version, show_metrics)
