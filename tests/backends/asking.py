"""Asks a backend of any kind."""

from __future__ import annotations

from contextlib import asynccontextmanager

from dmoa.backends.registry import open_backend
from dmoa.core.job import Prompt, Sampling, Turn


def prompt(role="proposer", *, text="why?", tokens=64, options="", **sampling):
    return Prompt(role, (Turn("user", text),), Sampling(max_tokens=tokens, **sampling), options)


@asynccontextmanager
async def opened(uri):
    backend = open_backend(uri)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


async def take(backend, given=None):
    return [item async for item in backend.generate(given or prompt())]
