"""`dmoa eval judge`: which answers are better, by a judge that is watched as well."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option
from dmoa.cli.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from dmoa.study.evals.docket import Wish
    from dmoa.study.evals.folder import Folder
    from dmoa.study.evals.judge import Judge
    from dmoa.study.evals.judged import Tally
    from dmoa.study.evals.judging import Bench
    from dmoa.study.evals.official import Official, Package

_VERDICTS = ("rubbish", "refused", "timeout", "failed")
_HALF = 0.5
_LONE = 0.1
"""Share of judgements with one identifier alone that is worth a remark."""
_FLIPS = 0.2
"""Share of the pairs from which on flips are worth a remark."""
_LEAN = 0.1
"""How far the mean preference for the first may be from a half, without a remark."""
_LENGTH = 0.3
"""Correlation of preference and length that is worth a remark."""
_THOUSAND = 1000


@command(
    "dmoa eval judge runs/one --judge 'openai:http://127.0.0.1:8000/v1#judge'",
    "dmoa eval judge runs/one --judge 'openai:https://api.openai.com/v1#gpt-4-1106-preview'",
    "dmoa eval judge runs/one --judge openai:http://127.0.0.1:8000/v1 --reference local@n1",
)
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--judge", "uri", metavar="URI", required=True, help="openai:URL#MODEL, or with ?key_env=NAME"
)
@click.option(
    "--reference",
    metavar="baseline|CONFIGURATION",
    default="baseline",
    show_default=True,
    help="What answers are compared with",
)
@click.option("--configurations", metavar="NAME[,...]", help="To judge  [default: all]")
@click.option(
    "--draws",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Times that each question is put",
)
@click.option(
    "--both-orders/--one-order",
    "both",
    default=True,
    show_default=True,
    help="Ask with either answer first, or as AlpacaEval does",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1000),
    default=8,
    show_default=True,
    help="Questions under way at once",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, 86_400, min_open=True),
    metavar="SECONDS",
    help="For one try  [default: 120]",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the one order; 0 is AlpacaEval's"
)
@click.option(
    "--template",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask in other words, in AlpacaEval's format",
)
@click.option(
    "--annotator",
    type=click.Choice(["own", "alpaca_eval"]),
    default="own",
    show_default=True,
    help="Who asks: dmoa, or AlpacaEval's package",
)
@json_option("Write one JSON object instead of tables")
def judge(*, run: Path, uri: str, annotator: str, as_json: bool, **options: Any) -> None:
    """Let a judge compare the answers of a run with a reference.

    Every judgement is kept in the run as it comes, and none is asked for twice. What a judge
    could not judge is nobody's win: exits with 3 where that is more than 5 % of the items.
    """
    from dmoa.study.evals.folder import Folder
    from dmoa.study.evals.judge import TIMEOUT, Judge

    concurrency = options["concurrency"]
    asked = Judge(uri, timeout=options["timeout"] or TIMEOUT)
    wish = _wish(options)
    if annotator == "alpaca_eval":
        from dmoa.study.evals.official import Package

        package = Package.find(asked, options["template"], concurrency, wish.seed)
        _official(Folder(run), wish, package, as_json=as_json)
    else:
        _own(Folder(run), asked, wish, concurrency, as_json=as_json)


def _wish(options: dict[str, Any]) -> Wish:
    from dmoa.study.evals.docket import Wish
    from dmoa.study.evals.template import OWN, read_template

    names = (each.strip() for each in (options["configurations"] or "").split(","))
    file = options["template"]
    return Wish(
        reference=options["reference"],
        configurations=tuple(name for name in names if name),
        draws=options["draws"],
        both=options["both"],
        seed=options["seed"],
        template=OWN if file is None else read_template(file),
    )


# -- by ourselves -------------------------------------------------------------------------


def _own(folder: Folder, judge: Judge, wish: Wish, concurrency: int, *, as_json: bool) -> None:
    from dmoa.study.evals.judged import UNJUDGED_MAX, tally
    from dmoa.study.evals.judging import judge_run

    with progress_bar("judge") as bar:
        try:
            docket, bench = asyncio.run(
                judge_run(folder, judge, wish, concurrency=concurrency, report=bar)
            )
        except KeyboardInterrupt:
            bar.say("stopped; what was judged is kept, and the same command goes on from there")
            raise click.Abort from None
    tallies = tally(docket, bench)
    if as_json:
        render.data(_data(tallies, bench, judge, wish))
    else:
        from rich.text import Text

        screen = render.console()
        title = f"{judge.name}, against {wish.reference}"
        screen.print(Text(render.plain(title), style="bold"), soft_wrap=True)
        screen.print()
        screen.print(_table(tallies))
        screen.print()
        screen.print(Text(_made(bench, judge)))
        for line in _remarks(tallies, bench):
            render.note(line)
    bad = [each for each in tallies if each.unjudged > UNJUDGED_MAX]
    if bad:
        for each in bad:
            render.talk(
                f"no: {each.items - each.judged} of {each.items} items of {each.configuration} "
                f"({each.unjudged:.1%}) could not be judged, and {UNJUDGED_MAX:.0%} may"
            )
        raise click.exceptions.Exit(NO)


def _table(tallies: Sequence[Tally]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration", overflow="fold")
    for heading in ("judged", "win rate", "flips", "first", "length", "read"):
        table.add_column(heading, justify="right")
    for each in tallies:
        flips = each.flips / each.pairs if each.pairs else nan
        table.add_row(
            render.plain(each.configuration),
            f"{each.judged} of {each.items}",
            _rate(each.win_rate, each.standard_error),
            _percent(100.0 * flips),
            _percent(100.0 * each.first),
            f"{each.length:+.2f}" if isfinite(each.length) else "-",
            f"{_short(each.prompt_tokens)} tokens",
        )
    return table


def _made(bench: Bench, judge: Judge) -> str:
    """Tell where the judgements come from."""
    parts = [f"{bench.asked} judgements asked for now", f"{bench.known} known before"]
    if bench.copied:
        parts.append(f"{bench.copied} of texts that were judged already")
    if judge.retries:
        parts.append(f"{judge.retries} tries again")
    return ", ".join(parts)


def _remarks(tallies: Sequence[Tally], bench: Bench) -> Iterable[str]:
    """Say what to take with care."""
    if bench.gave_up:
        yield f"the judge failed too often in a row, and is not asked any more: {bench.gave_up}"
    for each in tallies:
        name = each.configuration
        if each.unasked:
            yield f"{each.unasked} items were not asked of {name} yet; go on with `dmoa eval run`"
        if each.unreferenced:
            yield f"{each.unreferenced} items of {name} have nothing to be compared with"
        bad = {verdict: each.verdicts.get(verdict, 0) for verdict in _VERDICTS}
        if any(bad.values()):
            told = ", ".join(f"{count} {verdict}" for verdict, count in bad.items() if count)
            yield f"judgements of {name} that are none: {told}; they are asked again next time"
        if each.no_answer:
            yield f"{each.no_answer} items without an answer of {name} are losses"
        if each.same_text:
            answers = "answer is" if each.same_text == 1 else "answers are"
            yield f"{each.same_text} {answers} the reference's text ({name}): a draw"
        if each.cut:
            yield f"answers to {each.cut} items of {name} or the reference's were cut"
        yield from _leanings(each)


def _leanings(each: Tally) -> Iterable[str]:
    name = each.configuration
    if each.pairs and each.flips / each.pairs > _FLIPS:
        yield (
            f"the judge contradicts itself on {each.flips / each.pairs:.0%} of the items of {name} "
            "when their order is swapped"
        )
    if abs(each.first - _HALF) > _LEAN:
        which, share = ("first", each.first) if each.first > _HALF else ("second", 1 - each.first)
        yield f"the judge leans to what stands {which}: {share:.0%} of its preference ({name})"
    if abs(each.length) > _LENGTH:
        which = "longer" if each.length > 0 else "shorter"
        yield f"the judge prefers {which} answers (correlation {each.length:+.2f}, {name})"
    if each.graded == 0.0:
        yield f"the judge gives no log probabilities: judgements of {name} are all or nothing"
    if each.lone > _LONE:
        yield (
            f"in {each.lone:.0%} of the judgements of {name} only one of m and M was among the log "
            "probabilities: these are all or nothing"
        )


def _data(tallies: Sequence[Tally], bench: Bench, judge: Judge, wish: Wish) -> dict[str, Any]:
    """Tell all of it to a program; what is no number is null."""
    return {
        "judge": judge.name,
        "reference": wish.reference,
        "both_orders": wish.both,
        "draws": wish.draws,
        "asked": bench.asked,
        "known": bench.known,
        "copied": bench.copied,
        "retries": judge.retries,
        "gave_up": bench.gave_up,
        "configurations": [
            _finite(asdict(each)) | {"unjudged_share": each.unjudged} for each in tallies
        ],
        "notes": list(_remarks(tallies, bench)),
    }


# -- by the package -----------------------------------------------------------------------


def _official(folder: Folder, wish: Wish, package: Package, *, as_json: bool) -> None:
    from dmoa.study.evals.official import evaluate

    judge = package.judge
    render.talk("alpaca_eval judges; that takes seconds to begin, and as long as the judge does")
    try:
        found = evaluate(folder, wish, package)
    except KeyboardInterrupt:
        raise click.Abort from None
    if as_json:
        rows = [_finite(asdict(each)) for each in found]
        render.data({"judge": judge.name, "reference": wish.reference, "configurations": rows})
        return
    render.console().print(_official_table(found))
    for each in found:
        for line in each.notes:
            render.note(f"{each.configuration}: {line}")


def _official_table(found: Sequence[Official]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("configuration", overflow="fold")
    for heading in ("items", "alpaca_eval", "length-controlled", "dmoa, one order"):
        table.add_column(heading, justify="right")
    for each in found:
        table.add_row(
            render.plain(each.configuration),
            str(each.items),
            _rate(each.win_rate, each.standard_error),
            _rate(each.length_controlled, each.length_controlled_error),
            _percent(each.own),
        )
    return table


def _rate(percent: float, error: float) -> str:
    if not isfinite(percent):
        return "-"
    return f"{percent:.2f}" + (f" ±{error:.2f} %" if isfinite(error) else " %")


def _short(count: int) -> str:
    """Write a large number in thousands."""
    return str(count) if count < 10 * _THOUSAND else f"{count / _THOUSAND:.0f}k"


def _percent(value: float) -> str:
    return f"{value:.1f} %" if isfinite(value) else "-"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not isfinite(value) else value
        for key, value in row.items()
    }
