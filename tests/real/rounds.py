"""Rounds of trouble on machines of our own, under load: nothing lost, everybody back.

    python tests/real/rounds.py --rounds 100 --seed 1

Each round cuts a cable and heals it, or kills a node and starts it again, or stops it and lets it
go on. After each half, every node must see exactly who can be seen, within `WITHIN` seconds.
Meanwhile each node is asked again and again, in the background; whatever it accepted must end in
one answer or one named failure, whatever happened to it.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from namespaces import Machine, found, lab, missing
from real_room import until

WITHIN = 10.0
"""Seconds in which all must see who is there, after each change."""
HOLD = 8.0
"""Seconds at most that who is cut off or stopped stays so once it is seen: links end after 5 s."""
ENDED = ("completed", "failed", "incomplete", "cancelled")
PAUSE = 0.5
"""Seconds between two questions to one node."""
NODE = ("--model", "fake:0.05", "--layers", "1", "--fanout", "2", "--default", "mixture")


@dataclass
class Account:
    """What was seen: seconds by kind of change, and how each accepted question ended."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    accepted: list[tuple[Machine, str]] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    def took(self, change: str, seconds: float) -> None:
        self.seconds.setdefault(change, []).append(seconds)

    def lines(self) -> Iterator[str]:
        for change, seconds in sorted(self.seconds.items()):
            middle = sorted(seconds)[len(seconds) // 2]
            yield f"{change}: {len(seconds)} times, {middle:.1f} s, at worst {max(seconds):.1f} s"
        yield f"{len(self.accepted)} questions accepted: " + ", ".join(
            f"{count} {end}" for end, count in self.ends.most_common()
        )


@contextmanager
def asked(machines: list[Machine], account: Account) -> Iterator[None]:
    """Ask all of them meanwhile."""
    stop = threading.Event()

    def ask(machine: Machine) -> None:
        body = {"model": "dmoa", "input": "What now?", "background": True}
        while not stop.wait(PAUSE):
            # Who is dead, stopped or full accepts nothing.
            with suppress(OSError, ValueError, http.client.HTTPException, KeyError):
                account.accepted.append(
                    (machine, machine.ask("POST", "/v1/responses", body, patience=2)[1]["id"])
                )

    askers = [threading.Thread(target=ask, args=(machine,)) for machine in machines]
    for asker in askers:
        asker.start()
    try:
        yield
    finally:
        stop.set()
        for asker in askers:
            asker.join()


def meet(machines: list[Machine], account: Account, change: str, away: Machine | None) -> None:
    """Wait until all see exactly who is there; whoever is `away` counts for nobody."""
    there = [machine for machine in machines if machine is not away]
    start = time.monotonic()
    for machine in there:
        others = [other.node for other in there if other is not machine]
        left = max(0.1, WITHIN - (time.monotonic() - start))
        what = f"{machine.node} sees {others} after {change}"
        try:
            until(partial(machine.sees, *others), within=left, what=what)
        except AssertionError as error:
            error.add_note(f"{away.node if away else 'nobody'} is away; seen: {views(there)}")
            raise
    account.took(change, time.monotonic() - start)


def views(machines: list[Machine]) -> dict[str, str]:
    """Tell whom each of them sees."""
    seen = dict[str, str]()
    for machine in machines:
        try:
            seen[machine.node] = " ".join(machine.peers())
        except (OSError, ValueError, http.client.HTTPException) as error:
            seen[machine.node] = repr(error)
    return seen


def trouble(
    kind: str, victim: Machine, machines: list[Machine], account: Account, hold: float
) -> None:
    """Do one round of a kind to one machine, which stays away `hold` seconds longer than seen."""
    if kind == "cut":
        victim.cut()
        meet(machines, account, "cut", victim)
        until(victim.sees, within=WITHIN, what=f"{victim.node} sees nobody")
        time.sleep(hold)
        victim.heal()
    elif kind == "kill":
        victim.kill()
        meet(machines, account, "kill", victim)
        victim.up(*NODE)  # takes a while
    else:
        victim.signal(signal.SIGSTOP)
        meet(machines, account, "stop", victim)
        time.sleep(hold)
        victim.signal(signal.SIGCONT)
    meet(machines, account, f"back after {kind}", None)


def end(account: Account) -> None:
    """Wait until each question has ended, and hold that it did so once."""
    for machine, identity in account.accepted:
        path = f"/v1/responses/{identity}"
        until(
            lambda machine=machine, path=path: machine.ask("GET", path)[1]["status"] in ENDED,
            what=f"{identity} of {machine.node} has ended",
        )
        status, response = machine.ask("GET", path)
        assert status == 200
        assert response == machine.ask("GET", path)[1]
        texts = [item for item in response["output"] if item["type"] == "message"]
        if response["status"] == "completed":
            assert len(texts) == 1, response
            account.ends["completed"] += 1
        else:
            assert response["error"]["code"], response
            account.ends[f"{response['status']}: {response['error']['code']}"] += 1


def rounds(
    machines: list[Machine],
    count: int,
    seed: int,
    account: Account,
    *,
    longest: float = HOLD,
) -> None:
    """Live through so many rounds, the kinds in equal parts and random order."""
    dice = random.Random(seed)
    kinds = [("cut", "kill", "stop")[number % 3] for number in range(count)]
    dice.shuffle(kinds)
    meet(machines, account, "start", None)
    with asked(machines, account):
        for number, kind in enumerate(kinds, 1):
            victim = dice.choice(machines)
            start = time.monotonic()
            trouble(kind, victim, machines, account, dice.uniform(0, longest))
            taken = time.monotonic() - start
            sys.stderr.write(f"{number}/{count} {kind} {victim.node}: {taken:.1f} s\n")
    end(account)


def main() -> int:
    """Run as many rounds as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    if reason := missing():
        sys.stderr.write(f"{reason}\n")
        return 1
    with lab(4) as machines:
        found(machines, *NODE)
        start = time.monotonic()
        account = Account()
        try:
            rounds(machines, wanted.rounds, wanted.seed, account)
        except AssertionError:
            for machine in machines:
                sys.stderr.write(f"the log of {machine.node}:\n{machine.log.read_text()[-2000:]}\n")
            raise
        finally:
            taken = f"{time.monotonic() - start:.0f} s"
            lines = [f"{wanted.rounds} rounds, seed {wanted.seed}, {taken}", *account.lines()]
            sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
