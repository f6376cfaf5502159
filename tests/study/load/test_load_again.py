"""A test repeated: with what a world decided, the same times come out as in that world."""

from __future__ import annotations

from typing import Any

import pytest
from load_room import crew_of, job

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Network
from dmoa.core.policy import LIVE, PAPER
from dmoa.sim.recording import Recording, record
from dmoa.sim.setting import Setting
from dmoa.study.load.again import again, summed, why_not
from dmoa.study.load.records import Log, QueryRecord

NODES = 4
NETWORK = Network((0.08,) * NODES, (1.0, 0.5, 0.5, 1.0), (1, 1, 2, 1))
NAMES = tuple(f"n{number + 1}" for number in range(NODES))


def told(recording: Recording, mixture: Mixture, number: int, lag: float) -> QueryRecord:
    """Write a query of a world down as a load test would."""
    trace = recording.trace
    jobs = [
        job(NAMES[node], layer, seconds=trace.seconds[number][layer - 1][seat])
        for layer in range(1, mixture.layers + 1)
        for seat, node in enumerate(trace.choices[number][layer - 1])
    ]
    home, last = trace.homes[number], mixture.layers + 1
    took = trace.seconds[number][mixture.layers][0]
    jobs.append(job(NAMES[home], last, "aggregator", seconds=took))
    due = trace.times[number] - lag
    return QueryRecord(number, home, due, lag, 0.0, "answered", jobs=tuple(jobs))


def log_of(mixture: Mixture, *, lag: float = 0.0) -> tuple[Log, list[float]]:
    setting = Setting(NETWORK, mixture, queries=60, seed=3)
    recording = record(setting)
    log = Log()
    log.meet(crew_of(*NAMES, slots=NETWORK.slots))
    for number in range(60):
        log.send(number)
        log.query(told(recording, mixture, number, lag))
    return log, recording.sojourns


@pytest.mark.parametrize("mixture", [Mixture(2, 3), Mixture(1, 1), ALONE], ids=str)
def test_a_test_repeated_takes_as_long_as_the_world_that_decided_it(mixture: Mixture) -> None:
    log, sojourns = log_of(mixture)
    assert not why_not(log, mixture, PAPER)
    found = again(log, NETWORK, mixture, first=0)
    assert found == pytest.approx(sorted(sojourns))
    assert again(log, NETWORK, mixture, first=50) == pytest.approx(sorted(sojourns[50:]))


def test_what_the_generator_was_late_is_part_of_the_time() -> None:
    log, sojourns = log_of(Mixture(1, 1), lag=0.25)
    found = again(log, NETWORK, Mixture(1, 1), first=0)
    assert found == pytest.approx(sorted(each + 0.25 for each in sojourns))


def test_other_policies_are_not_repeated() -> None:
    log, _ = log_of(Mixture(1, 1))
    assert "paper" in why_not(log, Mixture(1, 1), LIVE)
    assert "paper" in why_not(log, Mixture(1, 1), None)


@pytest.mark.parametrize("spoilt", ["lost", "missing", "refused", "stranger"])
def test_a_test_of_which_not_all_is_known_is_not_repeated(spoilt: str) -> None:
    log, _ = log_of(Mixture(1, 1))
    one = log.queries[7]
    match spoilt:
        case "lost":
            jobs = (one.jobs[0], job("n2", outcome="lost"), one.jobs[2])
            log.queries[7] = _with(one, jobs=jobs)
        case "stranger":
            log.queries[7] = _with(one, jobs=(one.jobs[0], job("n9"), one.jobs[2]))
        case "refused":
            log.queries[7] = _with(one, status="refused", jobs=())
        case _:
            del log.queries[7]
    assert "not every job" in why_not(log, Mixture(1, 1), PAPER)


def _with(record: QueryRecord, **changes: Any) -> QueryRecord:
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return QueryRecord(**(fields | changes))


def test_times_are_summed_up_by_the_rows_of_a_report() -> None:
    assert summed((1.0, 2.0, 3.0)) == pytest.approx(
        {"mean": 2.0, "p50": 2.0, "p95": 2.9, "p99": 2.98}
    )
