"""Lives of worlds, written down and read back: nothing is lost, and what differs is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmoa.core.effects import Cancel, Read
from dmoa.core.events import Asked
from dmoa.core.history import Birth, Record, difference, replay
from dmoa.core.mixture import Mixture
from dmoa.core.names import JobId
from dmoa.core.policy import PAPER
from dmoa.runtime.records import Reader, head_line, step_line
from dmoa.sim.world import World

from .dream import draw_world, run_world


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


LATER = {"reads", "eager", "early_tokens", "cached_tokens", "open"}
"""Fields that older records do not have."""


def as_of_old(what: Any) -> Any:
    """Leave out what was not there before prompts were read ahead."""
    if isinstance(what, list):
        return [as_of_old(each) for each in what]
    if not isinstance(what, dict):
        return what
    left = LATER | ({"job"} if "unread" in what else set())
    return {key: as_of_old(value) for key, value in what.items() if key not in left}


def test_what_was_read_ahead_is_written_down_and_read_ahead_again(tmp_path: Path) -> None:
    reads = 0
    world = run_world(53)
    for life, records in world.histories.items():
        with Reader(written(tmp_path / "life", world, life, records)) as reader:
            assert reader.birth.profile.reads
            again = list(reader.records())
            assert again == records
            assert replay(again, reader.agent()) is None
        reads += sum(isinstance(each, Read) for record in again for each in record.effects)
        deaf = replace(reader.birth, profile=replace(reader.birth.profile, reads=False))
        dice = Random(f"{world.seed}/{life}")
        heard = [each for record in again for each in record.effects if isinstance(each, Read)]
        assert (replay(again, deaf.agent(dice)) is not None) or not heard
    assert reads > 10


def test_a_record_from_before_prompts_were_read_ahead_is_lived_again(tmp_path: Path) -> None:
    world = run_world(next(seed for seed in range(2, 99) if not draw_world(seed).reads))
    life, records = max(world.histories.items(), key=lambda pair: len(pair[1]))
    file = written(tmp_path / "life", world, life, records)
    lines = [json.dumps(as_of_old(json.loads(line))) for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    with Reader(file) as reader:
        assert not reader.birth.profile.reads
        assert reader.birth.policy.eager == "off"
        assert replay(reader.records(), reader.agent()) is None


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
