"""What a load test asks: when, where, and which question."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

import pytest

from dmoa.core.mixture import ALONE, Mixture
from dmoa.core.network import Network
from dmoa.core.stability import utilisation, utilisations
from dmoa.errors import UsageError
from dmoa.sim.arrivals import chunks
from dmoa.sim.setting import Bursts, Recorded, Setting
from dmoa.study.load import schedule
from dmoa.study.load.schedule import built_in, due, rates_for, read_prompts, within

M2K3 = Mixture(2, 3)


def test_rho_is_that_of_theorem_1_where_all_are_alike() -> None:
    rates = rates_for(0.7, M2K3, (0.2,) * 8, (1,) * 8)
    assert utilisation(M2K3, arrival_rate=rates[0], service_time=0.2) == pytest.approx(0.7)
    assert len(rates) == 8


def test_rho_is_that_of_the_busiest_of_unlike_nodes() -> None:
    times, slots = (0.1, 0.1, 0.8, 0.4, 0.2), (1, 1, 2, 1, 1)
    rates = rates_for(0.9, M2K3, times, slots)
    assert max(utilisations(Network(rates, times, slots), M2K3)) == pytest.approx(0.9)


@pytest.mark.parametrize("bursts", [None, Bursts(0.3, 4.0, 4.0, 1.0)])
def test_arrivals_are_those_of_the_simulator(bursts: Bursts | None) -> None:
    rates = (0.5, 2.0, 1.0)
    found = due(rates, bursts, seconds=40.0, seed=7)
    network = Network(rates, (1.0,) * 3)
    size = len(found.times)
    setting = Setting(network, ALONE, arrivals=bursts, queries=size + 5, seed=7)
    ((times, homes),) = chunks(setting)
    assert list(found.times) == times[:size].tolist()
    assert list(found.homes) == homes[:size].tolist()
    assert found.times[-1] <= 40.0 < times[size]


def test_a_seed_is_a_schedule() -> None:
    one, same, other = (due((1.0, 1.0), None, seconds=30.0, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_test_that_asks_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="this one would ask none"):
        due((1e-6,), None, seconds=1.0, seed=1)


def test_a_test_that_asks_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "QUERIES_MAX", 50)
    with pytest.raises(UsageError, match="50 queries at most"):
        due((10.0,), None, seconds=60.0, seed=1)


def test_of_a_trace_the_first_seconds_are_kept() -> None:
    trace = Recorded((0.0, 1.0, 2.0), (1, 0, 1))
    assert within(trace, 1.0) == Recorded((0.0, 1.0), (1, 0))
    assert within(trace, inf) == trace


# -- prompts ----------------------------------------------------------------------------


def test_questions_are_asked_in_turn() -> None:
    own = built_in()
    assert len(own.turns) == 10
    assert own.of(0) == own.of(10) != own.of(1)
    assert own.of(3)[0]["role"] == "user"


def test_prompts_and_conversations_are_read(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "How?"}}\n\n{json.dumps({"messages": talk})}\n', "utf-8")
    found = read_prompts(file)
    assert found.turns == (({"role": "user", "content": "How?"},), tuple(talk))
    assert found.name != built_in().name


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        "{}",
        '{"prompt": ""}',
        '{"prompt": 3}',
        '{"messages": []}',
        '{"messages": [{"role": "user"}]}',
        '{"messages": [{"role": "king", "content": "x"}]}',
        '{"prompt": "x", "messages": [{"role": "user", "content": "x"}]}',
    ],
)
def test_what_is_no_prompt_is_refused_by_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(f'{{"prompt": "x"}}\n{line}\n', "utf-8")
    with pytest.raises(UsageError, match="line 2 is no prompt"):
        read_prompts(file)


def test_prompts_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_prompts(tmp_path / "none.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is no text"):
        read_prompts(tmp_path / "bytes.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n", "utf-8")
    with pytest.raises(UsageError, match="has no prompts"):
        read_prompts(tmp_path / "empty.jsonl")
