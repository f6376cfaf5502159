"""The file of the store: whose it is, who may read it, and what is refused."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest
from store_room import question, table

from dmoa.errors import ConfigError, StoreError
from dmoa.store.file import Lock, open_file


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "store.db"
    lock = Lock(file, "n1")
    store = table(file)
    store.alone(lambda t: t.accept(question(), 1.0))
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in file.parent.iterdir()}
    assert set(modes) == {"store.db", "store.db-wal", "store.db-shm", "store.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    store.close()
    lock.close()


def test_a_file_that_others_could_read_is_closed_to_them(file: Path) -> None:
    open_file(file).close()
    file.chmod(0o644)
    open_file(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_second_node_is_told_of_the_first(file: Path) -> None:
    lock = Lock(file, "n1")
    with pytest.raises(ConfigError, match="the node 'n1' keeps its responses there") as caught:
        Lock(file, "n2")
    assert caught.value.hint
    lock.close()
    Lock(file, "n2").close()


def test_what_is_kept_is_on_the_disk_at_once(file: Path) -> None:
    connection = open_file(file)
    pragmas = ("journal_mode", "synchronous", "auto_vacuum", "secure_delete")
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert found == ["wal", 2, 2, 1]
    connection.close()


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"not a database at all, but long enough to be looked at" * 20, StoreError, "is damaged"),
        (b"SQLite format 3\0" + b"\1" * 5000, StoreError, "is damaged"),
    ],
)
def test_a_damaged_file_is_refused_and_left_alone(
    file: Path, content: bytes, error: type[Exception], message: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        open_file(file)
    assert "move it away" in str(caught.value.hint)  # type: ignore[attr-defined]
    assert file.read_bytes() == content


def test_a_torn_page_is_found_at_the_start(file: Path) -> None:
    store = table(file)
    for _ in range(50):
        store.alone(lambda t: t.keep(question(), "completed", "x" * 3000, 1.0))
    store.close()
    content = bytearray(file.read_bytes())
    for page in range(5, len(content) // 4096):
        content[4096 * page : 4096 * page + 200] = b"\xff" * 200
    file.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        open_file(file)


def test_files_of_others_are_refused(file: Path, tmp_path: Path) -> None:
    other = sqlite3.connect(file)
    other.execute("CREATE TABLE things (thing)")
    other.commit()
    with pytest.raises(ConfigError, match="is no store of dmoa"):
        open_file(file)
    other.execute("DROP TABLE things")
    other.close()
    newer = tmp_path / "newer.db"
    connection = open_file(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="has format 99"):
        open_file(newer)
    with pytest.raises(ConfigError, match="cannot be"):
        open_file(tmp_path)
    beside = tmp_path / "file"
    beside.write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        Lock(beside / "store.db", "n1")
