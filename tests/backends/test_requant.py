from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_gguf import EIGHT, FOUR, four_blocks, little_gguf

from dmoa.backends.gguf import read_header
from dmoa.backends.requant import convert_blocks, requantise
from dmoa.errors import ConfigError


def four_values(blocks):
    """Q4_1 as the format says: element i is in the low half of byte i, i + 16 in the high."""
    bits = np.concatenate((blocks["bits"] % 16, blocks["bits"] // 16), axis=1).astype("f8")
    scale, minimum = blocks["scale"].astype("f8"), blocks["minimum"].astype("f8")
    return bits * scale[:, None] + minimum[:, None]


def eight_values(blocks):
    return blocks["values"].astype("f8") * blocks["scale"].astype("f8")[:, None]


def assert_near(blocks):
    old, new = four_values(blocks), eight_values(convert_blocks(blocks))
    step = np.abs(old).max(axis=1, keepdims=True) / 127
    # Half a step of rounding, and of the scale's half precision 127 times its error.
    assert (np.abs(old - new) <= step * (0.5 + 127 * 2**-11 + 0.01) + 127 * 2**-25).all()


def test_new_values_lie_within_a_step_of_the_old():
    assert_near(four_blocks(1000))


finite = st.floats(-100, 100, width=16)


@given(st.lists(st.tuples(finite, finite, st.binary(min_size=16, max_size=16)), min_size=1))
def test_new_values_lie_within_a_step_of_the_old_for_any_block(rows):
    blocks = np.empty(len(rows), FOUR)
    for block, (scale, minimum, bits) in zip(blocks, rows, strict=True):
        block["scale"], block["minimum"] = scale, minimum
        block["bits"] = np.frombuffer(bits, "u1")
    assert_near(blocks)


def test_a_block_of_zeros_stays_zero():
    assert not eight_values(convert_blocks(np.zeros(3, FOUR))).any()


def test_converts_what_is_four_bits_and_copies_the_rest(tmp_path):
    source = little_gguf(tmp_path / "four.gguf")
    target = tmp_path / "eight.gguf"
    with target.open("wb") as file:
        requantise(source, file)
    old, new = read_header(source), read_header(target)
    assert [t.format for t in new.tensors] == [0, 8, 8]
    assert [(t.name, t.shape) for t in new.tensors] == [(t.name, t.shape) for t in old.tensors]
    assert {f.key: f.raw for f in new.fields if f.key != "general.file_type"} == {
        f.key: f.raw for f in old.fields if f.key != "general.file_type"
    }
    assert new.get("general.file_type") == 7
    data = target.read_bytes()
    assert all(tensor.offset % new.alignment == 0 for tensor in new.tensors)
    plain, four, eight = (data[new.data + tensor.offset :] for tensor in new.tensors)
    assert plain[:32] == np.arange(8, dtype="<f4").tobytes()
    assert four[: 4 * EIGHT.itemsize] == convert_blocks(four_blocks(4)).tobytes()
    assert eight[: 2 * EIGHT.itemsize] == bytes(2 * EIGHT.itemsize)
    assert len(data) % new.alignment == 0


def test_refuses_a_format_it_does_not_know(tmp_path):
    with pytest.raises(ConfigError) as caught:
        requantise(little_gguf(tmp_path / "m.gguf", form=12), io.BytesIO())
    assert "12" in caught.value.message


def test_refuses_a_file_that_ends_too_early(tmp_path):
    path = little_gguf(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError):
        requantise(path, io.BytesIO())
