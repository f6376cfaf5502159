"""`dmoa doctor`: what keeps a node from running well, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option

if TYPE_CHECKING:
    from dmoa.cli.told import Reach
    from dmoa.config import Settings
    from dmoa.doctor import Check, Finding
    from dmoa.errors import DmoaError

_MARKS = {"ok": ("ok", "green"), "note": ("note", "yellow"), "bad": ("bad", "red")}
_NOBODY = ("unreachable", "backend_rubbish")
"""What is the matter where no node of dmoa is at an address."""
_PATIENCE = 15.0
"""Seconds for the node to ask all its peers."""


@command("dmoa doctor", "dmoa doctor --config lab.toml --json")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration of the node  [default: that of `dmoa up`]",
)
@click.option(
    "--url", metavar="URL", envvar="DMOA_URL", help="The running node  [default: by its settings]"
)
@json_option("Write one JSON object instead of lines")
@click.pass_context
def doctor(ctx: click.Context, *, file: Path | None, url: str | None, as_json: bool) -> None:
    """Look for what keeps a node from running well.

    Looks at this machine, the configuration and the model; where the node runs, also at every way
    between it and its peers, their clocks and releases. Ends with 3 where something is bad.
    """
    from dmoa.doctor import examine, machine
    from dmoa.errors import DmoaError

    found = list(examine([("python", machine.python)]))
    settings, flaw = _settings(file)
    found += [flaw]
    if settings is not None:
        reach = _asked(settings, url)
        ours = not isinstance(reach, DmoaError) or reach.code not in _NOBODY
        found += examine(_checks(settings, file, ours=ours))
        found += _around(reach, ours=ours)
    if as_json:
        from dataclasses import asdict

        well = all(each.state != "bad" for each in found)
        render.data({"well": well, "findings": [asdict(each) for each in found]})
    else:
        _show(found)
    if any(each.state == "bad" for each in found):
        ctx.exit(NO)


def _settings(file: Path | None) -> tuple[Settings | None, Finding]:
    """Read the settings as `dmoa up` would."""
    from dmoa import config
    from dmoa.doctor import Finding
    from dmoa.errors import DmoaError

    place = file or config.default_file()
    try:
        settings = config.load({}, file=file)
    except DmoaError as error:
        return None, Finding("settings", "bad", error.message, error.hint or f"mend {place}")
    there = f"{place} is well" if place.is_file() else f"there is no {place}: all as usual"
    return settings, Finding("settings", "ok", there)


def _checks(settings: Settings, file: Path | None, *, ours: bool) -> list[tuple[str, Check]]:
    """List what is looked at on this machine, in the order in which it is told."""
    from dmoa.doctor import machine, model, papers

    checks: list[tuple[str, Check]] = [
        ("model", lambda: model.present(settings.model)),
        ("open files", lambda: machine.open_files(settings)),
        ("API", lambda: machine.port(settings, ours=ours)),
        ("peers' port", lambda: machine.endpoints(settings, ours=ours)),
        ("multicast", lambda: machine.multicast(settings)),
        ("keys", lambda: papers.keys(settings, file)),
        ("realm", lambda: papers.realm(settings)),
        ("disk", lambda: papers.room(settings)),
    ]
    if not ours:  # a node that runs has its memory already
        checks.insert(1, ("memory", lambda: model.memory(settings.model)))
    return checks


def _asked(settings: Settings, url: str | None) -> Reach | DmoaError:
    """Ask the running node whom it reaches; why it did not say, where it did not.

    What goes wrong with a node that was named is an error of this command.
    """
    from dmoa.cli.client import Client
    from dmoa.errors import DmoaError, UnreachableError

    if url is None and settings.port == 0:
        return UnreachableError("its port is not known: `--url` names a node")
    scheme = "https" if settings.certificate else "http"
    usual = f"{scheme}://{_dialled(settings.host)}:{settings.port}"
    with Client(url or usual, patience=_PATIENCE) as node:
        try:
            node.health()
            return node.reach()
        except DmoaError as error:
            if url is not None:
                raise
            return error


def _dialled(host: str) -> str:
    """Tell how this machine itself calls a host that its API is bound to."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104  (compared)
    return f"[{local}]" if ":" in local and not local.startswith("[") else local


def _around(reach: Reach | DmoaError, *, ours: bool) -> list[Finding]:
    """Judge what a running node said of its peers."""
    from dmoa.doctor import Finding, network
    from dmoa.errors import DmoaError

    if isinstance(reach, DmoaError):
        fix = "start it with `dmoa up`, and call the doctor again"
        told = "no node runs, so nothing is known of peers"
        if ours:
            fix, told = reach.hint or fix, f"the node does not say whom it reaches: {reach.message}"
        return [Finding("peers", "note", told, fix)]
    rolls = [
        network.Roll(
            each.node, each.version, each.ahead_seconds, each.away_seconds, each.hears, each.flaw
        )
        for each in reach.peers
    ]
    found: list[Finding] = network.meets(reach.node, [each.node for each in rolls], rolls)
    for more in (network.clocks(rolls), network.versions(reach.version, rolls)):
        found += [more] if isinstance(more, Finding) else more
    return found + network.distances(rolls)


def _show(found: Sequence[Finding]) -> None:
    """Write a line for each finding, and below it what to do."""
    width = max(len(each.check) for each in found)
    for each in found:
        word, colour = _MARKS[each.state]
        mark = click.style(f"{word:<4}", fg=colour, bold=True)
        click.echo(f"{mark}  {each.check:<{width}}  {render.plain(each.told)}")
        if each.fix:
            click.echo(f"{'':6}{'':{width}}  -> {render.plain(each.fix)}")
    bad = sum(each.state == "bad" for each in found)
    render.talk(f"{len(found)} findings, {bad} bad" if bad else f"{len(found)} findings, none bad")
