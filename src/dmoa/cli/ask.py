"""`dmoa ask`: one question, one answer."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.options import (
    command,
    json_option,
    mixture_options,
    model_option,
    private_option,
    url_option,
)
from dmoa.errors import OverloadedError, UsageError

if TYPE_CHECKING:
    from dmoa.cli.told import End, Happening


@dataclass(slots=True)
class Said:
    """An answer as far as it came."""

    text: str = ""
    end: End | None = None
    drafts: dict[str, str] = field(default_factory=dict[str, str])


def relay(happenings: Iterable[Happening], said: Said, *, show: bool) -> None:
    """Follow a query to its end: its progress on stderr and, if `show`, its text on stdout.

    OverloadedError, where it was not taken, says which place it would have had.
    """
    try:
        _relay(happenings, said, show=show)
    except OverloadedError as error:
        if error.position is None:
            raise
        place = f"it would have been {render.ordinal(error.position)} in the queue"
        again = f"come back in {ceil(error.retry_after)} s"
        error.message = f"{error.message}; {place}, {again}"
        raise
    _notes(said)


def _relay(happenings: Iterable[Happening], said: Said, *, show: bool) -> None:
    from dmoa.cli.told import Visit

    late: list[Visit] = []
    with render.Follow() as follow:
        for happening in happenings:
            if isinstance(happening, Visit) and show and said.text:
                late.append(happening)  # nothing comes between the pieces of an answer
            else:
                _take(happening, said, follow, show=show)
        if show and not said.text.endswith("\n"):
            render.piece("\n")
        for visit in late:
            follow.visit(visit)


def _take(happening: Happening, said: Said, follow: render.Follow, *, show: bool) -> None:
    """Show one thing that happened, and keep what the command will need of it."""
    from dmoa.cli.told import Draft, End, Place, Visit

    match happening:
        case Visit():
            follow.visit(happening)
        case Place():
            follow.place(happening)
        case Draft():
            said.drafts[happening.job] = said.drafts.get(happening.job, "") + happening.text
            follow.draft(happening)
        case End():
            said.end = happening
        case str():
            said.text += happening
            if show:
                follow.clear()
                render.piece(happening)


def _notes(said: Said) -> None:
    if said.end is None:
        return
    if said.end.trace is not None:
        for reason in said.end.trace.degraded:
            render.note(reason)
    if said.end.finish == "length":
        render.note("the answer was cut at its limit of tokens")


def note_default(said: Said) -> None:
    """Say why the own model answered alone, where nobody wanted it so."""
    trace = said.end.trace if said.end else None
    if trace is not None and trace.default is not None and trace.default.why == "unmeasured":
        render.note(
            f"the own model answered alone: {trace.default.detail}; `--layers 1 --fanout 2` asks "
            "for a mixture, and `dmoa eval` measures it"
        )


def read_prompt(prompt: str) -> str:
    """Take the prompt as it was given; `-` reads it from stdin."""
    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise UsageError("the prompt is empty", hint='write it like `dmoa ask "Why?"`')
    return text


@command('dmoa ask "Why is the sky blue?" --layers 2 --fanout 3', "dmoa ask - < prompt.txt")
@click.argument("prompt")
@url_option
@mixture_options()
@model_option
@private_option
@click.option(
    "--background", is_flag=True, help="Print an id and leave; `dmoa responses show ID` later"
)
@json_option("Write one JSON object instead of text")
def ask(  # noqa: PLR0913 - the options of a question
    *,
    prompt: str,
    url: str,
    model: str,
    private: bool,
    background: bool,
    as_json: bool,
    **mixture: int | None,
) -> None:
    """Ask the network one question.

    The answer is streamed to stdout. A PROMPT of - is read from stdin.
    """
    from dmoa.cli.client import Client
    from dmoa.cli.told import Turn

    if background:
        with Client(url) as node:
            question = read_prompt(prompt)
            made = node.ask_later(question, model=model, mixture=mixture, private=private)
        if as_json:
            render.data({"id": made.id, "status": made.status})
        else:
            click.echo(made.id)
        return
    turns = [Turn("user", read_prompt(prompt))]
    said = Said()
    with Client(url) as node:
        happenings = node.chat(turns, model=model, mixture=mixture, private=private)
        relay(happenings, said, show=not as_json)
    note_default(said)
    if as_json:
        render.data({"answer": said.text, "dmoa": said.end.raw if said.end else None})
