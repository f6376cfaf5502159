"""What the commands have in common: the form of their help, and options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import click

from dmoa.core.limits import Limits

DEFAULT_URL = "http://127.0.0.1:4747"
NO = 3
"""Exit code where nothing went wrong, and the answer is no."""

_Command = TypeVar("_Command", bound=Callable[..., Any])
_LIMITS = Limits()


def command(*examples: str) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function; its help is purpose, example, options."""

    def decorate(function: Callable[..., None]) -> click.Command:
        purpose, _, rest = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
        example = "\b\nExample:\n" + "\n".join(f"    {line}" for line in examples)
        text = "\n\n".join(part for part in (purpose.removesuffix("."), rest, example) if part)
        return click.command(help=text)(function)

    return decorate


def url_option(function: _Command) -> _Command:
    """Let the person name the node to speak with."""
    return click.option(
        "--url",
        metavar="URL",
        envvar="DMOA_URL",
        show_envvar=True,
        default=DEFAULT_URL,
        show_default=True,
        help="Where the node's API is",
    )(function)


def model_option(function: _Command) -> _Command:
    """Let the person choose a model of those the node offers."""
    return click.option(
        "--model", metavar="NAME", default="dmoa", show_default=True, help="A model of the node"
    )(function)


def private_option(function: _Command) -> _Command:
    """Let the person keep a question at home."""
    return click.option(
        "--private", is_flag=True, help="Ask no peer: the node's own model makes all proposals"
    )(function)


def mixture_options(
    layers: int | None = None, fanout: int | None = None
) -> Callable[[_Command], _Command]:
    """Let the person shape the mixture of a query."""

    def decorate(function: _Command) -> _Command:
        for name, high, default, what in (
            ("--fanout", _LIMITS.fanout, fanout, "Peers sampled for each layer, k"),
            ("--layers", _LIMITS.layers, layers, "Layers of proposals, M"),
        ):
            function = click.option(
                name,
                type=click.IntRange(0, high),
                default=default,
                show_default=default is not None,
                help=what,
            )(function)
        return function

    return decorate


def json_option(what: str) -> Callable[[_Command], _Command]:
    """Let a program read the output."""
    return click.option("--json", "as_json", is_flag=True, help=what)
