"""Responses kept off the loop: one thread writes, another reads, and no one waits for the disk.

What was written when a call returns is on the disk. Writers that come together share one
transaction, and so one wait for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from dmoa.errors import DmoaError, OverloadedError, StoreError
from dmoa.store.file import Lock, open_file, open_memory, open_reader
from dmoa.store.kept import Claim, Kept, New, Status
from dmoa.store.table import Table

DAYS = 30.0
"""For which a response is kept, where nothing else is said."""
MOST_BYTES = 256 * 1024 * 1024
"""Of a file, where nothing else is said."""
MEMORY_BYTES = 64 * 1024 * 1024
"""Of a store that ends with its process."""
CALLS = 1024
"""Writes, and reads, that may wait for their thread."""
TOGETHER = 64
"""Writes of one transaction."""
SWEEP_SECONDS = 30.0
"""Between two looks for what is too old or too much."""
_DAY = 86400.0
_RETRY = 1.0

T = TypeVar("T")
_Call = tuple[Callable[[Table], Any], "Future[Any]"]
_log = logging.getLogger(__name__)


def default_file(port: int, environ: Mapping[str, str] | None = None) -> Path:
    """Tell where the node at a port keeps its responses where nothing else is said."""
    environ = os.environ if environ is None else environ
    root = environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(root, "dmoa", f"responses-{port}.db")


class Archive:
    """The responses of a node, in a file, or in memory where there is none.

    ConfigError where the file cannot be used or another node has it, StoreError where it is
    damaged. Methods raise StoreError where the disk fails; nothing is changed then. `clock` tells
    Unix seconds. Without a file all is done at once, on the caller's thread.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        node: str = "",
        days: float = DAYS,
        most: int = MOST_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.file = None if file is None else file.expanduser()
        self._clock = clock
        self._closed = False
        self._lock: Lock | None = None
        self._writer: _Thread | None = None
        self._reader: _Thread | None = None
        if self.file is None:
            table = Table(open_memory(), most=min(most, MEMORY_BYTES), keep=days * _DAY)
            self._table, self.put_back_at_start = table, table.begin_life(clock())
            weakref.finalize(self, table.close)
            return
        self._lock = Lock(self.file, node)
        with ExitStack() as failed:
            failed.callback(self._lock.close)
            self._table = Table(open_file(self.file), most=most, keep=days * _DAY)
            failed.callback(self._table.close)
            with _disk():
                self.put_back_at_start = self._table.begin_life(clock())
                reading = Table(open_reader(self.file), most=most, keep=days * _DAY, writes=False)
            failed.pop_all()
        self._writer = _Thread("store", self._table, writes=True, clock=clock)
        self._reader = _Thread("store-reader", reading, writes=False, clock=clock)

    async def close(self) -> None:
        """Finish what was begun, and let go of the file."""
        self._closed = True
        for thread in (self._reader, self._writer):
            if thread is not None:
                await asyncio.to_thread(thread.close)
        if self._lock is None:
            self._table.close()
        else:
            self._lock.close()

    # -- writes --------------------------------------------------------------------------

    async def accept(self, new: New) -> Kept:
        """Keep a question to be answered in the background; see `Table.accept`."""
        return await self._write(lambda table: table.accept(new, self._clock()))

    async def keep(
        self, new: New, status: Status, outcome: str, *, created: float | None = None
    ) -> Kept:
        """Keep a response that has ended already; see `Table.keep`."""
        return await self._write(
            lambda table: table.keep(new, status, outcome, self._clock(), created=created)
        )

    async def claim(self) -> Claim:
        """Begin the oldest question that is due; see `Table.claim`."""
        return await self._write(lambda table: table.claim(self._clock()))

    async def end(self, taken: Kept, status: Status, outcome: str) -> bool:
        """End what was claimed; False where it had ended already, or was begun anew."""
        return await self._write(lambda table: table.end(taken, status, outcome, self._clock()))

    async def put_back(self, taken: Kept, due: float, *, fault: bool) -> bool:
        """Let what was claimed wait again, until `due`; see `Table.put_back`."""
        return await self._write(lambda table: table.put_back(taken, due, fault=fault))

    async def cancel(self, identity: str, owner: str, outcome: str) -> Kept:
        """End a question of the background for good; see `Table.cancel`."""
        return await self._write(
            lambda table: table.cancel(identity, owner, outcome, self._clock())
        )

    async def delete(self, identity: str, owner: str) -> None:
        """Delete a response with all that is kept of it."""
        await self._write(lambda table: table.delete(identity, owner))

    # -- reads ---------------------------------------------------------------------------

    async def named(self, new: New) -> Kept | None:
        """Find the response of the same name; see `Table.named`."""
        return await self._read(lambda table: table.named(new))

    async def get(self, identity: str, owner: str) -> Kept:
        """Find a response of an owner; ResponseNotFoundError where there is none."""
        return await self._read(lambda table: table.get(identity, owner))

    async def chain(self, identity: str, owner: str, most: int) -> list[Kept]:
        """List a response and those before it, the first one first; see `Table.chain`."""
        return await self._read(lambda table: table.chain(identity, owner, most))

    async def listed(self, owner: str, limit: int, after: str = "") -> list[Kept]:
        """List responses of an owner, the newest first."""
        return await self._read(lambda table: table.listed(owner, limit, after))

    async def _write(self, work: Callable[[Table], T]) -> T:
        return await self._call(self._writer, work)

    async def _read(self, work: Callable[[Table], T]) -> T:
        return await self._call(self._reader, work)

    async def _call(self, thread: _Thread | None, work: Callable[[Table], T]) -> T:
        if self._closed:
            raise StoreError("the store is closed: this node is shutting down")
        if thread is not None:
            # Once begun a write is not taken back, whoever leaves.
            return await asyncio.wrap_future(thread.call(work))
        now = self._clock()
        with _disk():
            result = self._table.alone(work)
            while self._table.sweep(now):
                pass
            return result


class _disk:  # noqa: N801  (a block, as in contextlib)
    """Says in our errors what SQLite says of the disk."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise _store_error(error) from None


def _store_error(error: sqlite3.Error) -> StoreError:
    return StoreError(f"the store failed: {error}", hint="see whether the disk is full or broken")


class _Thread:
    """One thread with a table of its own; it does what it is called for, in order."""

    def __init__(
        self, name: str, table: Table, *, writes: bool, clock: Callable[[], float]
    ) -> None:
        self._table = table
        self._writes = writes
        self._clock = clock
        self._calls: queue.Queue[_Call | None] = queue.Queue(CALLS + 1)  # and one for the end
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._swept = -SWEEP_SECONDS
        self._more = False
        self._thread.start()

    def call(self, work: Callable[[Table], T]) -> Future[T]:
        """Have something done; OverloadedError where too much waits."""
        done: Future[T] = Future()
        if self._calls.qsize() >= CALLS:
            raise OverloadedError(
                f"{CALLS} calls wait for the disk", retry_after=_RETRY, hint="come back later"
            )
        self._calls.put((work, done))
        return done

    def close(self) -> None:
        """Do what was called for, and end."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            calls: list[_Call] = []
            with suppress(queue.Empty):
                ended = self._take(calls)
            try:
                if calls:
                    self._do(calls)
                if self._writes and not ended:
                    self._sweep()
            except Exception as error:  # noqa: BLE001 - a bug must not leave callers waiting for ever
                _log.exception("the store met a bug of its own")
                for _, done in calls:
                    if not done.done():
                        done.set_exception(StoreError(f"the store met a bug: {error!r}"))
        self._table.close()

    def _take(self, calls: list[_Call]) -> bool:
        """Take what waits, up to what goes together; True at the end."""
        wait = 0.0 if self._more else SWEEP_SECONDS
        item = self._calls.get(timeout=wait) if wait else self._calls.get_nowait()
        while item is not None:
            calls.append(item)
            if len(calls) >= TOGETHER:
                return False
            item = self._calls.get_nowait()
        return True

    def _do(self, calls: list[_Call]) -> None:
        """Do some calls in one transaction; all of them are told once it is on the disk."""
        told: list[tuple[Future[Any], Any, BaseException | None]] = []
        calls = [each for each in calls if each[1].set_running_or_notify_cancel()]
        try:
            for (_, done), (result, error) in zip(
                calls, self._table.together([work for work, _ in calls]), strict=True
            ):
                told.append((done, result, error))
        except sqlite3.Error as error:
            told = [(done, None, error) for _, done in calls]
        for done, result, error in told:
            if error is None:
                done.set_result(result)
            elif isinstance(error, sqlite3.Error):
                _log.error("the store failed: %s", error)
                done.set_exception(_store_error(error))
            else:
                done.set_exception(error)

    def _sweep(self) -> None:
        """Make a small step of tidying, where one is due or the last one was not enough."""
        now = time.monotonic()
        if not self._more and now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        with suppress(sqlite3.Error, DmoaError):
            self._more = False
            self._more = self._table.tidy(self._clock())
