"""The archive: threads of their own, one disk for many, and what becomes of faults."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store_room import question

from dmoa.errors import ConfigError, OverloadedError, ResponseNotFoundError, StoreError
from dmoa.store import archive as module
from dmoa.store.archive import Archive, default_file

pytestmark = pytest.mark.real

WRITER = """
import asyncio, secrets, sys
from pathlib import Path
from dmoa.store.archive import Archive
from dmoa.store.kept import New

async def write(archive):
    while True:
        kept = await archive.accept(New("resp_" + secrets.token_hex(16), "", "{}", "x" * 2000,
            work="w", background=True))
        print("accepted", kept.id, flush=True)
        taken = (await archive.claim()).taken
        if taken is not None and await archive.end(taken, "completed", taken.id):
            print("ended", taken.id, flush=True)

async def main():
    archive = Archive(Path(sys.argv[1]))
    await asyncio.gather(*(write(archive) for _ in range(8)))

asyncio.run(main())
"""


async def test_writers_that_come_together_share_the_disk(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "store.db")
    begins = []
    archive._table._sql.set_trace_callback(
        lambda sql: begins.append(sql) if sql.startswith("BEGIN") else None
    )
    kept = await asyncio.gather(*(archive.accept(question()) for _ in range(200)))
    assert len({each.number for each in kept}) == 200
    assert len(begins) < 100
    assert len(await archive.listed("", 500)) == 200
    await archive.close()


async def test_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "store.db")
    kept = await archive.accept(question())
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # and the writer waits
    writing = asyncio.ensure_future(archive.accept(question()))
    assert (await asyncio.wait_for(archive.get(kept.id, ""), 2.0)).id == kept.id
    assert not writing.done()
    other.execute("COMMIT")
    other.close()
    await asyncio.wait_for(writing, 10.0)
    await archive.close()


async def test_an_error_is_its_callers_alone(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "store.db")
    results = await asyncio.gather(
        archive.accept(question()),
        archive.delete("resp_none", ""),
        archive.accept(question()),
        return_exceptions=True,
    )
    assert [isinstance(each, Exception) for each in results] == [False, True, False]
    assert isinstance(results[1], ResponseNotFoundError)
    await archive.close()


async def test_a_full_disk_is_said_and_passes(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "store.db")
    await archive.accept(question())
    await archive._write(lambda table: table._sql.execute("PRAGMA max_page_count = 1") and None)
    with pytest.raises(StoreError, match="full") as caught:
        await archive.accept(question(work="x" * 1_000_000))
    assert caught.value.status == 503
    await archive._write(lambda table: table._sql.execute("PRAGMA max_page_count = 9999") and None)
    await archive.accept(question(work="x" * 1_000_000))
    assert len(await archive.listed("", 10)) == 2
    await archive.close()


async def test_calls_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLS", 4)
    archive = Archive(tmp_path / "store.db")
    results = await asyncio.gather(
        *(archive.accept(question()) for _ in range(50)), return_exceptions=True
    )
    kept = [each for each in results if not isinstance(each, Exception)]
    refused = [each for each in results if isinstance(each, OverloadedError)]
    assert len(kept) + len(refused) == 50
    assert refused
    assert len(await archive.listed("", 100)) == len(kept)
    await archive.close()


async def test_a_caller_that_leaves_breaks_nothing(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "store.db")
    calls = [asyncio.ensure_future(archive.accept(question())) for _ in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in results) == 10
    assert (await archive.accept(question())).status == "queued"
    await archive.close()
    with pytest.raises(StoreError, match="closed"):
        await archive.get("resp_none", "")


async def test_one_process_has_a_file(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "store.db", node="n1")
    with pytest.raises(ConfigError, match="'n1'"):
        Archive(tmp_path / "store.db", node="n2")
    await archive.close()
    await Archive(tmp_path / "store.db", node="n2").close()


async def test_what_is_too_old_goes_while_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.05)
    now = [0.0]
    archive = Archive(tmp_path / "store.db", days=1.0, clock=lambda: now[0])
    await archive.keep(question(), "completed", "x")
    now[0] = 90_000.0
    ends = time.monotonic() + 10.0
    while await archive.listed("", 10):
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
    await archive.close()


def test_the_default_file_is_by_port() -> None:
    assert default_file(4747, {"XDG_STATE_HOME": "/x"}) == Path("/x/dmoa/responses-4747.db")
    assert default_file(1, {}) == Path("~/.local/state/dmoa/responses-1.db").expanduser()


@pytest.mark.parametrize("moment", [0.02, 0.07, 0.15, 0.3])
def test_what_was_said_to_be_kept_outlives_a_kill(tmp_path: Path, moment: float) -> None:
    """Killed in the middle of writing: nothing is lost, nothing is torn."""
    file = tmp_path / "store.db"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WRITER, str(file)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert writer.stdout is not None
    lines = [writer.stdout.readline()]
    time.sleep(moment)  # a random point of its writing, which is what is tried
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.read().splitlines()
    writer.stdout.close()
    writer.wait()
    told = [line.split() for line in lines if line.count(" ") == 1 and len(line.split()[1]) == 37]
    accepted = {name for what, name in told if what == "accepted"}
    ended = {name for what, name in told if what == "ended"}
    assert accepted

    async def look() -> None:
        archive = Archive(file)
        kept = {each.id: each for each in await archive.listed("", 100_000)}
        assert accepted <= kept.keys()
        assert {kept[name].status for name in ended} <= {"completed"}
        assert all(each.outcome == each.id for each in kept.values() if each.is_over)
        open_ones = {name for name, each in kept.items() if not each.is_over}
        claimed = set()
        while (taken := (await archive.claim()).taken) is not None:
            claimed.add(taken.id)
        assert claimed == open_ones
        await archive.close()

    asyncio.run(look())
    connection = sqlite3.connect(file)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
