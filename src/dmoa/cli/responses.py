"""`dmoa responses`: what a node keeps: listed, shown, cancelled, deleted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option, url_option
from dmoa.errors import QueryError

if TYPE_CHECKING:
    from dmoa.cli.told import Response

_LISTED = 20
_LISTED_MOST = 100


@command("dmoa responses list", "dmoa responses list --limit 100 --json")
@url_option
@click.option(
    "--limit",
    type=click.IntRange(1, _LISTED_MOST),
    default=_LISTED,
    show_default=True,
    help="The newest so many",
)
@json_option("Write one JSON object instead of a table")
def list_(*, url: str, limit: int, as_json: bool) -> None:
    """List the responses that a node keeps for you, the newest first.

    Questions and answers are not shown. With keys, each key sees its own.
    """
    import msgspec

    from dmoa.cli.client import Client

    with Client(url) as node:
        found = node.responses(limit)
    if as_json:
        shaped = [_about(msgspec.to_builtins(each)) for each in found.data]
        render.data({"responses": shaped, "has_more": found.has_more})
        return
    if not found.data:
        render.note("no response is kept there")
        return
    _table(found.data)
    if found.has_more:
        render.note(f"there are more than {limit}; `--limit` shows up to {_LISTED_MOST}")


def _about(shaped: dict[str, object]) -> dict[str, object]:
    """Leave out what lists do not tell."""
    untold = ("output", "error", "completed_at")
    return {key: value for key, value in shaped.items() if key not in untold}


def _table(found: tuple[Response, ...]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "status", "asked", "took", "attempts", "model"):
        table.add_column(
            heading, no_wrap=True, overflow="ellipsis" if heading == "model" else "fold"
        )
    now = time.time()
    for each in found:
        took = "" if each.ended_at is None else f"{each.ended_at - each.created_at} s"
        asked = f"{_span(now - each.created_at)} ago"
        attempts = str(each.attempts) if each.background else ""
        model = render.plain(each.model)
        table.add_row(render.plain(each.id), each.status, asked, took, attempts, model)
    render.console().print(table)


def _span(seconds: float) -> str:
    """Write a span of time with one unit."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


@command("dmoa responses show resp_0123456789abcdef0123456789abcdef")
@click.argument("id")
@url_option
@json_option("Write the whole response as one JSON object")
def show(*, id: str, url: str, as_json: bool) -> None:
    """Show the answer of a response.

    Exit code 3 while there is none yet, 1 where there will be none.
    """
    from dmoa.cli.client import Client

    with Client(url) as node:
        found, raw = node.response(id)
    if as_json:
        render.data(raw)
    elif found.text:
        click.echo(found.text)
    if found.is_open:
        if not as_json:
            render.note(f"it is {found.status.replace('_', ' ')} and has no answer yet")
        raise click.exceptions.Exit(NO)
    if found.error is not None:
        raise QueryError(found.error.message)
    if found.status == "incomplete":
        render.note("the answer was cut at its limit of tokens")
    elif found.status != "completed":
        render.note(f"it is {found.status}, and will not be answered")
        raise click.exceptions.Exit(1)


@command("dmoa responses cancel resp_0123456789abcdef0123456789abcdef")
@click.argument("id")
@url_option
def cancel(*, id: str, url: str) -> None:
    """End a response of the background, for good.

    What has ended already stays as it is.
    """
    from dmoa.cli.client import Client

    with Client(url) as node:
        found = node.cancel(id)
    before = "" if found.status == "cancelled" else ", and had ended before"
    render.talk(f"{found.id} is {found.status}{before}")


@command("dmoa responses delete resp_0123456789abcdef0123456789abcdef")
@click.argument("id")
@url_option
def delete(*, id: str, url: str) -> None:
    """Delete a response: its question, its answer, and what is done for it."""
    from dmoa.cli.client import Client

    with Client(url) as node:
        node.delete(id)
    render.talk(f"{id} is deleted")


_HELP = """Responses a node keeps: list, show, cancel, delete

What was asked with `dmoa ask --background`, or over /v1/responses.

\b
Example:
    dmoa responses list
    dmoa responses show ID
"""

list_.name = "list"


@click.group(name="responses", commands=[list_, show, cancel, delete], help=_HELP)
def responses() -> None:
    """Take the command line of a step apart."""
