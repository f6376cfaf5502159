"""How a load test speaks with live nodes: how they stand, and one query, over HTTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2
import msgspec

from dmoa.config import is_loopback
from dmoa.config.keys import HOW, authorization
from dmoa.errors import (
    BackendRubbishError,
    BackendUnavailableError,
    InvalidKeyError,
    KeyFileError,
    NetworkError,
    PeerSilentError,
    UnreachableError,
    UsageError,
)
from dmoa.study.load.records import JobRecord, NodeSample, Status

CONNECT_SECONDS = 5.0
POLL_SECONDS = 5.0
"""For a node to say how it stands."""
SLACK_SECONDS = 30.0
"""That a node may be later than the deadline it was given."""

_STATUSES: dict[int, Status] = {429: "refused", 504: "expired"}
_SHUT = (InvalidKeyError, KeyFileError)
_Shape = TypeVar("_Shape")


class _Jobs(msgspec.Struct, frozen=True):
    waiting: int
    serving: int
    slots: int


class _Limits(msgspec.Struct, frozen=True):
    queries: int | None = None
    jobs: int | None = None


class _Counters(msgspec.Struct, frozen=True):
    seconds: float
    waiting_job_seconds: float
    serving_job_seconds: float
    queries: int
    refused: int
    declined: int
    served: int


class Queue(msgspec.Struct, frozen=True):
    """`GET /v1/queue`, as far as a load test looks at it."""

    node: str
    mode: str
    policy: dict[str, Any]
    jobs: _Jobs
    counters: _Counters
    limits: _Limits = _Limits()


class _Digest(msgspec.Struct, frozen=True):
    node: str
    slots: int = 1
    service_time: float = 0.0
    arrival_rate: float = 0.0
    utilisation: float = 0.0
    layers: int = 0
    fanout: int = 0


class _Neighbourhood(msgspec.Struct, frozen=True):
    node: _Digest
    peers: tuple[_Digest, ...] = ()


class NodeState(msgspec.Struct, frozen=True):
    """How a node stands, by its own words."""

    queue: Queue
    here: _Neighbourhood

    @property
    def name(self) -> str:
        """Its name."""
        return self.queue.node

    @property
    def slots(self) -> int:
        """Jobs it serves at once."""
        return max(1, self.queue.jobs.slots)

    @property
    def service_time(self) -> float:
        """Seconds per job as it has measured them, 0 without any."""
        return self.here.node.service_time

    @property
    def peers(self) -> frozenset[str]:
        """The names of the peers it knows."""
        return frozenset(each.node for each in self.here.peers)

    def sample(self) -> NodeSample:
        """Keep of it what is recorded."""
        digest, queue, counted = self.here.node, self.queue, self.queue.counters
        return NodeSample(
            waiting=queue.jobs.waiting,
            serving=queue.jobs.serving,
            slots=self.slots,
            bound_jobs=queue.limits.jobs,
            rho=digest.utilisation,
            arrival_rate=digest.arrival_rate,
            service_time=digest.service_time,
            layers=digest.layers,
            fanout=digest.fanout,
            seconds=counted.seconds,
            waiting_job_seconds=counted.waiting_job_seconds,
            serving_job_seconds=counted.serving_job_seconds,
            queries=counted.queries,
            refused=counted.refused,
            declined=counted.declined,
            served=counted.served,
        )


class _Mixture(msgspec.Struct, frozen=True):
    layers: int = 0
    fanout: int = 0


class _Trace(msgspec.Struct, frozen=True):
    mixture: _Mixture = _Mixture()
    degraded: tuple[str, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    position: int | None = None
    expected_seconds: float = 0.0
    retry_after_seconds: float | None = None


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message = _Message()


class _Answer(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    dmoa: _Trace = _Trace()


class _Problem(msgspec.Struct, frozen=True):
    code: str | int | None = None
    dmoa: _Trace = _Trace()


class _Refusal(msgspec.Struct, frozen=True):
    error: _Problem = _Problem()


class Reply(msgspec.Struct, frozen=True):
    """What came of one query, without any of its text."""

    status: Status
    http: int = 0
    retry_after: float | None = None
    trace: _Trace = _Trace()
    letters: int = 0
    detail: str = ""


class Nodes:
    """The nodes of a test, by their URLs; open them within an `async with`.

    As many connections as queries under way, kept alive, so that no query waits for another.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(url.rstrip("/").removesuffix("/v1") for url in urls)
        context: ssl.SSLContext | None = None
        self._http: list[httpx2.AsyncClient] = []
        for told, url in zip(urls, self.urls, strict=True):
            parts = _parts(told, url)
            if parts.scheme == "https" and context is None:
                context = ssl.create_default_context()  # slow, and the same for all
            self._http.append(
                httpx2.AsyncClient(
                    base_url=url,
                    headers=authorization(url),
                    verify=context or False,
                    timeout=httpx2.Timeout(POLL_SECONDS, connect=CONNECT_SECONDS),
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                    # a proxy cannot reach this machine's nodes
                    trust_env=not is_loopback(f"tcp/{_host(parts)}:{parts.port or 80}"),
                )
            )

    async def __aenter__(self) -> Self:
        """Use them for a while."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        for each in self._http:
            await each.aclose()

    async def states(self) -> tuple[NodeState, ...]:
        """Ask all nodes how they stand; a NetworkError of the first that does not say."""
        work = (self.state(node) for node in range(len(self.urls)))
        return tuple(_found(each) for each in await asyncio.gather(*work, return_exceptions=True))

    async def state(self, node: int) -> NodeState:
        """Ask a node how it stands."""
        queue, here = await asyncio.gather(
            self._get(node, "/v1/queue", Queue),
            self._get(node, "/v1/peers", _Neighbourhood),
            return_exceptions=True,
        )
        return NodeState(_found(queue), _found(here))

    async def sample(self, node: int) -> NodeSample | None:
        """Ask a node how it stands, or tell that it does not answer."""
        try:
            return (await self.state(node)).sample()
        except (NetworkError, BackendUnavailableError, BackendRubbishError, *_SHUT):
            return None

    async def ask(self, node: int, body: bytes, patience: float) -> Reply:
        """Ask a query, and wait for all of its answer; what goes wrong is a reply as well."""
        timeout = httpx2.Timeout(patience + SLACK_SECONDS, connect=CONNECT_SECONDS)
        headers = {"content-type": "application/json"}
        try:
            response = await self._http[node].post(
                "/v1/chat/completions", content=body, headers=headers, timeout=timeout
            )
        except httpx2.TransportError as error:
            return Reply("failed", detail=type(error).__name__)
        return _reply(response)

    async def _get(self, node: int, path: str, shape: type[_Shape]) -> _Shape:
        url = self.urls[node]
        try:
            response = await self._http[node].get(path)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise UnreachableError(
                f"no node answers at {url}", hint="start one with `dmoa up`"
            ) from None
        except httpx2.TransportError as error:
            raise PeerSilentError(f"the node at {url} broke off: {type(error).__name__}") from None
        if (shut := _shut(f"the node at {url}", response)) is not None:
            raise shut
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            raise BackendUnavailableError(f"the node at {url} is not ready", hint="wait for it")
        why = f"{path} has status {response.status_code}"
        if response.is_success:
            try:
                return msgspec.json.decode(response.content, type=shape)
            except msgspec.DecodeError as error:
                why = str(error)
        raise BackendRubbishError(
            f"what answers at {url} is no node that tells its queue: {why}",
            hint="name the URLs that `dmoa up` printed",
        )


def _found(what: _Shape | BaseException) -> _Shape:
    """Take what one of several told, once all are over: none is left to fail unheard."""
    if isinstance(what, BaseException):
        raise what
    return what


def _shut(node: str, response: httpx2.Response) -> UsageError | None:
    """Find out whether a node, or a proxy before it, did not let us in."""
    if response.is_success:
        return None
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        return not_let_in(node, InvalidKeyError.code)
    return not_let_in(node, _reply(response).detail)


def not_let_in(node: str, code: str) -> UsageError | None:
    """Say so where the code of an error is one of a closed door."""
    if code == InvalidKeyError.code:
        return InvalidKeyError(f"{node} wants a key, or another one", hint=HOW)
    if code == KeyFileError.code:
        return KeyFileError(f"{node} cannot read its keys", hint="its log says why")
    return None


def _host(parts: httpx2.URL) -> str:
    return f"[{parts.host}]" if ":" in parts.host else parts.host


def _parts(told: str, url: str) -> httpx2.URL:
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL:
        parts = httpx2.URL()
    if parts.scheme not in ("http", "https") or not parts.host:
        raise UsageError(
            f"{told!r} is no URL of a node", hint="write it like http://127.0.0.1:4747"
        )
    return parts


def _reply(response: httpx2.Response) -> Reply:
    """Read what a node answered."""
    code = response.status_code
    try:
        if response.is_success:
            answer = msgspec.json.decode(response.content, type=_Answer)
            letters = sum(len(each.message.content or "") for each in answer.choices)
            return Reply("answered", code, trace=answer.dmoa, letters=letters)
        problem = msgspec.json.decode(response.content, type=_Refusal).error
    except msgspec.DecodeError:
        return Reply("failed", code, detail="no answer of a node")
    status = _STATUSES.get(code, "failed")
    retry_after = problem.dmoa.retry_after_seconds
    if retry_after is None:
        retry_after = _retry_after(response)
    # the code, and not the words, which may quote what was asked
    return Reply(status, code, retry_after, problem.dmoa, detail=str(problem.code or ""))


def _retry_after(response: httpx2.Response) -> float | None:
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            return float(response.headers[name]) * unit
        except (KeyError, ValueError):
            continue
    return None
