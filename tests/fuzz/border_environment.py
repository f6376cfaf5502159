"""The environment: settings, or one line that says what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

from dmoa.config import load
from dmoa.errors import DmoaError

from .border_config import EVERY, known, used

NOTHING = Path(os.devnull)


def seeds() -> list[bytes]:
    lines = [line.partition(" = ") for line in EVERY.strip().splitlines()]
    each = [f"{key.upper()}={value.strip('[]')}".replace('"', "") for key, _, value in lines]
    return ["\n".join(each).encode(), *(line.encode() for line in each)]


def cross(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")  # as the system hands it to us
    pairs = (line.partition("=") for line in text.split("\n"))
    environ = {f"DMOA_{key}": value for key, _, value in pairs if "\0" not in key + value}
    try:
        settings = load(file=NOTHING, environ=environ)
    except DmoaError as error:
        known(error)
    else:
        used(settings)
