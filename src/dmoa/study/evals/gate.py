"""The gate: what was measured decides whether the model `dmoa` is a mixture.

The verdict goes into the configuration of a node as one line, `verdict = "..."`, and nothing
else of the file is touched. A node that reads it serves the mixture where it pays, and its own
model alone where it does not, or where that cannot be told (`dmoa.core.usual`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmoa.config.files import replace
from dmoa.core import usual
from dmoa.core.mixture import Mixture
from dmoa.errors import ConfigError, UsageError
from dmoa.study.evals.members import as_toml
from dmoa.study.evals.plan import configuration
from dmoa.study.evals.table import Row, Table
from dmoa.study.evals.verdict import Verdict, verdict_of

KEY = "verdict"
_LINE = re.compile(rf"^[ \t]*{KEY}[ \t]*=.*$", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Gate:
    """What is written of a run: the verdict on a mixture, chosen of so many `compared`.

    `items` counts those of the run, which may not all have been asked yet.
    """

    verdict: Verdict
    line: usual.Verdict
    compared: int
    items: int


def choose(table: Table, *, named: str = "", node: str = "") -> Gate:
    """Choose the mixture that goes into the configuration, with its verdict.

    The one that is `named`; else one that pays, and of several the one whose gain is surest,
    else the one with the largest gain; the verdict then allows for its having been lucky.
    `node` is whose configuration it is: a verdict counts only while that node has the model it
    had then; where all have the same it goes without. UsageError where there is no such mixture
    or node.
    """
    rows = [each for each in table.rows if _is_compared(each) and _is_mixture(each)]
    if named:
        rows = [each for each in rows if each.configuration == named]
    if not rows:
        what = f"{named!r} was not compared with the members" if named else "no mixture was asked"
        raise UsageError(what, hint="ask one with `dmoa eval run --ask dmoa-m1k2`, members too")
    found = max(rows, key=_sureness)
    assert found.verdict is not None, "rows without one were left out"
    verdict = verdict_of(
        found.configuration, table.rivals, worth=found.verdict.worth, among=len(rows)
    )
    asked = configuration(found.configuration)
    line = usual.Verdict(
        asked.mixture or Mixture(),
        asked.recipe,
        verdict.word,
        _model(table, node),
        _figures(table, verdict),
    )
    return Gate(verdict, line, len(rows), len(table.measure.items))


def _is_compared(row: Row) -> bool:
    return row.verdict is not None and row.verdict.n > 0


def _is_mixture(row: Row) -> bool:
    mixture = configuration(row.configuration).mixture
    return mixture is not None and mixture.layers > 0


def _sureness(row: Row) -> tuple[bool, float]:
    found = row.verdict
    assert found is not None, "rows without one were left out"
    return (found.word == "pays", found.low if found.word == "pays" else found.difference)


def _model(table: Table, node: str) -> str:
    """Tell the model that the verdict is bound to; empty where nodes differ and none is named."""
    models = {each.node: each.model for each in table.plan.members}
    if node and node not in models:
        raise UsageError(f"no node {node!r} was asked", hint=f"nodes: {', '.join(models)}")
    if node:
        return models[node]
    return next(iter(models.values())) if len(set(models.values())) == 1 else ""


def _figures(table: Table, found: Verdict) -> str:
    """Tell what the verdict rests on, in one line."""
    by = f"judged by {table.measure.judge}, " if table.measure.judge else ""
    gain = f"{found.difference:+.1f} points, 95 % from {found.low:+.1f} to {found.high:+.1f}, "
    told = f"{gain}beside {found.best}, {found.n} items, {by}{table.date}"
    return " ".join(told.split())


def one_of(tables: Sequence[Table], *, judge: str = "") -> Table:
    """Choose the measure to go by: the only one, or that of a judge; UsageError where unclear."""
    fitting = [each for each in tables if not judge or each.measure.judge == judge]
    if len(fitting) == 1:
        return fitting[0]
    named = ", ".join(each.measure.judge or "known answers" for each in tables)
    raise UsageError(
        f"the run can be measured in {len(tables)} ways: {named}",
        hint="name the judge to go by, with --judge NAME"
        if not judge
        else "name one of these judges",
    )


# -- the file -----------------------------------------------------------------------------


def write(file: Path, line: usual.Verdict) -> None:
    """Write the verdict into the configuration of a node, whole or not at all.

    The rest stays as it is, byte for byte. ConfigError where the file is not TOML, or the line
    can't be put into it without changing something else.
    """
    try:
        old = file.read_bytes().decode() if file.exists() else ""
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8") from None
    new = edited(old, line.text, str(file))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace(file, new.encode())
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot be written: {error.strerror or error}", hint="name another --config"
        ) from None


def edited(old: str, verdict: str, name: str) -> str:
    """Put the verdict into the text of a TOML file, in place of an earlier one."""
    line = as_toml({KEY: verdict}).rstrip("\n")
    if _LINE.search(old):
        new = _LINE.sub(lambda _: line, old, count=1)
    elif found := _TABLE.search(old):
        new = f"{old[: found.start()]}{line}\n{old[found.start() :]}"
    else:
        new = f"{old}\n{line}\n" if old and not old.endswith("\n") else f"{old}{line}\n"
    wanted = _parsed(old, name) | {KEY: verdict}
    try:
        well = tomllib.loads(new) == wanted
    except ValueError:
        well = False
    if not well:
        raise ConfigError(
            f"{name}: the verdict cannot be put in without changing the rest",
            hint=f"write it yourself: {line}",
        )
    return new


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from None
