"""GGUF files by their name on a model hub, through the optional `huggingface_hub`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from dmoa.errors import BackendUnavailableError, ConfigError


class _Hub(Protocol):
    """The one function needed of the package, which is untyped and may be absent."""

    def hf_hub_download(
        self, *, repo_id: str, filename: str, local_files_only: bool = False
    ) -> str: ...


def ensure_file(name: str, progress: Callable[[str], None] | None = None) -> Path:
    """Give the local path of OWNER/REPO/FILE, fetching it if need be; blocks.

    The hub's client waits long when offline, so what is here already is tried first.
    """
    hub = _hub()
    owner, repo, file = name.split("/", 2)
    source = f"{owner}/{repo}"
    try:
        return Path(hub.hf_hub_download(repo_id=source, filename=file, local_files_only=True))
    except (OSError, ValueError):  # all that the client raises for a file not here
        pass
    if progress is not None:
        progress(f"fetching {file} from the model hub (once)")
    try:
        return Path(hub.hf_hub_download(repo_id=source, filename=file))
    except Exception as error:  # what fetches for it has errors of many roots
        words = str(error).strip().splitlines()
        raise BackendUnavailableError(
            f"{name} could not be fetched: {words[0] if words else type(error).__name__}",
            hint="check the name and the connection, or name a file you have: `llama:PATH.gguf`",
        ) from error


def _hub() -> _Hub:
    try:
        return cast("_Hub", cast("object", importlib.import_module("huggingface_hub")))
    except ImportError as error:
        raise ConfigError(
            "a hub backend needs the package huggingface_hub", hint="pip install 'dmoa[hub]'"
        ) from error
