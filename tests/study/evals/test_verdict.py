"""What chance may have done, and verdicts: intervals that hold, and no favour to luck."""

from __future__ import annotations

from math import inf, isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.study.evals.chance import MOST_ITEMS, difference_of, mean_of, needed_for
from dmoa.study.evals.verdict import Rivals, Verdict, verdict_of, word_of

MEMBERS = ["local@n1", "local@n2", "local@n3", "local@n4"]


def as_values(row: np.ndarray) -> dict[str, float]:
    return {f"item-{number}": float(each) for number, each in enumerate(row)}


def network(dice, count: int, rates: list[float], mixture: float) -> Rivals:
    """Draw answers that are right or not; half of it is how hard the question is."""
    common = dice.random(count)

    def drawn(rate: float) -> dict[str, float]:
        luck = np.where(dice.random(count) < 0.5, common, dice.random(count))
        return as_values((luck < rate).astype(float))

    values = {name: drawn(rate) for name, rate in zip(MEMBERS, rates, strict=False)}
    return Rivals(values | {"dmoa-m1k2": drawn(mixture)}, list(values))


# -- chance -------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "count"), [(0.5, 30), (0.04, 60), (0.4, 300), (0.98, 120)])
def test_the_interval_of_a_share_holds_the_truth(rate: float, count: int) -> None:
    dice = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        found = mean_of(100.0 * (dice.random(count) < rate), draws=400)
        held += found.low <= 100 * rate <= found.high
    assert held / 400 >= 0.92


def test_the_interval_of_a_difference_holds_the_truth() -> None:
    dice = np.random.default_rng(6)
    held = 0
    for _ in range(400):
        pairs = dice.choice([-100.0, 0.0, 100.0], 80, p=[0.1, 0.65, 0.25])
        found = difference_of(pairs, draws=400)
        held += found.low <= 15.0 <= found.high
    assert 0.925 <= held / 400 <= 0.985


def test_intervals_are_no_wider_than_needed() -> None:
    values = [0.0] * 200 + [100.0] * 200
    found = mean_of(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2.5, rel=0.08)
    assert found.error == pytest.approx(2.5, rel=0.05)
    pairs = difference_of([-100.0] * 40 + [0.0] * 300 + [100.0] * 60)
    assert pairs.error == pytest.approx(np.std([-100] * 40 + [0] * 300 + [100] * 60) / 20, rel=0.06)


def test_values_that_are_all_alike_are_not_certain() -> None:
    assert mean_of([0.0] * 20).high > 8
    assert mean_of([0.0] * 20).low == 0
    assert difference_of([0.0] * 20).high > 5
    assert mean_of([0.0] * 2000).high < 0.5
    assert isnan(mean_of([]).mean)
    assert difference_of([5.0]).count == 1


@given(st.lists(st.floats(0, 100), min_size=2, max_size=40))
def test_an_interval_has_its_mean_and_is_the_same_again(values: list[float]) -> None:
    found = mean_of(values, draws=50)
    assert found.low <= found.mean <= found.high
    assert found == mean_of(values, draws=50)
    assert found.mean == pytest.approx(np.mean(values))
    turned = difference_of([-each for each in values], draws=50)
    assert turned.low <= turned.mean <= turned.high


def test_as_many_items_as_needed_tell_a_difference_four_times_of_five() -> None:
    deviation, gain = 50.0, 10.0
    count = needed_for(gain, deviation)
    assert count == 197
    dice = np.random.default_rng(2)
    means = dice.normal(gain, deviation, (4000, count)).mean(axis=1)
    assert np.mean(means > 1.96 * deviation / np.sqrt(count)) == pytest.approx(0.8, abs=0.02)


def test_how_many_items_are_needed_has_an_end() -> None:
    assert needed_for(0.0, 50.0) == MOST_ITEMS + 1
    assert needed_for(0.01, 50.0) == MOST_ITEMS + 1
    assert needed_for(0.5, 50.0) == 78_489
    assert needed_for(100.0, 1.0) == 2


# -- verdicts -----------------------------------------------------------------------------


def test_luck_of_the_best_of_equals_does_not_condemn_an_equal_mixture() -> None:
    """The naive rule, against the member that looks best, says `does not pay` far too often."""
    dice = np.random.default_rng(7)
    ours, naive = [], []
    for _ in range(400):
        rivals = network(dice, 120, [0.4] * 4, 0.4)
        found = verdict_of("dmoa-m1k2", rivals, worth=0.0, draws=150)
        ours.append(found.word)
        theirs = rivals.values[found.best]
        pairs = [100 * (mine - theirs[at]) for at, mine in rivals.values["dmoa-m1k2"].items()]
        alone = difference_of(pairs, draws=150)
        naive.append(word_of(alone.low, alone.high, 0.0))
    assert naive.count("does not pay") / 400 > 0.06
    assert ours.count("does not pay") / 400 < 0.045  # 0.025, and twice what 400 may be off
    assert ours.count("pays") / 400 < 0.025


def test_both_words_are_as_rare_as_they_should_where_one_member_is_best() -> None:
    dice = np.random.default_rng(8)
    words = [
        verdict_of(
            "dmoa-m1k2", network(dice, 120, [0.4, 0.1, 0.1, 0.1], 0.4), worth=0.0, draws=150
        ).word
        for _ in range(400)
    ]
    assert 0.005 < words.count("pays") / 400 < 0.045
    assert words.count("does not pay") / 400 < 0.045


def test_the_interval_holds_where_members_differ_a_little() -> None:
    dice = np.random.default_rng(9)
    missed = 0
    for _ in range(300):
        found = verdict_of("dmoa-m1k2", network(dice, 200, [0.4, 0.38, 0.36], 0.45), draws=150)
        missed += not found.low <= 5.0 <= found.high
    assert missed / 300 < 0.07


def test_a_gain_is_found_and_a_loss_too() -> None:
    dice = np.random.default_rng(10)
    gain = verdict_of("dmoa-m1k2", network(dice, 300, [0.4] * 4, 0.65))
    assert gain.word == "pays"
    assert gain.low > 0
    assert gain.needed is None
    assert gain.words().startswith("dmoa-m1k2: pays, +")
    loss = verdict_of("dmoa-m1k2", network(dice, 300, [0.6] * 4, 0.3))
    assert loss.word == "does not pay"
    assert loss.high < 0
    assert "ruled out" not in loss.words()


def test_what_cannot_be_told_says_how_many_items_would() -> None:
    found = verdict_of("dmoa-m1k2", network(np.random.default_rng(11), 60, [0.4] * 2, 0.5))
    assert found.word == "can't tell"
    assert found.needed is not None
    assert found.needed > 60
    assert f"about {found.needed:,} items would tell" in found.words()
    few = Verdict("m", "local@n1", 0.01, -3, 3.5, 900, MOST_ITEMS + 1, "can't tell")
    assert few.words().endswith("more than 100,000 items would tell.")


@pytest.mark.parametrize(
    ("low", "high", "worth", "word"),
    [
        (0.1, 5, 1, "pays"),
        (-0.1, 5, 1, "can't tell"),
        (-5, 0.9, 1, "does not pay"),
        (0.1, 0.9, 1, "does not pay"),  # surely a gain, and surely not worth it
        (-5, 0.9, 0, "can't tell"),
        (-5, -0.1, 0, "does not pay"),
        (-5, 1, 1, "can't tell"),
    ],
)
def test_intervals_in_words(low: float, high: float, worth: float, word: str) -> None:
    assert word_of(low, high, worth) == word


def test_a_gain_too_small_is_said_to_be_ruled_out() -> None:
    told = Verdict("m", "local@n1", -0.5, -1.5, 0.5, 9000, None, "does not pay", 1.0)
    assert told.words().endswith("9,000 items; a gain of 1 point or more is ruled out.")


def test_of_equals_the_cheapest_is_the_best_then_the_first() -> None:
    same = as_values(np.arange(40) % 2)
    rivals = Rivals(
        dict.fromkeys((*MEMBERS, "m"), same), MEMBERS, {"local@n1": 9.0, "local@n3": 5.0}
    )
    assert rivals.best() == "local@n3"
    assert verdict_of("m", rivals).best == "local@n3"
    plain = Rivals(rivals.values, MEMBERS)
    assert plain.best() == verdict_of("m", plain).best == "local@n1"


def test_only_items_that_both_have_are_compared() -> None:
    ones = as_values(np.ones(30))
    half = dict.fromkeys(list(ones)[:20], 0.0)
    found = verdict_of("m", Rivals({"local@n1": half, "m": ones}, ["local@n1"]))
    assert found.n == 20
    assert found.difference == 100.0


def test_a_member_with_few_answers_is_not_the_best() -> None:
    dice = np.random.default_rng(12)
    rivals = network(dice, 100, [0.5, 0.4], 0.5)
    values = dict(rivals.values) | {"local@n3": {"item-1": 1.0, "item-2": 1.0}}
    found = verdict_of("dmoa-m1k2", Rivals(values, [*rivals.members, "local@n3"]))
    assert found.best in {"local@n1", "local@n2"}
    assert found.n == 100


@pytest.mark.parametrize("values", [{}, {"m": {"a": 1.0}}, {"m": {"a": 1.0}, "local@n1": {}}])
def test_nothing_to_compare_is_said_so(values: dict[str, dict[str, float]]) -> None:
    found = verdict_of("m", Rivals(values, ["local@n1"]))
    assert (found.n, found.low, found.high, found.word) == (0, -inf, inf, "can't tell")
    assert "no items" in found.words()
    assert Rivals(values, ["local@n1"]).best() == ""


def test_one_item_is_none() -> None:
    values = {"m": {"a": 1.0}, "local@n1": {"a": 0.0}}
    assert verdict_of("m", Rivals(values, ["local@n1"])).n == 0
