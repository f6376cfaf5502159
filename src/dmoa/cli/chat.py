"""`dmoa chat`: a conversation, turn by turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

from dmoa.cli import render
from dmoa.cli.ask import Said, note_default, relay
from dmoa.cli.options import command, mixture_options, model_option, private_option, url_option
from dmoa.errors import DmoaError, UsageError

if TYPE_CHECKING:
    from dmoa.cli.told import Happening, Turn

    Answer = Callable[[list[Turn]], Generator[Happening]]

_WORDS = "/quit or Ctrl-D leaves, /new starts over, Ctrl-C stops an answer"


@command("dmoa chat --layers 1 --fanout 3")
@url_option
@mixture_options()
@model_option
@private_option
def chat(*, url: str, model: str, private: bool, **mixture: int | None) -> None:
    """Talk with the network, turn by turn.

    Each line is one turn, typed or piped. /quit or Ctrl-D leaves, /new starts over,
    Ctrl-C stops an answer.
    """
    from dmoa.cli.client import Client

    typed = sys.stdin.isatty()
    turns: list[Turn] = []
    with Client(url) as node:
        answer = partial(node.chat, model=model, mixture=mixture, private=private)
        health = node.health()
        if typed:
            render.talk(f"{health.node} and {health.peers} peers listen; {_WORDS}")
        while (line := _next_line(typed=typed)) is not None:
            match line.strip():
                case "":
                    continue
                case "/quit":
                    return
                case "/new":
                    turns.clear()
                case word if word.startswith("/"):
                    _refuse(UsageError(f"{word} is no command", hint=_WORDS), typed=typed)
                case _:
                    _turn(answer, turns, line.rstrip("\n"), typed=typed)


def _next_line(*, typed: bool) -> str | None:
    """Read what the user says next; None when that was all."""
    if not typed:
        return sys.stdin.readline() or None
    with suppress(ImportError):
        __import__("readline")  # gives `input` a history and its keys
    while True:
        try:
            return input("> ")
        except EOFError:
            render.talk()
            return None
        except KeyboardInterrupt:
            render.talk(f"\n{_WORDS}")


def _turn(answer: Answer, turns: list[Turn], line: str, *, typed: bool) -> None:
    """Ask with the whole conversation; what was answered becomes a part of it."""
    from dmoa.cli.told import Turn

    said = Said()
    turns.append(Turn("user", line))
    try:
        with closing(answer(turns)) as happenings:
            relay(happenings, said, show=True)
    except KeyboardInterrupt:
        if not typed:
            raise
        render.talk("\n(stopped)")
    except DmoaError as error:
        _refuse(error, typed=typed)
    if said.text:
        if turns == [Turn("user", line)]:
            note_default(said)  # once is enough
        turns.append(Turn("assistant", said.text))
    else:
        turns.pop()


def _refuse(error: DmoaError, *, typed: bool) -> None:
    """Say what went wrong and go on, if a person is there to react."""
    if not typed:
        raise error
    render.error(error.message, error.hint)
