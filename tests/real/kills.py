"""Kill a home again and again under a load of background questions; nothing may be lost.

    python -m tests.real.kills --count 200 [--seed 1]

A home with a peer is asked in the background without pause, killed (SIGKILL) at random moments of
its starting and its working, and started again on the same file. In the end every question that it
accepted must be completed, once, with its own answer; none that was once seen as ended may differ
later; and SQLite must find its file whole.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2

sys.path.insert(0, str(Path(__file__).parent))

from real_room import NodeProcess, until

from dmoa.cli.fleet import free_ports

OPEN = ("queued", "in_progress")
WAITING = 40
"""Questions that wait at most, so that the last of them are answered soon."""
STARTING = 0.2
"""The share of kills that come while the node starts."""
STARTS_WITHIN, WORKS_WITHIN = 1.5, 1.2
"""Seconds after its start, and after it is ready, within which it is killed."""


@dataclass
class Account:
    """What was accepted, and what was seen of it: by id, the question and the first end."""

    accepted: dict[str, str] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    kills: int = 0
    unheard: int = 0
    attempts: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        again = sum(count for tries, count in self.attempts.items() if tries > 1)
        return (
            f"{self.kills} kills in {self.seconds:.0f} s: {len(self.accepted)} accepted questions "
            f"and {self.unheard} more whose acceptance nobody heard, all completed once; {again} "
            f"were begun anew, at most {max(self.attempts, default=0)} times; the file is whole"
        )


class Asker:
    """Asks in the background whatever becomes of the node, and looks at what it accepted."""

    def __init__(self, url: str, account: Account, seed: int) -> None:
        self._url = url
        self._account = account
        self._dice = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asker")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            # A node that was killed takes its connections along.
            with (
                suppress(httpx2.HTTPError),
                httpx2.Client(base_url=self._url, timeout=5.0, trust_env=False) as http,
            ):
                while not self._stop.is_set():
                    number += 1
                    self._ask(http, number)
            self._stop.wait(0.02)

    def _ask(self, http: httpx2.Client, number: int) -> None:
        account = self._account
        waiting = [name for name in account.accepted if name not in account.seen]
        if len(waiting) < WAITING:
            question = f"question {number}"
            body = {"input": question, "background": True}
            answer = http.post("/v1/responses", json=body)
            if answer.status_code == 200:
                account.accepted[answer.json()["id"]] = question
        for identity in self._dice.sample(waiting, min(3, len(waiting))):
            found = http.get(f"/v1/responses/{identity}").json()
            if found["status"] not in OPEN:
                account.seen[identity] = found
        self._stop.wait(self._dice.uniform(0.0, 0.03))


def run(count: int, seed: int = 1, *, tell: Any = None) -> Account:
    """Kill a home so many times; AssertionError for whatever is not as it must be."""
    dice, account = random.Random(seed), Account()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        port, first, second = free_ports(3)
        settings = folder / "home.toml"
        store = folder / "responses.db"
        settings.write_text(f'store = "{store}"\n', encoding="utf-8")
        meeting = ["--realm", f"kills-{first}", "--model", "fake:0.03"]
        meeting += ["--layers", "1", "--fanout", "1", "--default", "mixture"]
        ends = (f"tcp/127.0.0.1:{first}", f"tcp/127.0.0.1:{second}")
        peer = NodeProcess(
            "n2", *meeting, "--listen", ends[1], "--connect", ends[0], log=folder / "n2.log"
        )
        home = NodeProcess(
            "n1", *meeting, "--listen", ends[0], "--connect", ends[1], "--port", str(port),
            "--config", str(settings), log=folder / "n1.log",
        )  # fmt: skip
        try:
            peer.ready()
            with Asker(f"http://127.0.0.1:{port}", account, seed):
                for _ in range(count):
                    _live(home, dice)
                    account.kills += 1
                    home._start()
                    if tell is not None:
                        tell(account)
            home.ready()
            _settle(home, account)
            _account_for(home, account)
            home.process.terminate()
            assert home.finish() == 0
        finally:
            for node in (home, peer):
                node.process.kill()
                node.finish()
        _look_at(store, account)
        assert "Traceback" not in (folder / "n1.log").read_text()
    account.seconds = time.monotonic() - began
    return account


def _live(home: NodeProcess, dice: random.Random) -> None:
    """Let the home live for a random while, and kill it."""
    if dice.random() < STARTING:
        time.sleep(dice.uniform(0.0, STARTS_WITHIN))  # the moment is what is tried
    else:
        home.ready()
        time.sleep(dice.uniform(0.0, WORKS_WITHIN))
    home.kill()


def _settle(home: NodeProcess, account: Account) -> None:
    """Wait until all has ended."""
    with home.http() as http:

        def over() -> bool:
            for identity in [name for name in account.accepted if name not in account.seen]:
                found = http.get(f"/v1/responses/{identity}")
                assert found.status_code == 200, f"{identity} is lost: {found.text}"
                if found.json()["status"] in OPEN:
                    return False
                account.seen[identity] = found.json()
            listed = http.get("/v1/dmoa/responses?limit=100").json()["data"]
            return not any(each["status"] in OPEN for each in listed)

        until(over, what="all that was accepted has ended")


def _account_for(home: NodeProcess, account: Account) -> None:
    """Hold every accepted question to its one end."""
    with home.http() as http:
        for identity, question in account.accepted.items():
            found = http.get(f"/v1/responses/{identity}").json()
            assert found == account.seen[identity], f"{identity} ended twice"
            assert found["status"] == "completed", f"{identity}: {found['error']}"
            text = found["output"][0]["content"][0]["text"]
            assert text == f"fake heard: {question}", f"{identity} has the answer of another"


def _look_at(store: Path, account: Account) -> None:
    """Look at the file itself."""
    file = sqlite3.connect(store)
    assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = file.execute("SELECT id, status, attempts, outcome FROM responses").fetchall()
    file.close()
    kept = {row[0] for row in rows}
    assert len(kept) == len(rows)
    assert account.accepted.keys() <= kept
    assert {row[1] for row in rows} <= {"completed"}
    assert all(json.loads(row[3])["output"] for row in rows)
    account.unheard = len(kept - account.accepted.keys())
    account.attempts.update(row[2] for row in rows)


def main() -> None:
    """Run it by hand."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=200)
    words.add_argument("--seed", type=int, default=1)
    told = words.parse_args()

    def tell(account: Account) -> None:
        if account.kills % 10 == 0:
            print(f"{account.kills} kills, {len(account.accepted)} accepted", file=sys.stderr)  # noqa: T201

    print(run(told.count, told.seed, tell=tell))  # noqa: T201


if __name__ == "__main__":
    main()
