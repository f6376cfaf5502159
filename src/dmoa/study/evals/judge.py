"""A judge behind an OpenAI-compatible endpoint: which of two answers is the better one.

It is asked for one token, and how probable the identifiers m and M are there makes the
preference, as AlpacaEval 2.0 does. Where an endpoint gives no log probabilities, its text is
read strictly. What an endpoint does not know is found out by its refusals, and remembered.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2
import msgspec

from dmoa.backends.refusals import read_refusal
from dmoa.backends.uri import BackendUri, parse_uri
from dmoa.errors import BackendError, BackendRefusedError, BackendUnavailableError, ConfigError
from dmoa.study.evals.opinion import Opinion, read_completion
from dmoa.study.evals.records import Verdict
from dmoa.study.evals.template import Message

TRIES: Final = 5
"""How often a question is put where an endpoint is busy, broken or out of reach."""
PAUSE: Final = 0.5
"""Seconds before the second try; each further one waits twice as long."""
PAUSE_MAX: Final = 60.0
"""Seconds that are waited at most, whatever an endpoint asks for."""
TIMEOUT: Final = 120.0
"""Seconds that one try may take, unless told otherwise."""
TOP: Final = (20, 5, None)
"""Log probabilities asked for: what is published for AlpacaEval is 5, and 20 find m and M in the
words of models that would rather say `The`; None is an endpoint without any."""
TEXT_TOKENS: Final = 8
"""Tokens that may be said where the text is read."""
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
"""Names of this machine, to which no proxy leads."""

_CONNECT: Final = 10.0
_AGAIN: Final = (408, *range(500, 600))
"""Statuses that may be others at the next try, beside 429."""
_BODY: Final = 1 << 20
"""Bytes of a response that are read."""
_KEY: Final = "OPENAI_API_KEY"
_KEY_HOST: Final = "api.openai.com"
_QUIRKS: Final = ("max_completion_tokens", "temperature", "top_p", "seed")
"""Words in a refusal that tell what an endpoint wants instead, or does not take."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _UnjudgedError(Exception):
    """A question without an opinion."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(detail)
        self.opinion = Opinion(verdict, detail=detail)


class Judge:
    """A judge at a backend URI of the kind `openai`; use it within an `async with`.

    `timeout` (seconds) is that of one try, `pause` the seconds before the second one. `model` is
    empty until it is open, where the URI names none. `retries` counts tries after the first, and
    `graded` is None until an endpoint has shown whether it gives log probabilities. ConfigError
    where the URI names no endpoint or its key is missing.
    """

    def __init__(
        self,
        uri: str,
        *,
        timeout: float = TIMEOUT,
        pause: float = PAUSE,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.uri = judge_uri(uri)
        self.key = _read_key(self.uri)
        self.model = self.uri.name
        self.retries = 0
        self.graded: bool | None = None
        self._who = f"the judge at {urlsplit(self.uri.target).netloc}"
        self.timeout = timeout
        self._pause = pause
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None
        self._depth = 0
        self._quirks: set[str] = set()

    @property
    def name(self) -> str:
        """Where it is and which model: the URI without its settings."""
        return f"openai:{self.uri.target}#{self.model}"

    @property
    def top(self) -> int | None:
        """How many log probabilities it is asked for, as far as is known; None is no more."""
        return TOP[self._depth]

    async def __aenter__(self) -> Self:
        """Make the one client, and ask for the model where none was named."""
        headers = {"accept": "application/json", "content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        self._client = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(None, connect=_CONNECT),
            limits=httpx2.Limits(max_connections=None),
            transport=self._transport,
            trust_env=urlsplit(self.uri.target).hostname not in LOCAL,
        )
        try:
            if not self.model:
                self.model = await self._find_model()
        except BaseException:
            await self._client.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()

    async def compare(self, messages: Sequence[Message], draw: int = 0) -> Opinion:
        """Ask which is better, and say what came of it; `draw` counts replications.

        BackendRefusedError where no question will ever be answered: a wrong key, model or URL.
        """
        try:
            while True:
                depth = self._depth
                status, data = await self._post(self._body(messages, draw))
                if status != HTTPStatus.OK:
                    self._learn(status, data, depth)
                    continue
                opinion, has_grades = read_completion(data)
                if TOP[depth] is None or has_grades is not False or self.graded:
                    if has_grades is not None:
                        self.graded = self.graded or has_grades
                    return opinion
                # it took the wish and gave nothing: ask again, for a text that can be read
                self._step(len(TOP) - 1)
        except _UnjudgedError as unjudged:
            return unjudged.opinion

    def _body(self, messages: Sequence[Message], draw: int) -> bytes:
        """Write a question as AlpacaEval does; where a text is read, only replications vary."""
        top = TOP[self._depth]
        fields: dict[str, Any] = {"model": self.model, "messages": messages, "top_p": 1.0}
        if top is not None:
            fields |= {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": top}
        else:
            fields |= {"max_tokens": self.uri.answer or TEXT_TOKENS}
            fields |= {"temperature": 1.0, "seed": draw} if draw else {"temperature": 0.0}
        if "max_completion_tokens" in self._quirks:
            fields["max_completion_tokens"] = fields.pop("max_tokens")
        for quirk in self._quirks:
            if quirk != "max_completion_tokens":
                fields.pop(quirk, None)
        return msgspec.json.encode(fields)

    def _step(self, depth: int) -> None:
        self._depth = max(self._depth, depth)
        if TOP[self._depth] is None:
            self.graded = False

    def _learn(self, status: int, data: bytes, depth: int) -> None:
        """Learn from a refusal what to leave out; raise where that is not why."""
        error = self._refusal(status, data)
        words = error.message.lower()
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY):
            if "logprob" in words and TOP[depth] is not None:
                return self._step(depth + 1)
            for quirk in _QUIRKS:
                if quirk in words and quirk not in self._quirks:
                    self._quirks.add(quirk)
                    return None
            raise _UnjudgedError("refused", error.message)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise _UnjudgedError("refused", error.message)
        if status == HTTPStatus.NOT_FOUND and error.hint is None:
            error.hint = "check the URL, which mostly ends in /v1, and the model after `#`"
        raise BackendRefusedError(error.message, hint=error.hint)

    # -- the way there -------------------------------------------------------------------

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        """Send a question until there is an answer that another try would not change."""
        trouble = _UnjudgedError("failed", "")
        for number in range(TRIES):
            if number:
                self.retries += 1
            least = 0.0
            try:
                async with asyncio.timeout(self.timeout):
                    status, data, least = await self._exchange("chat/completions", body)
            except TimeoutError:
                raise _UnjudgedError("timeout", f"nothing within {self.timeout:g} s") from None
            except httpx2.HTTPError as error:
                detail = f"{self._who} cannot be reached: {error or type(error).__name__}"
                trouble = _UnjudgedError("failed", self._hide(detail))
            else:
                is_busy = status == HTTPStatus.TOO_MANY_REQUESTS
                if not (is_busy or status in _AGAIN):
                    return status, data
                detail = self._refusal(status, data).message
                trouble = _UnjudgedError("refused" if is_busy else "failed", detail)
            if number + 1 < TRIES:
                await asyncio.sleep(min(max(self._pause * 2.0**number, least), PAUSE_MAX))
        raise trouble

    async def _exchange(self, path: str, body: bytes | None) -> tuple[int, bytes, float]:
        """Send one request; give status, body, and the seconds to wait that it asks for."""
        assert self._client is not None, "the judge is open while it is asked"
        method, url = "POST" if body is not None else "GET", f"{self.uri.target}/{path}"
        data = b""
        async with self._client.stream(method, url, content=body) as response:
            async for piece in response.aiter_bytes():
                data += piece
                if len(data) > _BODY:
                    break
            return response.status_code, data, _patience(response.headers.get("retry-after"))

    async def _find_model(self) -> str:
        """Take the first model that the endpoint lists."""
        try:
            async with asyncio.timeout(_CONNECT):
                status, data, _ = await self._exchange("models", None)
        except (TimeoutError, httpx2.HTTPError) as error:
            raise BackendUnavailableError(
                f"{self._who} cannot be reached: {self._hide(str(error)) or type(error).__name__}",
                hint="is it running, and is its URL right?",
            ) from None
        if status != HTTPStatus.OK:
            raise self._refusal(status, data)
        try:
            listed = msgspec.json.decode(data, type=_Models).data
        except msgspec.MsgspecError:
            listed = []
        if not listed:
            raise ConfigError(
                f"{self._who} lists no model", hint="name it: `openai:http://HOST:PORT/v1#MODEL`"
            )
        return listed[0].id

    def _refusal(self, status: int, data: bytes) -> BackendError:
        words = self._hide(data.decode("utf-8", "replace"))
        try:
            body = msgspec.json.decode(words)
        except msgspec.MsgspecError:
            body = "" if words.lstrip().startswith("<") else words
        return read_refusal(status, body, who=self._who)

    def _hide(self, text: str) -> str:
        """Take the key out of somebody's words."""
        return text.replace(self.key, "***") if self.key else text


def judge_uri(text: str) -> BackendUri:
    """Take the URI of a judge apart; ConfigError if it is none of the kind `openai`."""
    uri = parse_uri(text)
    if uri.kind != "openai":
        raise ConfigError(
            f"a judge needs an endpoint, and {uri.kind} is none",
            hint="write openai:http://HOST:PORT/v1#MODEL?key_env=NAME",
        )
    return uri


def _read_key(uri: BackendUri) -> str:
    if not uri.key_env:
        is_theirs = urlsplit(uri.target).hostname == _KEY_HOST
        return os.environ.get(_KEY, "").strip() if is_theirs else ""
    key = os.environ.get(uri.key_env, "").strip()
    if not key:
        raise ConfigError(
            f"the environment variable {uri.key_env} is not set", hint=f"export {uri.key_env}=..."
        )
    return key


def _patience(text: str | None) -> float:
    """Read Retry-After, in seconds or as a date; 0 where there is none."""
    if not text:
        return 0.0
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return 0.0
