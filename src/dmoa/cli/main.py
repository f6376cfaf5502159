"""The `dmoa` command: what it offers, and how it ends when something went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from dmoa.cli import render
from dmoa.cli.ask import ask
from dmoa.cli.chat import chat
from dmoa.cli.demo import demo
from dmoa.cli.doctor import doctor
from dmoa.cli.eval import evaluate
from dmoa.cli.key import key
from dmoa.cli.load import load
from dmoa.cli.paper import paper
from dmoa.cli.peers import peers
from dmoa.cli.plan import plan
from dmoa.cli.realm import realm
from dmoa.cli.replay import replay
from dmoa.cli.responses import responses
from dmoa.cli.simulate import simulate
from dmoa.cli.top import top
from dmoa.cli.up import up
from dmoa.errors import DmoaError

INTERRUPTED = 128 + 2
"""Exit code after Ctrl-C, as a shell would say it."""

_HEADINGS = {
    "Run a network": (demo, up, ask, chat, responses, peers, top, realm, key, doctor, replay),
    "Study a network": (plan, simulate, load, evaluate, paper),
}


class Commands(click.Group):
    """A group whose help stands under headings, and whose errors are ours."""

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write every command below its heading, in the order of a first acquaintance."""
        for heading, commands in _HEADINGS.items():
            with formatter.section(heading):
                rows = [(each.name or "", each.get_short_help_str(80)) for each in commands]
                formatter.write_dl(rows)

    def main(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        """Run a command and leave with its exit code."""

        def run() -> object:
            return super(Commands, self).main(
                args=args, prog_name=prog_name or "dmoa", standalone_mode=False, **extra
            )

        sys.exit(_exit_code(run))


def _exit_code(run: Callable[[], object]) -> int:
    """Run, say on stderr what went wrong, and return what the shell should hear."""
    try:
        code = run()
        sys.stdout.flush()
    except DmoaError as error:
        render.error(error.message, error.hint)
        return error.exit_code
    except click.ClickException as error:
        render.error(error.format_message(), _usage_hint(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # What is left in the buffer must not be written at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _usage_hint(error: click.ClickException) -> str | None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see `{context.command_path} --help`" if context else None


_WELCOME = """Distributed mixture-of-agents: many small language models, one better answer.

\b
Start here:
    dmoa demo
    dmoa up
    dmoa ask "Why is the sky blue?"
"""


@click.group(
    cls=Commands,
    commands=[each for commands in _HEADINGS.values() for each in commands],
    context_settings={"help_option_names": ["-h", "--help"]},
    help=_WELCOME,
)
@click.version_option(package_name="dmoa", message="dmoa %(version)s")
def cli() -> None:
    """Take the command line apart."""


def main() -> NoReturn:
    """Run the `dmoa` command."""
    cli.main()
