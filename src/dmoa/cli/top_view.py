"""What `dmoa top` shows: a row for each node, how busy and how deep, and the own queries below.

Pure: a screen follows from what a node told at two moments, and from its width and height.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from dmoa.cli.render import mixture_name, ordinal, plain
from dmoa.cli.told import Neighbourhood, Place, Queue, Standing
from dmoa.core.limits import Timing

_TIMING = Timing()
FADES = 2 * _TIMING.gossip
"""Seconds after which a digest is dim: one was missed."""
GONE = _TIMING.silence
"""Seconds without a digest after which a node is shown no more, as peers ask it no more."""
_BUSY = 0.75
"""Of rho; from here on a queue holds three jobs and more."""
_BAR = 6
"""Columns of the bar that shows a queue against its limit."""
_NARROW = 66
"""Columns that all of what is told of a query may take."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one node told at a moment (`at`, seconds); `gone` are those it lately told of.

    The asked node is the first of `nodes`; there are none while it does not answer.
    """

    at: float
    nodes: tuple[Standing, ...]
    queue: Queue | None
    gone: tuple[Standing, ...] = ()

    @property
    def home(self) -> str:
        """Name the asked node; empty while it does not answer."""
        return self.nodes[0].node if self.nodes else ""


def taken(at: float, here: Neighbourhood, queue: Queue, before: Snapshot | None) -> Snapshot:
    """Make a snapshot of what was told now; who is missing since `before` fades."""
    nodes = (here.node, *here.peers)
    missing = _faded(before, at, {each.node for each in nodes})
    return Snapshot(at, nodes, queue, missing)


def unheard(before: Snapshot, at: float) -> Snapshot:
    """Make a snapshot of what was known, where the asked node does not answer: all of it fades."""
    return Snapshot(at, (), None, _faded(before, at, set()))


def _faded(before: Snapshot | None, at: float, told: set[str]) -> tuple[Standing, ...]:
    """List who was known, is told of no more, and is not forgotten yet; with its age now."""
    if before is None:
        return ()
    aged = (
        msgspec.structs.replace(each, age_seconds=each.age_seconds + at - before.at)
        for each in (*before.nodes, *before.gone)
        if each.node not in told
    )
    return tuple(each for each in aged if each.age_seconds < GONE)


# -- rows and columns --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """One node as it is shown; `refused` and `declined` are counts since the snapshot before."""

    standing: Standing
    is_home: bool = False
    is_dim: bool = False
    bound: int = 0
    refused: int = 0
    declined: int = 0

    @property
    def is_over(self) -> bool:
        """Tell whether its queue grows without end, if this goes on."""
        return self.standing.utilisation >= 1.0


def rows(now: Snapshot, before: Snapshot | None) -> list[Row]:
    """List all nodes, the asked one first, then by name."""
    earlier = {each.node: each for each in (*before.nodes, *before.gone)} if before else {}
    bound = (now.queue.limits.get("jobs") if now.queue else None) or 0

    def row(each: Standing, *, gone: bool) -> Row:
        last = earlier.get(each.node, each)
        is_home = each.node == now.home
        return Row(
            each,
            is_home=is_home,
            is_dim=gone or each.age_seconds >= FADES,
            bound=bound if is_home else 0,
            refused=_grown(last.refused, each.refused),
            declined=_grown(last.declined, each.declined),
        )

    shown = [row(each, gone=False) for each in now.nodes]
    shown += [row(each, gone=True) for each in now.gone]
    return sorted(shown, key=lambda each: (not each.is_home, _natural(each.standing.node)))


def _grown(earlier: int, now: int) -> int:
    """Count what came since; a counter that fell was begun again by a restart."""
    return now - earlier if now >= earlier else now


def _natural(name: str) -> list[tuple[int, str]]:
    """Order n2 before n10."""
    return [(int(part or 0), "") if part.isdecimal() else (0, part) for part in _NUMBER.split(name)]


_NUMBER = re.compile(r"([0-9]{1,18})")


def _line(text: str) -> str:
    """Take out of foreign text what would steer the terminal, or leave its line."""
    return " ".join(plain(text).split())


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value else "-"


def _mark(row: Row) -> str:
    """Mark the asked node, and peers that it does not ask: `x` shunned, `-` not trusted."""
    conduct = row.standing.conduct
    return "* " if row.is_home else "- " if not conduct.trusted else "x " * conduct.shunned or "  "


def _counted(total: int, new: int) -> str:
    return f"{total} +{new}" if new else str(total)


def _queue(row: Row) -> str:
    """Write how many jobs are there, with a bar against the limit where that is known."""
    length = row.standing.length
    if not row.bound:
        return f"{length:3}"
    full = min(_BAR, ceil(_BAR * length / row.bound))
    return f"{length:3} {'#' * full}{'.' * (_BAR - full)}"


def _rho(row: Row) -> str:
    """Write rho, and in a word what it means."""
    if not row.standing.service_time:
        return "-"
    return f"{row.standing.utilisation:.2f} {'over' if row.is_over else 'stable'}"


def _style(row: Row, column: Column) -> str:
    """Colour rho; what it says stands there in words as well."""
    if column.title != "rho" or row.is_dim or not row.standing.service_time:
        return ""
    rho = row.standing.utilisation
    return "bold red" if rho >= 1.0 else "yellow" if rho >= _BUSY else "green"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading, its text, and the columns it can shrink to (0: to none)."""

    title: str
    text: Callable[[Row], str]
    least: int = 0
    left: bool = False


_COLUMNS = (
    Column("node", lambda row: _mark(row) + _line(row.standing.node), 8, True),
    Column("model", lambda row: _line(row.standing.model), 6, True),
    Column("queue", _queue, left=True),
    Column("slots", lambda row: str(row.standing.slots)),
    Column("rho", _rho, left=True),
    Column("asked/s", lambda row: f"{row.standing.arrival_rate:.3f}"),
    Column("service", lambda row: _seconds(row.standing.service_time)),
    Column("jobs/s", lambda row: f"{row.standing.capacity:.2f}" if row.standing.capacity else "-"),
    Column("age", lambda row: f"{row.standing.age_seconds:.1f} s"),
    Column("mix", lambda row: mixture_name(row.standing)),
    Column("refused", lambda row: _counted(row.standing.refused, row.refused)),
    Column("declined", lambda row: _counted(row.standing.declined, row.declined)),
)
_SPARED = (
    "model",
    "jobs/s",
    "slots",
    "declined",
    "service",
    "asked/s",
    "mix",
    "age",
    "refused",
    "queue",
)
"""Columns that a narrow terminal is spared, in this order."""


def layout(shown: Sequence[Row], width: int) -> tuple[list[tuple[Column, int]], int]:
    """Choose the columns with their widths, and the gap between them, that fit `width`."""
    wide = {
        column.title: max([len(column.title), *(Text(column.text(row)).cell_len for row in shown)])
        for column in _COLUMNS
    }
    columns = list(_COLUMNS)
    for spared in (None, *_SPARED):
        columns = [each for each in columns if each.title != spared]
        natural = sum(wide[each.title] for each in columns)
        if natural + 2 * (len(columns) - 1) <= width:
            return [(each, wide[each.title]) for each in columns], 2
        over = natural + len(columns) - 1 - width
        for each in reversed(columns):  # the model first, then the node
            if each.least and over > 0:
                cut = min(over, max(0, wide[each.title] - each.least))
                wide[each.title] -= cut
                over -= cut
        if over <= 0:
            break
    return [(each, wide[each.title]) for each in columns], 1


# -- the screen --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Screen:
    """All that is shown of a snapshot and the one before; at most `lines` lines, 0 for any."""

    now: Snapshot
    before: Snapshot | None = None
    url: str = ""
    trouble: str = ""
    lines: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as the terminal is."""
        del console
        shown = rows(self.now, self.before)
        places = self.now.queue.queries if self.now.queue else ()
        room, room_below = _rooms(self.lines, len(shown), len(places))
        yield _clipped(self._title(shown), "bold")
        if self.trouble:
            yield _clipped(self.trouble, "bold red")
        yield _nodes(_chosen(shown, room), shown, options.max_width)
        yield from _more(len(shown) - room, "nodes, all less busy")
        if self.now.queue is not None:
            yield _clipped(_own(self.now.queue))
        if places:
            yield _queries(places[:room_below], options.max_width)
            yield from _more(len(places) - room_below, "queries")

    def _title(self, shown: Sequence[Row]) -> str:
        where = " at ".join(filter(None, (_line(self.now.home), _line(self.url))))
        mode = f", mode {_line(self.now.queue.mode)}" if self.now.queue else ""
        count = f"{len(shown)} {'node' if len(shown) == 1 else 'nodes'}"
        over = sum(row.is_over and not row.is_dim for row in shown)
        return f"{where}{mode}: {count}, {f'{over} over' if over else 'none over'}"


def _rooms(lines: int, nodes: int, queries: int) -> tuple[int, int]:
    """Share the lines that there are: how many nodes, and how many queries, are shown.

    Seven are titles, headings, trouble, and lines that say how many more there are.
    """
    if not lines:
        return nodes, queries
    free = max(2, lines - 7)
    below = min(queries, max(free // 3, free - nodes))
    return max(1, min(nodes, free - below)), below


def _chosen(shown: Sequence[Row], room: int) -> list[Row]:
    """Choose the asked node and the busiest, where there is no room for all."""
    if len(shown) <= room:
        return list(shown)
    busy = sorted(shown, key=lambda row: (row.is_home, row.standing.utilisation), reverse=True)
    kept = {row.standing.node for row in busy[:room]}
    return [row for row in shown if row.standing.node in kept]


def _clipped(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _more(count: int, what: str) -> Iterable[Text]:
    if count > 0:
        yield _clipped(f"and {count} more {what}", "dim")


def _nodes(chosen: Sequence[Row], shown: Sequence[Row], width: int) -> Table:
    """Draw the table of nodes; its columns stay where they are when other rows are chosen."""
    columns, gap = layout(shown, width)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for column, wide in columns:
        justify = "left" if column.left else "right"
        table.add_column(column.title, width=wide, justify=justify, no_wrap=True)
    for row in chosen:
        cells = [Text(column.text(row), style=_style(row, column)) for column, _ in columns]
        table.add_row(*cells, style="dim" if row.is_dim else "bold" if row.is_home else "")
    return table


def _own(queue: Queue) -> str:
    """Tell of the asked node how many are there, and how many may be."""
    bound, most = queue.limits.get("queries"), queue.limits.get("jobs")
    queries = f"own queries: {len(queue.queries)}" + (f" of {bound} at most" if bound else "")
    waiting, serving = queue.jobs.get("waiting", 0), queue.jobs.get("serving", 0)
    jobs = f"jobs: {waiting} waiting, {serving} in service"
    if reading := queue.jobs.get("reading", 0):
        jobs += f", {reading} read ahead"
    return f"{queries}; {jobs}" + (f", {most} at most" if most else "")


def _queries(places: Sequence[Place], width: int) -> Table:
    """Draw the own queries of the asked node; where it is narrow, only the most important."""
    titles = ("query", "position", "layer", "mix", "waited", "starts in", "answer in")
    kept = range(len(titles)) if width >= _NARROW else (0, 1, len(titles) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index in kept:
        table.add_column(titles[index], justify="right", no_wrap=True)
    for place in places:
        starts = place.starts_in_seconds if place.position else 0.0
        cells = (
            _line(place.query).rsplit("/", 1)[-1],
            ordinal(place.position) if place.position else "begun",
            f"{place.layer} of {place.layers}" if place.layer <= place.layers else "last",
            mixture_name(place),
            *(_tenths(each) for each in (place.waited_seconds, starts, place.answers_in_seconds)),
        )
        table.add_row(*(Text(cells[index]) for index in kept))
    return table


def _tenths(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds else "-"
