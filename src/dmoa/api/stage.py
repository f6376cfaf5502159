"""The page of a network that does not live here: a record, or a simulation, played on a stage.

It is what a node serves at `/`, without what could be asked of a node.
"""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI

from dmoa.api import feed, page, plan, problems
from dmoa.api.guard import Guard
from dmoa.runtime.watch import Stage

BODY_BYTES: Final = 65536
"""Of a request: nothing here takes one."""


def create_stage(stage: Stage) -> FastAPI:
    """Make the app that shows a stage; as a node's, it answers to no names but its own."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    problems.install(app)
    app.add_middleware(Guard, body_bytes=BODY_BYTES)
    page.install(app)
    feed.serve(app, stage, stage.audience)
    plan.install(app, stage)
    return app
