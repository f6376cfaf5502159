"""Writes the GGUF file of a model that llama.cpp loads: one layer of noise, and a chat template.

Its words are bytes, a few pairs of letters, and the control tokens it is given.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from little_gguf import text

WIDTH, INNER = 32, 64
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_PIECES = ["▁", "th", "in", "er", "an", "▁th", "▁a", "wo", "rd", "word", "▁word"]


def number(name: str, value: int) -> bytes:
    return text(name) + struct.pack("<II", 4, value)


def real(name: str, value: float) -> bytes:
    return text(name) + struct.pack("<If", 6, value)


def said(name: str, value: str) -> bytes:
    return text(name) + struct.pack("<I", 8) + text(value)


def listed(name: str, kind: int, items: list[bytes]) -> bytes:
    return text(name) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)


def vocabulary(control: list[str], *, bos: bool) -> list[bytes]:
    words = [("<unk>", _UNKNOWN), ("<s>", _CONTROL), ("</s>", _CONTROL)]
    words += [(f"<0x{byte:02X}>", _BYTE) for byte in range(256)]
    words += [(piece, _NORMAL) for piece in _PIECES]
    words += [(word, _CONTROL) for word in control]
    scores = [float(len(word)) if kind == _NORMAL else 0.0 for word, kind in words]
    return [
        said("tokenizer.ggml.model", "llama"),
        listed("tokenizer.ggml.tokens", 8, [text(word) for word, _ in words]),
        listed("tokenizer.ggml.scores", 6, [struct.pack("<f", score) for score in scores]),
        listed("tokenizer.ggml.token_type", 5, [struct.pack("<i", kind) for _, kind in words]),
        number("tokenizer.ggml.bos_token_id", 1),
        number("tokenizer.ggml.eos_token_id", 2),
        text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", 7, bos),
    ]


def tensors(words: int) -> list[tuple[str, np.ndarray]]:
    dice = np.random.default_rng(1)

    def noise(*shape: int) -> np.ndarray:
        return dice.normal(0, 0.2, shape).astype("<f4")

    ones = np.ones(WIDTH, "<f4")
    square = ["attn_q", "attn_k", "attn_v", "attn_output"]
    return [
        ("token_embd.weight", noise(words, WIDTH)),
        ("output_norm.weight", ones),
        ("blk.0.attn_norm.weight", ones),
        ("blk.0.ffn_norm.weight", ones),
        *((f"blk.0.{name}.weight", noise(WIDTH, WIDTH)) for name in square),
        ("blk.0.ffn_gate.weight", noise(INNER, WIDTH)),
        ("blk.0.ffn_up.weight", noise(INNER, WIDTH)),
        ("blk.0.ffn_down.weight", noise(WIDTH, INNER)),
    ]


def speaking_gguf(path: Path, template: str, control: list[str], *, bos: bool = True) -> Path:
    """Write it; with `bos` every prompt begins with one more token."""
    known = [
        said("general.architecture", "llama"),
        number("llama.context_length", 8192),
        number("llama.embedding_length", WIDTH),
        number("llama.block_count", 1),
        number("llama.feed_forward_length", INNER),
        number("llama.attention.head_count", 2),
        number("llama.rope.dimension_count", WIDTH // 2),
        real("llama.attention.layer_norm_rms_epsilon", 1e-5),
        *vocabulary(control, bos=bos),
        said("tokenizer.chat_template", template),
    ]
    made = tensors(3 + 256 + len(_PIECES) + len(control))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(made), len(known)) + b"".join(known)
    data = b""
    for name, values in made:
        shape = values.shape[::-1]
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", 0, len(data))
        data += values.tobytes() + bytes(-values.nbytes % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path
