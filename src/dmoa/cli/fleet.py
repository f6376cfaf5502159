"""Some nodes as processes of their own on this machine, none of which is left behind."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from dmoa.cli.client import Client
from dmoa.errors import BackendUnavailableError, NetworkError, PeerSilentError
from dmoa.study.evals.members import DECIDED, as_toml

READY_SECONDS = 300.0
"""For a node to load its model; large files on slow disks take their time."""
MEET_SECONDS = 60.0
"""For the nodes to see each other."""
STOP_SECONDS = 5.0
"""From asking a node to stop to making it."""

PROGRAM = (sys.executable, "-m", "dmoa")
"""What runs one node."""

_POLL_SECONDS = 0.05
_LAST_WORDS = 20
"""Lines of a dead node's log that are shown."""
_PORTS = range(20_000, 32_768)
"""For nodes to listen at: below those that systems usually hand out by themselves. One of
those, free now, could be given to the API of another node before its own node is up."""
_DECIDED = (
    "--config",
    "--node",
    "--realm",
    "--port",
    "--model",
    "--listen",
    "--connect",
    "--json",
    "--stop-on-eof",
)
"""What the fleet itself says to a node, and nobody else may."""
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@dataclass(slots=True)
class Member:
    """One node of the fleet; `url` and `model` are known once it is ready."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    log: Path
    url: str = ""
    model: str = ""
    listen: tuple[str, ...] = ()


class Fleet:
    """Starts nodes that know each other, and stops them however its block is left.

    There is a node for each of `models`; what is particular to one stands in the URI of
    its model, or in its `settings`, keys of a node's file and what they are set to. `names`
    are n1, n2 and so on unless given. `options` are further arguments of `dmoa up`, the same
    for all nodes, such as `("--mode", "paper")`; they win over settings. Settings in the
    caller's environment reach no node.

    If `keep`, nodes outlive a block that ends without an exception. The others hold
    the reading end of a pipe: when this process dies, whatever way, they see its end.
    """

    def __init__(
        self,
        models: Sequence[str],
        *,
        keep: bool = False,
        options: Sequence[str] = (),
        settings: Sequence[Mapping[str, Any]] = (),
        names: Sequence[str] = (),
    ) -> None:
        assert not isinstance(options, str), "options are words, one by one"
        taken = [word for word in options if word.partition("=")[0] in _DECIDED]
        taken += [key for each in settings for key in DECIDED if key in each]
        assert not taken, f"the fleet itself decides {taken[0]}"
        assert len(settings) in (0, len(models)), "settings are given for every node"
        assert len(names) in (0, len(models)), "every node is named"
        self.members: list[Member] = []
        self.realm = f"demo-{os.getpid()}"
        self._models = models
        self._options = tuple(options)
        self._settings = tuple(settings)
        self._names = tuple(names) or tuple(f"n{i + 1}" for i in range(len(models)))
        self._keep = keep
        self._place = Path(tempfile.mkdtemp(prefix="dmoa-"))
        self._lifeline = os.pipe()
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        """Start all nodes; from now on the usual signals end the block."""
        for number in _ENDING:
            self._handlers[number] = signal.signal(number, _leave)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all nodes, unless they are kept."""
        if self._keep and kind is None:
            self._let_go()
            self._restore()
        else:
            self._stop()

    def wait_ready(self, told: Callable[[Member], None]) -> None:
        """Wait until every node serves its API; BackendUnavailableError if one does not."""
        ends = time.monotonic() + READY_SECONDS
        waiting = list(self.members)
        while waiting:
            self.check()
            for member in [each for each in waiting if _has_told(each)]:
                waiting.remove(member)
                told(member)
            if waiting and time.monotonic() > ends:
                raise self._lament(waiting[0], f"was not ready after {READY_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS if waiting else 0)

    def wait_met(self) -> None:
        """Wait until every node sees all the others; PeerSilentError if one does not."""
        ends = time.monotonic() + MEET_SECONDS
        others = len(self.members) - 1
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(member.url)) for member in self.members]
            while lonely := _first_lonely(clients, others):
                self.check()
                if time.monotonic() > ends:
                    place, seen = lonely
                    raise PeerSilentError(
                        f"the nodes did not all meet within {MEET_SECONDS:.0f} s",
                        hint="a firewall that closes loopback ports would do this; "
                        f"{self.members[place].name} sees {seen} of {others} others",
                    )
                time.sleep(_POLL_SECONDS)

    def memory(self) -> list[int]:
        """Tell the peak memory of each node (resident bytes).

        It is 0 for a node that has ended, and where the system does not tell.
        """
        return [_peak_memory(member.process) for member in self.members]

    def check(self) -> None:
        """See that all nodes still run."""
        for member in self.members:
            if (code := member.process.poll()) is not None:
                raise self._lament(member, f"ended with exit code {code}")

    def _start(self) -> None:
        ports = free_ports(len(self._models))
        for i, model in enumerate(self._models):
            name = self._names[i]
            command = [*PROGRAM, "up", "--json", "--config", self._file(i)]
            command += ["--node", name, "--realm", self.realm, "--port", "0"]
            command += ["--model", model or "smollm2"]
            command += ["--listen", f"tcp/127.0.0.1:{ports[i]}"]
            for port in ports[:i] + ports[i + 1 :]:
                command += ["--connect", f"tcp/127.0.0.1:{port}"]
            command += self._options
            self._launch(name, command if self._keep else [*command, "--stop-on-eof"])

    def _file(self, i: int) -> str:
        """Write the settings of a node to a file of its own; name an empty one without any."""
        if not self._settings or not self._settings[i]:
            return os.devnull
        file = self._place / f"{self._names[i]}.toml"
        file.write_text(as_toml(self._settings[i]), encoding="utf-8")
        return str(file)

    def _launch(self, name: str, command: list[str]) -> None:
        out, log = self._place / f"{name}.out", self._place / f"{name}.log"
        with out.open("wb") as stdout, log.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL if self._keep else self._lifeline[0],
                stdout=stdout,
                stderr=stderr,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us, and we stop them
            )
            self.members.append(Member(name, process, out, log))

    def _stop(self) -> None:
        """Ask all to stop, then make them; bounded, and not to be disturbed."""
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)
        self._let_go()
        for member in self.members:
            with suppress(OSError):
                member.process.terminate()
        ends = time.monotonic() + STOP_SECONDS
        for member in self.members:
            try:
                member.process.wait(max(0.0, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill(member.process)
                member.process.wait()
        shutil.rmtree(self._place, ignore_errors=True)
        self._restore()
        signal.signal(signal.SIGINT, interrupt)

    def _let_go(self) -> None:
        for end in self._lifeline:
            os.close(end)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _lament(self, member: Member, what: str) -> BackendUnavailableError:
        words = member.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = "\n".join(f"  {line}" for line in words[-_LAST_WORDS:]) or "  nothing"
        return BackendUnavailableError(f"node {member.name} {what}; it said:\n{said}")


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    raise SystemExit(128 + number)


def _has_told(member: Member) -> bool:
    """Read the line that a node writes once it is ready."""
    line, newline, _ = member.out.read_bytes().partition(b"\n")
    if not newline:
        return False
    told = json.loads(line)
    member.url, member.model, member.listen = told["url"], told["model"], tuple(told["listen"])
    return True


def _first_lonely(clients: Sequence[Client], others: int) -> tuple[int, int] | None:
    """Find the first node that does not see so many others, and how many it sees.

    Those behind it are not even asked: nodes that still meet have better things to do.
    """
    for place, client in enumerate(clients):
        if (seen := _peers_of(client)) < others:
            return place, max(0, seen)
    return None


def _peers_of(client: Client) -> int:
    try:
        return client.health().peers
    except NetworkError:
        return -1


def _peak_memory(process: subprocess.Popen[bytes]) -> int:
    if process.poll() is not None:
        return 0  # its number may be another's by now
    try:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0


def free_ports(count: int, *, width: int = 1) -> list[int]:
    """Find ports that are free now, and the `width` - 1 after each; all are held until the end.

    NetworkError where there are not as many.
    """
    found: list[int] = []
    with ExitStack() as stack:
        # By chance, so that two fleets that start at once rarely want the same.
        for port in random.sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                break
            holders = [stack.enter_context(socket.socket()) for _ in range(width)]
            with suppress(OSError):
                for number, holder in enumerate(holders):
                    holder.bind(("127.0.0.1", port + number))
                found.append(port)
    if len(found) < count:
        raise NetworkError(
            f"this machine has no {count} free ports from {_PORTS[0]} to {_PORTS[-1]}",
            hint="end what listens there",
        )
    return found


def _environment() -> dict[str, str]:
    """Leave out the settings of a node: a demo is the same everywhere."""
    kept = ("DMOA_CACHE", "DMOA_LOG_LEVEL")
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("DMOA_") or key in kept
    }


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever it started."""
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
