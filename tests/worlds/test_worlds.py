from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dmoa.core.effects import Answer
from dmoa.core.history import replay
from dmoa.core.mixture import Mixture
from dmoa.sim.world import World
from dmoa.theory.laws import Exponential

from .__main__ import main
from .dream import run_world

ROOT = Path(__file__).parents[2]


@settings(
    max_examples=2000,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_promise_holds_in_every_world(seed: int) -> None:
    run_world(seed)


@pytest.mark.parametrize("seed", range(25))
def test_the_same_seed_makes_the_same_history(seed: int) -> None:
    assert run_world(seed).fingerprint() == run_world(seed).fingerprint()


def test_histories_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "from tests.worlds.dream import run_world\n"
        "print([run_world(seed).fingerprint() for seed in (3, 8113, 2412)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "20250101")
    }
    assert len(told) == 1


@pytest.mark.parametrize("mixture", [Mixture(m, k) for m in range(4) for k in range(4)])
def test_a_calm_world_serves_every_visit(mixture: Mixture) -> None:
    world = World(4, Exponential(0.1), seed=7)
    query = world.ask(next(iter(world.agents)), mixture, deadline=1000.0)
    world.run(1000.0)
    result = world.queries[query].result
    assert isinstance(result, Answer)
    assert mixture.visits == len(result.trace.jobs)
    assert ["ok"] * mixture.visits == [visit.outcome for visit in result.trace.jobs]
    assert result.trace.degraded == ()


def test_a_life_that_was_not_lived_so_is_told_apart() -> None:
    world = run_world(3)
    life, records = next((life, records) for life, records in world.histories.items())
    other = World(world.nodes, world.service, seed=world.seed, slots=7)
    assert replay(records, world.twin(life)) is None
    assert replay(records[1:], other.twin(life)) is not None


def test_one_line_per_broken_world_says_how_to_replay_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["worlds", "--count", "3", "--start", "5"])
    assert main() == 0
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(World, "ask", lambda *_, **__: 1 / 0)
    assert main() == 1
    lines = capsys.readouterr().out.splitlines()
    assert [f"python -m tests.worlds --seed {seed}" for seed in (5, 6, 7)] == [
        line.split("  #")[0] for line in lines
    ]


def test_one_seed_is_lived_through_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["worlds", "--seed", "5"])
    assert main() == 0
    assert run_world(5).fingerprint() in capsys.readouterr().out
