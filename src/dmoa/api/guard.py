"""The door of the API: only known hosts, only bodies of a bounded size."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dmoa.api import problems

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """Refuses foreign Host names (a web page that re-binds its name) and huge bodies."""

    def __init__(self, app: ASGIApp, *, body_bytes: int, hosts: frozenset[str] = _LOCAL) -> None:
        self._app = app
        self._body_bytes = body_bytes
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if name not in self._hosts:
            refusal = problems.body(f"host {name!r} is not served here", status=403, code="host")
            await JSONResponse(refusal, status_code=403)(scope, receive, send)
            return
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > self._body_bytes:
            await self._too_large(scope, receive, send)
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless its body outgrows the limit as it comes."""
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= self._body_bytes else {"type": "http.disconnect"}

        async def said(message: Message) -> None:
            if taken <= self._body_bytes:  # else the app only says that it got no body
                await send(message)

        await self._app(scope, counted, said)
        if taken > self._body_bytes:
            await self._too_large(scope, receive, send)

    async def _too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = f"the body is larger than {self._body_bytes} bytes"
        refusal = problems.body(text, status=413, code="body_too_large")
        response = JSONResponse(refusal, status_code=413, headers={"Connection": "close"})
        await response(scope, receive, send)
