"""The file of the store: opened by one process at a time, checked, its rights and its form."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from dmoa.errors import ConfigError, StoreError

FORMAT = 1
"""Of the tables; another one is not read."""
_APPLICATION = 0x646D6F61
"""`dmoa` in ASCII: how SQLite files tell whose they are."""
PAGE_BYTES = 4096
LOG_BYTES = 4 * 1024 * 1024
"""Of the write-ahead log, once it has been brought to the file."""
BUSY_MS = 5000
"""For somebody who looks at the file with another tool."""
_NAME_BYTES = 256

_TABLES = """
CREATE TABLE lives (life INTEGER PRIMARY KEY CHECK (life = 1), latest INTEGER NOT NULL) STRICT;
INSERT INTO lives VALUES (1, 0);
CREATE TABLE responses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN
        ('queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled')),
    background INTEGER NOT NULL,
    created REAL NOT NULL,
    ended REAL,
    due REAL NOT NULL,
    life INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    faults INTEGER NOT NULL,
    base TEXT NOT NULL,
    entries TEXT NOT NULL,
    work TEXT NOT NULL,
    outcome TEXT NOT NULL,
    previous TEXT NOT NULL,
    idempotency TEXT,
    fingerprint TEXT NOT NULL,
    size INTEGER NOT NULL,
    CHECK ((ended IS NULL) = (status IN ('queued', 'in_progress')))
) STRICT;
CREATE INDEX open_responses ON responses (number, size) WHERE ended IS NULL;
CREATE INDEX ended_responses ON responses (ended) WHERE ended IS NOT NULL;
CREATE INDEX owners ON responses (owner, number);
CREATE UNIQUE INDEX names ON responses (owner, idempotency) WHERE idempotency IS NOT NULL;
"""


class Lock:
    """Keeps other processes from a file, by a lock on another one beside it.

    The lock lies beside because SQLite's own would be lost with any handle on its file that is
    closed. ConfigError where another node has it; the message names that node. No lock where the
    system has none (Windows): there SQLite alone keeps writers apart.
    """

    def __init__(self, file: Path, node: str) -> None:
        beside = file.with_name(f"{file.name}.lock")
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(file, error) from None
        self._open: IO[bytes] = os.fdopen(handle, "r+b")
        try:
            self._take(file)
            self._open.truncate(0)
            self._open.write(node.encode()[:_NAME_BYTES])
            self._open.flush()
        except BaseException:
            self._open.close()
            raise

    def _take(self, file: Path) -> None:
        try:
            fcntl: Any = import_module("fcntl")
        except ImportError:
            return
        try:
            fcntl.flock(self._open, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = self._open.read(_NAME_BYTES).decode(errors="replace")
            raise ConfigError(
                f"{file}: the node {other!r} keeps its responses there",
                hint="stop that node, or name another `store`",
            ) from None

    def close(self) -> None:
        """Let others in."""
        self._open.close()


def open_file(file: Path) -> sqlite3.Connection:
    """Open a file to write, made where there is none; ConfigError where that cannot be.

    StoreError where it is damaged: it is never repaired or replaced without its owner's will.
    Blocks while the whole file is checked, some milliseconds for each megabyte.
    """
    try:
        _make(file)
    except OSError as error:
        raise _unusable(file, error) from None
    try:
        connection = _connect(file)
    except sqlite3.Error as error:
        raise _refused(file, error) from None
    try:
        _check(connection, file)
    except sqlite3.Error as error:
        connection.close()
        raise _refused(file, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def open_memory() -> sqlite3.Connection:
    """Open a store that ends with this process."""
    connection = _connect(None)
    connection.executescript(_TABLES)
    return connection


def open_reader(file: Path) -> sqlite3.Connection:
    """Open a file beside its writer, to read alone."""
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None,
        check_same_thread=False, timeout=BUSY_MS / 1000,
    )  # fmt: skip
    connection.execute("PRAGMA query_only = ON")
    return connection


def _make(file: Path) -> None:
    """Make the file, so that only its owner can read it."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if os.name == "posix" and file.is_file() and file.stat().st_mode & 0o077:
            file.chmod(0o600)
    else:
        with suppress(OSError):  # not every system brings the names of a folder to the disk
            handle = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _connect(file: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file or ":memory:",
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_MS / 1000,
    )
    try:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "auto_vacuum = INCREMENTAL",  # before there are tables, and with its page size
            "secure_delete = ON",  # deleted is deleted
            "trusted_schema = OFF",
            "cell_size_check = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, file: Path) -> None:
    """Refuse what is damaged or of another maker; make the tables of what is new."""
    with closing(connection.execute("PRAGMA quick_check(1)")) as found:
        said = str(found.fetchone()[0])
    if said != "ok":
        raise _damaged(file, said)
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    form = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if not empty and application != _APPLICATION:
        raise ConfigError(f"{file}: is no store of dmoa", hint="name another `store`")
    if not empty and form != FORMAT:
        raise ConfigError(
            f"{file}: has format {form}, which this dmoa does not read",
            hint="use the dmoa that wrote it, or name another `store`",
        )
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # what was accepted outlives a loss of power
        "fullfsync = ON",  # where plain fsync stops at the disk's own memory
        f"journal_size_limit = {LOG_BYTES}",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    if empty:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {_APPLICATION}; "
            f"PRAGMA user_version = {FORMAT}; COMMIT;"
        )


def _refused(file: Path, error: sqlite3.Error) -> ConfigError | StoreError:
    """Say why SQLite does not open a file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return ConfigError(
            f"{file}: another program writes to it", hint="close that, or name another `store`"
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return ConfigError(f"{file}: cannot be opened: {error}", hint="name another `store`")
    return _damaged(file, str(error))


def _damaged(file: Path, said: str) -> StoreError:
    return StoreError(
        f"{file}: is damaged: {' '.join(said.split())[:200]}",
        hint=f"restore a copy, try `sqlite3 {file} .recover`, or move it away to begin anew",
    )


def _unusable(file: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{file}: cannot be used: {error.strerror or error}", hint="name another `store`"
    )
