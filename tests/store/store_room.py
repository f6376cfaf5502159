"""A room to try the store in: tables in memory or in a file, and questions for them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmoa.store.file import open_file, open_memory
from dmoa.store.kept import New
from dmoa.store.table import Table

MOST = 32 * 1024 * 1024
KEEP = 1000.0


def question(**changes: Any) -> New:
    usual = New(f"resp_{secrets.token_hex(16)}", "", "{}", "[]", work="why?", background=True)
    return replace(usual, **changes)


def table(file: Path | None = None, *, most: int = MOST, now: float = 0.0) -> Table:
    """Begin a life of a store."""
    connection = open_memory() if file is None else open_file(file)
    made = Table(connection, most=most, keep=KEEP)
    made.put_back_at_start = made.begin_life(now)  # type: ignore[attr-defined]
    return made
