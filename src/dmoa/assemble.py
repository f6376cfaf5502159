"""From settings to a running node: the one file that knows every adapter.

Adapters are imported when they are asked for, so that `import dmoa` stays light and a
node with a remote model never loads the embedded one.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from dmoa.config import HOST, Settings, load
from dmoa.core.mixture import Mixture
from dmoa.core.usual import Usual
from dmoa.errors import ConfigError, DmoaError
from dmoa.runtime.node import Node

if TYPE_CHECKING:
    import uvicorn

    from dmoa.config.keys import Doorkeeper

_SHUTDOWN = 3
"""Seconds that open connections are given at the end."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What is said of a node once it can be asked."""

    node: str
    url: str
    model: str
    listen: tuple[str, ...]
    usual: Usual
    keys: Path | None = None
    """The file of keys, where its API asks for one."""


def build(
    settings: Settings, *, url: str = "", progress: Callable[[str], None] | None = None
) -> Node:
    """Make a node of its parts; ConfigError where a setting names no such part.

    `progress` hears, from any thread, lines for a person while a model is prepared.
    """
    from dmoa.backends.registry import open_backend
    from dmoa.core.names import NodeId
    from dmoa.net.zenoh import ZenohNetwork
    from dmoa.net.zenoh_config import ZenohSettings
    from dmoa.runtime.recorder import Recorder

    meeting = ZenohSettings(
        realm=settings.realm,
        listen=settings.listen,
        connect=settings.connect,
        multicast=settings.multicast,
    )
    network = ZenohNetwork(NodeId(settings.node), meeting, limits=settings.limits)
    return Node(
        network,
        open_backend(settings.model, progress=progress),
        defaults=settings.defaults,
        persona=settings.persona,
        limits=settings.limits,
        timing=settings.timing,
        policy=settings.policy,
        rng=Random(SystemRandom().getrandbits(64)),
        incarnation=time.time_ns() // 1_000_000,
        url=url,
        recorder=Recorder(Path(settings.record).expanduser()) if settings.record else None,
    )


def prepare(models: Sequence[str], progress: Callable[[str], None]) -> None:
    """Have here what nodes with these backend URIs will all need; blocks.

    ConfigError for a wrong URI, BackendUnavailableError where something cannot be had.
    """
    from dmoa.backends.uri import parse_uri

    if any(parse_uri(model).kind == "smollm2" for model in models):
        from dmoa.backends.weights import ensure_weights

        ensure_weights(progress)


def start(  # noqa: PLR0913  (the settings of a node)
    *,
    backend: str = "",
    mixture: Mixture | None = None,
    node: str | None = None,
    realm: str | None = None,
    listen: Sequence[str] | None = None,
    connect: Sequence[str] | None = None,
    multicast: bool | None = None,
) -> Node:
    """Make a node, without an API, to be opened by `async with`.

    `backend` is a URI such as `openai:http://localhost:8080/v1#model`, empty for the
    embedded model; `listen` and `connect` are Zenoh endpoints such as
    `tcp/127.0.0.1:7447`. What is not given comes from the file and the environment.
    """
    flags: dict[str, object] = {
        "model": backend or None,
        "layers": None if mixture is None else mixture.layers,
        "fanout": None if mixture is None else mixture.fanout,
        "node": node,
        "realm": realm,
        "listen": None if listen is None else tuple(listen),
        "connect": None if connect is None else tuple(connect),
        "multicast": multicast,
    }
    return build(load(flags))


def _bind(port: int) -> socket.socket:
    """Take the API's port; ConfigError when somebody else has it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((HOST, port))
        sock.listen()  # now, for two that start at once may both bind
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"port {port} of {HOST} cannot be used: {error.strerror}",
            hint="use `--port 0` for any free one",
        ) from None
    return sock


async def serve(
    settings: Settings,
    *,
    keys: Path | None,
    ready: Callable[[Ready], None],
    progress: Callable[[str], None] | None = None,
) -> None:
    """Run a node and its API until cancelled or told to stop (SIGINT, SIGTERM).

    The API answers from the first moment, with 503 while the model loads; `ready` is
    called once the node can be asked. Its API asks for a key while there are some in the file
    `keys`; KeyFileError where that cannot be relied on, and no file lets in everybody on this
    machine. At the end the node leaves first: peers see it at
    once, and streams under way end with an error that says so.
    """
    from dmoa.config.keys import Doorkeeper

    keeper = None if keys is None else Doorkeeper(keys)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    with closing(_bind(settings.port)) as sock:
        url = f"http://{HOST}:{sock.getsockname()[1]}"
        node = build(settings, url=url, progress=progress)
        server = _server(node, keeper)
        serving = asyncio.ensure_future(server.serve(sockets=[sock]))
        try:
            await _run(node, keeper, serving, stop, ready)
        finally:
            server.should_exit = True
            await serving


def _server(node: Node, keeper: Doorkeeper | None) -> uvicorn.Server:
    """Make the HTTP server of a node, which leaves the signals to us."""
    import uvicorn

    from dmoa.api.app import create_app

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

    config = uvicorn.Config(
        create_app(node, keeper),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_SHUTDOWN,
    )
    return Server(config)


async def _run(
    node: Node,
    keeper: Doorkeeper | None,
    serving: asyncio.Future[None],
    stop: asyncio.Event,
    ready: Callable[[Ready], None],
) -> None:
    """Open a node, and keep it until its API ends or it is told to stop."""
    opening = asyncio.ensure_future(node.open())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({opening, serving, stopping}, return_when=first)
        if opening.done():
            opening.result()
            keys = keeper.file if keeper is not None and keeper.asks else None
            model = node.profile.model
            ready(Ready(node.id, node.url, model, node.endpoints, node.usual, keys))
            await asyncio.wait({serving, stopping}, return_when=first)
    finally:
        stopping.cancel()
        opening.cancel()
        with suppress(asyncio.CancelledError, DmoaError):
            await opening
        if node.is_open:
            await node.close()
