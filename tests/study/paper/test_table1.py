"""Table I, with few runs: it can be met, it can fail, and it is the same again."""

from __future__ import annotations

import pytest

from dmoa.study.paper import burst, table1, tables
from dmoa.study.paper.claim import Claim
from dmoa.study.paper.tables import Reported
from dmoa.theory.laws import LogNormal


def measure(effort: float = 0.1, seed: int = 1) -> Claim:
    return table1.measure(effort=effort, seed=seed, progress=lambda *_: None)


@pytest.fixture(scope="module")
def claim() -> Claim:
    return measure()


def column(claim: Claim, key: str) -> list[float]:
    place = [each.key for each in claim.columns].index(key)
    return [row[place] for row in claim.rows if isinstance(row[place], float)]


def test_rows_fit_their_columns(claim: Claim) -> None:
    assert len({each.key for each in claim.columns}) == len(claim.columns)
    assert [len(row) for row in claim.rows] == [len(claim.columns)] * 7
    for row in claim.rows:
        for each, value in zip(claim.columns, row, strict=True):
            assert isinstance(value, int | float)
            format(value, each.form)


def test_latencies_are_met_by_one_service_time(claim: Claim) -> None:
    assert claim.findings[0].holds
    assert claim.findings[2].holds
    errors = column(claim, "latency_error")
    assert max(map(abs, errors)) < 12.0
    assert sum(map(abs, errors)) / 7 < 6.0
    assert claim.assumed[0].startswith("fitted: a mean service time of 4")


def test_a_single_run_varies_as_the_lengths_of_ten_answers_do(claim: Claim) -> None:
    means, deviations = column(claim, "latency"), column(claim, "latency_deviation")
    shares = [one / all_ for one, all_ in zip(deviations, means, strict=True)]
    assert all(0.08 < each < 0.3 for each in shares)


def test_both_queues_stand_beside_the_papers(claim: Claim) -> None:
    metric, average = column(claim, "queue"), column(claim, "waiting")
    assert metric[0] == pytest.approx(1.02, abs=0.3)
    assert average[0] == pytest.approx(0.6, abs=0.1)
    assert average[-1] == pytest.approx(6.07, abs=0.3)
    assert all(one > other for one, other in zip(metric, average, strict=True))


def test_it_is_the_same_again_and_all_parts_are_told(claim: Claim) -> None:
    told: list[tuple[int, int]] = []
    again = table1.measure(effort=0.1, seed=1, progress=lambda n, of, _: told.append((n, of)))
    assert again == claim
    assert measure(0.01).rows != measure(0.01, seed=2).rows
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))


def test_calm_arrivals_do_not_give_the_papers_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burst, "GAP", 300.0)
    assert not measure(0.01).findings[0].holds


def test_another_paper_is_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = (Reported(row.mixture, row.latency, 3 * row.queue) for row in table1.PAPER)
    other = Reported(first.mixture, 3.0 * first.latency, first.queue)
    monkeypatch.setattr(table1, "PAPER", (other, *others))
    claim = measure(0.01)
    assert [each.holds for each in claim.findings] == [False] * 4
    assert not claim.holds


def test_means_do_not_hang_on_what_answers_have_in_common(
    claim: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LAW", LogNormal(cv=0.4, common=0.0))
    own = measure()
    assert column(own, "latency") == pytest.approx(column(claim, "latency"), rel=0.06)
    deviations = zip(
        column(own, "latency_deviation"), column(claim, "latency_deviation"), strict=True
    )
    assert all(one < other for one, other in list(deviations)[2:])
