"""Sweeps: what is kept of them, how they go on, and the rows they come to."""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmoa.core.mixture import Mixture
from dmoa.core.network import Costs, Network
from dmoa.core.policy import PAPER, POLICIES
from dmoa.errors import UsageError
from dmoa.sim.outcome import Outcome
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.study import ledger as ledgers
from dmoa.study import sweep as sweeps
from dmoa.study.grid import Grid, Point, Rate
from dmoa.study.ledger import Ledger, Run, key_of, told
from dmoa.study.network_file import Description
from dmoa.study.rows import flat, row_of, rows_of, verdict_of, write_csv
from dmoa.study.sweep import Sweep
from dmoa.theory.laws import LogNormal, Measured

FOUR = Description(nodes=4, service_time=(1.0,))
SETTING = Setting(Network.alike(4, arrival_rate=0.1), Mixture(1, 2), queries=50)
OUTCOME = Outcome(
    *(45, 45, 0, 3.0, 2.5, 6.0, 8.0, 9.0, 0.9, 0.4, 0.4, 3.0, 4.0, 0.2, 0.6),
    utilisation=(0.4, 0.5, 0.4, 0.3),
    growth=0.0,
    span=100.0,
    jobs=200,
    events=250,
    cpu_seconds=0.01,
    engine="lindley",
)


def points(**wanted: Any) -> list[Point]:
    given = {"network": FOUR, "rates": (Rate(0.05), Rate(0.1)), "queries": 60, **wanted}
    return Grid(**given).points()


def same(outcome: Outcome) -> Outcome:
    return replace(outcome, cpu_seconds=0.0)


# -- the file of runs -----------------------------------------------------------------


def test_a_run_is_kept_and_found_again(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    broken = replace(OUTCOME, mean=nan, p99=inf)
    with Ledger(file) as ledger:
        assert ledger.done == {}
        ledger.write(Run(SETTING), OUTCOME)
        ledger.write(Run(SETTING, "world"), broken)
    lines = file.read_text("utf-8").splitlines()
    assert len(lines) == 2
    with Ledger(file) as ledger:
        assert ledger.done[key_of(told(SETTING), "auto")] == OUTCOME
        assert isnan(ledger.done[key_of(told(SETTING), "world")].mean)
        assert not ledger.torn


CHANGES: list[Callable[[Setting], Setting]] = [
    lambda s: replace(s, seed=2),
    lambda s: replace(s, queries=51),
    lambda s: replace(s, deadline=60.0),
    lambda s: replace(s, gossip=1.0),
    lambda s: replace(s, warmup=0.2),
    lambda s: replace(s, mixture=Mixture(1, 1)),
    lambda s: replace(s, policy=POLICIES["steady"]),
    lambda s: replace(s, law=LogNormal(1.0, 0.8)),
    lambda s: replace(s, law=LogNormal(1.0, 0.8, 0.5)),
    lambda s: replace(s, law=Measured(samples=tuple(range(1, 200)))),
    lambda s: replace(s, law=Measured(samples=tuple(range(1, 201)))),
    lambda s: replace(s, arrivals=Bursts(0.5, 2.0, 10.0, 10.0)),
    lambda s: replace(s, arrivals=Recorded(tuple(map(float, range(99))), (0,) * 99)),
    lambda s: replace(s, arrivals=Recorded(tuple(map(float, range(99))), (1,) * 99)),
    lambda s: replace(s, network=replace(s.network, costs=Costs(1.0, 1.5, 2.0))),
    lambda s: replace(s, network=replace(s.network, slots=(1, 1, 1, 2))),
    lambda s: replace(s, network=replace(s.network, service_times=(1.0, 1.0, 1.0, 4.0))),
    lambda s: replace(
        s, network=replace(s.network, graph=((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1)))
    ),
]


def test_everything_that_a_result_depends_on_is_in_its_key() -> None:
    settings = [SETTING, *(change(SETTING) for change in CHANGES)]
    keys = [key_of(told(each), engine) for each in settings for engine in ("auto", "world")]
    assert len(set(keys)) == len(keys)
    assert keys == [
        key_of(json.loads(json.dumps(told(each))), engine)
        for each in settings
        for engine in ("auto", "world")
    ]


@given(st.integers(0, 400))
def test_a_torn_last_line_is_dropped(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    file = tmp_path_factory.mktemp("torn") / "runs.jsonl"
    with Ledger(file) as ledger:
        ledger.write(Run(SETTING), OUTCOME)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:kept])
    with Ledger(file) as ledger:
        assert ledger.torn == (kept > 0)
        assert len(ledger.done) == 1
        ledger.write(Run(SETTING, "world"), OUTCOME)
    with Ledger(file) as ledger:
        assert (len(ledger.done), ledger.torn) == (2, False)


def test_reading_alone_leaves_a_torn_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"dmoa": "0.1')
    with Ledger(file) as ledger:
        assert ledger.torn
    assert file.read_text() == '{"dmoa": "0.1'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("my notes", "line 1: is no run of dmoa"),
        ("\n", "line 1: is no run of dmoa"),
        ('{"a": 1}\n', "line 1: is no run of dmoa"),
        ("[]\n", "line 1: is no run of dmoa"),
        ('{"dmoa": "9.9", "format": 1}\n', "written by dmoa 9.9"),
        ('{"dmoa": "0.1.0", "format": 99}\n', "written by dmoa 0.1.0"),
        ('{"dmoa": "0.1.0", "format": 1, "key": "x"}\n', "was changed"),
        ("\xff\xfe\n", "line 1: is no run of dmoa"),
    ],
)
def test_a_file_of_others_is_refused_and_left_alone(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text(content)
    with pytest.raises(UsageError, match=words) as caught, Ledger(file):
        pass
    assert caught.value.hint
    assert file.read_text() == content


def test_a_line_that_was_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    with Ledger(file) as ledger:
        ledger.write(Run(SETTING), OUTCOME)
    text = file.read_text("utf-8")
    for before, after in (('"seed": 1', '"seed": 2'), ('"asked": 45', '"asked": "45"')):
        file.write_text(text.replace(before, after))
        with pytest.raises(UsageError, match="was changed"), Ledger(file):
            pass


def test_only_one_writes_to_a_file(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    file = tmp_path / "runs.jsonl"
    with Ledger(file), pytest.raises(UsageError, match="another sweep"), Ledger(file):
        pass
    with Ledger(file):
        pass


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"), Ledger(tmp_path / "no" / "x.jsonl"):
        pass


# -- sweeps ---------------------------------------------------------------------------


def test_a_sweep_measures_each_point_as_often_as_asked() -> None:
    told: list[tuple[int, int]] = []
    sweep = Sweep(points(), replications=3, progress=lambda done, of, _: told.append((done, of)))
    found = sweep.measure()
    assert [len(each) for each in found] == [3, 3]
    assert len({each.mean for each in found[0]}) == 3
    assert told[0] == (0, 2 * 3 * 60 * 4)
    assert told[-1] == (1440, 1440)
    assert told == sorted(told)


def test_points_share_their_dice() -> None:
    """Twice the service time at half the rate is the same life at half the pace."""
    slow = points(network=Description(nodes=4, service_time=(2.0,)), rates=(Rate(0.05),))
    quick = points(rates=(Rate(0.1),))
    for one, other in zip(Sweep(slow).measure()[0], Sweep(quick).measure()[0], strict=True):
        assert one.mean == pytest.approx(2.0 * other.mean)


def test_a_killed_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    file, said = tmp_path / "runs.jsonl", list[str]()
    whole = Sweep(points(), replications=3).measure()

    def stop(done: int, _of: int, _what: str) -> None:
        if done > 700:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweep(points(), replications=3, file=file, progress=stop).measure()
    kept = file.read_bytes()
    assert kept.count(b"\n") == 2
    file.write_bytes(kept + kept[:77])
    found = Sweep(points(), replications=3, file=file, note=said.append).measure()
    assert [list(map(same, each)) for each in found] == [list(map(same, each)) for each in whole]
    assert said == [
        f"the last line of {file} was torn, and that run is made again",
        f"2 of 6 runs are in {file} already",
    ]
    assert file.read_bytes().startswith(kept)
    assert file.read_bytes().count(b"\n") == 6


def test_a_whole_sweep_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "runs.jsonl"
    first = Sweep(points(), replications=2, file=file).measure()
    monkeypatch.delattr(sweeps, "_made")
    assert Sweep(points(), replications=2, file=file).measure() == first


def test_more_replications_and_points_go_into_the_same_file(tmp_path: Path) -> None:
    file, said = tmp_path / "runs.jsonl", list[str]()
    Sweep(points(), replications=2, file=file).measure()
    more = points(rates=(Rate(0.05), Rate(0.15)))
    Sweep(more, replications=3, file=file, note=said.append).measure()
    assert said == [f"2 of 6 runs are in {file} already; 2 of other settings stay there"]
    with pytest.raises(UsageError, match="holds 8 runs, and none of this sweep"):
        Sweep(points(queries=61), file=file).measure()


def test_what_cannot_be_run_is_refused() -> None:
    for wrong in ({"engine": "fast"}, {"replications": 0}, {"jobs": 0}):
        with pytest.raises(UsageError):
            Sweep(points(), **wrong)
    with pytest.raises(UsageError, match="paper's protocol only"):
        Sweep(points(policies=[("loaded", POLICIES["loaded"])]), engine="lindley")


@pytest.mark.parametrize("engine", ["kernel", "lindley", "world"])
def test_engines_can_be_chosen(engine: str) -> None:
    ((outcome,),) = Sweep(points(rates=(Rate(0.1),)), engine=engine).measure()
    assert outcome.engine.endswith(engine)
    assert outcome.answered == outcome.asked


@pytest.mark.parametrize(
    ("queries", "kept", "wanted"),
    [(60, True, None), (30_000, True, True), (30_000, False, None), (60_000, False, True)],
)
def test_a_sweep_is_compiled_where_that_is_worth_it(
    monkeypatch: pytest.MonkeyPatch, queries: int, *, kept: bool, wanted: bool | None
) -> None:
    made: list[tuple[int, object]] = []

    def make(run: Run, *how: object) -> Outcome:
        made.append((run.setting.queries, how[0]))
        return OUTCOME

    monkeypatch.setattr(sweeps, "_made", make)
    monkeypatch.setattr(sweeps, "is_available", lambda: True)
    monkeypatch.setattr(sweeps, "is_kept", lambda _: kept)
    monkeypatch.setattr(sweeps, "compiled", lambda function: function)
    monkeypatch.setattr(sweeps, "WORTH", 200_000)
    Sweep(points(queries=queries)).measure()
    first = [(1, True)] if wanted else []
    assert made == first + [(queries, wanted)] * 2
    monkeypatch.setattr(sweeps, "is_available", lambda: False)
    made.clear()
    Sweep(points(queries=queries)).measure()
    assert made == [(queries, None)] * 2


@pytest.mark.real
def test_processes_find_the_same_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "WORTH_PROCESSES", 0.0)
    file = tmp_path / "runs.jsonl"
    alone = Sweep(points(), replications=2).measure()
    found = Sweep(points(), replications=2, jobs=2, file=file).measure()
    assert [list(map(same, each)) for each in found] == [list(map(same, each)) for each in alone]
    with Ledger(file) as ledger:
        assert len(ledger.done) == 4


@pytest.mark.real
def test_an_interrupted_sweep_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeps, "WORTH_PROCESSES", 0.0)
    file = tmp_path / "runs.jsonl"

    def stop(done: int, _of: int, _what: str) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Sweep(points(), replications=9, jobs=2, file=file, progress=stop).measure()
    assert multiprocessing.active_children() == []
    with Ledger(file) as ledger:
        assert len(ledger.done) == 1


# -- rows -----------------------------------------------------------------------------


def test_a_row_sums_up_replications() -> None:
    (point, _) = points()
    row = row_of(point, [OUTCOME, replace(OUTCOME, mean=5.0, refused=9)])
    assert (row.mean.mean, row.mean.count) == (4.0, 2)
    assert row.utilisation.mean == pytest.approx(0.4)
    assert row.busiest.mean == 0.5
    assert row.refused.mean == pytest.approx(0.1)
    assert (row.verdict, row.change) == ("stable", None)


def test_policies_are_compared_with_the_first_pair_by_pair() -> None:
    both = points(policies=[("paper", PAPER), ("loaded", POLICIES["loaded"])], rates=(Rate(0.1),))
    faster = replace(OUTCOME, mean=1.5)
    first, second = rows_of(both, [[OUTCOME, OUTCOME], [faster, faster]])
    assert first.change is None
    assert second.change is not None
    assert (second.change.mean, second.change.half) == (pytest.approx(-0.5), pytest.approx(0.0))


def test_growth_is_told_from_fluctuation() -> None:
    calm, busy = points(rates=(Rate(0.1), Rate(0.4)))
    grown = replace(OUTCOME, growth=0.1, length=5.0)
    assert verdict_of(busy, [grown, grown]) == "growing"
    assert verdict_of(calm, [OUTCOME, OUTCOME]) == "stable"
    # what theory is sure of the contrary of needs a longer run
    assert verdict_of(calm, [grown, grown]) == "unclear"
    assert verdict_of(busy, [OUTCOME]) == "unclear"
    (other,) = points(policies=[("loaded", POLICIES["loaded"])], rates=(Rate(0.4),))
    assert verdict_of(other, [OUTCOME]) == "stable"
    shrunk = replace(grown, growth=-0.1)
    assert verdict_of(other, [grown, grown, shrunk]) == "stable"
    assert verdict_of(other, [replace(OUTCOME, length=0.0)]) == "stable"


def test_simulated_networks_are_judged_as_theory_does() -> None:
    rates = (Rate(0.8, of_capacity=True), Rate(1.5, of_capacity=True))
    found = points(rates=rates, queries=4000, policies=[("later", POLICIES["later"])])
    rows = rows_of(found, Sweep(found, replications=2).measure())
    assert [row.verdict for row in rows] == ["stable", "growing"]


def test_rows_are_csv_and_json(tmp_path: Path) -> None:
    found = points()
    rows = rows_of(found, [[OUTCOME], [replace(OUTCOME, p99=nan)]])
    file = tmp_path / "rows.csv"
    write_csv(rows, file)
    with file.open(newline="") as opened:
        read = list(csv.DictReader(opened))
    assert [row["rho"] for row in read] == [str(each.rho) for each in found]
    assert [row["p99"] for row in read] == ["8.0", ""]
    assert read[0]["mean_half"] == ""
    assert json.loads(json.dumps(flat(rows[0]), allow_nan=False))["mean"] == 3.0
    with pytest.raises(UsageError, match="cannot be written"):
        write_csv(rows, tmp_path / "no" / "rows.csv")


def test_long_lists_are_told_by_their_hash() -> None:
    network = Network(tuple(0.001 * each for each in range(1, 100)), (1.0,) * 99)
    found = told(replace(SETTING, network=network))["network"]
    assert found["service_times"] == {"each": 1.0}
    assert found["arrival_rates"]["count"] == 99
    assert len(json.dumps(found)) < 400
    assert ledgers.TOLD < 99
