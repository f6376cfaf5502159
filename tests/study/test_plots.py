"""Pictures: what is refused before the work, what is left out, and the same bytes again."""

from __future__ import annotations

import re
from math import inf, nan
from pathlib import Path

import pytest

from dmoa.errors import MissingExtraError, UsageError
from dmoa.study import plots
from dmoa.study.plots import Mark, Panel, Series, bars, check, lines

RISING = Series("M=1, k=2", [0.1, 0.5, 0.9], [3.0, 5.0, 20.0], [2.5, 4.0, 15.0], [3.5, 6.0, 25.0])
ENDLESS = Series("M=2, k=2", [0.1, 0.5, 0.9], [5.0, nan, inf])


def panel(*series: Series, log_y: bool = False, marks: tuple[Mark, ...] = ()) -> Panel:
    return Panel("time to answer", "rho", "seconds", series, marks, log_y=log_y)


def test_lines_are_an_svg_with_their_labels(tmp_path: Path) -> None:
    file = tmp_path / "some.svg"
    marks = (Mark(1.0, "bound"), Mark(10.0, "deadline", level=True))
    lines([panel(RISING, ENDLESS, marks=marks), panel(RISING, log_y=True)], file, title="All")
    text = file.read_text("utf-8")
    for word in ("time to answer", "rho", "seconds", "bound", "deadline", "M=1, k=2", "All"):
        assert f"<!-- {word} -->" in text


def test_a_series_alone_needs_no_legend(tmp_path: Path) -> None:
    file = tmp_path / "one.svg"
    lines([panel(RISING)], file)
    assert "M=1, k=2" not in file.read_text("utf-8")


def test_the_same_picture_is_the_same_file(tmp_path: Path) -> None:
    for suffix in (".svg", ".png"):
        written: list[bytes] = []
        for name in ("a", "b"):
            file = tmp_path / f"{name}{suffix}"
            lines([panel(RISING, ENDLESS)], file)
            written.append(file.read_bytes())
        assert written[0] == written[1]


def test_bars_stand_above_their_names(tmp_path: Path) -> None:
    file = tmp_path / "bars.svg"
    ours = Series("ours", (), [95.0, 355.0], [80.0, 300.0], [110.0, 400.0])
    bars(
        [Panel("", "M, k", "s", [Series("paper", (), [94.0, 330.0]), ours], names=["a1", "b2"])],
        file,
    )
    text = file.read_text("utf-8")
    assert all(f"<!-- {word} -->" in text for word in ("a1", "b2", "paper", "ours"))


def test_points_have_their_interval_and_no_line(tmp_path: Path) -> None:
    file = tmp_path / "points.PNG"
    some = Series("x", [1.0, 2.0], [2.0, nan], [1.0, nan], [3.0, nan], points=True)
    lines([panel(some, log_y=True)], file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_a_logarithmic_axis_has_plain_numbers(tmp_path: Path) -> None:
    file = tmp_path / "log.svg"
    wide = Series("x", [1.0, 2.0, 3.0], [3.0, 30.0, 700.0])
    lines([panel(wide, log_y=True)], file)
    told = re.findall(r"<!-- ([\d.]+) -->", file.read_text("utf-8"))
    assert {"10", "100", "50", "500"} <= set(told)


@pytest.mark.parametrize(
    "name", ["plot.pdf", "plot", "plot.jpeg", ".svg", "none/plot.svg", "sub.svg"]
)
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub.svg").mkdir()
    with pytest.raises(UsageError) as caught:
        check(tmp_path / name)
    assert caught.value.hint


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="matplotlib") as caught:
        lines([panel(RISING)], tmp_path / "some.png")
    assert caught.value.hint == "pip install 'dmoa[plot]'"
