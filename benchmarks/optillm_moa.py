"""optillm's `moa`, in a virtual environment of its own that is made on first use.

`optillm.txt` pins it and the few packages that its server imports; torch is not among
them, and its plugins that want more are passed over by itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import processes
import wire

VERSION = "0.4.0"

_HERE = Path(__file__).parent
_PINS = _HERE / "optillm.txt"
_PLACE = _HERE / ".venvs" / f"optillm-{VERSION}"
_DONE = _PLACE / "installed"
_INSTALL_SECONDS = 300.0
_READY_SECONDS = 90.0
_POLL_SECONDS = 0.05


class MissingError(Exception):
    """It could not be installed or started; says why."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that was started."""

    root: str
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where to ask it."""
        return f"{self.root}/v1"

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def wait(self) -> None:
        """Wait until it can be asked; MissingError if it cannot."""
        asyncio.run(_ready(self.root, self.process))


def install() -> None:
    """Make its environment, unless it is there; MissingError if that is impossible."""
    pins = _PINS.read_text("utf-8")
    if _DONE.exists() and _DONE.read_text("utf-8") == pins:
        return
    shutil.rmtree(_PLACE, ignore_errors=True)
    python = _PLACE / "bin" / "python"
    uv = shutil.which("uv")
    if uv:
        steps = [
            [uv, "venv", "--quiet", "--python", sys.executable, str(_PLACE)],
            [uv, "pip", "install", "--quiet", "--python", str(python)],
        ]
    else:
        venv.create(_PLACE, with_pip=True)
        steps = [[str(python), "-m", "pip", "install", "--quiet"]]
    steps[-1] += ["--no-deps", "-r", str(_PINS)]
    try:
        for step in steps:
            subprocess.run(
                step, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS
            )
    except (OSError, subprocess.SubprocessError) as error:
        words = str(getattr(error, "stderr", None) or error).strip().splitlines()
        raise MissingError(f"it cannot be installed: {words[-1]}") from error
    _DONE.write_text(pins, "utf-8")


@contextmanager
def serving(backend: str) -> Iterator[Server]:
    """Run it in front of a model server, `backend`, for as long as the block; starts slowly."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    command = [str(_PLACE / "bin" / "optillm"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--base-url", backend, "--log", "error"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("OPTILLM_")}
    log = _PLACE / "server.log"
    with processes.running(command, env={**env, "OPENAI_API_KEY": "none"}, log=log) as process:
        yield Server(f"http://127.0.0.1:{port}", process)


async def _ready(url: str, process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + _READY_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        try:
            await wire.get(f"{url}/health")
        except (OSError, ValueError, EOFError):
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return
    raise MissingError("it does not start; see server.log in its environment")
