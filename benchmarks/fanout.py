"""The floor: the least that a mixture of M=1, k=3 can be, without nodes and without care.

Four proposals at once and one aggregation, straight from the client to the model server:
no queue, no peer that may be lost, no deadline, no trace.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import wire

PROPOSALS = 4
_INSTRUCTION = "Synthesize these responses into a single, high-quality response.\n\n"


def _body(prompt: str, system: str, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
    return {"model": "fake", "messages": messages, "stream": stream}


async def ask(url: str, prompt: str) -> wire.Reply:
    """Answer a prompt by a mixture; the aggregator's text is streamed."""
    start = time.perf_counter()
    proposals = await asyncio.gather(
        *(wire.chat(url, _body(prompt, "", stream=False)) for _ in range(PROPOSALS))
    )
    numbered = "\n".join(f"{i}. {one.text}" for i, one in enumerate(proposals, 1))
    passed = time.perf_counter() - start
    reply = await wire.chat(url, _body(prompt, _INSTRUCTION + numbered, stream=True))
    return replace(reply, seconds=passed + reply.seconds, first=passed + reply.first)
