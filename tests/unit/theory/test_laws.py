from __future__ import annotations

from itertools import pairwise
from math import cos, exp, inf, isinf, log, nan, pi, sqrt
from random import Random
from statistics import correlation, fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.errors import LawError
from dmoa.theory.laws import (
    CV_MAX,
    TOKENS_MAX,
    Exponential,
    Fixed,
    Law,
    LogNormal,
    Measured,
    Pareto,
    Tokens,
    parse_law,
    unit_time,
)

SECONDS = (0.5, 1.0, 1.0, 2.5, 4.0)
LAWS: list[Law] = [
    Fixed(3.0),
    Exponential(0.25),
    LogNormal(46.0, 0.4),
    LogNormal(2.0, 1.5, 0.5),
    LogNormal(2.0, 0.0),
    Pareto(1.0, 4.5),
    Tokens(5.0),
    Tokens(5.0, 3.0, 1.2, 0.4),
    Tokens(5.0, 7.0, 0.0, 0.5),
    Tokens(9.0, 8000.0, 0.3, 0.0),
    Measured.of(SECONDS),
]
DRAWS = 20_000


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_draws_have_the_mean_and_the_spread_that_are_told(law: Law) -> None:
    rng = Random(7)
    drawn = [law.draw(rng, rng.gauss()) for _ in range(DRAWS)]
    assert fmean(drawn) == pytest.approx(law.mean, rel=max(1e-9, 4.0 * law.cv / sqrt(DRAWS)))
    assert pstdev(drawn) / law.mean == pytest.approx(law.cv, rel=0.1, abs=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_draws_have_the_distribution_that_is_told(law: Law) -> None:
    """The largest gap between both stays within what chance allows (Kolmogorov, 0.1 %)."""
    rng = Random(8)
    drawn = sorted(law.draw(rng, rng.gauss()) for _ in range(DRAWS))
    ends = [i + 1 for i, (a, b) in enumerate(pairwise([*drawn, inf])) if b > a * (1 + 1e-9)]
    gap = max(abs(law.cdf(drawn[end - 1]) - end / DRAWS) for end in ends)
    assert gap <= 1.95 / sqrt(DRAWS)


@pytest.mark.parametrize("law", LAWS, ids=str)
@given(st.lists(st.floats(-1.0, 1e6), min_size=2, max_size=9))
def test_a_longer_time_is_never_less_likely_enough(law: Law, seconds: list[float]) -> None:
    shares = [law.cdf(each) for each in sorted(seconds)]
    assert shares == sorted(shares)
    assert all(0.0 <= each <= 1.0 for each in shares)
    assert law.cdf(-1.0) == 0.0
    assert law.cdf(inf) == 1.0


@pytest.mark.parametrize(
    "law", [Fixed, Exponential, LogNormal, Pareto, Tokens, Measured], ids=lambda law: law.__name__
)
def test_a_mean_of_nothing_is_always_nothing(law: type[Fixed | Exponential]) -> None:
    none = law(0.0)
    assert none.draw(Random(1)) == 0.0
    assert (none.cdf(-0.1), none.cdf(0.0), none.cdf(1.0)) == (0.0, 1.0, 1.0)


@given(st.floats(0.01, 100.0), st.floats(0.0, 50.0))
def test_a_law_is_a_shape_with_a_mean(mean: float, unit: float) -> None:
    for law, one in ((Exponential(mean), Exponential()), (Pareto(mean), Pareto())):
        assert law.cdf(unit * mean) == pytest.approx(one.cdf(unit), abs=1e-9)
        assert law.draw(Random(3)) == pytest.approx(mean * one.draw(Random(3)))
        assert law.cv == one.cv


@pytest.mark.parametrize("count", [1, 3, 9, 22, 200, 4097, TOKENS_MAX])
def test_as_many_tokens_as_told_and_none_for_rounding(count: int) -> None:
    law = Tokens(2.0, float(count), 0.0)
    assert law.count == count
    assert law.draw(Random(1)) == pytest.approx(2.0)
    assert law.cdf(2.0) == 1.0
    assert law.cdf(1.99) == (0.0 if count < 200 else pytest.approx(0.0))


def test_tokens_are_whole_and_their_number_is_bounded() -> None:
    rng, law = Random(5), Tokens(1.0, 50.0, 2.0, 0.2)
    counts = [(law.draw(rng) - 0.2) / 0.8 * law.count for _ in range(2000)]
    assert all(each == pytest.approx(round(each), abs=1e-6) for each in counts)
    assert min(counts) > 0.5
    widest = Tokens(1.0, float(TOKENS_MAX), CV_MAX, 0.0)
    longest = max(widest.draw(rng) for _ in range(200)) * widest.count
    assert longest == pytest.approx(TOKENS_MAX)


def test_what_is_common_to_a_query_moves_all_its_jobs() -> None:
    """With share c the logarithms of two jobs of a query correlate by c."""
    rng, law = Random(11), LogNormal(1.0, 0.8, 0.5)
    pairs: list[tuple[float, float]] = []
    for _ in range(DRAWS):
        common = rng.gauss()
        pairs.append((log(law.draw(rng, common)), log(law.draw(rng, common))))
    assert correlation(*zip(*pairs, strict=True)) == pytest.approx(0.5, abs=0.03)
    rest = {LogNormal(1.0, 0.8).draw(Random(2), common) for common in (-2.0, 0.0, 2.0)}
    assert len(rest) == 1
    alike = {LogNormal(1.0, 0.8, 1.0).draw(Random(seed), 0.7) for seed in range(5)}
    assert len(alike) == 1


def test_the_unit_law_by_hand() -> None:
    normal = sqrt(-2.0 * log(0.7)) * cos(2.0 * pi * 0.4)
    assert unit_time(Fixed.code, 0, 0, 0, (1.0,), 0.3, 0.4, 9.0) == 1.0
    assert unit_time(Exponential.code, 0, 0, 0, (1.0,), 0.3, 0.4, 9.0) == -log(0.7)
    assert unit_time(Measured.code, 0, 0, 0, SECONDS, 0.999999, 0.4, 9.0) == 4.0
    assert unit_time(Pareto.code, 0.5, 2.0, 0, (1.0,), 0.75, 0.4, 9.0) == pytest.approx(1.0)
    shaped = unit_time(LogNormal.code, 0.1, 0.2, 0.0, (1.0,), 0.3, 0.4, 9.0)
    assert shaped == pytest.approx(exp(0.1 + 0.2 * normal))


def test_measured_times_keep_their_mean_and_spread() -> None:
    law = Measured.of(SECONDS)
    assert law.mean == pytest.approx(fmean(SECONDS))
    assert law.cv == pytest.approx(pstdev(SECONDS) / fmean(SECONDS))
    assert [law.cdf(each) for each in (0.4, 0.5, 1.0, 2.4, 2.5, 4.0)] == [0, 0.2, 0.6, 0.6, 0.8, 1]
    rng = Random(1)
    assert {round(law.draw(rng), 9) for _ in range(100)} == set(SECONDS)


def test_a_heavy_tail_has_a_variance_only_above_two() -> None:
    assert isinf(Pareto(1.0, 1.5).cv)
    assert isinf(Pareto(1.0, 2.0).cv)
    assert Pareto(1.0, 3.0).cv == pytest.approx(sqrt(1 / 3))


# -- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("mean", [-1.0, nan, inf])
@pytest.mark.parametrize("name", ["fixed", "exp", "lognormal", "pareto", "tokens"])
def test_a_mean_that_cannot_be_is_refused(name: str, mean: float) -> None:
    with pytest.raises(LawError, match="mean service time") as refused:
        parse_law(name, mean)
    assert refused.value.hint


@pytest.mark.parametrize("text", ["pareto:1.0", "pareto:0.5", "pareto:-3", "pareto:nan"])
def test_a_law_without_a_mean_is_refused(text: str) -> None:
    with pytest.raises(LawError, match="has no mean: no queue is stable") as refused:
        parse_law(text)
    assert "above 1" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("lognormal:-0.1", "the cv"),
        ("lognormal:nan", "the cv"),
        ("lognormal:1e200", "the cv"),
        ("lognormal:1:1.5", "the share"),
        ("lognormal:1:nan", "the share"),
        ("tokens:0", "tokens are"),
        ("tokens:nan", "tokens are"),
        ("tokens:1e9", "tokens are"),
        ("tokens:200:inf", "the cv"),
        ("tokens:200:0.5:1", "the share"),
        ("", "the laws are"),
        ("weibull:2", "the laws are"),
        ("exp:2", "the laws are"),
        ("fixed:", "the laws are"),
        ("lognormal:much", "the laws are"),
        ("lognormal:1:0.5:3", "the laws are"),
    ],
)
def test_what_is_no_law_is_refused_in_a_line(text: str, hint: str) -> None:
    with pytest.raises(LawError) as refused:
        parse_law(text)
    assert hint in str(refused.value.hint)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("samples", [(), (0.0, 0.0), (1.0, nan), (1.0, inf), (1.0, -2.0)])
def test_samples_that_make_no_law_are_refused(samples: tuple[float, ...]) -> None:
    with pytest.raises(LawError, match="make no law") as refused:
        Measured.of(samples)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("fixed", Fixed(2.0)),
        ("exp", Exponential(2.0)),
        (" exp ", Exponential(2.0)),
        ("lognormal", LogNormal(2.0)),
        ("lognormal:0.5", LogNormal(2.0, 0.5)),
        ("lognormal:0.5:0.25", LogNormal(2.0, 0.5, 0.25)),
        ("pareto:3", Pareto(2.0, 3.0)),
        ("tokens:100:0.7:0.2", Tokens(2.0, 100.0, 0.7, 0.2)),
    ],
)
def test_laws_are_read_by_name(text: str, law: Law) -> None:
    assert parse_law(text, 2.0) == law
