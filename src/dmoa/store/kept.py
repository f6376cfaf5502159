"""What is kept of a response, and the bounds of keeping it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
"""How a response stands; the last four are for good."""

OPEN_RESPONSES = 1000
"""Background questions of one node that are not answered yet."""
ANSWER_BYTES = 64 * 1024
"""Kept free for the answer of each of them, from its acceptance on."""
CHAIN = 128
"""Responses that a conversation may go back over `previous`."""
PAGE = 100
"""Responses of one listing."""
SUSPECT = 2
"""Ends of the process after which a question under way is tried with no other beside it."""
CRASHES = 8
"""Ends of the process under one question after which it is not tried again."""
TEXT_BYTES = 16 * 1024 * 1024
"""Of one response with all that is kept of it."""


@dataclass(frozen=True, slots=True)
class New:
    """A response to keep: `base`, `entries`, `work` are the keeper's affair, as JSON.

    `owner` is who may see it, empty where everybody may. `idempotency` is a name that its
    asker gave it, `fingerprint` a hash of what was asked under that name.
    """

    id: str
    owner: str
    base: str
    entries: str
    work: str = ""
    background: bool = False
    previous: str = ""
    idempotency: str = ""
    fingerprint: str = ""

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        texts = (self.base, self.entries, self.work, self.idempotency, self.fingerprint)
        return 256 + sum(len(text.encode()) for text in texts)


@dataclass(frozen=True, slots=True)
class Kept:
    """A response as it is kept; `created` and `ended` are Unix seconds.

    `outcome` is empty until it ended, and `work` from then on. `attempts` counts how often it
    was begun, `crashes` how often the process ended meanwhile, and `faults` how often it failed.
    `number` grows with each response of a file.
    """

    number: int
    id: str
    owner: str
    status: Status
    background: bool
    created: float
    ended: float | None
    attempts: int
    crashes: int
    faults: int
    base: str
    entries: str
    work: str
    outcome: str
    previous: str
    fingerprint: str

    @property
    def is_over(self) -> bool:
        """Tell whether it stands as it will stand for good."""
        return self.ended is not None


@dataclass(frozen=True, slots=True)
class Claim:
    """What there is to do: a question that is now in progress, or when the next one is due.

    `due` is in Unix seconds; None where nothing waits but for others to end.
    """

    taken: Kept | None = None
    due: float | None = None
