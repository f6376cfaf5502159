"""The file of a load test: written as things happen, gone on with, never mistaken for another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from load_room import crew_of, node_sample, query

from dmoa.errors import UsageError
from dmoa.study.load.records import FileLog, Log, Sample

SETTINGS = {"seed": 1, "rate": [0.5, 0.5]}


def filled(file: Path) -> None:
    with FileLog(file, SETTINGS) as log:
        log.begin((0.5, 0.5))
        log.meet(crew_of("n1", "n2"))
        for number in range(3):
            log.send(number)
        log.query(query(0, due=0.5))
        log.query(query(1, due=1.5, status="refused"))
        log.sample(Sample(2.0, 0, (node_sample(), None)))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    filled(file)
    with FileLog(file, SETTINGS) as log:
        assert log.rates == (0.5, 0.5)
        assert log.crew == crew_of("n1", "n2")
        assert log.queries == {0: query(0, due=0.5), 1: query(1, due=1.5, status="refused")}
        assert log.samples == [Sample(2.0, 0, (node_sample(), None))]
        assert (log.asked, log.left, log.leg, log.torn) == (3, 2.0, 1, False)


def test_a_new_log_has_nothing() -> None:
    log = Log()
    assert (log.asked, log.left, log.leg, log.rates) == (0, 0.0, 0, None)


def test_no_line_holds_a_text(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    filled(file)
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    (row,) = [each for each in rows if each["kind"] == "query" and each["number"] == 1]
    texts = {key for key, value in row.items() if isinstance(value, str)}
    assert texts == {"dmoa", "kind", "status", "detail"}


def test_a_torn_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    filled(file)
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"dmoa": "0.1.0", "kind": "que')
    with FileLog(file, SETTINGS) as log:
        assert log.torn
        assert len(log.queries) == 2
        log.send(3)
    lines = file.read_bytes()
    assert lines.startswith(whole)
    assert json.loads(lines[len(whole) :])["number"] == 3


def test_a_first_line_that_is_torn_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(b'{"dmoa": "0.1')
    with FileLog(file, SETTINGS) as log:
        assert log.rates is None
        log.begin((1.0, 2.0))
    with FileLog(file, SETTINGS) as log:
        assert log.rates == (1.0, 2.0)


def test_other_settings_are_refused_by_their_name(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    filled(file)
    with (
        pytest.raises(UsageError, match=r"with other settings: seed$"),
        FileLog(file, SETTINGS | {"seed": 2}),
    ):
        pass


def test_other_nodes_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    filled(file)
    with FileLog(file, SETTINGS) as log:
        with pytest.raises(UsageError, match=r"n2 \(paper\), n1 \(paper\)"):
            log.meet(crew_of("n2", "n1"))
        log.meet(crew_of("n1", "n2"))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hello", "line 1: is no run of dmoa"),
        ('{"dmoa": "0.1.0", "format": 1, "key": "x"}', "line 1: is no run of dmoa"),
        ('{"dmoa": "9", "format": 99, "kind": "test"}', "written by dmoa 9"),
        ('{"dmoa": "0.1.0", "format": 1, "kind": "sent", "number": 0}', "stands where it cannot"),
    ],
)
def test_the_file_of_something_else_is_refused(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(line + "\n", "utf-8")
    with pytest.raises(UsageError, match=words), FileLog(file, SETTINGS):
        pass
    assert file.read_text("utf-8") == line + "\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"refused"', "7"),
        ('"number": 1', '"number": "one"'),
        ('"kind": "query"', '"kind": "quest"'),
    ],
)
def test_a_changed_line_is_refused(tmp_path: Path, old: str, new: str) -> None:
    file = tmp_path / "run.jsonl"
    filled(file)
    rows = file.read_text("utf-8").splitlines()
    place = next(at for at, row in enumerate(rows) if '"status": "refused"' in row)
    assert old in rows[place]
    rows[place] = rows[place].replace(old, new)
    file.write_text("\n".join(rows) + "\n", "utf-8")
    with pytest.raises(UsageError, match=f"line {place + 1}: was changed"), FileLog(file, SETTINGS):
        pass


def test_two_tests_do_not_write_to_one_file(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    with (
        FileLog(file, SETTINGS),
        pytest.raises(UsageError, match="is being written by another"),
        FileLog(file, SETTINGS),
    ):
        pass


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"), FileLog(tmp_path / "no" / "x", {}):
        pass
