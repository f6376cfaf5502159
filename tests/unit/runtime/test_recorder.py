"""The writer of records: bounded, private, and never the node's trouble."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from random import Random
from threading import Event as Bell

import pytest

from dmoa.core.effects import Effect
from dmoa.core.events import Asked, Event, Woke
from dmoa.core.history import Birth, replay
from dmoa.core.job import Profile, Turn
from dmoa.core.limits import Limits, Timing
from dmoa.core.mixture import Mixture
from dmoa.core.names import NodeId, QueryId
from dmoa.core.policy import LIVE
from dmoa.errors import ConfigError
from dmoa.runtime.recorder import Recorder
from dmoa.runtime.records import Reader

BIRTH = Birth(NodeId("a"), Profile("toy"), 0.0, 1, Limits(), Timing(), LIVE, "", Mixture())


def live(recorder: Recorder, steps: int = 50) -> list[list[Effect]]:
    rng = Random(1)
    recorder.begin(BIRTH, rng)
    agent = BIRTH.agent(rng)
    return [recorder.handle(agent, Woke(), float(now)) for now in range(steps)]


def count(file: Path) -> int:
    """How many steps a file holds, of which each is repeated."""
    with Reader(file) as reader:
        records = list(reader.records())
        assert replay(records, reader.agent()) is None
    return len(records)


def warned(caplog: pytest.LogCaptureFixture) -> str:
    (message,) = caplog.messages
    return message


def test_a_life_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "life.jsonl"
    recorder = Recorder(file)
    assert all(live(recorder))
    recorder.close()
    recorder.close()
    assert file.stat().st_mode & 0o777 == 0o600
    assert count(file) == 50
    assert live(recorder), "another life goes on, and is not written"
    assert count(file) == 50


def test_an_empty_file_is_taken_and_made_private(tmp_path: Path) -> None:
    file = tmp_path / "life.jsonl"
    file.touch(0o644)
    Recorder(file).close()
    assert (file.stat().st_mode & 0o777, file.stat().st_size) == (0o600, 0)


def test_a_file_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for wrong, why in (
        (file, "is not empty"),
        (tmp_path, "is no ordinary file"),
        (tmp_path / "none" / "life", "cannot be written: No such file or directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            Recorder(wrong)
        assert caught.value.message == f"record: {wrong} {why}"
        assert caught.value.hint
    assert file.read_text() == "mine"


def test_the_limit_ends_the_record_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "life.jsonl"
    recorder = Recorder(file, size=20_000)
    assert len(live(recorder, 200)) == 200
    recorder.close()
    assert 18_000 < file.stat().st_size <= 20_000
    assert 1 <= count(file) < 200
    assert warned(caplog) == f"the record {file} ends here: it has reached its limit of bytes"


class Full(io.RawIOBase):
    """A disk with little room; it takes a part of what does not fit, and then no more."""

    def __init__(self, file: Path, room: int) -> None:
        self._file = file.open("ab", buffering=0)
        self._room = room

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._file.write(data[: self._room])
        self._room -= taken
        return taken

    def close(self) -> None:
        self._file.close()
        super().close()


def test_a_full_disk_ends_the_record_and_not_the_node(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "life.jsonl"
    recorder = Recorder(file, opened=lambda path: Full(path, 20_001))
    assert len(live(recorder)) == 50
    recorder.close()
    assert file.stat().st_size == 20_001
    assert 1 <= count(file) < 50
    assert warned(caplog) == f"the record {file} ends here: No space left on device"


def test_a_file_that_is_taken_away_ends_the_record(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    recorder = Recorder(folder / "life.jsonl")
    (folder / "life.jsonl").unlink()
    folder.rmdir()
    assert len(live(recorder)) == 50
    recorder.close()
    assert warned(caplog).endswith("ends here: No such file or directory")


def test_two_nodes_do_not_write_to_one_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "life.jsonl"
    one, other = Recorder(file), Recorder(file)
    live(one)
    one.close()
    live(other)
    other.close()
    assert count(file) == 50
    assert warned(caplog) == f"the record {file} ends here: another node writes to it"


def test_a_slow_disk_ends_the_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bell = Bell()

    def slow(path: Path) -> Full:
        bell.wait()
        return Full(path, 10**9)

    file = tmp_path / "life.jsonl"
    recorder = Recorder(file, held=20_000, opened=slow)
    assert len(live(recorder, 200)) == 200
    assert warned(caplog).endswith("ends here: the disk is too slow for it")
    bell.set()
    recorder.close()
    assert 1 <= count(file) < 200


def test_what_has_no_line_ends_the_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Deaf:
        def handle(self, event: Event, now: float) -> list[Effect]:
            del event, now
            return []

    file = tmp_path / "life.jsonl"
    recorder = Recorder(file)
    live(recorder, 3)
    odd = Asked(QueryId("q"), (Turn("user", object()),), Mixture())
    assert recorder.handle(Deaf(), odd, 9.0) == []
    recorder.close()
    assert count(file) == 3
    assert "ends here: a step cannot be written down: TypeError" in warned(caplog)


def test_an_error_of_the_agent_is_written_and_goes_on(tmp_path: Path) -> None:
    class Broken:
        def handle(self, event: Event, now: float) -> list[Effect]:
            raise AssertionError(f"{event} at {now}")

    file = tmp_path / "life.jsonl"
    recorder = Recorder(file)
    live(recorder, 3)
    with pytest.raises(AssertionError, match="Woke"):
        recorder.handle(Broken(), Woke(), 9.0)
    recorder.close()
    with Reader(file) as reader:
        last = list(reader.records())[-1]
    assert (last.now, last.effects, last.raised) == (9.0, (), "AssertionError: Woke() at 9.0")
