"""What a person sees: talk on stderr, data on stdout, tables, trees and live progress."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:  # rich takes a quarter of a second, and `--help` needs none of it
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
    from rich.tree import Tree

    from dmoa.cli.told import Draft, Mixture, Neighbourhood, Place, Standing, Trace, Visit

_PLAIN_WIDTH = 120
"""Columns where the output is no terminal."""
_DRAFT_LETTERS = 60
"""Of each draft in a tree."""
_LONG = 120.0
"""Seconds from which on an expectation is told in minutes."""
_STYLES = {"ok": "green", "pending": "yellow"}

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Take out what would steer the terminal: nobody's text may do that."""
    return _CONTROLS.sub("", text)


def talk(text: str = "") -> None:
    """Say something to the person, beside the data."""
    click.echo(plain(text), err=True)


def note(text: str) -> None:
    """Say what the person should know about a result."""
    talk(f"note: {text}")


def error(message: str, hint: str | None = None) -> None:
    """Say what went wrong in one line, and after a blank one what to do about it."""
    _labelled("error", message, "red")
    if hint:
        click.echo(err=True)
        _labelled("hint", hint, "cyan")


def data(value: object) -> None:
    """Write one JSON object as one line of data."""
    click.echo(json.dumps(value, ensure_ascii=False))


def piece(text: str) -> None:
    """Write a piece of an answer at once; to a terminal only what cannot steer it."""
    click.echo(plain(text) if sys.stdout.isatty() else text, nl=False)


def console(*, stderr: bool = False) -> Console:
    """Open the terminal, or a file as wide as is good to read."""
    from rich.console import Console

    screen = Console(stderr=stderr, highlight=False)
    if not screen.is_terminal and "COLUMNS" not in os.environ:
        screen.width = _PLAIN_WIDTH
    return screen


def _labelled(label: str, text: str, colour: str) -> None:
    coloured = not os.environ.get("NO_COLOR")
    styled = click.style(label, fg=colour, bold=True) if coloured else label
    click.echo(f"{styled}: {plain(text)}", err=True)


def peers_table(here: Neighbourhood) -> Table:
    """Draw who is here and how busy; the asked node first."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("node", "model"):
        table.add_column(heading, overflow="fold")
    told = any(each.layers or each.refused for each in (here.node, *here.peers))
    blamed = any(each.conduct.name != "ok" for each in here.peers)
    numbers = ("queue", "slots", "rho", "arrivals/s", "service", "age")
    for heading in (*numbers, *(("mixture", "refused") if told else ())):
        table.add_column(heading, justify="right")
    if blamed:
        table.add_column("standing")
    table.add_row(*_standing_row(here.node, told=told), style="bold")
    for peer in sorted(here.peers, key=lambda each: each.node):
        table.add_row(*_standing_row(peer, told=told), *([peer.conduct.name] if blamed else []))
    return table


def _standing_row(standing: Standing, *, told: bool) -> tuple[Text | str, ...]:
    """Write how a node stands; its mixture and refusals only where anybody told of such."""
    from rich.text import Text

    service = f"{standing.service_time:.2f} s" if standing.service_time else "-"
    row = (
        Text(plain(standing.node)),
        Text(plain(standing.model)),
        str(standing.length),
        str(standing.slots),
        f"{standing.utilisation:.2f}",
        f"{standing.arrival_rate:.3f}",
        service,
        f"{standing.age_seconds:.1f} s",
    )
    return (*row, mixture_name(standing), str(standing.refused)) if told else row


def mixture_name(shape: Mixture | Place | Standing) -> str:
    """Write M layers and a fanout of k as the names of models do: m2k3."""
    return f"m{shape.layers}k{shape.fanout}" if shape.layers else "alone"


def ordinal(number: int) -> str:
    """Write 1 as 1st, 2 as 2nd, 11 as 11th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number // 10 % 10 == 1 else ending}"


def waiting_line(place: Place, since: float = 0.0) -> str:
    """Tell how an own query stands, `since` seconds after that was told; empty if unknown."""
    parts: list[str] = []
    if place.position:
        parts.append(f"{ordinal(place.position)} in the queue")
    if place.position and place.starts_in_seconds:
        parts.append(f"starts in {_about(place.starts_in_seconds - since)}")
    if place.answers_in_seconds:
        parts.append(f"answer in {_about(place.answers_in_seconds - since)}")
    return ", ".join(parts)


def _about(seconds: float) -> str:
    """Round an expectation to what can be known of it."""
    if seconds >= _LONG:
        return f"about {seconds / 60:.0f} min"
    return f"about {max(1, round(seconds))} s"


_TITLES = {"ranker": "ranking", "aggregator": "aggregation"}
"""Of what follows the layers."""


def gossip_tree(prompt: str, trace: Trace, drafts: Mapping[str, str]) -> Tree:
    """Draw a query on its way: each layer with its proposers, then the aggregation."""
    from rich.text import Text
    from rich.tree import Tree

    shape = f"M={trace.mixture.layers}, k={trace.mixture.fanout}"
    shape += f", {plain(trace.recipe)}" if trace.recipe else ""
    tree = Tree(Text().append(f"query {_excerpt(prompt)}", style="bold").append(f"  {shape}"))
    _grow(tree, trace.jobs, drafts)
    if trace.source != "aggregator":
        style = "" if trace.source == "chosen" else "red"
        tree.add(Text("the best proposal is the answer", style=style))
    visits = f"{len(trace.jobs)} {'job' if len(trace.jobs) == 1 else 'jobs'}"
    tree.add(Text(f"answered by {plain(trace.home)} after {trace.seconds:.2f} s, {visits}"))
    return tree


def _grow(
    tree: Tree, jobs: Iterable[Visit], drafts: Mapping[str, str], *, end: bool = False
) -> None:
    """Add a branch for each layer and a leaf for each job, with the start or end of its draft."""
    branches: dict[tuple[int, str], Tree] = {}
    for job in jobs:
        key = (job.layer, job.role)
        if key not in branches:
            title = _TITLES.get(job.role, f"layer {job.layer}")
            branches[key] = tree.add(title)
        draft = drafts.get(job.job, "") if job.role == "proposer" else ""
        branches[key].add(_leaf(job, _excerpt(draft, end=end) if draft else ""))


def _leaf(job: Visit, excerpt: str) -> Text:
    from rich.text import Text

    line = Text()
    line.append(plain(job.node), style="bold")
    line.append(f"  {plain(job.model) or '-'}  ")
    line.append(job.outcome, style=_STYLES.get(job.outcome, "red"))
    if job.outcome == "ok":
        line.append(f"  queued {job.queued_seconds:.2f} s  service {job.service_seconds:.2f} s")
        line.append(f"  {job.completion_tokens} tokens")
    elif job.detail:
        line.append(f"  {plain(job.detail)}")
    if job.early_tokens:
        line.append(f"\n{_early(job)} while proposals were written")
    if excerpt:
        line.append(f"\n{excerpt}", style="italic")
    return line


def _early(job: Visit) -> str:
    """Tell how much of its prompt was read before a job was sent."""
    return f"{job.early_tokens} of {job.prompt_tokens} prompt tokens were read"


def _excerpt(text: str, *, end: bool = False) -> str:
    """Shorten to one line, in quotes: what stands at its start, or at its end."""
    line = " ".join(plain(text).split())
    if len(line) > _DRAFT_LETTERS:
        kept = _DRAFT_LETTERS - 1
        line = "…" + line[-kept:] if end else line[:kept] + "…"
    return f'"{line}"'


class Follow:
    """Shows how the jobs of a query stand: a live tree on a terminal, else lines; on stderr."""

    def __init__(self) -> None:
        self._jobs: dict[str, Visit] = {}
        self._drafts: dict[str, str] = {}
        self._place: tuple[Place, float] | None = None
        self._began = time.monotonic()
        self._live: Live | None = None
        self._silent = False

    def __enter__(self) -> Self:
        """Begin, with nothing to show yet."""
        screen = console(stderr=True)
        if screen.is_terminal:
            from rich.live import Live

            self._live = Live(
                console=screen,
                get_renderable=self._tree,
                transient=True,
                refresh_per_second=8,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""
        self.clear()

    def clear(self) -> None:
        """Make room for the answer; on a terminal nothing may come between its pieces."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._silent = True

    def visit(self, visit: Visit) -> None:
        """Take news of one job."""
        before = self._jobs.get(visit.job)
        self._jobs[visit.job] = visit
        is_news = before is None or before.outcome != visit.outcome
        if is_news and self._live is None and not self._silent:
            talk(_line(visit))

    def place(self, place: Place) -> None:
        """Take news of where the query stands; without a terminal only the first are told."""
        if self._place is None and self._live is None and not self._silent and place.position:
            talk(waiting_line(place))
        self._place = (place, time.monotonic())

    def draft(self, draft: Draft) -> None:
        """Take some more text of a proposal."""
        self._drafts[draft.job] = self._drafts.get(draft.job, "") + draft.text

    def _tree(self) -> Tree:
        from rich.text import Text
        from rich.tree import Tree

        now = time.monotonic()
        stands = waiting_line(self._place[0], now - self._place[1]) if self._place else ""
        tree = Tree(Text(", ".join(filter(None, (f"{now - self._began:.1f} s", stands)))))
        _grow(tree, list(self._jobs.values()), dict(self._drafts), end=True)
        return tree


def _line(visit: Visit) -> str:
    """Tell the news of one job in one line."""
    where = f"layer {visit.layer}" if visit.role == "proposer" else "aggregation"
    if visit.outcome == "pending":
        return f"{where}: {visit.node} is asked"
    if visit.outcome == "ok":
        tokens = f"{visit.completion_tokens} tokens in {visit.service_seconds:.2f} s"
        ahead = f", {_early(visit)} before" if visit.early_tokens else ""
        return f"{where}: {visit.node} wrote {tokens}{ahead}"
    return f"{where}: {visit.node} {visit.outcome}" + (f", {visit.detail}" if visit.detail else "")
