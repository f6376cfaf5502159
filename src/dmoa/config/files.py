"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


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


def _settle(directory: Path) -> None:
    """Bring the names of a directory to the disk, where the system can do that."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
