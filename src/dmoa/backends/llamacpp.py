"""Language models embedded in this process: the small default, or a user's GGUF file."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from dmoa.backends.chat import Assembly, read_chunk, request_fields
from dmoa.backends.engine import STOP_SECONDS, Call, Engine, cores
from dmoa.backends.gguf import Header, read_header
from dmoa.backends.heads import Heads
from dmoa.backends.hub import ensure_file
from dmoa.backends.places import Places
from dmoa.backends.uri import BackendUri
from dmoa.backends.weights import MODEL, ensure_weights
from dmoa.core.job import Completion, Profile, Prompt, Turn
from dmoa.errors import BackendTimeoutError, BackendUnavailableError, ConfigError
from dmoa.runtime.ports import Tokens

SYSTEM: Final = "You are a helpful assistant."
"""Sent when a chat has no system text: the template's own makes the small model babble."""

_STALL: Final = 120.0
_SMALL_PARAMETERS: Final = 1_000_000_000
_CONTEXT_EMBEDDED: Final = 4096
_CONTEXT_LARGEST: Final = 8192
_THREADS_MOST: Final = 8  # beyond, reading the weights from memory is what limits
_SEEDS: Final = 1 << 32

# Proposers need to differ; a small model strays, and repeats itself, when left alone.
_SMALL: Final[dict[str, dict[str, object]]] = {
    "proposer": {"temperature": 0.7, "top_p": 0.9, "min_p": 0.1, "repeat_penalty": 1.1},
    "ranker": {},
    "aggregator": {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1},
}
_LARGE: Final[dict[str, dict[str, object]]] = {
    "proposer": {"temperature": 0.7},
    "ranker": {},
    "aggregator": {},
}
# With progress a call can be cancelled while it reads.
_STREAMED: Final = {"stream": True, "return_progress": True}


class LlamaBackend:
    """A model run by llama.cpp on this machine.

    While `open` loads the model, the event loop stands still (see `engine`). When the
    generator of `generate` is closed, the model is told to stop, and its slot is free
    once it has: after a token, or a batch of the prompt.
    """

    def __init__(self, uri: BackendUri, *, progress: Callable[[str], None] | None = None) -> None:
        self._uri = uri
        self._progress = progress
        self._stall = uri.stall or _STALL
        self._engine: Engine | None = None
        self._profile = Profile(model=MODEL)
        self._places = Places(1)
        self._heads = Heads(self._render)
        self._dice = random.Random(uri.seed)

    @property
    def profile(self) -> Profile:
        """What the node must know of the model; complete once `open` has returned."""
        return self._profile

    async def open(self) -> None:
        """Find the weights and load them."""
        path = await asyncio.to_thread(self._path)
        header = await asyncio.to_thread(read_header, path)
        self._profile = make_profile(self._uri, path, header)
        self._places = Places(self._profile.slots)
        self._engine = await asyncio.to_thread(
            Engine,
            path,
            context=self._profile.context_tokens,
            slots=self._profile.slots,
            threads=self._uri.threads or usual_threads(header, cores()),
        )
        self._profile = replace(self._profile, reads=await self._heads.can())

    async def close(self) -> None:
        """Stop all work and let go of the model."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.close)

    def generate(self, prompt: Prompt) -> Tokens:
        """Stream the completion of a prompt."""
        return self._generate(prompt)

    async def read(self, prompt: Prompt) -> int:
        """Read an open prompt up to the end of its open turn; tells how many tokens that is.

        BackendUnavailableError where no slot is free at once, BackendRefusedError where the chat
        template does not keep the text as it is. Cancelled, it ends once the model has stopped.
        """
        head = await self._heads.find(prompt)
        if not self._places.free:
            raise BackendUnavailableError("no slot of the model is free to read ahead")
        text = head + prompt.turns[prompt.open or 0].content
        assembly = Assembly(prompt, self._profile.model, who="the model")
        call = await self._call(prompt, {"prompt": text, "n_predict": 0, **_STREAMED})
        try:
            while (chunk := await self._next(call)) is not None:
                assembly.take(read_chunk(chunk))
        finally:
            await call.stop(min(STOP_SECONDS, self._stall))
        if assembly.usage is None:
            raise BackendUnavailableError("the model was stopped in the middle")
        return assembly.usage.prompt_tokens or 0

    async def _render(self, prompt: Prompt) -> str:
        """Tell what text the model reads for a prompt."""
        if self._engine is None:
            raise BackendUnavailableError("the embedded model is not open")
        return await asyncio.to_thread(self._engine.render, self._chat(prompt))

    def _path(self) -> Path:
        match self._uri.kind:
            case "smollm2":
                return ensure_weights(self._progress)
            case "hub":
                return ensure_file(self._uri.target, self._progress)
            case _:
                return Path(self._uri.target).expanduser()

    async def _generate(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        assembly = Assembly(prompt, self._profile.model, who="the model")
        call = await self._call(prompt, self._request(prompt))
        try:
            while (chunk := await self._next(call)) is not None:
                text = assembly.take(read_chunk(chunk))
                if text:
                    yield text
        finally:
            await call.stop(min(STOP_SECONDS, self._stall))
        if assembly.reason is None:
            raise BackendUnavailableError("the model was stopped in the middle")
        yield assembly.completion()

    async def _call(self, prompt: Prompt, request: dict[str, object]) -> Call:
        """Start a call in a free slot; the slot is free again when the model has stopped."""
        engine, places = self._engine, self._places
        if engine is None:
            raise BackendUnavailableError("the embedded model is not open")
        try:
            async with asyncio.timeout(self._stall):
                place = await places.take(prompt)
        except TimeoutError:
            raise BackendTimeoutError(
                f"no slot of the model became free within {self._stall:g} s"
            ) from None
        try:
            call = engine.call({**request, "id_slot": place.number})
        except BaseException:
            places.give(place)
            raise
        call.ended.add_done_callback(lambda _: places.give(place))
        return call

    async def _next(self, call: Call) -> dict[str, object] | None:
        try:
            async with asyncio.timeout(self._stall):
                return await call.next()
        except TimeoutError:
            raise BackendTimeoutError(
                f"the model gave no token for {self._stall:g} s",
                hint="is the machine overloaded? `?stall=SECONDS` waits longer",
            ) from None

    def _request(self, prompt: Prompt) -> dict[str, object]:
        return {
            "seed": self._dice.randrange(_SEEDS - 1),  # the last one means none
            **self._chat(prompt),
            **_STREAMED,
            "stream_options": {"include_usage": True},
        }

    def _chat(self, prompt: Prompt) -> dict[str, object]:
        """Make the fields of a request that say what is asked, and how."""
        style = _SMALL if self._profile.layout == "short" else _LARGE
        if not any(turn.role in ("system", "developer") for turn in prompt.turns):
            prompt = replace(prompt, turns=(Turn("system", SYSTEM), *prompt.turns))
        return {**style[prompt.role], **self._uri.drawn, **request_fields(prompt)}


def usual_threads(header: Header, cores: int) -> int:
    """Choose the threads that write tokens, where the user does not.

    A small model's token is so little work that threads mostly wait for one another, and
    several nodes may share the machine; a large one's is divided among the cores.
    """
    return 1 if header.parameters < _SMALL_PARAMETERS else min(cores, _THREADS_MOST)


def make_profile(uri: BackendUri, path: Path, header: Header) -> Profile:
    """Say what a node must know of a model; the user's settings come first."""
    trained = header.context
    embedded = uri.kind == "smollm2"
    usual = _CONTEXT_EMBEDDED if embedded else min(trained or _CONTEXT_EMBEDDED, _CONTEXT_LARGEST)
    if uri.context is not None and trained is not None and uri.context > trained:
        raise ConfigError(
            f"the backend setting `context` is {uri.context}, and {path.name} was trained"
            f" for {trained} tokens"
        )
    small = header.parameters < _SMALL_PARAMETERS
    return Profile(
        model=MODEL if embedded else path.stem.lower(),
        context_tokens=uri.context or usual,
        slots=uri.slots or 1,
        proposal_tokens=uri.proposal or (128 if small else 512),
        answer_tokens=uri.answer or (256 if small else 1024),
        layout=uri.layout or ("short" if small else "full"),
    )
