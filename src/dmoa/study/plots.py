"""Pictures of measurements: one style for all of them, as png or svg.

Lines with the interval that they are known to, or bars; colours that the colour-blind can
tell apart, and a marker for each besides. Labels stand beside the data, never upon it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from math import ceil, isfinite, nan
from pathlib import Path
from typing import Any

from dmoa.errors import MissingExtraError, UsageError

SUFFIXES = (".png", ".svg")
"""The forms of a picture, by the end of its name."""
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
"""After Okabe and Ito, who chose colours that the colour-blind tell apart."""
_MARKERS = "osD^v<>"
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)))
"""Once all colours are used: solid, dashed, dotted."""
_INK, _GREY = "#222222", "#888888"
_PANEL = (5.2, 3.9)
"""Inches."""
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.dpi": 150,
    "svg.hashsalt": "dmoa",
}


@dataclass(frozen=True, slots=True)
class Series:
    """Some values `y` over `x`, and the interval each is known to, if it is.

    Series of one label have one colour in all panels. What is not finite is left out, and
    the line broken there. `points` draws no line between them, `plain` draws no markers.
    For bars, `x` is not looked at.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    points: bool = False
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A thin line across a panel, with its label in the margin; upright unless `level`."""

    at: float
    label: str = ""
    level: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes; `x` and `y` are their labels, with the unit.

    `x_range` and `y_range` cut off what lies beyond; None shows all, from 0 on where nothing
    lies below it. `names` are what bars stand for, from left to right.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    marks: Sequence[Mark] = ()
    log_x: bool = False
    log_y: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    names: Sequence[str] = ()


def check(file: str | Path) -> None:
    """Refuse, before the work, a picture that could not be written after it."""
    path = Path(file)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"a plot is written as {' or '.join(SUFFIXES)}, not as {path.name!r}",
            hint=f"name it {path.stem or 'plot'}.svg",
        )
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(
            f"no plot can be written to {str(path)!r}", hint="name a file in a folder that exists"
        )
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "plots need matplotlib, which is not installed", hint="pip install 'dmoa[plot]'"
        )


def lines(panels: Sequence[Panel], file: str | Path, *, title: str = "", columns: int = 3) -> None:
    """Draw panels of lines into a file, up to `columns` beside each other."""
    _draw(panels, Path(file), title=title, columns=columns, bars=False)


def bars(panels: Sequence[Panel], file: str | Path, *, title: str = "", columns: int = 2) -> None:
    """Draw panels of bars into a file: for each name of a panel, one bar of each series."""
    _draw(panels, Path(file), title=title, columns=columns, bars=True)


# -- with matplotlib, whose types say little ------------------------------------------


def _draw(panels: Sequence[Panel], file: Path, *, title: str, columns: int, bars: bool) -> None:
    check(file)
    plotting = import_module("matplotlib")  # an extra, and slow to load
    figures = import_module("matplotlib.figure")

    down = ceil(len(panels) / columns)
    across = ceil(len(panels) / down)
    labels = list(dict.fromkeys(each.label for panel in panels for each in panel.series))
    upright = any(mark.label and not mark.level for panel in panels for mark in panel.marks)
    pad = 20.0 if upright else 8.0
    with plotting.rc_context(_STYLE):
        size = (max(_PANEL[0] * across, 6.4), _PANEL[1] * down + 0.24 * _rows(labels, across))
        figure = figures.Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(down, across, squeeze=False).flat)
        keys: dict[str, Any] = {}
        for axis, panel in zip(axes, panels, strict=False):
            if bars:
                _bars(axis, panel, labels, keys)
            else:
                _lines(axis, panel, labels, keys)
            _frame(axis, panel, pad)
        for axis in axes[len(panels) :]:
            axis.set_axis_off()
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=13)
        named = [label for label in labels if label in keys and label]
        if len(named) > 1 or (named and bars):
            figure.legend(
                [keys[label] for label in named],
                named,
                loc="outside lower center",
                ncols=_ncols(named, across),
            )
        blank = {"Software": None} if file.suffix.lower() == ".png" else {"Date": None}
        figure.savefig(file, metadata=blank)


def _ncols(labels: Sequence[str], across: int) -> int:
    """Count the columns of the legend: as many as fit below the panels."""
    widest = max((len(each) for each in labels), default=1)
    inches = 0.6 + 0.085 * widest
    return max(1, min(len(labels), int(max(_PANEL[0] * across, 6.4) / inches)))


def _rows(labels: Sequence[str], across: int) -> int:
    return ceil(len(labels) / _ncols(labels, across))


def _lines(axis: Any, panel: Panel, labels: Sequence[str], keys: dict[str, Any]) -> None:
    for each in panel.series:
        number = labels.index(each.label)
        colour = _PALETTE[number % len(_PALETTE)]
        dash = _DASHES[number // len(_PALETTE) % len(_DASHES)]
        y = [value if isfinite(value) else nan for value in each.y]
        (line,) = axis.plot(
            each.x,
            y,
            color=colour,
            linestyle="none" if each.points else dash,
            linewidth=1.7,
            marker="" if each.plain else _MARKERS[number % len(_MARKERS)],
            markersize=4.5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=3,
        )
        keys.setdefault(each.label, line)
        if each.low is not None and each.high is not None:
            if each.points:
                spread = _spread(each, y)
                axis.errorbar(each.x, y, spread, fmt="none", ecolor=colour, elinewidth=1.2)
            else:
                axis.fill_between(each.x, each.low, each.high, color=colour, alpha=0.18, lw=0)


def _bars(axis: Any, panel: Panel, labels: Sequence[str], keys: dict[str, Any]) -> None:
    count = max(len(panel.series), 1)
    width = 0.8 / count
    for place, each in enumerate(panel.series):
        at = [name + (place - (count - 1) / 2) * width for name in range(len(each.y))]
        spread = _spread(each, each.y) if each.low is not None and each.high is not None else None
        keys[each.label] = axis.bar(
            at,
            [value if isfinite(value) else nan for value in each.y],
            width * 0.94,
            yerr=spread,
            color=_PALETTE[labels.index(each.label) % len(_PALETTE)],
            ecolor=_INK,
            error_kw={"elinewidth": 1.0, "capsize": 2.0},
        )
    axis.set_xticks(range(len(panel.names)), panel.names)
    axis.grid(visible=False, axis="x")


def _spread(series: Series, y: Sequence[float]) -> list[list[float]]:
    """Tell how far the interval reaches below and above the values, as matplotlib wants it."""
    low, high = series.low or y, series.high or y
    below = [max(value - least, 0.0) for value, least in zip(y, low, strict=True)]
    above = [max(most - value, 0.0) for value, most in zip(y, high, strict=True)]
    return [below, above]


def _frame(axis: Any, panel: Panel, pad: float) -> None:
    axis.set_xlabel(panel.x)
    axis.set_ylabel(panel.y)
    if panel.log_x:
        axis.set_xscale("log")
        _plain_numbers(axis.xaxis)
    if panel.log_y:
        axis.set_yscale("log")
        _plain_numbers(axis.yaxis)
    if panel.x_range is not None:
        axis.set_xlim(*panel.x_range)
    if panel.y_range is not None:
        axis.set_ylim(*panel.y_range)
    elif not panel.log_y and min(_heights(panel), default=0.0) >= 0.0:
        axis.set_ylim(bottom=0.0)
    axis.set_title(panel.title, pad=pad)
    for mark in panel.marks:
        draw = axis.axhline if mark.level else axis.axvline
        draw(mark.at, color=_GREY, linewidth=1.1, linestyle=(0, (4, 3)), zorder=2)
        place, turn = ((1.0, mark.at), "left") if mark.level else ((mark.at, 1.0), "center")
        axis.annotate(
            mark.label,
            place,
            xycoords=axis.get_yaxis_transform() if mark.level else axis.get_xaxis_transform(),
            xytext=(4, 0) if mark.level else (0, 3),
            textcoords="offset points",
            ha=turn,
            va="center" if mark.level else "bottom",
            color="#555555",
            fontsize=9,
            annotation_clip=False,
        )


def _plain_numbers(axis: Any) -> None:
    """Write 200 and not 2 x 10^2, and of the numbers between powers of ten those with 2 and 5."""
    ticks = import_module("matplotlib.ticker")

    def every(value: float, _place: int) -> str:
        return f"{value:g}"

    def some(value: float, _place: int) -> str:
        return f"{value:g}" if f"{value:.0e}"[0] in "25" else ""

    axis.set_major_formatter(ticks.FuncFormatter(every))
    axis.set_minor_formatter(ticks.FuncFormatter(some))


def _heights(panel: Panel) -> Iterator[float]:
    """List all that is drawn, up and down."""
    for each in panel.series:
        for values in (each.y, each.low or (), each.high or ()):
            yield from (value for value in values if isfinite(value))
