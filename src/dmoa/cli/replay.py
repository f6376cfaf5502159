"""`dmoa replay`: a recorded life, lived again: does the node act as it did?"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option
from dmoa.cli.watching import player, watch_options, watch_record

if TYPE_CHECKING:
    from dmoa.core.effects import Effect
    from dmoa.core.events import Event
    from dmoa.core.history import Difference, Record
    from dmoa.runtime.records import Reader

_EVERY = 1000
"""Steps between two looks at the progress bar."""
_SHOWN = 5
"""Effects that are listed of one step."""
_FIELDS = 4
"""Fields of an effect that are listed where they differ."""
_LETTERS = 300
"""Of a text that `--text` shows."""


@command("dmoa replay life.jsonl", "dmoa replay --watch life.jsonl --speed 5")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--text", "texts", is_flag=True, help="Show texts that differ, prompts too")
@watch_options("Play it on a page, as the node showed itself then")
@json_option("Write one JSON line")
def replay(  # noqa: PLR0913  (an option each)
    *, file: Path, texts: bool, watch: bool, speed: float | None, port: int | None, as_json: bool
) -> None:
    """Live a recorded life again, and say whether a node acts as it did.

    `dmoa up --record FILE` writes it. Exits with 3 where the node would act differently now.
    With --watch it is shown instead, without any text; pauses of more than 5 s are shortened.
    """
    how = player(watch=watch, speed=speed, port=port)
    if how is None:
        _compare(file, texts=texts, as_json=as_json)
        return
    from dmoa.errors import UsageError
    from dmoa.runtime.records import Reader
    from dmoa.runtime.replayed import Replayed

    if texts or as_json:
        raise UsageError("--watch shows a page, and no texts", hint="leave --text and --json out")
    with Reader(file) as reader:
        watch_record(Replayed(reader, how.speed), how.port)


def _compare(file: Path, *, texts: bool, as_json: bool) -> None:
    """Say whether the node acts as it did."""
    from importlib.metadata import version

    from dmoa.cli.progress import progress_bar
    from dmoa.core.history import difference
    from dmoa.runtime.records import Reader

    with Reader(file) as reader, progress_bar("replay") as progress:
        watch = _Watch(reader, progress)
        found = difference(watch.records(), reader.agent())
    if reader.torn:
        render.note("the last line was cut off, and is passed over")
    if reader.release != version("dmoa"):
        render.note(f"written by dmoa {reader.release[:40]}, and this one is {version('dmoa')}")
    if as_json:
        render.data(_fields(watch, found, texts=texts))
    else:
        _tell(watch, found, texts=texts)
    if found:
        raise click.exceptions.Exit(NO)


class _Watch:
    """Counts the steps of a record while they are read, and tells how far that came."""

    def __init__(self, reader: Reader, progress: Any) -> None:
        self.reader = reader
        self.steps = 0
        self.seconds = 0.0
        self._progress = progress

    def records(self) -> Generator[Record, None, None]:
        """Hand on the steps."""
        for record in self.reader.records():
            self.steps += 1
            self.seconds = record.now - self.reader.birth.now
            if self.steps % _EVERY == 0:
                self._progress(self.reader.read, self.reader.size)
            yield record


def _tell(watch: _Watch, found: Difference | None, *, texts: bool) -> None:
    """Say it to a person: the answer is data, so that it stands on stdout."""
    life = f"{watch.steps} {'step' if watch.steps == 1 else 'steps'} in {watch.seconds:.1f} s"
    node = watch.reader.birth.node
    if found is None:
        click.echo(render.plain(f"node {node}, {life}: it acts as it did"))
        return
    seconds = found.then.now - watch.reader.birth.now
    click.echo(render.plain(f"node {node}: it acts differently at step {found.index + 1}"))
    rows = [("time", f"{seconds:.3f} s"), ("event", _event(found.then.event))]
    then, now = _wishes(found, texts=texts)
    for title, wishes in (("then it wanted", then), ("now it wants", now)):
        rows += [(title if first else "", wish) for first, wish in _marked(wishes)]
    for title, value in rows:
        click.echo(render.plain(f"  {title:<16}{value}"))


def _marked(wishes: Sequence[str]) -> list[tuple[bool, str]]:
    return [(index == 0, wish) for index, wish in enumerate(wishes or ["nothing"])]


def _fields(watch: _Watch, found: Difference | None, *, texts: bool) -> dict[str, object]:
    """Say it to a program; `step` counts from 1."""
    told: dict[str, object] = {
        "node": watch.reader.birth.node,
        "dmoa": watch.reader.release,
        "steps": watch.steps,
        "seconds": watch.seconds,
        "torn": watch.reader.torn,
        "same": found is None,
    }
    if found is not None:
        then, now = _wishes(found, texts=texts)
        told["difference"] = {
            "step": found.index + 1,
            "seconds": found.then.now - watch.reader.birth.now,
            "event": _event(found.then.event),
            "then": then,
            "now": now,
        }
    return told


def _event(event: Event) -> str:
    """Name an event and whom or what it is about."""
    from dmoa.core.events import Abandoned, Asked, Offended, Received, Woke

    name = type(event).__name__
    match event:
        case Asked() | Abandoned():
            return f"{name} {event.query}"
        case Received():
            return f"{name} {_subject(event.message)} from {event.sender}"
        case Offended():
            return f"{name} {event.peer}: {event.offence}"
        case Woke():
            return name
        case _:
            return f"{name} {event.job}"


def _subject(what: Any) -> str:
    """Name a message or an effect by its kind, and the peer, job or query in it."""
    words = [getattr(what, "kind", type(what).__name__)]
    for name in ("query", "job", "visit"):
        value = getattr(what, name, None)
        if value is not None:
            words.append(str(getattr(value, "id", getattr(value, "job", value))))
    return " ".join(words)


def _wishes(found: Difference, *, texts: bool) -> tuple[list[str], list[str]]:
    """Tell what was and is wanted: the effects without those at both ends that are the same."""
    one, other = [*found.then.effects], [*found.now.effects]
    for end in (0, -1):
        while one and other and one[end] == other[end]:
            del one[end], other[end]
    return (
        _side(found.then, one, other, texts=texts),
        _side(found.now, other, one, texts=texts),
    )


def _side(
    record: Record, wishes: Sequence[Effect], others: Sequence[Effect], *, texts: bool
) -> list[str]:
    """List effects in words; of the first, what it has unlike its counterpart."""
    if record.raised:
        name = record.raised.partition(":")[0]
        return [f"it broke off: {record.raised[:_LETTERS] if texts else name}"]
    lines = [_wish(wish) for wish in wishes[:_SHOWN]]
    if lines and others and type(wishes[0]) is type(others[0]):
        unlike = _unlike(wishes[0], others[0], texts=texts)
        lines[0] += f": {', '.join(unlike)}" if unlike else ""
    if len(wishes) > _SHOWN:
        lines.append(f"and {len(wishes) - _SHOWN} more")
    return lines


def _wish(wish: Effect) -> str:
    from dmoa.core.effects import Send

    if isinstance(wish, Send):
        return f"Send {_subject(wish.message)} to {wish.to}"
    return _subject(wish)


def _unlike(one: Any, other: Any, *, texts: bool, path: str = "") -> list[str]:
    """List the fields in which `one` is unlike `other`, with its values."""
    from dataclasses import fields, is_dataclass

    if is_dataclass(one) and type(one) is type(other):
        found: list[str] = []
        for each in fields(one):
            mine, theirs = getattr(one, each.name), getattr(other, each.name)
            if mine != theirs:
                deeper = f"{path}.{each.name}" if path else each.name
                found += _unlike(mine, theirs, texts=texts, path=deeper)
        return found[:_FIELDS]
    return [f"{path} {_value(path, one, texts=texts)}"]


_PLAIN = {"job", "id", "query", "node", "home", "to", "role", "outcome", "source", "code", "kind"}
"""Fields whose words are none of users or models."""


def _value(path: str, value: Any, *, texts: bool) -> str:
    """Write a value; a text by its length, unless it is a name or texts are wanted."""
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)
    if texts:
        return repr(value)[:_LETTERS]
    if isinstance(value, str):
        named = path.rpartition(".")[2] in _PLAIN
        return value if named else f"({len(value)} characters)"
    if isinstance(value, tuple):
        return f"({len(cast('tuple[object, ...]', value))} items)"
    return type(value).__name__
