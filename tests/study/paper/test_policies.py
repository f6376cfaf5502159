"""What policies gain: that it is measured alike, and that findings can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from dmoa.core.policy import PAPER, POLICIES, Policy
from dmoa.sim.setting import Setting
from dmoa.study.paper import policies, policies_cases, policies_gains
from dmoa.study.paper.claim import Claim
from dmoa.study.paper.policies import measure
from dmoa.study.paper.policies_cases import LITTLE, MUCH, Pair, pairs
from dmoa.study.paper.policies_gains import Compared, findings
from dmoa.study.statistics import Estimate

GROUPS = ["choice", "unlike", "capacity", "tail", "order", "steady", "bounds", "bursts"]


def quiet(done: int, total: int, what: str) -> None:
    assert 0 <= done <= total
    assert what or done == total


def alike_but_for_the_policy(pair: Pair) -> bool:
    after = replace(pair.after, policy=pair.before.policy, gossip=pair.before.gossip)
    return after == pair.before


def test_pairs_differ_in_policy_and_gossip_only() -> None:
    found = pairs(POLICIES)
    assert all(map(alike_but_for_the_policy, found))
    assert list(dict.fromkeys(each.group for each in found)) == GROUPS
    assert all(each.before.policy.own_queries in (None, LITTLE, MUCH) for each in found)
    assert all(replace(each.before.policy, own_queries=None) == PAPER for each in found)


def test_bursts_and_shares_are_what_their_names_say() -> None:
    found = {(each.name, each.load): each for each in pairs(POLICIES)}
    one = found["loaded, fresh digests", "rho 0.9"].before
    assert one.network.arrival_rates[0] * 9 == pytest.approx(0.9)
    costly = found["later, costs 1, 1.5, 2", "rho 0.7"].before
    assert costly.network.arrival_rates[0] * (4 * 2.5 + 2) == pytest.approx(0.7)
    burst = found["adaptive, up to 40 own queries", "rho 0.3/4"].before
    assert burst.network.arrival_rates[0] * 9 == pytest.approx(1.0)
    assert burst.arrivals == policies_cases.BURSTS[1]
    unlike = found["loaded, 10 unlike nodes", "0.9 of uniform"].before
    assert unlike.network.arrival_rates[0] == pytest.approx(0.9 / 72)
    best = found["loaded, 4x1 3x2 2x4 1x8, M=2, k=3", "0.95 of best"].before
    assert best.network.arrival_rates[0] == pytest.approx(0.95 * 3 / 72)


# -- what is asked, of figures made up -------------------------------------------------


def known(value: float) -> Estimate:
    return Estimate(value, 0.001, 8)


def as_claimed(pair: Pair) -> Compared:
    """Make up what all findings ask for."""
    before, after, change = 100.0, 5.0, -0.5
    if pair.group == "choice" and pair.load == "rho 0.9":
        change = -0.75
    elif pair.group == "tail" and pair.name.startswith("quorum"):
        change = -0.59 if pair.load == "rho 0.5" else -0.82
    elif pair.group == "order":
        change = -0.1
    elif pair.gauge == "growth":
        before, after = 6.0, 0.01
    elif pair.gauge == "refused":
        before, after = 25.0, 0.0
    elif pair.gauge in ("in time", "goodput"):
        before, after = 40.0, 100.0
    return Compared(pair, known(before), known(after), known(change), known(change))


CLAIMED = [as_claimed(each) for each in pairs(POLICIES)]


def test_what_was_claimed_holds() -> None:
    assert [each.text for each in findings(CLAIMED) if not each.holds] == []


@pytest.mark.parametrize(
    ("group", "gauge", "name", "wrong", "text"),
    [
        ("choice", "mean", "loaded, fresh digests", {"change": known(-0.3)}, "the best k of 2k"),
        ("choice", "mean", "loaded, digests every 30 s", {"change": known(0.05)}, "never worse"),
        (
            "unlike",
            "mean",
            "loaded, hedged, 10 unlike nodes",
            {"after": known(20.0)},
            "choice and hedge",
        ),
        ("capacity", "growth", "", {"after": known(3.0)}, "8 unlike networks"),
        ("capacity", "growth", "", {"before": known(0.0)}, "8 unlike networks"),
        ("tail", "mean", "hedged, cv 1", {"change": known(0.1)}, "does no harm"),
        ("tail", "mean", "hedged, cv 1", {"change": known(-0.1)}, "a hedge"),
        ("tail", "mean", "quorum, cv 1", {"change": known(-0.3)}, "a quorum"),
        ("bounds", "goodput", "", {"after": known(80.0)}, "bounds keep"),
        ("bounds", "in time", "", {"after": known(80.0)}, "bounds keep"),
        ("bursts", "refused", "steady, up to 40 own queries", {"after": known(1.0)}, "adaptive"),
        ("bursts", "in time", "steady, up to 40 own queries", {"after": known(99.0)}, "adaptive"),
        ("bursts", "refused", "steady, up to 10 own queries", {"before": known(5.0)}, "fixed"),
        ("bursts", "in time", "steady, up to 40 own queries", {"before": known(95.0)}, "fixed"),
        ("order", "mean", "oldest", {"change": known(-0.4)}, "an order"),
    ],
)
def test_each_finding_can_fail(
    group: str, gauge: str, name: str, wrong: Mapping[str, Estimate], text: str
) -> None:
    def at(each: Compared) -> bool:
        pair = each.pair
        return (pair.group, pair.gauge) == (group, gauge) and (not name or pair.name == name)

    made = [replace(each, **wrong) if at(each) else each for each in CLAIMED]
    failed = [each.text for each in findings(made) if not each.holds]
    assert failed
    assert any(text in each for each in failed)


def test_what_could_not_be_measured_is_no_gain() -> None:
    nothing = Estimate(float("nan"), float("inf"), 8)
    made = [Compared(each.pair, nothing, nothing, None, nothing) for each in CLAIMED]
    assert not any(each.holds for each in findings(made))


# -- what is measured, in little ------------------------------------------------------


def little(
    monkeypatch: pytest.MonkeyPatch, known_as: Mapping[str, Policy] = POLICIES, seed: int = 1
) -> Claim:
    """Measure hardly anything."""
    monkeypatch.setattr(policies, "REPLICATIONS", 2)
    monkeypatch.setattr(policies, "POLICIES", known_as)
    monkeypatch.setattr(policies, "IDLE_QUERIES", 50_000)
    return measure(effort=0.002, seed=seed, progress=quiet)


def test_a_measurement_has_a_row_for_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = little(monkeypatch)
    assert len(claim.rows) == len(pairs(POLICIES))
    assert all(len(row) == len(claim.columns) for row in claim.rows)
    assert claim.bars
    for panel in claim.panels:
        assert all(len(each.y) == len(panel.names) for each in panel.series)


def test_policies_that_do_nothing_gain_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = little(monkeypatch, dict.fromkeys(POLICIES, PAPER))
    changes = [row[6] for row in claim.rows if row[2] == "mean"]
    assert changes == [0.0] * len(changes)
    failed = [each.text for each in claim.findings if not each.holds]
    for text in ("the best k of 2k: mean +0 % at rho 0.7", "at rho 0.9", "ten unlike", "a hedge"):
        assert any(text in each for each in failed)


def only(monkeypatch: pytest.MonkeyPatch, name: str, load: str, seconds: float) -> Compared:
    """Measure one pair, as long as a test may."""
    monkeypatch.setattr(policies, "REPLICATIONS", 2)
    (pair,) = [
        each
        for each in pairs(POLICIES)
        if (each.name, each.load, each.gauge) == (name, load, "mean")
    ]
    runs = policies.Runs([pair], seconds / policies_cases.SECONDS, 1)
    return policies.compare(pair, runs)


def test_the_best_of_twice_as_many_is_found_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    found = only(monkeypatch, "loaded, fresh digests", "rho 0.7", 1000.0)
    assert found.change is not None
    assert found.p95 is not None
    assert -0.65 < found.change.mean < -0.35
    assert -0.75 < found.p95.mean < -0.35
    assert found.factor == pytest.approx(1.0 / (1.0 + found.change.mean))


def test_a_setting_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Setting] = []
    simulate = policies.simulate

    def counting(setting: Setting, *, compiled: bool | None) -> object:
        seen.append(setting)
        return simulate(setting, compiled=compiled)

    monkeypatch.setattr(policies, "simulate", counting)
    monkeypatch.setattr(policies, "REPLICATIONS", 2)
    chosen = [each for each in pairs(POLICIES) if each.group == "choice"][:3]
    runs = policies.Runs(chosen, 0.002, 1)
    for pair in chosen:
        policies.compare(pair, runs)
    assert len(seen) == 2 * 4
    assert len({each.seed for each in seen}) == 2


def test_thresholds_are_those_of_the_claims() -> None:
    assert policies_gains.TIMES == 8.0
    assert policies_gains.LOST == 20.0
    assert policies_cases.NEARLY == 0.95
