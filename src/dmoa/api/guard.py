"""The door of the API: only known hosts, only with a key, only bodies of a bounded size."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dmoa.api import problems
from dmoa.config.keys import Doorkeeper
from dmoa.errors import InvalidKeyError, KeyFileError

_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Guard:
    """Refuses foreign Host names (a web page that re-binds its name), strangers, huge bodies.

    Where a doorkeeper asks for a key, everything but `GET /health` needs one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes: int,
        keeper: Doorkeeper | None = None,
        hosts: frozenset[str] = _LOCAL,
    ) -> None:
        self._app = app
        self._keeper = keeper
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
        if (refused := self._stranger(scope)) is not None:
            await refused(scope, receive, send)
            return
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > self._body_bytes:
            await self._too_large(scope, receive, send)
            return
        await self._counted(scope, receive, send)

    def _stranger(self, scope: Scope) -> JSONResponse | None:
        """Refuse whoever has no key; nothing of what was offered is repeated."""
        if self._keeper is None or (scope["method"], scope["path"]) == ("GET", "/health"):
            return None
        try:
            if self._keeper.admits(_offered(scope)):
                return None
        except KeyFileError:  # its message names a file, which is no affair of strangers
            return problems.response(
                KeyFileError("this node cannot read its keys", hint="its log says why")
            )
        refused = problems.response(
            InvalidKeyError(
                "this node wants a key, and got none that fits",
                hint="send `Authorization: Bearer KEY`; `dmoa key create` makes one",
            )
        )
        refused.headers["WWW-Authenticate"] = "Bearer"
        return refused

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


def _offered(scope: Scope) -> bytes | None:
    """Find the key of a request; None where there is none, or more than one."""
    told = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(told) != 1:
        return None
    scheme, _, key = told[0].partition(b" ")
    return key.strip(b" ") if scheme.lower() == b"bearer" else None
