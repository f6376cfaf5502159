"""Machines of our own: network namespaces with a cable each to one switch, and nodes on them.

Needs root and `ip`; `missing` says what is not there. What it makes is named after this process
and taken down at the end.
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from real_room import PATIENT, clean_environment, until

T = TypeVar("T")

PORT = 4747
_NEW_NETWORK = 0x40000000


def ip(*words: str, inside: str = "") -> None:
    """Run `ip`, in a namespace where one is named."""
    command = ["ip", *(["-n", inside] if inside else []), *words]
    subprocess.run(command, check=True, capture_output=True, text=True)


def missing() -> str:
    """Say why there can be no namespaces here; empty where there can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    if shutil.which("ip") is None:
        return "network namespaces need `ip`"
    trial = f"dmoa-trial-{os.getpid()}"
    try:
        ip("netns", "add", trial)
        try:
            ip("link", "add", "trial", "type", "bridge", inside=trial)
        finally:
            ip("netns", "delete", trial)
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()}"
    return ""


class Machine:
    """One namespace, with a cable to the switch and one node.

    `peers` and whatever else asks its API does so from within, by threads that live there.
    """

    def __init__(self, number: int, lab: str, place: Path) -> None:
        self.node = f"n{number}"
        self.address = f"10.77.0.{number}"
        self.process: subprocess.Popen[bytes] | None = None
        self._space = f"{lab}-{number}"
        self._switch = f"{lab}-switch"
        self._cable = f"cable{number}"
        self._place = place / self.node
        self._place.mkdir()
        self.log = self._place / "log"
        self._build()
        self._inside = ThreadPoolExecutor(8, initializer=partial(_enter, self._space))

    def _build(self) -> None:
        ip("netns", "add", self._space)
        ip("link", "add", "eth0", "type", "veth", "peer", "name", self._cable, inside=self._space)
        ip("link", "set", self._cable, "netns", self._switch, inside=self._space)
        ip("link", "set", self._cable, "master", "switch", "up", inside=self._switch)
        ip("link", "set", "lo", "up", inside=self._space)
        ip("addr", "add", f"{self.address}/24", "dev", "eth0", inside=self._space)
        ip("link", "set", "eth0", "up", inside=self._space)
        ip("route", "add", "224.0.0.0/4", "dev", "eth0", inside=self._space)

    def cut(self) -> None:
        """Pull the cable out of the switch."""
        ip("link", "set", self._cable, "down", inside=self._switch)

    def heal(self) -> None:
        """Put the cable back."""
        ip("link", "set", self._cable, "up", inside=self._switch)

    # -- the node --------------------------------------------------------------------------

    def dmoa(self, *words: str) -> str:
        """Run a command here, and give what it writes."""
        done = subprocess.run(
            self._command(*words),
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout.strip()

    def up(self, *words: str) -> None:
        """Start the node, and wait until it can be asked."""
        assert self.process is None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command("up", "--port", str(PORT), *words),
                env=self._environment(),
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        process = self.process
        until(lambda: self.is_ready() or process.poll() is not None, what=f"{self.node} is ready")
        assert process.poll() is None, f"{self.node} ended:\n{self.log.read_text()[-2000:]}"

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the node without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENT)
            self.process = None

    def is_ready(self) -> bool:
        with suppress(OSError, ValueError, http.client.HTTPException):
            status, health = self.ask("GET", "/health")
            return status == 200 and health["status"] == "ok"
        return False

    def peers(self) -> list[str]:
        """Name whom the node sees; OSError where it does not answer."""
        return [peer["node"] for peer in self.ask("GET", "/v1/peers")[1]["peers"]]

    def sees(self, *nodes: str) -> bool:
        """Tell whether it sees these and no others."""
        with suppress(OSError, ValueError, http.client.HTTPException):
            return self.peers() == sorted(nodes)
        return False

    def ask(
        self, method: str, path: str, body: object = None, *, patience: float = 5.0
    ) -> tuple[int, Any]:
        """Ask its API; OSError or HTTPException where it does not answer."""
        return self.inside(partial(_ask, method, path, body, patience))

    def inside(self, function: Callable[[], T]) -> T:
        """Do something in a thread that is on this machine."""
        return self._inside.submit(function).result(PATIENT)

    def close(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        self._inside.shutdown()
        with suppress(subprocess.CalledProcessError):
            ip("netns", "delete", self._space)

    def _command(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self._space, sys.executable, "-m", "dmoa", *words]

    def _environment(self) -> dict[str, str]:
        homes = {
            f"XDG_{kind}_HOME": str(self._place / kind.lower())
            for kind in ("CONFIG", "DATA", "STATE")
        }
        return clean_environment() | homes


def _enter(space: str) -> None:
    """Move this thread, and no other, into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/run/netns/{space}").open() as file:
        if libc.setns(file.fileno(), _NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "setns")


def _ask(method: str, path: str, body: object, patience: float) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=patience)
    try:
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@contextmanager
def lab(count: int) -> Iterator[list[Machine]]:
    """Build so many machines at one switch, and take them down at the end."""
    name = f"dmoa{os.getpid()}"
    switch = f"{name}-switch"
    machines: list[Machine] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        ip("netns", "add", switch)
        try:
            ip("link", "add", "switch", "type", "bridge", "mcast_snooping", "0", inside=switch)
            ip("link", "set", "switch", "up", inside=switch)
            # One by one, so that those that are made are taken down, whatever the next does.
            machines.extend(Machine(number, name, Path(place)) for number in range(1, count + 1))
            yield machines
        finally:
            for machine in machines:
                machine.close()
            with suppress(subprocess.CalledProcessError):
                ip("netns", "delete", switch)


def found(machines: list[Machine], *words: str) -> None:
    """Make one realm of them by its commands, and start all; they meet by multicast alone."""
    first, *others = machines
    first.dmoa("realm", "create", "lab", "--node", first.node, "--host", first.address)
    first.up(*words)

    def joined(machine: Machine) -> None:
        line = first.dmoa("realm", "invite")
        machine.dmoa("realm", "join", line, "--node", machine.node, "--host", machine.address)
        machine.up(*words)

    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(joined, machine) for machine in others]:
            done.result()
