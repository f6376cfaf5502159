"""What a node tells over its API, as far as the commands look at it."""

from __future__ import annotations

import msgspec

LITTLE = 0.05
"""Points of blame that are not worth a word."""


class Visit(msgspec.Struct, frozen=True):
    """One job of a query, as the API shows it."""

    job: str = ""
    layer: int = 0
    role: str = "proposer"
    node: str = ""
    model: str = ""
    outcome: str = "pending"
    sent: float = 0.0
    ended: float = 0.0
    queued_seconds: float = 0.0
    service_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    detail: str = ""
    early_tokens: int = 0


class Draft(msgspec.Struct, frozen=True):
    """Some more text of a proposal that is being written."""

    job: str
    node: str = ""
    layer: int = 0
    text: str = ""


class Mixture(msgspec.Struct, frozen=True):
    """The mixture of a query, as the API shows it."""

    layers: int = 0
    fanout: int = 0


class Default(msgspec.Struct, frozen=True):
    """What the model `dmoa` stands for at a node, and why."""

    model: str = ""
    why: str = ""
    detail: str = ""


class Trace(msgspec.Struct, frozen=True):
    """What happened to a query; ends an answer."""

    query: str = ""
    home: str = ""
    mixture: Mixture = Mixture()
    degraded: tuple[str, ...] = ()
    recipe: str = ""
    source: str = "aggregator"
    default: Default | None = None
    seconds: float = 0.0
    jobs: tuple[Visit, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """How an own query of a node stands: `position` 1 is the next in its queue, 0 was begun."""

    query: str = ""
    position: int = 0
    layer: int = 0
    layers: int = 0
    fanout: int = 0
    waited_seconds: float = 0.0
    starts_in_seconds: float = 0.0
    answers_in_seconds: float = 0.0


class End(msgspec.Struct, frozen=True):
    """The end of an answer: why there, and its trace, read and as it came."""

    finish: str
    trace: Trace | None = None
    raw: object = None


Happening = str | Visit | Draft | Place | End
"""Of an answer: pieces of its text, how its jobs and itself stand, pieces of drafts, one end."""


class Health(msgspec.Struct, frozen=True):
    """That a node lives, and how many peers it knows."""

    node: str = ""
    peers: int = 0


class Reached(msgspec.Struct, frozen=True):
    """What one peer said when it was called on; `flaw` says why it did not."""

    node: str
    version: str = ""
    ahead_seconds: float = 0.0
    away_seconds: float = 0.0
    hears: tuple[str, ...] = ()
    flaw: str = ""


class Reach(msgspec.Struct, frozen=True):
    """Whom a node reaches, and which release it runs."""

    node: str
    version: str
    peers: tuple[Reached, ...] = ()


class Conduct(msgspec.Struct, frozen=True):
    """How a peer behaved: points of blame now, and how often it did what since it is known."""

    blame: float = 0.0
    shunned: bool = False
    trusted: bool = True
    offences: dict[str, int] = {}

    @property
    def name(self) -> str:
        """Say in a word whether the peer is asked."""
        if not self.trusted:
            return "not trusted"
        if self.shunned:
            return "shunned"
        return f"blame {self.blame:.1f}" if self.blame >= LITTLE else "ok"


class Standing(msgspec.Struct, frozen=True):
    """How one node stands; rates per second, times in seconds; a peer also how it behaved."""

    node: str
    model: str = ""
    slots: int = 1
    length: int = 0
    mean_length: float = 0.0
    mean_waiting: float = 0.0
    arrival_rate: float = 0.0
    service_time: float = 0.0
    utilisation: float = 0.0
    capacity: float = 0.0
    layers: int = 0
    fanout: int = 0
    refused: int = 0
    declined: int = 0
    age_seconds: float = 0.0
    url: str = ""
    standing: Conduct | msgspec.UnsetType = msgspec.UNSET

    @property
    def conduct(self) -> Conduct:
        """How it behaved; without a blemish where nothing is told."""
        return self.standing or Conduct()


class Neighbourhood(msgspec.Struct, frozen=True):
    """A node and the peers it knows."""

    node: Standing
    peers: tuple[Standing, ...] = ()


class Queue(msgspec.Struct, frozen=True):
    """How the queue of one node stands, as the API shows it; counters since its start."""

    node: str
    mode: str = ""
    policy: dict[str, object] = {}
    queries: tuple[Place, ...] = ()
    jobs: dict[str, int] = {}
    limits: dict[str, int | None] = {}
    counters: dict[str, float] = {}


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: str
    content: str


class Problem(msgspec.Struct, frozen=True):
    """Why a response has no answer."""

    message: str = "no message"


class _Text(msgspec.Struct, frozen=True):
    text: str = ""


class _Output(msgspec.Struct, frozen=True):
    content: tuple[_Text, ...] = ()


class Response(msgspec.Struct, frozen=True):
    """A response that a node keeps; times in Unix seconds, `ended_at` only in lists."""

    id: str
    status: str
    model: str = ""
    background: bool = False
    created_at: int = 0
    completed_at: int | None = None
    ended_at: int | None = None
    attempts: int = 0
    output: tuple[_Output, ...] = ()
    error: Problem | None = None

    @property
    def text(self) -> str:
        """What was answered so far."""
        return "".join(part.text for each in self.output for part in each.content)

    @property
    def is_open(self) -> bool:
        """Tell whether it is still to be answered."""
        return self.status in ("queued", "in_progress")


class Responses(msgspec.Struct, frozen=True):
    """Some responses that a node keeps, the newest first."""

    data: tuple[Response, ...] = ()
    has_more: bool = False
