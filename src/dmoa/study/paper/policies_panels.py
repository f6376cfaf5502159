"""Pictures of what policies gain."""

from __future__ import annotations

from collections.abc import Sequence

from dmoa.study.paper import policies_cases as cases
from dmoa.study.paper.policies_gains import Compared, grouped, is_steady
from dmoa.study.plots import Panel, Series
from dmoa.study.statistics import Estimate

_SHOWN = (
    ("oldest", "rho 0.9"),
    ("hedged, cv 1", "rho 0.5"),
    ("hedged, cv 1", "rho 0.85"),
    ("quorum, cv 1", "rho 0.5"),
    ("quorum, cv 1", "rho 0.85"),
    ("steady", "rho 0.9"),
)
"""The policies, and at which load."""


def panels(compared: Sequence[Compared]) -> tuple[Panel, ...]:
    """Draw the gains: choice by the age of digests, other policies, unlike nodes, overload."""
    groups = grouped(compared)
    return (
        _by_age(groups["choice"]),
        _by_policy([*groups["order"], *groups["tail"], *groups["steady"]]),
        _by_load(groups["unlike"]),
        _in_time([*groups["bounds"], *groups["bursts"]]),
    )


def _bars(label: str, values: Sequence[Estimate], scale: float = 1.0) -> Series:
    return Series(
        label,
        range(len(values)),
        [scale * each.mean for each in values],
        [scale * each.low for each in values],
        [scale * each.high for each in values],
    )


def _by_age(choice: Sequence[Compared]) -> Panel:
    loads = dict.fromkeys(each.pair.load for each in choice)
    series = [
        _bars(load, [each.change for each in choice if each.pair.load == load and each.change], 100)
        for load in loads
    ]
    return Panel(
        "The best k of 2k",
        "seconds between digests",
        "change of the mean (%)",
        series,
        names=[f"{age:g}" for age in cases.AGES],
    )


def _by_policy(others: Sequence[Compared]) -> Panel:
    shown = [each for each in others if (each.pair.name, each.pair.load) in _SHOWN]
    names = [f"{each.pair.name.partition(',')[0]}\n{each.pair.load[4:]}" for each in shown]
    return Panel(
        "Other policies",
        "policy, rho",
        "change (%)",
        [
            _bars("mean", [each.change for each in shown if each.change], 100),
            _bars("p95", [each.p95 for each in shown if each.p95], 100),
        ],
        names=names,
    )


def _by_load(unlike: Sequence[Compared]) -> Panel:
    return Panel(
        "Ten unlike nodes",
        "policy, load as a share of what uniform draws carry",
        "mean time to answer (s)",
        [
            _bars("the paper's protocol", [each.before for each in unlike]),
            _bars("with the policy", [each.after for each in unlike]),
        ],
        names=[
            ("hedged too" if "hedged" in each.pair.name else "loaded")
            + f"\n{each.pair.load.partition(' ')[0]}"
            for each in unlike
        ],
    )


def _in_time(busy: Sequence[Compared]) -> Panel:
    timely = [each for each in busy if each.pair.gauge == "in time"]
    shown = [each for each in timely if each.pair.group == "bounds" or is_steady(each, cases.MUCH)]
    return Panel(
        f"Answered within {cases.DEADLINE:g} s",
        "policy, rho that lasts, or in calm/in burst",
        "share of the queries (%)",
        [
            _bars("the paper's protocol", [each.before for each in shown]),
            _bars("with the policy", [each.after for each in shown]),
        ],
        y_range=(0.0, 105.0),
        names=[f"{each.pair.name.partition(',')[0]}\n{each.pair.load[4:]}" for each in shown],
    )
