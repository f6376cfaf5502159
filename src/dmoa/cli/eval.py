"""`dmoa eval`: does the mixture pay? Ask, judge, score, compare, and set the default by it."""

from __future__ import annotations

import click

from dmoa.cli.eval_gate import gate
from dmoa.cli.eval_judge import judge
from dmoa.cli.eval_run import run
from dmoa.cli.eval_score import score, table

_STEPS = (run, judge, score, table, gate)


class Steps(click.Group):
    """A group whose steps stand in the order in which they are taken."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the steps."""
        del ctx
        return [each.name or "" for each in _STEPS]


_HELP = """Measure whether the mixture pays

Items are asked of every node alone and of mixtures, on live nodes; the answers are scored by
what is right, or by a judge; and a verdict says whether a mixture is better than the best
member, and can be made the default of a node.

\b
Example:
    dmoa eval run --nodes nodes.toml --ask dmoa-m1k2 --out first
    dmoa eval table first --plot first.svg
    dmoa eval gate first
"""


@click.group(name="eval", cls=Steps, commands=list(_STEPS), help=_HELP)
def evaluate() -> None:
    """Take the command line of a step apart."""
