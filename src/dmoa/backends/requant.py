"""Re-quantises a GGUF file from Q4_1 to Q8_0: on CPUs its prompts are read twice as fast.

Both formats work in blocks of 32 weights. Q4_1 keeps a scale, a minimum (both half
precision) and 32 numbers of four bits; Q8_0 keeps a scale and 32 numbers of eight. The
new values lie within half a step of the old. All arithmetic is elementwise in IEEE
single precision, so that every machine writes the same bytes.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from dmoa.backends.gguf import MAGIC, Field, Header, Tensor, read_header
from dmoa.errors import ConfigError

_F32, _F16, _Q4_1, _Q8_0 = 0, 1, 3, 8
_BLOCK: Final = 32
_BYTES: Final = {_F32: (1, 4), _F16: (1, 2), _Q4_1: (_BLOCK, 20), _Q8_0: (_BLOCK, 34)}
"""Of each format: how many elements, and how many bytes, make one block."""

_MOSTLY_Q8_0: Final = 7
_UINT32: Final = 4
_CHUNK: Final = 4096
"""Blocks converted at once: few enough that all of it stays in a core's cache."""

_SOURCE: Final = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("bits", "u1", _BLOCK // 2)])
_TARGET: Final = np.dtype([("scale", "<f2"), ("values", "i1", _BLOCK)])


def requantise(source: Path, target: BinaryIO) -> None:
    """Write the model in `source` with its Q4_1 tensors as Q8_0; the others are copied."""
    header = read_header(source)
    unknown = {tensor.format for tensor in header.tensors} - set(_BYTES)
    if unknown:
        raise ConfigError(f"{source.name} has tensors of unknown formats: {sorted(unknown)}")
    _write_header(header, target)
    with source.open("rb") as file:
        for tensor in header.tensors:
            file.seek(header.data + tensor.offset)
            if tensor.format == _Q4_1:
                _convert(file, target, tensor.size // _BLOCK)
            else:
                _copy(file, target, _length(tensor, tensor.format))
            _pad(target, header.alignment)


def _write_header(header: Header, target: BinaryIO) -> None:
    target.write(MAGIC)
    target.write(struct.pack("<IQQ", header.version, len(header.tensors), len(header.fields)))
    target.writelines(_text(field.key) + _raw(field) for field in header.fields)
    offset = 0
    for tensor in header.tensors:
        new = _new(tensor)
        target.write(_text(tensor.name) + struct.pack("<I", len(tensor.shape)))
        target.write(struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, new, offset))
        offset += -(-_length(tensor, new) // header.alignment) * header.alignment
    _pad(target, header.alignment)


def _raw(field: Field) -> bytes:
    if field.key == "general.file_type":
        return struct.pack("<II", _UINT32, _MOSTLY_Q8_0)
    return field.raw


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _new(tensor: Tensor) -> int:
    return _Q8_0 if tensor.format == _Q4_1 else tensor.format


def _length(tensor: Tensor, form: int) -> int:
    elements, size = _BYTES[form]
    return tensor.size // elements * size


def _pad(target: BinaryIO, alignment: int) -> None:
    target.write(bytes(-target.tell() % alignment))


def _copy(file: BinaryIO, target: BinaryIO, length: int) -> None:
    while length:
        data = _read(file, min(length, 1 << 20))
        target.write(data)
        length -= len(data)


def _convert(file: BinaryIO, target: BinaryIO, blocks: int) -> None:
    while blocks:
        count = min(blocks, _CHUNK)
        data = _read(file, count * _SOURCE.itemsize)
        target.write(convert_blocks(np.frombuffer(data, _SOURCE)).tobytes())
        blocks -= count


def _read(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise ConfigError("the GGUF file ends in the middle of a tensor")
    return data


def convert_blocks(blocks: NDArray[np.void]) -> NDArray[np.void]:
    """Turn Q4_1 blocks into Q8_0 blocks.

    A weight is scale * bits + minimum, so the largest of a block, by its absolute value,
    belongs to its smallest or its largest bits, and no weight need be written out.
    """
    bits = np.concatenate((blocks["bits"] & 15, blocks["bits"] >> 4), axis=1)
    scale = blocks["scale"].astype(np.float32)
    minimum = blocks["minimum"].astype(np.float32)
    one_end = np.abs(scale * bits.min(axis=1) + minimum)
    other_end = np.abs(scale * bits.max(axis=1) + minimum)
    step = np.maximum(one_end, other_end) / np.float32(127)
    inverse = np.divide(np.float32(1), step, out=np.zeros_like(step), where=step > 0)
    values = bits * (scale * inverse)[:, None]
    values += (minimum * inverse)[:, None]
    converted = np.empty(len(blocks), _TARGET)
    converted["scale"] = step
    converted["values"] = np.rint(values, out=values)
    return converted
