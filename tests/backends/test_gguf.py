from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from little_gguf import little_gguf

from dmoa.backends.gguf import read_header
from dmoa.errors import ConfigError


def test_reads_fields_and_tensors(tmp_path):
    path = little_gguf(tmp_path / "m.gguf")
    header = read_header(path)
    assert header.get("general.architecture") == "llama"
    assert header.get("little.list") is None
    assert header.get("absent") is None
    assert header.context == 2048
    assert [tensor.name for tensor in header.tensors] == ["plain", "four", "eight"]
    assert header.parameters == sum(tensor.size for tensor in header.tensors) == 8 + 128 + 64
    assert header.data % header.alignment == 0


def test_a_model_may_not_tell_its_context(tmp_path):
    assert read_header(little_gguf(tmp_path / "m.gguf", context=None)).context is None


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGML" + bytes(100), b"GGUF" + b"\xff" * 100])
def test_refuses_what_is_no_gguf(tmp_path, data):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_header(path)
    assert "m.gguf" in caught.value.message


def test_refuses_a_missing_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_header(tmp_path / "absent.gguf")
    assert "absent.gguf" in caught.value.message


def test_refuses_a_header_cut_anywhere(tmp_path):
    whole = little_gguf(tmp_path / "m.gguf")
    end = read_header(whole).data
    data = whole.read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(0, end - 32, 7):
        cut.write_bytes(data[:length])
        with pytest.raises(ConfigError):
            read_header(cut)


@given(at=st.integers(4, 300), byte=st.integers(0, 255))
def test_a_damaged_header_is_read_or_refused(tmp_path_factory, at, byte):
    path = little_gguf(tmp_path_factory.getbasetemp() / "damaged.gguf")
    data = bytearray(path.read_bytes())
    data[at] = byte
    path.write_bytes(data)
    with suppress(ConfigError):
        read_header(path)
