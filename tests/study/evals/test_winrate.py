"""Win rates: equal to the published ones, right for parts, and calm whatever the preferences."""

from __future__ import annotations

import csv
from dataclasses import replace
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.errors import UsageError
from dmoa.study.evals.winrate import (
    Difficulties,
    Judged,
    length_controlled,
    read_difficulties,
    read_published,
    win_rate_of,
)

DATA = Path(__file__).parents[3] / "../shared/data/alpaca_eval"
PREFERENCES, LENGTHS = DATA / "board_preferences.csv", DATA / "board_lengths.csv"
AUX, BOARD = DATA / "lc_aux.csv", DATA / "leaderboard.csv"
REFERENCE = "gpt4_1106_preview"
needs_data = pytest.mark.skipif(not BOARD.exists(), reason="the data of AlpacaEval is not here")


@pytest.fixture(scope="module")
def published() -> dict[str, Judged]:
    return read_published(PREFERENCES, LENGTHS, REFERENCE)


@pytest.fixture(scope="module")
def known() -> Difficulties:
    return read_difficulties(AUX)


@pytest.fixture(scope="module")
def board() -> dict[str, dict[str, str]]:
    with BOARD.open(encoding="utf-8") as opened:
        return {row["model"]: row for row in csv.DictReader(opened)}


def part(judged: Judged, places: np.ndarray) -> Judged:
    return Judged(
        np.asarray(judged.preferences)[places],
        np.asarray(judged.lengths)[places],
        np.asarray(judged.reference_lengths)[places],
        [judged.indices[each] for each in places],
    )


# -- published judgements -----------------------------------------------------------------


@needs_data
def test_win_rates_are_those_of_the_leaderboard(published, board) -> None:
    assert len(published) == 10
    for name, judged in published.items():
        found, printed = win_rate_of(judged.preferences), board[name]
        assert found.win_rate == pytest.approx(float(printed["win_rate"]), abs=1e-3)
        assert found.standard_error == pytest.approx(float(printed["standard_error"]), abs=1e-3)
        assert found.discrete == pytest.approx(float(printed["discrete_win_rate"]), abs=1e-9)
        counts = (found.wins, found.losses, found.draws, found.count)
        keys = ("n_wins", "n_wins_base", "n_draws", "n_total")
        assert counts == tuple(int(printed[each]) for each in keys)


@needs_data
def test_length_controlled_win_rates_are_those_of_the_leaderboard(published, known, board) -> None:
    for name, judged in published.items():
        found, printed = length_controlled(judged, known, refits=0), board[name]
        assert found.regularised
        assert found.difficulty
        wanted = float(printed["length_controlled_winrate"])
        assert found.win_rate == pytest.approx(wanted, abs=0.06), name
        if printed["lc_standard_error"]:
            error = float(printed["lc_standard_error"])
            assert found.package_error == pytest.approx(error, abs=0.005), name


@needs_data
def test_without_the_gamed_baselines_it_says_so_and_is_another(published, known) -> None:
    judged = published["gpt4_0613_concise"]
    full = length_controlled(judged, known, refits=0)
    bare = length_controlled(judged, Difficulties(known.by_index), refits=0)
    assert bare.difficulty
    assert not bare.regularised
    assert abs(full.win_rate - bare.win_rate) > 0.5


@needs_data
def test_a_part_takes_the_difficulties_of_its_own_items(published, known) -> None:
    judged = published["claude-2.1"]
    places = np.random.default_rng(3).permutation(805)
    whole = length_controlled(judged, known, refits=0)
    mixed = length_controlled(part(judged, places), known, refits=0)
    assert mixed.win_rate == pytest.approx(whole.win_rate, abs=1e-6)
    less = part(judged, places[:400])
    right = length_controlled(less, known, refits=0)
    by_place = length_controlled(replace(less, indices=range(400)), known, refits=0)
    assert right.weights[1] > 0.2  # the harder, the likelier a win: known of the right items
    assert by_place.weights[1] < right.weights[1] / 2
    assert right.win_rate == pytest.approx(whole.win_rate, abs=4)


@needs_data
def test_refits_tell_more_doubt_than_the_package_does(published, known) -> None:
    found = length_controlled(published["vicuna-13b"], known, refits=60)
    assert found.interval.error > 1.4 * found.package_error
    assert found.interval.low < found.win_rate < found.interval.high
    again = length_controlled(published["vicuna-13b"], known, refits=60)
    assert again == found


@needs_data
def test_the_publics_own_file_of_gamed_judgements_is_read(tmp_path, known) -> None:
    """Its rows, with preferences that sum to the same, give the same fit."""
    assert known.gamed is not None
    hard = known.gamed.difficulties
    features = np.stack([known.gamed.lengths, hard], axis=1)
    some = np.linalg.lstsq(features.T, known.gamed.statistic, rcond=None)[0]
    indices = [*known.by_index, *known.by_index]
    file = tmp_path / "df_gamed.csv"
    rows = zip(indices, np.arctanh(known.gamed.lengths), some, hard, strict=True)
    lines = [f"{a},{b!r},{c!r},False,{d!r},gamed" for a, b, c, d in _plain(rows)]
    heading = "index,std_delta_len,preference,not_gamed_baseline,instruction_difficulty,model"
    file.write_text("\n".join([heading, *lines]) + "\n")
    found = read_difficulties(file)
    assert found.gamed is not None
    assert found.by_index == pytest.approx(known.by_index)
    assert found.gamed.statistic == pytest.approx(known.gamed.statistic, abs=1e-6)
    assert found.gamed.lengths == pytest.approx(known.gamed.lengths, abs=1e-12)


def _plain(rows):
    return [
        tuple(float(each) if number else int(each) for number, each in enumerate(row))
        for row in rows
    ]


# -- any judgements -----------------------------------------------------------------------


@given(
    preferences=st.lists(
        st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30
    ),
    lengths=st.lists(st.integers(0, 100_000), min_size=30, max_size=30),
    references=st.lists(st.integers(0, 100_000), min_size=30, max_size=30),
    difficult=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_fit_is_calm_whatever_comes(preferences, lengths, references, difficult) -> None:
    count = len(preferences)
    known = Difficulties({each: (each - 15) / 3 for each in range(30)}) if difficult else None
    judged = Judged(preferences, lengths[:count], references[:count], range(count))
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        found = length_controlled(judged, known, refits=5)
    assert 0.0 <= found.win_rate <= 100.0
    assert found.difficulty == difficult
    assert not found.regularised
    assert found.interval.low <= found.win_rate <= found.interval.high


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_a_model_and_its_rival_share_the_wins(preferences) -> None:
    mine = win_rate_of(preferences)
    theirs = win_rate_of([1.0 - each for each in preferences])
    assert mine.win_rate + theirs.win_rate == pytest.approx(100.0)
    assert mine.wins + mine.losses + mine.draws == mine.count == len(preferences)
    flipped = length_controlled(Judged(preferences, *_lengths(preferences)), refits=0)
    assert 0.0 <= flipped.win_rate <= 100.0


def _lengths(preferences):
    count = len(preferences)
    return range(100, 100 + count), [100] * count, [None] * count


def test_length_that_explains_all_is_taken_out() -> None:
    dice = np.random.default_rng(1)
    longer = dice.normal(0, 300, 400)
    preferences = 1 / (1 + np.exp(-longer / 150))
    lengths = 1000 + longer + 250  # all are longer than the reference, by which they win
    judged = Judged(preferences + 0.0, lengths, np.full(400, 1000.0), [None] * 400)
    fair = length_controlled(judged, refits=0)
    assert fair.weights[0] < 0  # the longer the reference, the worse
    assert fair.win_rate < win_rate_of(preferences).win_rate - 15


@pytest.mark.parametrize("preference", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 500])
def test_preferences_that_are_all_the_same(preference: float, count: int) -> None:
    judged = Judged([preference] * count, [7] * count, [7] * count, [None] * count)
    found = length_controlled(judged, refits=3)
    assert found.weights[0] == 0.0
    assert (found.win_rate > 50) == (preference > 0.5)
    assert (found.win_rate < 50) == (preference < 0.5)


def test_nothing_is_nan() -> None:
    assert isnan(win_rate_of([]).win_rate)
    assert isnan(length_controlled(Judged([], [], [], [])).win_rate)


# -- files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("index,other\n1,2\n", "no columns `index` and"),
        ("index,instruction_difficulty\n1,hard\n", "line 2: instruction_difficulty is no number"),
        ("index,instruction_difficulty\n1,\n", "not tell the difficulty of every"),
        ("index,instruction_difficulty\n,1\n", "not tell the index"),
    ],
)
def test_files_that_tell_no_difficulties(tmp_path, text: str, words: str) -> None:
    file = tmp_path / "some.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        read_difficulties(file)


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_difficulties(tmp_path / "none.csv")
    file = tmp_path / "some.csv"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no table"):
        read_difficulties(file)


def test_published_tables_have_to_fit_each_other(tmp_path) -> None:
    told, long = tmp_path / "told.csv", tmp_path / "long.csv"

    def read(preferences: str, lengths: str, reference: str = "ref") -> dict[str, Judged]:
        told.write_text(preferences)
        long.write_text(lengths)
        return read_published(told, long, reference)

    good = read("index,a\n7,0.5\n8,\n9,1\n", "index,ref,a\n9,10,20\n8,1,1\n7,30,40\n")
    assert list(good["a"].preferences) == [0.5, 1.0]
    assert list(good["a"].lengths) == [40, 20]
    assert list(good["a"].reference_lengths) == [30, 10]
    assert good["a"].indices == [7, 9]
    with pytest.raises(UsageError, match="not within 0 and 1"):
        read("index,a\n7,1.5\n", "index,ref,a\n7,1,1\n")
    with pytest.raises(UsageError, match="no column 'other'"):
        read("index,a\n7,1\n", "index,ref,a\n7,1,1\n", "other")
    with pytest.raises(UsageError, match="no column 'a'"):
        read("index,a\n7,1\n", "index,ref\n7,1\n")
    with pytest.raises(UsageError, match="lacks 1 items"):
        read("index,a\n7,1\n8,1\n", "index,ref,a\n7,1,1\n")
    with pytest.raises(UsageError, match="no column 'index'"):
        read("number,a\n7,1\n", "index,ref,a\n7,1,1\n")
