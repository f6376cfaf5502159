"""Any OpenAI-compatible endpoint: Ollama, LM Studio, vLLM, llama.cpp's server, OpenAI.

Always streams, so that closing the generator closes the connection and the server stops.
A generation is never repeated: it may have run, and a layer goes on without it. Thoughts
(`reasoning_content`, `reasoning`) are dropped; a completion of nothing else is an error.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import httpx2
import msgspec

from dmoa.backends.ahead import PrefixWay, Way, find_way
from dmoa.backends.chat import Assembly, read_chunk, request_fields
from dmoa.backends.link import Link
from dmoa.backends.refusals import as_object
from dmoa.backends.sse import EVENT_BYTES, Parser
from dmoa.backends.uri import BackendUri
from dmoa.core.job import Completion, Profile, Prompt
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendRubbishError,
    BackendUnavailableError,
)
from dmoa.runtime.ports import Tokens

_MODELS: Final = 10.0
"""Patience for the list of models."""
_TAIL: Final = 2.0
"""How long a server may keep a finished stream open, for its count of tokens."""
_DRAIN: Final = 0.1
_NAMED: Final = 10
"""Models named in a hint."""
_DONE: Final = "[DONE]"
_LLAMA: Final = "llamacpp"
"""Whose llama.cpp's server says its models are."""
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
        self._link = Link(uri)
        self._who = self._link.who
        self._quirks: set[str] = set()
        self._dice = None if uri.seed is None else random.Random(uri.seed)
        self._way: Way | None = None
        self._profile = self._make_profile(uri.name, {})

    @property
    def profile(self) -> Profile:
        """What the node must know of the model; complete once `open` has returned."""
        return self._profile

    async def open(self) -> None:
        """Make the one client, and ask for the model's name and context where possible."""
        self._link.open()
        try:
            about = await self._meet()
            await self._find_way(about)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections."""
        await self._link.close()

    def generate(self, prompt: Prompt) -> Tokens:
        """Stream the completion of a prompt."""
        return self._generate(prompt)

    async def read(self, prompt: Prompt) -> int:
        """Have an open prompt read; BackendError where the server cannot, or not now."""
        if self._way is None:
            raise BackendRefusedError(f"{self._who} is not asked to read ahead")
        return await self._way.read(prompt)

    def _make_profile(self, model: str, about: dict[str, object]) -> Profile:
        uri, usual = self._uri, Profile(model=model)
        return Profile(
            model=model,
            context_tokens=uri.context or _context(about) or usual.context_tokens,
            slots=uri.slots or usual.slots,
            proposal_tokens=uri.proposal or usual.proposal_tokens,
            answer_tokens=uri.answer or usual.answer_tokens,
            layout=uri.layout or usual.layout,
        )

    async def _meet(self) -> dict[str, object]:
        """Learn from the list of models, without which a named model works as well.

        Gives the model's entry, empty where there is none.
        """
        name = self._uri.name
        try:
            models = await self._models()
        except BackendError as error:
            key_refused = isinstance(error, BackendRefusedError) and error.hint is not None
            if not name or key_refused:
                raise
            log.info("%s lists no models now: %s", self._who, error.message)
            return {}
        if not name and not models:
            raise BackendUnavailableError(
                f"{self._who} offers no model", hint="load one, or name it: `openai:URL#MODEL`"
            )
        if name and models and name not in models:
            log.warning("%s does not list the model %s", self._who, name)
        name = name or next(iter(models))
        about = models.get(name, {})
        self._profile = self._make_profile(name, about)
        return about

    async def _find_way(self, about: dict[str, object]) -> None:
        """Choose how prompts are read ahead: as the URI says, or in slots of llama.cpp's."""
        if self._uri.ahead == "prefix":
            self._way = PrefixWay(self._who, self._count)
        else:
            llama = about.get("owned_by") == _LLAMA
            self._way = await find_way(self._uri, self._link, self._profile.slots, llama=llama)
        self._profile = replace(self._profile, reads=self._way is not None)

    async def _models(self) -> dict[str, dict[str, object]]:
        """Ask for the models, each with what the server tells of it."""
        data = await self._link.get(f"{self._link.base}/models", patience=_MODELS)
        try:
            listed = msgspec.json.decode(data, type=_Models).data
        except msgspec.MsgspecError as error:
            raise BackendRubbishError(
                f"{self._who} sent no list of models", hint="does its URL end in /v1?"
            ) from error
        return {name: entry for entry in listed or () if isinstance(name := entry.get("id"), str)}

    async def _generate(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        assembly = Assembly(prompt, self._profile.model, self._who)
        way = self._way.held(prompt) if self._way else nullcontext[dict[str, object]]({})
        async with way as fields, aclosing(self._stream(prompt, assembly, fields)) as texts:
            async for text in texts:
                yield text
        yield assembly.completion()

    async def _count(self, prompt: Prompt) -> int:
        """Have a prompt answered, and tell how many tokens it has; 0 where that is not told."""
        assembly = Assembly(prompt, self._profile.model, self._who)
        async with aclosing(self._stream(prompt, assembly, {})) as texts:
            async for _ in texts:
                pass
        return (assembly.usage and assembly.usage.prompt_tokens) or 0

    async def _stream(
        self, prompt: Prompt, assembly: Assembly, fields: dict[str, object]
    ) -> AsyncGenerator[str, None]:
        """Send a prompt with some fields, and take its completion to pieces."""
        async with (
            self._respond(prompt, fields) as response,
            aclosing(response.aiter_bytes()) as stream,
        ):
            parser = _parser(response)
            done = False
            while not done:
                data = await self._more(stream, tail=assembly.reason is not None)
                for event in self._events(parser, data):
                    if event == _DONE:
                        done = True
                    elif text := assembly.take(read_chunk(self._link.hide(event))):
                        yield text
                if not data:
                    self._ended(parser, assembly)
                    done = True
            await self._drain(stream)

    @asynccontextmanager
    async def _respond(
        self, prompt: Prompt, fields: dict[str, object]
    ) -> AsyncGenerator[httpx2.Response, None]:
        """Send a prompt, and give the response once it has begun well.

        Again without a field that the server does not know: what a server turned down as
        malformed has not run, so this repeats nothing.
        """
        while True:
            body = {**self._request(prompt), **fields}
            async with self._link.send(f"{self._link.base}/chat/completions", body) as response:
                if response.status_code == HTTPStatus.OK:
                    yield response
                    return
                words = await self._link.body(response)
                if not self._learned(response.status_code, words):
                    raise await self._refusal(response.status_code, words)

    def _learned(self, status: int, words: str) -> bool:
        """Learn from a refusal what the server does not know; False where there is no news."""
        if status not in (400, 422):
            return False
        news = next((q for q in _QUIRKS if q in words and q not in self._quirks), None)
        if news is not None:
            self._quirks.add(news)
        return news is not None

    def _request(self, prompt: Prompt) -> dict[str, object]:
        fields = {**self._uri.drawn, **request_fields(prompt)}
        if self._dice is not None and prompt.open is None:
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
        with self._link.in_our_words():
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

    async def _refusal(self, status: int, words: str) -> BackendError:
        error = self._link.read_refusal(status, words)
        if status == HTTPStatus.NOT_FOUND and error.hint is None:
            with suppress(BackendError):
                if models := await self._models():
                    error.hint = "models there: " + ", ".join([*models][:_NAMED])
        return error


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
