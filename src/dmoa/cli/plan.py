"""`dmoa plan`: what a network can carry, and how long its answers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmoa.cli import plan_view as view
from dmoa.cli import render
from dmoa.cli.options import NO, command, json_option, mixture_options

if TYPE_CHECKING:
    from dmoa.core.mixture import Mixture
    from dmoa.core.network import Network
    from dmoa.study.planner import Row, Target
    from dmoa.theory.latency import Prediction
    from dmoa.theory.laws import Law


@command(
    "dmoa plan --nodes 10 --arrival-rate 0.05 --service-time 2",
    "dmoa plan --arrival-rate 0.02 --service-time 1,1,1,4 --layers 1 --fanout 2 --latency 10",
)
@click.option("--nodes", type=int, metavar="N", help="Nodes, where no list says how many")
@click.option(
    "--arrival-rate", metavar="RATE[,...]", help="Queries/s asked at each node; one, or a list"
)
@click.option("--service-time", metavar="SECONDS[,...]", help="Seconds per job; one, or a list")
@click.option("--slots", metavar="COUNT[,...]", help="Jobs a node serves at once  [default: 1]")
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Of an aggregation, what is reading, and may be done ahead  [default: 0]",
)
@mixture_options()
@click.option(
    "--law",
    "law_text",
    metavar="LAW",
    default="exp",
    show_default=True,
    help="How service times vary: fixed, exp, lognormal:CV, pareto:SHAPE, tokens",
)
@click.option(
    "--network",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="A network to read; other options go before what it says",
)
@click.option(
    "--latency", metavar="[mean:]SECONDS", help="When answers must be there: 95 of 100, or mean"
)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw latency: .png, .svg"
)
@json_option("Write one JSON object instead of text")
def plan(  # noqa: PLR0913  (each is an option)
    *,
    nodes: int | None,
    arrival_rate: str | None,
    service_time: str | None,
    slots: str | None,
    overlap: float | None,
    layers: int | None,
    fanout: int | None,
    law_text: str,
    file: Path | None,
    latency: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Tell what a network can carry, and how long answers take.

    With layers and a fanout: rho of each node (stable below 1), room to grow, queues and
    latency. Without: which mixtures are stable, and one that is recommended. Exits with 3
    where the answer is no: unstable, or the latency is not reached.
    """
    from dmoa.core.mixture import Mixture
    from dmoa.errors import UsageError
    from dmoa.study.planner import Target
    from dmoa.theory.laws import parse_law

    if plot is not None:
        from dmoa.study import plots

        plots.check(plot)
    network = _network(file, nodes, arrival_rate, service_time, slots)
    if overlap is not None:
        network = replace(network, costs=replace(network.costs, overlap=overlap))
    law = parse_law(law_text)
    target = Target.parse(latency) if latency is not None else None
    if layers is None and fanout is None:
        fine = _table(network, law, target, plot, as_json=as_json)
    elif layers is None or (fanout is None and layers > 0):
        missing = "--layers" if layers is None else "--fanout"
        raise UsageError(
            f"a mixture needs layers and a fanout; {missing} is missing",
            hint=f"add {missing}, or leave both out to compare mixtures",
        )
    else:
        mixture = Mixture(layers, fanout or 0)
        fine = _point(network, mixture, law, target, plot, as_json=as_json)
    if not fine:
        raise click.exceptions.Exit(NO)


def _network(
    file: Path | None,
    nodes: int | None,
    arrival_rate: str | None,
    service_time: str | None,
    slots: str | None,
) -> Network:
    """Put together what the file says and what the options say before it."""
    from dmoa.study.network_file import Description, describe, parse_counts, parse_numbers

    said: dict[str, Any] = {"nodes": nodes} if nodes is not None else {}
    if arrival_rate is not None:
        said["arrival_rate"] = parse_numbers(arrival_rate, "--arrival-rate")
    if service_time is not None:
        said["service_time"] = parse_numbers(service_time, "--service-time")
    if slots is not None:
        said["slots"] = parse_counts(slots, "--slots")
    return replace(describe(file) if file else Description(), **said).network()


# -- one mixture ----------------------------------------------------------------------


def _point(  # noqa: PLR0913  (what was asked, and how to answer)
    network: Network,
    mixture: Mixture,
    law: Law,
    target: Target | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> bool:
    """Tell all about one mixture, and whether it will do."""
    from dmoa.core.stability import arrival_rate_scale_max
    from dmoa.theory.latency import predict

    prediction = predict(network, mixture, law)
    scale, gain = arrival_rate_scale_max(network, mixture), _gain(network, mixture)
    if as_json:
        render.data(view.point_data(network, mixture, prediction, scale, gain, target))
    else:
        screen = render.console()
        nodes, jobs = view.count(network.nodes, "node"), view.count(mixture.visits, "job")
        screen.print(f"{nodes}, {view.shape(mixture)}: {jobs} per query")
        screen.print()
        screen.print(view.nodes_table(network, prediction))
        screen.print()
        for line in view.capacity_lines(network, prediction, scale, gain):
            screen.print(line, soft_wrap=True)
        if prediction.latency is not None:
            screen.print()
            screen.print(view.latency_table(prediction))
        if prediction.hidden:
            screen.print(view.hidden_line(network, prediction), soft_wrap=True)
    if plot is not None:
        _draw(network, [mixture], law, target, plot)
    for doubt in prediction.doubts if prediction.stable else ():
        render.note(doubt)
    return _verdict(prediction, target)


def _gain(network: Network, mixture: Mixture) -> float | None:
    """Tell the gain of choosing peers; of a graph it needs scipy, and may be too much work."""
    from dmoa.errors import UsageError
    from dmoa.study.planner import gossip_gain

    try:
        return gossip_gain(network, mixture)
    except UsageError as error:
        render.note(f"{error.message}; hint: {error.hint}")
        return None


def _verdict(prediction: Prediction, target: Target | None) -> bool:
    """Say on stderr if the answer is no, and why."""
    if not prediction.stable:
        rho = prediction.utilisations
        render.talk(
            f"no: the network is not stable, rho is {max(rho):.3g} at node "
            f"{rho.index(max(rho)) + 1}"
        )
        return False
    if target is None or target.met(prediction):
        return True
    found = target.found(prediction)
    wanted = f"{view.seconds(target.seconds)} for the {target.measure}"
    if found is None:
        render.talk(f"no: nothing is predicted, so {wanted} is not known to be reached")
    else:
        render.talk(f"no: {wanted} is not reached, {view.seconds(found)} is predicted")
    return False


# -- many mixtures --------------------------------------------------------------------


def _table(
    network: Network, law: Law, target: Target | None, plot: Path | None, *, as_json: bool
) -> bool:
    """Compare mixtures, and recommend one; tell whether there is one."""
    from dmoa.study.planner import recommended, rows_of

    rows = rows_of(network, law)
    best = recommended(rows, target)
    if as_json:
        render.data(view.table_data(network, rows, best, target))
    else:
        screen = render.console()
        asked = fsum(network.arrival_rates)
        screen.print(f"{view.count(network.nodes, 'node')}, {view.figure(asked)} queries/s in all")
        screen.print()
        screen.print(view.mixtures_table(rows, best))
    if plot is not None:
        others = [row.mixture for row in rows if row.deepest and row is not best]
        first = best.mixture if best is not None else rows[0].mixture
        _draw(network, [first, *others], law, target, plot)
    for doubt in dict.fromkeys(
        doubt for row in rows if row.prediction.stable for doubt in row.prediction.doubts
    ):
        render.note(doubt)
    return _recommend(rows, best, target, as_json=as_json)


def _recommend(
    rows: Sequence[Row], best: Row | None, target: Target | None, *, as_json: bool
) -> bool:
    from dmoa.study.planner import RHO_GOOD

    if best is not None:
        if not as_json:
            why = (
                f"a {target.measure} of at most {view.seconds(target.seconds)}"
                if target
                else f"a rho of at most {RHO_GOOD:g}, which leaves bursts some room"
            )
            click.echo(
                f"\nrecommended: {view.shape(best.mixture)}, the most jobs per query with {why}"
            )
        return True
    if not any(row.prediction.stable for row in rows):
        render.talk(f"no: even a model alone is not stable, rho is {rows[0].utilisation:.3g}")
    elif target is not None:
        render.talk(
            f"no: no mixture is predicted to have a {target.measure} of at most "
            f"{view.seconds(target.seconds)}"
        )
    else:
        render.talk(f"no: no mixture has a rho of at most {RHO_GOOD:g}")
    return False


def _draw(
    network: Network, mixtures: Sequence[Mixture], law: Law, target: Target | None, file: Path
) -> None:
    from dmoa.study import plots
    from dmoa.study.planner import picture

    of_one = f" of {view.shape(mixtures[0])}" if len(mixtures) == 1 else ""
    plots.lines(picture(network, mixtures, law, target), file, title=f"Predicted latency{of_one}")
    render.talk(f"drawn: {file}")
