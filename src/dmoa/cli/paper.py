"""`dmoa paper`: a claim of the paper, measured again beside what the paper says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option
from dmoa.cli.progress import progress_bar

if TYPE_CHECKING:
    from dmoa.study.paper.claim import Claim, Column, Value

_NAMES = ("theorem1", "remark1", "table1", "table2", "overload", "policies")


@command("dmoa paper table1", "dmoa paper policies --plot gains.svg")
@click.argument("claim", type=click.Choice(_NAMES))
@click.option(
    "--effort",
    type=click.FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="How much to simulate, in multiples of what the documents quote",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Where the dice begin")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it: .png, .svg")
@json_option("Print the rows and findings as one JSON object")
def paper(claim: str, effort: float, seed: int, plot: Path | None, *, as_json: bool) -> None:
    """Measure a claim of the paper again, and compare.

    Prints the paper's figures beside ours, the error, and what was fitted or assumed. Exits
    with 3 where a finding does not hold.
    """
    from dmoa.study import paper as study
    from dmoa.study import plots

    if plot is not None:
        plots.check(plot)
    began = time.monotonic()
    with progress_bar(f"paper {claim}") as step:
        result = study.measure(claim, effort=effort, seed=seed, progress=step)
    if as_json:
        render.data(_as_dict(result))
    else:
        _show(result, study.CLAIMS[claim])
    if plot is not None:
        draw = plots.bars if result.bars else plots.lines
        draw(result.panels, plot, title=result.title)
        render.talk(f"drawn: {plot}")
    render.talk(f"measured in {time.monotonic() - began:.1f} s, seed {seed}, effort {effort:g}")
    if not result.holds:
        raise click.exceptions.Exit(NO)


def _as_dict(claim: Claim) -> dict[str, object]:
    keys = [column.key for column in claim.columns]
    return {
        "claim": claim.name,
        "title": claim.title,
        "units": {column.key: column.unit for column in claim.columns if column.unit},
        "rows": [dict(zip(keys, row, strict=True)) for row in claim.rows],
        "findings": [{"text": each.text, "holds": each.holds} for each in claim.findings],
        "assumed": list(claim.assumed),
        "holds": claim.holds,
    }


def _show(claim: Claim, purpose: str) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = render.console()
    screen.print(Text(f"{claim.title}: {purpose}", style="bold"))
    screen.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(claim.columns):
        numbers = any(isinstance(row[index], int | float) for row in claim.rows)
        heading = f"{column.heading}\n{column.unit}" if column.unit else column.heading
        table.add_column(Text(heading), justify="right" if numbers else "left", overflow="fold")
    for row in claim.rows:
        pairs = zip(claim.columns, row, strict=True)
        table.add_row(*(_written(column, value) for column, value in pairs))
    screen.print(table)
    screen.print()
    for finding in claim.findings:
        mark = Text("holds   ", style="green") if finding.holds else Text("fails   ", style="red")
        screen.print(mark.append(Text(finding.text, style="default")), soft_wrap=True)
    for each in claim.assumed:
        line = Text("assumed ", style="yellow").append(Text(each, style="default"))
        screen.print(line, soft_wrap=True)


def _written(column: Column, value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, column.form) if isinstance(value, int | float) else value
