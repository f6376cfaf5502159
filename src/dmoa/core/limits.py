"""The bound of everything that could grow, and the durations the protocol waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Named bounds; to exceed one is a refusal with a name, never growth of memory."""

    queue_jobs: int = 64
    """Jobs at one node, waiting or in service, places kept for own queries included."""
    queue_bytes: int = 32 * 1024 * 1024
    """Bytes of prompts and proposals held for those jobs."""
    message_bytes: int = 8 * 1024 * 1024
    """Bytes of one message between nodes, encoded: the largest conversation with the
    proposals of the largest fanout fits, even if every character needs an escape."""
    conversation_bytes: int = 256 * 1024
    """Bytes of the conversation of one query."""
    proposal_bytes: int = 32 * 1024
    """Bytes kept of one proposal; longer ones are cut before they are stored or sent on."""
    proposal_tokens: int = 1024
    """Tokens of one proposal in an aggregation prompt: the named budget."""
    persona_bytes: int = 4096
    """Bytes of who a model is to be."""
    answer_tokens: int = 8192
    """Tokens of one answer, however many the user asks for."""
    view: int = 128
    """Peers that one node remembers."""
    blamed: int = 256
    """Names whose offences one node remembers."""
    detail: int = 200
    """Characters kept of why a job failed."""
    remembered: int = 4096
    """Names of peers' ended jobs, kept to know a doubled message."""
    previews: int = 32
    """Previews that one node holds for its peers; half of them for one home."""
    preview_bytes: int = 4 * 1024 * 1024
    """Bytes of those previews; half of them for one home."""
    shown_bytes: int = 1024 * 1024
    """Bytes of all previews of one job together: with more, its home shows no more of it."""
    layers: int = 8
    """Largest M of a query."""
    fanout: int = 32
    """Largest k of a query."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations in seconds."""

    gossip: float = 1.0
    """Between two digests of one node."""
    gossip_least: float = 0.25
    """The same of a node whose jobs take less than that; between, it is their service time."""
    silence: float = 5.0
    """Without a digest for so long, a peer is no longer asked."""
    deadline: float = 300.0
    """From question to answer, where the user names none."""
    deadline_max: float = 86400.0
    """However long a user or a peer would wait."""
    probe: float = 0.2
    """For peers to say how they stand before a layer is sent; then it is sent without."""
    pardon: float = 120.0
    """Until half of the doubt in a peer's word is forgotten."""
    forgive: float = 600.0
    """Until half of what a peer is blamed for is forgotten."""
