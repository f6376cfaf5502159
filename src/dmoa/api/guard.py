"""The door of the API: only known hosts, no foreign pages, only with a key, only bounded bodies."""

from __future__ import annotations

import ipaddress
import re

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dmoa.api import problems
from dmoa.api.page import PATHS
from dmoa.config.keys import Doorkeeper
from dmoa.errors import InvalidKeyError, KeyFileError, OverloadedError

BODIES_BYTES = 64 * 1024 * 1024
"""Bytes of all bodies that are still coming in; whoever sends the next has to come again."""

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]\s/@]+)(?::\d{0,5})?")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - names of nothing, not to be served
_MEDIA = "application/json"
_OPEN = frozenset({"/health", "/livez", "/readyz", *PATHS})
"""What those GET who have no key: whether the node lives, and its page, which holds nothing."""
_SHOWN = 80
"""Characters repeated of what a stranger sent."""


class Guard:
    """Refuses whom the API is not for, before anything else is done.

    Those are, in this order: requests for names that are not ours (a page that re-binds its
    name), foreign pages that would change something, strangers where a doorkeeper asks for a
    key (of everybody, and for everything but what is `_OPEN`), bodies that are no JSON, bodies
    that are too large, and bodies for which there is no room now.

    Ours are the `hosts`, the address at which a connection came in, and on loopback its names.
    There is no CORS: no answer ever allows a foreign page to read it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes: int,
        keeper: Doorkeeper | None = None,
        hosts: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._keeper = keeper
        self._body_bytes = body_bytes
        self._hosts = hosts - _ANYWHERE
        self._coming = 0
        """Bytes of bodies that are not whole yet."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = (
            self._elsewhere(scope, headers)
            or _foreign(scope, headers)
            or self._stranger(scope)
            or _no_json(scope, headers)
            or self._too_large(headers.get("content-length", "0"))
        )
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._counted(scope, receive, send)

    def _elsewhere(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """Refuse a request for a name that is not ours."""
        host = headers.get("host", "").lower()
        found = _HOST.fullmatch(host)
        if found is not None and self._ours(found[1].strip("[]"), scope):
            return None
        text = f"host {host[:_SHOWN]!r} is not served here"
        return _refusal(f"{text} (hint: the setting `hosts` names more)", 403, "host")

    def _ours(self, name: str, scope: Scope) -> bool:
        local = plain((scope.get("server") or ("127.0.0.1", None))[0])
        return (
            plain(name) in self._hosts
            or plain(name) == local
            or (name in _LOCAL and (local == "localhost" or _is_loopback(local)))
        )

    def _stranger(self, scope: Scope) -> JSONResponse | None:
        """Refuse whoever has no key; nothing of what was offered is repeated."""
        if self._keeper is None or (scope["method"] == "GET" and scope["path"] in _OPEN):
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

    def _too_large(self, size: str) -> JSONResponse | None:
        """Refuse a body by its announced size, before any of it has come."""
        if size.isdecimal() and int(size) > self._body_bytes:
            text = f"the body is larger than {self._body_bytes} bytes"
            return _refusal(text, 413, "body_too_large", {"Connection": "close"})
        return None

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless its body outgrows a limit as it comes."""
        taken = held = 0
        refused: JSONResponse | None = None

        async def counted() -> Message:
            nonlocal taken, held, refused
            message = await receive()
            size = len(message.get("body", b""))
            taken, held = taken + size, held + size
            self._coming += size
            if refused is None:
                refused = self._too_large(str(taken)) or self._no_room()
            if refused is not None or not message.get("more_body"):
                self._coming, held = self._coming - held, 0
            return message if refused is None else {"type": "http.disconnect"}

        async def said(message: Message) -> None:
            if refused is None:  # else the app only says that it got no body
                await send(message)

        try:
            await self._app(scope, counted, said)
        finally:
            self._coming -= held
        if refused is not None:
            await refused(scope, receive, send)

    def _no_room(self) -> JSONResponse | None:
        if self._coming <= BODIES_BYTES:
            return None
        refused = problems.response(
            OverloadedError("too much is being sent to this node at once", retry_after=1.0)
        )
        refused.headers["Connection"] = "close"
        return refused


def plain(address: str) -> str:
    """Write an address in its one usual form, IPv4 within IPv6 as IPv4; other words stay."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _foreign(scope: Scope, headers: Headers) -> JSONResponse | None:
    """Refuse a page of another site that would change something here.

    Browsers say which page asks, and send some requests without asking us first; programs
    say nothing. What such a page could only read, browsers keep from it without CORS.
    """
    told = headers.getlist("origin")
    if not told or scope["method"] in _HARMLESS:
        return None
    host = headers.get("host", "").lower()
    if [each.lower().partition("://")[2] for each in told] == [host]:
        return None
    return _refusal(f"pages of {told[0][:_SHOWN]!r} may not ask this node", 403, "origin")


def _no_json(scope: Scope, headers: Headers) -> JSONResponse | None:
    """Refuse a body of another kind: pages can send forms and texts to us without asking."""
    if scope["method"] in _HARMLESS:
        return None
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return None
    if headers.get("content-type", "").partition(";")[0].strip().lower() == _MEDIA:
        return None
    text = f"the body must be JSON (hint: send the header `Content-Type: {_MEDIA}`)"
    return _refusal(text, 415, "media_type", {"Connection": "close"})


def _refusal(
    message: str, status: int, code: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    shaped = problems.body(message, status=status, code=code)
    return JSONResponse(shaped, status_code=status, headers=headers)


def _offered(scope: Scope) -> bytes | None:
    """Find the key of a request; None where there is none, or more than one."""
    told = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(told) != 1:
        return None
    scheme, _, key = told[0].partition(b" ")
    return key.strip(b" ") if scheme.lower() == b"bearer" else None
