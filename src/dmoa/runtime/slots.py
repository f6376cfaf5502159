"""One job on a backend: from the wish to serve it to the event that ends it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from dmoa.core.effects import Serve
from dmoa.core.events import Event, Faltered, Served
from dmoa.core.job import Completion, Fault
from dmoa.core.names import JobId
from dmoa.errors import BackendError, BackendRubbishError
from dmoa.runtime.faults import fault_of
from dmoa.runtime.ports import Backend
from dmoa.runtime.reading import Readings

_log = logging.getLogger(__name__)


async def serve(
    backend: Backend,
    wish: Serve,
    piece: Callable[[str], None],
    settle: Callable[[JobId], Awaitable[int]],
) -> Served | Faltered:
    """Run a job to its end; every text goes to `piece` as it is written.

    First `settle` ends what is read ahead for it, and tells how many tokens that was.

    To cancel the task is to stop the service; the backend has let go of the job when the
    task is done. Beside a cancellation nothing is ever raised: this is one of the two
    places where any exception is caught, because a backend may be anybody's code.
    """
    job = wish.job.id
    deadline = asyncio.timeout(wish.patience)
    try:
        async with deadline:
            read = await settle(job)
            async with aclosing(backend.generate(wish.prompt)) as tokens:
                async for token in tokens:
                    _check(token)
                    if isinstance(token, Completion):
                        return Served(job, _early(token, read))
                    piece(token)
    except BackendError as error:
        return Faltered(job, fault_of(error))
    except Exception as error:  # noqa: BLE001  (anybody's code)
        if deadline.expired():
            return Faltered(job, Fault("timeout", f"no completion within {wish.patience:.1f} s"))
        _log.exception("the backend of job %s raised what no backend may raise", job)
        return Faltered(job, Fault("rubbish", f"{type(error).__name__} in the backend"))
    return Faltered(job, Fault("rubbish", "the backend ended without a completion"))


def _early(completion: Completion, read: int) -> Completion:
    """Say how much of its prompt was read ahead; a backend that lost it knows better."""
    whole, cached = completion.prompt_tokens, completion.cached_tokens
    early = max(0, min(read, whole, whole if cached is None else cached))
    return replace(completion, early_tokens=early) if early else completion


class Slots:
    """The jobs on the own backend; each ends in one event, which `tell` is told."""

    def __init__(
        self, backend: Backend, readings: Readings, *, tell: Callable[[Event], None]
    ) -> None:
        self._backend = backend
        self._settle = readings.settle
        self._tell = tell
        self._tasks: dict[JobId, asyncio.Task[Served | Faltered]] = {}

    def start(self, wish: Serve, piece: Callable[[str], None]) -> None:
        """Put a job on the backend, and tell how it ended, however it ended."""
        job = wish.job.id

        def done(task: asyncio.Task[Served | Faltered]) -> None:
            del self._tasks[job]
            stopped = Faltered(job, Fault("stopped"))
            self._tell(stopped if task.cancelled() else task.result())

        task = asyncio.create_task(serve(self._backend, wish, piece, self._settle))
        self._tasks[job] = task
        task.add_done_callback(done)

    def stop(self, job: JobId) -> None:
        """Stop a job; it still ends with its event."""
        self._tasks[job].cancel()

    def cancel(self) -> list[asyncio.Task[Served | Faltered]]:
        """Stop all of them; they are done when these tasks are."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        return tasks


def _check(token: object) -> None:
    """Hold a backend to its word: a completion or a text, and one that can be sent."""
    text = token.text if isinstance(token, Completion) else token
    if not isinstance(text, str):
        raise BackendRubbishError(f"the backend wrote a {type(token).__name__} in place of text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BackendRubbishError("the backend wrote half a character") from None
