"""A thin HTTP client for the API of a node."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from math import ceil
from typing import Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from dmoa.cli.options import DEFAULT_URL
from dmoa.cli.told import (
    Draft,
    End,
    Happening,
    Health,
    Neighbourhood,
    Place,
    Queue,
    Reach,
    Response,
    Responses,
    Trace,
    Turn,
    Visit,
)
from dmoa.config.keys import HOW, authorization
from dmoa.errors import (
    BackendError,
    BackendRubbishError,
    BackendUnavailableError,
    ContextLengthError,
    DmoaError,
    ExpiredError,
    InvalidKeyError,
    ModelNotFoundError,
    OverloadedError,
    PeerGoneError,
    PeerSilentError,
    QueryError,
    UnreachableError,
    UsageError,
)

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 10.0
_STREAM_SECONDS = 600.0
"""Between two chunks of an answer; the deadline of a query is the node's affair."""
_EVENT_BYTES = 4 * 1024 * 1024
"""Of one chunk of an answer."""
_Shape = TypeVar("_Shape")


class _Extra(msgspec.Struct, frozen=True):
    progress: Visit | None = None
    draft: Draft | None = None
    queue: Place | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Told(msgspec.Struct, frozen=True):
    position: int | None = None
    retry_after_seconds: float | None = None


class _Problem(msgspec.Struct, frozen=True):
    message: str = "no message"
    code: str | int | None = None
    hint: str | None = None
    dmoa: _Told | None = None


class _Chunk(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...] = ()
    dmoa: object = None
    error: _Problem | None = None


class _Model(msgspec.Struct, frozen=True):
    id: str


class _Models(msgspec.Struct, frozen=True):
    data: tuple[_Model, ...]


class Client:
    """Speaks with one node, `patience` seconds at most; every error is one of dmoa's."""

    def __init__(self, url: str = DEFAULT_URL, *, patience: float = _READ_SECONDS) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        try:
            parts = httpx2.URL(self.url)
        except httpx2.InvalidURL:
            parts = httpx2.URL()
        if parts.scheme not in ("http", "https") or not parts.host:
            raise UsageError(f"{url!r} is no URL of a node", hint=f"write it like {DEFAULT_URL}")
        self._http = httpx2.Client(
            base_url=self.url,
            headers=authorization(self.url),
            timeout=httpx2.Timeout(patience, connect=min(patience, _CONNECT_SECONDS)),
            trust_env=not _is_loopback(parts.host),  # a proxy cannot reach this machine's nodes
        )

    def __enter__(self) -> Self:
        """Use the client for a while."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._http.close()

    def health(self) -> Health:
        """Ask whether the node lives."""
        return self._get("/health", Health)

    def models(self) -> tuple[str, ...]:
        """List the names of the models it offers."""
        return tuple(model.id for model in self._get("/v1/models", _Models).data)

    def peers(self) -> Neighbourhood:
        """Ask whom it knows, and how they stand."""
        return self._get("/v1/peers", Neighbourhood)

    def reach(self) -> Reach:
        """Let it call on all its peers, which takes some seconds where one is silent."""
        return self._get("/v1/reach", Reach)

    def queue(self) -> Queue:
        """Ask how its queue stands, and its users' queries in it."""
        return self._get("/v1/queue", Queue)

    def chat(
        self,
        turns: Sequence[Turn],
        *,
        model: str = "dmoa",
        mixture: Mapping[str, int | None] | None = None,
        private: bool = False,
        drafts: bool = False,
    ) -> Generator[Happening]:
        """Stream an answer; closing the generator stops all work on it, on every node.

        `mixture` may name `layers` and `fanout`; None leaves them to the node. Of a `private`
        question no peer hears.
        """
        wishes = {**(mixture or {}), "private": private or None, "drafts": drafts or None}
        body = {
            "model": model,
            "stream": True,
            "messages": turns,
            "dmoa": {key: value for key, value in wishes.items() if value is not None},
        }
        timeout = httpx2.Timeout(_STREAM_SECONDS, connect=_CONNECT_SECONDS)
        path, content = "/v1/chat/completions", msgspec.json.encode(body)
        headers = {"content-type": "application/json"}
        with (
            self._trouble(),
            self._http.stream(
                "POST", path, content=content, headers=headers, timeout=timeout
            ) as response,
        ):
            if not response.is_success:
                response.read()
                raise _refused(response)
            yield from self._happenings(response)

    def ask_later(
        self,
        prompt: str,
        *,
        model: str = "dmoa",
        mixture: Mapping[str, int | None] | None = None,
        private: bool = False,
    ) -> Response:
        """Have a question answered in the background; once this returns it will be."""
        wishes = {**(mixture or {}), "private": private or None}
        body = {
            "model": model,
            "input": prompt,
            "background": True,
            "dmoa": {key: value for key, value in wishes.items() if value is not None},
        }
        return self._send("POST", "/v1/responses", Response, body)

    def responses(self, limit: int) -> Responses:
        """List the responses that it keeps for us, the newest first."""
        return self._get(f"/v1/dmoa/responses?limit={limit}", Responses)

    def response(self, identity: str) -> tuple[Response, object]:
        """Show a response, read and as it came."""
        raw = self._get(_response(identity), dict[str, object])
        return msgspec.convert(raw, Response), raw

    def cancel(self, identity: str) -> Response:
        """End a response of the background; one that has ended stays as it is."""
        return self._send("POST", f"{_response(identity)}/cancel", Response, {})

    def delete(self, identity: str) -> None:
        """Delete a response, with its question."""
        self._send("DELETE", _response(identity), dict[str, object])

    def _happenings(self, response: httpx2.Response) -> Iterator[Happening]:
        ended = False
        for data in _events(response.iter_bytes()):
            if data == b"[DONE]":
                break
            for happening in _happenings_of(msgspec.json.decode(data, type=_Chunk)):
                ended = ended or isinstance(happening, End)
                yield happening
        if not ended:
            raise PeerGoneError(f"the node at {self.url} went away in the middle of its answer")

    def _get(self, path: str, shape: type[_Shape]) -> _Shape:
        return self._send("GET", path, shape)

    def _send(self, method: str, path: str, shape: type[_Shape], body: object = None) -> _Shape:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"content-type": "application/json"}
        with self._trouble():
            response = self._http.request(method, path, content=content, headers=headers)
            if not response.is_success:
                raise _refused(response)
            return msgspec.json.decode(response.content, type=shape)

    @contextmanager
    def _trouble(self) -> Generator[None]:
        """Say in dmoa's errors what can go wrong on the way to a node."""
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise UnreachableError(
                f"no node answers at {self.url}", hint="start one with `dmoa up`"
            ) from None
        except httpx2.TimeoutException:
            raise PeerSilentError(f"the node at {self.url} stayed silent for too long") from None
        except httpx2.TransportError as error:
            raise PeerGoneError(f"the way to {self.url} broke: {error}") from None
        except msgspec.DecodeError as error:
            raise BackendRubbishError(
                f"what answers at {self.url} is no node of dmoa: {error}",
                hint="name the URL that `dmoa up` printed",
            ) from None


def _response(identity: str) -> str:
    """Make the path of a response, whatever its name holds."""
    return f"/v1/responses/{quote(identity, safe='')}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _events(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of server-sent events into their data; one line each, as OpenAI does."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _EVENT_BYTES:
            raise msgspec.DecodeError(f"a line of more than {_EVENT_BYTES} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _happenings_of(chunk: _Chunk) -> Iterator[Happening]:
    if chunk.error is not None:
        raise _fault(chunk.error, status=0, retry_after=None)
    choice = chunk.choices[0] if chunk.choices else _Choice()
    if choice.delta.content:
        yield choice.delta.content
    if choice.finish_reason is not None:
        trace = None if chunk.dmoa is None else msgspec.convert(chunk.dmoa, Trace)
        yield End(choice.finish_reason, trace, chunk.dmoa)
    elif chunk.dmoa is not None:
        extra = msgspec.convert(chunk.dmoa, _Extra)
        yield from filter(None, (extra.progress, extra.draft, extra.queue))


def _refused(response: httpx2.Response) -> DmoaError:
    """Turn a response that is no answer into the error that it tells of."""
    problem = _Problem(f"HTTP status {response.status_code} from {response.url}")
    with suppress(msgspec.DecodeError):
        problem = msgspec.json.decode(response.content, type=_Chunk).error or problem
    seconds = response.headers.get("retry-after", "")
    return _fault(problem, response.status_code, float(seconds) if seconds.isdecimal() else None)


_WITH_HINT = re.compile(r"(?P<message>.*) \(hint: (?P<hint>.*)\)", re.DOTALL)
"""OpenAI's error objects have no place for a hint, so nodes put it into the message."""
_BY_STATUS: dict[int, type[DmoaError]] = {
    400: UsageError,
    404: UsageError,
    502: BackendError,
    503: BackendUnavailableError,
    504: ExpiredError,
}


def _fault(problem: _Problem, status: int, retry_after: float | None) -> DmoaError:
    """Find the class for an error object of OpenAI's shape: by its code, or its status."""
    message, hint, code = problem.message, problem.hint, str(problem.code)
    if hint is None and (both := _WITH_HINT.fullmatch(message)):
        message, hint = both["message"], both["hint"]
    if code == OverloadedError.code or status == HTTPStatus.TOO_MANY_REQUESTS:
        told = problem.dmoa or _Told()
        seconds = retry_after if told.retry_after_seconds is None else told.retry_after_seconds
        again = "try again later" if seconds is None else f"try again in {ceil(seconds)} s"
        return OverloadedError(
            message, retry_after=seconds or 1.0, position=told.position, hint=hint or again
        )
    if code == ContextLengthError.code:
        return ContextLengthError(message, hint=hint or "shorten the prompt")
    if code == ModelNotFoundError.code:
        return ModelNotFoundError(message, hint=hint or "`dmoa` and `local` are always offered")
    if InvalidKeyError.code == code or status == HTTPStatus.UNAUTHORIZED:
        return InvalidKeyError(message, hint=HOW)
    for kind in _family(DmoaError):
        if kind.code == code:
            return kind(message, hint=hint)
    return _BY_STATUS.get(status, QueryError)(message, hint=hint)


def _family(root: type[DmoaError]) -> Iterator[type[DmoaError]]:
    for child in root.__subclasses__():
        yield child
        yield from _family(child)
