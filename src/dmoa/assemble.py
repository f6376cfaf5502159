"""From settings to a running node: the one file that knows every adapter.

Adapters are imported when they are asked for, so that `import dmoa` stays light and a
node with a remote model never loads the embedded one.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from dmoa.config import Settings, load
from dmoa.core.mixture import Mixture
from dmoa.core.usual import Usual
from dmoa.errors import ConfigError, DmoaError
from dmoa.runtime.node import Node
from dmoa.runtime.ports import Backend, Tracer

if TYPE_CHECKING:
    from dmoa.api.errands import Errands
    from dmoa.config.keys import Doorkeeper
    from dmoa.net.zenoh import ZenohNetwork
    from dmoa.realm.identity import RealmIdentity
    from dmoa.realm.office import Office
    from dmoa.runtime.watch import Stage
    from dmoa.store.archive import Archive


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
    clear: bool = False
    """Whether keys and prompts reach its API over a network in clear text."""
    store: Path | None = None
    """Where its responses are kept; None where they end with the process."""


def build(
    settings: Settings,
    *,
    url: str = "",
    progress: Callable[[str], None] | None = None,
    network: ZenohNetwork | None = None,
) -> Node:
    """Make a node of its parts; ConfigError where a setting names no such part.

    `progress` hears, from any thread, lines for a person while a model is prepared. RealmError
    where it belongs to a realm whose papers are not in order, unless it is given a `network`.
    """
    from dmoa.backends.registry import open_backend
    from dmoa.runtime.recorder import Recorder

    if network is None:
        network = _way(settings, _identity(settings))
    model = open_backend(settings.model, progress=progress)
    if settings.log_prompts:
        from dmoa.backends.overheard import Overheard

        model = Overheard(model)
    return Node(
        network,
        model,
        defaults=settings.defaults,
        persona=settings.persona,
        limits=settings.limits,
        timing=settings.timing,
        policy=settings.policy,
        rng=Random(SystemRandom().getrandbits(64)),
        incarnation=time.time_ns() // 1_000_000,
        url=url,
        recorder=Recorder(Path(settings.record).expanduser()) if settings.record else None,
        trusted=settings.trusted,
        tracer=_tracer(settings, model) if settings.otlp else None,
    )


def _tracer(settings: Settings, backend: Backend) -> Tracer:
    """Make who sends traces; ConfigError where the extra for it is not installed."""
    from dmoa.core.names import NodeId
    from dmoa.telemetry.otlp import Otlp
    from dmoa.telemetry.spans import Spans

    return Spans(
        NodeId(settings.node),
        lambda: backend.profile.model,
        Otlp(settings.otlp, NodeId(settings.node)),
        limits=settings.limits,
        timing=settings.timing,
    )


def _identity(settings: Settings) -> RealmIdentity | None:
    """Read the papers of the realm; None where it is a name alone."""
    if settings.membership is None:
        return None
    from dmoa.realm.identity import RealmIdentity
    from dmoa.realm.residence import check

    identity = RealmIdentity(settings.membership)
    check(identity)
    return identity


def _way(settings: Settings, identity: RealmIdentity | None) -> ZenohNetwork:
    """Make the way to the peers."""
    from dmoa.core.names import NodeId
    from dmoa.net.zenoh import ZenohNetwork
    from dmoa.net.zenoh_config import ZenohSettings

    its = settings.membership
    meeting = ZenohSettings(
        realm=settings.realm,
        listen=settings.listen,
        connect=settings.connect,
        multicast=settings.multicast,
        port=0 if its is None else its.multicast,
        relayed=settings.relayed,
    )
    node = NodeId(settings.node)
    return ZenohNetwork(node, meeting, limits=settings.limits, identity=identity)


def office(file: Path | None = None) -> Office:
    """Open the office where realms are founded, joined and looked after, for a configuration."""
    from dmoa.realm.office import Office

    return Office(file)


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
    machine. Beyond it nobody is ever let in without one: ConfigError where there are none. At the
    end the node leaves first: peers see it at once, and streams under way end with an error that
    says so.
    """
    from dmoa.api import door, listener
    from dmoa.api.app import create_app
    from dmoa.api.errands import Errands
    from dmoa.config.keys import Doorkeeper

    stop = _stopped()
    tls = listener.tls(settings.certificate, settings.certificate_key)
    with closing(listener.bind(settings.host, settings.port)) as sock:
        local = listener.is_local(sock)
        keeper = None if keys is None else Doorkeeper(keys, always=not local)
        if not local:
            _refuse_without_keys(settings.host, keeper)
        url = listener.url(sock, secure=tls is not None, names=settings.hosts)
        network, living = await _home(settings)
        node = build(settings, url=url, progress=progress, network=network)
        hosts = frozenset((settings.host, *settings.hosts))
        most = listener.room_for(settings.connections)
        archive = await asyncio.to_thread(_archive, settings)
        errands = Errands(node, archive)
        app = create_app(node, keeper, hosts, errands)
        server = door.server(app, connections=most, tls=tls)
        serving = asyncio.ensure_future(server.serve(sockets=[sock]))

        def tell() -> None:
            place = keeper.file if keeper is not None and keeper.asks else None
            clear = tls is None and not local
            model = node.profile.model
            ready(
                Ready(
                    node.id, url, model, node.endpoints, node.usual, place,
                    clear=clear, store=archive.file,
                )
            )  # fmt: skip

        try:
            await _run(node, errands, living, serving, stop, tell)
        finally:
            server.should_exit = True
            await serving
            await archive.close()


async def show(
    stage: Stage, *, port: int, ready: Callable[[str], None], over: Callable[[], None]
) -> bool:
    """Show a stage on a page of this machine, until told to stop (SIGINT, SIGTERM).

    It is played from when somebody comes to watch; `ready` hears its URL, and `over` is called
    once it was played to its end: it stays to be looked at. Tells whether it came to that.
    ConfigError where the port is taken, and whatever playing it raises.
    """
    from dmoa.api import door, listener
    from dmoa.api.stage import create_stage

    stop = _stopped()
    with closing(listener.bind("127.0.0.1", port)) as sock:
        server = door.server(create_stage(stage))
        serving = asyncio.ensure_future(server.serve(sockets=[sock]))
        stopping = asyncio.ensure_future(stop.wait())
        playing = asyncio.ensure_future(_play(stage))
        ready(listener.url(sock, secure=False))
        ending, first = {serving, stopping}, asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait({playing, *ending}, return_when=first)
            if not playing.done():
                return False
            playing.result()
            over()
            await asyncio.wait(ending, return_when=first)
        finally:
            playing.cancel()
            stopping.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            stage.close()
            server.should_exit = True
            await serving
    return True


async def _play(stage: Stage) -> None:
    """Play a stage once somebody watches."""
    await stage.audience.came.wait()
    await stage.play()


def _stopped() -> asyncio.Event:
    """Make what is set once this process is told to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    return stop


async def _home(
    settings: Settings,
) -> tuple[ZenohNetwork, AbstractAsyncContextManager[None]]:
    """Make the way to the peers, and what looks after the membership in a realm meanwhile."""
    its = settings.membership
    if its is None:
        return _way(settings, None), nullcontext()
    from dmoa.realm.residence import in_order, residence

    identity = await in_order(its)
    network = _way(settings, identity)
    return network, residence(identity, settings.listen, network.refresh)


def _archive(settings: Settings) -> Archive:
    """Open what keeps the responses: a file, unless there is no saying whose it would be."""
    from dmoa.store.archive import Archive, default_file

    file = Path(settings.store) if settings.store else None
    if settings.store == "auto":
        file = default_file(settings.port) if settings.port else None
    days, most = settings.store_days, settings.store_bytes
    return Archive(file, node=settings.node, days=days, most=most)


def _refuse_without_keys(host: str, keeper: Doorkeeper | None) -> None:
    """Refuse to answer everybody beyond this machine."""
    if keeper is None or not keeper.asks:
        place = "" if keeper is None else f", whose hash goes to {keeper.file}"
        raise ConfigError(
            f"host {host} is beyond this machine, where an API answers nobody without keys",
            hint=f"`dmoa key create` makes one{place}",
        )


async def _run(  # noqa: PLR0913, PLR0917 - the parts of a node that runs
    node: Node,
    errands: Errands,
    living: AbstractAsyncContextManager[None],
    serving: asyncio.Future[None],
    stop: asyncio.Event,
    tell: Callable[[], None],
) -> None:
    """Open a node, and keep it until its API ends or it is told to stop."""
    opening = asyncio.ensure_future(node.open())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait({opening, serving, stopping}, return_when=first)
        if opening.done():
            opening.result()
            async with living:
                errands.wake()
                tell()
                await asyncio.wait({serving, stopping}, return_when=first)
    finally:
        stopping.cancel()
        opening.cancel()
        with suppress(asyncio.CancelledError, DmoaError):
            await opening
        await errands.close()
        if node.is_open:
            await node.close()
