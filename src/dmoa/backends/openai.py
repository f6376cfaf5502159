"""Any OpenAI-compatible endpoint: Ollama, LM Studio, vLLM, llama.cpp's server, OpenAI.

Always streams, so that closing the generator closes the connection and the server stops.
A generation is never repeated: it may have run, and a layer goes on without it. Thoughts
(`reasoning_content`, `reasoning`) are dropped; a completion of nothing else is an error.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx2
import msgspec

from dmoa.backends.chat import Assembly, read_chunk, request_fields
from dmoa.backends.refusals import as_object, read_refusal
from dmoa.backends.sse import EVENT_BYTES, Parser
from dmoa.backends.uri import BackendUri
from dmoa.core.job import Completion, Profile, Prompt
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigError,
)
from dmoa.runtime.ports import Tokens

_CONNECT: Final = 5.0
_STALL: Final = 120.0
_MODELS: Final = 10.0
"""Patience for the list of models."""
_TAIL: Final = 2.0
"""How long a server may keep a finished stream open, for its count of tokens."""
_IDLE: Final = 4.0
"""How long a connection is kept for the next job: less than the 5 s of common servers,
whose closing would else meet a request on its way."""
_KEY: Final = "OPENAI_API_KEY"
_KEY_HOST: Final = "api.openai.com"
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_DRAIN: Final = 0.1
_BODY: Final = 64 * 1024
_NAMED: Final = 10
"""Models named in a hint."""
_DONE: Final = "[DONE]"
_SEEDS: Final = 2**31
"""Below which every server takes a seed."""
_PROPOSER_TEMPERATURE: Final = 0.7
"""Proposers need to differ; an aggregator is left to the server."""
_QUIRKS: Final = ("stream_options", "max_completion_tokens", "temperature")
"""Words in a refusal that tell what a server does not know, wants instead, or fixes."""

log = logging.getLogger(__name__)


class _Models(msgspec.Struct):
    """A list of models."""

    data: list[dict[str, object]] | None


class OpenAIBackend:
    """A model behind an OpenAI-compatible endpoint.

    `open` finds out what the server tells of its model. Where the URI names the model,
    an unreachable server is no error yet, so that a node may start before its server;
    a refused key always is.
    """

    def __init__(self, uri: BackendUri) -> None:
        self._uri = uri
        self._host = urlsplit(uri.target).hostname or ""
        self._who = f"the server at {urlsplit(uri.target).netloc}"
        self._stall = uri.stall or _STALL
        self._client: httpx2.AsyncClient | None = None
        self._key = ""
        self._quirks: set[str] = set()
        self._dice = None if uri.seed is None else random.Random(uri.seed)
        self._profile = self._make_profile(uri.name, None)

    @property
    def profile(self) -> Profile:
        """What the node must know of the model; complete once `open` has returned."""
        return self._profile

    async def open(self) -> None:
        """Make the one client, and ask for the model's name and context where possible."""
        self._key = self._read_key()
        headers = {"accept": "text/event-stream, application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(self._stall, connect=_CONNECT, pool=None),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=_IDLE),
            trust_env=self._host not in _LOCAL,  # no proxy leads to this machine
        )
        try:
            await self._meet()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def generate(self, prompt: Prompt) -> Tokens:
        """Stream the completion of a prompt."""
        return self._generate(prompt)

    def _read_key(self) -> str:
        name = self._uri.key_env
        if not name:
            return os.environ.get(_KEY, "").strip() if self._host == _KEY_HOST else ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise ConfigError(
                f"the environment variable {name} is not set", hint=f"export {name}=..."
            )
        return key

    def _make_profile(self, model: str, context: int | None) -> Profile:
        uri, usual = self._uri, Profile(model=model)
        return Profile(
            model=model,
            context_tokens=uri.context or context or usual.context_tokens,
            slots=uri.slots or usual.slots,
            proposal_tokens=uri.proposal or usual.proposal_tokens,
            answer_tokens=uri.answer or usual.answer_tokens,
            layout=uri.layout or usual.layout,
        )

    async def _meet(self) -> None:
        """Learn from the list of models, without which a named model works as well."""
        name = self._uri.name
        try:
            models = await self._models()
        except BackendError as error:
            key_refused = isinstance(error, BackendRefusedError) and error.hint is not None
            if not name or key_refused:
                raise
            log.info("%s lists no models now: %s", self._who, error.message)
            return
        if not name and not models:
            raise BackendUnavailableError(
                f"{self._who} offers no model", hint="load one, or name it: `openai:URL#MODEL`"
            )
        if name and models and name not in models:
            log.warning("%s does not list the model %s", self._who, name)
        name = name or next(iter(models))
        self._profile = self._make_profile(name, models.get(name))

    async def _models(self) -> dict[str, int | None]:
        """Ask for the models, each with its context where the server tells it."""
        with self._in_our_words():
            response = await self._opened().get(
                f"{self._uri.target}/models", timeout=httpx2.Timeout(_MODELS, connect=_CONNECT)
            )
        if response.status_code != HTTPStatus.OK:
            raise self._read_refusal(response.status_code, response.text)
        try:
            listed = msgspec.json.decode(response.content, type=_Models).data
        except msgspec.MsgspecError as error:
            raise BackendRubbishError(
                f"{self._who} sent no list of models", hint="does its URL end in /v1?"
            ) from error
        return {
            name: _context(entry)
            for entry in listed or ()
            if isinstance(name := entry.get("id"), str)
        }

    async def _generate(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        assembly = Assembly(prompt, self._profile.model, self._who)
        async with (
            self._respond(prompt) as response,
            aclosing(response.aiter_bytes()) as stream,
        ):
            parser = _parser(response)
            done = False
            while not done:
                data = await self._more(stream, tail=assembly.reason is not None)
                for event in self._events(parser, data):
                    if event == _DONE:
                        done = True
                    elif text := assembly.take(read_chunk(self._hide(event))):
                        yield text
                if not data:
                    self._ended(parser, assembly)
                    done = True
            await self._drain(stream)
        yield assembly.completion()

    @asynccontextmanager
    async def _respond(self, prompt: Prompt) -> AsyncGenerator[httpx2.Response, None]:
        """Send a prompt, and give the response once it has begun well."""
        response = await self._send(prompt)
        try:
            if response.status_code != HTTPStatus.OK:
                raise await self._refusal(response)
            yield response
        finally:
            await response.aclose()

    async def _send(self, prompt: Prompt) -> httpx2.Response:
        """Send a prompt; again without a field that the server does not know.

        What a server turned down as malformed has not run, so this repeats nothing.
        """
        client = self._opened()
        while True:
            body = msgspec.json.encode(self._request(prompt))
            request = client.build_request(
                "POST",
                f"{self._uri.target}/chat/completions",
                content=body,
                headers={"content-type": "application/json"},
            )
            with self._in_our_words():
                response = await client.send(request, stream=True)
            if response.status_code not in (400, 422):
                return response
            try:
                words = (await self._body(response)).decode("utf-8", "replace")
                news = next((q for q in _QUIRKS if q in words and q not in self._quirks), None)
                if news is None:
                    raise self._read_refusal(response.status_code, words)
                self._quirks.add(news)
            finally:
                await response.aclose()

    def _request(self, prompt: Prompt) -> dict[str, object]:
        fields = {**self._uri.drawn, **request_fields(prompt)}
        if self._dice is not None:
            fields.setdefault("seed", self._dice.randrange(_SEEDS))
        if prompt.role == "proposer" and "temperature" not in self._quirks:
            fields.setdefault("temperature", _PROPOSER_TEMPERATURE)
        if "max_completion_tokens" in self._quirks:
            fields["max_completion_tokens"] = fields.pop("max_tokens", None)
        if "stream_options" not in self._quirks:
            fields["stream_options"] = {"include_usage": True}
        return {**fields, "model": self._profile.model, "stream": True}

    async def _more(self, stream: AsyncIterator[bytes], *, tail: bool) -> bytes:
        """Read on; b"" at the end, or when nothing follows a completion that is finished."""
        with self._in_our_words():
            try:
                async with asyncio.timeout(_TAIL if tail else None):
                    while not (data := await anext(stream, None)) and data is not None:
                        pass
            except TimeoutError:
                return b""
            return data or b""

    def _events(self, parser: Parser | _Whole, data: bytes) -> list[str]:
        try:
            return parser.feed(data, final=not data)
        except ValueError as error:
            raise BackendRubbishError(f"{self._who} sent no stream of tokens: {error}") from error

    def _ended(self, parser: Parser | _Whole, assembly: Assembly) -> None:
        """Judge a response that ended without saying so."""
        if assembly.reason is not None or isinstance(parser, _Whole):
            return
        if parser.fed and not parser.found:
            raise BackendRubbishError(
                f"{self._who} sent no stream of tokens", hint="does its URL end in /v1?"
            )
        raise BackendUnavailableError(f"{self._who} ended its answer in the middle")

    async def _drain(self, stream: AsyncIterator[bytes]) -> None:
        """Read the last bytes of a response, so that its connection can serve again."""
        with suppress(TimeoutError, httpx2.HTTPError):
            async with asyncio.timeout(_DRAIN):
                async for _ in stream:
                    pass

    async def _body(self, response: httpx2.Response) -> bytes:
        """Read a body that is small if all is well, and only its beginning if not."""
        data = b""
        with self._in_our_words():
            async with aclosing(response.aiter_bytes()) as stream:
                async for piece in stream:
                    data += piece
                    if len(data) > _BODY:
                        break
        return data

    async def _refusal(self, response: httpx2.Response) -> BackendError:
        words = (await self._body(response)).decode("utf-8", "replace")
        error = self._read_refusal(response.status_code, words)
        if response.status_code == HTTPStatus.NOT_FOUND and error.hint is None:
            with suppress(BackendError):
                if models := await self._models():
                    error.hint = "models there: " + ", ".join([*models][:_NAMED])
        return error

    def _read_refusal(self, status: int, words: str) -> BackendError:
        words = self._hide(words)
        try:
            body = msgspec.json.decode(words)
        except msgspec.MsgspecError:
            body = "" if words.lstrip().startswith("<") else words  # nobody reads HTML
        return read_refusal(status, body, who=self._who)

    def _hide(self, text: str) -> str:
        """Take the key out of a server's words."""
        return text.replace(self._key, "***") if self._key else text

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise BackendUnavailableError(f"the way to {self._who} is not open")
        return self._client

    @contextmanager
    def _in_our_words(self) -> Generator[None]:
        """Turn the HTTP client's errors into the family of BackendError."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise BackendUnavailableError(
                f"{self._who} cannot be reached: {error or type(error).__name__}",
                hint="is it running, and is its URL right?",
            ) from error
        except httpx2.TimeoutException as error:
            raise BackendTimeoutError(f"{self._who} stalled") from error
        except httpx2.DecodingError as error:
            raise BackendRubbishError(f"{self._who} sent broken data: {error}") from error
        except httpx2.HTTPError as error:
            raise BackendUnavailableError(
                f"{self._who} was lost: {error or type(error).__name__}"
            ) from error


class _Whole:
    """The parser of a response that does not stream: one event, at its end."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        self._data += data
        if len(self._data) > EVENT_BYTES:
            raise ValueError(f"it is longer than {EVENT_BYTES} bytes")
        return [self._data.decode("utf-8", "replace")] if final else []


def _parser(response: httpx2.Response) -> Parser | _Whole:
    media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _Whole() if media == "application/json" else Parser()


def _context(entry: dict[str, object]) -> int | None:
    """Find a model's context in a list of models: vLLM's word, or llama.cpp's."""
    meta = as_object(entry.get("meta"))
    for found in (entry.get("max_model_len"), meta.get("n_ctx")):
        if isinstance(found, int) and found > 0:
            return found
    return None
