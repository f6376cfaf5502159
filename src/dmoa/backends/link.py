"""The link to a server of language models: one HTTP client, and its errors in our words."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx2
import msgspec

from dmoa.backends.refusals import read_refusal
from dmoa.backends.uri import BackendUri
from dmoa.errors import (
    BackendError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigError,
)

STALL: Final = 120.0
"""Seconds without a byte until a server counts as stalled, unless the URI says otherwise."""
CONNECT: Final = 5.0
_IDLE: Final = 4.0
"""How long a connection is kept for the next job: less than the 5 s of common servers,
whose closing would else meet a request on its way."""
_KEY: Final = "OPENAI_API_KEY"
_KEY_HOST: Final = "api.openai.com"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_BODY: Final = 64 * 1024


class Link:
    """One HTTP client for one server, with its key; every error is a BackendError."""

    def __init__(self, uri: BackendUri) -> None:
        self.base = uri.target
        self.who = f"the server at {urlsplit(uri.target).netloc}"
        self.stall = uri.stall or STALL
        url = urlsplit(uri.target)
        self._host = url.hostname or ""
        self._local = self._host in _LOCAL
        self._plain = self._local and url.scheme == "http"
        self._key_env = uri.key_env
        self._key = ""
        self._client: httpx2.AsyncClient | None = None

    def open(self) -> None:
        """Make the client; ConfigError where the key that is named is not there."""
        self._key = self._read_key()
        headers = {"accept": "text/event-stream, application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(self.stall, connect=CONNECT, pool=None),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=_IDLE),
            trust_env=not self._local,  # no proxy leads to this machine
            verify=not self._plain,  # to read all authorities takes longer than much else
        )

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def get(self, url: str, *, patience: float) -> bytes:
        """Get a document within `patience` seconds; BackendError unless its status is 200."""
        with self.in_our_words():
            response = await self._opened().get(
                url, timeout=httpx2.Timeout(patience, connect=CONNECT)
            )
        if response.status_code != HTTPStatus.OK:
            raise self.read_refusal(response.status_code, response.text)
        return response.content

    async def ask(self, url: str, fields: dict[str, object]) -> bytes:
        """Post a JSON object, and give what is answered; BackendError unless its status is 200.

        To cancel it closes the connection.
        """
        async with self.send(url, fields) as response:
            if response.status_code != HTTPStatus.OK:
                raise self.read_refusal(response.status_code, await self.body(response))
            with self.in_our_words():
                return await response.aread()

    @asynccontextmanager
    async def send(
        self, url: str, fields: dict[str, object]
    ) -> AsyncGenerator[httpx2.Response, None]:
        """Post a JSON object, and give the response as soon as it has begun.

        Whoever hangs up without a word of an answer is asked once more: a server may end a
        connection that was kept in the very moment in which it is used again.
        """
        client = self._opened()
        request = client.build_request(
            "POST",
            url,
            content=msgspec.json.encode(fields),
            headers={"content-type": "application/json"},
        )
        with self.in_our_words():
            try:
                response = await client.send(request, stream=True)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                response = await client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()

    async def body(self, response: httpx2.Response) -> str:
        """Read a body that is small if all is well, and only its beginning if not."""
        data = b""
        with self.in_our_words():
            async with aclosing(response.aiter_bytes()) as stream:
                async for piece in stream:
                    data += piece
                    if len(data) > _BODY:
                        break
        return data.decode("utf-8", "replace")

    def read_refusal(self, status: int, words: str) -> BackendError:
        """Say which error a server means by a status and the words it sent along."""
        words = self.hide(words)
        try:
            body = msgspec.json.decode(words)
        except msgspec.MsgspecError:
            body = "" if words.lstrip().startswith("<") else words  # nobody reads HTML
        return read_refusal(status, body, who=self.who)

    def hide(self, text: str) -> str:
        """Take the key out of a server's words."""
        return text.replace(self._key, "***") if self._key else text

    def _read_key(self) -> str:
        name = self._key_env
        if not name:
            return os.environ.get(_KEY, "").strip() if self._host == _KEY_HOST else ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise ConfigError(
                f"the environment variable {name} is not set", hint=f"export {name}=..."
            )
        return key

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise BackendUnavailableError(f"the way to {self.who} is not open")
        return self._client

    @contextmanager
    def in_our_words(self) -> Generator[None]:
        """Turn the HTTP client's errors into the family of BackendError."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise BackendUnavailableError(
                f"{self.who} cannot be reached: {error or type(error).__name__}",
                hint="is it running, and is its URL right?",
            ) from error
        except httpx2.TimeoutException as error:
            raise BackendTimeoutError(f"{self.who} stalled") from error
        except httpx2.DecodingError as error:
            raise BackendRubbishError(f"{self.who} sent broken data: {error}") from error
        except httpx2.HTTPError as error:
            raise BackendUnavailableError(
                f"{self.who} was lost: {error or type(error).__name__}"
            ) from error
