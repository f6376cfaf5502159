from __future__ import annotations

import asyncio
import gc
import importlib
import os
import stat
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmoa.backends import engine as module
from dmoa.backends.engine import Engine
from dmoa.backends.weights import ensure_weights
from dmoa.errors import BackendRefusedError, BackendUnavailableError

pytestmark = pytest.mark.real  # its threads belong to no virtual clock


class Library:
    """A llama.cpp that does what `serve` says."""

    def __init__(self, serve=lambda *_: None, load=lambda _: None, begin=lambda *_: None):
        self.serve, self.load, self.begin = serve, load, begin

    def CommonParams(self):  # noqa: N802
        self.params = SimpleNamespace(
            model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace()
        )
        return self.params

    def Server(self, params):  # noqa: N802
        self.load(params)
        return SimpleNamespace(handle_chat_completions=self.serve, handle_completions=self.begin)


@pytest.fixture
def make(monkeypatch):
    engines = []

    def make(**acts):
        library = Library(**acts)
        monkeypatch.setattr(module, "load_library", lambda: library)
        engine = Engine(Path("m.gguf"), context=100, slots=3, threads=1)
        engines.append(engine)
        return library, engine

    yield make
    for engine in engines:
        engine.close(5)


async def drain(call):
    chunks = []
    while (chunk := await call.next()) is not None:
        chunks.append(chunk)
    return chunks


def test_sets_what_the_model_needs(make):
    library, _ = make()
    params = library.params
    assert (params.n_parallel, params.n_ctx, params.n_batch) == (3, 300, 256)
    assert (params.cpuparams.n_threads, params.verbosity, params.cache_ram_mib) == (1, -1, 256)
    assert params.cpuparams_batch.n_threads >= 1


def test_listens_only_in_a_private_directory_and_removes_it(make):
    library, engine = make()
    (socket,) = library.params.hostnames
    directory = Path(socket).parent
    assert socket.endswith(".sock")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    engine.close()
    assert not directory.exists()


def test_a_dropped_engine_removes_its_directory(monkeypatch):
    monkeypatch.setattr(module, "load_library", Library)
    engine = Engine(Path("m.gguf"), context=1, slots=1, threads=1)
    directory = engine._directory
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None
    assert not directory.exists()


def test_a_long_temporary_path_still_fits_a_socket(make, tmp_path, monkeypatch):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    library, _ = make()
    assert len(library.params.hostnames[0]) <= 107
    assert not any(deep.iterdir())


def test_a_model_that_does_not_load_is_unavailable(make):
    def load(params):
        load.directory = Path(params.hostnames[0]).parent
        raise RuntimeError("no such tensor")

    with pytest.raises(BackendUnavailableError) as caught:
        make(load=load)
    assert "m.gguf" in caught.value.message
    assert "no such tensor" in caught.value.message
    assert caught.value.hint
    assert not load.directory.exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("libgomp.so.1: cannot open shared object file", "apt-get install -y libgomp1"),
        ("No module named 'xllamacpp'", "reinstall"),
    ],
)
def test_a_missing_library_says_how_to_get_it(monkeypatch, words, hint):
    def fail(_):
        raise ImportError(words)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(BackendUnavailableError) as caught:
        module.load_library()
    assert words in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(("before", "after"), [(None, "passive"), ("active", "active")])
def test_threads_sleep_while_they_wait_unless_told_otherwise(monkeypatch, before, after):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if before:
        monkeypatch.setenv("OMP_WAIT_POLICY", before)
    seen = []
    monkeypatch.setattr(
        importlib, "import_module", lambda _: seen.append(os.environ["OMP_WAIT_POLICY"])
    )
    module.load_library()
    assert seen == [after]


async def test_gives_the_chunks_in_order_and_then_the_end(make):
    _, engine = make(serve=lambda request, hear: [hear({"n": n}) for n in request["numbers"]])
    call = engine.call({"numbers": [1, 2, 3]})
    assert await drain(call) == [{"n": 1}, {"n": 2}, {"n": 3}]
    await call.stop()
    assert call.ended.done()


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (ValueError("bad field"), BackendRefusedError),
        (RuntimeError("no images"), BackendRefusedError),
        (OSError("odd"), BackendUnavailableError),
        (MemoryError(), BackendUnavailableError),
    ],
)
async def test_what_the_model_raises_comes_out_where_it_was_called(make, broken, error):
    def serve(*_):
        raise broken

    _, engine = make(serve=serve)
    call = engine.call({})
    with pytest.raises(error):
        await drain(call)
    await call.stop()
    assert call.ended.done()


async def test_stopping_waits_until_the_model_has_stopped(make):
    stopped = threading.Event()

    def serve(_, hear):
        while not hear({}):
            pass
        stopped.set()

    _, engine = make(serve=serve)
    call = engine.call({})
    await call.next()
    assert not stopped.is_set()
    await call.stop()
    assert stopped.is_set()
    assert call.ended.done()


async def test_stopping_has_a_bound(make):
    release = threading.Event()
    _, engine = make(serve=lambda *_: release.wait(30))
    call = engine.call({})
    async with asyncio.timeout(5):
        await call.stop(0.01)
    assert not call.ended.done()
    release.set()
    await call.ended


async def test_a_call_cancelled_before_it_began_does_not_run(make, monkeypatch):
    ran = []
    _, engine = make(serve=lambda request, _: ran.append(request))
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    call = engine.call({})
    call.cancel()
    monkeypatch.undo()
    call.thread.start()
    assert await drain(call) == []
    assert ran == []


def test_a_call_whose_loop_is_gone_stops_by_itself(make):
    go = threading.Event()
    told = []

    def serve(_, hear):
        go.wait(30)
        told.append(hear({}))

    _, engine = make(serve=serve)
    calls = []

    async def start():
        calls.append(engine.call({}))

    asyncio.run(start())
    go.set()
    calls[0].thread.join(10)
    assert told == [True]


async def test_closing_stops_all_calls_and_takes_no_more(make):
    def serve(_, hear):
        while not hear({}):
            pass

    _, engine = make(serve=serve)
    calls = [engine.call({}) for _ in range(3)]
    await asyncio.to_thread(engine.close)
    assert not any(call.thread.is_alive() for call in calls)
    with pytest.raises(BackendUnavailableError):
        engine.call({})


IN_FLIGHT = """
import asyncio, sys
from pathlib import Path
from dmoa.backends.engine import Engine
async def start():
    engine = Engine(Path(sys.argv[1]), context=2048, slots=2, threads=1)
    text = {"messages": [{"role": "user", "content": "Tell a story."}]}
    more = {"stream": True, "return_progress": True, "ignore_eos": True, "max_tokens": 1800}
    calls = [engine.call({**text, **more}) for _ in range(2)]
    await calls[0].next()
    return engine, calls
loop = asyncio.new_event_loop()
kept = loop.run_until_complete(start())
print(*(call.thread.is_alive() for call in kept[1]))
"""


def test_a_process_may_end_with_calls_in_flight():
    """Without the exit handler it dies of a segmentation fault."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_FLIGHT, str(ensure_weights())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True True", "")


def test_a_model_that_reads_nothing_is_not_loaded(make):
    def refuse(request, _hear):
        raise ValueError(f"no {request['prompt']}")

    with pytest.raises(BackendUnavailableError, match=r"m\.gguf could not be loaded: no a"):
        make(begin=refuse)
