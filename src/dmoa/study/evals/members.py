"""The nodes of a run that it starts itself, from a TOML file of models and settings.

```toml
[all]                                     # settings of all nodes
mode = "paper"

[[node]]
model = "smollm2?threads=1"
persona = "You are a careful teacher."    # any setting of a node
```
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from dmoa.config import load
from dmoa.core.names import is_node_name
from dmoa.errors import ConfigError
from dmoa.study.evals.records import Member

MEMBERS_MAX = 64
"""Nodes that are started on one machine."""
DECIDED = ("node", "realm", "port", "listen", "connect")
"""Settings that whoever starts the nodes decides."""
_HINT = 'write [[node]] and below it model = "URI", once for each node'

Table = dict[str, Any]


def read_members(file: Path) -> tuple[Member, ...]:
    """Read the nodes of a file: their names, models (backend URIs) and settings.

    Names are n1, n2 and so on unless `name` says otherwise. ConfigError where a file is none,
    or a key or value is wrong; it names the file, the node and the key.
    """
    table = _table(file)
    for key in table:
        if key not in ("node", "all"):
            raise ConfigError(f"{file}: there is no table {key[:40]!r} here", hint=_HINT)
    shared = _settings(file, "[all]", table.get("all", {}))
    if "name" in shared:
        raise ConfigError(f"{file}: [all] cannot name all nodes alike", hint="leave it out")
    nodes = table.get("node", [])
    if not isinstance(nodes, list) or not nodes:
        raise ConfigError(f"{file}: has no nodes", hint=_HINT)
    listed = cast("list[object]", nodes)
    if len(listed) > MEMBERS_MAX:
        raise ConfigError(f"{file}: has {len(listed)} nodes, and {MEMBERS_MAX} are the most here")
    members = [_member(file, number, each, shared) for number, each in enumerate(listed, 1)]
    names = [each.node for each in members]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{file}: two nodes are named {name}", hint="name each differently")
    return tuple(members)


def as_toml(settings: Mapping[str, Any]) -> str:
    """Write settings as the TOML file of a node; ValueError names a key that cannot be."""
    return "".join(f"{key} = {_value(key, value)}\n" for key, value in settings.items())


def _table(file: Path) -> Table:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be read: {error.strerror or error}", hint="name a TOML file"
        ) from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(f"{file}: is not TOML: {error}", hint=_HINT) from None


def _settings(file: Path, where: str, found: object) -> Table:
    """Take a table, without the keys that others decide."""
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: {where} is no table", hint=_HINT)
    settings = cast("Table", found)
    for key in DECIDED:
        if key in settings:
            hint = "write `name` for a name" if key == "node" else "leave it out"
            raise ConfigError(
                f"{file}: {where} says {key}, which is decided when the nodes start", hint=hint
            )
    return settings


def _member(file: Path, number: int, found: object, shared: Table) -> Member:
    where = f"[[node]] number {number}"
    settings = shared | _settings(file, where, found)
    name = settings.pop("name", f"n{number}")
    if not isinstance(name, str) or not is_node_name(name):
        raise ConfigError(
            f"{file}: {where}: name must be 1 to 32 of a-z, 0-9 and inner hyphens, not {name!r}"
        )
    _validate(f"{file}: {where}", settings)
    return Member(name, str(settings.get("model", "")), settings)


def _validate(where: str, settings: Table) -> None:
    """Let the node's own reader look over the settings, as it will when it starts."""
    try:
        text = as_toml(settings)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    with tempfile.TemporaryDirectory(prefix="dmoa-") as place:
        written = Path(place, "node.toml")
        written.write_text(text, encoding="utf-8")
        try:
            load(file=written, environ={})
        except ConfigError as error:
            what = error.message.replace(f"{written}: ", "", 1)
            raise ConfigError(f"{where}: {what}", hint=error.hint) from None


def _value(key: str, value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)  # TOML has the same words for nan and inf
        case str():
            # JSON's escapes are TOML's, except that TOML has DEL escaped too
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple():
            items = cast("list[object]", value)
            return f"[{', '.join(_value(key, each) for each in items)}]"
        case _:
            raise ValueError(f"{key[:40]} has a value that no setting has")
