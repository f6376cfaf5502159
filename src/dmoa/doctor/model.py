"""The model of a node: is it there, and is there memory for it?"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dmoa.backends.gguf import Header, read_header
from dmoa.backends.llamacpp import make_profile
from dmoa.backends.uri import BackendUri, parse_uri
from dmoa.backends.weights import MODEL, Q8_BYTES, Q8_SHA256, cache_directory, is_file
from dmoa.doctor import Finding

BESIDE = 400 * 1024 * 1024
"""Bytes of a node beside weights and context.

Measured: interpreter and libraries take 110 MiB, and the cache of prompts grows to 256; a node
with the embedded model begins with 334 MiB, and has 630 to 660 after some hours of work.
"""
REMOTE = 80 * 1024 * 1024
"""Bytes of a node whose model runs elsewhere; measured: 64 MiB."""
TIGHT = 1.25
"""Times what a model needs, below which other programs will feel it."""

_MIB = 1024 * 1024
_CACHE_BYTES = 2
"""Of one number of a context: half precision."""
_SMOLLM2 = (30, 3, 64)
"""Layers, heads and numbers of a head in the embedded model's context."""


def present(uri: str) -> Finding:
    """Look for the weights of a model; ConfigError for a URI that is none."""
    parsed = parse_uri(uri) if uri else BackendUri("smollm2")
    match parsed.kind:
        case "smollm2":
            kept = cache_directory() / f"{MODEL}.gguf"
            if is_file(kept, Q8_BYTES, Q8_SHA256):
                return Finding("model", "ok", f"{MODEL}, whole and undamaged")
            told = f"{MODEL} is not in {kept.parent} yet"
            return Finding("model", "note", told, "the first `dmoa up` prepares it, once")
        case "llama":
            path = Path(parsed.target).expanduser()
            header = read_header(path)
            profile = make_profile(parsed, path, header)
            return Finding(
                "model", "ok", f"{path.name}, {profile.context_tokens} tokens of context"
            )
        case "hub":
            fix = "the first `dmoa up` fetches it, if it is not kept yet"
            return Finding("model", "note", f"{parsed.target}, from a hub", fix)
        case "openai":
            return _answers(parsed)
        case "fake":
            fix = "name a real one with `model`"
            return Finding("model", "note", "a fake that only takes its time", fix)


def _answers(uri: BackendUri) -> Finding:
    """Open the endpoint as a node would, and let it go again."""
    import asyncio  # noqa: PLC0415

    from dmoa.backends.openai import OpenAIBackend  # noqa: PLC0415

    async def ask() -> str:
        backend = OpenAIBackend(uri)
        await backend.open()
        try:
            return backend.profile.model
        finally:
            await backend.close()

    return Finding("model", "ok", f"{asyncio.run(ask())} answers at {uri.target}")


def memory(uri: str) -> Finding:
    """Compare the memory that is free with what the model needs."""
    parsed = parse_uri(uri) if uri else BackendUri("smollm2")
    need, free = needed(parsed), available()
    if need is None or free is None:
        why = "a model on a hub is not known yet" if need is None else "this system does not tell"
        return Finding("memory", "note", f"cannot be compared: {why}", "watch it while it runs")
    told = f"{free // _MIB} MiB are free, about {need // _MIB} MiB are needed"
    if free < need:
        fix = "choose a smaller model, a shorter `?context=`, or fewer `?slots=`"
        return Finding("memory", "bad", told, fix)
    if free < TIGHT * need:
        return Finding("memory", "note", f"{told}: tight", "close what else is large")
    return Finding("memory", "ok", told)


def needed(uri: BackendUri) -> int | None:
    """Estimate the bytes of a node with a model; None where the model is not known here."""
    match uri.kind:
        case "smollm2":
            context = (uri.context or 4096) * (uri.slots or 1)
            layers, heads, width = _SMOLLM2
            return Q8_BYTES + 2 * layers * heads * width * _CACHE_BYTES * context + BESIDE
        case "llama":
            path = Path(uri.target).expanduser()
            header = read_header(path)
            profile = make_profile(uri, path, header)
            context = profile.context_tokens * profile.slots
            return path.stat().st_size + per_token(header) * context + BESIDE
        case "hub":
            return None
        case "openai" | "fake":
            return REMOTE


def per_token(header: Header) -> int:
    """Estimate the bytes of context that one token takes: keys and values of every layer."""
    kind = header.get("general.architecture")

    def number(key: str, otherwise: int) -> int:
        found = header.get(f"{kind}.{key}")
        return found if isinstance(found, int) and found > 0 else otherwise

    heads = number("attention.head_count", 32)
    width = number("attention.key_length", number("embedding_length", 4096) // max(heads, 1))
    shared = number("attention.head_count_kv", heads)
    return 2 * number("block_count", 32) * shared * width * _CACHE_BYTES


def available() -> int | None:
    """Tell how many bytes of memory are free for a program, in its container if it is in one."""
    free = _meminfo()
    top, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if top is not None and used is not None:
        free = min(top - used, top if free is None else free)
    if free is None and "SC_PHYS_PAGES" in os.sysconf_names:
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free


def _meminfo() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _number(path: str) -> int | None:
    try:
        return int(Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
