"""`dmoa eval score` and `dmoa eval table`: how good it was, how dear, and whether it pays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option
from dmoa.errors import UsageError

if TYPE_CHECKING:
    from dmoa.study.evals.scores import Measure
    from dmoa.study.evals.table import Table, Terms
    from dmoa.study.evals.table_text import Grid
    from dmoa.study.evals.winrate import Difficulties, Judged

_FILE = click.Path(path_type=Path)
_RUN = click.argument("run", type=_FILE, metavar="RUN")
_DIFFICULTY = click.option(
    "--difficulty",
    metavar="FILE.csv|hub",
    help="Of AlpacaEval's instructions, to control for length as its leaderboard does",
)
_FORMATS = {"markdown": ".md", "csv": ".csv", "json": ".json", "terminal": ""}


# -- score --------------------------------------------------------------------------------


@command(
    "dmoa eval score runs/monday",
    "dmoa eval score runs/alpaca --difficulty df_gamed.csv",
    "dmoa eval score --preferences preferences.csv --lengths lengths.csv --difficulty df_gamed.csv",
)
@click.argument("run", type=_FILE, metavar="[RUN]", required=False)
@_DIFFICULTY
@click.option(
    "--preferences",
    type=_FILE,
    metavar="FILE.csv",
    help="Published judgements instead of a run: index, and a column per model",
)
@click.option("--lengths", type=_FILE, metavar="FILE.csv", help="Of the same answers, in letters")
@click.option(
    "--reference",
    metavar="NAME",
    default="gpt4_1106_preview",
    show_default=True,
    help="The column of --lengths that all were compared with",
)
@json_option("Write one JSON object instead of tables")
def score(*, run: Path | None, preferences: Path | None, as_json: bool, **options: Any) -> None:
    """Score the answers of a run: accuracy, win rate, and win rate controlled for length.

    Items with known answers are scored by their metric, judged ones by what the judge preferred.
    A query without an answer counts as wrong. Exits with 3 where more than 5 % of the answers
    could not be judged.
    """
    from dmoa.study.evals.winrate import read_published

    if (run is None) == (preferences is None):
        raise UsageError("give either the folder of a run or --preferences")
    known = _known(options["difficulty"])
    if run is not None:
        _score_run(run, known, as_json=as_json)
    elif preferences is not None:
        lengths, reference = options["lengths"], options["reference"]
        if lengths is None:
            raise UsageError(
                "--preferences need --lengths",
                hint="without lengths a win rate cannot be controlled for them",
            )
        published = read_published(preferences, lengths, reference)
        _published(published, reference, known, as_json=as_json)


def _published(
    judged: Mapping[str, Judged], reference: str, known: Difficulties | None, *, as_json: bool
) -> None:
    """Score published judgements as the leaderboard does."""
    from dataclasses import asdict

    from dmoa.cli.progress import progress_bar
    from dmoa.study.evals.table_text import finite
    from dmoa.study.evals.winrate import length_controlled, win_rate_of

    rows: list[dict[str, Any]] = []
    with progress_bar("score") as bar:
        for number, (name, each) in enumerate(judged.items()):
            bar(number, len(judged), name)
            mean_length = sum(each.lengths) / len(each.lengths) if len(each.lengths) else 0.0
            rows.append(
                {"model": name}
                | asdict(win_rate_of(each.preferences))
                | {"avg_length": mean_length}
                | {"length_controlled": asdict(length_controlled(each, known))}
            )
    if as_json:
        render.data({"reference": reference, "rows": finite(rows)})
        return
    grid = [
        ["model", "win rate %", "discrete %", "length-controlled %", "board's", "items", "letters"]
    ]
    for row in rows:
        told = row["length_controlled"]
        grid.append(
            [
                row["model"],
                f"{row['win_rate']:.2f} ± {row['standard_error']:.2f}",
                f"{row['discrete']:.2f}",
                f"{told['win_rate']:.2f} ± {told['interval']['error']:.2f}",
                f"± {told['package_error']:.2f}",
                str(row["count"]),
                f"{row['avg_length']:.0f}",
            ]
        )
    _show(grid)
    render.note(
        "± is one standard error; that of length-controlled win rates is by refits to resamples, "
        "the board's is smaller as it takes the fit for certain"
    )
    if rows and not rows[0]["length_controlled"]["regularised"]:
        render.note("without the gamed baselines of AlpacaEval 2.0; not comparable with its board")


def _score_run(place: Path, known: Difficulties | None, *, as_json: bool) -> None:
    """Score a run by all that it can be measured by."""
    from dmoa.study.evals import table_text as text
    from dmoa.study.evals.table import Terms

    tables = tables_of(place, Terms(known=known))
    if as_json:
        render.data(text.as_dict(tables))
    else:
        for table in tables:
            _heading(text.title(table))
            _show(_scores(table))
            for line in text.remarks(table):
                render.note(line)
    _end([each.measure for each in tables])


def _scores(table: Table) -> Grid:
    """Lay out the figures of one measure, with their standard errors."""
    grid = [["configuration", f"{table.measure.name} %", "95 %", "items", "unanswered"]]
    controlled = any(each.controlled for each in table.rows)
    if table.measure.judge:
        grid[0].append("unjudged")
    if controlled:
        grid[0] += ["length-controlled %", "letters"]
    for row in table.rows:
        value, counts, told = row.value, row.cost.counts, row.controlled
        cells = [row.configuration, "-", "-"]
        if isfinite(value.error):
            cells[1:] = [
                f"{value.mean:.2f} ± {value.error:.2f}",
                f"{value.low:.1f} to {value.high:.1f}",
            ]
        cells += [str(value.count), str(sum(counts.values()) - counts["answered"])]
        if table.measure.judge:
            cells.append(str(row.unjudged))
        if controlled:
            cells.append(f"{told.win_rate:.2f} ± {told.interval.error:.2f}" if told else "-")
            cells.append(f"{row.cost.length:.0f}" if counts["answered"] else "-")
        grid.append(cells)
    return grid


# -- table --------------------------------------------------------------------------------


@command(
    "dmoa eval table runs/monday",
    "dmoa eval table runs/monday --format markdown --out table.md --plot table.svg",
)
@_RUN
@_DIFFICULTY
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_FORMATS)),
    help="Of what is written  [default: by the name of --out, or terminal]",
)
@click.option("--out", type=_FILE, metavar="FILE", help="Write it there: .md, .csv, .json")
@json_option("Write one JSON object, as --format json does in lines")
@click.option("--plot", type=_FILE, metavar="FILE", help="Draw accuracy over time: .png, .svg")
@click.option(
    "--worth",
    type=click.FloatRange(0, 100),
    default=1.0,
    show_default=True,
    metavar="POINTS",
    help="The smallest gain worth having",
)
@click.option(
    "--paper",
    type=click.Choice(["same", "diverse", "none"]),
    help="Beside it: Table I, Table II, none  [default: by the models]",
)
def table(
    *, run: Path, form: str | None, out: Path | None, plot: Path | None, **options: Any
) -> None:
    """Show how good and how dear every configuration was, and whether a mixture pays.

    Each is compared with the best node's own model alone, with a verdict in words. Exits with 3
    where more than 5 % of the answers could not be judged.
    """
    from dmoa.study import plots
    from dmoa.study.evals import table_text
    from dmoa.study.evals.table import Terms

    if options["as_json"] and (form or out):
        raise UsageError("--json goes without --format and --out")
    form = form or _form_of(out)
    if out is not None and form == "terminal":
        raise UsageError("--out is for markdown, csv and json")
    if plot is not None:
        plots.check(plot)
    known = _known(options["difficulty"])
    tables = tables_of(run, Terms(known=known, worth=options["worth"], paper=options["paper"]))
    if options["as_json"]:
        render.data(table_text.as_dict(tables))
    elif form == "terminal":
        for each in tables:
            _show_table(each)
    else:
        _write(_written(tables, form), out)
    if plot is not None:
        _draw(tables, plot)
    _end([each.measure for each in tables])


def _written(tables: Sequence[Table], form: str) -> str:
    from dmoa.study.evals import table_text as text

    match form:
        case "markdown":
            return text.markdown(tables)
        case "csv":
            return text.comma_separated(tables)
        case _:
            return json.dumps(text.as_dict(tables), ensure_ascii=False, indent=2) + "\n"


def _draw(tables: Sequence[Table], plot: Path) -> None:
    from dmoa.study import plots
    from dmoa.study.evals import picture

    drawn = picture.panels(tables)
    if not drawn:
        raise UsageError("nothing can be drawn: no query was answered")
    plots.lines(drawn, plot, columns=2)
    render.talk(f"drawn: {plot}")


def _form_of(out: Path | None) -> str:
    """Tell the form by the name of the file; UsageError where that says nothing."""
    if out is None:
        return "terminal"
    for form, suffix in _FORMATS.items():
        if suffix and out.suffix.lower() == suffix:
            return form
    raise UsageError(
        f"a table is written as .md, .csv or .json, not as {out.name!r}",
        hint=f"name it {out.stem or 'table'}.md, or say --format",
    )


def _write(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from None
    render.talk(f"written: {out}")


def _show_table(table: Table) -> None:
    """Write one table to the terminal, with its sentences."""
    from dmoa.study.evals import table_text as text

    _heading(text.title(table))
    _show(text.quality_grid(table))
    _show(text.cost_grid(table))
    for line in text.verdicts(table):
        click.echo(render.plain(line))
    click.echo()
    if grid := text.kinds_grid(table):
        _heading(f"{table.measure.name} % by kind of task (items)")
        _show(grid)
    if grid := text.paper_grid(table):
        _heading(text.paper_title(table))
        _show(grid)
    for line in text.remarks(table):
        render.note(line)


def _known(source: str | None) -> Difficulties | None:
    """Read difficulties from a file, or from the public one on the hub."""
    from dmoa.study.evals import hubset
    from dmoa.study.evals.winrate import read_difficulties

    if source is None:
        return None
    file = hubset.fetched(hubset.DIFFICULTIES, render.talk) if source == "hub" else Path(source)
    return read_difficulties(file)


# -- both ---------------------------------------------------------------------------------


def tables_of(place: Path, terms: Terms) -> list[Table]:
    """Make a table for each measure of a run; UsageError where nothing can be measured."""
    from dmoa.cli.progress import progress_bar
    from dmoa.study.evals.folder import Folder
    from dmoa.study.evals.scores import Run, measures_of
    from dmoa.study.evals.table import table_of

    run = Run.read(Folder(place))
    measures = measures_of(run)
    if not measures:
        raise UsageError(
            f"the items of {place} have no known answers, and nothing was judged",
            hint="judge them first: dmoa eval judge",
        )
    tables: list[Table] = []
    with progress_bar("score") as bar:
        for number, each in enumerate(measures):
            bar(number, len(measures), each.judge or each.name)
            tables.append(table_of(run, each, terms))
    return tables


def _end(measures: Sequence[Measure]) -> None:
    """Exit with the answer no, where too much could not be judged."""
    from dmoa.study.evals.table_text import unjudged_words

    doubtful = [each for each in measures if each.doubtful]
    for each in doubtful:
        render.talk(f"no: {unjudged_words(each)}, more than 5 %")
    if doubtful:
        raise click.exceptions.Exit(NO)


def _heading(text: str) -> None:
    from rich.text import Text

    render.console().print(Text(render.plain(text), style="bold"))


def _show(grid: Grid) -> None:
    """Draw a grid: names on the left, figures on the right."""
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(grid[0]):
        drawn.add_column(
            Text(render.plain(heading)),
            justify="right" if number else "left",
            overflow="fold",
            no_wrap=bool(number),
        )
    for row in grid[1:]:
        drawn.add_row(*(Text(render.plain(each)) for each in row))
    screen = render.console()
    screen.print(drawn)
    screen.print()
