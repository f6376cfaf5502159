"""Writes a GGUF file of three small tensors: single precision, Q4_1 and Q8_0."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

FOUR = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("bits", "u1", 16)])
EIGHT = np.dtype([("scale", "<f2"), ("values", "i1", 32)])


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def fields(context: int | None) -> list[bytes]:
    found = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("general.file_type") + struct.pack("<II", 4, 3),
        text("little.flag") + struct.pack("<I?", 7, True),
        text("little.list") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("ü"),
        text("little.numbers") + struct.pack("<IIQ3d", 9, 12, 3, 1.0, 2.0, 3.0),
    ]
    if context is not None:
        found.append(text("llama.context_length") + struct.pack("<II", 4, context))
    return found


def four_blocks(count: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blocks = np.empty(count, FOUR)
    blocks["scale"] = rng.normal(0, 0.1, count)
    blocks["minimum"] = rng.normal(0, 1, count)
    blocks["bits"] = rng.integers(0, 256, (count, 16))
    return blocks


def little_gguf(path: Path, *, context: int | None = 2048, form: int = 3) -> Path:
    plain = np.arange(8, dtype="<f4").tobytes()
    four = four_blocks(4).tobytes()
    eight = np.zeros(2, EIGHT).tobytes()
    tensors = [("plain", (8,), 0, plain), ("four", (64, 2), form, four), ("eight", (64,), 8, eight)]
    known = fields(context)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(known)) + b"".join(known)
    data = b""
    for name, shape, number, raw in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", number, len(data))
        data += raw + bytes(-len(raw) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path
