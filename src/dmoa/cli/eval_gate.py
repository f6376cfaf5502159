"""`dmoa eval gate`: the verdict of a run becomes what the model `dmoa` is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.eval_score import tables_of
from dmoa.cli.options import NO, command, json_option

if TYPE_CHECKING:
    from dmoa.study.evals import gate as gates


@command(
    "dmoa eval gate runs/monday",
    "dmoa eval gate runs/monday --mixture dmoa-m1k2-self --config node.toml --dry-run",
)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "--mixture",
    "named",
    metavar="CONFIGURATION",
    default="",
    help="The one to decide about  [default: the best of the run]",
)
@click.option("--node", metavar="NAME", default="", help="Whose configuration it is")
@click.option("--judge", metavar="NAME", default="", help="The judge to go by, of several")
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Configuration of the node  [default: that of `dmoa up`]",
)
@click.option(
    "--worth",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="The smallest gain worth having",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing")
@json_option("Write one JSON object instead of text")
def gate(  # noqa: PLR0913  (its options)
    *,
    run: Path,
    named: str,
    node: str,
    judge: str,
    file: Path | None,
    worth: float,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the verdict of a run into the configuration of a node.

    From its next start on, the model `dmoa` of that node is the mixture if it was measured to
    pay, and else the node's own model alone. Every mixture can still be asked for by its name;
    `default = "mixture"` in the configuration overrules the verdict. Exits with 3 where the
    mixture does not pay, or where that cannot be told.
    """
    from dmoa.config import default_file
    from dmoa.study.evals import gate as gates
    from dmoa.study.evals.table import Terms

    table = gates.one_of(tables_of(run, Terms(worth=worth)), judge=judge)
    found = gates.choose(table, named=named, node=node)
    place = file or default_file()
    if not dry_run:
        gates.write(place, found.line)
    if as_json:
        render.data(
            {
                "verdict": asdict(found.verdict),
                "line": found.line.text,
                "compared": found.compared,
                "config": str(place),
                "written": not dry_run,
            }
        )
    else:
        click.echo(found.line.text)
        _tell(found, place, dry_run=dry_run)
    if found.verdict.word != "pays":
        raise click.exceptions.Exit(NO)


def _tell(found: gates.Gate, place: Path, *, dry_run: bool) -> None:
    """Say what follows from it."""
    render.talk(found.verdict.words())
    if found.verdict.n < found.items:
        render.note(f"only {found.verdict.n} of the run's {found.items} items can be compared")
    if found.compared > 1:
        render.note(
            f"it did best of {found.compared} mixtures, and the interval allows for that luck; "
            "name one with --mixture if it was chosen before"
        )
    if not found.line.model:
        render.note("the members have different models; --node NAME binds it to the model of one")
    pays = found.verdict.word == "pays"
    served = found.verdict.configuration if pays else "the node's own model alone"
    render.talk(f"{'would be ' if dry_run else ''}written: {place}")
    render.talk(f"there the model dmoa is {served}, from the next start on")
