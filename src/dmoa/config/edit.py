"""One key of a TOML file written, and nothing else of it touched."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from dmoa.config.files import replace
from dmoa.errors import ConfigError

_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


def write(file: Path, key: str, new: str) -> None:
    """Write one key into a file, whole or not at all; the folder is made where there is none.

    The rest stays as it is, byte for byte. ConfigError where the file is not TOML, or the line
    can't be put into it without changing something else.
    """
    content = edited(_text(file), key, new, str(file))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, content.encode())
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be written: {error.strerror or error}", hint="name another --config"
        ) from None


def value(file: Path, key: str) -> object:
    """Read one key of a file, None where it has none; ConfigError where it is not TOML."""
    return _parsed(_text(file), str(file)).get(key)


def edited(old: str, key: str, value: str, name: str) -> str:
    """Put a key into the text of a TOML file, in place of an earlier one; `name` is the file's."""
    # JSON writes a text as TOML does, but for one character.
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
    there = re.compile(rf"^[ \t]*{re.escape(key)}[ \t]*=.*$", re.MULTILINE)
    if there.search(old):
        new = there.sub(lambda _: line, old, count=1)
    elif found := _TABLE.search(old):
        new = f"{old[: found.start()]}{line}\n{old[found.start() :]}"
    else:
        new = f"{old}\n{line}\n" if old and not old.endswith("\n") else f"{old}{line}\n"
    wanted = _parsed(old, name) | {key: value}
    try:
        well = tomllib.loads(new) == wanted
    except ValueError:
        well = False
    if not well:
        raise ConfigError(
            f"{name}: {key} cannot be put in without changing the rest",
            hint=f"write it yourself: {line}",
        )
    return new


def _text(file: Path) -> str:
    """Read a file; empty where there is none."""
    try:
        return file.read_bytes().decode() if file.exists() else ""
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8") from None


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from None
