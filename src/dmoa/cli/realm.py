"""`dmoa realm`: which machines belong together: founded, joined by invitation, revoked."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dmoa.cli import render
from dmoa.cli.options import command, json_option

if TYPE_CHECKING:
    from dmoa.config.realms import Membership

_Command = TypeVar("_Command", bound=Callable[..., Any])

_SPAN = re.compile(r"(?P<count>\d{1,6})(?P<unit>[smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DAY = 86_400.0


class _Seconds(click.ParamType[float]):
    """A span of time such as 30m, as seconds."""

    name = "span"

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        match = _SPAN.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no span of time such as 30m, 1h or 2d", param, ctx)
        return int(match["count"]) * _UNITS[match["unit"]]


def _config_option(function: _Command) -> _Command:
    return click.option(
        "--config",
        "file",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration of the node  [default: that of `dmoa up`]",
    )(function)


def _realm_option(function: _Command) -> _Command:
    named = click.option(
        "--realm", metavar="NAME", default="", help="Which  [default: the configured or only one]"
    )
    return _config_option(named(function))


def _machine_options(function: _Command) -> _Command:
    """Let the person say who and where this machine is."""
    for option in (
        click.option(
            "--host",
            "hosts",
            metavar="HOST",
            multiple=True,
            help="Name or address by which others reach this machine; repeatable "
            " [default: its addresses]",
        ),
        click.option(
            "--port",
            type=click.IntRange(1, 65_534),
            default=7447,
            show_default=True,
            help="TCP port for other nodes",
        ),
        click.option("--node", metavar="NAME", default="", help="Its name  [default: of the host]"),
    ):
        function = option(function)
    return _config_option(function)


@command("dmoa realm create lab", "dmoa realm create lab --node desk --host desk.local")
@click.argument("name")
@_machine_options
def create(*, name: str, node: str, port: int, hosts: tuple[str, ...], file: Path | None) -> None:
    """Found a realm on this machine.

    Makes its authority and this node's certificate. Others join by `dmoa realm invite`, while
    `dmoa up` runs here. Who has the authority's key can let in anybody: it stays on this machine.
    """
    from dmoa.assemble import office

    here = office(file)
    its = here.create(name, node, port=port, hosts=hosts)
    render.talk(f"realm {its.name} is founded, with node {its.node}")
    render.talk(f"its authority lies in {its.folder}: keep a copy where nobody finds it")
    start = _start(its, here.settle(its.name), file)
    render.talk(f"now `{start}`, and `dmoa realm invite` for each other machine")


@command("dmoa realm invite", "dmoa realm invite --expires 2d --node laptop")
@click.option(
    "--expires",
    "seconds",
    metavar="SPAN",
    type=_Seconds(),
    default="1h",
    show_default=True,
    help="For how long it is good: 60s to 7d",
)
@click.option("--node", metavar="NAME", default="", help="The only name it is good for")
@_realm_option
def invite(*, seconds: float, node: str, realm: str, file: Path | None) -> None:
    """Print an invitation: one line for one machine.

    Who has the line can join, once and until it expires. Give it as you would give a password.
    """
    from dmoa.assemble import office

    made = asyncio.run(office(file).invite(realm, seconds, node))
    its = made.invitation
    click.echo(its.line)
    render.talk("on the other machine: dmoa realm join LINE, with the line above")
    render.talk(f"it is good once, until {_date(its.expires)}, at {' or '.join(its.places)}")
    if not made.is_open:
        render.note(f"nobody answers there now: keep `dmoa up` running here, as {its.founder}")


@command("dmoa realm join dmoa-join-...", "dmoa realm join dmoa-join-... --node laptop")
@click.argument("line", nargs=-1, required=True)
@_machine_options
def join(
    *, line: tuple[str, ...], node: str, port: int, hosts: tuple[str, ...], file: Path | None
) -> None:
    """Join a realm by an invitation.

    The key of this machine's node is made here and stays here. `-` reads the line from stdin, so
    that it is not in the history of the shell.
    """
    from dmoa.assemble import office

    word = sys.stdin.read(8192) if line == ("-",) else " ".join(line)
    here = office(file)
    its = asyncio.run(here.join(word, node, port=port, hosts=hosts))
    render.talk(f"this machine is node {its.node} of realm {its.name}")
    start = _start(its, here.settle(its.name), file)
    render.talk(f"now `{start}` is all that is needed")


@command("dmoa realm members", "dmoa realm members --json")
@_realm_option
@json_option("Write one JSON object instead of a table")
def members(*, realm: str, file: Path | None, as_json: bool) -> None:
    """List the members of a realm.

    All of them where it was founded; elsewhere those that this machine knows something of.
    Of each: until when its certificate is good (UTC), and where it was last seen to listen.
    """
    from dmoa.assemble import office

    its, found = office(file).members(realm)
    if as_json:
        rows = [
            {
                "node": each.node,
                "state": each.state,
                "ends": _date(each.ends) if each.ends else None,
                "place": each.place or None,
            }
            for each in found
        ]
        told = {"realm": its.name, "node": its.node, "founder": its.founder}
        render.data({**told, "folder": str(its.folder), "members": rows})
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("node", "state", "certificate ends", "place"):
        table.add_column(heading, no_wrap=True)
    for each in found:
        left = f" ({(each.ends - time.time()) / _DAY:.1f} days)" if each.state == "member" else ""
        own = {its.node: "this machine", its.founder: "founder"}.get(each.node, "-")
        ends = f"{_date(each.ends)}{left}" if each.ends else "-"
        table.add_row(each.node, each.state, ends, each.place or own)
    render.console().print(table)
    if not its.founds:
        render.note(f"all members of realm {its.name} are listed at {its.founder}, its founder")


@command("dmoa realm revoke laptop")
@click.argument("node")
@_realm_option
def revoke(*, node: str, realm: str, file: Path | None) -> None:
    """End a membership, where the realm was founded.

    Members hear it from the founder's node within seconds, and from each other; who is off hears
    it when it is back. The name is free again when its certificates have expired.
    """
    from dmoa.assemble import office

    its = office(file).revoke(realm, node)
    render.talk(f"{node} is revoked in realm {its.name}; while `dmoa up` runs here, all hear it")


@command("dmoa realm renew")
@_realm_option
def renew(*, realm: str, file: Path | None) -> None:
    """Renew the certificate of this machine's node.

    A node that runs does so by itself, when a third of the 30 days is left.
    """
    from dmoa.assemble import office

    identity = asyncio.run(office(file).renew(realm))
    render.talk(f"the certificate of {identity.node} is good until {_date(identity.ends)}")


@command("dmoa realm leave", "dmoa realm leave --realm lab")
@click.option("--yes", is_flag=True, help="Also where it ends the realm: at its founder")
@_realm_option
def leave(*, yes: bool, realm: str, file: Path | None) -> None:
    """Forget a realm: certificate and key are removed from this machine."""
    from dmoa.assemble import office

    its = office(file).leave(realm, sure=yes)
    render.talk(f"this machine does not belong to realm {its.name} any more")
    if not its.founds:
        render.note(f"`dmoa realm revoke {its.node}` at {its.founder} keeps copies of its key out")


def _start(its: Membership, configured: str, file: Path | None) -> str:
    """Tell how its node is started, by the realm that the configuration names."""
    named = "" if configured == its.name else f" --realm {its.name}"
    if configured and named:
        render.note(f"the configuration names another realm, {configured}")
    return f"dmoa up{f' --config {file}' if file else ''}{named}"


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


_HELP = """Machines that belong together: found, invite, join

Between the machines of a realm all is encrypted, and each knows who speaks.

\b
Example:
    dmoa realm create lab             # here
    dmoa up
    dmoa realm invite                 # prints a line, for another machine:
    dmoa realm join dmoa-join-...     # there
    dmoa up
"""


@click.group(
    name="realm", commands=[create, invite, join, members, revoke, renew, leave], help=_HELP
)
def realm() -> None:
    """Take the command line of a step apart."""
