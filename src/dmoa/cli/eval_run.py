"""`dmoa eval run`: items asked of every configuration, on nodes that run or that it starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option
from dmoa.cli.progress import progress_bar
from dmoa.errors import DmoaError, UsageError

if TYPE_CHECKING:
    from dmoa.study.evals.ask_records import Tally
    from dmoa.study.evals.asking import Abandoned, Standing
    from dmoa.study.evals.plan import Draft, Run
    from dmoa.study.evals.records import Item, Member

_FILE = click.Path(path_type=Path)


@command(
    "dmoa eval run --nodes nodes.toml --ask local,dmoa-m1k2 --out run",
    "dmoa eval run --url http://127.0.0.1:4747 --ask dmoa-m2k2 --limit 100 --out run",
    "dmoa eval run --items alpaca_eval --nodes nodes.toml --ask dmoa-m1k2 --rate 0.05 --out run",
)
@click.option(
    "--items",
    "source",
    metavar="SOURCE",
    help="tasks, alpaca_eval, mt_bench or a file  [default: tasks]",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Ask N of the items only")
@click.option("--nodes", "file", type=_FILE, metavar="FILE.toml", help="Start these nodes here")
@click.option("--url", "urls", metavar="URL", multiple=True, help="A node to ask; repeatable")
@click.option(
    "--ask",
    required=True,
    metavar="CONFIGURATION[,...]",
    help="local, local@NODE, dmoa-mMkK[-RECIPE]",
)
@click.option("--out", required=True, type=_FILE, metavar="RUN", help="Folder to keep it in")
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    metavar="NUMBER",
    help="Queries/s at each node, by chance  [default: as many at once as there are slots]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Items under way at once  [default: the slots of the nodes asked]",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, 86_400, min_open=True),
    metavar="SECONDS",
    help="For each answer  [default: the node's]",
)
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Of each answer")
@click.option("--seed", type=int, default=1, show_default=True, help="Of samples and arrivals")
@click.option(
    "--members/--no-members", default=True, help="Ask every node's own model too  [default: yes]"
)
@click.option("--retry-failed", is_flag=True, help="Ask again what failed before")
@json_option("Write one JSON object instead of a table")
def run(*, file: Path | None, out: Path, as_json: bool, **options: Any) -> None:
    """Ask items of live nodes, and keep every answer.

    One configuration after the other is asked all items. A run that was stopped, however, goes
    on where it was when the same command is given again. Exits with 3 where nothing was
    answered.
    """
    from dmoa.study.evals.members import read_members
    from dmoa.study.evals.plan import Run

    urls: tuple[str, ...] = options.pop("urls")
    if bool(urls) == (file is not None):
        raise UsageError(
            "--url and --nodes exclude each other" if urls else "there are no nodes to ask",
            hint="give --url URL for nodes that run, or --nodes FILE.toml to start some",
        )
    _check(options)
    started = () if file is None else read_members(file)
    began = time.monotonic()
    with Run(out) as kept:
        draft = _draft(kept, options, started)
        draft.check(kept)
        try:
            abandoned = _ask(kept, draft, urls, again=options["retry_failed"])
        except KeyboardInterrupt:
            _tell_stopped(kept)
            raise click.Abort from None
        answered = _end(kept, time.monotonic() - began, as_json=as_json)
    if abandoned:
        from dmoa.study.evals.asking import unanswered

        raise unanswered(abandoned)
    if not answered:
        render.talk("no: nothing was answered")
        raise click.exceptions.Exit(NO)


# -- what is wanted -----------------------------------------------------------------------


def _check(options: dict[str, Any]) -> None:
    if options["rate"] is not None and options["concurrency"] is not None:
        raise UsageError(
            "--rate asks when items are due, and --concurrency when others are over",
            hint="give one of them",
        )


def _draft(kept: Run, options: dict[str, Any], started: tuple[Member, ...]) -> Draft:
    """Bring together what was said; items come from the folder unless others are named."""
    from dmoa.study.evals.plan import Draft

    source, limit = options["source"], options["limit"]
    if kept.plan is not None and source is None and limit is None:
        items = kept.items
    else:
        items = _items(source or "tasks", limit, options["seed"])
    return Draft(
        ask=options["ask"],
        items=items,
        seed=options["seed"],
        rate=options["rate"] or 0.0,
        concurrency=options["concurrency"] or 0,
        deadline=options["deadline"] or 0.0,
        max_tokens=options["max_tokens"] or 0,
        members=options["members"],
        started=started,
    )


def _items(source: str, limit: int | None, seed: int) -> tuple[Item, ...]:
    from dmoa.study.evals.items import load_items

    return load_items(source, limit=limit, seed=seed, progress=render.note)


# -- asking -------------------------------------------------------------------------------


def _ask(kept: Run, draft: Draft, urls: Sequence[str], *, again: bool) -> tuple[Abandoned, ...]:
    """Ask what is left; start the nodes for it, unless nothing is."""
    if kept.plan is not None and kept.answers:
        render.talk(f"{kept.folder.place} has {len(kept.answers)} answers; the run goes on")
    if not draft.started:
        return _ask_at(kept, draft, urls, again=again)
    if kept.plan is not None and not any(
        kept.left(each, again=again) for each in kept.plan.configurations
    ):
        render.talk("nothing is left to ask")
        return ()
    from dmoa.assemble import prepare
    from dmoa.cli.fleet import Fleet

    models = [each.model for each in draft.started]
    prepare(models, render.talk)
    names, settings = zip(*((each.node, each.settings) for each in draft.started), strict=True)
    with Fleet(models, settings=settings, names=names) as fleet:
        count = len(models)
        render.talk(f"{count} {'node starts' if count == 1 else 'nodes start'} on this machine")
        fleet.wait_ready(lambda one: render.talk(f"{one.name} is ready with {one.model}"))
        fleet.wait_met()
        found = _ask_at(kept, draft, [each.url for each in fleet.members], again=again)
        try:
            fleet.check()
        except DmoaError as error:  # what was answered until then is kept
            render.note(error.message)
        return found


def _ask_at(kept: Run, draft: Draft, urls: Sequence[str], *, again: bool) -> tuple[Abandoned, ...]:
    from dmoa.study.evals.asking import perform

    if not draft.members:
        render.note("without --members nobody can tell which member is the best")
    with progress_bar("ask") as bar:

        def told(standing: Standing) -> None:
            bar(standing.done, standing.total, _words(standing))

        return asyncio.run(perform(kept, urls, draft, told, again=again))


def _words(standing: Standing) -> str:
    """Tell what is asked now, and what it costs in tokens."""
    parts = [f"{standing.configuration}, {standing.items} of {standing.count} items"]
    if standing.expected is not None:
        parts.append(f"{standing.tokens:,} of about {standing.expected:,} tokens")
    return ", ".join(parts)


def _tell_stopped(kept: Run) -> None:
    if kept.plan is None:
        render.talk("stopped; nothing was asked")
        return
    total = len(kept.plan.configurations) * len(kept.items)
    render.talk(f"stopped; {kept.folder.place} keeps {len(kept.answers)} of {total} answers")
    render.talk("the same command goes on from there")


# -- the end ------------------------------------------------------------------------------


def _end(kept: Run, seconds: float, *, as_json: bool) -> int:
    """Write the outputs, say what came of it and what to do next; tell how many were answered."""
    from dmoa.study.evals.ask_records import tally_of
    from dmoa.study.evals.outputs import write_outputs

    assert kept.plan is not None, "it has begun"
    write_outputs(kept.folder)
    names, count = kept.plan.configurations, len(kept.items)
    tallies = [tally_of(name, kept.of(name), count) for name in names]
    if as_json:
        rows = [asdict(each) for each in tallies]
        told = {"run": str(kept.folder.place), "items": count, "seconds": round(seconds, 3)}
        render.data(told | {"configurations": rows})
    else:
        _show(tallies)
    read = sum(each.prompt_tokens for each in tallies)
    wrote = sum(each.completion_tokens for each in tallies)
    render.talk(
        f"{count} items, {len(names)} configurations: {read:,} tokens read and {wrote:,} written; "
        f"{_time(seconds)} this time"
    )
    answered = sum(each.answered for each in tallies)
    if answered:
        _tell_next(kept)
    return answered


def _tell_next(kept: Run) -> None:
    """Say what to do with the answers."""
    place = kept.folder.place
    render.talk(f"the answers in AlpacaEval's form are in {kept.folder.outputs}")
    if all(each.metric for each in kept.items):
        render.talk(f"next: dmoa eval table {place}")
    else:
        render.talk(f"next: dmoa eval judge {place} --judge URI, then dmoa eval table {place}")


def _show(tallies: Sequence[Tally]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration", overflow="fold")
    others = [key for key in ("refused", "expired", "failed") if any(_of(tallies, key))]
    for heading in ("answered", *others, "mean", "read", "written", "jobs"):
        table.add_column(heading, justify="right")
    for each in tallies:
        mean = "-" if each.mean_seconds is None else f"{each.mean_seconds:.2f} s"
        table.add_row(
            render.plain(each.configuration),
            str(each.answered),
            *(str(getattr(each, key)) for key in others),
            mean,
            f"{each.prompt_tokens:,} tokens",
            f"{each.completion_tokens:,} tokens",
            str(each.jobs),
        )
    render.console().print(table)


def _of(tallies: Sequence[Tally], key: str) -> list[int]:
    return [getattr(each, key) for each in tallies]


def _time(seconds: float) -> str:
    """Write a time as people do."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
