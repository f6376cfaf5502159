"""GET / and what it loads: the page of a node, from package data, to whoever can reach the API.

The page itself holds nothing of the node, so it needs no key; what it shows it asks for with
one. Its policy lets it load and ask nothing but this node, run no script but these files, and
never make markup of a text (trusted types).
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

_MODULES = [
    "main",
    "dom",
    "feed",
    "scene",
    "network",
    "tokens",
    "table",
    "charts",
    "plan",
    "chat",
    "tree",
]
PATHS: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/page/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _MODULES},
}
"""What is served where, and its media type; all of it without a key."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # each load asks whether it is still the same, by its ETag
}
"""Of everything that is served here."""


@lru_cache(1)
def files() -> dict[str, tuple[bytes, bytes]]:
    """Read what is served, as it is and compressed, by its path; some 100 kB in all, read once."""
    folder = resources.files("dmoa.page")
    contents = {path: folder.joinpath(name).read_bytes() for path, (name, _) in PATHS.items()}
    return {path: (each, gzip.compress(each, mtime=0)) for path, each in contents.items()}


def install(app: FastAPI) -> None:
    """Serve the page."""
    for path, (plain, packed) in files().items():
        _serve(app, path, plain, packed)


def _serve(app: FastAPI, path: str, plain: bytes, packed: bytes) -> None:
    media = PATHS[path][1]
    tag = f'"{sha256(plain).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": f"W/{tag}", "Vary": "Accept-Encoding"}

    @app.get(path, include_in_schema=False)
    async def static(request: Request) -> Response:
        if tag in _tags(request.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                packed, media_type=media, headers={**headers, "Content-Encoding": "gzip"}
            )
        return Response(plain, media_type=media, headers=headers)

    _ = static


def _tags(told: str) -> list[str]:
    """List the tags of what a browser has, weak or not: what is served is whole in any case."""
    return [each.strip().removeprefix("W/") for each in told.split(",")]
