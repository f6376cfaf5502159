"""Which points a sweep has, and how lists, ranges, rates, policies and traces are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.mixture import Mixture
from dmoa.core.policy import POLICIES, Policy
from dmoa.core.stability import utilisations
from dmoa.errors import NetworkShapeError, UsageError
from dmoa.sim.setting import Bursts, Recorded
from dmoa.study import spelling
from dmoa.study.grid import POINTS_MAX, Grid, Rate
from dmoa.study.network_file import Description

TEN = Description(nodes=10, service_time=(1.0,))
MIXED = Description(arrival_rate=(1.0, 2.0, 1.0), service_time=(1.0, 1.0, 4.0))


def grid(**wanted: Any) -> Grid:
    return Grid(**{"network": TEN, "rates": (Rate(0.1),), **wanted})


# -- points ---------------------------------------------------------------------------


def test_every_combination_is_a_point() -> None:
    found = grid(layers=(1, 2), fanouts=(1, 3), rates=(Rate(0.01), Rate(0.02))).points()
    shapes = [(p.setting.mixture.layers, p.setting.mixture.fanout, p.rate) for p in found]
    assert shapes == [
        (layers, fanout, pytest.approx(rate))
        for layers in (1, 2)
        for fanout in (1, 3)
        for rate in (0.01, 0.02)
    ]
    assert len({p.setting.seed for p in found}) == 1


def test_without_layers_the_fanout_is_one_point() -> None:
    assert grid(layers=(0, 1), fanouts=(1, 2)).mixtures() == [
        Mixture(0, 0),
        Mixture(1, 1),
        Mixture(1, 2),
    ]


@given(st.floats(0.01, 3.0), st.integers(0, 3), st.integers(0, 2))
def test_a_rate_in_rho_reaches_that_rho(rho: float, layers: int, fanout: int) -> None:
    for network in (TEN, MIXED):
        (point,) = grid(
            network=network,
            layers=(layers,),
            fanouts=(fanout,),
            rates=(Rate(rho, of_capacity=True),),
        ).points()
        setting = point.setting
        assert max(utilisations(setting.network, setting.mixture)) == pytest.approx(rho)
        assert point.rho == pytest.approx(rho)


def test_a_rho_scales_the_rates_that_the_network_has() -> None:
    (point,) = grid(network=MIXED, rates=(Rate(0.5, of_capacity=True),)).points()
    first, second, third = point.setting.network.arrival_rates
    assert second == pytest.approx(2.0 * first) == pytest.approx(2.0 * third)
    assert point.rate == pytest.approx((first + second + third) / 3.0)


def test_rates_of_the_network_are_taken_where_no_others_are_given() -> None:
    (point,) = grid(network=MIXED, rates=()).points()
    assert point.setting.network.arrival_rates == (1.0, 2.0, 1.0)
    with pytest.raises(NetworkShapeError, match="arrival rate of the network is missing"):
        grid(rates=()).points()


def test_each_number_of_nodes_has_a_graph_of_its_own() -> None:
    few = grid(network=Description(service_time=(1.0,)), nodes=(4, 6), topology="ring")
    graphs = [point.setting.network.graph for point in few.points()]
    assert [len(graph or ()) for graph in graphs] == [4, 6]
    assert (graphs[0] or ())[0] == (1, 3)


def test_a_graph_of_the_file_counts_its_nodes() -> None:
    described = Description(service_time=(1.0,), graph=((1, 2), (0, 2), (0, 1)))
    (point,) = grid(network=described).points()
    assert point.setting.network.nodes == 3
    assert point.setting.network.graph == described.graph


def test_a_trace_has_the_rates_that_were_recorded() -> None:
    trace = Recorded((0.0, 1.0, 2.0, 4.0), (0, 1, 0, 0))
    (point,) = grid(arrivals=trace, rates=()).points()
    assert point.setting.network.arrival_rates[:3] == (0.75, 0.25, 0.0)
    with pytest.raises(UsageError, match="asks node 11"):
        grid(arrivals=Recorded((0.0, 1.0), (10, 0)), rates=()).points()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(NetworkShapeError, match="fanout of 10"):
        grid(fanouts=(2, 10)).points()
    with pytest.raises(NetworkShapeError, match="fanout of 10"):
        grid(fanouts=(10,), rates=(Rate(0.5, of_capacity=True),)).points()
    nobody = Description(arrival_rate=(0.0,), service_time=(1.0,), nodes=4)
    with pytest.raises(UsageError, match="no rate reaches a rho"):
        grid(network=nobody, rates=(Rate(0.5, of_capacity=True),)).points()
    with pytest.raises(UsageError, match=f"more than the {POINTS_MAX}"):
        grid(rates=[Rate(0.001 * each) for each in range(1, 6000)], layers=(1, 2)).points()


# -- how they are written -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3", [3]),
        ("1,2,4", [1, 2, 4]),
        ("0:3", [0, 1, 2, 3]),
        ("10:50:20,7", [10, 30, 50, 7]),
        ("2,2,1:2", [2, 1]),
    ],
)
def test_counts(text: str, wanted: list[int]) -> None:
    assert list(spelling.counts(text, "--layers")) == wanted


def test_ranges_are_decimal_and_end_with_their_end() -> None:
    assert spelling.numbers("0.1:0.7:0.1", "x") == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert spelling.numbers("0.5:1:0.3", "x") == (0.5, 0.8)


def test_rates_in_queries_per_second_or_in_rho() -> None:
    assert spelling.rates("0.02,0.1") == (Rate(0.02), Rate(0.1))
    wanted = (Rate(0.5, of_capacity=True), Rate(1.0, of_capacity=True), Rate(2, of_capacity=True))
    assert spelling.rates("0.5:1:0.5rho,2rho") == wanted
    assert spelling.rates("0.5,1,2rho") == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no number"),
        ("x", "no number"),
        ("1:2:3:4", "no number"),
        ("nan", "no number"),
        ("inf", "no number"),
        ("0.3:0.1:0.1", "is empty"),
        ("0.1:0.3:0", "is empty"),
        ("1:1000000:0.1", "values"),
        ("-0.1", "above 0"),
        ("0rho", "above 0"),
        ("0.1rho,0.2", "mixes"),
    ],
)
def test_rates_that_are_none(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        spelling.rates(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["1.5", "-1", "a", "2:1"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        spelling.counts(text, "--layers")
    assert "--layers" in str(caught.value)


def test_policies_by_name_and_part() -> None:
    assert spelling.policies("paper,steady") == tuple(
        (name, POLICIES[name]) for name in ("paper", "steady")
    )
    ((name, policy),) = spelling.policies("paper", "order=oldest, spare=1,peer-jobs=5")
    assert name == "paper+order=oldest,spare=1,peer-jobs=5"
    assert policy == Policy(order="oldest", spare=1, peer_jobs=5)
    ((_, policy),) = spelling.policies("steady", "own_queries=none,adaptive=false")
    assert (policy.own_queries, policy.adaptive) == (None, False)
    ((_, policy),) = spelling.policies("live", "probe=0.5,timely=no")
    assert (policy.probe, policy.timely, policy.learning) == (0.5, False, True)
    ((_, policy),) = spelling.policies("live", "probe=none,timely=no,learning=no")
    assert not policy.lives


@pytest.mark.parametrize(
    ("name", "parts", "hint"),
    [
        ("loadde", None, "did you mean loaded?"),
        ("x", None, "choose of paper"),
        ("paper", "ordr=oldest", "did you mean order=...?"),
        ("paper", "zzz=1", "parts: choice"),
        ("paper", "spare", "did you mean spare=...?"),
        ("paper", "spare=many", "a whole number"),
        ("paper", "spare=-1", None),
        ("paper", "adaptive=perhaps", "true or false"),
        ("paper", "peer_jobs=x", "none"),
        ("paper", "probe=soon", "it takes a number, or none"),
        ("paper", "probe=nan", "it takes a number, or none"),
        ("paper", "probe=-1", None),
        ("paper", "order=random", "orders are"),
    ],
)
def test_policies_that_are_none(name: str, parts: str | None, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        spelling.policies(name, parts)
    assert hint is None or hint in (caught.value.hint or "")


def test_laws_are_listed_and_measured(tmp_path: Path) -> None:
    file = tmp_path / "times.txt"
    file.write_text("1.0\n2.0, 3.0\n")
    (first, second) = spelling.laws(f"exp,measured:{file}")
    assert (first[0], first[1].mean) == ("exp", 1.0)
    assert (second[1].mean, second[1].table) == (1.0, (0.5, 1.0, 1.5))
    file.write_text("1.0 two")
    with pytest.raises(UsageError, match="holds more than numbers: 'two'"):
        spelling.laws(f"measured:{file}")
    for broken in ("measured:", f"measured:{tmp_path}/none", "gauss", "pareto:1", "exp:3"):
        with pytest.raises(UsageError):
            spelling.laws(broken)


def test_arrivals_in_bursts_or_from_a_trace(tmp_path: Path) -> None:
    assert spelling.arrivals("poisson") is None
    assert spelling.arrivals("0.3/4:400/60") == Bursts(0.3, 4.0, 400.0, 60.0)
    wanted = Recorded((0.0, 0.5, 2.0), (0, 2, 0))
    file = tmp_path / "trace.csv"
    file.write_text("node,time,user\n1,100,ada\n3,100.5,bob\n\n1,102,ada\n")
    assert spelling.arrivals(str(file)) == wanted
    file.write_text("100,1\n100.5,3\n102,1\n")
    assert spelling.arrivals(str(file)) == wanted
    file = tmp_path / "trace.jsonl"
    file.write_text(
        '{"time": 1, "node": 1}\n{"node": 3, "time": 1.5, "x": 0}\n{"time": 3, "node": 1}\n'
    )
    assert spelling.arrivals(str(file)) == wanted


@pytest.mark.parametrize(
    "text", ["often", "1/2", "1/2:3", "0/0:1/1", "1/2:0/1", "-1/2:1/1", "none.csv"]
)
def test_arrivals_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        spelling.arrivals(text)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "no arrivals"),
        ("a.csv", "time,node\n", "no arrivals"),
        ("a.csv", "1,1\nx,1\n", "line 2"),
        ("a.csv", "1,0\n", "numbered from 1"),
        ("a.csv", "2,1\n1,1\n", "must not fall"),
        ("a.jsonl", "[1]\n", "line 1"),
        ("a.jsonl", '{"time": 1}\n', "line 1"),
        ("a.jsonl", "\xff\n", "line 1"),
    ],
)
def test_traces_that_are_none(tmp_path: Path, name: str, content: str, words: str) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(UsageError, match=words):
        spelling.arrivals(str(file))
