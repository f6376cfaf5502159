"""The record of a node's agent as lines of JSON: written, and read back to be lived again.

```text
line 1      {"record": 1, "dmoa": RELEASE, "birth": {...}, "dice": [...]}
any other   {"now": SECONDS, "event": [NAME, {...}], "effects": [[NAME, {...}], ...]}
```

`birth` is all that the agent was made with, `dice` the state of its random numbers at that
moment. Names are those of the core's classes. A step that broke off has `raised` as well.
Numbers come back to the last bit, infinite ones too.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, BinaryIO, Self, cast, get_args

import msgspec

from dmoa.core.agent import Agent
from dmoa.core.effects import Effect, Send
from dmoa.core.events import Event, Received
from dmoa.core.history import Birth, Record
from dmoa.core.messages import Message
from dmoa.core.names import NodeId
from dmoa.errors import UsageError

FORMAT = 1
"""Of the lines; another one is not read."""
LINE_BYTES = 128 * 1024 * 1024
"""Longest line: a job of the largest size comes in, and goes to the model, escaped."""

Dice = tuple[int, tuple[int, ...], float | None]
"""The state of `random.Random`."""

_MESSAGES: dict[str, type[Any]] = {
    each.default: kind
    for kind in get_args(Message)
    for each in fields(kind)
    if each.name == "kind" and isinstance(each.default, str)
}
_EVENTS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}
_EFFECTS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Effect)}


def head_line(birth: Birth, rng: Random) -> bytes:
    """Write the line that opens a record: how to make the agent, with dice as they lie now."""
    return _line(
        {
            "record": FORMAT,
            "dmoa": version("dmoa"),
            "birth": msgspec.to_builtins(birth),
            "dice": rng.getstate(),
        }
    )


def step_line(record: Record) -> bytes:
    """Write one step; TypeError or ValueError where it holds what the core has no type for."""
    step: dict[str, object] = {
        "now": record.now,
        "event": _named(record.event),
        "effects": [_named(effect) for effect in record.effects],
    }
    if record.raised:
        step["raised"] = record.raised
    return _line(step)


class Reader:
    """A record that is read step by step, within a `with`; of each line only one is in memory.

    `birth`, `dice` and `release` are known from the start, `torn` once all was read: whether
    the last line was cut off. `read` counts the bytes so far, of `size`. UsageError where the
    file is no record, or one of another version.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.torn = False
        self.read = 0
        try:
            self._open: BinaryIO = file.open("rb")
            self.size = file.stat().st_size
        except OSError as error:
            raise UsageError(f"{file} cannot be read: {error.strerror or error}") from None
        try:
            self.birth, self.dice, self.release = self._head()
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._open.close()

    def agent(self) -> Agent:
        """Make a fresh agent, exactly as the recorded one was at its birth."""
        rng = Random()
        rng.setstate(self.dice)
        return self.birth.agent(rng)

    def records(self) -> Generator[Record, None, None]:
        """Read the steps, in their order, once."""
        number = 1
        while line := self._next():
            number += 1
            if not line.endswith(b"\n") and len(line) < LINE_BYTES:
                self.torn = True
                return
            try:
                yield _record(json.loads(line))
            except (ValueError, TypeError, LookupError, RecursionError, UsageError):
                raise UsageError(
                    f"{self.file}, line {number}: is no step of a record",
                    hint="the file was changed, or holds more than one record",
                ) from None

    def _next(self) -> bytes:
        line = self._open.readline(LINE_BYTES)
        self.read += len(line)
        return line

    def _head(self) -> tuple[Birth, Dice, str]:
        line = self._next()
        if not line:
            raise UsageError(
                f"{self.file} is empty", hint="a node writes to it once its model is loaded"
            )
        head: dict[str, Any] = {}
        try:
            found: object = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            head = cast("dict[str, Any]", found)
        if not {"record", "dmoa"} <= head.keys() or not isinstance(head["dmoa"], str):
            raise self._foreign()
        if head["record"] != FORMAT:
            raise UsageError(
                f"{self.file} was written by dmoa {head['dmoa'][:40]} in format "
                f"{str(head['record'])[:40]}, and this one reads format {FORMAT}",
                hint="replay it with the release that wrote it",
            )
        try:
            birth = msgspec.convert(head["birth"], Birth)
            dice = msgspec.convert(head["dice"], Dice)
            Random().setstate(dice)
        except (ValueError, TypeError, LookupError, UsageError):
            raise self._foreign() from None
        return birth, dice, head["dmoa"]

    def _foreign(self) -> UsageError:
        return UsageError(
            f"{self.file} is no record of a node", hint="`dmoa up --record FILE` writes one"
        )


def _line(what: dict[str, object]) -> bytes:
    """Write an object; Python's reader knows what it writes for numbers without an end."""
    return json.dumps(what, separators=(",", ":")).encode() + b"\n"


def _named(what: Event | Effect) -> tuple[str, object]:
    return type(what).__name__, msgspec.to_builtins(what)


def _record(step: dict[str, Any]) -> Record:
    effects = tuple(_of(_EFFECTS, each) for each in step["effects"])
    raised = msgspec.convert(step.get("raised", ""), str)
    now = msgspec.convert(step["now"], float)
    return Record(now, _of(_EVENTS, step["event"]), effects, raised)


def _of(kinds: dict[str, type[Any]], named: list[Any]) -> Any:
    """Make an event or an effect of its name and its fields."""
    kind = kinds[named[0]]
    values: dict[str, Any] = named[1]
    if kind not in (Received, Send):
        return msgspec.convert(values, kind)
    message: dict[str, Any] = values["message"]
    said = msgspec.convert(message, _MESSAGES[message["kind"]])
    peer = NodeId(msgspec.convert(values["sender" if kind is Received else "to"], str))
    return kind(peer, said)
