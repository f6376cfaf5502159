"""How lists, ranges, rates, policies, laws and arrivals of a sweep are written by people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from math import inf, isfinite
from pathlib import Path
from typing import Any, cast

from dmoa.core.policy import POLICIES, Policy
from dmoa.errors import LawError, UsageError
from dmoa.sim.setting import Bursts, Recorded
from dmoa.study.grid import POINTS_MAX, Rate
from dmoa.theory.laws import FORMS, Law, Measured, parse_law

RHO = "rho"
"""The unit of rates that are told in shares of what the network can carry."""


# -- lists and ranges -----------------------------------------------------------------


def counts(text: str, what: str, least: int = 0) -> tuple[int, ...]:
    """Read whole numbers such as `3`, `1,2,4`, `0:3` or `10:50:10`, ends included."""
    found = _listed(text, what)
    if any(each != each.to_integral_value() or each < least for each in found):
        raise UsageError(
            f"{what} takes whole numbers of {least} or more, not {text!r}",
            hint=f"write {what} 1,2,3 or {what} 1:3",
        )
    return tuple(int(each) for each in found)


def numbers(text: str, what: str) -> tuple[float, ...]:
    """Read numbers such as `0.5`, `1,2.5` or `0.1:0.9:0.2`, ends included."""
    return tuple(float(each) for each in _listed(text, what))


def rates(text: str) -> tuple[Rate, ...]:
    """Read rates in queries per second, or with `rho` at the end as utilisations to reach."""
    what = "--arrival-rate"
    spelled = text.strip()
    of_capacity = spelled.endswith(RHO)
    parts = [each.strip() for each in spelled.split(",")]
    if of_capacity:
        parts = [each.removesuffix(RHO) for each in parts]
    elif any(each.endswith(RHO) for each in parts):
        raise UsageError(
            f"{what} {text!r} mixes queries/s and rho", hint="end the whole list with rho, or none"
        )
    found = numbers(",".join(parts), what)
    if any(each <= 0.0 for each in found):
        raise UsageError(
            f"{what} must be above 0, not {min(found):g}",
            hint="give queries per second at each node, or a utilisation like 0.7rho",
        )
    return tuple(Rate(each, of_capacity) for each in found)


def _listed(text: str, what: str) -> list[Decimal]:
    """Read a list of numbers and ranges, in decimals, so that 0.1:0.3:0.1 ends with 0.3."""
    found: list[Decimal] = []
    for part in text.split(","):
        try:
            ends = [Decimal(each.strip()) for each in part.split(":")]
        except InvalidOperation:
            ends = []
        if not 1 <= len(ends) <= 3 or not all(each.is_finite() for each in ends):  # noqa: PLR2004
            raise UsageError(
                f"{what} {text!r} is no number, list or range",
                hint=f"write {what} 0.1, {what} 0.1,0.2 or {what} 0.1:0.5:0.1 (end included)",
            )
        found += ends if len(ends) == 1 else _range(ends, text, what)
    return list(dict.fromkeys(found))


def _range(ends: list[Decimal], text: str, what: str) -> list[Decimal]:
    first, last, step = [*ends, Decimal(1)][:3]
    if step <= 0 or last < first:
        raise UsageError(
            f"the range {text!r} of {what} is empty",
            hint="write START:END:STEP, rising, with a step above 0",
        )
    size = int((last - first) / step) + 1
    if size > POINTS_MAX:
        raise UsageError(
            f"the range {text!r} of {what} has {size} values", hint="take a longer step"
        )
    return [first + place * step for place in range(size)]


# -- policies -------------------------------------------------------------------------


def policies(text: str, overrides: str | None = None) -> tuple[tuple[str, Policy], ...]:
    """Read names of policies, and what to set in each of them, such as `order=oldest,spare=1`."""
    found: dict[str, Policy] = {}
    for part in text.split(","):
        name = part.strip()
        if name not in POLICIES:
            close = get_close_matches(name, POLICIES, n=1)
            raise UsageError(
                f"there is no policy {name!r}",
                hint=f"did you mean {close[0]}?" if close else f"choose of {', '.join(POLICIES)}",
            )
        policy = POLICIES[name]
        if overrides:
            policy = replace(policy, **_overrides(overrides))
            name = f"{name}+{overrides.replace(' ', '')}"
        found[name] = policy
    return tuple(found.items())


def _overrides(text: str) -> dict[str, Any]:
    known = {each.name: str(each.type) for each in fields(Policy)}
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (each.strip() for each in part.partition("="))
        key = key.replace("-", "_")
        if not equals or key not in known:
            close = get_close_matches(key, known, n=1)
            raise UsageError(
                f"--set {part.strip()!r} names no part of a policy",
                hint=f"did you mean {close[0]}=...?" if close else f"parts: {', '.join(known)}",
            )
        try:
            values[key] = _part(known[key], value)
        except (ValueError, KeyError):
            raise UsageError(
                f"--set {key} cannot be {value!r}", hint=f"it takes {_kind(known[key])}"
            ) from None
    return values


def _part(kind: str, value: str) -> object:
    if kind == "bool":
        return {"true": True, "yes": True, "false": False, "no": False}[value.lower()]
    if "None" in kind and value.lower() == "none":
        return None
    if "float" in kind:
        return _finite(value)
    return int(value) if "int" in kind else value


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


def _kind(kind: str) -> str:
    if kind == "bool":
        return "true or false"
    number = "a number" if "float" in kind else "a whole number"
    return f"{number}, or none" if "None" in kind else number


# -- laws and arrivals ----------------------------------------------------------------


def laws(text: str) -> tuple[tuple[str, Law], ...]:
    """Read laws such as `exp,lognormal:0.8` or `measured:FILE`; all are of mean 1."""
    parts = [each.strip() for each in text.split(",")]
    return tuple((each, law_of(each)) for each in dict.fromkeys(parts))


def law_of(text: str) -> Law:
    """Read one law."""
    name, _, rest = text.partition(":")
    if name != "measured":
        try:
            return parse_law(text)
        except LawError as error:
            if error.hint and FORMS in error.hint:
                error.hint += ", measured:FILE"
            raise
    return Measured(samples=measured(text, rest))


def measured(text: str, file: str) -> tuple[float, ...]:
    """Read durations (seconds) from a file: numbers with blanks, commas or lines between."""
    words = _read(Path(file), f"--law {text}").replace(",", " ").split()
    try:
        return tuple(float(each) for each in words)
    except ValueError as error:
        raise LawError(
            f"{file} holds more than numbers: {str(error).partition(': ')[2]}",
            hint="give durations in seconds, one per line",
        ) from None


def arrivals(text: str) -> Bursts | Recorded | None:
    """Read `poisson`, bursts such as `0.3/4:400/60`, or the name of a file with a trace."""
    if text == "poisson":
        return None
    if Path(text).suffix.lower() in {".jsonl", ".csv"}:
        return trace(Path(text))
    levels, _, durations = text.partition(":")
    try:
        low, high = (float(each) for each in levels.split("/"))
        lasting, longer = (float(each) for each in durations.split("/"))
    except ValueError:
        raise UsageError(
            f"--arrivals {text!r} is nothing that can be",
            hint="write poisson, LOW/HIGH:SECONDS/SECONDS, or a trace.jsonl or trace.csv",
        ) from None
    found = Bursts(low, high, lasting, longer)
    if found.mean <= 0.0:
        raise UsageError("bursts between 0 and 0 ask nothing", hint="give a high level above 0")
    return found


def trace(file: Path) -> Recorded:
    """Read when (seconds, rising) which node (from 1) was asked; times count from the first.

    Each line of a .csv is `time,node`, of a .jsonl `{"time": ..., "node": ...}`; a heading is
    passed over, and any further column as well.
    """
    parse = _csv_row if file.suffix.lower() == ".csv" else _json_row
    times, homes = list[float](), list[int]()
    columns: Sequence[str] = ("time", "node")
    for number, line in enumerate(_read(file, "the trace").splitlines(), 1):
        if not line.strip():
            continue
        if not times and parse is _csv_row and "time" in line.lower():
            columns = [each.strip().lower() for each in line.split(",")]
            continue
        try:
            seconds, node = parse(line, columns)
        except (ValueError, KeyError, IndexError, TypeError):
            raise UsageError(
                f"{file}, line {number} is no arrival: {line.strip()[:60]!r}",
                hint='write time,node in a .csv, or {"time": 1.5, "node": 2} in a .jsonl',
            ) from None
        if node < 1:
            raise UsageError(f"{file}, line {number}: nodes are numbered from 1, not {node}")
        times.append(seconds)
        homes.append(node - 1)
    if not times:
        raise UsageError(f"the trace {file} has no arrivals", hint="write one in each line")
    begin = min(times)
    return Recorded(tuple(each - begin for each in times), tuple(homes))


def _csv_row(line: str, columns: Sequence[str]) -> tuple[float, int]:
    values = [each.strip() for each in line.split(",")]
    return float(values[columns.index("time")]), int(values[columns.index("node")])


def _json_row(line: str, columns: Sequence[str]) -> tuple[float, int]:
    row: object = json.loads(line)
    if not isinstance(row, dict):
        raise TypeError
    table = cast("dict[str, Any]", row)
    return float(table[columns[0]]), int(table[columns[1]])


def seconds(text: str, what: str) -> tuple[float, ...]:
    """Read durations of 0 s or more."""
    found = numbers(text, what)
    if min(found) < 0.0 or max(found) == inf:
        raise UsageError(f"{what} takes seconds, 0 or more, not {text!r}")
    return found


def _read(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{what} cannot be read: {file} is no text") from None
