"""What `dmoa plan` shows: tables, words and figures, each with its unit."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, isfinite
from typing import TYPE_CHECKING

from dmoa.cli import render

if TYPE_CHECKING:
    from rich.table import Table

    from dmoa.core.mixture import Mixture
    from dmoa.core.network import Network
    from dmoa.study.planner import Row, Target
    from dmoa.theory.latency import Latency, Prediction

_GROUPS = 20
"""Kinds of nodes that are listed, the busiest first."""


def nodes_table(network: Network, prediction: Prediction) -> Table:
    """Draw a line for each kind of node, the busiest first where there are many."""
    kinds: dict[tuple[object, ...], list[int]] = {}
    for node in range(network.nodes):
        alike = (network.arrival_rates[node], network.service_times[node], network.slots[node])
        measures = (prediction.waiting[node], prediction.length[node]) if prediction.waiting else ()
        home = prediction.homes[node] if prediction.homes else None
        row = (*alike, f"{prediction.utilisations[node]:.6g}", measures, home)
        kinds.setdefault(row, []).append(node)
    rows = list(kinds.values())
    if len(rows) > _GROUPS:
        rows.sort(key=lambda nodes: -prediction.utilisations[nodes[0]])
        render.note(f"the busiest {_GROUPS} of {len(rows)} kinds of nodes are listed")
    headings = ["asked", "service", "slots", "rho"]
    if prediction.waiting:
        headings += ["jobs waiting", "jobs there"]
    if prediction.homes:
        headings += ["mean answer", "p95"]
    table = _bare("nodes", *headings)
    for nodes in rows[:_GROUPS]:
        node = nodes[0]
        cells = [
            f"{figure(network.arrival_rates[node])}/s",
            seconds(network.service_times[node]),
            str(network.slots[node]),
            f"{prediction.utilisations[node]:.3g}",
        ]
        if prediction.waiting:
            cells += [figure(prediction.waiting[node]), figure(prediction.length[node])]
        if prediction.homes:
            home = prediction.homes[node]
            cells += [seconds(home.mean), seconds(home.p95)]
        table.add_row(_numbered(nodes), *cells)
    return table


def capacity_lines(
    network: Network, prediction: Prediction, scale: float, gain: float | None
) -> list[str]:
    """Say in words whether the network is stable, and how much more or less it can carry."""
    from dmoa.theory.doubts import EQUAL

    asked, busiest = fsum(network.arrival_rates), max(prediction.utilisations)
    rates, lines = network.arrival_rates, list[str]()
    each = f", {figure(rates[0] * scale)} at each node" if len(set(rates)) == 1 else ""
    if not asked:
        lines.append("stable: nobody asks")
    elif prediction.stable:
        lines += [
            f"stable: rho of the busiest node is {busiest:.3g}",
            (
                f"room to grow: x{figure(scale)}, from {figure(asked)} to "
                f"{figure(asked * scale)} queries/s in the whole network" + each
            ),
        ]
    else:
        lines += [
            f"not stable: rho of the busiest node is {busiest:.3g}, at least 1",
            (
                f"stable below x{figure(scale)} of the load: {figure(asked * scale)} instead of "
                f"{figure(asked)} queries/s in the whole network"
            ),
        ]
        if prediction.goodput is not None:
            lines.append(
                f"first come, first served answers {figure(prediction.goodput)} queries/s, "
                f"{prediction.goodput / asked:.2g} of those asked, and ever later"
            )
    if gain is not None and gain > 1.0 + EQUAL:
        lines.append(
            f"if peers were drawn by their capacity: x{figure(gain)} as much, "
            f"{figure(asked * scale * gain)} queries/s"
        )
    return lines


def latency_table(prediction: Prediction) -> Table:
    """Draw how long all queries take, and of that each layer and the aggregation."""
    table = _bare("from question to answer", "mean", "p50", "p95", "p99")

    def add(what: str, latency: Latency, style: str | None = None) -> None:
        measures = (latency.mean, latency.p50, latency.p95, latency.p99)
        table.add_row(what, *(seconds(each) for each in measures), style=style)

    if prediction.latency is not None:
        add("all queries", prediction.latency, "bold")
    if len(prediction.layers) > 1:
        for number, each in enumerate(prediction.layers[:-1], start=1):
            add(f"  layer {number}", each)
        add("  aggregation", prediction.layers[-1])
    return table


def hidden_line(network: Network, prediction: Prediction) -> str:
    """Say how much of an aggregation is read ahead."""
    overlap = network.costs.overlap
    return f"read ahead: {prediction.hidden:.0%} of an aggregation; {overlap:.0%} of it is reading"


def mixtures_table(rows: Sequence[Row], best: Row | None) -> Table:
    """Draw a line for each mixture."""
    table = _bare("M", "k", "jobs per query", "rho", "mean", "p95")
    table.add_column("", justify="left")
    for row in rows:
        latency, marks = row.prediction.latency, list[str]()
        if not row.prediction.stable:
            marks.append("not stable")
        elif row.deepest:
            marks.append(f"deepest for k={row.mixture.fanout}")
        if row is best:
            marks.append("recommended")
        table.add_row(
            str(row.mixture.layers),
            str(row.mixture.fanout) if row.mixture.layers else "-",
            str(row.mixture.visits),
            f"{row.utilisation:.3g}",
            seconds(latency.mean) if latency else "-",
            seconds(latency.p95) if latency else "-",
            ", ".join(marks),
            style="bold" if row is best else None if row.prediction.stable else "dim",
        )
    return table


# -- for programs ---------------------------------------------------------------------


def point_data(  # noqa: PLR0913, PLR0917  (what was found)
    network: Network,
    mixture: Mixture,
    prediction: Prediction,
    scale: float,
    gain: float | None,
    target: Target | None,
) -> dict[str, object]:
    """Tell the same to a program: seconds, queries per second, jobs."""
    asked = fsum(network.arrival_rates)
    return {
        "layers": mixture.layers,
        "fanout": mixture.fanout,
        "visits": mixture.visits,
        "stable": prediction.stable,
        "utilisation": max(prediction.utilisations),
        "scale_max": _finite(scale),
        "arrival_rate": asked,
        "arrival_rate_max": _finite(scale * asked) if asked else None,
        "gossip_gain": gain,
        "goodput": prediction.goodput,
        "latency": _latency_data(prediction.latency),
        "latency_by_layer": [_latency_data(each) for each in prediction.layers],
        "overlap": network.costs.overlap,
        "hidden": prediction.hidden,
        "nodes": [
            {
                "node": node + 1,
                "arrival_rate": network.arrival_rates[node],
                "service_time": network.service_times[node],
                "slots": network.slots[node],
                "utilisation": prediction.utilisations[node],
                "waiting": prediction.waiting[node] if prediction.waiting else None,
                "length": prediction.length[node] if prediction.length else None,
                "latency": _latency_data(prediction.homes[node]) if prediction.homes else None,
            }
            for node in range(network.nodes)
        ],
        "doubts": list(prediction.doubts),
        "target": _target_data(target, prediction),
    }


def table_data(
    network: Network, rows: Sequence[Row], best: Row | None, target: Target | None
) -> dict[str, object]:
    """Tell the same of all mixtures to a program."""

    def of(row: Row) -> dict[str, object]:
        return {
            "layers": row.mixture.layers,
            "fanout": row.mixture.fanout,
            "visits": row.mixture.visits,
            "utilisation": row.utilisation,
            "stable": row.prediction.stable,
            "deepest": row.deepest,
            "latency": _latency_data(row.prediction.latency),
            "doubts": list(row.prediction.doubts),
            "target": _target_data(target, row.prediction),
        }

    return {
        "nodes": network.nodes,
        "arrival_rate": fsum(network.arrival_rates),
        "mixtures": [of(row) for row in rows],
        "recommended": of(best) if best is not None else None,
    }


def _latency_data(latency: Latency | None) -> dict[str, float] | None:
    if latency is None:
        return None
    return {
        "mean": latency.mean,
        "p50": latency.p50,
        "p95": latency.p95,
        "p99": latency.p99,
    }


def _target_data(target: Target | None, prediction: Prediction) -> dict[str, object] | None:
    if target is None:
        return None
    return {"measure": target.measure, "seconds": target.seconds, "met": target.met(prediction)}


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


# -- words and figures ----------------------------------------------------------------


def _bare(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def shape(mixture: Mixture) -> str:
    """Name a mixture."""
    return (
        f"M={mixture.layers}, k={mixture.fanout}" if mixture.layers else "M=0 (home's model alone)"
    )


def count(number: int, what: str) -> str:
    """Write how many there are."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def figure(value: float) -> str:
    """Write three digits, or all that stand before the point."""
    return f"{value:.0f}" if abs(value) >= 1000.0 else f"{value:.3g}"  # noqa: PLR2004


def seconds(value: float) -> str:
    """Write a duration."""
    return f"{figure(value)} s"


def _numbered(nodes: Sequence[int]) -> str:
    """Write numbers of nodes, from 1: `1-3, 5`."""
    runs: list[list[int]] = []
    for node in nodes:
        if runs and node == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], node]
        else:
            runs.append([node, node])
    return ", ".join(f"{a + 1}" if a == b else f"{a + 1}-{b + 1}" for a, b in runs)
