"""Files that are written whole or not at all, and by one at a time."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

LOCK_SECONDS = 5.0
"""For another command to have written a file."""

_POLL_SECONDS = 0.05


def replace(file: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file beside, and put it in the place of the old one, on the disk when this returns.

    It gets the rights of `mode`; without one those of the old file, and of a new one 0600.
    OSError where it cannot be written; the old one is then as it was.
    """
    target = file.resolve()
    handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as writing:
            writing.write(content)
            writing.flush()
            os.fsync(writing.fileno())
        if mode is not None:
            Path(beside).chmod(mode)
        elif target.exists():
            Path(beside).chmod(target.stat().st_mode & 0o777)
        Path(beside).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(beside).unlink()
        raise
    _settle(target.parent)


@contextmanager
def alone(file: Path) -> Generator[None]:
    """Keep other writers of a file out, also other threads. Without locks on Windows.

    TimeoutError where another one takes longer than LOCK_SECONDS, OSError where there can be no
    lock beside the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.with_name(f".{file.name}.lock").open("ab") as lock:  # and the lock ends with it
        try:
            fcntl: Any = import_module("fcntl")
        except ImportError:
            fcntl = None
        ends = time.monotonic() + LOCK_SECONDS
        while fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            if time.monotonic() > ends:
                raise TimeoutError(f"{file} is being written by another")
            time.sleep(_POLL_SECONDS)
        yield


def _settle(directory: Path) -> None:
    """Bring the names of a directory to the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
