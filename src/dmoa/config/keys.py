"""The keys of the API: a file of their hashes beside the configuration, and who is let in.

A key is 256 bits of chance. Slow hashes such as scrypt make it dear to guess what people think
of as passwords; nobody guesses 256 bits, so SHA-256 once is as good, and it costs a request
microseconds instead of a tenth of a second that anybody could make the node spend.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
import stat
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from dmoa.config import default_file, is_loopback
from dmoa.config.files import alone, replace
from dmoa.errors import ConfigError, KeyFileError, UsageError

VARIABLE = "DMOA_KEY"
"""From where our own commands take the key that they send."""
HOW = f"set {VARIABLE} to a key of that node; `dmoa key create` beside it makes one"
"""What to do where a node wants a key."""
MAX_KEYS = 100
"""Keys of one file."""
FILE_BYTES = 64 * 1024
"""Of the file; 100 keys take half of it."""
KEY_BYTES = 1024
"""Of a key that is offered; ours have 48."""
FORMAT = 1
"""Of the file; another one is not read."""

_PREFIX = "dmoa-"
_RANDOM_BYTES = 32
_LAST = 4
"""Characters by which a person recognises a key: 24 of its 256 bits."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SENDABLE = re.compile(rf"[!-~]{{1,{KEY_BYTES}}}")
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_log = logging.getLogger(__name__)


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is kept of a key; the key itself is not, so that a stolen file opens no door."""

    name: Annotated[str, msgspec.Meta(pattern=rf"^{_NAME.pattern}\Z")]
    made: Annotated[datetime, msgspec.Meta(tz=True)]
    last: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{4}\Z")]
    """Its last characters."""
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    keys: Annotated[tuple[Key, ...], msgspec.Meta(max_length=MAX_KEYS)]


def key_file(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """Tell where the keys lie: `keys.json` beside the configuration; it need not be there.

    None where the configuration is no ordinary file, such as /dev/null, which has no beside.
    """
    config = config or default_file(environ)
    if config.exists() and not config.is_file():
        return None
    return config.with_name("keys.json")


def load(file: Path) -> tuple[Key, ...]:
    """Read the keys, none where there is no file; KeyFileError where it cannot be relied on."""
    return _parsed(file, _content(file))


def create(file: Path, name: str = "") -> tuple[str, Key]:
    """Make a key, keep its hash, and return the key itself, which nobody can tell again.

    It is called key-1, key-2 and so on unless named. UsageError where the name is taken or
    none, or where there are too many keys; KeyFileError where the file cannot be read or written.
    """
    if name and not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a key",
            hint="up to 64 letters, digits, `.`, `_` and `-`, a letter or digit first",
        )
    with _alone(file):
        keys = load(file)
        taken = {each.name for each in keys}
        if len(keys) >= MAX_KEYS:
            raise UsageError(
                f"{file} holds {MAX_KEYS} keys, and no more fit", hint="revoke one of them"
            )
        if name in taken:
            raise UsageError(
                f"there is a key {name!r} already", hint=f"`dmoa key revoke {name}` ends it"
            )
        name = name or next(f"key-{n}" for n in range(1, MAX_KEYS + 2) if f"key-{n}" not in taken)
        secret = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        made = datetime.now(UTC).replace(microsecond=0)
        key = Key(name, made, secret[-_LAST:], sha256(secret.encode()).hexdigest())
        _write(file, (*keys, key))
    return secret, key


def revoke(file: Path, name: str) -> tuple[Key, ...]:
    """End a key, and return those that are left; UsageError where there is none of that name."""
    with _alone(file):
        keys = load(file)
        left = tuple(each for each in keys if each.name != name)
        if left == keys:
            known = ", ".join(each.name for each in keys)
            raise UsageError(
                f"there is no key {name!r} in {file}",
                hint=f"keys: {known}" if known else "there is no key at all",
            )
        _write(file, left)
    return left


class Doorkeeper:
    """Who is let in by a file of keys, which is read anew for every request.

    That costs some 20 us, and no change is ever missed, as times and inodes of files that are
    replaced quickly would miss some. Without a file or keys in it everybody is let in. A file
    that was there once and is gone lets nobody in: keys end by `revoke`, not by a loss. One that
    asks `always` lets nobody in without a key, also where there is none yet or any more.
    KeyFileError where the file cannot be relied on, also when a doorkeeper is made.
    """

    def __init__(self, file: Path, *, always: bool = False) -> None:
        self.file = file
        self._always = always
        self._content: bytes | None = None
        self._hashes: tuple[bytes, ...] = ()
        self._trouble = ""
        self._look()

    @property
    def asks(self) -> bool:
        """Whether a key is asked for, as of the latest look."""
        return bool(self._hashes)

    def admits(self, offered: bytes | None) -> bool:
        """Tell whether somebody with this key, or with none, is let in.

        All hashes are compared, each in constant time, so that the time tells nothing.
        KeyFileError where that cannot be known; the log says so once.
        """
        try:
            self._look()
        except KeyFileError as error:
            if error.message != self._trouble:
                self._trouble = error.message
                _log.error("nobody is let in: %s", error.message)
            raise
        if self._trouble:
            self._trouble = ""
            _log.warning("%s can be read again", self.file)
        if not self._hashes:
            return not self._always
        found = sha256((offered or b"")[: KEY_BYTES + 1]).digest()
        fitting = [hmac.compare_digest(found, each) for each in self._hashes]
        return offered is not None and any(fitting)

    def _look(self) -> None:
        content = _content(self.file)
        if content is None and self._content is not None:
            raise KeyFileError(f"{self.file}: was there, and is gone", hint="start the node anew")
        if content != self._content:
            self._hashes = tuple(bytes.fromhex(each.sha256) for each in _parsed(self.file, content))
            self._content = content


def authorization(url: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Make the header with the key of the environment for a node; empty without a key.

    ConfigError for what cannot be a key (which is not repeated), and where the key would leave
    this machine in clear text.
    """
    environ = os.environ if environ is None else environ
    key = environ.get(VARIABLE, "").strip()
    if not key:
        return {}
    if not _SENDABLE.fullmatch(key):
        raise ConfigError(
            f"{VARIABLE}: is no key: {KEY_BYTES} letters, digits and signs of ASCII at most",
            hint="`dmoa key create` prints one",
        )
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https" and not is_loopback(
        f"tcp/[{host}]:1" if ":" in host else f"tcp/{host}:1"
    ):
        raise ConfigError(
            f"{VARIABLE}: would go to {host} in clear text",
            hint=f"name an https:// URL, or unset {VARIABLE} for this command",
        )
    return {"authorization": f"Bearer {key}"}


# -- the file -----------------------------------------------------------------------------


def _content(file: Path) -> bytes | None:
    """Read a bounded file that only its owner can write; None where there is none."""
    try:
        handle = os.open(file, _FLAGS)  # a pipe in its place must not make us wait
        try:
            _check(file, os.fstat(handle).st_mode)
            with os.fdopen(handle, "rb", closefd=False) as reading:
                content = reading.read(FILE_BYTES + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _broken(file, f"cannot be read: {error.strerror or error}") from None
    if len(content) > FILE_BYTES:
        raise _broken(file, f"is larger than {FILE_BYTES} bytes")
    return content


def _check(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise _broken(file, "is no ordinary file")
    if os.name == "posix" and mode & _OTHERS_WRITE:
        raise KeyFileError(f"{file}: others than its owner can write it", hint=f"chmod 600 {file}")


def _parsed(file: Path, content: bytes | None) -> tuple[Key, ...]:
    if content is None:
        return ()
    try:
        found = msgspec.json.decode(content, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _broken(file, f"is no file of keys: {error}") from None
    if found.format != FORMAT:
        raise _broken(file, f"has format {found.format}, which this dmoa does not read")
    if len({each.name for each in found.keys}) < len(found.keys):
        raise _broken(file, "has two keys of one name")
    return found.keys


def _broken(file: Path, what: str) -> KeyFileError:
    return KeyFileError(f"{file}: {what}", hint="repair it, or move it away and make new keys")


def _write(file: Path, keys: tuple[Key, ...]) -> None:
    content = msgspec.json.format(msgspec.json.encode(_File(FORMAT, keys)), indent=1) + b"\n"
    assert len(content) <= FILE_BYTES, "so many keys with such names fit"
    try:
        replace(file, content, mode=stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:
        raise _unwritable(file, error) from None


def _unwritable(file: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{file}: cannot be written: {error.strerror or error}", hint="name another --config"
    )


@contextmanager
def _alone(file: Path) -> Generator[None]:
    """Keep other writers out; ConfigError where one takes too long. Without locks on Windows."""
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(file))
        except TimeoutError:
            raise ConfigError(
                f"{file}: is being written by another command", hint="try again"
            ) from None
        except OSError as error:
            raise _unwritable(file, error) from None
        yield
