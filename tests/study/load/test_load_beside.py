"""What is said of a load test by theory and simulation, from what was measured alone."""

from __future__ import annotations

from dataclasses import asdict
from math import inf
from random import Random
from typing import Any

import pytest
from load_room import crew_of, job, query

from dmoa.core.effects import Answer
from dmoa.core.mixture import Mixture
from dmoa.core.names import QueryId
from dmoa.core.network import Costs, Network
from dmoa.core.policy import LIVE, PAPER, STEADY, Policy
from dmoa.core.stability import utilisation
from dmoa.sim.dream import Dream, dream
from dmoa.sim.setting import Recorded, Setting
from dmoa.sim.world import End
from dmoa.study.load import beside as others
from dmoa.study.load.beside import as_dict, beside, beside_world, case_of, corrected, policy_of
from dmoa.study.load.records import Log
from dmoa.study.load.schedule import due
from dmoa.study.load.services import services_of
from dmoa.theory.laws import LogNormal

PAIR = Mixture(1, 1)
NAMES = ("n1", "n2", "n3")
PACES = {"n1": 0.1, "n2": 0.2, "n3": 0.4}


def log_of(arrivals: Recorded, policy: Policy = PAPER, **costs: float) -> Log:
    """Every query had a proposal at home, one at the next node, and an aggregation at home."""
    log, rng = Log(), Random(1)
    log.meet(crew_of(*NAMES, policies=(asdict(policy),) * 3))
    for number, (at, home) in enumerate(zip(arrivals.times, arrivals.homes, strict=True)):
        here, there = NAMES[home], NAMES[(home + 1) % 3]
        parts = [(here, 1, "proposer"), (there, 1, "proposer"), (here, 2, "aggregator")]
        jobs = tuple(
            job(node, layer, role, PACES[node] * costs.get(role, 1.0) * rng.uniform(0.5, 1.5))
            for node, layer, role in parts
        )
        log.query(query(number, due=at, node=home, jobs=jobs))
        log.send(number)
    return log


ARRIVALS = due((0.6,) * 3, None, seconds=400.0, seed=3)


def case(policy: Policy = PAPER, **more: Any) -> others.Case:
    found = case_of(log_of(ARRIVALS, policy), ARRIVALS, PAIR, poisson=True, **more)
    assert found is not None
    return found


# -- what is taken from a test --------------------------------------------------------------


def test_service_times_and_rates_are_those_measured() -> None:
    found = case()
    assert found.network.service_times == pytest.approx(tuple(PACES.values()), rel=0.05)
    assert sum(found.network.arrival_rates) == pytest.approx(1.8, rel=0.1)
    assert found.services.law.mean == 1.0
    assert found.services.law.cv == pytest.approx(0.29, abs=0.02)  # of 0.5 to 1.5, even


def test_the_kinds_of_jobs_have_their_own_costs() -> None:
    log = log_of(ARRIVALS, aggregator=3.0)
    found = case_of(log, ARRIVALS, PAIR, poisson=True)
    assert found is not None
    costs = found.network.costs
    assert costs.aggregation / costs.first == pytest.approx(3.0, rel=0.05)
    assert costs.later == 1.0
    times = [each.service_seconds for one in log.queries.values() for each in one.jobs]
    paces = dict(zip(NAMES, found.network.service_times, strict=True))
    expected = sum(
        paces[each.node] * costs.of(each.layer, 1)
        for one in log.queries.values()
        for each in one.jobs
    )
    assert expected == pytest.approx(sum(times), rel=1e-9)


def test_a_node_without_jobs_is_believed() -> None:
    arrivals = Recorded(tuple(float(each) for each in range(40)), (0,) * 40)
    log = log_of(arrivals)
    found = case_of(log, arrivals, PAIR, poisson=True)
    assert found is not None
    assert found.network.service_times[2] == 0.5
    assert log.crew is not None
    log.crew = crew_of(*NAMES, service_times=(0.0, 0.0, 0.0))
    unknown = case_of(log, arrivals, PAIR, poisson=True)
    assert unknown is not None
    assert 0.05 < unknown.network.service_times[2] < 0.3  # the mean of all jobs


def test_policies_are_those_that_nodes_tell() -> None:
    assert policy_of(crew_of("n1", policies=(asdict(LIVE),))) == LIVE
    assert policy_of(crew_of("n1", "n2", policies=(asdict(LIVE), asdict(PAPER)))) is None
    assert policy_of(crew_of("n1", policies=({**asdict(PAPER), "mood": "good"},))) is None
    assert policy_of(crew_of("n1", policies=({"choice": "wild"},))) is None


RATE, MEAN, LAW = 0.12, 0.5, LogNormal(cv=0.5)


def lived(policy: Policy, costs: Costs) -> Log:
    """Let agents live through a test whose truth is known, and keep what a test would."""
    arrivals = due((RATE,) * 8, None, seconds=400.0, seed=4)
    network = Network((RATE,) * 8, (MEAN,) * 8, costs=costs)
    setting = Setting(network, Mixture(1, 3), LAW, policy, arrivals, len(arrivals.times))
    life, log = Dream(setting, record=True), Log()
    life.world.record = False
    log.meet(crew_of(*life.nodes, policies=(asdict(policy),) * 8))
    heed = life.world.heed
    assert heed is not None

    def look(name: QueryId, end: End) -> None:
        assert isinstance(end.result, Answer)
        jobs = tuple(
            job(each.node, each.layer, each.role, each.service_seconds, each.outcome)
            for each in end.result.trace.jobs
        )
        log.query(query(life.numbers[name], due=end.asked, latency=0.0, jobs=jobs))
        heed(name, end)

    life.world.heed = look
    life.live()
    log.send(len(arrivals.times) - 1)
    return log


def test_where_all_are_waited_for_nothing_is_guessed() -> None:
    log = lived(PAPER, Costs(aggregation=2.0))
    assert log.crew is not None
    found = services_of(log, log.crew, Mixture(1, 3))
    assert found is not None
    assert found.guessed == ()
    assert found.costs.aggregation / found.costs.first == pytest.approx(2.0, rel=0.05)


def test_jobs_that_were_not_waited_for_do_not_shorten_the_others() -> None:
    policy = Policy(choice="loaded", spare=1)
    log = lived(policy, Costs(aggregation=2.0))
    arrivals = due((RATE,) * 8, None, seconds=400.0, seed=4)
    found = case_of(log, arrivals, Mixture(1, 3), poisson=True)
    assert found is not None
    assert found.services.guessed == ("first",)
    true = MEAN  # of a proposal
    mean = sum(found.network.service_times) / 8
    assert found.network.costs.first * mean < 0.93 * true
    better = corrected(found)
    assert better.network.costs.first * mean == pytest.approx(true, rel=0.03)
    assert better.network.costs.aggregation * mean == pytest.approx(2.0 * true, rel=0.04)


# -- what they say --------------------------------------------------------------------------


def test_the_theorem_is_told_the_rates_that_came() -> None:
    arrivals = Recorded(tuple(0.5 * each for each in range(300)), (0, 1, 2) * 100)
    log = log_of(arrivals)
    found = case_of(log, arrivals, PAIR, poisson=False)
    assert found is not None
    said = beside(found, worlds=0).theorem1
    assert said is not None
    for rho, pace in zip(said, PACES.values(), strict=True):
        assert rho == pytest.approx(
            utilisation(PAIR, arrival_rate=2.0 / 3.0, service_time=pace), rel=0.06
        )


def test_the_planner_speaks_of_the_paper_and_poisson_alone() -> None:
    assert "paper's protocol only" in beside(case(STEADY), worlds=0).silent["planner"]
    burst = case_of(log_of(ARRIVALS), ARRIVALS, PAIR, poisson=False)
    assert beside(burst, worlds=0).silent["planner"] == "it knows Poisson arrivals only"
    # this law varies less than a prediction is trusted for
    assert "hardly vary" in beside(case(), worlds=0).silent["planner"]
    assert beside(case(), worlds=0).silent["world"] == "none was asked for"


def test_the_worlds_live_through_the_very_same_arrivals() -> None:
    found = case(deadline=3.0)
    worlds = beside_world(found, (1, 2))
    outcomes = [dream(found.setting(seed)) for seed in (1, 2)]
    assert worlds.figures["mean"].mean == pytest.approx(
        sum(each.mean for each in outcomes) / 2, rel=1e-12
    )
    assert worlds.figures["in_time"].mean == sum(each.in_time for each in outcomes) / 2
    assert [each.mean for each in worlds.utilisations] == pytest.approx(
        [sum(each.utilisation[node] for each in outcomes) / 2 for node in range(3)]
    )
    assert len(worlds.latencies) == sum(each.answered for each in outcomes)
    assert sum(worlds.latencies) / len(worlds.latencies) == pytest.approx(
        worlds.figures["mean"].mean
    )


def test_a_world_is_as_busy_as_the_theorem_says() -> None:
    found = beside(case(), worlds=3)
    assert found.theorem1 is not None
    assert found.world is not None
    for rho, busy in zip(found.theorem1, found.world.utilisations, strict=True):
        assert busy.mean == pytest.approx(rho, abs=0.03)


@pytest.mark.parametrize("policy", [STEADY, LIVE])
def test_worlds_follow_other_policies_as_well(policy: Policy) -> None:
    found = beside(case(policy), worlds=1)
    assert found.world is not None
    assert found.world.figures["mean"].mean > 0.0


def test_worlds_tell_how_far_they_are() -> None:
    told: list[tuple[int, int]] = []
    beside_world(case(), (1, 2), lambda *done: told.append(done))
    size = len(ARRIVALS.times)
    assert told == [(size, 2 * size), (2 * size, 2 * size)]


def test_there_is_a_reason_for_every_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Recorded((0.0, 1.0), (0, 1))
    assert case_of(log_of(few), few, PAIR, poisson=True) is None
    assert sorted(beside(None).silent) == ["planner", "theorem1", "world"]
    log = log_of(ARRIVALS)
    assert log.crew is not None
    log.crew = crew_of(*NAMES, policies=(asdict(PAPER), asdict(STEADY), asdict(PAPER)))
    mixed = beside(case_of(log, ARRIVALS, PAIR, poisson=True))
    assert "differ" in mixed.silent["world"]
    monkeypatch.setattr(others, "JOBS_MAX", 10)
    assert "too long" in beside(case()).silent["world"]


def test_it_is_all_told_to_programs() -> None:
    told = as_dict(beside(case(STEADY, deadline=inf), worlds=2))
    assert len(told["theorem1"]["utilisations"]) == 3
    assert told["planner"] is None
    assert set(told["world"]) == {*others.MEASURES, "utilisations"}
    assert set(told["silent"]) == {"planner"}
