"""The file of settings: settings, or one line that says what is wrong."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dmoa.config import Settings, load
from dmoa.errors import DmoaError

PLACE = tempfile.TemporaryDirectory()
FILE = Path(PLACE.name, "some.toml")
EVERY = """
node = "n1"
model = "fake:1#m"
host = "::1"
port = 0
hosts = ["a.lan", "10.0.0.7"]
certificate = "a.pem"
connections = 99
listen = ["tcp/127.0.0.1:7447", "tcp/[::1]:0"]
connect = ["tcp/localhost:1"]
multicast = false
trusted = ["n2"]
layers = 2
fanout = 3
recipe = "self+best"
default = "auto"
persona = "a poet"
mode = "steady"
choice = "uniform"
order = "fcfs"
hedge = 1
quorum = true
deadline = 12.5
queue_jobs = 3
log_level = "debug"
store = ""
store_days = 0.5
"""


def seeds() -> list[bytes]:
    return [EVERY.encode(), *(line.encode() for line in EVERY.strip().splitlines())]


def cross(data: bytes) -> None:
    FILE.write_bytes(data)
    try:
        settings = load(file=FILE, environ={})
    except DmoaError as error:
        known(error)
    else:
        used(settings)


def known(error: DmoaError) -> None:
    """Hold that an error is one of the user's, in one line that can be printed."""
    assert error.exit_code == 2, error
    for text in (error.message, error.hint or ""):
        assert "\n" not in text
        text.encode()


def used(settings: Settings) -> None:
    """Use settings for all that they are for."""
    _ = (settings.limits, settings.timing, settings.policy, settings.mixture, settings.defaults)
