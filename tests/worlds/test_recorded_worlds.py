"""Lives of worlds, written down and read back: nothing is lost, and what differs is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.effects import Cancel
from dmoa.core.events import Asked
from dmoa.core.history import Birth, Record, difference, replay
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId
from dmoa.core.policy import PAPER
from dmoa.runtime.records import Reader, head_line, step_line
from dmoa.sim.world import World

from .dream import run_world


def birth_of(world: World, life: str) -> Birth:
    twin = world.twin(life)
    return Birth(
        *(twin.node, twin.profile, world.births[life], twin._incarnation, world.limits),
        *(world.timing, world.policy, "", Mixture(), world.trusts(twin.node)),
    )


def written(file: Path, world: World, life: str, records: list[Record]) -> Path:
    head = head_line(birth_of(world, life), Random(f"{world.seed}/{life}"))
    file.write_bytes(head + b"".join(map(step_line, records)))
    return file


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_life_is_the_same_once_it_was_written_down(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    world = run_world(seed)
    file = tmp_path_factory.mktemp("lives") / "life.jsonl"
    for life, records in world.histories.items():
        written(file, world, life, records)
        with Reader(file) as reader:
            assert reader.birth == birth_of(world, life)
            assert list(reader.records()) == records
        with Reader(file) as reader:
            assert replay(reader.records(), reader.agent()) is None
            assert not reader.torn
            assert reader.read == reader.size


@pytest.mark.parametrize("seed", [3, 8113, 2412])
def test_the_first_step_that_was_not_lived_so_is_found(tmp_path: Path, seed: int) -> None:
    world = run_world(seed)
    life, records = max(world.histories.items(), key=lambda pair: len(pair[1]))
    step = next(index for index, each in enumerate(records) if isinstance(each.event, Asked))
    planted = [*records]
    planted[step] = replace(records[step], effects=(*records[step].effects, Cancel(JobId("x"))))
    with Reader(written(tmp_path / "life", world, life, planted)) as reader:
        found = difference(reader.records(), reader.agent())
    assert found is not None
    assert (found.index, found.then, found.now) == (step, planted[step], records[step])


def test_an_agent_of_another_policy_is_told_apart(tmp_path: Path) -> None:
    apart = 0
    for world in map(run_world, range(8)):
        for life, records in world.histories.items():
            with Reader(written(tmp_path / "life", world, life, records)) as reader:
                assert reader.birth.policy == world.policy
                other = PAPER if world.policy.spare else replace(world.policy, spare=2)
                rng = Random(f"{world.seed}/{life}")
                apart += (
                    replay(reader.records(), replace(reader.birth, policy=other).agent(rng))
                    is not None
                )
    assert apart
