"""How servers of language models are made to read a prompt before it is asked for.

llama.cpp's server reads a text into a slot that is named, and the job that goes to that slot
finds it there. Other servers keep the beginnings of all prompts (vLLM, SGLang): they are asked
for one token after the prompt so far, and the job finds what it begins with.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Final, Protocol, TypeVar

import msgspec

from dmoa.backends.chat import request_fields
from dmoa.backends.heads import Heads
from dmoa.backends.link import Link
from dmoa.backends.places import Place, Places
from dmoa.backends.uri import BackendUri
from dmoa.core.job import Prompt, Sampling, Turn
from dmoa.errors import (
    BackendError,
    BackendRefusedError,
    BackendRubbishError,
    BackendTimeoutError,
    BackendUnavailableError,
)

STEP_SECONDS: Final = 10.0
"""How long a step may take: a job may wait for it, so that a server that hangs is left alone."""
PREFIX_LEAST: Final = 512
"""Characters of news for which a server is asked to read a prefix: what follows is read anew."""
_BYTES_PER_TOKEN: Final = 4
_MEET: Final = 10.0
_PREFIXES: Final = 32
"""Jobs of which is known how far they were read by prefix."""

_GREETING: Final = Prompt("proposer", (Turn("user", ""),), Sampling(max_tokens=1), open=0)
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Way(Protocol):
    """A way to make a server read ahead."""

    async def read(self, prompt: Prompt) -> int:
        """Have an open prompt read; see `runtime.ports.Reads`."""
        ...

    def held(self, prompt: Prompt) -> AbstractAsyncContextManager[dict[str, object]]:
        """Give the fields by which a request finds what was read for its job."""
        ...


# -- llama.cpp's slots -------------------------------------------------------------------


class _Props(msgspec.Struct):
    """What llama.cpp's server tells of itself."""

    total_slots: int


class _Rendered(msgspec.Struct):
    """A chat as the text that its model reads."""

    prompt: str


class _Read(msgspec.Struct):
    """What became of a completion of nothing."""

    tokens_evaluated: int


class SlotWay:
    """Reads in slots of llama.cpp's server, of which as many are ours as the node has.

    Until something is read ahead for the first time, the server places jobs as it likes.
    """

    def __init__(self, link: Link, slots: int) -> None:
        self._link = link
        self._root = link.base.removesuffix("/v1")
        self._slots = slots
        self._places = Places(slots)
        self._heads = Heads(self._render)
        self._reads = False

    async def meet(self) -> None:
        """Find out whether the server can; BackendError where it cannot, or is not there."""
        data = await self._link.get(f"{self._root}/props", patience=_MEET)
        total = _decoded(data, _Props, self._link.who).total_slots
        if total < self._slots:
            raise BackendRefusedError(
                f"{self._link.who} has slots: {total}, and the node wants {self._slots}",
                hint=f"start it with `--parallel {self._slots}`, or name `?slots={total}`",
            )
        await self._heads.find(_GREETING)

    @asynccontextmanager
    async def held(self, prompt: Prompt) -> AsyncGenerator[dict[str, object], None]:
        """Send a job to the slot that its prompt was read in; anywhere where all are at work."""
        if not self._places.free:
            yield {}
            return
        place = await self._places.take(prompt)
        try:
            yield _slot(place) if self._reads else {}
        finally:
            self._places.give(place)

    async def read(self, prompt: Prompt) -> int:
        """Read the text of an open prompt, up to where it goes on."""
        if not self._places.free:
            raise BackendUnavailableError(f"{self._link.who} has no slot free to read in")
        place = await self._places.take(prompt)
        self._reads = True
        try:
            async with _step(self._link.who):
                head = await self._heads.find(prompt)
                text = head + prompt.turns[prompt.open or 0].content
                fields = {"prompt": text, "n_predict": 0, "stream": False, **_slot(place)}
                data = await self._link.ask(f"{self._root}/completion", fields)
                return _decoded(data, _Read, self._link.who).tokens_evaluated
        finally:
            self._places.give(place)

    async def _render(self, prompt: Prompt) -> str:
        """Tell what text the model reads for a prompt."""
        data = await self._link.ask(f"{self._root}/apply-template", request_fields(prompt))
        return _decoded(data, _Rendered, self._link.who).prompt


def _slot(place: Place) -> dict[str, object]:
    return {"id_slot": place.number, "cache_prompt": True}


# -- servers that keep prefixes ----------------------------------------------------------


class PrefixWay:
    """Reads by asking for one token after a prompt, of a server that keeps what it read.

    What follows the open turn, or as it is laid out, is read anew each time, so that this is done
    for larger steps than a slot would take. `ask` gets a prompt answered by one token, and tells
    how many tokens the server counted in the prompt, 0 where it does not tell.
    """

    def __init__(self, who: str, ask: Callable[[Prompt], Awaitable[int]]) -> None:
        self._who = who
        self._ask = ask
        self._known: dict[str, tuple[str, int]] = {}

    @asynccontextmanager
    async def held(self, prompt: Prompt) -> AsyncGenerator[dict[str, object], None]:
        """Send a job as any other: the server finds by itself what it begins with."""
        self._known.pop(prompt.job, None)
        yield {}

    async def read(self, prompt: Prompt) -> int:
        """Have a prompt read once there is enough news; the tokens are a share by bytes."""
        last = len(prompt.turns) if prompt.open is None else prompt.open + 1
        text = "\n".join(turn.content for turn in prompt.turns[:last])
        before, tokens = self._known.get(prompt.job, ("", 0))
        if before and text.startswith(before) and len(text) - len(before) < PREFIX_LEAST:
            return tokens
        sampling = replace(prompt.sampling, max_tokens=1, stop=())
        async with _step(self._who):
            counted = await self._ask(replace(prompt, sampling=sampling))
        size = len(text.encode())
        after = sum(len(turn.content.encode()) for turn in prompt.turns[last:])
        whole = counted or (size + after) // _BYTES_PER_TOKEN
        tokens = whole * size // max(1, size + after)
        self._known[prompt.job] = text, tokens
        while len(self._known) > _PREFIXES:
            del self._known[next(iter(self._known))]
        return tokens


# -- what both need ----------------------------------------------------------------------


async def find_way(uri: BackendUri, link: Link, slots: int, *, llama: bool) -> SlotWay | None:
    """Find the way to read in slots, where the URI asks for it or the server is `llama`.cpp's.

    None where there is none; the log says why. Where the URI asks for it, a server that is not
    there yet is taken to have it.
    """
    if uri.ahead != "slot" and (uri.ahead is not None or not llama):
        return None
    way = SlotWay(link, slots)
    try:
        await way.meet()
    except BackendError as error:
        if uri.ahead == "slot" and isinstance(error, BackendUnavailableError):
            return way
        level = logging.WARNING if uri.ahead == "slot" else logging.INFO
        advice = f"; {error.hint}" if error.hint else ""
        _log.log(level, "prompts are not read ahead: %s%s", error.message, advice)
        return None
    return way


@asynccontextmanager
async def _step(who: str) -> AsyncGenerator[None, None]:
    """Bound the time of one step."""
    try:
        async with asyncio.timeout(STEP_SECONDS):
            yield
    except TimeoutError:
        raise BackendTimeoutError(f"{who} read nothing within {STEP_SECONDS:g} s") from None


def _decoded(data: bytes, kind: type[_T], who: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise BackendRubbishError(f"{who} does not answer as llama.cpp's does: {error}") from error
