"""A network from a TOML file, or from options: numbers for all nodes, or a list with one each.

```toml
service_time = [1.0, 1.0, 2.0]    # seconds per job; or one number, with `nodes = 4`
arrival_rate = 0.05               # queries per second at each node, a number or a list
slots = 1                         # jobs a node serves at once, a number or a list
graph = [[2, 3], [1, 3], [1, 2]]  # whom each node may draw, from 1; without it everybody
[costs]                           # how long kinds of jobs take, in service times
first = 1.0
later = 1.5
aggregation = 2.0
overlap = 0.4                     # of jobs that read proposals, the share that is reading them
```

What is unknown is refused by its name, and so is what has the wrong type.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar, cast

from dmoa.core.network import EVEN, Costs, Network
from dmoa.errors import NetworkShapeError

NODES_MAX = 100_000
"""Nodes of one network."""

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Description:
    """What was said about a network so far; each list is empty, has one entry, or one per node.

    `arrival_rate` is queries per second and node, `service_time` seconds per job; `graph`
    numbers nodes from 0.
    """

    nodes: int | None = None
    arrival_rate: tuple[float, ...] = ()
    service_time: tuple[float, ...] = ()
    slots: tuple[int, ...] = ()
    costs: Costs = EVEN
    graph: tuple[tuple[int, ...], ...] | None = None

    def network(self) -> Network:
        """Make the network; NetworkShapeError where something is missing, or does not fit."""
        for name in ("arrival_rate", "service_time"):
            if not getattr(self, name):
                raise NetworkShapeError(
                    f"the {name.replace('_', ' ')} of the network is missing",
                    hint=f"give --{name.replace('_', '-')}, or {name} in the file",
                )
        nodes = self._count()
        return Network(
            _each(self.arrival_rate, nodes),
            _each(self.service_time, nodes),
            _each(self.slots or (1,), nodes),
            self.costs,
            self.graph,
        )

    def _count(self) -> int:
        """Count the nodes by whatever says how many there are; all must say the same."""
        said = {"nodes": self.nodes} if self.nodes is not None else {}
        for name in ("arrival_rate", "service_time", "slots"):
            values: tuple[float, ...] = getattr(self, name)
            if len(values) > 1:
                said[name] = len(values)
        if self.graph is not None:
            said["graph"] = len(self.graph)
        if not said:
            raise NetworkShapeError(
                "how many nodes there are is missing",
                hint="give --nodes, nodes in the file, or a list with one entry per node",
            )
        (first, count), *others = said.items()
        for name, other in others:
            if other != count:
                raise NetworkShapeError(
                    f"{first} speaks of {count} nodes, {name} of {other}",
                    hint="give one number for all nodes, or a list with one entry per node",
                )
        if not 1 <= count <= NODES_MAX:
            raise NetworkShapeError(
                f"a network of {count} nodes cannot be", hint=f"it has 1 to {NODES_MAX} nodes"
            )
        return count


def load_network(file: Path) -> Network:
    """Read the network of a file."""
    return describe(file).network()


def describe(file: Path) -> Description:
    """Read what a file says about a network; NetworkShapeError names the file and key."""
    try:
        table: Mapping[str, object] = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise NetworkShapeError(f"{file}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # not UTF-8, or not TOML
        raise NetworkShapeError(f"{file}: is not TOML: {error}") from None
    _refuse_unknown(str(file), table, _PARSERS)
    values: dict[str, Any] = {
        key: _parsed(str(file), key, value, _PARSERS[key]) for key, value in table.items()
    }
    if isinstance(values.get("costs"), dict):
        values["costs"] = _costs(str(file), values["costs"])
    return Description(**values)


def parse_numbers(text: str, what: str) -> tuple[float, ...]:
    """Read one number or several with commas between them, as in `1,1,2`."""
    try:
        return tuple(float(each) for each in text.split(","))
    except ValueError:
        raise NetworkShapeError(
            f"{what} must be a number, or a list like 1,1,2, not {text!r}"
        ) from None


def parse_counts(text: str, what: str) -> tuple[int, ...]:
    """Read one whole number or several."""
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise NetworkShapeError(
            f"{what} must be a whole number, or a list like 1,1,2, not {text!r}"
        ) from None


def _each(values: tuple[_Value, ...], nodes: int) -> tuple[_Value, ...]:
    return values if len(values) == nodes else values * nodes


# -- reading one value ------------------------------------------------------------------
# A parser returns the value as it is kept, or raises ValueError with what it should be.


def _number(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
        return float(value)
    raise ValueError("a number")


def _count(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError("a whole number of 1 or more")


def _one_or_each(parse: Callable[[object], _Value], kind: str) -> Callable[[object], object]:
    """Accept one value, or a list of them."""

    def parse_all(value: object) -> tuple[_Value, ...]:
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        try:
            if values:
                return tuple(parse(each) for each in values)
        except ValueError:
            pass
        raise ValueError(f"{kind}, or a list with one for each node")

    return parse_all


def _graph(value: object) -> tuple[tuple[int, ...], ...]:
    lists = cast("list[object]", value) if isinstance(value, list) else []
    rows: list[tuple[int, ...]] = []
    for row in lists:
        peers = cast("list[object]", row) if isinstance(row, list) else [None]
        try:
            rows.append(tuple(_count(peer) - 1 for peer in peers))
        except ValueError:
            rows.clear()
            break
    if not rows:
        raise ValueError("a list of the peers of each node, numbered from 1, like [[2], [1]]")
    return tuple(rows)


def _table(value: object) -> dict[str, object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value)
    raise ValueError("a table, written as [costs]")


_PARSERS: dict[str, Callable[[object], object]] = {
    "nodes": _count,
    "arrival_rate": _one_or_each(_number, "a number of queries per second"),
    "service_time": _one_or_each(_number, "a number of seconds"),
    "slots": _one_or_each(_count, "a whole number of 1 or more"),
    "graph": _graph,
    "costs": _table,
}
_COSTS: dict[str, Callable[[object], object]] = dict.fromkeys(
    ("first", "later", "aggregation", "overlap"), _number
)


def _costs(file: str, table: Mapping[str, object]) -> Costs:
    _refuse_unknown(f"{file}: costs", table, _COSTS)
    values: dict[str, Any] = {
        key: _parsed(file, f"costs.{key}", value, _number) for key, value in table.items()
    }
    return Costs(**values)


def _parsed(file: str, key: str, value: object, parse: Callable[[object], object]) -> object:
    try:
        return parse(value)
    except ValueError as wanted:
        raise NetworkShapeError(f"{file}: {key} must be {wanted}, not {value!r}") from None


def _refuse_unknown(where: str, table: Mapping[str, object], known: Mapping[str, object]) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"did you mean `{close[0]}`?" if close else f"known keys: {', '.join(known)}"
            raise NetworkShapeError(f"{where}: there is no key {key!r}", hint=hint)
