"""The file of keys: keys, or one line that says what is wrong; and what strangers offer."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from dmoa.config import keys
from dmoa.errors import KeyFileError

from .border_config import known

PLACE = tempfile.TemporaryDirectory()
FILE = Path(PLACE.name, "keys.json")
OWN = Path(PLACE.name, "own.json")
SECRET = keys.create(OWN, "laptop")[0].encode()
KEEPER = keys.Doorkeeper(OWN)


def seeds() -> list[bytes]:
    return [OWN.read_bytes(), SECRET, b'{"format": 1, "keys": []}']


def cross(data: bytes) -> None:
    assert KEEPER.admits(data) == (data == SECRET)
    FILE.write_bytes(data)
    FILE.chmod(0o600)
    try:
        found = keys.load(FILE)
    except KeyFileError as error:
        known(error)
        return
    assert keys.Doorkeeper(FILE).asks == bool(found)
    with suppress(keys.UsageError):  # no room for a further one
        keys.create(FILE)
        assert len(keys.load(FILE)) == len(found) + 1
