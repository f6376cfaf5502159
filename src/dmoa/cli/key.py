"""`dmoa key`: who may ask this node: keys of its API, made, listed and revoked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dmoa.cli import render
from dmoa.cli.options import command, json_option

if TYPE_CHECKING:
    from dmoa.config.keys import Key

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPEN = "the API answers everybody on this machine, and nobody beyond it"


def _config_option(function: _Command) -> _Command:
    return click.option(
        "--config",
        "file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration of the node, beside which they lie  [default: that of `dmoa up`]",
    )(function)


@command("dmoa key create laptop")
@click.argument("name", default="", metavar="[NAME]")
@_config_option
def create(*, name: str, file: Path | None) -> None:
    """Make a key and print it, this once.

    From the first key on, nodes with this configuration answer only those who send one, also
    nodes that run already. Only a hash of it is kept: who loses a key makes another.
    """
    from dmoa.config import keys

    place = _place(file)
    secret, made = keys.create(place, name)
    click.echo(secret)
    render.talk(f"key {made.name} is kept in {place} as a hash: note it now, it is not shown again")
    render.talk(
        f"clients send it as `Authorization: Bearer KEY`, our commands from {keys.VARIABLE}"
    )


@command("dmoa key list", "dmoa key list --json")
@_config_option
@json_option("Write one JSON object instead of a table")
def list_(*, file: Path | None, as_json: bool) -> None:
    """List the keys by name, without the keys.

    Of each: when it was made (UTC), and its last characters.
    """
    from dmoa.config import keys

    place = _place(file)
    found = keys.load(place)
    if as_json:
        shaped = [{"name": each.name, "made": _date(each), "last": each.last} for each in found]
        render.data({"file": str(place), "keys": shaped})
        return
    if not found:
        render.note(f"there is no key in {place}: {_OPEN}")
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "made", "ends with"):
        table.add_column(heading, no_wrap=True)
    for each in found:
        table.add_row(each.name, _date(each), f"...{each.last}")
    render.console().print(table)


@command("dmoa key revoke laptop")
@click.argument("name")
@_config_option
def revoke(*, name: str, file: Path | None) -> None:
    """End a key, at once.

    Nodes look before each request; answers under way are finished.
    """
    from dmoa.config import keys

    place = _place(file)
    left = keys.revoke(place, name)
    render.talk(f"key {name} of {place} is revoked")
    if not left:
        render.note(f"no key is left: {_OPEN}")


def _place(file: Path | None) -> Path:
    """Find the file of keys; UsageError where a configuration has none."""
    from dmoa.config.keys import key_file
    from dmoa.errors import UsageError

    place = key_file(file)
    if place is None:
        raise UsageError(
            "the configuration is no ordinary file, and has no keys beside it",
            hint="name one with --config, or unset DMOA_CONFIG",
        )
    return place


def _date(each: Key) -> str:
    return f"{each.made.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


_HELP = """Keys of the API: make, list, revoke

Without any key a node answers everybody on its machine, and nobody beyond; with one, only those
who send a key.

\b
Example:
    dmoa key create laptop
    DMOA_KEY=dmoa-... dmoa ask "Why is the sky blue?"
    dmoa key revoke laptop
"""

list_.name = "list"


@click.group(name="key", commands=[create, list_, revoke], help=_HELP)
def key() -> None:
    """Take the command line of a step apart."""
