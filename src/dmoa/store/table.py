"""The table of responses: each step of a response's life, as SQL.

Whatever is written says in its WHERE what must still be so: a response ends once, by the life of
the process that has it under way, whoever else comes late.
"""

# ruff: noqa: S608  (what is put into SQL are our own words)

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from dmoa.errors import ConflictError, OverloadedError, ResponseNotFoundError, UsageError
from dmoa.store.file import LOG_BYTES, PAGE_BYTES
from dmoa.store.kept import (
    ANSWER_BYTES,
    CHAIN,
    OPEN_RESPONSES,
    SUSPECT,
    TEXT_BYTES,
    Claim,
    Kept,
    New,
    Status,
)

_COLUMNS = (
    "number, id, owner, status, background, created, ended, attempts, crashes, faults, "
    "base, entries, work, outcome, previous, fingerprint"
)
_STEP = 32
"""Responses that are deleted at once, so that nobody waits long for the deletion."""
_VACUUM_PAGES = 512
"""Pages given back to the system at once: 2 MiB."""
_SPARE_PAGES = 256
"""Pages that are kept for what comes: 1 MiB."""
_RETRY = 10.0
"""Seconds after which to come back where the store is full of questions."""

T = TypeVar("T")


def _kept(row: Any) -> Kept:
    values: list[Any] = list(row)
    values[4] = bool(values[4])
    return Kept(*values)


def no_such(identity: str) -> ResponseNotFoundError:
    """Make the error for a response that is not here, or is somebody else's."""
    return ResponseNotFoundError(
        f"there is no response {identity[:80]!r}", hint="it may have been deleted, or have expired"
    )


class Table:
    """The responses of one connection; `most` is in bytes, `keep` in seconds.

    Belongs to one thread. sqlite3.Error where the disk fails; each method leaves an open
    transaction to its caller.
    """

    def __init__(
        self, connection: sqlite3.Connection, *, most: int, keep: float, writes: bool = True
    ) -> None:
        self._sql = connection
        self._begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        self._most = most
        self._keep = keep
        self.life = 0

    # -- transactions --------------------------------------------------------------------

    def together(
        self, works: Sequence[Callable[[Table], Any]]
    ) -> list[tuple[Any, BaseException | None]]:
        """Do several things in one transaction; one that fails is undone alone.

        Returns what each returned or raised. sqlite3.Error where the transaction failed, and with
        it all of them.
        """
        results: list[tuple[Any, BaseException | None]] = []
        self._sql.execute(self._begin)
        try:
            for work in works:
                self._sql.execute("SAVEPOINT one")
                try:
                    results.append((work(self), None))
                except Exception as error:  # it is told to whoever wanted it
                    if not self._sql.in_transaction:  # the disk failed: all is undone already
                        raise
                    self._sql.execute("ROLLBACK TO one")
                    results.append((None, error))
                self._sql.execute("RELEASE one")
            self._sql.execute("COMMIT")
        except BaseException:
            if self._sql.in_transaction:
                self._sql.execute("ROLLBACK")
            raise
        return results

    def alone(self, work: Callable[[Table], T]) -> T:
        """Do one thing in a transaction of its own, and raise what it raises."""
        ((result, error),) = self.together([work])
        if error is not None:
            raise error
        return result

    def tidy(self, now: float) -> bool:
        """Make one small step of sweeping, and give back what is free; True where more is to do."""
        more = self.alone(lambda table: table.sweep(now))
        self._sql.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()
        return more or self._free > _SPARE_PAGES

    def close(self) -> None:
        """Let go of the connection."""
        self._sql.close()

    # -- life ----------------------------------------------------------------------------

    def begin_life(self, now: float) -> int:
        """Begin a life of the process, and put back what the last one had under way.

        Returns how many that were.
        """
        headroom = self._most // 4 + 2 * LOG_BYTES
        self._sql.execute(f"PRAGMA max_page_count = {(self._most + headroom) // PAGE_BYTES}")
        self._sql.execute("UPDATE lives SET latest = latest + 1")
        self.life = self._sql.execute("SELECT latest FROM lives").fetchone()[0]
        return self._sql.execute(
            "UPDATE responses SET status = 'queued', crashes = crashes + 1, due = ? "
            "WHERE ended IS NULL AND status = 'in_progress' AND life < ?",
            (now, self.life),
        ).rowcount

    def accept(self, new: New, now: float) -> Kept:
        """Take in a question of the background, or return the one of the same name.

        OverloadedError where too much waits, ConflictError where the name is of another question.
        """
        if (same := self.named(new)) is not None:
            return same
        waiting = self._open()
        if waiting >= OPEN_RESPONSES:
            raise OverloadedError(
                f"{waiting} background questions wait here already",
                retry_after=_RETRY,
                hint="come back later, or ask without background",
            )
        self._make_room(new.size, waiting + 1)
        return self._insert(new, "queued", now, None, "", created=now)

    def keep(
        self, new: New, status: Status, outcome: str, now: float, *, created: float | None = None
    ) -> Kept:
        """Keep a response that has ended already; it was asked at `created`, or now."""
        if (same := self.named(new)) is not None:
            return same
        self._make_room(new.size + len(outcome.encode()), self._open())
        asked = now if created is None else min(created, now)
        return self._insert(new, status, now, now, outcome, created=asked)

    def named(self, new: New) -> Kept | None:
        """Find the response of the same name and owner; ConflictError where another was asked."""
        if not new.idempotency:
            return None
        row = self._sql.execute(
            f"SELECT {_COLUMNS} FROM responses WHERE owner = ? AND idempotency = ?",
            (new.owner, new.idempotency),
        ).fetchone()
        if row is None:
            return None
        if row[-1] != new.fingerprint:
            raise ConflictError(
                "under this Idempotency-Key something else was asked before",
                hint="use a new key for each question",
            )
        return _kept(row)

    def claim(self, now: float) -> Claim:
        """Begin the oldest question that is due.

        One under which the process ended `SUSPECT` times goes alone, so that no other is blamed
        for it.
        """
        alone = self._sql.execute(
            "SELECT max(crashes) FROM responses WHERE ended IS NULL AND status = 'in_progress'"
        ).fetchone()[0]
        if alone is not None and alone >= SUSPECT:
            return Claim()
        row = self._sql.execute(
            "SELECT number, crashes FROM responses "
            "WHERE ended IS NULL AND status = 'queued' AND due <= ? ORDER BY number LIMIT 1",
            (now,),
        ).fetchone()
        if row is None:
            due = self._sql.execute(
                "SELECT min(due) FROM responses WHERE ended IS NULL AND status = 'queued'"
            ).fetchone()[0]
            return Claim(due=due)
        if row[1] >= SUSPECT and alone is not None:
            return Claim()
        taken = self._sql.execute(
            "UPDATE responses SET status = 'in_progress', life = ?, attempts = attempts + 1 "
            f"WHERE number = ? RETURNING {_COLUMNS}",
            (self.life, row[0]),
        ).fetchone()
        return Claim(_kept(taken))

    def end(self, taken: Kept, status: Status, outcome: str, now: float) -> bool:
        """End what was claimed; False where it had ended already, or is not ours any more."""
        return self._change(
            taken, "status = ?, outcome = ?, ended = ?, work = ''", (status, outcome, now)
        )

    def put_back(self, taken: Kept, due: float, *, fault: bool) -> bool:
        """Let what was claimed wait again, until `due`; whether that is a fault is counted."""
        return self._change(taken, "status = 'queued', due = ?, faults = faults + ?", (due, fault))

    def _change(self, taken: Kept, changes: str, values: tuple[object, ...]) -> bool:
        done = self._sql.execute(
            f"UPDATE responses SET {changes} WHERE number = ? AND ended IS NULL "
            "AND status = 'in_progress' AND life = ? AND attempts = ?",
            (*values, taken.number, self.life, taken.attempts),
        )
        return done.rowcount == 1

    def cancel(self, identity: str, owner: str, outcome: str, now: float) -> Kept:
        """End a question of the background; one that has ended stays as it is.

        UsageError for one that was not asked in the background.
        """
        kept = self.get(identity, owner)
        if not kept.background:
            raise UsageError(
                f"{identity} was not asked in the background, and cannot be cancelled",
                hint="close the connection of a response that is being written",
            )
        self._sql.execute(
            "UPDATE responses SET status = 'cancelled', outcome = ?, ended = ?, work = '' "
            "WHERE number = ? AND ended IS NULL",
            (outcome, now, kept.number),
        )
        return self.get(identity, owner)

    def delete(self, identity: str, owner: str) -> None:
        """Delete a response with all that is kept of it, whether it has ended or not."""
        gone = self._sql.execute(
            "DELETE FROM responses WHERE id = ? AND owner = ?", (identity, owner)
        )
        if not gone.rowcount:
            raise no_such(identity)

    # -- looks ---------------------------------------------------------------------------

    def get(self, identity: str, owner: str) -> Kept:
        """Find a response of an owner; ResponseNotFoundError where there is none."""
        row = self._sql.execute(
            f"SELECT {_COLUMNS} FROM responses WHERE id = ? AND owner = ?", (identity, owner)
        ).fetchone()
        if row is None:
            raise no_such(identity)
        return _kept(row)

    def chain(self, identity: str, owner: str, most: int) -> list[Kept]:
        """List a response and those before it, the first one first.

        ResponseNotFoundError where one of them is gone; UsageError beyond `CHAIN` of them, or
        where they hold more than `most` bytes.
        """
        found: list[Kept] = []
        size = 0
        while identity:
            kept = self.get(identity, owner)
            size += len(kept.entries) + len(kept.outcome)
            found.append(kept)
            if len(found) > CHAIN or size > most:
                raise UsageError(
                    f"the conversation goes back over more than {CHAIN} responses or {most} bytes",
                    hint="begin a new one, with what matters of it as `input`",
                )
            identity = kept.previous
        return found[::-1]

    def listed(self, owner: str, limit: int, after: str) -> list[Kept]:
        """List responses of an owner, the newest first, from after one of them on."""
        before = self.get(after, owner).number if after else 2**62
        rows = self._sql.execute(
            f"SELECT {_COLUMNS} FROM responses WHERE owner = ? AND number < ? "
            "ORDER BY number DESC LIMIT ?",
            (owner, before, limit),
        )
        return [_kept(row) for row in rows]

    # -- room ----------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes in use, without the log and what is to be given back."""
        pages = self._sql.execute("PRAGMA page_count").fetchone()[0]
        return (pages - self._free) * PAGE_BYTES

    @property
    def _free(self) -> int:
        """Pages that can be used again."""
        return self._sql.execute("PRAGMA freelist_count").fetchone()[0]

    def sweep(self, now: float) -> bool:
        """Delete some of what is too old or too much, the oldest first; True where more is.

        Only what has ended goes.
        """
        old = self._drop("ended < ?", (now - self._keep,))
        many = self._drop("1", ()) if self.used > self._most else 0
        return bool(old or many)

    def _drop(self, which: str, values: tuple[object, ...]) -> int:
        return self._sql.execute(
            "DELETE FROM responses WHERE number IN (SELECT number FROM responses "
            f"WHERE ended IS NOT NULL AND {which} ORDER BY ended, number LIMIT {_STEP})",
            values,
        ).rowcount

    def _make_room(self, size: int, waiting: int) -> None:
        """Have room for a response beside the answers that are still to come."""
        if size > TEXT_BYTES:
            raise UsageError(f"a response may hold {TEXT_BYTES} bytes, not {size}")
        need = size + waiting * ANSWER_BYTES
        held = self._sql.execute(
            "SELECT coalesce(sum(size), 0) FROM responses WHERE ended IS NULL"
        ).fetchone()[0]
        while (full := held + need > self._most) or self.used + need > self._most:
            if full or not self._drop("1", ()):
                raise OverloadedError(
                    f"what waits here fills the {self._most} bytes of the store",
                    retry_after=_RETRY,
                    hint="come back later, or let `store_bytes` be more",
                )

    def _open(self) -> int:
        return self._sql.execute("SELECT count(*) FROM responses WHERE ended IS NULL").fetchone()[0]

    def _insert(  # noqa: PLR0913  (what is in a row)
        self,
        new: New,
        status: Status,
        now: float,
        ended: float | None,
        outcome: str,
        *,
        created: float,
    ) -> Kept:
        values = {
            "id": new.id, "owner": new.owner, "status": status, "background": new.background,
            "created": created, "ended": ended, "due": now, "life": self.life, "attempts": 0,
            "crashes": 0, "faults": 0, "base": new.base, "entries": new.entries,
            "work": new.work if ended is None else "", "outcome": outcome,
            "previous": new.previous, "idempotency": new.idempotency or None,
            "fingerprint": new.fingerprint, "size": new.size,
        }  # fmt: skip
        row = self._sql.execute(
            f"INSERT INTO responses ({', '.join(values)}) "
            f"VALUES ({', '.join(':' + name for name in values)}) RETURNING {_COLUMNS}",
            values,
        ).fetchone()
        return _kept(row)
