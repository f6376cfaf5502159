"""`dmoa top`: all nodes that one knows, as they stand from moment to moment."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.options import command, json_option, url_option
from dmoa.errors import DmoaError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from dmoa.cli.client import Client
    from dmoa.cli.told import Neighbourhood, Queue
    from dmoa.cli.top_view import Snapshot

_SHORTEST, _LONGEST = 0.1, 3600.0
"""Seconds between two looks."""
_PATIENCE = 2.0
"""Seconds to wait for a node that is silent; it must not take longer until a key is heeded."""


@command("dmoa top --url http://127.0.0.1:4747", "dmoa top --once --json")
@url_option
@click.option(
    "--every",
    type=float,
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="From one look to the next",
)
@click.option("--once", is_flag=True, help="Look once, and end")
@json_option("Write a line with one JSON object at each look instead of tables")
def top(*, url: str, every: float, once: bool, as_json: bool) -> None:
    """Watch how all nodes stand: queue, load, depth, refusals.

    The queue counts jobs waiting and in service, with a bar against its limit at the asked
    node (*); rho is the utilisation, stable below 1; asked/s are queries asked there; jobs/s
    is what it can serve; age is that of its digest; mix is what a query asked there now would
    get; refused queries and declined jobs count since its start, + what is new. Below stand
    the own queries of the asked node. q or Ctrl-C ends it. Where the output is no terminal it
    looks once.
    """
    from dmoa.cli.client import Client

    if not _SHORTEST <= every <= _LONGEST:
        raise UsageError(
            f"--every must be seconds from {_SHORTEST:g} to {_LONGEST:g}, not {every:g}"
        )
    screen = render.console()
    with Client(url, patience=_PATIENCE) as node:
        if as_json:
            _write(node, every=every, once=once)
        elif once or not sys.stdout.isatty() or screen.is_dumb_terminal:
            _print(node, screen)
        else:
            with suppress(KeyboardInterrupt):
                _watch(node, screen, every=every)


def _look(node: Client) -> tuple[Neighbourhood, Queue]:
    return node.peers(), node.queue()


def _print(node: Client, screen: Console) -> None:
    """Print how all stand now."""
    from dmoa.cli.top_view import Screen, taken

    screen.print(Screen(taken(time.monotonic(), *_look(node), None), url=node.url))


def _write(node: Client, *, every: float, once: bool) -> None:
    """Write a line of JSON at each look; trouble on the way is said once, when it begins."""
    _write_one(*_look(node))
    if once:
        return
    said = ""
    with suppress(KeyboardInterrupt):
        for _ in _beats(every):
            try:
                look = _look(node)
            except DmoaError as error:
                if error.message != said:
                    render.error(error.message, error.hint)
                said = error.message
            else:
                said = ""
                _write_one(*look)


def _write_one(here: Neighbourhood, queue: Queue) -> None:
    import msgspec

    told = {"unix_seconds": round(time.time(), 3), **msgspec.to_builtins(here)}
    render.data({**told, "queue": msgspec.to_builtins(queue)})


def _beats(every: float) -> Generator[None]:
    """Beat every so many seconds, without making up for beats that were missed."""
    due = time.monotonic()
    while True:
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        yield


def _watch(node: Client, screen: Console, *, every: float) -> None:
    """Show all on the whole terminal until q is pressed; the first look must succeed."""
    from rich.live import Live

    from dmoa.cli.top_view import Screen, taken

    now, before, trouble = taken(time.monotonic(), *_look(node), None), None, ""
    with (
        Live(console=screen, screen=True, auto_refresh=False) as live,
        _keys() as pressed,
    ):
        while True:
            view = Screen(now, before, node.url, trouble, lines=screen.height)
            live.update(view, refresh=True)
            if pressed(every):
                return
            before = now
            now, trouble = _next(node, before)


def _next(node: Client, before: Snapshot) -> tuple[Snapshot, str]:
    """Look again; where the node does not answer, say so, and let what was known fade."""
    from dmoa.cli.top_view import taken, unheard

    try:
        here, queue = _look(node)
    except DmoaError as error:
        return unheard(before, time.monotonic()), f"{error.message}; trying again"
    return taken(time.monotonic(), here, queue, before), ""


@contextmanager
def _keys() -> Generator[Callable[[float], bool]]:
    """Read keys as they are pressed; call it to wait some seconds, and learn whether q was."""
    keys = 0  # stdin
    if not os.isatty(keys):
        yield _no_keys
        return
    try:
        import termios
        import tty
    except ImportError:  # not on this system: Ctrl-C ends it
        yield _no_keys
        return

    def pressed(seconds: float) -> bool:
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            readable, _, _ = select.select([keys], [], [], left)
            if readable:
                typed = os.read(keys, 64)
                if not typed or b"q" in typed.lower():  # or the terminal is gone
                    return True
        return False

    kept = termios.tcgetattr(keys)
    tty.setcbreak(keys)
    try:
        yield pressed
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, kept)


def _no_keys(seconds: float) -> bool:
    time.sleep(seconds)
    return False
