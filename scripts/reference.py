"""Write docs/reference/ from the program itself: commands, settings, errors, API.

    uv run python scripts/reference.py [FOLDER]

A test fails where a page is not what this writes.
"""  # noqa: INP001 - a script, no module

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from random import Random
from typing import Any

import click

from dmoa import config, errors
from dmoa.api.app import create_app
from dmoa.backends.fake import FakeBackend
from dmoa.cli.main import cli
from dmoa.cli.up import up
from dmoa.config.values import PARSERS
from dmoa.core.names import NodeId
from dmoa.net.memory import MemoryNetwork
from dmoa.runtime.node import Node

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
WIDTH = 80
"""Characters of a line of help, however wide the terminal is."""

_MADE = "Made by `scripts/reference.py` from the program itself; a test holds it to that.\n"
_COMMANDS = """\
Data goes to stdout, talk to stderr. Exit codes: 0 fine, 1 failed, 2 usage, 3 the answer
is no, 130 stopped by Ctrl-C. In a clone `./dmoa` stands for `dmoa`.
"""
_SETTINGS = """\
A setting is taken from the flag of `dmoa up`, else from the variable `DMOA_NAME` (its
name in capitals), else from the file, else from the realm of this machine, else it is
the default. The file is `~/.config/dmoa/config.toml`, or what `--config` or
`DMOA_CONFIG` names. What is unknown or wrong is refused by its name.
"""
_ERRORS = """\
Over HTTP an error is OpenAI's error object with the code and the status; on a
terminal two lines, `error:` and `hint:`, and the exit code. Of the door's own, which
have no class, tells [using a node](../using.md#errors).
"""
_API = """\
A node describes itself at `/openapi.json`; this is that, to be read. What is OpenAI's
keeps OpenAI's names and shapes. The page and its feed are in [page.md](../page.md).
"""


def cell(text: object) -> str:
    """Make a text fit a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def table(*rows: tuple[object, ...]) -> str:
    """Draw a table, its head first."""
    head, *body = [f"| {' | '.join(cell(each) for each in row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body]) + "\n"


# -- commands -------------------------------------------------------------------------


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Context]]:
    context = click.Context(
        command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH, color=False
    )
    context.help_option_names = ["-h", "--help"]
    yield path, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _commands(child, f"{path} {name}")


def commands() -> str:
    """Write the help of every command."""
    parts = [
        "# Commands\n",
        _MADE,
        _COMMANDS,
    ]
    for path, context in _commands(cli, "dmoa"):
        text = context.command.get_help(context)
        parts.append(f"## {path}\n\n```text\n{text.rstrip()}\n```\n")
    return "\n".join(parts)


# -- settings -------------------------------------------------------------------------


def _told(module: object, name: str) -> dict[str, str]:
    """Read what stands below each field of a class."""
    tree = ast.parse(inspect.getsource(module))  # pyright: ignore[reportArgumentType]
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    told: dict[str, str] = {}
    for field, text in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(value=ast.Constant(value=str(words))):
                    told[field.target.id] = inspect.cleandoc(words)
                case _:
                    pass
    return told


def _wanted(key: str) -> str:
    """Let a parser say what it takes."""
    try:
        PARSERS[key](object())
    except ValueError as wanted:
        return str(wanted)
    raise AssertionError(f"the setting {key} takes anything")


def _default(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`" if value else "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else "none"


def settings() -> str:
    """Write every setting: what it is, what it takes, its default, and where it can be set."""
    told = _told(config, "Settings")
    flags = {option.name: option.opts[0] for option in up.params if option.name in PARSERS}
    rows: list[tuple[object, ...]] = [("setting", "default", "what it is", "it must be", "flag")]
    for field in fields(config.Settings):
        if field.name in PARSERS:
            default = "made of the host's name" if field.name == "node" else _default(field.default)
            flag = f"`{flags[field.name]}`" if field.name in flags else ""
            rows.append((f"`{field.name}`", default, told[field.name], _wanted(field.name), flag))
    assert len(rows) == len(PARSERS) + 1
    return "\n".join(
        [
            "# Settings\n",
            _MADE,
            _SETTINGS,
            table(*rows),
            "More about each is in [using a node](../using.md#settings).",
            "",
        ]
    )


# -- errors ---------------------------------------------------------------------------

REMEDIES = {
    "DmoaError": "never seen as such",
    "UsageError": "read the message, which names what is wrong, and ask for something else",
    "ConfigError": "mend the file, flag or variable that the message names",
    "KeyFileError": "make `keys.json` whole again, writable by its owner alone, or start anew "
    "without it",
    "InvalidKeyError": "`dmoa key create`, and send the key: `DMOA_KEY`, or `api_key` of a client",
    "RealmError": "`dmoa realm members` tells what is here; create a realm, or join one",
    "InviteError": "ask the founder for another invitation: each is good once, and for a time",
    "MixtureError": "take fewer layers or peers; limits are in the message",
    "NetworkShapeError": "give rates, times and slots that a network can have",
    "LawError": "give a law with a mean, in the form of the message",
    "MissingExtraError": "install the extra that the hint names",
    "ModelNotFoundError": "`GET /v1/models` lists what is offered",
    "ResponseNotFoundError": "`dmoa responses list`; it may have been too old, or somebody else's",
    "ConflictError": "take another Idempotency-Key, or wait for what is under way",
    "ProtocolError": "never seen as such",
    "LocalProtocolError": "a bug: report it, best with a `record`",
    "RemoteProtocolError": "nothing here: the message was dropped; see the peer's own log",
    "VersionError": "bring both nodes to the same release",
    "ForgedError": "nothing here: it was dropped; if it goes on, look who is on the network",
    "QueryError": "ask again; the message says what became of it",
    "OverloadedError": "come back after `Retry-After`; `dmoa plan` tells what the network carries",
    "ExpiredError": "give a longer `deadline`, or a smaller mixture",
    "BackendError": "look at the language model's own log",
    "BackendUnavailableError": "start the model's server, or wait until it is loaded; "
    "`dmoa doctor`",
    "BackendRefusedError": "mend the key, model or parameter that its own words name",
    "ContextLengthError": "shorten the conversation, or give the model a larger context",
    "BackendRubbishError": "see that the endpoint speaks OpenAI's API",
    "BackendTimeoutError": "look whether the model's machine is overloaded",
    "StoreError": "make room on the disk, or see to the rights of the file",
    "NetworkError": "see `dmoa doctor`: it names the pair that does not hear each other",
    "UnreachableError": "nothing: another peer is asked",
    "PeerGoneError": "nothing: the layer goes on without it",
    "PeerSilentError": "nothing: the layer goes on; if it is always the same, look at that node",
}
"""What to do about each, for who meets it."""


def failures() -> str:
    """Write every error: its code, statuses, meaning, and what to do."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.DmoaError)
    ]
    kinds.sort(key=lambda kind: inspect.getsourcelines(kind)[1])
    assert {kind.__name__ for kind in kinds} == set(REMEDIES)
    rows: list[tuple[object, ...]] = [("error", "code", "HTTP", "exit", "meaning", "what to do")]
    for kind in kinds:
        doc = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
        name = kind.__name__
        rows.append(
            (f"`{name}`", f"`{kind.code}`", kind.status, kind.exit_code, doc, REMEDIES[name])
        )
    tree = re.search(r"^```text\n.*?^```$", errors.__doc__ or "", re.MULTILINE | re.DOTALL)
    assert tree is not None
    return "\n".join(
        [
            "# Errors\n",
            _MADE,
            _ERRORS,
            table(*rows),
            "## The tree\n",
            tree[0],
            "",
        ]
    )


# -- API ------------------------------------------------------------------------------


def _kind(schema: dict[str, Any]) -> str:
    """Say a type in short."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[key]))
    kind = schema.get("type", "anything")
    kind = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to"}
    bounds |= {"exclusiveMaximum": "below", "maxLength": "characters, at most"}
    told = [f"{word} {schema[key]}" for key, word in bounds.items() if key in schema]
    return f"{kind} ({', '.join(told)})" if told else kind


def _route(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"## {method.upper()} {path}\n"
    yield operation.get("description", operation.get("summary", "")).strip() + "\n"
    if parameters := operation.get("parameters", []):
        rows = [
            (
                f"`{each['name']}`",
                each["in"],
                _kind(each["schema"]),
                _presence(each, each["schema"]),
            )
            for each in parameters
        ]
        yield table(("parameter", "in", "type", "default"), *rows)
    if body := operation.get("requestBody", {}).get("content", {}):
        yield f"Takes {_kind(next(iter(body.values()))['schema'])}.\n"
    answers = []
    for status, answer in operation["responses"].items():
        kinds = [
            f"`{media}`" + (f": {_kind(told['schema'])}" if told.get("schema") else "")
            for media, told in answer.get("content", {}).items()
        ]
        answers.append((status, answer.get("description", ""), ", ".join(kinds)))
    yield table(("status", "meaning", "body"), *answers)


def _presence(each: dict[str, Any], schema: dict[str, Any]) -> str:
    if each.get("required"):
        return "required"
    default = schema.get("default")
    return "" if default is None else "empty" if default == "" else f"`{json.dumps(default)}`"


def _shape(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if words := schema.get("description"):
        yield words.strip() + "\n"
    needed = schema.get("required", [])
    if rows := [
        (f"`{key}`", _kind(told), _presence({"required": key in needed}, told))
        for key, told in schema.get("properties", {}).items()
    ]:
        yield table(("field", "type", "default"), *rows)
    else:
        yield _kind(schema) + "\n"


def described() -> dict[str, Any]:
    """Let an app describe itself, as it does at `/openapi.json`."""
    name = NodeId("n1")
    node = Node(MemoryNetwork().join(name), FakeBackend("model"), rng=Random(1))
    return create_app(node).openapi()


def interface() -> str:
    """Write every route and shape of the API, from its own description."""
    told = described()
    parts = [
        "# API\n",
        _MADE,
        _API,
    ]
    for path, operations in sorted(told["paths"].items()):
        for method, operation in sorted(operations.items()):
            parts += _route(method, path, operation)
    parts.append("## Shapes\n")
    for name, schema in sorted(told["components"]["schemas"].items()):
        parts += _shape(name, schema)
    return "\n".join(parts)


PAGES = {"cli.md": commands, "settings.md": settings, "errors.md": failures, "api.md": interface}
"""Who writes which page."""


def pages() -> dict[str, str]:
    """Write all pages: their names and texts."""
    return {
        name: re.sub(r"\n{3,}", "\n\n", write()).strip() + "\n" for name, write in PAGES.items()
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(exist_ok=True)
    for each, text in pages().items():
        (folder / each).write_text(text, encoding="utf-8")
