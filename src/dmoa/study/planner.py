"""Which mixtures a network carries, and how long their answers take: the work of `dmoa plan`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import fsum, inf
from typing import TYPE_CHECKING, Literal

from dmoa.core.mixture import Mixture
from dmoa.core.network import Network
from dmoa.core.stability import arrival_rate_scale_max, utilisations
from dmoa.errors import UsageError
from dmoa.theory.capacity import best_gossip, capacity_scale
from dmoa.theory.doubts import EQUAL, RHO_MAX
from dmoa.theory.latency import Latency, Prediction, predict
from dmoa.theory.laws import Law

if TYPE_CHECKING:
    from dmoa.study.plots import Panel

Measure = Literal["mean", "p50", "p95", "p99"]
MEASURES: tuple[Measure, ...] = ("mean", "p50", "p95", "p99")
_MEASURES: dict[str, Measure] = {each: each for each in MEASURES}
LAYERS_MAX, FANOUT_MAX = 4, 5
"""Of the mixtures that are looked at."""
RHO_GOOD = 0.75
"""Up to here waiting grows slowly with the load, and a burst finds room."""
_POINTS = 24
"""Of each line of a picture."""
_LINES = 6
"""Of one picture."""


@dataclass(frozen=True, slots=True)
class Target:
    """How soon answers must be there: a measure of their latency, at most `seconds`."""

    measure: Measure
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a target such as `30`, which is of p95, or `mean:20`."""
        measure, colon, seconds = text.rpartition(":")
        found = _MEASURES.get(measure if colon else "p95")
        try:
            value = float(seconds)
        except ValueError:
            value = 0.0
        if found is None or not 0.0 < value < inf:
            raise UsageError(
                f"{text!r} is no latency to reach",
                hint="write seconds, for the p95, or for another measure like mean:20",
            )
        return cls(found, value)

    def found(self, prediction: Prediction) -> float | None:
        """Tell what is predicted of the measure, if anything."""
        latency = prediction.latency
        return None if latency is None else float(getattr(latency, self.measure))

    def met(self, prediction: Prediction) -> bool:
        """Tell whether the prediction reaches the target; without one it does not."""
        found = self.found(prediction)
        return found is not None and found <= self.seconds


@dataclass(frozen=True, slots=True)
class Row:
    """One mixture on a network; `deepest` marks the most layers that are stable for a fanout."""

    mixture: Mixture
    prediction: Prediction
    deepest: bool

    @property
    def utilisation(self) -> float:
        """Rho of the busiest node."""
        return max(self.prediction.utilisations)


def mixtures_of(network: Network) -> list[Mixture]:
    """List the mixtures to look at, as far as every node has peers enough."""
    known = min((len(each) for each in network.graph or ()), default=network.nodes - 1)
    fanouts = range(1, min(known, FANOUT_MAX) + 1) if known else (0,)
    deep = [Mixture(m, k) for m in range(1, LAYERS_MAX + 1) for k in fanouts]
    return [Mixture(0, 0), *deep]


def rows_of(network: Network, law: Law) -> list[Row]:
    """Predict all mixtures, the least deep first."""
    predictions = {each: predict(network, each, law) for each in mixtures_of(network)}
    deepest: dict[int, int] = {}
    for mixture, prediction in predictions.items():
        if prediction.stable and mixture.layers:
            deepest[mixture.fanout] = mixture.layers
    return [
        Row(mixture, prediction, deepest.get(mixture.fanout) == mixture.layers)
        for mixture, prediction in predictions.items()
    ]


def recommended(rows: Iterable[Row], target: Target | None) -> Row | None:
    """Choose the mixture of the most jobs that reaches the target, or has room without one.

    Of two with as many jobs the wider is better, as layers wait for each other.
    """
    good = [
        row
        for row in rows
        if (target.met(row.prediction) if target else row.utilisation <= RHO_GOOD + EQUAL)
    ]
    return max(good, key=lambda row: (row.mixture.visits, row.mixture.fanout), default=None)


def gossip_gain(network: Network, mixture: Mixture) -> float:
    """Tell how many times as much would be carried if peers were drawn by their capacity."""
    rho = utilisations(network, mixture)
    if mixture.layers == 0 or mixture.fanout == 0 or max(rho) - min(rho) <= EQUAL * max(rho):
        return 1.0  # where all are equally busy, nobody could be spared
    uniform = arrival_rate_scale_max(network, mixture)
    if network.graph is not None:
        return best_gossip(network, mixture).gain
    return capacity_scale(network, mixture) / uniform


def scaled(network: Network, factor: float) -> Network:
    """Let all users ask `factor` times as often."""
    rates = tuple(rate * factor for rate in network.arrival_rates)
    return Network(rates, network.service_times, network.slots, network.costs, network.graph)


def picture(
    network: Network, mixtures: Sequence[Mixture], law: Law, target: Target | None
) -> list[Panel]:
    """Draw the mean and p95 against the queries of the whole network, as far as predicted.

    The bound is that of the first mixture. UsageError where there is nothing to draw.
    """
    from dmoa.study.plots import Mark, Panel, Series  # noqa: PLC0415  (most plans draw nothing)

    now = fsum(network.arrival_rates)
    if not now:
        raise UsageError("there is nothing to draw: all arrival rates are 0")
    bound = "rho 1" if len(mixtures) == 1 else f"rho 1 at {_name(mixtures[0])}"
    marks = [Mark(now, "now"), Mark(now * arrival_rate_scale_max(network, mixtures[0]), bound)]
    lines: dict[Measure, list[Series]] = {"mean": [], "p95": []}
    for mixture in mixtures[:_LINES]:
        found = _curve(network, mixture, law)
        for measure, series in lines.items():
            x, y = [rate for rate, _ in found], [getattr(each, measure) for _, each in found]
            series.append(Series(_name(mixture), x, y, plain=True))
    wanted: dict[Measure, list[Mark]] = {measure: [] for measure in MEASURES}
    if target is not None:
        wanted[target.measure].append(Mark(target.seconds, "wanted", level=True))
    return [
        Panel(
            title="mean" if measure == "mean" else "95 of 100 are answered within",
            x="queries/s in the whole network",
            y="seconds",
            series=series,
            marks=[*marks, *wanted[measure]],
        )
        for measure, series in lines.items()
    ]


def _name(mixture: Mixture) -> str:
    return f"M={mixture.layers}, k={mixture.fanout}" if mixture.layers else "M=0"


def _curve(network: Network, mixture: Mixture, law: Law) -> list[tuple[float, Latency]]:
    """Predict at rising rates (queries per second in all), up to where nothing is predicted."""
    most, rate = arrival_rate_scale_max(network, mixture), fsum(network.arrival_rates)
    found: list[tuple[float, Latency]] = []
    doubts: list[str] = []
    for factor in (most * RHO_MAX * step / _POINTS for step in range(_POINTS + 1)):
        prediction = predict(scaled(network, factor), mixture, law)
        doubts.extend(prediction.doubts)
        if prediction.latency is not None:
            found.append((factor * rate, prediction.latency))
    if not found:
        raise UsageError(f"there is nothing to draw: {doubts[0]}")
    return found
