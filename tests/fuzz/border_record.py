"""The record of a node: steps, or one line that says what is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

from dmoa.core.digest import Digest
from dmoa.core.effects import Announce
from dmoa.core.events import Received, Woke
from dmoa.core.history import Birth, Record
from dmoa.core.job import Profile
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId
from dmoa.core.policy import LIVE
from dmoa.errors import UsageError
from dmoa.runtime import records

from .border_codec import MESSAGES
from .border_config import known

PLACE = tempfile.TemporaryDirectory()
FILE = Path(PLACE.name, "life.jsonl")
HEAD = records.head_line(
    Birth(NodeId("a"), Profile("m"), 0.0, 1, Limits(), Timing(), LIVE, "", Mixture()), Random(1)
)


def seeds() -> list[bytes]:
    """Write steps; the head is put before them, for it is mostly dice, and longer than inputs."""
    digest = Digest(NodeId("a"), 1, 1, "m", 1)
    steps = [Record(1.0, Woke(), (Announce(digest),))]
    steps += [Record(2.0, Received(NodeId("b"), each), ()) for each in MESSAGES if each.kind != "p"]
    lines = [b"s" + records.step_line(step) for step in steps]
    return [*lines, b"s" + b"".join(line[1:] for line in lines), b"h" + HEAD[:600], b"h{}"]


def cross(data: bytes) -> None:
    """Read steps behind a sound head, or a file that begins otherwise."""
    FILE.write_bytes(HEAD + data[1:] if data[:1] == b"s" else data[1:])
    try:
        with records.Reader(FILE) as reader:
            reader.agent()
            for record in reader.records():
                records.step_line(record)
    except UsageError as error:
        known(error)
