"""llama.cpp inside this process: one loaded model, and the calls it works on.

The one place that touches `xllamacpp`, and its sharp edges:

- A call blocks, so each has a thread of its own. They are daemons, as the interpreter
  joins all others *before* it runs exit handlers, and would wait for a long answer;
  and a call still in flight when the interpreter ends brings the process down. So an
  exit handler cancels and joins them.
- A call is cancelled by what its callback returns, and the callback comes once per token,
  and once per batch of the prompt where progress is asked for.
- An HTTP server always listens. On a Unix socket in a private directory nobody else
  reaches it; Windows has none, so there it asks for a key that nobody knows. It is the only
  way to what a chat template makes of a chat (`Engine.render`).
- Loading holds the interpreter's lock: for that long (0.7 s for the embedded model)
  the event loop stands still, whichever thread loads.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import http.client
import importlib
import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol, cast

from dmoa.errors import BackendError, BackendRefusedError, BackendUnavailableError

STOP_SECONDS: Final = 10.0
"""How long a cancelled call may take to notice: a batch of the prompt on a slow machine."""

_BATCH: Final = 256
_CACHE_MIB: Final = 256
_SOCKET_PATH: Final = 100
"""Characters of a Unix socket's path that every system allows."""

Chunk = dict[str, object]


class _Server(Protocol):
    """What is used of `xllamacpp.Server`; chunks stop when the callback returns True."""

    @property
    def listening_address(self) -> str: ...

    def handle_chat_completions(
        self, request: dict[str, object], callback: Callable[[Chunk], bool], /
    ) -> object: ...

    def handle_completions(
        self, request: dict[str, object], callback: Callable[[Chunk], bool], /
    ) -> object: ...


class _Library(Protocol):
    """What is used of `xllamacpp`, which has no types."""

    def CommonParams(self) -> Any: ...  # noqa: N802
    def Server(self, params: Any, /) -> _Server: ...  # noqa: N802


def load_library() -> _Library:
    """Import llama.cpp, with threads that sleep while they wait for work.

    Spinning is quicker for one process alone, and many times slower for several on one
    machine. It is read once, at the import.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return cast("_Library", cast("object", importlib.import_module("xllamacpp")))
    except ImportError as error:
        hint = "reinstall dmoa on a platform that xllamacpp has wheels for"
        if "libgomp" in str(error):
            hint = "sudo apt-get install -y libgomp1"
        raise BackendUnavailableError(
            f"the embedded engine cannot be loaded: {error}", hint=hint
        ) from error


class Call:
    """One call under way; its chunks and its end are told to the loop that made it.

    A request with `messages` is a chat; one with a `prompt` is text that is to go on.
    """

    def __init__(self, server: _Server, request: dict[str, object]) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.thread = threading.Thread(target=self._run, name="dmoa-llama", daemon=True)
        self._chunks: asyncio.Queue[Chunk | BackendError | None] = asyncio.Queue()
        self._cancelled = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._server: _Server | None = server
        self._request = request

    async def next(self) -> Chunk | None:
        """Give the next chunk, or None at the end; BackendError if it broke."""
        item = await self._chunks.get()
        if isinstance(item, BackendError):
            raise item
        return item

    def cancel(self) -> None:
        """Ask the model to stop; from any thread."""
        self._cancelled.set()

    async def stop(self, patience: float = STOP_SECONDS) -> None:
        """Stop the model, and wait until it has stopped."""
        self.cancel()
        await asyncio.wait({self.ended}, timeout=patience)

    def _run(self) -> None:
        end: BackendError | None = None
        try:
            if self._server is not None and not self._cancelled.is_set():
                if "prompt" in self._request:
                    self._server.handle_completions(self._request, self._hear)
                else:
                    self._server.handle_chat_completions(self._request, self._hear)
        except (ValueError, TypeError, RuntimeError) as error:  # how it refuses a request
            end = BackendRefusedError(f"the model refused: {error}")
        except Exception as error:  # noqa: BLE001 - carried to the loop, and raised there
            end = BackendUnavailableError(f"the embedded engine broke: {error!r}")
        finally:
            self._server = None  # may be the last to hold the model
            self._tell(end)
            self._post(self._end)

    def _hear(self, chunk: Chunk) -> bool:
        """Take a chunk from the model, and tell whether it is to stop; must not raise."""
        return self._cancelled.is_set() or not self._tell(chunk)

    def _tell(self, item: Chunk | BackendError | None) -> bool:
        return self._post(lambda: self._chunks.put_nowait(item))

    def _post(self, act: Callable[[], object]) -> bool:
        """Have the loop do something; False when it is closed."""
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:
            return False
        return True

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Engine:
    """One loaded model; making one blocks, and BackendError when it cannot be loaded."""

    def __init__(self, path: Path, *, context: int, slots: int, threads: int) -> None:
        library = load_library()
        self._directory = _private_directory()
        self._erase = weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()
        params = library.CommonParams()
        params.model.path = str(path)
        params.n_parallel, params.n_ctx, params.n_batch = slots, slots * context, _BATCH
        params.kv_unified = False
        params.cpuparams.n_threads = threads
        params.cpuparams_batch.n_threads = max(threads, cores())
        params.verbosity, params.ui, params.endpoint_slots = -1, False, False
        params.cache_ram_mib = _CACHE_MIB
        self._key = secrets.token_hex()
        if sys.platform == "win32":
            params.api_keys, params.hostnames, params.port = [self._key], ["127.0.0.1"], 0
        else:
            params.hostnames = [str(self._directory / "s.sock")]  # the ending makes it a path
        try:
            server: _Server = library.Server(params)
            _await_loop(server)
        except (RuntimeError, ValueError) as error:
            self._erase()
            raise BackendUnavailableError(
                f"{path.name} could not be loaded: {error}",
                hint="is it the GGUF file of a chat model, and is there memory for it?",
            ) from error
        self._server: _Server | None = server
        _engines.add(self)

    def call(self, request: dict[str, object]) -> Call:
        """Start a call on the running loop."""
        if self._server is None:
            raise BackendUnavailableError("the embedded model is closed")
        call = Call(self._server, request)
        self._calls.add(call)
        call.thread.start()
        return call

    def render(self, request: dict[str, object]) -> str:
        """Tell what text the chat template makes of a chat's request; blocks for milliseconds.

        The very text that a `call` with that request reads. BackendRefusedError where there is
        none, BackendUnavailableError where the model does not answer.
        """
        server = self._server  # is kept alive until it has answered
        if server is None:
            raise BackendUnavailableError("the embedded model is closed")
        with contextlib.closing(_connection(server.listening_address)) as connection:
            headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
            try:
                connection.request("POST", "/apply-template", json.dumps(request), headers)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise BackendUnavailableError(
                    f"the embedded model does not render: {error!r}"
                ) from error
        if response.status != http.client.OK:
            raise BackendRefusedError(f"the chat template refused: status {response.status}")
        return _rendered(body)

    def close(self, patience: float = STOP_SECONDS) -> None:
        """Cancel all calls, wait for them, and let go of the model; blocks."""
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        for call in calls:
            call.thread.join(patience)
        self._server = None
        self._erase()


def _await_loop(server: _Server) -> None:
    """Read one token, and so wait until the server's loop turns.

    The end of a server (xllamacpp 2026.10) that comes before its loop has begun is forgotten
    as it begins, and is then waited for without end.
    """
    server.handle_completions({"prompt": "a", "n_predict": 0}, lambda _: False)


def _connection(address: str) -> http.client.HTTPConnection:
    """Reach the server where it listens: `unix:///path` or `http://host:port`."""
    scheme, _, place = address.partition("://")
    if scheme != "unix":
        return http.client.HTTPConnection(place, timeout=STOP_SECONDS)
    connection = http.client.HTTPConnection("localhost", timeout=STOP_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(STOP_SECONDS)
    try:
        connection.sock.connect(place)
    except OSError as error:
        connection.close()
        raise BackendUnavailableError(f"the embedded model does not listen: {error}") from error
    return connection


def _rendered(body: bytes) -> str:
    """Take the text out of what the server answers."""
    try:
        return str(json.loads(body)["prompt"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackendRefusedError("the chat template rendered nothing") from error


def _private_directory() -> Path:
    """Make a directory for the socket that only this user may enter."""
    path = Path(tempfile.mkdtemp(prefix="dmoa-"))
    if sys.platform != "win32" and len(str(path)) > _SOCKET_PATH:
        with contextlib.suppress(OSError):
            path.rmdir()
        path = Path(tempfile.mkdtemp(prefix="dmoa-", dir="/tmp"))
    return path


def cores() -> int:
    """Count the cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for engine in list(_engines):
        engine.close()
