"""A language model whose prompts and answers the log shows, where its operator asked for that."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from dmoa.core.job import Completion, Profile, Prompt
from dmoa.errors import BackendError, BackendRefusedError
from dmoa.runtime.ports import Backend, Reads, Tokens

_log = logging.getLogger(__name__)


class Overheard:
    """A backend that is as another one, and tells the log at level debug what is said to it."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner

    @property
    def profile(self) -> Profile:
        """What the node must know of the model."""
        return self._inner.profile

    async def open(self) -> None:
        """Load or reach the model; BackendError with a hint when that fails."""
        await self._inner.open()

    async def close(self) -> None:
        """Stop all work and let go of the model."""
        await self._inner.close()

    def generate(self, prompt: Prompt) -> Tokens:
        """Stream the completion of a prompt."""
        return self._overheard(prompt)

    async def read(self, prompt: Prompt) -> int:
        """Read a prompt ahead, of which nothing is told; BackendError where the model cannot."""
        if not isinstance(self._inner, Reads):
            raise BackendRefusedError("the model does not read ahead")
        return await self._inner.read(prompt)

    async def _overheard(self, prompt: Prompt) -> AsyncGenerator[str | Completion, None]:
        for turn in prompt.turns:
            _log.debug("%s reads (%s): %s", prompt.role, turn.role, turn.content)
        try:
            async with aclosing(self._inner.generate(prompt)) as tokens:
                async for token in tokens:
                    if isinstance(token, Completion):
                        _log.debug("%s wrote: %s", prompt.role, token.text)
                    yield token
        except BackendError as error:
            _log.debug("%s failed: %s", prompt.role, error.message)
            raise
