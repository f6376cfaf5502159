"""The folder of a run: its files by name, and reading them without writing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from dmoa.errors import UsageError
from dmoa.study.evals.records import Answer, Item, Judgement, Plan, Span
from dmoa.study.lines import FORMAT

T = TypeVar("T")


class _Row(msgspec.Struct):
    """What every line has."""

    kind: str
    format: Annotated[int, msgspec.Meta(ge=FORMAT, le=FORMAT)]


def hash_of(items: Sequence[Item]) -> str:
    """Name a set of items by its content and order."""
    return sha256(msgspec.json.encode(tuple(items))).hexdigest()[:16]


class Folder:
    """A run on disk; UsageError where what is read was never written, or changed since."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.items_file = place / "items.jsonl"
        self.answers_file = place / "answers.jsonl"
        self.judgements_file = place / "judgements.jsonl"
        self.outputs = place / "outputs"

    def items(self) -> tuple[Item, ...]:
        """Read what was asked, in its order."""
        found: list[Item] = []
        for number, line in self._lines(self.items_file):
            try:
                found.append(msgspec.json.decode(line, type=Item))
            except msgspec.DecodeError as error:
                raise UsageError(f"{self.items_file}, line {number}: {error}") from None
        return tuple(found)

    def write_items(self, items: Sequence[Item]) -> None:
        """Write what will be asked."""
        self.place.mkdir(parents=True, exist_ok=True)
        text = b"".join(msgspec.json.encode(each) + b"\n" for each in items)
        self.items_file.write_bytes(text)

    def plan(self) -> Plan:
        """Read what the answers depend on."""
        for found in self.rows(self.answers_file, "plan", Plan):
            return found
        raise UsageError(
            f"{self.answers_file} does not begin with a plan", hint="begin with `dmoa eval run`"
        )

    def answers(self) -> dict[tuple[str, str], Answer]:
        """Read what came, by configuration and item; of several the last holds."""
        rows = self.rows(self.answers_file, "answer", Answer)
        return {(each.configuration, each.item): each for each in rows}

    def spans(self) -> dict[tuple[str, str, int], Span]:
        """Read how long nodes were watched, by configuration, node and leg."""
        rows = self.rows(self.answers_file, "span", Span)
        return {(each.configuration, each.node, each.leg): each for each in rows}

    def judgements(self) -> dict[str, Judgement]:
        """Read what judges said, by key; of several the last holds."""
        if not self.judgements_file.exists():
            return {}
        rows = self.rows(self.judgements_file, "judgement", Judgement)
        return {each.key: each for each in rows}

    def rows(self, file: Path, kind: str, shape: type[T]) -> Iterator[T]:
        """Read the lines of one kind; a torn last one is passed over."""
        for number, line in self._lines(file):
            try:
                row = msgspec.json.decode(line, type=_Row)
                if row.kind == kind:
                    yield msgspec.json.decode(line, type=shape)
            except msgspec.DecodeError as error:
                raise UsageError(
                    f"{file}, line {number}: {error}", hint="it was changed after it was written"
                ) from None

    def _lines(self, file: Path) -> Iterator[tuple[int, bytes]]:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{file} cannot be read: {error.strerror or error}",
                hint="name the folder of a run of `dmoa eval run`",
            ) from None
        whole, newline, _ = content.rpartition(b"\n")
        return enumerate(whole.split(b"\n") if newline else (), 1)
